"""Where chaos is played: the bundled fakes with faults, everything else in memory with faults, a state that dies and ages."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple

from engine.run.memory import MemoryConnector
from engine.run.stage import Stage
from engine.sdk.config import ConnectionConfig, ConnectionContext
from engine.sdk.connector import ObjectInfo, Operation, Outcome
from engine.sdk.errors import Problem
from engine.sdk.record import Fields
from engine.spec.testcase import TestFile
from engine.spec.workspace import Workspace

RATE = 0.22
"""Share of requests and writes that go wrong."""
MARK = "crosswalk_mark"
MARKS = re.compile(r"[0-9a-f]{32}(\..+)?\Z")
"""A canonical id, and the part where a record has several."""
LOST = Problem("C513", "the answer was lost", None, "look whether it is there")
SANDBOXED = "${sandbox:"
SCRIPT: tuple[dict[str, Any], ...] = (
    {"do": "busy", "wait": "0s", "chance": "1%"}, {"do": "error", "status": 500, "chance": "6%"},
    {"do": "error", "status": 502, "when": "after", "chance": "4%"}, {"do": "error", "status": 503, "chance": "3%"},
    {"do": "cut", "chance": "4%"}, {"do": "cut", "when": "after", "chance": "4%"},
    {"do": "slow", "seconds": "20ms", "chance": "1%"}, {"do": "expire", "chance": "1%"},
)  # fmt: skip
"""What befalls a fake: about a fifth of its requests, a third of those after the work was done."""
PATIENCE = {"backoff": "1ms..5ms", "retries": 2, "breaker": {"failures": "100%", "of": 100000, "reset": "1s"}}


class Died(BaseException):
    """The process is taken to be gone: nothing after this point may reach the state."""


class Took(NamedTuple):
    """A write that a target took. mark: Crosswalk's own mark, where the target was given one."""

    system: str
    object: str
    op: str
    id: str
    fields: Fields
    mark: str | None


class Arena(Stage):
    """The workspace on systems that fail. box: the bundled fakes, fresh ones of this arena's own."""

    def __init__(self, real: Workspace, box: Any, given: dict[str, dict[str, list[Fields]]], seed: int) -> None:
        super().__init__(real, TestFile.model_construct(test="chaos", keys={}))
        self.box, self.seed, self.troubled = box, seed, False
        self.made: Counter[str] = Counter()
        """Faults of systems in memory."""
        self.took: list[Took] = []
        self.sandbox = self._setting
        self.settings = self.settings.model_copy(
            update={"connections": {name: {**one, **PATIENCE} for name, one in real.settings.connections.items()}}
        )
        for connection, objects in given.items():
            for name, rows in objects.items():
                self.connector(connection).put(name, rows)

    def _setting(self, name: str) -> str:
        system, _, key = name.partition(".")
        return str(self.box.credentials(system)[key] if key else self.box.url(system))

    def sandboxed(self, name: str) -> bool:
        """Whether a connection leads to a bundled fake."""
        return SANDBOXED in str(self.settings.connections.get(name))

    def connector(
        self, name: str, objects: dict[str, dict[str, Any]] | None = None, permits: Any = None, opened: Any = None
    ) -> Any:
        if self.sandboxed(name):
            return Workspace.connector(self, name, objects)  # each process its own budget: what shares it may be dead
        if name not in self.systems:
            info = self.connection(name)
            config = ConnectionConfig.model_validate({"connector": "memory", "role": info.role, "timezone": info.timezone,
                                                      **PATIENCE})  # fmt: skip
            self.systems[name] = Failing(
                self, config, ConnectionContext(name), lambda one: self.marked(name, one, objects)
            )
        return self.systems[name]

    def marked(self, connection: str, name: str, objects: Any) -> ObjectInfo | None:
        """An object with a field for Crosswalk's mark: without one no system could be asked what became of a write."""
        info = self.describe(connection, name, objects)
        return replace(info, marker=info.marker or MARK) if info is not None else None

    def trouble(self, on: bool) -> None:
        """Let systems fail, or let them be well."""
        self.troubled = on
        if self.box is not None:
            self.box.inject(list(SCRIPT) if on else [], self.seed)

    def faults(self) -> Counter[str]:
        """What went wrong, and how often."""
        found = Counter(self.made)
        found.update(one.what for one in (self.box.faults() if self.box is not None else ()))
        return found

    def journal(self) -> list[Took]:
        """Every write that a system took, by what the systems themselves noted."""
        entries = [] if self.box is None else [one for name in self.box.servers for one in self.box.journal(name)]
        theirs = [
            Took(one.system, one.object, one.op, one.id, one.body or {}, mark_in(one.body))
            for one in entries if one.headers is not None
        ]  # fmt: skip
        return theirs + self.took


class Failing(MemoryConnector):
    """A system in memory that loses answers, before or after it did the work, decided by the seed."""

    def __init__(
        self, arena: Arena, config: ConnectionConfig, context: ConnectionContext,
        known: Callable[[str], ObjectInfo | None],
    ) -> None:  # fmt: skip
        super().__init__(config, context, known)
        self.arena = arena
        self._tries: Counter[str] = Counter()

    def write(self, name: str, operations: Sequence[Operation]) -> list[Outcome]:
        return [self._one(name, operation) for operation in operations]

    def _one(self, name: str, operation: Operation) -> Outcome:
        self._tries[operation.id] += 1
        draw = Random(f"{self.arena.seed} {operation.id} {self._tries[operation.id]}")  # noqa: S311 - repeatable
        what = draw.choice(("cut before", "cut after", "busy")) if draw.random() < RATE else None
        what = what if self.arena.troubled else None
        if what is not None:
            self.arena.made[what] += 1
        if what == "busy":
            return Outcome(operation.id, "retry", operation.key, problem=LOST)
        if what != "cut before":
            outcome = self._done(name, operation)
        return outcome if what is None else Outcome(operation.id, "in_doubt", operation.key, problem=LOST)

    def _done(self, name: str, operation: Operation) -> Outcome:
        before = len(self.sent)
        (outcome,) = super().write(name, [operation])
        for one in self.sent[before:]:
            self.arena.took.append(Took(self.context.name, one.object, one.kind, one.key, one.fields, operation.mark))
        return outcome


class Fuse:
    """A state's crash point hook: counts passings, and from one of them on lets nothing pass any more."""

    def __init__(self, after: int | None = None) -> None:
        self.after, self.passed, self.name = after, 0, ""

    def __call__(self, name: str) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        self.passed += 1
        if self.after is not None and self.passed >= self.after:
            self.name = self.name or name
            raise Died(name)


def mark_in(value: Any) -> str | None:
    """The mark that a body carries, wherever it stands."""
    if isinstance(value, str):
        return value if MARKS.match(value) else None
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((found for one in inner if (found := mark_in(one)) is not None), None)
