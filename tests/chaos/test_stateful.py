"""Any order of edits, faults, deaths, passing time and replays ends with each record there once, as its source has it.

Time is the test's own: late commits and listings, leases, writes in doubt and what may still be sent grow older by so many
seconds at once. A worker that freezes does so at a point of its run where another one takes over, works to its end, and
lets it go on.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from engine.compile.registry import Registry
from engine.compile.sync import Describe, SyncPlan, compile_sync
from engine.run.arena import LOST, Died, Fuse
from engine.run.memory import KINDS, MemoryConnector
from engine.run.runner import Runner
from engine.run.session import Options
from engine.run.stage import Stage
from engine.sdk.config import ConnectionConfig, ConnectionContext
from engine.sdk.connector import ObjectInfo, Operation, Outcome
from engine.sdk.record import Fields, Record
from engine.spec.load import Document
from engine.spec.testcase import TestFile
from engine.spec.workspace import Workspace
from engine.state import care, exceptions
from engine.state.kept import kept_of
from engine.state.store import Store
from tests.chaos.line import FILES, FLOW

EXAMPLES, STEPS = int(os.environ.get("CHAOS_EXAMPLES", "125")), int(os.environ.get("CHAOS_STEPS", "50"))
"""Runs of each class, and steps of a run."""
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
NAMES = st.sampled_from([f"n{number}" for number in range(6)])
LATE = INDEX = 60
SETTINGS = """crosswalk: 1
name: stateful
connections:
  src: { connector: files, path: data }
  box: { connector: files, path: data }
"""


class Target(MemoryConnector):
    """A target of any class; what its next writes meet is told beforehand."""

    kind = "C"
    clock: ClassVar[float] = 0.0
    """Everybody's: the target's and the workers'."""

    def prepared(self, kind: str) -> Target:
        self.kind, Target.clock = kind, 0.0
        self.faults: list[tuple[str, int]] = []
        self.later: list[tuple[float, Operation]] = []
        self.listed: dict[str, float] = {}
        self.keys: dict[str, Outcome] = {}
        self.creates: Counter[str] = Counter()
        self.newest: dict[str, int] = {}
        self.undone: list[str] = []
        self.index = 0
        return self

    def advance(self, seconds: float) -> None:
        for due, operation in sorted(self.later, key=lambda one: one[0]):
            if due <= self.clock + seconds:
                seconds -= max(0.0, due - Target.clock)
                Target.clock = max(Target.clock, due)
                self.later.remove((due, operation))
                self.done(operation)
        Target.clock += seconds

    def find(self, name: str, by: Sequence[Fields], fields: tuple[str, ...] = ()) -> list[list[Record]]:
        found = super().find(name, by, fields)
        return [[one for one in rows if self.listed.get(one.key, 0.0) <= self.clock] for rows in found]

    def write(self, name: str, operations: Sequence[Operation]) -> list[Outcome]:
        return [self.one(operation) for operation in operations]

    def one(self, operation: Operation) -> Outcome:
        if operation.send_by is not None and self.clock > operation.send_by:
            return Outcome(operation.id, "retry", operation.key, problem=LOST)
        what, lag = self.faults.pop() if self.faults else ("", 0)
        self.index = lag
        if what == "busy":
            return Outcome(operation.id, "retry", operation.key, problem=LOST)
        if what == "late":
            self.later.append((self.clock + lag, operation))
        outcome = self.done(operation) if what in ("", "after") else None
        return outcome if outcome and not what else Outcome(operation.id, "in_doubt", operation.key, problem=LOST)

    def done(self, operation: Operation) -> Outcome:
        key = operation.idempotency_key if self.kind == "B" else None
        if key in self.keys:
            return replace(self.keys[key], id=operation.id)
        name, n = str(operation.record["name"]), int(operation.record["n"])
        self.undone += [name] if n < self.newest.get(name, 0) else []
        self.newest[name] = max(n, self.newest.get(name, 0))
        given = replace(operation, key=None) if operation.kind == "create" else operation
        (outcome,) = super().write("items", [given])
        if outcome.state == "created" and operation.kind in ("create", "upsert"):
            self.creates[name] += 1
            self.listed[str(outcome.key)] = self.clock + self.index
        if key and outcome.state == "created":
            self.keys[key] = outcome
        return outcome

    def _given_key(self, info: ObjectInfo, record: Fields) -> str | None:
        return None  # it gives ids itself


class World(Stage):
    """The workspace on a source and a target in memory."""

    def __init__(self, real: Workspace, kind: str) -> None:
        super().__init__(real, TestFile.model_construct(test="stateful", keys={}))
        config = ConnectionConfig.model_validate(
            {"connector": "memory", "retries": 1, "backoff": "1ms..1ms", "timeout": "1s"}
        )
        know = {"src": self.source_info, "box": self.target_info}
        self.kind = kind
        self.source = MemoryConnector(config, ConnectionContext("src"), know["src"])
        self.target = Target(config, ConnectionContext("box"), know["box"]).prepared(kind)

    def source_info(self, name: str) -> ObjectInfo:
        return ObjectInfo(name, ("id",), operations=KINDS)

    def target_info(self, name: str) -> ObjectInfo:
        kinds = KINDS if self.kind == "A" else KINDS - {"upsert"}
        return ObjectInfo(name, ("id",), operations=kinds, write_class=self.kind, late=LATE, index=INDEX, marker="ref",  # type: ignore[arg-type]
                          key_life=10**9)  # fmt: skip

    def connector(self, name: str, *_: Any, **__: Any) -> Any:
        return self.source if name == "src" else self.target


@cache
def workspace() -> Workspace:
    """Its documents are read once."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    atexit.register(shutil.rmtree, folder)
    for name, text in {**FILES, "flows/things.yaml": FLOW % 3, "crosswalk.yaml": SETTINGS}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    opened = Workspace.open(folder)
    compile_sync(opened.document("flow", "things"), Registry(opened), None)
    return opened


@cache
def empty() -> Path:
    """A new state, to be copied."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    atexit.register(shutil.rmtree, folder)
    Store.open("sqlite:///state.db", folder).close()
    return folder / "state.db"


class Delivery(RuleBasedStateMachine):
    """A source, a target, a state, and everything that may happen to them."""

    kind = "C"

    @initialize()
    def begin(self) -> None:
        self.place = tempfile.TemporaryDirectory(prefix="chaos-", dir=MEMORY)
        folder = Path(self.place.name)
        shutil.copyfile(empty(), folder / "state.db")
        self.world = World(workspace(), self.kind)
        self.store, self.other = (Store.open("sqlite:///state.db", folder) for _ in range(2))
        self.wanted: dict[str, int] = {}
        self.deaths = 0
        self.others: dict[str, str] = {}

    @property
    def target(self) -> Target:
        return self.world.target

    @rule(name=NAMES)
    def edit_source(self, name: str) -> None:
        self.wanted[name] = self.wanted.get(name, 0) + 1
        self.world.source.put("things", [{"id": one, "name": one, "n": n} for one, n in self.wanted.items()])

    @rule(name=NAMES, text=st.sampled_from("xyz"))
    def edit_target(self, name: str, text: str) -> None:
        for row in self.target.rows.get("items", {}).values():
            if row["name"] == name:
                row["note"] = self.others[name] = text

    @rule(what=st.sampled_from(["before", "after", "late", "busy"]), lag=st.integers(0, LATE), count=st.integers(1, 3))
    def will_fail(self, what: str, lag: int, count: int) -> None:
        if what == "late" and self.kind in "AB":
            what = "after"  # an old body that is done late: tests/chaos/test_kills.py
        self.target.faults += [(what, lag)] * count

    @rule(full=st.booleans(), until=st.none() | st.integers(1, 24))
    def run(self, full: bool, until: int | None) -> None:
        self.play(Options(full=full), Fuse(until))

    @rule(at=st.integers(1, 24), seconds=st.sampled_from([0, 30, 600]))
    def freeze(self, at: int, seconds: int) -> None:
        """A run stands still; after so many seconds, and with its lease run out, another one takes over."""
        passed = 0

        def point(name: str) -> None:
            nonlocal passed
            if threading.current_thread() is threading.main_thread() and not name.startswith("before commit"):
                passed += 1
                if passed == at:
                    self.store, frozen = self.other, self.store
                    self.time_passes(seconds)
                    with self.store.begin() as tx:
                        tx.run("UPDATE leases SET expires_at = ''")
                    self.play(Options(full=True), Fuse())
                    self.store = frozen

        self.play(Options(full=True), point)

    @rule(stage=st.sampled_from(["raw", "canonical", "payload"]))
    def replay(self, stage: str) -> None:
        """What a person does with exceptions that hold what the stage begins with."""
        with self.store.read() as tx:
            kept = kept_of(tx, [row.id for row in exceptions.listed(tx) if row.flow == "things"])
        chosen = tuple(one.id for one in kept if getattr(one, stage) not in (None, b"", b"{}"))
        if chosen:
            self.play(Options(replay=True, chosen=chosen, stage=stage), Fuse())

    def play(self, options: Options, point: Callable[[str], None]) -> Fields:
        """A run to its end or its death; the counts of it."""
        store = self.store
        store.crashpoint = point
        try:
            return Runner(self.world, store).run("things", options).run
        except Died:
            self.deaths += 1
            return {}
        finally:
            store.crashpoint = lambda name: None

    @rule(seconds=st.sampled_from([1, 30, 61, 130, 600]))
    def time_passes(self, seconds: int) -> None:
        self.target.advance(seconds)
        care.age(self.store, seconds)

    def teardown(self) -> None:
        if not hasattr(self, "place"):
            return
        try:
            self.judge()
        finally:
            self.store.close()
            self.other.close()
            self.place.cleanup()

    def judge(self) -> None:
        self.target.faults.clear()
        for _ in range(8):
            self.time_passes(600)
            told = self.play(Options(full=True), Fuse())
            if told["state"] == "succeeded" and not told["created"] + told["updated"] + told["waiting"]:
                break
        doubled = [name for name, count in self.target.creates.items() if count > 1]
        assert (doubled, self.target.undone) == ([], []), f"class {self.kind}"
        with self.store.read() as tx:
            told = {row.key for row in exceptions.listed(tx)}
        assert self.kind == "D" or not told or self.deaths >= 3, (
            "a record that was there when three runs died is set apart"
        )
        rows = {row["name"]: row for row in self.target.rows.get("items", {}).values()}
        held = {name: row["n"] for name, row in rows.items() if name not in told}
        assert held == {name: n for name, n in self.wanted.items() if name not in told}, f"class {self.kind}"
        assert {name: row["note"] for name, row in rows.items() if "note" in row} == self.others, (
            "what others wrote stays"
        )


SHARES = {"A": 135, "B": 125, "C": 160, "D": 80}
"""Runs of each class, 500 in all: where a write may go again or be searched for there is more to go wrong."""
QUICK = settings(
    max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, derandomize="CHAOS_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck), database=None, phases=[Phase.generate],
)  # fmt: skip


@pytest.mark.parametrize("kind", ["A", "B", "C", "D"])
def test_any_order_of_events(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plans: dict[tuple[Workspace, bool], SyncPlan] = {}

    def compiled(document: Document, registry: Registry, describe: Describe | None) -> SyncPlan:
        """Compiled once for a world: its documents do not change."""
        place = (registry.workspace, describe is None)
        if place not in plans:
            plans[place] = compile_sync(document, registry, describe)
        return plans[place]

    monkeypatch.setattr("engine.run.runner.compile_sync", compiled)
    for user in ("deliver", "resolve"):
        monkeypatch.setattr(f"engine.run.{user}.boot", lambda: Target.clock)
    machine = type(f"Delivery{kind}", (Delivery,), {"kind": kind})
    chosen = QUICK if "CHAOS_EXAMPLES" in os.environ else settings(QUICK, max_examples=SHARES[kind])
    run_state_machine_as_test(machine, settings=chosen)
