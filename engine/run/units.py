"""What an executor does with a unit of work: one function a kind. Each ends its units itself, in the transaction that
notes what was done, so that a worker that dies leaves either all of it or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from engine.run.chains import ask_followers
from engine.run.inbox import drain
from engine.run.indicators import judge, relevant
from engine.run.process import advance
from engine.run.relay import relayed
from engine.run.runner import Result
from engine.run.session import Options
from engine.run.work import Work
from engine.sdk.errors import CrosswalkError, Problem, SpecError, UsageError
from engine.sdk.record import Fields
from engine.spec.workspace import Workspace
from engine.state import leases, operations, runs, ticks, units
from engine.state.store import Store, Tx
from engine.state.units import Unit

PAUSED = 3600.0
"""Seconds after which a paused flow is looked at again; its end asks at once."""
BUSY = 1.0
"""Seconds after which work is tried again whose flow is being run."""
ENDED = ("succeeded", "partial")


def perform(workspace: Workspace, store: Store, unit: Unit) -> None:
    """Do one unit that is held."""
    perform_all(Work(workspace, store), [unit])


def perform_all(work: Work, held: Sequence[Unit]) -> None:
    """Do units of one kind that are held. What cannot be done now is put back, and given up in the end; the reason stays
    in its row."""
    try:
        KINDS[held[0].kind](work, held)
    except (SpecError, UsageError) as error:
        work.give_up(held, error.problem)
    except CrosswalkError as error:
        work.again(held, error.problem)
    except Exception as error:  # noqa: BLE001 - a worker outlives whatever a unit does
        text = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        work.again(held, Problem("X999", f"a fault of crosswalk itself: {text}", None, "report it"))


def _each(function: Callable[[Work, Unit], None]) -> Callable[[Work, Sequence[Unit]], None]:
    def all_of(work: Work, held: Sequence[Unit]) -> None:
        for unit in held:
            function(work, unit)

    return all_of


def start_flow(work: Work, unit: Unit) -> None:
    """Run a flow: for the tick that is due, for records that an event names, or because something else asked."""
    payload: Fields = unit.payload or {}
    name, records = str(payload.get("flow") or unit.key), tuple(payload.get("records") or ())
    with work.store.read() as tx:
        paused = name in ticks.paused(tx)
        tick = None if records else ticks.first_due(tx, name)
        busy = leases.taken(tx, f"flow:{name}")
        shortly = busy and (records or _ends_soon(tx, name))
    if paused or work.parked:
        work.put_back(unit, PAUSED if paused else 0)
        return
    flow: Any = work.workspace.document("flow", name).model
    if busy and (shortly or flow.overlap == "queue"):
        work.put_back(unit, BUSY)
        return
    trigger = f"schedule {tick}" if tick else str(payload.get("trigger") or "event")
    more = {name: payload[name] for name in ("correlation",) if payload.get(name)}
    result = work.run(name, Options(records=records, trigger=trigger, tick=tick, **more))
    _end_of_flow(work, unit, name, tick, result)


def _ends_soon(tx: Tx, flow: str) -> bool:
    """Whether what goes on are single records."""
    run = runs.going_on(tx, flow)
    return run is not None and bool((run.options or {}).get("records"))


def _end_of_flow(work: Work, unit: Unit, name: str, tick: str | None, result: Result) -> None:
    state, error = str(result.run["state"]), result.run["error"]
    if work.parked and state == "cancelled":
        work.put_back(unit, 0)
        return
    if state == "failed" and result.passing and not work.last_try(unit):
        work.again([unit], Problem(error["code"], error["message"]))
        return
    with work.store.begin("unit") as tx:
        if tick is not None and state in ("failed", "cancelled", "skipped"):
            ended = "skipped" if state == "skipped" else "over"
            ticks.move(tx, name, tick, ended, why=result.run["held_because"] or state, run=str(result.run["run"]))
        if state in ENDED:
            ask_followers(tx, work, name)
        if state == "failed" and tick is None:
            units.failed(tx, unit, f"{error['code']} {error['message']}")
        elif ticks.more_due(tx, name):
            units.later(tx, unit, tx.now(), counted=False)
        else:
            units.done(tx, unit)


def resolve(work: Work, unit: Unit) -> None:
    """Settle writes in doubt of a connection: each flow that has some tries what is due, and reads nothing new."""
    with work.store.read() as tx:
        flows = operations.flows_in_doubt(tx, unit.key)
    for name in flows:
        with work.store.read() as tx:
            if leases.taken(tx, f"flow:{name}"):
                continue  # it settles them itself
        work.run(name, Options(replay=True, trigger="replay"))
    with work.store.begin("unit") as tx:
        units.done(tx, unit)


def move_on(work: Work, unit: Unit) -> None:
    """Move a process instance on, and look at it again when its timer says so."""
    if work.parked:
        work.put_back(unit, 0)
        return
    with work.runner() as runner:
        due = advance(runner, unit.key)
    _next(work, unit, due)


def bring(work: Work, unit: Unit) -> None:
    """Bring events of the outbox to one destination."""
    sent, due = relayed(work.workspace, work.store, unit.key)
    if sent:
        work.tell("events sent", destination=unit.key, events=sent)
    _next(work, unit, due)


def measure(work: Work, unit: Unit) -> None:
    """Compute the indicators, and open or close the alerts of their limits."""
    with work.store.read() as tx:
        names = relevant(tx, work.workspace)
    for value in judge(work.store, work.workspace, names):
        if value.error is not None:
            work.tell("indicator failed", indicator=value.plan.name, code=value.error.code)
    with work.store.begin("unit") as tx:
        units.done(tx, unit)


def _next(work: Work, unit: Unit, due: str | None) -> None:
    """The unit is over, or due again."""
    with work.store.begin("unit") as tx:
        if due is None:
            units.done(tx, unit)
        else:
            units.later(tx, unit, due, counted=False)


KINDS: dict[str, Callable[[Work, Sequence[Unit]], None]] = {
    "flow": _each(start_flow),
    "inbox": drain,
    "measure": _each(measure),
    "process": _each(move_on),
    "relay": _each(bring),
    "resolve": _each(resolve),
}
"""Kind of unit → what does it."""
