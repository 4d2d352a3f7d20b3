"""Process flows: their source starts instances, and every instance is moved on as far as it comes.

`run_process` is a run of the flow, with everything in the command; `advance` moves one instance, for whoever is woken for
it; `hear` brings an event to the instances that wait for it. Instances go on with the documents that they began with.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from engine.compile.process import ProcessPlan
from engine.compile.rules import key_text
from engine.run.events import Event, Routes
from engine.run.expectations import Verdict, settle
from engine.run.hands import Hands
from engine.run.items import Counts, Item
from engine.run.replay import run_replay
from engine.run.session import Connectors, Session
from engine.run.sync import run_sync
from engine.sdk.event_types import fits
from engine.sdk.record import Fields, digest_bytes
from engine.spec.process import ProcessFlow
from engine.spec.workspace import Workspace
from engine.state import exceptions, leases, links, processes, ticks, waits
from engine.state.processes import ENDED, ENGINE, Instance
from engine.state.store import Store, Tx, instant, moment_of

if TYPE_CHECKING:
    from engine.run.runner import Runner

AGAIN = ("compensated", "expired")
"""States after which a record that has changed starts anew."""


class Tally:
    """What a run did with instances."""

    def __init__(self) -> None:
        self.started: set[str] = set()
        self.ends: dict[str, Instance] = {}
        self.went_on: set[str] = set()

    def onto(self, counts: Counts) -> Fields:
        """The counts of the JSON contract: `created` are instances that began, `updated` earlier ones that went on,
        `deleted` those that were taken back; `quarantined` wait for a repair, `waiting` for anything else."""
        told = counts.as_json()
        ends = list(self.ends.values())
        repair = [one for one in ends if one.state == "needs_person" or one.waiting == "repair"]
        waiting = [one for one in ends if one.state in ("waiting", "compensating", "running") and one not in repair]
        states: dict[str, int] = {}
        for one in ends:
            states[one.state] = states.get(one.state, 0) + 1
        told |= {
            "created": len(self.started),
            "updated": len(self.went_on - self.started),
            "unchanged": 0,
            "deleted": sum(one.state in ENDED and one.state != "done" for one in ends),
            "quarantined": told["quarantined"] + len(repair),
            "waiting": told["waiting"] + len(waiting),
            "processes": states,
        }
        return told


class ProcessCounts(Counts):
    """Counts of a run of a process flow: what its source gave, and what became of instances."""

    tally: Tally

    @classmethod
    def with_tally(cls, counts: Counts, tally: Tally) -> ProcessCounts:
        made = cls(counts.records, counts.targets)
        made.tally = tally
        return made

    @property
    def left_to_people(self) -> int:
        """Quarantined records, and instances that wait for a repair."""
        return int(self.as_json()["quarantined"])

    def as_json(self) -> dict[str, Any]:
        """See `Tally.onto`."""
        return self.tally.onto(Counts(self.records, self.targets))


# ---------------------------------------------------------------------- a run of the flow
def run_process(runner: Runner, session: Session, plan: ProcessPlan) -> None:
    """Read the source, start instances, and move on everything that can go on."""
    tally, options = Tally(), session.options
    counts = Counts.of(target.name for target in plan.targets)
    chosen = _resume_chosen(session, plan) if options.chosen else None
    session.also.append(lambda tx, items: _start(tx, session, plan, items, tally))
    session.foreseen.append(lambda items: _foresee(session, plan, items, tally))
    if options.chosen:
        session.options.chosen = tuple(one for one in options.chosen if one not in (chosen or {}))
        if session.options.chosen:
            run_replay(session, plan.intake)
    else:
        run_sync(session, plan.intake)
    counts.records = session.counts.records
    session.also.clear()
    session.counts = ProcessCounts.with_tally(counts, tally)
    if options.plan:
        return
    with session.store.read() as tx:
        ready = processes.ready(tx, plan.name)
        if options.records:
            wanted = _records(tx, options.records)
            ready = [id for id in ready if id in tally.started or _about(tx, id) in wanted]
        if chosen is not None:
            ready = [id for id in ready if id in tally.started or id in chosen.values()]
    hands = Hands(runner, session.connectors, {plan.logic: plan}, session.options.actor, session.options.now)
    with hands.kept():
        for id in ready:
            if runner.cancelled.is_set():
                break
            hand = hands.advance(id)
            if hand is not None:
                tally.ends[id] = hand.one
                if hand.acted:
                    tally.went_on.add(id)
                for target, told in hand.counts.targets.items():
                    for name, count in told.items():
                        counts.targets[target][name] += count
            session.progress(session.counts)
    judge_deadlines(session.store, session.workspace, plan.name, plan.flow)


def _start(tx: Tx, session: Session, plan: ProcessPlan, items: list[Item], tally: Tally) -> None:
    """In the transaction that stores the records: an instance for each that has none; those that wait are looked at."""
    kept = _kept(session, plan, items)
    known = processes.last_of(tx, plan.name, kept)
    processes.wake(tx, [one.id for one in known.values() if one.live])
    for key, item in _beginning(session, kept, known):
        last = known.get(key)
        deadline = instant(moment_of(tx.now()) + plan.flow.done_within) if plan.flow.done_within else None
        person = session.options.actor or session.options.trigger or ENGINE
        id = processes.start(
            tx, plan.name, key, plan.entity, str(item.canonical_id), logic=plan.logic, person=person,
            correlation=item.correlation, deadline=deadline,
        )  # fmt: skip
        if id is not None:
            tally.started.add(id)
            if last is not None and last.exception is not None:
                exceptions.set_state(tx, [last.exception], "superseded", f"{id} began")


def _foresee(session: Session, plan: ProcessPlan, items: list[Item], tally: Tally) -> None:
    """What `_start` would begin."""
    with session.store.read() as tx:
        kept = _kept(session, plan, items)
        tally.started |= {key for key, _ in _beginning(session, kept, processes.last_of(tx, plan.name, kept))}


def _kept(session: Session, plan: ProcessPlan, items: list[Item]) -> dict[str, Item]:
    """Records that the flow is for, by key; of two with one key the last."""
    kept: dict[str, Item] = {}
    for item in items:
        over = item.trouble is not None or item.ended is not None or item.lost or item.goes_again
        if not (over or item.deleted or item.left or item.canonical_id is None):
            kept[_key(session, plan, item)] = item
    return kept


def _beginning(session: Session, kept: dict[str, Item], known: dict[str, Instance]) -> Iterator[tuple[str, Item]]:
    """Records that begin an instance: those that never had one; changed ones whose instance was taken back or expired;
    and, where it is asked for by name, any whose instance came to no good end."""
    for key, item in kept.items():
        last = known.get(key)
        named = bool(session.options.records)
        again = last is not None and not last.live and last.state != "done"
        if last is None or (again and (named or (last.state in AGAIN and item.changed))):
            yield key, item


def _key(session: Session, plan: ProcessPlan, item: Item) -> str:
    """What makes an instance one: the values of `key`, by default the record's id."""
    if not plan.key:
        return str(item.canonical_id)
    values = [one.evaluate(item.merged, session.env) for one in plan.key]
    text = key_text(values[0] if len(values) == 1 else values)
    return text if text is not None else str(item.canonical_id)


def _resume_chosen(session: Session, plan: ProcessPlan) -> dict[str, str]:
    """Exceptions that tell of instances: those are resumed. Exception → instance."""
    with session.store.begin("process") as tx:
        found = processes.of_exception(tx, session.options.chosen)
        exceptions.set_state(tx, list(found), "due")
        for id in found.values():
            one = processes.get(tx, id)
            if one is not None:
                resume(tx, one, session.options.actor or ENGINE)
    return found


def resume(tx: Tx, one: Instance, person: str) -> Instance | None:
    """Try the open step again, or go on with taking back; None where it is not for a person, or moved meanwhile."""
    if one.state == "waiting" and one.waiting in ("repair", "timer"):
        state = "running"
    elif one.state == "needs_person":
        state = "compensating"
    else:
        return None
    moved = processes.move(tx, one, "resumed", person=person, state=state, detail=one.detail, exception=one.exception)
    if moved is not None:
        processes.wake(tx, [one.id])
    return moved


def _records(tx: Tx, names: tuple[str, ...]) -> set[str]:
    """Canonical ids of `--record`: canonical ids or `connection:native_id`."""
    found = set()
    for name in names:
        connection, colon, native = name.partition(":")
        found |= {link.canonical_id for link in links.of_native(tx, connection, native)} if colon else {name}
    return found


def _about(tx: Tx, id: str) -> str | None:
    one = processes.get(tx, id)
    return one.canonical_id if one else None


def judge_deadlines(store: Store, workspace: Workspace, name: str, flow: ProcessFlow) -> None:
    """`done_within`: an alert while a live instance is later than that."""
    if flow.done_within is None:
        return
    with store.begin("alerts") as tx:
        late = processes.late(tx, name)
        told = f"{late[0]}, {len(late)} in all" if late else ""
        settle(tx, Routes.of(workspace), name, Verdict("done_within", not late, told), flow.done_within)


# ---------------------------------------------------------------------- single instances
def advance(runner: Runner, instance: str) -> str | None:
    """Move one instance on as far as it comes; when it is to be looked at next, None where nothing is known to be due."""
    with runner.store.read() as tx:
        one = processes.get(tx, instance)
    if one is None or not one.live or not _moves(runner, one.flow):
        return None
    connectors = Connectors(runner.workspace, None, runner.store)
    try:
        hands = Hands(runner, connectors, {})
        with hands.kept():
            hand = hands.advance(instance)
    finally:
        connectors.close()
    flow = runner.workspace.document("flow", one.flow).model
    if isinstance(flow, ProcessFlow):
        judge_deadlines(runner.store, runner.workspace, one.flow, flow)
    with runner.store.read() as tx:
        after, now = processes.get(tx, instance), tx.now()
    if after is None or not after.live or after.state in processes.STILL:
        return None
    if hand is None:
        return instant(moment_of(now) + leases.LIFE / 4)  # somebody else has it in hand
    times = [time for time in (after.until, after.deadline) if time is not None and time > now]
    return min(times, default=None) if after.state == "waiting" else min(times, default=now)


def _moves(runner: Runner, flow: str) -> bool:
    """Whether instances of a flow go on by themselves: not while it is paused, off or in the shadow."""
    with runner.store.read() as tx:
        if flow in ticks.paused(tx):
            return False
    known = flow in runner.workspace.names("flow")
    return not known or getattr(runner.workspace.document("flow", flow).model, "mode", "live") == "live"


def hear(tx: Tx, flow: str, event: Event) -> None:
    """An event for the `wait` steps of a flow; the instances that wait for it go on."""
    id = event.id or digest_bytes(f"{event.source} {event.type} {event.key} {event.canonical_id}".encode()).hex()
    waits.hear(tx, flow, event.type, str(event.canonical_id), id, event.data, fits)
