"""Who does the units. `local`: threads of this process over the `units` table, so many a lane.

A lane's workers take nothing of another lane, so a long bulk load never keeps a webhook waiting. Truth is the table: a
unit whose worker dies is free again when its lease ends, or at once where its process is known to be gone.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from engine.run.inbox import TOGETHER
from engine.run.units import perform_all
from engine.run.work import Work
from engine.sdk.errors import CrosswalkError
from engine.state import leases, units
from engine.state.units import Unit

CONCURRENCY: Mapping[str, int] = {"interactive": 1, "webhook": 2, "bulk": 3, "reconcile": 1}
"""Lane → units at once."""
POLL = 1.0
"""Seconds between two looks at the table where nobody of this process asked for work."""
BREATH = 0.05
"""Seconds that records which come together are waited for, so that they are read together."""


class Executor(Protocol):
    """Does units. The table is the truth: what is dispatched may be lost, and is found again by looking."""

    def dispatch(self, unit_ids: Sequence[str], lane: str) -> None:
        """Say that there is work; best effort, after its commit."""

    def serve(self, lanes: Sequence[str], concurrency: Mapping[str, int]) -> None:
        """Work until stopped."""

    def health(self) -> dict[str, object]:
        """What is in hand, and whether somebody takes work at all."""


class LocalExecutor:
    """Threads of this process."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.owner = leases.me()
        self._wake, self._stop = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._held: dict[str, tuple[Unit, int]] = {}
        """Unit id → unit in hand, with the number of its job."""
        self._jobs: dict[int, str] = {}
        """Job in hand → lane."""
        self._number = 0
        self._claiming = False
        self._free: dict[str, int] = {}
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._threads: list[threading.Thread] = []

    def dispatch(self, unit_ids: Sequence[str] = (), lane: str = "") -> None:
        self._wake.set()

    def serve(self, lanes: Sequence[str] = tuple(CONCURRENCY), concurrency: Mapping[str, int] = CONCURRENCY) -> None:
        self._free = {lane: concurrency[lane] for lane in lanes}
        self._pools = {lane: ThreadPoolExecutor(count, f"{lane}") for lane, count in self._free.items()}
        for name, what in (("taker", self._take), ("renewer", self._renew)):
            thread = threading.Thread(target=what, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def health(self) -> dict[str, object]:
        with self._lock:
            busy = sorted(self._jobs.values())
        return {"taking": any(one.is_alive() for one in self._threads) and not self._stop.is_set(),
                "in_hand": {lane: busy.count(lane) for lane in self._free}}  # fmt: skip

    @property
    def idle(self) -> bool:
        """Whether nothing is in hand."""
        with self._lock:
            return not self._jobs and not self._claiming

    @property
    def begun(self) -> int:
        """How many jobs were taken in hand since the start."""
        with self._lock:
            return self._number

    def stop_taking(self) -> None:
        """Take nothing more; what is in hand goes on."""
        self._stop.set()
        self._wake.set()

    def close(self) -> None:
        """After `stop_taking`, when nothing is in hand."""
        self.stop_taking()
        for thread in self._threads:
            thread.join()
        for pool in self._pools.values():
            pool.shutdown(wait=True)

    # ------------------------------------------------------------------ threads
    def _take(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            try:
                took = self._claim()
            except CrosswalkError as error:  # the state fails: it may come back
                self.work.tell("state failed", code=error.problem.code)
                took = False
            if took:
                self._stop.wait(BREATH)
            else:
                self._wake.wait(POLL)

    def _claim(self) -> bool:
        with self._lock:
            free = {lane for lane, count in self._free.items() if count > 0}
        if not free:
            return False
        with self.work.store.read() as tx:
            wanted = sorted(free & units.due_lanes(tx))
        if not wanted or self._stop.is_set():
            return False
        self._claiming = True  # what is claimed is in hand before its job is: nobody may take the executor for idle
        try:
            with self.work.store.begin("claim") as tx:
                taken = {lane: units.claim(tx, self.owner, [lane], self._most(lane)) for lane in wanted}
            for lane, found in taken.items():
                together = [unit for unit in found if unit.kind == "inbox"]
                for job in [together] if together else []:
                    self._begin(lane, job)
                for unit in found:
                    if unit.kind != "inbox":
                        self._begin(lane, [unit])
        finally:
            self._claiming = False
        return any(taken.values())

    def _most(self, lane: str) -> int:
        return TOGETHER if lane == "webhook" else self._free[lane]

    def _begin(self, lane: str, job: list[Unit]) -> None:
        with self._lock:
            self._number += 1
            number = self._number
            self._jobs[number] = lane
            self._free[lane] -= 1
            self._held.update({unit.id: (unit, number) for unit in job})
        self._pools[lane].submit(self._do, lane, job, number)

    def _do(self, lane: str, job: list[Unit], number: int) -> None:
        try:
            perform_all(self.work, job)
        except CrosswalkError as error:  # how it ended cannot be noted: its lease runs out
            self.work.tell("state failed", code=error.problem.code)
        finally:
            with self._lock:
                del self._jobs[number]
                self._free[lane] += 1
                for unit in job:
                    if self._held.get(unit.id, (None, 0))[1] == number:
                        del self._held[unit.id]
            self._wake.set()

    def _renew(self) -> None:
        while not self._over():
            with self._lock:
                held = [unit for unit, _ in self._held.values()]
            if not held:
                continue
            try:
                with self.work.store.begin("units") as tx:
                    for unit in sorted(held, key=lambda each: each.id):
                        units.renew(tx, unit)
            except CrosswalkError as error:
                self.work.tell("state failed", code=error.problem.code)

    def _over(self) -> bool:
        """Wait a third of a lease's life; whether everything is over."""
        self._stop.wait(units.LIFE.total_seconds() / 3)
        if self._stop.is_set() and not self.idle:
            self._wake.wait(1)  # what is in hand wakes whoever waits when it ends
        return self._stop.is_set() and self.idle
