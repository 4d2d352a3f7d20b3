"""`exceptions`: the records that wait for a person."""

from __future__ import annotations

from collections.abc import Iterable

import click

from engine.cli.answer import inline, plain, printable, table
from engine.cli.main import Context, common, pass_context
from engine.cli.masks import EVERYTHING, in_system, masked, sensitive
from engine.cli.operate import exit_code, options_of, progress, show_runs
from engine.sdk.errors import CrosswalkError, Problem, UsageError
from engine.sdk.record import Fields, decode_json
from engine.state import audit, operations
from engine.state import exceptions as state


@click.group()
@common
def exceptions() -> None:
    """Records that left the line, with the reason, the place in the YAML, and all that is needed to try again."""


def _told(row: state.Row) -> Fields:
    """The JSON contract's exception."""
    return {
        "id": row.id, "flow": row.flow, "entity": row.entity, "record": row.canonical_id, "key": row.key,
        "target": row.target or None, "stage": row.stage, "class": row.exception_class, "code": row.code,
        "message": row.message, "at": row.at, "queue": row.queue, "state": row.state, "opened_at": row.opened_at,
    }  # fmt: skip


GROUPS = {"code": "code", "message": "message", "at": "at", "flow": "flow", "queue": "queue", "class": "class",
          "target": "target", "stage": "stage", "state": "state"}  # fmt: skip
"""What `--group` takes → the exception's key that is grouped by."""


@exceptions.command("list")
@click.option("--flow", help="Of one flow.")
@click.option("--queue", help="Of one queue.")
@click.option("--code", help="With one code.")
@click.option("--key", help="Of one record, by its native id in the source.")
@click.option("--group", type=click.Choice(list(GROUPS)), help="Count them by this instead of listing them.")
@click.option("--all", "everything", is_flag=True, help="Closed ones too.")
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(min=1))
@common
@pass_context
def list_exceptions(context: Context, flow: str | None, queue: str | None, code: str | None, key: str | None,
                    group: str | None, everything: bool, limit: int) -> None:  # fmt: skip
    """Open exceptions, newest first; or how many there are of each kind.

    \b
      crosswalk exceptions list --group code
      crosswalk exceptions list --flow time-to-erp --code E430
    """
    chosen = {"flow": flow, "queue": queue, "code": code, "key": key}
    with context.store.read() as tx:
        rows = state.listed(tx, **chosen, everything=everything, limit=limit if group is None else 10**9)
        total = len(rows) if len(rows) < limit else state.count(tx, **chosen, everything=everything)
    told = [_told(row) for row in rows]
    if group is not None:
        _list_groups(context, group, told)
        return

    def text() -> None:
        for row in rows:
            where = f" → {row.target}" if row.target else ""
            queued = f"  [{row.queue}]" if row.queue else ""
            click.echo(printable(f"{row.id}  {row.state:<8} {row.flow}{where}  {row.key}{queued}"))
            click.echo(printable(" ".join(filter(None, ("   ", row.code, row.at, row.message)))))
            if row.hint:
                click.echo(printable(f"    {row.hint}"))
        more = f", the newest {len(rows)} shown (--limit)" if total > len(rows) else ""
        kind = "exceptions" if everything else "open exceptions"
        click.echo(f"{total} {kind}{more}" if rows else f"no {kind}")

    context.answer({"exceptions": told}, text)


def _list_groups(context: Context, group: str, told: list[Fields]) -> None:
    """Most frequent first; with the newest of each group, to look at."""
    groups: dict[tuple[str, str], Fields] = {}
    for one in told:
        found = groups.setdefault((str(one["code"]), str(one[GROUPS[group]])), {
            group: one[GROUPS[group]], "code": one["code"], "count": 0, "message": one["message"], "example": one["id"]})  # fmt: skip
        found["count"] += 1
    rows = sorted(groups.values(), key=lambda one: (-one["count"], str(one["code"]), str(one[group])))

    def text() -> None:
        head = ("count", "code", *([group] if group not in ("code", "message") else []), "example", "message")
        table(head, [[plain(one[name]) for name in head] for one in rows], right=["count"])
        click.echo(f"{len(told)} exceptions in {len(rows)} groups")

    context.answer({"groups": rows}, text)


def _row(context: Context, id: str) -> state.Row:
    with context.store.read() as tx:
        row = state.get(tx, id)
    if row is None:
        raise UsageError(Problem("X906", f"there is no exception {id!r}", None, "see `crosswalk exceptions list`"))
    return row


@exceptions.command("show")
@click.argument("id")
@common
@pass_context
def show(context: Context, id: str) -> None:
    """One exception with what the record was at each stage; sensitive fields are masked."""
    row = _row(context, id)
    with context.store.read() as tx:
        raw, canonical, payload, _ = state.snapshots(tx, id)
        notes = [{"at": at, "by": by, "did": did, "detail": detail} for at, by, did, detail in audit.of(tx, id)]
    hidden = _hidden(context, row)
    snapshots = {"raw": raw, "canonical": canonical, "payload": payload}
    told = {name: masked(decode_json(bytes(data)), hidden[name]) for name, data in snapshots.items() if data}

    def text() -> None:
        for name, value in _told(row).items():
            click.echo(f"{name}: {plain(value)}")
        click.echo(f"run: {row.run}, attempt {row.attempts}")
        if row.hint:
            click.echo(f"what to do: {row.hint}")
        for name, fields in told.items():
            click.echo(f"{name}:")
            for field, value in fields.items():
                click.echo(f"    {field}: {inline(value, width=400)}")
        for one in notes:
            said = " ".join(str(part) for part in (one["detail"] or {}).values())
            click.echo(printable(f"{one['at']}  {one['by']}: {one['did'].removeprefix('exceptions ')} {said}".rstrip()))

    whole = {**_told(row), "hint": row.hint, "run": row.run, "attempts": row.attempts, "closed_how": row.closed_how}
    context.answer({"exception": {**whole, **told, "notes": notes}}, text)


def _hidden(context: Context, row: state.Row) -> dict[str, Iterable[str]]:
    """What is masked in each snapshot of an exception."""
    workspace = context.workspace
    try:
        canonical = sensitive(workspace, row.entity)
        flow = workspace.document("flow", row.flow).model
    except CrosswalkError:  # the documents have changed since and cannot be read
        return dict.fromkeys(("raw", "canonical", "payload"), EVERYTHING)
    target = next((one for one in flow.targets if (one.name or one.connection) == row.target), None)
    payload = in_system(workspace, target.mapping, canonical) if target else EVERYTHING
    return {"raw": in_system(workspace, flow.source.mapping, canonical), "canonical": canonical, "payload": payload}


def _still_open(rows: list[state.Row], what: str) -> None:
    closed = next((row for row in rows if row.state not in ("open", "waiting", "due")), None)
    if closed is not None:
        how = f": {closed.closed_how}" if closed.closed_how else ""
        raise UsageError(Problem("X907", f"{closed.id} is {closed.state}{how}", None, f"only open ones can be {what}"))


@exceptions.command("note")
@click.argument("id")
@click.argument("text")
@common
@pass_context
def note(context: Context, id: str, text: str) -> None:
    """Write something down about an exception; `show` prints it, the audit trail keeps it."""
    row = _row(context, id)
    with context.store.begin("note") as tx:
        audit.append(tx, context.actor, "exceptions note", row.id, {"note": text})
    context.answer({"noted": row.id}, lambda: click.echo(f"noted on {row.id}"))


@exceptions.command("replay")
@click.argument("ids", nargs=-1)
@click.option("--flow", help="Every open exception of this flow.")
@common
@pass_context
def replay(context: Context, ids: tuple[str, ...], flow: str | None) -> int:
    """Try records again from what was stored, with the logic as it is now.

    What was delivered already is not sent again.
    """
    with context.store.read() as tx:
        rows = state.listed(tx, flow=flow) if flow else []
    rows += [_row(context, id) for id in ids]
    if not rows:
        raise UsageError(Problem("X900", "nothing to replay", None, "name exceptions, or --flow FLOW"))
    _still_open(rows, "replayed")
    with context.store.begin("replay") as tx:
        state.set_state(tx, [row.id for row in rows], "due")
        for row in rows:
            if row.id in ids and row.exception_class == "in_doubt":  # by name only: it is sent a second time
                operations.decide(tx, str(row.canonical_id), row.part, "dropped", where=(row.flow, row.target))
            audit.append(tx, context.actor, "exceptions replay", row.id)
    runner = context.runner(progress)
    told = [
        runner.run(name, options_of(trigger="replay", replay=True)).run
        for name in dict.fromkeys(row.flow for row in rows)
    ]
    context.answer({"runs": told}, lambda: show_runs(told, []))
    return exit_code([str(one["state"]) for one in told])


@exceptions.command("discard")
@click.argument("ids", nargs=-1, required=True)
@click.option("--because", required=True, help="Why; kept in the audit trail.")
@common
@pass_context
def discard(context: Context, ids: tuple[str, ...], because: str) -> None:
    """Give records up. The next change of the source brings them back."""
    rows = [_row(context, id) for id in ids]
    _still_open(rows, "discarded")
    with context.store.begin("discard") as tx:
        state.set_state(tx, [row.id for row in rows], "discarded", because)
        for row in rows:
            operations.decide(tx, str(row.canonical_id), row.part, "dropped", where=(row.flow, row.target))
            audit.append(tx, context.actor, "exceptions discard", row.id, {"because": because})
    context.answer({"discarded": list(ids)}, lambda: click.echo(f"{len(ids)} discarded"))
