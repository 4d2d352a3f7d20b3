"""A sync run: the line that every record passes, in one readable function.

read → map in → merge (links, ownership) → validate → check → map out → diff (ledger) → deliver → commit.
A record with a problem leaves the line and is kept as an exception; a plan is the line without its last stages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine.compile.rules import LinkSlot
from engine.compile.sync import SyncPlan
from engine.run import guards
from engine.run.collect import Total, count_in, open_totals
from engine.run.commit import commit_items
from engine.run.deliver import deliver_items
from engine.run.diff import diff_items
from engine.run.items import Counts, Item
from engine.run.judge import check_items, validate_items
from engine.run.mapping import judge_faults, make_items, map_items, skip_unchanged, twins
from engine.run.merge import drop_unwanted, identify, merge_items, select_items
from engine.run.plan import keep_planned, note_changes
from engine.run.reading import Reading, due_records, missing_records, refreshed_items
from engine.run.resolve import resolve_in_doubt
from engine.run.session import Session
from engine.sdk.record import Record, fingerprint
from engine.state import exceptions, inputs
from engine.state.store import instant

Slots = tuple[list[LinkSlot], dict[str, list[LinkSlot]]]
Read = tuple[list[Record], str | None]
"""Records, and the point up to which everything has come with them."""
CHUNKS = 20
"""Reads after which a batch closes, however little of it is new."""
REPEATS = 3
"""How often records that were changed meanwhile, or woken by others, go through again in one run."""


def run_sync(session: Session, plan: SyncPlan, fence: int = 0) -> Counts:
    """Run a flow to its end. Raises Held where a guard stops it, ConnectorError where a system does."""
    session.plan, session.counts = plan, Counts.of(target.name for target in plan.targets)
    slots, totals = prepare(session, plan)
    reading = Reading(session, plan)
    if not session.options.plan:
        resolve_in_doubt(session, plan)
    for phase in _phases(session, plan, reading):
        for items, reached in _gathered(session, plan, phase, first=phase is not reading):
            with session.reading():
                process(session, plan, items, slots, totals)
            finish_batch(session, plan, items, fence, reading.cursor(reached))
            if session.cancelled.is_set():
                return session.counts
    for _ in range(REPEATS):
        again, session.redo = session.redo, []
        if not again:
            break
        run_items(session, plan, [_anew(item) for item in again], slots, totals, fence)
    with session.reading():
        items = refreshed_items(session, plan)
        diff_items(session, plan, items, slots[1])
    finish_batch(session, plan, items, fence, None)
    guards.judge_errors(session, plan, end=True)
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
        session.seen = inputs.preload(tx, plan.name)
        session.live = exceptions.live_keys(tx, plan.name)
        session.overdue = exceptions.overdue(tx, plan.name, instant(session.now)) if session.live else set()
        totals = open_totals(session, plan)
    return (source, targets), totals


def _phases(session: Session, plan: SyncPlan, reading: Reading) -> Iterator[Iterable[Read]]:
    """Exceptions that are due, then the source, then (complete sweeps) what is no longer there, then due ones again."""
    with session.reading():
        due = due_records(session, plan)
    session.counts.records["read"] += sum(map(len, due))
    yield [(chunk, None) for chunk in due]
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
        troubled = {key for key, _, _ in session.live}
        if not first:
            items = _not_tried(session, items, troubled)
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


def _not_tried(session: Session, items: list[Item], troubled: set[str]) -> list[Item]:
    """Without records that this run tried already, as exceptions, and that the source gives again as they were."""
    left = [
        item
        for item in items
        if item.key not in troubled or session.retried.get(item.key) != fingerprint(item.record.value)[0]
    ]
    session.counts.records["read"] -= len(items) - len(left)
    return left


def process(session: Session, plan: SyncPlan, items: list[Item], slots: Slots, totals: dict[str, Total]) -> list[Item]:
    """Everything up to the point where something would be sent."""
    map_items(session, plan, items, slots[0])  # source shape → canonical
    drop_unwanted(session, plan, items)  # faults in records that `where` leaves out are nobody's
    judge_faults(session, plan, items)
    identify(session, plan, items)  # links, match rules, a new id
    merge_items(session, plan, items)  # ownership, three states
    select_items(session, plan, items)  # the flow's `where`
    validate_items(session, plan, items)  # JSON Schema on the merged record, lifecycles
    count_in(totals, session, plan, items)
    check_items(session, plan, items, totals)  # business rules
    diff_items(session, plan, items, slots[1])  # against the ledger → what each target is to get
    return items


def finish_batch(session: Session, plan: SyncPlan, items: list[Item], fence: int, cursor: list[object] | None) -> None:
    """Deliver and commit; a plan only counts and notes what would happen."""
    if session.options.plan:
        note_changes(session, items)
        for item in items:
            session.counts.add(item)
        session.progress(session.counts)
        return
    if session.options.only is not None:
        keep_planned(session, items)
        cursor = None if session.moved else cursor
    if cursor is None and all(item.ended == "unchanged" for item in items):
        for item in items:
            session.counts.add(item)
        session.progress(session.counts)
        return
    guards.judge_writes(session, plan, items)
    deliver_items(session, plan, items, fence)
    commit_items(session, plan, items, cursor)
    session.progress(session.counts)
    guards.judge_errors(session, plan)


def run_items(
    session: Session, plan: SyncPlan, items: list[Item], slots: Slots, totals: dict[str, Total], fence: int
) -> None:
    """The line for items at hand: records changed meanwhile, replays."""
    with session.reading():
        twins(items)
        skip_unchanged(session, plan, items)
        process(session, plan, items, slots, totals)
    finish_batch(session, plan, items, fence, None)


def _anew(item: Item) -> Item:
    return Item(item.record, item.key, item.raw_hash, item.value, from_exception=True)
