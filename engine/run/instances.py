"""Tests of process flows: what people decide and what comes in while instances wait, and where they must stand then."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from engine.compile.process import ProcessPlan
from engine.run.decisions import decide
from engine.run.events import Event
from engine.run.fixture import Fixture
from engine.run.process import hear
from engine.run.runner import Runner
from engine.run.session import Options
from engine.run.verdict import NOTHING, Difference, each_of
from engine.sdk.event_types import fits
from engine.sdk.record import Fields
from engine.spec.load import Document
from engine.spec.testcase import ExpectedInstance, Step
from engine.state import approvals, care, links, processes
from engine.state.processes import Instance
from engine.state.store import Store, Tx

SOMEBODY = "a second person"
"""Who decides in tests: nobody who asked for anything."""
Path = tuple[Any, ...]


class Instances:
    """The instances of one flow in one run of a test."""

    def __init__(
        self, runner: Runner, plan: ProcessPlan, step: Step, document: Document, place: Path, fixture: Fixture
    ) -> None:
        self.runner, self.plan, self.step = runner, plan, step
        self.document, self.place, self.fixture = document, place, fixture
        self.store: Store = runner.store
        self.undecided, self.unheard = dict(step.approvals), dict(enumerate(step.events))

    def run(self, now: datetime) -> Fields:
        """Run the flow, decide what it asks, tell what it waits for, until nothing of that is left to do; the first run."""
        if self.step.after is not None:
            care.age(self.store, self.step.after.total_seconds())
        first = told = self.runner.run(self.plan.name, Options(trigger="test", now=now)).run
        while told["state"] in ("succeeded", "partial") and self._something_happens():
            told = self.runner.run(self.plan.name, Options(replay=True, trigger="test", now=now)).run
        return first if told["state"] in ("succeeded", "partial") else told

    # ------------------------------------------------------------------ what happens meanwhile
    def _something_happens(self) -> bool:
        return self._somebody_decides() or self._something_comes_in()

    def _somebody_decides(self) -> bool:
        with self.store.read() as tx:
            asked = [one for one in approvals.listed(tx, flow=self.plan.name) if one.step in self.step.approvals]
        for one in asked:
            self.undecided.pop(one.step, None)
            decide(self.runner, one.id, self.step.approvals[one.step], SOMEBODY, "the test says so")
        return bool(asked)

    def _something_comes_in(self) -> bool:
        for number in list(self.unheard):
            given = self.unheard[number]
            with self.store.begin("test") as tx:
                waiting = [one for one in processes.listed(tx, self.plan.name) if one.waiting == "event"]
                waiting = [one for one in waiting if fits(one.detail["event"], given.event)]
                about = None if given.for_ is None else self._ids(tx, given.for_)
                subjects = {one.detail["for"] for one in waiting if about is None or one.detail["for"] in about}
                for subject in sorted(subjects):
                    id = f"test {'.'.join(map(str, self.place))} {number} {subject}"
                    hear(tx, self.plan.name, Event(given.event, given.event.split(".")[0], subject, given.data, id=id))
            if subjects:
                del self.unheard[number]
                return True
        return False

    def _ids(self, tx: Tx, given: str) -> set[str]:
        """The canonical ids that an id of the test may mean."""
        return {given, self.fixture.canonical_id(("any",), given), *(
            link.canonical_id for name in self.runner.workspace.settings.connections
            for link in links.of_native(tx, name, given)
        )}  # fmt: skip

    # ------------------------------------------------------------------ what was expected
    def judge(self) -> Iterator[Difference]:
        """Questions that nobody asked, events that nobody waited for, instances that stand elsewhere."""
        for name, verdict in self.undecided.items():
            at = self.document.key_at(*self.place, "approvals", name)
            yield Difference(f"approval {name}", f"a question to {verdict}", NOTHING, at)
        for number, event in self.unheard.items():
            at = self.document.at(*self.place, "events", number)
            yield Difference(f"event {event.event}", "an instance that waits for it", NOTHING, at)
        if self.step.expect_state is not None:
            yield from self._states(self.step.expect_state)

    def _states(self, wanted: list[ExpectedInstance]) -> list[Difference]:
        at = (*self.place, "expect_state")
        with self.store.read() as tx:
            every = processes.listed(tx, self.plan.name, everything=True, limit=100_000)
            found = list({one.key: one for one in reversed(every)}.values())
            meant = [self._ids(tx, one.record) if one.record is not None else None for one in wanted]

        def place(one: int, *key: str) -> Path:
            several = (*at, one) in self.document.positions.values
            path = (*at, one, *key) if several else (*at, *key)
            return path if path in self.document.positions.values else at

        def compare(one: int, other: int) -> list[Difference] | None:
            if meant[one] is not None and found[other].canonical_id not in (meant[one] or ()):
                return None
            got, told = self._stands(found[other]), []
            for name in ("state", "step", "waiting", "message"):
                value = getattr(wanted[one], name)
                if value is not None and value != got[name] and not (name == "message" and value in (got[name] or "")):
                    here = self.document.at(*place(one, name))
                    told.append(Difference(f"instance {name}", value, self._told(found[other]), here))
            return told

        def missing(one: int) -> Difference:
            text = ", ".join(f"{name}: {value}" for name, value in wanted[one].model_dump(exclude_none=True).items())
            return Difference("instance", text, NOTHING, self.document.at(*place(one)))

        def extra(other: int) -> Difference:
            return Difference("instance", NOTHING, self._told(found[other]), self.document.at(*at))

        return each_of(wanted, found, compare, missing, extra)

    def _stands(self, one: Instance) -> dict[str, str | None]:
        step = self.plan.steps[one.step].name if one.live and 0 <= one.step < len(self.plan.steps) else None
        message = one.detail.get("message") if isinstance(one.detail, dict) else None
        return {"state": one.state, "step": step, "waiting": one.waiting, "message": message}

    def _told(self, one: Instance) -> str:
        stands = self._stands(one)
        at = f" at {stands['step']}" if stands["step"] else ""
        why = f" for {one.waiting}" if one.waiting else ""
        return f"{one.state}{why}{at}" + (f": {stands['message']}" if stands["message"] else "")
