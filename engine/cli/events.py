"""`events`: what happened and who was told; sending again, and giving up what a system refuses."""

from __future__ import annotations

from typing import Any

import click

from engine.cli.answer import plain, table
from engine.cli.main import Context, common, pass_context
from engine.sdk.errors import Problem, UsageError
from engine.sdk.record import Fields, decode_json
from engine.state import audit, outbox, units
from engine.state.outbox import Delivery

NOT_THERE = "see `crosswalk events list --all`"


@click.group()
@common
def events() -> None:
    """Events: what happened, in the words of CloudEvents, and whom each was sent to."""


@events.command("list")
@click.option(
    "--state", type=click.Choice(["ready", "delivered", "refused", "dropped"]), help="Only those in this state."
)
@click.option("--to", "destination", help="Only those to connection:NAME, flow:NAME or process:NAME.")
@click.option("--type", "type_", help="Only events of this type, with its version.")
@click.option("--record", help="Only events about this canonical id.")
@click.option("--all", "everything", is_flag=True, help="Delivered and dropped ones too.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(min=1))
@common
@pass_context
def list_events(context: Context, state: str | None, destination: str | None, type_: str | None, record: str | None,
                everything: bool, limit: int) -> None:  # fmt: skip
    """Events that are not delivered yet, newest first: one line for each that is to have them.

    \b
      crosswalk events list --state refused
      crosswalk events list --to connection:bus --all
    """
    with context.store.read() as tx:
        rows = outbox.listed(
            tx, state=state, destination=destination, type=type_, subject=record, limit=limit, everything=everything
        )
    told = [_told(row) for row in rows]

    def text() -> None:
        if not told:
            click.echo("no events" if everything or state else "no events wait")
            return
        head = ("event", "type", "record", "to", "state", "tries", "at", "why")
        table(head, [[plain(one[name]) for name in ("id", "type", "record", "to", "state", "attempts", "at", "error")]
                     for one in told], right=("tries",))  # fmt: skip

    context.answer({"events": told}, text)


def _told(row: Delivery) -> Fields:
    return {"id": row.id, "type": row.type, "record": row.subject, "to": row.destination, "state": row.state,
            "attempts": row.attempts, "due": row.due, "error": row.error, "at": row.at}  # fmt: skip


@events.command("show")
@click.argument("id")
@click.option(
    "--clearance", multiple=True, type=click.Choice(["personal", "compensation", "financial", "tax"]),
    help="Show sensitive fields of this kind; may be repeated.",
)  # fmt: skip
@common
@pass_context
def show(context: Context, id: str, clearance: tuple[str, ...]) -> None:
    """One event: its attributes, its data without sensitive fields, and how far it got with each that wants it."""
    from engine.run.disclosure import disclosed

    with context.store.read() as tx:
        found = outbox.get(tx, id)
        rows = outbox.deliveries(tx, id)
    if found is None:
        raise UsageError(Problem("X906", f"there is no event {id!r}", None, NOT_THERE))
    data = disclosed(context.workspace, found.entity, decode_json(found.data), clearance)
    told: dict[str, Any] = {
        "id": found.id, "type": found.type, "source": found.source, "record": found.subject, "at": found.at,
        "correlation": found.correlation, "data": data, "deliveries": [_told(row) for row in rows],
    }  # fmt: skip

    def text() -> None:
        for name in ("id", "type", "source", "record", "at", "correlation", "data"):
            click.echo(f"{name}: {plain(told[name])}")
        for row in rows:
            click.echo(f"  {row.destination}: {row.state}, {row.attempts} tries{f', {row.error}' if row.error else ''}")

    context.answer({"event": told}, text)


@events.command("retry")
@click.argument("id")
@click.option("--to", "destination", help="Only this destination; all that do not have it otherwise.")
@common
@pass_context
def retry(context: Context, id: str, destination: str | None) -> None:
    """Send an event again that was refused, or sooner than it would be. Later events of its record follow it."""
    _decide(context, id, destination, "ready")


@events.command("drop")
@click.argument("id")
@click.option("--to", "destination", help="Only this destination; all that do not have it otherwise.")
@click.option("--because", required=True, help="Why; kept in the audit trail.")
@common
@pass_context
def drop(context: Context, id: str, destination: str | None, because: str) -> None:
    """Never send an event that is not delivered yet. Later events of its record go on without it."""
    _decide(context, id, destination, "dropped", because)


def _decide(context: Context, id: str, destination: str | None, state: str, because: str | None = None) -> None:
    """Raises UsageError X906 for an unknown event, X907 where it is over with all that are meant."""
    from engine.run.events import LANE

    done = []
    with context.store.begin("event") as tx:
        rows = outbox.deliveries(tx, id)
        if not rows:
            raise UsageError(Problem("X906", f"there is no event {id!r}", None, NOT_THERE))
        for row in rows:
            if destination in (None, row.destination) and outbox.decide(tx, id, row.destination, state):
                done.append(row.destination)
                units.put(tx, "relay", row.destination, lane=LANE)
        if not done:
            states = ", ".join(f"{row.destination}: {row.state}" for row in rows)
            raise UsageError(Problem("X907", f"nothing of the event is left to be sent ({states})", None, NOT_THERE))
        audit.append(tx, context.actor, f"events {'retry' if state == 'ready' else 'drop'}", id,
                     {"to": ", ".join(done), **({"because": because} if because else {})})  # fmt: skip
    word = "is sent again to" if state == "ready" else "is dropped for"
    context.answer({"event": id, "to": done, "state": state}, lambda: click.echo(f"{id} {word} {', '.join(done)}"))


@events.command("relay")
@common
@pass_context
def relay(context: Context) -> None:
    """Send what is due now, then end; `crosswalk serve` does so all the time."""
    from engine.run.relay import relay_all

    sent = relay_all(context.workspace, context.store)

    def text() -> None:
        for destination, count in sent.items():
            click.echo(f"{destination}: {count} sent")
        if not sent:
            click.echo("nothing waits")

    context.answer({"sent": sent}, text)
