"""The closing transaction of a batch (T2): canonical records, links, ledger, journal, exceptions, inputs, cursor."""

from __future__ import annotations

from typing import Any

from engine.compile.schema import value_at
from engine.compile.sync import SyncPlan, TargetPlan
from engine.run.echo import Rows, keep_images, written_images
from engine.run.emission import emit_items
from engine.run.identity import recognised_meanwhile
from engine.run.items import Delivery, Item, Trouble
from engine.run.jobs import close_jobs
from engine.run.journal import Lost, mine, settle_writes
from engine.run.mapping import snapshot
from engine.run.quarantine import keep_troubles
from engine.run.session import Session
from engine.run.swings import keep_swings
from engine.sdk.errors import Problem
from engine.sdk.record import encode_json
from engine.state import canonical, exceptions, inputs, ledger, links, runs
from engine.state.inputs import Seen
from engine.state.ledger import Delivered
from engine.state.links import Link
from engine.state.store import Tx


def commit_items(session: Session, plan: SyncPlan, items: list[Item], cursor: Any = None) -> None:
    """One transaction for the whole batch. Records that somebody else changed meanwhile go through again.

    Raises Lost where another run took over: then only what the targets have is noted.
    """
    with session.reading():
        written = written_images(session, plan, _kept(items))
    with session.store.begin("T2") as tx:
        held = mine(tx, session)
        if held:
            _commit(tx, session, plan, items, written, cursor)
        else:
            _facts(tx, session, plan, items)
    if not held:
        raise Lost(plan.name)
    entity = plan.schema.entity
    session.env.forget(entity, [str(item.canonical_id) for item in items if item.canonical_id])


def _commit(tx: Tx, session: Session, plan: SyncPlan, items: list[Item], written: Rows, cursor: Any) -> None:
    """Everything of the batch."""
    recognised_meanwhile(tx, plan, _kept(items))
    _canonical(tx, session, plan, items)
    _links(tx, session, plan, items)
    _target_links(tx, session, plan, items)
    _ledger(tx, session, plan, items)
    _history(tx, session, plan, items)
    keep_images(tx, session, plan, [one for one in _kept(items) if not one.lost], written)
    keep_swings(tx, items)
    errand = session.options.errand
    if errand is None or errand.flow is not None:  # else there is no flow by which a person could replay it
        keep_troubles(tx, session, plan, items)
    if errand is None or errand.how == "flow":  # a part of a record was sent: the flow has not seen it for that
        _inputs(tx, session, plan, items)
    _wake(tx, session, plan, items)
    for note in session.also:
        note(tx, items)
    emit_items(tx, session, plan, items)
    again = [item for item in items if item.goes_again]
    for item in items:
        if item.ended != "redo" and not item.goes_again:
            session.counts.add(item)
    runs.progress(tx, session.run, session.counts.as_json())
    session.redo += again
    if cursor is not None and not (session.redo or session.parked):  # it never passes what is not finished
        position, version = cursor
        cursor[1] = runs.save_cursor(tx, plan.name, position, version)


def _facts(tx: Tx, session: Session, plan: SyncPlan, items: list[Item]) -> None:
    """The lease was lost: what the targets have is a fact all the same; two ids for one record are told."""
    before = {id(one) for item in items for one in item.deliveries if one.trouble}
    _target_links(tx, session, plan, items)
    for target in plan.targets:
        settle_writes(tx, session, target, _of(items, target))
    doubled = [item for item in items if any(one.trouble and id(one) not in before for one in item.deliveries)]
    keep_troubles(tx, session, plan, doubled)


def _kept(items: list[Item]) -> list[Item]:
    """Items whose canonical record is to be stored: valid ones, whatever their targets answered."""
    return [item for item in items if item.trouble is None and item.ended is None and item.canonical_id is not None]


def _parked(item: Item) -> bool:
    """Whether the next run must meet the record again as this one did: a delete is seen by a sweep only while its link lives."""
    return any(one.trouble is not None and one.trouble.state == "parked" for one in item.deliveries)


def _canonical(tx: Tx, session: Session, plan: SyncPlan, items: list[Item]) -> None:
    if plan.flow.store == "none":
        return
    kept = [item for item in _kept(items) if not item.lost and (item.changed or item.stored is None)]
    entity = plan.schema.entity
    changes = [
        canonical.Change(
            str(item.canonical_id), item.stored.version if item.stored else 0, encode_json(item.merged),
            encode_json(item.provenance), item.deleted, item.correlates,
        )
        for item in kept
    ]  # fmt: skip
    lost = canonical.put(tx, entity, changes, session.run) if changes else set()
    sent = {
        str(item.canonical_id): item.stored.version
        for item in _kept(items)
        if item.stored and not item.changed and any(one.outcome for one in item.deliveries)
    }
    if sent:
        lost |= canonical.moved(tx, entity, sent)
    for item in _kept(items):
        item.lost = item.lost or str(item.canonical_id) in lost
    kept = [item for item in kept if not item.lost]
    if plan.schema.match and kept:
        canonical.put_matches(
            tx, entity, [(str(i.canonical_id), [] if i.deleted else plan.schema.match_keys(i.merged)) for i in kept]
        )
    wanted = {name for name in plan.schema.refs if name in session.refreshed}
    if wanted and kept:
        rows = [
            (str(i.canonical_id), [(n, v) for n in wanted if isinstance(v := value_at(i.merged, n), str)]) for i in kept
        ]
        canonical.put_references(tx, entity, rows)


def _links(tx: Tx, session: Session, plan: SyncPlan, items: list[Item]) -> None:
    source, entity = plan.source, plan.schema.entity
    object = source.mapping.model.object or ""
    fresh = [
        Link(entity, source.connection, object, item.key, str(item.canonical_id), "", "live", session.run)
        for item in _kept(items)
        if item.fresh_link and not item.deleted and not source.canonical and not item.lost
    ]
    gone = [
        Link(entity, source.connection, object, item.key, str(item.canonical_id))
        for item in _kept(items) if item.deleted and not source.canonical and not _parked(item)
    ]  # fmt: skip
    if fresh:
        links.put(tx, fresh)
    if gone:
        links.set_state(tx, gone, "deleted")


def _target_links(tx: Tx, session: Session, plan: SyncPlan, items: list[Item]) -> None:
    entity = plan.schema.entity
    for target in plan.targets:
        written = []
        for item, delivery in _of(items, target):
            if delivery.outcome is None and not delivery.adopted:
                continue
            if delivery.trouble is None and delivery.native and delivery.kind != "append" and not target.mapping.onto:
                state = "deleted" if delivery.kind == "delete" else "live"
                written.append((item, delivery, Link(entity, target.connection, target.info.name, delivery.native,
                                                     str(item.canonical_id), delivery.part, state, session.run)))  # fmt: skip
        gone = [
            Link(entity, target.connection, target.info.name, str(one.native), str(item.canonical_id))
            for item, one in _of(items, target)
            if one.outcome is not None and one.outcome.state == "missing" and one.kind == "update" and not target.mapping.onto
        ]  # fmt: skip
        links.set_state(tx, gone, "deleted")
        conflicts = {one.wanted: one.standing for one in links.put(tx, [link for _, _, link in written])}
        for item, delivery, link in written:
            standing = conflicts.get(link)
            if standing is not None:
                problem = Problem(
                    "E443", f"{item.key}: {target.name} has it as {link.native_id}, but {standing.native_id} is linked to "
                    f"{standing.canonical_id}", target.at, "merge the two in the target, or mend the link",
                )  # fmt: skip
                delivery.trouble = Trouble("commit", problem, "conflict")


def _of(items: list[Item], target: TargetPlan) -> list[tuple[Item, Delivery]]:
    return [(item, one) for item in items for one in item.deliveries if one.target is target]


def _ledger(tx: Tx, session: Session, plan: SyncPlan, items: list[Item]) -> None:
    for target in plan.targets:
        pairs, rows = _of(items, target), []
        for item, delivery in pairs:
            outcome, known = delivery.outcome, delivery.known
            stays = known is not None and (known.hash == delivery.hash or target.operation == "create")
            if delivery.trouble is not None or (outcome is None and not delivery.adopted and stays):
                continue
            if outcome is not None or delivery.counted == "unchanged":
                rows.append(_delivered(item, delivery))
        if rows:
            ledger.put(tx, target.connection, target.info.name, target.mapping.name, rows)
        settle_writes(tx, session, target, pairs)
        if session.jobs:
            close_jobs(session, tx, target)


def _delivered(item: Item, delivery: Delivery) -> Delivered:
    known = delivery.known
    state = "delivered"
    if delivery.kind == "delete":
        state = "deleted"
    elif delivery.counted == "deleted":
        state = "deactivated"
    generation = (known.generation if known else 0) + (1 if state == "deleted" else 0)
    first = known is None and delivery.counted != "deleted" and not delivery.adopted
    fields = (
        delivery.encoded
        if first
        else encode_json({**(delivery.before if known else {}), **delivery.payload, **delivery.kept})
    )
    return Delivered(
        str(item.canonical_id), delivery.part, delivery.hash if state == "delivered" else ledger.NO_HASH, fields,
        delivery.native, delivery.outcome.version if delivery.outcome else delivery.version,
        (known.revision if known else 0) + 1, generation, state,
    )  # fmt: skip


def _history(tx: Tx, session: Session, plan: SyncPlan, items: list[Item]) -> None:
    rows = []
    for item in _kept(items) if plan.schema.history and plan.flow.store != "none" else ():
        if item.lost or not item.changed:
            continue
        version = (item.stored.version if item.stored else 0) + 1
        for name in plan.schema.history:
            old = (item.before or {}).get(name)
            new = item.merged.get(name)
            if old != new:
                rows.append((plan.schema.entity, str(item.canonical_id), name, version, encode_json(old), encode_json(new),
                             plan.source.connection, session.run))  # fmt: skip
    if rows:
        canonical.add_history(tx, rows)


def _inputs(tx: Tx, session: Session, plan: SyncPlan, items: list[Item]) -> None:
    """Remember what is done with; a record in trouble is handled anew whenever it is read."""
    rows = []
    for item in items:
        open_end = item.trouble is not None or any(one.trouble or one.later for one in item.deliveries)
        if open_end or item.lost or item.ended in ("unchanged", "superseded", "redo"):
            continue
        known = session.seen.get(item.key) if session.seen is not None else None
        if item.ended == "skipped" and known is not None and known.hash == item.raw_hash:
            continue
        if not item.raw_hash or any(fault[1] == "later" for fault in item.faults):
            continue
        rows.append(
            Seen(
                item.key,
                item.raw_hash,
                plan.logic,
                None if item.ended == "skipped" else item.canonical_id,
                item.record.modified,
            )
        )
    if rows:
        inputs.put(tx, plan.name, rows, session.run)
        if session.seen is not None:
            session.seen.update((row.key, inputs.slim(row)) for row in rows)
            if len(session.seen) > inputs.PRELOAD:
                session.seen = None  # too much to hold: from here on each batch asks
    if plan.flow.keep_inputs is not None:
        inputs.keep(tx, plan.name, [(item.key, snapshot(item)) for item in items if item.ended is None])


def _wake(tx: Tx, session: Session, plan: SyncPlan, items: list[Item]) -> None:
    """Whatever waits for one of these records is tried again."""
    if not exceptions.any_live_reads(tx):
        return
    entity, changed = plan.schema.entity, []
    for item in _kept(items):
        if item.changed or item.fresh_link:
            changed.append((entity, str(item.canonical_id)))
            changed.append((entity, f"{plan.source.connection}:{item.key}"))
        for one in item.deliveries:
            if one.native and (one.counted == "created" or one.adopted) and one.trouble is None:
                changed += [(entity, str(item.canonical_id)), (entity, f"{one.target.connection}:{one.native}")]
    session.woken += exceptions.wake(tx, changed)
