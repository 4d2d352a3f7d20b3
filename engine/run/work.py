"""A worker's surroundings: the runs that it has in hand, and how a unit is put back, tried again or given up."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from engine.run.kept_plans import KeptPlans
from engine.run.runner import Result, Runner
from engine.run.session import Options
from engine.sdk.errors import Problem
from engine.spec.workspace import Workspace
from engine.state import ticks, units
from engine.state.store import Store, Tx, instant, moment_of
from engine.state.units import Unit

T = TypeVar("T")
Tell = Callable[..., None]
"""Takes an event's name and its facts: see engine/serve/log.py."""
ATTEMPTS = 10
"""Tries of a unit until it is given up: about half an hour of a system that does not answer."""
FIRST, LONGEST = 1.0, 600.0
"""Seconds before the second try; it doubles each time, up to the longest, with jitter."""


def _silent(event: str, **facts: Any) -> None:
    """Nobody listens."""


class Work:
    """What units are done with. Threads share it."""

    def __init__(self, workspace: Workspace, store: Store, tell: Tell = _silent) -> None:
        self.workspace, self.store, self.tell = workspace, store, tell
        self.plans = KeptPlans()
        self.parked = False
        self.results: list[dict[str, Any]] = []
        """Runs that have ended, where somebody collects them."""
        self.collects = False
        self.gave_up = 0
        self._kept: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._runners: set[Runner] = set()

    def run(self, name: str, options: Options) -> Result:
        """Run a flow, in a way that `park` can end."""
        with self.runner() as runner:
            result = runner.run(name, options)
        told = {
            name: result.run[name] for name in ("run", "flow", "state", "read", "created", "updated", "quarantined")
        }
        error = result.run["error"]
        self.tell("run over", trigger=options.trigger, **told, **({"code": error["code"]} if error else {}))
        if self.collects:
            with self._lock:
                self.results.append(result.run)
        return result

    @contextmanager
    def runner(self) -> Iterator[Runner]:
        """A runner whose runs end after their batch when the process stops."""
        runner = Runner(self.workspace, self.store, plans=self.plans)
        with self._lock:
            self._runners.add(runner)
            if self.parked:
                runner.cancelled.set()
        try:
            yield runner
        finally:
            with self._lock:
                self._runners.discard(runner)

    def park(self) -> None:
        """Runs in hand end after their batch; what is left of them goes on another time."""
        with self._lock:
            self.parked = True
            for runner in self._runners:
                runner.cancelled.set()

    def kept(self, name: str, make: Callable[[Workspace], T]) -> T:
        """What follows from the documents alone, made once: they are read when the process starts."""
        if name not in self._kept:
            self._kept[name] = make(self.workspace)
        found: T = self._kept[name]
        return found

    # ------------------------------------------------------------------ how a unit ends
    def last_try(self, unit: Unit) -> bool:
        """Whether it is given up where it fails once more."""
        return unit.attempts >= ATTEMPTS

    def put_back(self, unit: Unit, seconds: float) -> None:
        """It was not its turn; that is no attempt."""
        with self.store.begin("unit") as tx:
            self.put_back_in(tx, unit, seconds)

    def put_back_in(self, tx: Tx, unit: Unit, seconds: float) -> None:
        """Like `put_back`, in the caller's transaction."""
        units.later(tx, unit, _in(tx, seconds), counted=False)

    def again(self, held: Sequence[Unit], problem: Problem) -> None:
        """It failed and may do better later; after so many tries it is given up."""
        with self.store.begin("unit") as tx:
            self.again_in(tx, held, problem)

    def again_in(self, tx: Tx, held: Sequence[Unit], problem: Problem) -> None:
        """Like `again`, in the caller's transaction."""
        for unit in held:
            if self.last_try(unit):
                self._failed(tx, unit, problem)
                continue
            wait = min(FIRST * 2 ** (unit.attempts - 1), LONGEST) * random.uniform(0.5, 1)  # noqa: S311 - jitter, not a secret
            units.later(tx, unit, _in(tx, wait), f"{problem.code} {problem.message}")
            self.tell("unit failed", kind=unit.kind, key=unit.key, code=problem.code, attempt=unit.attempts)

    def give_up(self, held: Sequence[Unit], problem: Problem) -> None:
        """It can never be done so: a person has to look."""
        with self.store.begin("unit") as tx:
            self.give_up_in(tx, held, problem)

    def give_up_in(self, tx: Tx, held: Sequence[Unit], problem: Problem) -> None:
        """Like `give_up`, in the caller's transaction."""
        for unit in held:
            self._failed(tx, unit, problem)

    def _failed(self, tx: Tx, unit: Unit, problem: Problem) -> None:
        self.gave_up += 1
        units.failed(tx, unit, str(problem))
        if unit.kind == "flow":
            ticks.close(tx, unit.key, str(problem))
        self.tell("unit given up", kind=unit.kind, key=unit.key, code=problem.code, attempt=unit.attempts)


def _in(tx: Tx, seconds: float) -> str:
    return instant(moment_of(tx.now()) + timedelta(seconds=seconds))
