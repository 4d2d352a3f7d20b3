"""`plan` and `mode: shadow` of a process flow: each instance goes its way on a state that is rolled back afterwards, on
systems that are read and take no write. It shows how far it would come now, and what it would write on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, cast

from engine.compile.process import ProcessPlan
from engine.run.connectors import Connectors
from engine.run.hand import Hand
from engine.run.hands import Hands
from engine.run.session import Options
from engine.sdk.connector import Connector, Operation, Outcome
from engine.sdk.record import Fields
from engine.state import processes
from engine.state.passing import apart, undone
from engine.state.store import Store

if TYPE_CHECKING:
    from engine.run.runner import Runner


class Spared:
    """A system that is read for real and takes nothing: every write is answered as if it had been done."""

    def __init__(self, real: Connector[Any]) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def write(self, name: str, operations: Sequence[Operation]) -> list[Outcome]:
        """One outcome an operation; new records have made-up ids."""
        return [_taken(one) for one in operations]


def _taken(one: Operation) -> Outcome:
    if one.kind == "delete":
        return Outcome(one.id, "deleted", one.key)
    if one.key is not None:
        return Outcome(one.id, "updated", one.key)
    return Outcome(one.id, "created", f"new-{one.id[:12]}")


class SparedConnectors(Connectors):
    """The connectors of a run, none of which writes."""

    def __init__(self, real: Connectors) -> None:
        super().__init__(real.workspace)
        self._all, self.jobs = real, real.jobs

    def __getitem__(self, name: str) -> Connector[Any]:
        return cast("Connector[Any]", Spared(self._all[name]))


class Foresight:
    """What instances of a flow would do now, each by itself. instances, changes: what is told of it."""

    def __init__(self, runner: Runner, connectors: Connectors, plan: ProcessPlan, options: Options) -> None:
        self.runner, self.plan, self.options = runner, plan, options
        self.connectors = SparedConnectors(connectors)
        self.instances: list[Fields] = []
        self.changes: list[Fields] = []
        self.seen: set[str] = set()
        self._around = ExitStack()
        self._base: Store | None = None

    def __enter__(self) -> Foresight:
        return self

    def __exit__(self, *_: object) -> None:
        self._around.close()

    def follow(self, start: Callable[[Store], str | None]) -> Hand | None:
        """Follow the instance that `start` makes or names in the state that it is given; None where nobody may now."""
        if self._base is None:
            self._base = self._around.enter_context(apart(self.runner.store))
        with undone(self._base) as trial:
            id = start(trial)
            if id is None:
                return None
            with trial.read() as tx:
                before = processes.get(tx, id)
            fresh = before is not None and before.version == 1
            hands = Hands(type(self.runner)(self.runner.workspace, trial), self.connectors, {self.plan.logic: self.plan},
                          self.options.actor, self.options.now)  # fmt: skip
            hand = hands.advance(id)
            if not fresh:
                self.seen.add(id)
            changes = hand.changes if hand is not None else []
            self._tell(trial, id, 1 if fresh else before.version if before else 0, None if fresh else id, changes)
            self.changes += changes
        return hand

    def _tell(self, trial: Store, id: str, since: int, known: str | None, changes: list[Fields]) -> None:
        with trial.read() as tx:
            one = processes.get(tx, id)
            moments = [moment for moment in processes.timeline(tx, id) if moment.version > since and moment.step]
        if one is None:
            return
        steps = self.plan.steps
        at = steps[one.step].name if one.live and one.logic == self.plan.logic and 0 <= one.step < len(steps) else None
        detail = one.detail if isinstance(one.detail, dict) else {}
        self.instances.append(
            {"instance": known, "record": one.canonical_id, "key": one.key, "state": one.state, "waiting": one.waiting,
             "step": at, "message": detail.get("message"), "queue": one.queue,
             "steps": [{"step": moment.step, "what": moment.what} for moment in moments],
             "writes": [{name: one[name] for name in ("step", "target", "operation")} for one in changes]}
        )  # fmt: skip
