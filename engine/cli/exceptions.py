"""`exceptions`: the records that wait for a person."""

from __future__ import annotations

from typing import Any

import click

from engine.cli.answer import printable
from engine.cli.main import Context, common, pass_context
from engine.cli.operate import _options, _progress, _show_runs, exit_code
from engine.sdk.errors import Problem, UsageError
from engine.sdk.record import Fields, decode_json
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


@exceptions.command("list")
@click.option("--flow", help="Of one flow.")
@click.option("--all", "everything", is_flag=True, help="Closed ones too.")
@click.option("--limit", default=1000, show_default=True)
@common
@pass_context
def list_exceptions(context: Context, flow: str | None, everything: bool, limit: int) -> None:
    """Open exceptions, newest first."""
    with context.store.read() as tx:
        rows = state.listed(tx, flow=flow, everything=everything, limit=limit)

    def text() -> None:
        for row in rows:
            where = f" → {row.target}" if row.target else ""
            click.echo(f"{row.id}  {row.state:<8} {row.flow}{where}  {printable(row.key)}")
            click.echo(f"    {row.code} {row.at or ''} {printable(row.message)}")
            click.echo(f"    {row.hint}" if row.hint else "")
        click.echo(f"{len(rows)} exceptions" if rows else "no open exceptions")

    context.answer({"exceptions": [_told(row) for row in rows]}, text)


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
    hidden = _sensitive(context, row.entity)
    snapshots = {"raw": raw, "canonical": canonical, "payload": payload}
    told = {name: decode_json(bytes(data)) for name, data in snapshots.items() if data}
    if "canonical" in told:
        told["canonical"] = {name: "••••" if name in hidden else value for name, value in told["canonical"].items()}

    def text() -> None:
        for name, value in _told(row).items():
            click.echo(f"{name}: {printable(str(value)) if value is not None else '—'}")
        if row.hint:
            click.echo(f"what to do: {row.hint}")
        for name, fields in told.items():
            click.echo(f"{name}:")
            for field, value in fields.items():
                click.echo(f"    {field}: {printable(str(value))}")

    context.answer({"exception": {**_told(row), "hint": row.hint, "attempts": row.attempts, **told}}, text)


def _sensitive(context: Context, entity: str) -> set[str]:
    properties = context.workspace.document("schema", entity).data.get("properties", {})
    return {name for name, sub in properties.items() if "x-sensitive" in sub}


@exceptions.command("replay")
@click.argument("ids", nargs=-1)
@click.option("--flow", help="Every open exception of this flow.")
@common
@pass_context
def replay(context: Context, ids: tuple[str, ...], flow: str | None) -> int:
    """Try records again from what was stored, with the logic as it is now.

    What was delivered already is not sent again.
    """
    from engine.state import audit

    with context.store.read() as tx:
        rows: list[Any] = state.listed(tx, flow=flow) if flow else []
    rows += [_row(context, id) for id in ids]
    if not rows:
        raise UsageError(Problem("X900", "nothing to replay", None, "name exceptions, or --flow FLOW"))
    closed = next((row for row in rows if row.state not in ("open", "waiting", "due")), None)
    if closed is not None:
        raise UsageError(Problem("X907", f"{closed.id} is {closed.state}", None, "only open ones can be replayed"))
    with context.store.begin("replay") as tx:
        state.set_state(tx, [row.id for row in rows], "due")
        audit.append(tx, "operator", "exceptions replay", ",".join(row.id for row in rows[:50]))
    runner = context.runner(_progress)
    told = [
        runner.run(name, _options(trigger="replay", replay=True)).run
        for name in dict.fromkeys(row.flow for row in rows)
    ]
    context.answer({"runs": told}, lambda: _show_runs(told, []))
    return exit_code([str(one["state"]) for one in told])


@exceptions.command("discard")
@click.argument("ids", nargs=-1, required=True)
@click.option("--because", required=True, help="Why; kept in the audit trail.")
@common
@pass_context
def discard(context: Context, ids: tuple[str, ...], because: str) -> None:
    """Give records up. The next change of the source brings them back."""
    from engine.state import audit

    rows = [_row(context, id) for id in ids]
    with context.store.begin("discard") as tx:
        state.set_state(tx, [row.id for row in rows], "discarded", because)
        audit.append(tx, "operator", "exceptions discard", ",".join(ids), {"because": because})
    context.answer({"discarded": list(ids)}, lambda: click.echo(f"{len(ids)} discarded"))
