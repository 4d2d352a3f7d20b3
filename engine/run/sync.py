"""A sync run: the line that every record passes, in one readable function.

read → map in → merge (links, ownership) → validate → check → map out → diff (ledger) → deliver → commit.
A record with a problem leaves the line and is kept as an exception; a plan is the line without its last stages.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Iterable, Iterator

from engine.compile.rules import LinkSlot
from engine.compile.sync import SyncPlan
from engine.run import guards
from engine.run.behind import hold_behind, keeps_order, next_in_line, own_troubles
from engine.run.collect import Total, count_in, open_totals
from engine.run.commit import commit_items
from engine.run.corrections import correct_mapped, load_corrections, see_taken
from engine.run.correlate import correlate_items
from engine.run.deliver import deliver_items
from engine.run.diff import diff_items
from engine.run.due import due_records, missing_records, read_again, refreshed_items
from engine.run.echo import mirrored_places
from engine.run.expectations import note_delays
from engine.run.identity import identify
from engine.run.isolate import Careful
from engine.run.items import Counts, Item
from engine.run.judge import check_items, validate_items
from engine.run.mapping import judge_faults, make_items, map_items, skip_unchanged, twins
from engine.run.merge import drop_unwanted, merge_items, select_items
from engine.run.plan import keep_planned, note_changes
from engine.run.reading import Reading
from engine.run.resolve import resolve_in_doubt
from engine.run.scan import scan_marks
from engine.run.session import Session
from engine.run.within import note_left
from engine.sdk.record import Record, fingerprint
from engine.state import exceptions, inputs
from engine.state.store import instant

Slots = tuple[list[LinkSlot], dict[str, list[LinkSlot]]]
Read = tuple[list[Record], str | None]
"""Records, and the point up to which everything has come with them."""
CHUNKS = 20
"""Reads after which a batch closes, however little of it is new."""
TIDY = 20
"""Batches after which garbage in cycles goes: a statement of SQLAlchemy may hold the keys of a whole batch."""
PAUSE = 0.05
"""Seconds, at most, that records changed meanwhile by somebody else wait before they go through again."""


def run_sync(session: Session, plan: SyncPlan) -> Counts:
    """Run a flow to its end. Raises Held where a guard stops it, ConnectorError where a system does."""
    session.plan, session.counts = plan, Counts.of(target.name for target in plan.targets)
    if not session.options.plan:
        resolve_in_doubt(session, plan)
    slots, totals = prepare(session, plan)
    reading = Reading(session, plan)
    if plan.flow.expect is not None and plan.flow.expect.delivered_within and reading.since is not None:
        session.delays = []
    careful, batches = Careful(session, plan), 0
    for phase in _phases(session, plan, reading):
        for items, reached in _gathered(session, plan, phase, first=phase is not reading):
            for part, last in careful.parts(items):
                with session.reading():
                    process(session, plan, part, slots, totals)
                cursor = reading.cursor(reached) if last else None
                finish_batch(session, plan, part, cursor)
                repeat(session, plan, slots, totals, cursor)
            batches += 1
            if batches % TIDY == 0:
                gc.collect(1)
            if session.cancelled.is_set():
                return session.counts
    _refresh(session, plan, slots)
    twice = 0 if session.options.plan else scan_marks(session, plan)
    guards.judge_errors(session, plan, end=True)
    session.counts.records["quarantined"] += twice
    return session.counts


def prepare(session: Session, plan: SyncPlan) -> tuple[Slots, dict[str, Total]]:
    """What the stages keep for the whole run: link slots, totals, what was seen before, guards' figures."""
    inbound = plan.source.mapping.inbound
    assert inbound is not None
    source = session.link_slots(inbound.slots, plan.source.connection, inward=True)
    targets = {
        target.name: session.link_slots(target.mapping.outbound.slots if target.mapping.outbound else [],
                                        target.connection, inward=False)
        for target in plan.targets
    }  # fmt: skip
    session.refreshed = frozenset(plan.flow.refresh)
    with session.reading() as tx:
        session.began = tx.now()
        session.mirrored = mirrored_places(session, plan)
        session.seen = None if session.options.records else inputs.preload(tx, plan.name)
        session.live = exceptions.live_keys(tx, plan.name)
        session.versions = exceptions.live_versions(tx, plan.name) if session.live and not keeps_order(plan) else {}
        session.overdue = exceptions.overdue(tx, plan.name, instant(session.now)) if session.live else set()
        totals = open_totals(session, plan)
        load_corrections(session, plan)
    return (source, targets), totals


def _phases(session: Session, plan: SyncPlan, reading: Reading) -> Iterator[Iterable[Read]]:
    """Exceptions that are due, then the source, then (complete sweeps) what is no longer there, then due ones again."""
    tried: set[tuple[str, str]] = set()
    with session.reading():
        due = due_records(session, plan)
    session.counts.records["read"] += sum(map(len, due))
    yield [(chunk, None) for chunk in due]
    while keeps_order(plan) and not session.options.plan:  # what waited behind them, one version after the other
        with session.reading():
            records = next_in_line(session, plan)
        session.retried.update({record.key: fingerprint(record.value)[0] for record in records})
        if not records or (said := {(one.key, session.turns[one.key]) for one in records}) == tried:
            break
        tried = said
        session.counts.records["read"] += len(records)
        yield [(records, None)]
    if session.options.replay:
        return
    yield reading
    guards.judge_empty(session, plan, whole=reading.whole)
    if reading.whole and reading.sweeps:
        with session.reading():
            missing = missing_records(session, plan, reading.keys)
        yield ((chunk, None) for chunk in missing)
    if session.woken and not session.options.plan:
        with session.reading():
            due = due_records(session, plan)
        yield [(chunk, None) for chunk in due]


def _gathered(
    session: Session, plan: SyncPlan, phase: Iterable[Read], *, first: bool
) -> Iterator[tuple[list[Item], str | None]]:
    """Full batches of records to work on: what was read before unchanged is counted and left out, so that a read in
    which little is new costs few transactions. Every so many chunks a batch closes all the same, for the cursor."""
    held: list[Item] = []
    reached, chunks = None, 0
    for records, upto in phase:
        reached, chunks = upto or reached, chunks + 1
        with session.reading():
            items = make_items(session, plan, records)
            twins(items)  # two records with one key in one read
            skip_unchanged(session, plan, items)  # byte for byte as before, with the same logic
        troubled = own_troubles(session.live)
        if not first:
            items = _not_tried(session, items)
        left = [one for one in items if one.ended not in ("unchanged", "skipped") or one.key in troubled]
        before = sum(one.ended == "unchanged" and one.key not in troubled for one in items)
        session.counts.pass_by(before, len(items) - len(left) - before)
        held += left
        if len(held) >= plan.flow.policy.batch or chunks >= CHUNKS or session.cancelled.is_set():
            twins(held)
            yield held, reached
            held, reached, chunks = [], None, 0
    if held or reached:
        twins(held)
        yield held, reached


def _not_tried(session: Session, items: list[Item]) -> list[Item]:
    """Without records that this run tried already, as exceptions, and that the source gives again as they were."""
    left = [
        item
        for item in items
        if item.key not in session.retried or session.retried[item.key] != fingerprint(item.record.value)[0]
    ]
    session.counts.records["read"] -= len(items) - len(left)
    return left


def process(session: Session, plan: SyncPlan, items: list[Item], slots: Slots, totals: dict[str, Total]) -> list[Item]:
    """Everything up to the point where something would be sent."""
    hold_behind(session, plan, items)  # where every version counts
    map_items(session, plan, items, slots[0])  # source shape → canonical
    correct_mapped(session, plan, items)  # what people corrected in this version of a record
    drop_unwanted(session, plan, items)  # faults in records that `where` leaves out are nobody's
    judge_faults(session, plan, items)
    return onward(session, plan, items, slots, totals)


def onward(session: Session, plan: SyncPlan, items: list[Item], slots: Slots, totals: dict[str, Total]) -> list[Item]:
    """The line from the canonical record on."""
    identify(session, plan, items)  # links, match rules, a new id
    merge_items(session, plan, items)  # ownership, three states
    see_taken(session, plan, items)
    correlate_items(session, plan, items)  # what new records belong to
    select_items(session, plan, items)  # the flow's `where`
    validate_items(session, plan, items)  # JSON Schema on the merged record, lifecycles
    count_in(totals, session, plan, items)
    check_items(session, plan, items, totals)  # business rules
    diff_items(session, plan, items, slots[1])  # against the ledger → what each target is to get
    return items


def finish_batch(session: Session, plan: SyncPlan, items: list[Item], cursor: list[object] | None) -> None:
    """Deliver and commit; a plan only counts and notes what would happen."""
    if session.options.plan:
        note_left(session, items)
        note_changes(session, items)
        for see in session.foreseen:
            see(items)
        for item in items:
            session.counts.add(item)
        session.progress(session.counts)
        return
    if session.options.only is not None:
        keep_planned(session, items)
        cursor = None if session.moved else cursor
    troubled = own_troubles(session.live)  # one that is again as it was before it went wrong is over with that
    if cursor is None and all(item.ended == "unchanged" and item.key not in troubled for item in items):
        for item in items:
            session.counts.add(item)
        session.progress(session.counts)
        return
    guards.judge_writes(session, plan, items)
    deliver_items(session, plan, items)
    commit_items(session, plan, items, cursor)
    note_left(session, items)
    note_delays(session, items)
    for error in session.parked.values():
        raise error
    session.progress(session.counts)
    guards.judge_errors(session, plan)


def _refresh(session: Session, plan: SyncPlan, slots: Slots) -> None:
    """Deliver again what reads a record that changed; once more where a record was changed meanwhile."""
    while True:
        with session.reading():
            items = refreshed_items(session, plan)
            diff_items(session, plan, items, slots[1])
        finish_batch(session, plan, items, None)
        if not session.redo:
            return
        session.redo = []


def repeat(
    session: Session, plan: SyncPlan, slots: Slots, totals: dict[str, Total], cursor: list[object] | None
) -> None:
    """Records of the batch that somebody else changed meanwhile go through again; only then does the cursor move."""
    tries = 0
    while session.redo:
        again, session.redo = read_again(session, plan, [_anew(item) for item in session.redo]), []
        if tries:
            time.sleep(random.uniform(0, PAUSE))  # noqa: S311 - jitter, not a secret
        tries += 1
        with session.reading():
            process(session, plan, again, slots, totals)
        finish_batch(session, plan, again, cursor)


def _anew(item: Item) -> Item:
    """The record before any stage; what was sent of it is remembered, so that it is counted as what was done."""
    done = {
        (one.target.name, one.part): one.counted
        for one in item.deliveries
        if one.trouble is None and one.counted in ("created", "updated", "deleted")
    }
    return Item(item.record, item.key, item.raw_hash, item.value, from_exception=True, sent={**done, **item.sent})
