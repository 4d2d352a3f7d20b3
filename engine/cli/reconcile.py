"""`reconcile`: breaks as work: list, show, accept, open again, assign; reports and healing are registered here."""

from __future__ import annotations

from itertools import islice

import click

from engine.cli.accept import accept, assign, reopen
from engine.cli.answer import plain, printable
from engine.cli.breaks import Chosen, Covers, break_of, found, known_flow, narrowed, told
from engine.cli.heal import heal
from engine.cli.main import Context, common, pass_context
from engine.cli.reports import report
from engine.run.report_words import amount, said, short
from engine.sdk.record import Fields
from engine.state import audit
from engine.state import breaks as state
from engine.state.breaks import Break, Wanted

EVERY = ("open", "accepted", "closed")


@click.group()
@common
def reconcile() -> None:
    """Differences between systems: look at them, accept, assign, mend and report them."""


for command in (report, accept, reopen, assign, heal):
    reconcile.add_command(command)


@reconcile.command("breaks")
@click.argument("flow", required=False)
@click.option("--all", "everything", is_flag=True, help="Closed ones too.")
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(min=1))
@narrowed("flow")
@common
@pass_context
def list_breaks(context: Context, flow: str | None, everything: bool, limit: int, chosen: Chosen) -> None:
    """Live breaks, the oldest first: open, accepted and in flight.

    \b
      crosswalk reconcile breaks invoices-nightly --class mismatch --older-than 7d
      crosswalk reconcile breaks --record erp:1042 --all
    """
    known_flow(context, flow)
    if flow is not None:
        chosen = {**chosen, "flow": flow}
    states = EVERY if everything else state.LIVE
    with context.store.read() as tx:
        rows = list(islice(found(tx, chosen, states), limit + 1))
        total = len(rows)
        if total > limit:
            total = (
                sum(1 for _ in found(tx, chosen, states))
                if "record" in chosen
                else state.count(tx, Wanted(**chosen, states=states))
            )
    covers = Covers(context)
    given = [told(one, covers.of(one)) for one in rows[:limit]]

    def text() -> None:
        for one in given:
            _line(one)
        more = f", the oldest {limit:,} shown (--limit)" if total > limit else ""
        kind = "breaks" if everything else "live breaks"
        click.echo(f"{total:,} {kind}{more}" if given else f"no {kind}")

    context.answer({"breaks": given, "total": total}, text)


def _line(one: Fields) -> None:
    """A break in a line, with why and what differs below it."""
    has = " ".join(filter(None, (one["queue"], one["owner"] and f"@{one['owner']}")))
    parts = [
        one["id"],
        _standing(one),
        one["class"],
        plain(one["label"]),
        money(one),
        f"{one['age']}d",
        has and f"[{has}]",
    ]
    click.echo(printable("  ".join(filter(None, parts))))
    for each in one["fields"]:
        click.echo(printable(f"    {each['path']}: {sides(each['values'])}"))
    if one["why"]:
        click.echo(printable(f"    {one['why']}"))


def _standing(one: Fields) -> str:
    until = f" until {one['accepted_until'][:10]}" if one["state"] == "accepted" and one["accepted_until"] else ""
    return f"{one['state']}{until}"


def money(one: Fields) -> str:
    """An amount with its currency; empty for none."""
    return amount(one["amount"], one["currency"]) if one["amount"] is not None else ""


def sides(values: Fields) -> str:
    """Each side's value in a line."""
    return ", ".join(f"{name} {short(said(one), 120)}" for name, one in values.items())


@reconcile.command("show")
@click.argument("id", metavar="BREAK")
@common
@pass_context
def show(context: Context, id: str) -> None:
    """A break with all that is known of it: both values side by side, its history, and what to do next."""
    one = break_of(context, id)
    cover = Covers(context).of(one)
    with context.store.read() as tx:
        history = [{**each, "what": cover.text(one, each["what"])} for each in state.history(tx, id)]
        notes = [{"at": at, "by": by, "did": did, "detail": detail} for at, by, did, detail in audit.of(tx, id)]
    given = told(one, cover)
    steps = next_steps(one)

    def text() -> None:
        for name, fact in given.items():
            if name not in ("fields", "natives", "amount", "currency") and fact is not None:
                click.echo(f"{name}: {plain(fact)}{' days' if name == 'age' else ''}")
        if money(given):
            click.echo(f"amount at stake: {money(given)}")
        for side, ids in given["natives"].items():
            click.echo(printable(f"in {side}: {', '.join(ids)}"))
        for each in given["fields"]:
            owner = f", owned by {each['owner']}" if each["owner"] else ""
            click.echo(printable(f"{each['path']} ({each['class']}{owner})"))
            width = max(len(side) for side in each["values"])
            for side, fact in each["values"].items():
                click.echo(printable(f"    {side:<{width}}  {said(fact)}"))
            if each["why"]:
                click.echo(printable(f"    {each['why']}"))
        for note in history:
            click.echo(printable(f"{note['at'][:19]}Z  {note['person']}: {note['what']}"))
        for step in steps:
            click.echo(printable(f"next: {step}"))

    context.answer({"break": {**given, "history": history, "notes": notes, "next": steps}}, text)


def next_steps(one: Break) -> list[str]:
    """What a person can do about it, in words and commands."""
    if one.state == "closed":
        return []
    if one.state == "accepted":
        return [f"it is accepted; take that back: crosswalk reconcile reopen {one.id} --reason TEXT"]
    if one.name == "in_flight":
        return ["it is explained by what is under way, and closes or changes with the next run",
                f"run it again when that is over: crosswalk run {one.flow}"]  # fmt: skip
    steps = {
        "duplicate": "see which of the records is meant, and end or merge the other one in its system",
        "mismatch": "see which side is right, and mend the other one in its system",
        "stale": "the change has not come across: look at the flow that sends it, and at its exceptions",
        "wrong_owner": "it was changed where it is not owned: change it at its owner, or let the owner's value be sent again",
    }
    first = steps.get(one.name, f"see whether the record belongs in {one.side}; send it there, or end it where it is")
    record = [f"what happened to it: crosswalk trace {one.canonical_id}"] if one.canonical_id else []
    return [first, *record,
            f"if it is right as it is: crosswalk reconcile accept {one.id} --reason TEXT --until 30d"]  # fmt: skip
