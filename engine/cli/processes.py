"""`processes`: instances of process flows, their timelines, going on and giving up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from engine.cli.answer import inline, plain, printable, table
from engine.cli.main import Context, common, pass_context
from engine.sdk.errors import Problem, UsageError, unknown_name
from engine.sdk.record import Fields, decode_json
from engine.spec.process import KINDS
from engine.state import approvals, runs
from engine.state import processes as state
from engine.state.processes import Instance
from engine.state.steps import steps_of
from engine.state.store import Tx

BECAUSE = click.option("--because", required=True, help="Why; it stays in the timeline and the audit trail.")


@click.group()
@common
def processes() -> None:
    """Instances of process flows: where each stands, how it came there, going on, giving up."""


def step_names(tx: Tx, logic: bytes, flow: str) -> list[str]:
    """The steps of the flow as an instance began with it."""
    kept = runs.pinned(tx, logic)
    steps = (decode_json(kept).get(f"flow/{flow}") or {}).get("steps", []) if kept is not None else []
    return [str(next(step[kind] for kind in KINDS if kind in step)) for step in steps]


def told(tx: Tx, one: Instance, names: dict[bytes, list[str]]) -> Fields:
    """An instance as every command prints it. names: steps by logic, kept from one instance to the next."""
    if one.logic not in names:
        names[one.logic] = step_names(tx, one.logic, one.flow)
    steps = names[one.logic]
    at = steps[one.step] if one.live and 0 <= one.step < len(steps) else None
    message = one.detail.get("message") if isinstance(one.detail, dict) else None
    if message is None and one.waiting == "event":
        message = f"{one.detail['event']} for {one.detail['for']}"
    return {
        "id": one.id, "flow": one.flow, "entity": one.entity, "record": one.canonical_id, "key": one.key, "state": one.state,
        "waiting": one.waiting, "step": at, "message": message, "queue": one.queue, "until": one.until,
        "exception": one.exception, "correlation": one.correlation, "started_by": one.started_by, "started_at": one.started_at,
        "updated_at": one.updated_at, "finished_at": one.finished_at, "deadline": one.deadline,
    }  # fmt: skip


@processes.command("list")
@click.option("--flow", help="Instances of one flow.")
@click.option("--state", "wanted", type=click.Choice(state.STATES), help="Instances in this state.")
@click.option("--all", "everything", is_flag=True, help="Those that are over, too.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(min=1))
@common
@pass_context
def list_processes(context: Context, flow: str | None, wanted: str | None, everything: bool, limit: int) -> None:
    """Instances, the newest first; live ones unless all are asked for."""
    names: dict[bytes, list[str]] = {}
    with context.store.read() as tx:
        rows = [told(tx, one, names) for one in state.listed(tx, flow, wanted, everything=everything, limit=limit)]

    def text() -> None:
        head = ("id", "flow", "state", "step", "since", "message")
        table(head, [[one["id"], one["flow"], _state(one), plain(one["step"]), one["updated_at"][:19],
                      plain(one["message"])] for one in rows])  # fmt: skip

    context.answer({"processes": rows}, text)


def _state(one: Fields) -> str:
    return f"{one['state']} ({one['waiting']})" if one["waiting"] else str(one["state"])


@processes.command("show")
@click.argument("id")
@common
@pass_context
def show(context: Context, id: str) -> None:
    """One instance with its timeline: each step, when, who, what; its writes and approvals."""
    from engine.run.decisions import instance_of

    with context.store.read() as tx:
        one = instance_of(tx, id)
        whole = told(tx, one, {})
        moments = [
            {"at": moment.at, "by": moment.person, "step": moment.step, "state": moment.state, "waiting": moment.waiting,
             "what": moment.what}
            for moment in state.timeline(tx, id)
        ]  # fmt: skip
        steps = [
            {"step": row.step, "kind": row.kind, "state": row.state, "began_at": row.began_at, "ended_at": row.ended_at}
            for row in steps_of(tx, id).values()
        ]
        names = ("at", "connection", "object", "record", "kind", "state", "native_id", "operation")
        writes = [dict(zip(names, row, strict=True)) for row in state.operations_of(tx, id)]
        asked = [
            {"id": row.id, "step": row.step, "queue": row.queue, "state": row.state, "decided_by": row.decided_by,
             "decided_at": row.decided_at, "because": row.because}
            for row in approvals.of_instance(tx, id)
        ]  # fmt: skip
    whole |= {"timeline": moments, "steps": steps, "writes": writes, "approvals": asked}
    context.answer({"process": whole}, lambda: _show(whole))


def _show(one: Fields) -> None:
    lists = ("timeline", "steps", "writes", "approvals")
    for name, value in one.items():
        if name not in lists and value is not None:
            click.echo(f"{name}: {inline(value) if isinstance(value, dict) else plain(value)}")
    events: list[tuple[str, str]] = [
        (row["at"], f"{row['step'] or '—'}: {row['what']}" + (f"  ({row['by']})" if row["by"] != state.ENGINE else ""))
        for row in one["timeline"]
    ]
    events += [(row["at"], f"    {row['kind']} in {row['connection']} {row['object']} {plain(row['native_id'])}: {row['state']}"
                           f"  (operation {row['operation'][:12]})") for row in one["writes"]]  # fmt: skip
    click.echo("timeline:")
    for at, what in sorted(events, key=lambda event: event[0]):
        click.echo(printable(f"  {at}  {what}"))
    for row in one["approvals"]:
        by = f" by {row['decided_by']}: {row['because'] or ''}" if row["decided_by"] else ""
        click.echo(printable(f"approval {row['id']} ({row['step']}, {row['queue']}): {row['state']}{by}".rstrip(": ")))


def _answer(context: Context, one: Instance, what: str, onward: str | None = None) -> None:
    """onward: what makes it go on, where that is not serving or running its flow."""
    with context.store.read() as tx:
        row = told(tx, one, {})
    onward = onward or f"`crosswalk serve`, or with the next `crosswalk run {one.flow}`"
    text = f"{one.id} {what}: it goes on with {onward}"
    context.answer({"process": row}, lambda: click.echo(text if one.live else f"{one.id} {what}"))


def _actor(context: Context) -> tuple[Any, str]:
    return context.runner(), context.actor


def _one_or_flow(context: Context, id: str | None, flow: str | None) -> None:
    """An instance or a flow, one of them; the flow is known."""
    if (id is None) == (flow is None):
        raise UsageError(Problem("X931", "name either an instance or, with `--flow`, a flow", None,
                                 "see `crosswalk processes list`"))  # fmt: skip
    known = context.workspace.names("flow", own=True)
    if flow is not None and flow not in known:
        raise UsageError(unknown_name("flow", flow, known, None))


def _answer_all(context: Context, flow: str, found: list[Instance], what: str) -> None:
    with context.store.read() as tx:
        names: dict[bytes, list[str]] = {}
        rows = [told(tx, one, names) for one in found]
    context.answer({"processes": rows}, lambda: click.echo(f"{flow}: {len(rows)} {what}"))


@processes.command("pause")
@click.argument("id", required=False)
@click.option("--flow", help="Every instance of one flow that is not over.")
@BECAUSE
@common
@pass_context
def pause(context: Context, id: str | None, flow: str | None, because: str) -> None:
    """Let an instance, or those of a flow, do no step; timers and events that come meanwhile act when it is resumed."""
    from engine.run.decisions import pause_flow, pause_instance

    _one_or_flow(context, id, flow)
    runner, person = _actor(context)
    if flow is not None:
        _answer_all(context, flow, pause_flow(runner, flow, person, because), "paused")
        return
    one = pause_instance(runner, str(id), person, because)
    _answer(context, one, "is paused", f"`crosswalk processes resume {one.id}`")


@processes.command("resume")
@click.argument("id", required=False)
@click.option("--flow", help="Every paused instance of one flow.")
@click.option("--because", default="", help="Why; it stays in the audit trail.")
@common
@pass_context
def resume(context: Context, id: str | None, flow: str | None, because: str) -> None:
    """End a pause; try the open step again, or go on with taking back, once what was wrong is mended."""
    from engine.run.decisions import resume_flow, resume_instance

    _one_or_flow(context, id, flow)
    runner, person = _actor(context)
    if flow is not None:
        _answer_all(context, flow, resume_flow(runner, flow, person, because), "resumed")
        return
    _answer(context, resume_instance(runner, str(id), person, because), "is resumed")


@processes.command("cancel")
@click.argument("id")
@BECAUSE
@common
@pass_context
def cancel(context: Context, id: str, because: str) -> None:
    """Give an instance up: what it did is taken back. One that needs a person is over: they saw to the rest."""
    from engine.run.decisions import cancel_instance

    runner, person = _actor(context)
    _answer(context, cancel_instance(runner, id, person, because), "is cancelled")


def instance_lines(found: list[Fields]) -> Iterator[str]:
    """What instances of a process flow would do, for people."""
    for one in found:
        why = f" ({one['waiting']})" if one["waiting"] else ""
        at = f" at {one['step']}" if one["step"] else ""
        message = f": {one['message']}" if one["message"] else ""
        yield printable(
            f"  {one['instance'] or 'a new instance'} for {one['record']}: {one['state']}{why}{at}{message}"
        )
        for step in one["steps"]:
            yield printable(f"      {step['step']}: {step['what']}")
