"""A process instance in hand: its lease, its context for expressions, its transitions, and the trouble that it is in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from engine.compile.process import ProcessPlan
from engine.compile.steps import StepPlan
from engine.compile.sync import SyncPlan
from engine.run.connectors import Connectors
from engine.run.faults import fingerprint
from engine.run.items import Counts
from engine.run.session import Options, Session
from engine.sdk.errors import ExceptionClass, Problem
from engine.sdk.record import JSON, Fields, decode_json, digest, encode_json
from engine.spec.workspace import Workspace
from engine.state import canonical, exceptions, processes
from engine.state.leases import Lease
from engine.state.processes import ENGINE, Instance
from engine.state.store import Store, Tx, instant, moment_of

RECORDS = "$records"
"""In a result: [[entity, canonical id], …], read anew whenever an expression asks."""
SHORTEST, LONGEST = timedelta(seconds=30), timedelta(hours=1)
"""Between two tries of what passes by itself: doubled each time."""


class Passed(Exception):
    """Somebody else moved the instance meanwhile: what was done is kept, and whoever has it goes on."""


# ---------------------------------------------------------------------- how a step can end
@dataclass(frozen=True, slots=True)
class Ended:
    """The step is done. result: what later steps see under its name. also: what belongs into the same transaction."""

    result: JSON = True
    what: str = "done"
    also: Callable[[Tx], None] | None = None


@dataclass(frozen=True, slots=True)
class Waits:
    """The step is not over. kind: approval, event, timer (it is tried again by itself) or repair (a person must act).

    until: when it is looked at again, at the latest. problem: what a person is told; reads: records whose change tries
    it again. exception: the one that tells of it already.
    """

    kind: str
    what: str
    until: str | None = None
    queue: str | None = None
    detail: Any = None
    problem: Problem | None = None
    exception_class: ExceptionClass = "check"
    reads: tuple[tuple[str, str], ...] = ()
    exception: str | None = None


@dataclass(frozen=True, slots=True)
class Fails:
    """The step failed for good: the flow's `on_failure` says what becomes of the instance. ending: what it is afterwards
    where it is taken back; always: it is taken back whatever `on_failure` says."""

    problem: Problem
    exception_class: ExceptionClass = "rejected"
    ending: str = "compensated"
    always: bool = False
    exception: str | None = None


@dataclass(frozen=True, slots=True)
class Back:
    """The instance stands at an earlier step again, and goes on from there."""


Outcome = Ended | Waits | Fails | Back


@dataclass
class Hand:
    """An instance and everything that moving it on needs. advance: the name that its writes are noted under."""

    workspace: Workspace
    """As it is now; the plan's own is as it was when the instance began."""
    store: Store
    connectors: Connectors
    plan: ProcessPlan
    one: Instance
    advance: str
    lease: Lease
    make_session: Any
    actor: str = ""
    counts: Counts = field(default_factory=Counts)
    acted: bool = False
    """Whether it was moved on at all."""
    changes: list[Fields] = field(default_factory=list)
    """Of a plan: what its steps would write, field by field."""
    now: datetime | None = None
    """What expressions see as now; tests fix it."""

    def session(self, plan: SyncPlan | None = None) -> Session:
        """Fresh surroundings for one step."""
        options = Options(trigger="process", correlation=self.one.correlation, now=self.now)
        made: Session = self.make_session(self, options)
        made.lease, made.plan = self.lease, plan
        made.counts = Counts.of(target.name for target in plan.targets) if plan else Counts()
        return made

    # ------------------------------------------------------------------ what expressions see
    def record(self, tx: Tx) -> Fields:
        """The record that the instance is about, as it is now."""
        stored = canonical.get(tx, self.one.entity, [self.one.canonical_id]).get(self.one.canonical_id)
        return decode_json(stored.data) if stored else {"id": self.one.canonical_id}

    def results(self, tx: Tx, before: int) -> Fields:
        """The results of the steps before one, by name, records in them as they are now."""
        found: Fields = {}
        for step in self.plan.steps[:before]:
            if step.gives:
                found[step.name] = resolved(tx, self.one.context.get(step.name))
        return found

    def context(self, tx: Tx, before: int) -> Fields:
        """What the expressions of a step see: the record, and each earlier step's result under its name."""
        return {**self.record(tx), **self.results(tx, before)}

    def seen(self, tx: Tx, before: int) -> bytes:
        """A digest of what a person sees who is to approve: the record and the results so far."""
        return digest([self.record(tx), self.results(tx, before)])

    @contextmanager
    def looking(self, step: StepPlan) -> Iterator[tuple[Session, Fields]]:
        """(surroundings, context) of a step in one consistent view of the state."""
        session = self.session()
        with session.reading() as tx:
            yield session, self.context(tx, step.number)

    # ------------------------------------------------------------------ transitions
    def move(self, what: str, *, person: str = ENGINE, label: str | None = None, told: JSON = None,
             tx: Tx | None = None, **changes: Any) -> None:  # fmt: skip
        """One transition, in its own transaction or in `tx`. Raises Passed where somebody else was faster."""
        if tx is None:
            with self.store.begin("process") as opened:
                self.move(what, person=person, label=label, told=told, tx=opened, **changes)
            return
        told_of = self.one.exception
        if told_of is not None and changes.get("exception") != told_of:
            exceptions.set_state(tx, [told_of], "closed", f"{self.one.id} went on")
        changes.setdefault("exception", None)
        moved = processes.move(tx, self.one, what, person=person, label=label, told=told, **changes)
        if moved is None:
            raise Passed(self.one.id)
        self.one, self.acted = moved, True

    def wait(self, step: StepPlan | None, told: Waits, *, state: str = "waiting", **changes: Any) -> None:
        """Stay where it is, for a reason; the same reason again is no transition."""
        detail = told.detail or ({"message": told.problem.message} if told.problem else None)
        with self.store.begin("process") as tx:
            exception = told.exception
            if exception is None and told.problem is not None and told.kind == "repair":
                exception = self.note(tx, step, told.problem, told.exception_class, told.queue, told.reads)
            one = self.one
            same = (one.state, one.waiting, one.detail, one.exception, one.queue) == (
                state, told.kind, detail, exception, told.queue)  # fmt: skip
            if same and not changes:
                tx.run(
                    "UPDATE processes SET until = ? WHERE id = ? AND version = ?",
                    (told.until, self.one.id, self.one.version),
                )
                return
            self.move(told.what, label=step.name if step else None, told=detail, tx=tx, state=state, waiting=told.kind,
                      until=told.until, queue=told.queue, detail=detail, exception=exception, **changes)  # fmt: skip

    def note(self, tx: Tx, step: StepPlan | None, problem: Problem, exception_class: ExceptionClass, queue: str | None,
             reads: tuple[tuple[str, str], ...] = ()) -> str:  # fmt: skip
        """An open exception that tells people of the instance; its id."""
        one, name = self.one, step.name if step else ""
        failure = exceptions.Failure(
            one.flow, self.advance, one.entity, one.canonical_id, one.canonical_id, "", f"step {name}",
            "check" if step is not None and step.kind == "check" else "process", exception_class, problem.code, problem.message,
            problem.hint, str(problem.at) if problem.at else None, queue or self.plan.flow.owner, "open",
            fingerprint(problem, one.canonical_id, name), None, None, one.logic, None, encode_json(self.record(tx)), None,
            ((one.entity, one.canonical_id), *reads),
        )  # fmt: skip
        return exceptions.record(tx, [failure])[0]

    def again_at(self, tx: Tx) -> str:
        """When to try again what passes by itself: later each time, with what was tried since the last transition."""
        wait = min(LONGEST, SHORTEST * 2 ** min(max(self.one.attempts - 1, 0), 10))
        return instant(moment_of(tx.now()) + wait)

    def later(self, what: str, problem: Problem | None = None, detail: Any = None) -> Waits:
        """It passes by itself: tried again after a while."""
        with self.store.read() as tx:
            until = self.again_at(tx)
        return Waits("timer", what, until=until, problem=problem, detail=detail)


def resolved(tx: Tx, result: JSON) -> JSON:
    """A result as expressions see it: records that it names are read from the store."""
    if not isinstance(result, dict) or RECORDS not in result:
        return result
    found = []
    for entity, id in result[RECORDS]:
        stored = canonical.get(tx, entity, [id]).get(id)
        if stored is not None:
            found.append({**decode_json(stored.data), "id": id})
    return found if result.get("list") else (found[0] if found else None)
