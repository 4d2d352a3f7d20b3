"""`test --chaos`: the workspace's flows on systems that fail and in processes that die, judged by what the systems took.

First once without a fault, which tells what ought to be there. Then on fresh systems that fail at a fifth of their
requests, each run dying somewhere, and in the end until nothing is left to do, without a fault. Every record that the
first pass wrote must be there once, with the same content, or be an exception.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from random import Random
from typing import Any

from engine.run.arena import Arena, Died, Fuse
from engine.run.items import merge_fields
from engine.run.runner import Runner
from engine.run.session import Options
from engine.run.stage import passing_state
from engine.sdk.errors import Problem, UsageError
from engine.sdk.record import Fields, same
from engine.spec.sync import SyncFlow
from engine.spec.testcase import TestFile
from engine.spec.workspace import Workspace
from engine.state import care, exceptions
from engine.state.store import Store

ROUNDS = 3
"""Runs of each flow that die; one more only fails."""
LAST = 6
"""Runs of each flow at most in which all must come to rest; before each, twice as much time has passed as before."""
AGE = 600
"""Seconds by which the state looks older before the first of them: leases end, writes in doubt may be judged."""
Place = tuple[str, str, str]
"""(system, object, mark of the record; its native id where it was there before)."""


@dataclass
class Report:
    """What chaos did, and what came of it. Records are told as `system object mark`."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    deaths: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    records: int = 0
    doubled: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    exceptions: int = 0

    @property
    def good(self) -> bool:
        return not (self.doubled or self.lost or self.changed or self.failed)

    def as_json(self) -> Fields:
        return {**vars(self), "faults": dict(self.faults), "deaths": dict(self.deaths), "good": self.good}


@dataclass
class Pass:
    """What one pass left: each record's writes folded to its content, how often it was made, who has an exception."""

    held: dict[Place, Fields] = field(default_factory=dict)
    made: Counter[Place] = field(default_factory=Counter)
    means: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    """(system, native id) → marks of the records, one an object, that have it."""
    troubled: set[str] = field(default_factory=set)
    exceptions: int = 0


def run_chaos(workspace: Workspace, names: Iterable[str], seed: int, fakes: Callable[[], Any]) -> Report:
    """Play chaos on flows, the workspace's own where none is named. fakes: opens the bundled systems, closed again here.

    Raises UsageError where there is no flow.
    """
    flows = [one for one in tuple(names) or tuple(workspace.names("flow", own=True)) if _syncs(workspace, one)]
    if not flows:
        raise UsageError(
            Problem("X900", "the workspace has no sync flow of its own", None, "name flows of the library")
        )
    report, passes = Report(seed), _Passes(workspace, flows, seed, fakes)
    wanted = passes.calm()
    found = passes.stormy(report)
    _compare(report, wanted, found)
    return report


def _syncs(workspace: Workspace, name: str) -> bool:
    return isinstance(workspace.document("flow", name).model, SyncFlow)


class _Passes:
    """The two passes over the flows, on systems and states of their own."""

    def __init__(self, workspace: Workspace, flows: list[str], seed: int, fakes: Callable[[], Any]) -> None:
        self.workspace, self.flows, self.seed, self.fakes = workspace, flows, seed, fakes
        self.given = _given(workspace, flows)
        self.lengths: dict[str, int] = {}
        """Crash points that a run of a flow passes."""

    def _box(self) -> Any:
        used = any("${sandbox:" in str(one) for one in self.workspace.settings.connections.values())
        return closing(self.fakes()) if used else nullcontext()

    def calm(self) -> Pass:
        """Without a fault, until nothing moves any more."""
        with self._box() as box, passing_state() as store:
            arena = Arena(self.workspace, box, self.given, self.seed)
            for name in self.flows:
                store.crashpoint = fuse = Fuse()
                self._run(arena, store, name)
                self.lengths[name] = fuse.passed
            self._rest(arena, store, None)
            return _left(arena, store)

    def stormy(self, report: Report) -> Pass:
        """Failing and dying, then until nothing moves any more."""
        draw = Random(self.seed)  # noqa: S311 - repeatable, not secret
        with self._box() as box, passing_state() as store:
            arena = Arena(self.workspace, box, self.given, self.seed)
            arena.trouble(True)
            for number in range(ROUNDS + 1):  # in the last of them systems fail, and no process dies
                for name in self.flows:
                    end = draw.randint(1, self.lengths[name] + 2) if number < ROUNDS else None
                    store.crashpoint = fuse = Fuse(end)
                    report.runs += 1
                    try:
                        self._run(arena, store, name)
                    except Died:
                        report.deaths[fuse.name] += 1
                    store.crashpoint = lambda name: None
                    care.age(store, AGE)
            report.faults = arena.faults()
            arena.trouble(False)
            self._rest(arena, store, report)
            return _left(arena, store)

    def _run(self, arena: Arena, store: Store, name: str) -> Fields:
        return Runner(arena, store).run(name, Options()).run

    def _rest(self, arena: Arena, store: Store, report: Report | None) -> None:
        for number in range(LAST):
            ended = {name: self._run(arena, store, name) for name in self.flows}
            care.age(store, AGE * 2**number)
            if report is not None:
                report.runs += len(ended)
            moved = sum(one["created"] + one["updated"] + one["deleted"] for one in ended.values())
            if not moved and number:  # what waits for a write in doubt moves once the state is older
                break
        for name, one in ended.items():
            if report is not None and one["state"] not in ("succeeded", "partial"):
                report.failed.append(
                    f"{name}: {one['state']}: {(one['error'] or {}).get('message') or one['held_because']}"
                )


def _given(workspace: Workspace, flows: list[str]) -> dict[str, dict[str, list[Fields]]]:
    """What systems in memory hold at the start: what the flows' tests give, the first of each object."""
    found: dict[str, dict[str, list[Fields]]] = {}
    for name in workspace.names("test", own=True):
        test: TestFile = workspace.document("test", name).model
        for case in test.every_case() if test.flow in flows else ():
            for connection, objects in (case.given or {}).items():
                known = found.setdefault(connection, {})
                for one, rows in objects.items():
                    known.setdefault(one, rows)
    return found


def _left(arena: Arena, store: Store) -> Pass:
    with store.read() as tx:
        open_ = exceptions.listed(tx, limit=sys.maxsize)
    left = Pass(exceptions=len(open_), troubled={str(one.canonical_id) for one in open_} | {one.key for one in open_})
    marks: dict[Place, str] = {}
    for one in arena.journal():
        at = (one.system, one.object, one.id)
        if one.op == "create" and one.mark:
            marks[at] = one.mark
            left.means.setdefault((one.system, one.id), set()).add(one.mark)
        place = (one.system, one.object, marks.get(at, one.id))
        left.made[place] += one.op == "create" and one.mark is not None
        left.held[place] = {} if one.op == "delete" else merge_fields(left.held.get(place, {}), one.fields)
    return left


def _alike(one: Any, other: Any, wanted: Pass, found: Pass, system: str) -> bool:
    """Whether two values say the same: native ids differ from pass to pass, the records that they mean do not."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[name], other[name], wanted, found, system) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(
            _alike(mine, theirs, wanted, found, system) for mine, theirs in zip(one, other, strict=True)
        )
    if same(one, other):
        return True
    means = wanted.means.get((system, str(one)), set()) & found.means.get((system, str(other)), set())
    return isinstance(one, str) and isinstance(other, str) and bool(means)


def _compare(report: Report, wanted: Pass, found: Pass) -> None:
    """What the second pass left against what the first one did."""
    report.records, report.exceptions = len(wanted.held), found.exceptions
    report.doubled = sorted(_shown(place) for place, count in found.made.items() if count > max(1, wanted.made[place]))
    for place, fields in sorted(wanted.held.items()):
        if place[2].split(".")[0] in found.troubled:
            continue
        if place not in found.held:
            report.lost.append(_shown(place))
        elif names := _differing(place[0], fields, found.held[place], wanted, found):
            report.changed.append(f"{_shown(place)}: {', '.join(names)}")


def _differing(system: str, fields: Fields, others: Fields, wanted: Pass, found: Pass) -> list[str]:
    names = {**fields, **others}
    return [name for name in names if not _alike(fields.get(name), others.get(name), wanted, found, system)]


def _shown(place: Place) -> str:
    return " ".join(place)
