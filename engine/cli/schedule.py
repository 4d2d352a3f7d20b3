"""`schedule`: when flows come due, and letting one rest."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import click

from engine.cli.answer import plain, printable, table
from engine.cli.main import Context, common, pass_context
from engine.sdk.errors import UsageError, unknown_name
from engine.sdk.record import Fields


@click.group()
@common
def schedule() -> None:
    """What starts flows, when they come due, and letting one rest."""


@schedule.command("list")
@common
@pass_context
def list_schedules(context: Context) -> None:
    """Every trigger of every flow: when it comes next, what became of its last tick, who paused the flow."""
    from engine.state import ticks

    with context.store.read() as tx:
        now, last, paused = tx.now(), ticks.last(tx), ticks.paused(tx)
    rows = []
    for flow, trigger, entry in _triggers(context):
        tick, rest = last.get(flow), paused.get(flow)
        told: Fields = {"flow": flow, "trigger": trigger, "next": None, "last": None, "paused": None}
        if entry is not None and rest is None:
            told["next"] = _text(entry.schedule.next(_moment(now)))
        if entry is not None and tick is not None:
            told["last"] = {"scheduled_for": tick.scheduled_for, "state": tick.state, "why": tick.why, "run": tick.run}
        if rest is not None:
            told["paused"] = {"since": rest.since, "by": rest.person, "because": rest.because}
        rows.append(told)

    def text() -> None:
        if not rows:
            click.echo("no flow has a trigger: add `trigger:` to one")
            return
        table(("flow", "trigger", "next", "last", "paused"), [
            [one["flow"], one["trigger"], plain(one["next"]), _last(one["last"]), _rest(one["paused"])] for one in rows
        ])  # fmt: skip

    context.answer({"schedules": rows}, text)


def _last(told: Fields | None) -> str:
    if told is None:
        return "—"
    return f"{told['scheduled_for'][:16]}Z {told['state']}{': ' + told['why'] if told['why'] else ''}"


def _rest(told: Fields | None) -> str:
    return "" if told is None else f"since {told['since'][:16]}Z by {told['by']}: {told['because']}"


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment is not None else None


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _triggers(context: Context) -> Iterable[tuple[str, str, Any]]:
    """(flow, its trigger as people read it, its schedule's entry where it is one)."""
    from engine.serve.scheduler import entries

    workspace = context.workspace
    known = {(one.flow, one.text): one for one in entries(workspace)}
    for name in workspace.names("flow", own=True):
        flow = workspace.document("flow", name).model
        for one in flow.trigger:
            if one.schedule is not None:
                zone = one.timezone or getattr(flow, "timezone", None) or "UTC"
                text = f"{' '.join(one.schedule.split())} {zone}"
                yield name, text, known.get((name, text))
            elif one.webhook is not None:
                yield name, f"webhook {one.webhook.connection} /hooks/{one.webhook.path}", None
            else:
                yield name, f"event {one.event}" if one.event is not None else f"after {one.after}", None


@schedule.command("next")
@click.argument("flows", nargs=-1)
@click.option("--count", default=5, show_default=True, type=click.IntRange(1, 1000), help="Ticks of each schedule.")
@click.option("--from", "since", help="Instant to begin after, such as 2026-10-24T00:00:00Z; now otherwise.")
@common
@pass_context
def next_ticks(context: Context, flows: tuple[str, ...], count: int, since: str | None) -> None:
    """The next ticks, in UTC and on the wall clock of their zone: what a change of the clocks does to them shows here."""
    from itertools import islice

    for name in flows:
        _known(context, name)
    start = _start(context, since)
    rows: list[Fields] = []
    for flow, text, entry in _triggers(context):
        if entry is None or (flows and flow not in flows):
            continue
        for tick in islice(entry.schedule.after(start), count):
            local = tick.astimezone(entry.schedule.zone)
            rows.append({"flow": flow, "schedule": text, "at": _text(tick), "local": local.isoformat()})
    rows.sort(key=lambda one: (one["at"], one["flow"]))

    def show() -> None:
        if not rows:
            click.echo("no schedule")
            return
        table(
            ("at", "local", "flow", "schedule"),
            [[one["at"], one["local"], one["flow"], one["schedule"]] for one in rows],
        )

    context.answer({"ticks": rows}, show)


def _start(context: Context, since: str | None) -> datetime:
    from engine.sdk.errors import Problem

    if since is None:
        with context.store.read() as tx:
            return _moment(tx.now())
    try:
        found = datetime.fromisoformat(since)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise UsageError(Problem("X900", f"{since!r} is no instant", None, "write one such as 2026-10-24T00:00:00Z"))
    return found


def _known(context: Context, flow: str) -> None:
    known = context.workspace.names("flow", own=True)
    if flow not in known:
        raise UsageError(unknown_name("flow", flow, known, None))


@schedule.command("pause")
@click.argument("flow")
@click.option("--because", required=True, help="Why; shown in `schedule list` and kept in the audit trail.")
@common
@pass_context
def pause(context: Context, flow: str, because: str) -> None:
    """Let nothing start a flow but a person: its ticks are skipped, its webhooks wait in the inbox, and instances of a
    process flow stand still; timers and events that come meanwhile act when the pause ends."""
    from engine.state import audit, ticks

    _known(context, flow)
    with context.store.begin("pause") as tx:
        fresh = ticks.pause(tx, flow, context.actor, because)
        if fresh:
            audit.append(tx, context.actor, "schedule pause", flow, {"because": because})
    said = f"{flow} is paused" if fresh else f"{flow} was paused already"
    context.answer({"paused": flow}, lambda: click.echo(printable(said)))


@schedule.command("resume")
@click.argument("flow")
@common
@pass_context
def resume(context: Context, flow: str) -> None:
    """End a pause: the next tick counts, and what came in the meantime is done."""
    from engine.state import audit, inbox, processes, ticks, units

    _known(context, flow)
    with context.store.begin("resume") as tx:
        ended = ticks.resume(tx, flow)
        waited = inbox.release(tx, flow) if ended else 0
        if ended:
            units.hurry(tx, "flow", flow)
            processes.wake(
                tx, [one.id for one in processes.listed(tx, flow, limit=1_000_000) if one.state not in processes.STILL]
            )
            audit.append(tx, context.actor, "schedule resume", flow, {"events": waited})
    said = f"{flow} goes on; {waited} events waited" if ended else f"{flow} was not paused"
    context.answer({"resumed": flow, "events": waited}, lambda: click.echo(printable(said)))
