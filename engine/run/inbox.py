"""Draining the inbox: an event is a hint, so its record is read again and goes through every flow that its path starts.

Units of many records are drained together: one run of a flow for up to a hundred of them, however many events there were.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from engine.run.chains import ask_followers
from engine.run.events import Routes, arrived, event_from
from engine.run.runner import Result
from engine.run.session import Options
from engine.run.work import Work
from engine.sdk.cloudevents import STRUCTURED, parse
from engine.sdk.errors import CrosswalkError, Problem, SpecError, UsageError
from engine.sdk.record import Record, decode_json
from engine.spec.workspace import Workspace
from engine.state import inbox, inputs, leases, ticks, units
from engine.state.inbox import Row
from engine.state.store import Tx
from engine.state.units import Unit

TOGETHER = 100
"""Records of a run, at most."""
BUSY = 1.0
"""Seconds after which records are tried again whose flow is being run."""


class Hook(NamedTuple):
    """A webhook's path: who calls it, and the flows that it starts, each with the object that it reads (None: another
    system's)."""

    connection: str
    flows: tuple[tuple[str, str | None], ...]


def hooks(workspace: Workspace) -> dict[str, Hook]:
    """Path → who calls it. Documents that are wrong raise SpecError."""
    found: dict[str, Hook] = {}
    for name in workspace.names("flow", own=True):
        flow: Any = workspace.document("flow", name).model
        for trigger in flow.trigger if flow.mode != "off" else ():
            if trigger.webhook is None:
                continue
            asked, source = trigger.webhook, getattr(flow, "source", None)
            mine = source is not None and source.connection == asked.connection
            object = workspace.document("mapping", source.mapping).model.object if mine and source is not None else None
            known = found.get(asked.path, Hook(asked.connection, ()))
            found[asked.path] = known._replace(flows=(*known.flows, (name, object)))
    return found


@dataclass
class Plan:
    """What rows ask for. records: flow → record key → its rows; whole: flows that run for all that is new, with rows."""

    records: dict[str, dict[str, list[Row]]] = field(default_factory=dict)
    whole: dict[str, list[Row]] = field(default_factory=dict)
    left: dict[int, dict[str, str]] = field(default_factory=dict)
    """Row → flow → why it is still for it: paused, again, held."""

    @classmethod
    def of(cls, rows: Iterable[Row], known: dict[str, Hook], paused: Iterable[str]) -> Plan:
        plan = cls()
        for row in rows:
            hook = known.get(row.path)
            for name, object in hook.flows if hook is not None and hook.connection == row.connection else ():
                if row.flows is not None and name not in row.flows:
                    continue
                if name in paused:
                    plan.keep([row], name, "paused")
                elif row.key is None or object is None:
                    plan.whole.setdefault(name, []).append(row)
                elif row.object is None or row.object == object:
                    plan.records.setdefault(name, {}).setdefault(row.key, []).append(row)
        return plan

    def keep(self, rows: Iterable[Row], flow: str, why: str) -> None:
        for row in rows:
            self.left.setdefault(row.seq, {})[flow] = why


def drain(work: Work, held: Sequence[Unit]) -> None:
    """Bring what systems told us about to the flows that it is for."""
    with work.store.read() as tx:
        rows = inbox.waiting(tx, [unit.key for unit in held])
        paused = ticks.paused(tx)
    plan = Plan.of(rows, work.kept("hooks", hooks), paused)
    problems: dict[str, Problem] = {}
    wrote: list[str] = []
    for name, records in plan.records.items():
        if _drained(work, plan, problems, name, records):
            wrote.append(name)
    _settle(work, held, rows, plan, problems, wrote)


def _drained(work: Work, plan: Plan, problems: dict[str, Problem], name: str, records: dict[str, list[Row]]) -> bool:
    """Run a flow for these records; whether it wrote anything."""
    wrote = False
    for part in _parts(list(records)):
        rows = [row for key in part for row in records[key]]
        with work.store.read() as tx:
            busy = leases.taken(tx, f"flow:{name}")
            seen = inputs.get(tx, name, [row.key or "" for row in rows if row.record is not None])
        if busy or work.parked:
            plan.keep(rows, name, "busy")
            continue
        try:
            result = work.run(name, _options(part, records, seen))
        except (SpecError, UsageError) as error:
            problems[name] = error.problem
            plan.keep(rows, name, "never")
            continue
        except CrosswalkError as error:
            problems[name] = error.problem
            plan.keep(rows, name, "again")
            continue
        why = _left(result)
        if why == "never" and len(part) > 1 and result.run["state"] == "failed":  # one of them may be the culprit
            for half in (part[: len(part) // 2], part[len(part) // 2 :]):
                wrote |= _drained(work, plan, problems, name, {key: records[key] for key in half})
            continue
        if why is not None:
            problems.setdefault(name, _problem(result))
            plan.keep(rows, name, why)
        wrote |= any(result.run[count] for count in ("created", "updated", "deleted"))
    return wrote


def _parts(keys: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(keys), TOGETHER):
        yield keys[start : start + TOGETHER]


def _left(result: Result) -> str | None:
    """Why the records are still to be done: busy, again, never; None where they are done."""
    state = result.run["state"]
    if state in ("succeeded", "partial"):
        return None
    if state == "skipped":
        return "busy"
    return "again" if state == "cancelled" or result.passing else "never"


def _problem(result: Result) -> Problem:
    error = result.run["error"] or {"code": "R610", "message": result.run["held_because"] or result.run["state"]}
    return Problem(str(error["code"]), str(error["message"]))


def _options(keys: list[str], records: dict[str, list[Row]], seen: dict[str, inputs.Seen]) -> Options:
    """A run of these records: read again, but for those that came whole, with a version that can be compared."""
    given: dict[str, Record] = {}
    for key in keys:
        newest = max(records[key], key=lambda row: (row.at or "", row.seq))
        known = seen[key].modified if key in seen else None
        lengths = {len(at or "") for at in (*(row.at for row in records[key]), known or newest.at)}
        if newest.record is not None and newest.at and not newest.deleted and len(lengths) == 1:
            given[key] = Record(key, decode_json(newest.record), newest.at)
    first = records[keys[0]][0]
    gone = frozenset(key for key in keys if key not in given and any(row.deleted for row in records[key]))
    asked = tuple(f"{first.connection}:{key}" for key in keys)
    return Options(records=asked, given=given, gone=gone, trigger=f"webhook {first.path}")


def _settle(work: Work, held: Sequence[Unit], rows: list[Row], plan: Plan, problems: dict[str, Problem], wrote: list[str]) -> None:  # fmt: skip
    """Note what became of every row, and end the units, in one transaction."""
    with work.store.begin("inbox") as tx:
        for name in plan.whole:
            lane = work.workspace.document("flow", name).model.policy.lane
            units.put(tx, "flow", name, lane=lane, payload={"trigger": "webhook"})
        for name in wrote:
            ask_followers(tx, work, name)
        _heard(work, tx, rows)
        inbox.settle(tx, [(row.seq, *_state_of(plan.left.get(row.seq, {}))) for row in rows])
        left: dict[str, dict[str, str]] = {}
        for row in rows:
            left.setdefault(row.unit, {}).update(plan.left.get(row.seq, {}))
        over = [unit for unit in held if set(left.get(unit.key, {}).values()) <= {"paused"}]
        units.done_all(tx, over)
        for unit in sorted((one for one in held if one not in over), key=lambda each: each.key):
            _end(work, tx, unit, left[unit.key], problems)


def _heard(work: Work, tx: Tx, rows: list[Row]) -> None:
    """Events of others start flows and are heard by processes, by their type; those that nobody wants are done."""
    typed = [row for row in rows if row.type is not None and row.body is not None and row.flows is None]
    if not typed:
        return
    routes = Routes.of(work.workspace)
    for row in typed:
        for event in parse({"content-type": STRUCTURED}, row.body or b""):
            arrived(tx, routes, event_from(event))


def _state_of(left: dict[str, str]) -> tuple[str, tuple[str, ...] | None]:
    if not left:
        return "done", None
    return ("held" if set(left.values()) == {"paused"} else "new"), tuple(sorted(left))


def _end(work: Work, tx: Tx, unit: Unit, left: dict[str, str], problems: dict[str, Problem]) -> None:
    """A unit that is not done: tried again, or given up where nothing but a person can help."""
    reasons = set(left.values())
    problem = next((problems[flow] for flow in left if flow in problems), Problem("R603", "the run was stopped"))
    if "again" in reasons:
        work.again_in(tx, [unit], problem)
    elif "busy" in reasons:
        work.put_back_in(tx, unit, 0 if work.parked else BUSY)
    else:
        work.give_up_in(tx, [unit], problem)
