"""Any order of edits, faults, deaths, passing time and replays ends with each record there once, as its source has it.

Time is the test's own: late commits and listings, leases and writes in doubt grow older by so many seconds at once.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from engine.run.arena import LOST, Died, Fuse
from engine.run.memory import KINDS, MemoryConnector
from engine.run.runner import Runner
from engine.run.session import Options
from engine.run.stage import Stage
from engine.sdk.config import ConnectionConfig, ConnectionContext
from engine.sdk.connector import ObjectInfo, Operation, Outcome
from engine.sdk.record import Fields, Record
from engine.spec.testcase import TestFile
from engine.spec.workspace import Workspace
from engine.state import care, exceptions
from engine.state.store import Store
from tests.chaos.line import FILES, FLOW

EXAMPLES, STEPS = int(os.environ.get("CHAOS_EXAMPLES", "50")), int(os.environ.get("CHAOS_STEPS", "30"))
NAMES = st.sampled_from([f"n{number}" for number in range(6)])
LATE = INDEX = 60
SETTINGS = """crosswalk: 1
name: stateful
connections:
  src: { connector: files, path: data }
  box: { connector: files, path: data }
"""


class Target(MemoryConnector):
    """A target of any class with a clock of its own; what its next writes meet is told beforehand."""

    kind = "C"
    clock = 0.0

    def prepared(self, kind: str) -> Target:
        self.kind, self.clock = kind, 0.0
        self.faults: list[tuple[str, int]] = []
        self.later: list[tuple[float, Operation]] = []
        self.listed: dict[str, float] = {}
        self.keys: dict[str, Outcome] = {}
        self.creates: Counter[str] = Counter()
        self.marks: dict[str, str] = {}
        self.index = 0
        return self

    def advance(self, seconds: float) -> None:
        for due, operation in sorted(self.later, key=lambda one: one[0]):
            if due <= self.clock + seconds:
                self.clock, seconds = max(self.clock, due), seconds - max(0.0, due - self.clock)
                self.later.remove((due, operation))
                self.done(operation)
        self.clock += seconds

    def find(self, name: str, by: Sequence[Fields], fields: tuple[str, ...] = ()) -> list[list[Record]]:
        found = super().find(name, by, fields)
        return [[one for one in rows if self.listed.get(one.key, 0.0) <= self.clock] for rows in found]

    def write(self, name: str, operations: Sequence[Operation]) -> list[Outcome]:
        return [self.one(operation) for operation in operations]

    def one(self, operation: Operation) -> Outcome:
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
        given = replace(operation, key=None) if operation.kind == "create" else operation
        (outcome,) = super().write("items", [given])
        if outcome.state == "created" and operation.kind in ("create", "upsert"):
            self.creates[str(operation.record["name"])] += 1
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


class Delivery(RuleBasedStateMachine):
    """A source, a target, a state, and everything that may happen to them."""

    @initialize(kind=st.sampled_from("ABCD"))
    def begin(self, kind: str) -> None:
        self.place = tempfile.TemporaryDirectory(prefix="chaos-")
        folder = Path(self.place.name)
        for name, text in {**FILES, "flows/things.yaml": FLOW % 3, "crosswalk.yaml": SETTINGS}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        self.kind, self.world = kind, World(Workspace.open(folder), kind)
        self.store = Store.open("sqlite:///state.db", folder)
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
        self.store.crashpoint = Fuse(until)
        try:
            Runner(self.world, self.store).run("things", Options(full=full))
        except Died:
            self.deaths += 1
        finally:
            self.store.crashpoint = lambda name: None

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
            self.place.cleanup()

    def judge(self) -> None:
        self.target.faults.clear()
        for _ in range(6):
            self.time_passes(600)
            self.run(full=True, until=None)
        doubled = [name for name, count in self.target.creates.items() if count > 1]
        assert doubled == [], f"class {self.kind}"
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


Delivery.TestCase.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, derandomize="CHAOS_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck), database=None, phases=[Phase.generate],
)  # fmt: skip
TestDelivery = Delivery.TestCase
