"""`reconcile accept|reopen|assign`: what people decide about breaks; each is in the break's history and the audit trail."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import click

from engine.cli.breaks import Chosen, agreed, meant, narrowed, refused
from engine.cli.main import Context, common, pass_context
from engine.cli.queue import YES, short
from engine.sdk.config import duration
from engine.sdk.errors import Problem, UsageError, unknown_name
from engine.state import audit
from engine.state import breaks as state
from engine.state.breaks import Break
from engine.state.store import instant


def _until(context: click.Context, option: Any, given: str | None) -> str | None:
    """A day counts to its end, in UTC; a time counts from now."""
    if given is None:
        return None
    try:
        day = date.fromisoformat(given)
        moment = datetime(day.year, day.month, day.day, 23, 59, 59, 999_999, tzinfo=UTC)
    except ValueError:
        try:
            moment = datetime.now(UTC) + duration(given)
        except (ValueError, OverflowError):
            raise click.BadParameter("write a day such as 2026-12-31, or a time such as 30d") from None
    if moment <= datetime.now(UTC):
        raise click.BadParameter(f"{given} is over already")
    return instant(moment)


def _acceptable(one: Break) -> str | None:
    if one.state == "closed":
        return "only open ones can be accepted; it opens again by itself if the difference comes back"
    if one.state == "accepted":
        return "reopen it first to accept it otherwise"
    if one.name == "in_flight":
        return "what is under way explains it; only what remains after the next run can be accepted"
    return None


def _said(reason: str) -> str:
    if not reason.strip():
        raise UsageError(
            Problem("X900", "no reason is given", None, "add --reason with words that an auditor understands")
        )
    return reason.strip()


@click.command()
@click.argument("ids", metavar="[BREAK]...", nargs=-1)
@click.option("--reason", required=True, help="Why it is right as it is; kept with the break and in the audit trail.")
@click.option("--until", callback=_until, help="A day such as 2026-12-31, or a time such as 30d; for good otherwise.")
@YES
@narrowed()
@common
@pass_context
def accept(context: Context, ids: tuple[str, ...], reason: str, until: str | None, yes: bool, chosen: Chosen) -> None:
    """Differences that are known and right. A break opens again when what differs changes, or the time is over.

    \b
      crosswalk reconcile accept b-20261120-101502-x7k2ab --reason "rounding, agreed with the auditors" --until 2026-12-31
      crosswalk reconcile accept --flow invoices-nightly --class mismatch --reason "migration" --until 30d --yes
    """
    reason = _said(reason)
    rows = meant(context, ids, chosen, "accepted", _acceptable, ("open",))
    agreed(context, rows, chosen, yes, "accepted")
    with context.store.begin("accept") as tx:
        for one in rows:
            if not state.accept(tx, one.id, context.actor, reason, until):
                raise _moved(one)
            audit.append(tx, context.actor, "reconcile accept", one.id, {"because": reason, "until": until})
    names = [one.id for one in rows]
    end = f" until {until[:10]}" if until else ""
    context.answer({"accepted": names, "until": until}, lambda: click.echo(f"{len(names)} accepted{end}"))


def _moved(one: Break) -> UsageError:
    """A run or another person was quicker."""
    return refused(
        one._replace(state="changed meanwhile", name=""), "look at it again: crosswalk reconcile show " + one.id
    )


@click.command()
@click.argument("ids", metavar="[BREAK]...", nargs=-1)
@click.option("--reason", required=True, help="Why it is not accepted any more.")
@YES
@narrowed()
@common
@pass_context
def reopen(context: Context, ids: tuple[str, ...], reason: str, yes: bool, chosen: Chosen) -> None:
    """Take acceptances back."""
    reason = _said(reason)
    hint = "only accepted ones can be opened again"
    rows = meant(
        context, ids, chosen, "opened again", lambda one: None if one.state == "accepted" else hint, ("accepted",)
    )
    agreed(context, rows, chosen, yes, "opened again")
    with context.store.begin("reopen") as tx:
        for one in rows:
            if not state.reopen(tx, one.id, context.actor, reason):
                raise _moved(one)
            audit.append(tx, context.actor, "reconcile reopen", one.id, {"because": reason})
    names = [one.id for one in rows]
    context.answer({"reopened": names}, lambda: click.echo(f"{len(names)} open again"))


@click.command()
@click.argument("ids", metavar="[BREAK]...", nargs=-1)
@click.option("--to", "person", help="Give them to a person.")
@click.option("--queue", "moved", help="Move them to a queue of crosswalk.yaml; runs leave them there.")
@click.option("--nobody", is_flag=True, help="Take them from whoever has them.")
@YES
@narrowed(renamed=True)
@common
@pass_context
def assign(context: Context, ids: tuple[str, ...], person: str | None, moved: str | None, nobody: bool, yes: bool,
           chosen: Chosen) -> None:  # fmt: skip
    """Say who looks after breaks: a person, another queue, or nobody in particular."""
    if person is not None and (nobody or not person.strip()):
        raise UsageError(Problem("X900", "somebody and nobody are both meant", None, "add --to NAME or --nobody"))
    if person is None and not nobody and moved is None:
        hint = "add --to NAME or --nobody, or --queue QUEUE to move them"
        raise UsageError(Problem("X900", "it is not said to whom", None, hint))
    short(person or "")
    known = context.workspace.settings.queues
    if moved is not None and moved not in known:
        raise UsageError(unknown_name("queue", moved, known, context.workspace.at("queues")))
    hint = "only live ones can be assigned"
    rows = meant(context, ids, chosen, "assigned", lambda one: hint if one.state == "closed" else None)
    agreed(context, rows, chosen, yes, "assigned")
    owner = "" if nobody else person
    given = {name: one for name, one in (("to", "nobody" if nobody else person), ("queue", moved)) if one is not None}
    with context.store.begin("assign") as tx:
        for one in rows:
            if not state.assign(tx, one.id, context.actor, owner, moved):
                raise _moved(one)
            audit.append(tx, context.actor, "reconcile assign", one.id, given)
    _assigned(context, [one.id for one in rows], given)


def _assigned(context: Context, names: Sequence[str], given: dict[str, str]) -> None:
    where = " and ".join(filter(None, (given.get("to"), given.get("queue") and f"queue {given['queue']}")))
    context.answer({"assigned": list(names)}, lambda: click.echo(f"{len(names)} assigned to {where}"))
