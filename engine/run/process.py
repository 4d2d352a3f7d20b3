"""Process flows: their source starts instances, and every instance is moved on as far as it comes.

`run_process` is a run of the flow, with everything in the command; `advance` moves one instance, for whoever is woken for
it; `hear` brings an event to the instances that wait for it. Instances go on with the documents that they began with.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from engine.compile.process import ProcessPlan
from engine.compile.rules import key_text
from engine.run.commit import commit_items
from engine.run.connectors import Connectors
from engine.run.events import Event, Routes
from engine.run.expectations import Verdict, settle
from engine.run.foresight import Foresight
from engine.run.hands import Hands
from engine.run.items import Counts, Item
from engine.run.replay import run_replay
from engine.run.session import Session
from engine.run.sync import run_sync
from engine.run.tally import ProcessCounts, Tally
from engine.sdk.event_types import fits
from engine.sdk.record import digest_bytes
from engine.spec.process import ProcessFlow
from engine.spec.workspace import Workspace
from engine.state import exceptions, leases, links, processes, ticks, waits
from engine.state.processes import ENGINE, Instance
from engine.state.store import Store, Tx, instant, moment_of

if TYPE_CHECKING:
    from engine.run.runner import Runner

SHOWN = 50
"""Instances that a run in the shadow keeps what they would do of."""
AGAIN = ("compensated", "expired")
"""States after which a record that has changed starts anew."""


# ---------------------------------------------------------------------- a run of the flow
def run_process(runner: Runner, session: Session, plan: ProcessPlan) -> None:
    """Read the source, start instances, and move on everything that can go on."""
    tally, options = Tally(), session.options
    counts = Counts.of(target.name for target in plan.targets)
    chosen = _resume_chosen(session, plan) if options.chosen else None
    session.also.append(lambda tx, items: _start(tx, session, plan, items, tally))
    foresight = Foresight(runner, session.connectors, plan, options)
    session.foreseen.append(lambda items: _foresee(session, plan, items, tally, foresight))
    with foresight:
        if options.chosen:
            session.options.chosen = tuple(one for one in options.chosen if one not in (chosen or {}))
            if session.options.chosen:
                run_replay(session, plan.intake)
        else:
            run_sync(session, plan.intake)
        counts.records = session.counts.records
        session.also.clear()
        session.counts = ProcessCounts.with_tally(counts, tally)
        ready = _ready(session, plan, tally, chosen)
        if options.plan:
            for id in ready if options.records or not options.limit else ():
                if id not in foresight.seen:
                    tally.note(foresight.follow(partial(_named, id)))
            session.changes, session.instances = foresight.changes, foresight.instances
            if plan.flow.mode == "shadow":
                tally.foreseen = foresight.instances[:SHOWN]
    if not options.plan:
        hands = Hands(runner, session.connectors, {plan.logic: plan}, options.actor, options.now)
        with hands.kept():
            for id in ready:
                if runner.cancelled.is_set():
                    break
                tally.note(hands.advance(id))
                session.progress(session.counts)
        judge_deadlines(session.store, session.workspace, plan.name, plan.flow)
    tally.onto_targets(counts)


def _ready(session: Session, plan: ProcessPlan, tally: Tally, chosen: dict[str, str] | None) -> list[str]:
    """The instances that the run is to move on."""
    options = session.options
    with session.store.read() as tx:
        ready = processes.ready(tx, plan.name)
        if options.records:
            wanted = _records(tx, options.records)
            ready = [id for id in ready if id in tally.started or _about(tx, id) in wanted]
        if chosen is not None:
            ready = [id for id in ready if id in tally.started or id in chosen.values()]
    return ready


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


def _foresee(session: Session, plan: ProcessPlan, items: list[Item], tally: Tally, foresight: Foresight) -> None:
    """What `_start` would begin, and what the records would do to instances that there are."""
    with session.store.read() as tx:
        kept = _kept(session, plan, items)
        known = processes.last_of(tx, plan.name, kept)
    for key, item in _beginning(session, kept, known):
        hand = foresight.follow(partial(_tried, session, plan, item))
        tally.started.add(hand.one.id if hand is not None else key)
        tally.note(hand)
    for key, item in kept.items():
        one = known.get(key)
        if one is not None and one.live and one.state not in processes.STILL and item.changed:
            tally.note(foresight.follow(partial(_tried, session, plan, item, id=one.id)))


def _named(id: str, trial: Store) -> str:
    return id


def _tried(session: Session, plan: ProcessPlan, item: Item, trial: Store, id: str | None = None) -> str | None:
    """Keep a record in a state that is gone afterwards; the instance that it begins there, or moves."""
    tally, options = Tally(), replace(session.options, plan=False)
    there = Session(session.workspace, trial, session.registry, session.connectors, session.run, options)
    there.plan, there.counts = plan.intake, Counts.of(())
    there.also.append(lambda tx, items: _start(tx, there, plan, items, tally))
    commit_items(there, plan.intake, [copy(item)])
    return next(iter(tally.started), id)


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
