"""The closing transaction of a batch (T2): canonical records, links, ledger, journal, exceptions, inputs, cursor."""

from __future__ import annotations

from typing import Any

from engine.compile.schema import value_at
from engine.compile.sync import SyncPlan, TargetPlan
from engine.run.items import Delivery, Item, Trouble
from engine.run.mapping import snapshot
from engine.run.session import Session
from engine.run.shared import moved_bases
from engine.sdk.errors import Problem
from engine.sdk.record import digest, encode_json
from engine.state import bases, canonical, exceptions, inputs, ledger, links, operations, runs
from engine.state.inputs import Seen
from engine.state.ledger import Delivered
from engine.state.links import Link
from engine.state.store import Tx

WITHOUT = "it goes out again by itself once that record is known"


def commit_items(session: Session, plan: SyncPlan, items: list[Item], cursor: Any = None) -> None:
    """One transaction for the whole batch. Records that somebody else changed meanwhile go through again."""
    with session.store.begin("T2") as tx:
        lost = _canonical(tx, session, plan, items)
        _links(tx, session, plan, items)
        _ledger(tx, session, plan, items)
        _history(tx, session, plan, items, lost)
        bases.put(tx, moved_bases(plan, [one for one in _kept(items) if str(one.canonical_id) not in lost]))
        _exceptions(tx, session, plan, items)
        _inputs(tx, session, plan, items, lost)
        _wake(tx, session, plan, items)
        for item in items:
            if item.ended != "redo" and str(item.canonical_id) not in lost:
                session.counts.add(item)
        runs.progress(tx, session.run, session.counts.as_json())
        if cursor is not None:
            position, version = cursor
            cursor[1] = runs.save_cursor(tx, plan.name, position, version)
    entity = plan.schema.entity
    session.env.forget(entity, [str(item.canonical_id) for item in items if item.canonical_id])
    session.redo += [item for item in items if str(item.canonical_id) in lost]


def _kept(items: list[Item]) -> list[Item]:
    """Items whose canonical record is to be stored: valid ones, whatever their targets answered."""
    return [item for item in items if item.trouble is None and item.ended is None and item.canonical_id is not None]


def _canonical(tx: Tx, session: Session, plan: SyncPlan, items: list[Item]) -> set[str]:
    if plan.flow.store == "none":
        return set()
    kept = [item for item in _kept(items) if item.changed or item.stored is None]
    entity = plan.schema.entity
    changes = [
        canonical.Change(
            str(item.canonical_id), item.stored.version if item.stored else 0, encode_json(item.merged),
            encode_json(item.provenance), item.deleted,
        )
        for item in kept
    ]  # fmt: skip
    lost = canonical.put(tx, entity, changes, session.run) if changes else set()
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
    return lost


def _links(tx: Tx, session: Session, plan: SyncPlan, items: list[Item]) -> None:
    source, entity = plan.source, plan.schema.entity
    object = source.mapping.model.object or ""
    fresh = [
        Link(entity, source.connection, object, item.key, str(item.canonical_id), "", "live", session.run)
        for item in _kept(items)
        if item.fresh_link and not item.deleted and not source.canonical
    ]
    gone = [
        Link(entity, source.connection, object, item.key, str(item.canonical_id))
        for item in _kept(items) if item.deleted and not source.canonical
    ]  # fmt: skip
    if fresh:
        links.put(tx, fresh)
    if gone:
        links.set_state(tx, gone, "deleted")
    for target in plan.targets:
        written = []
        for item, delivery in _of(items, target):
            if delivery.outcome is None and not delivery.adopted:
                continue
            if delivery.trouble is None and delivery.native and delivery.kind != "append" and not target.mapping.onto:
                state = "deleted" if delivery.kind == "delete" else "live"
                written.append((item, delivery, Link(entity, target.connection, target.info.name, delivery.native,
                                                     str(item.canonical_id), delivery.part, state, session.run)))  # fmt: skip
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
        rows, settled = [], []
        for item, delivery in _of(items, target):
            outcome = delivery.outcome
            if outcome is not None and target.info.write_class != "A":
                ends = {"retry": "dropped", "in_doubt": "in_doubt", "refused": "refused", "conflict": "refused"}
                state = ends.get(outcome.state, "confirmed")
                settled.append((delivery.op_key, state, delivery.native, None))
            known = delivery.known
            stays = known is not None and (known.hash == delivery.hash or target.operation == "create")
            if delivery.trouble is not None or (outcome is None and not delivery.adopted and stays):
                continue
            if outcome is not None or delivery.counted == "unchanged":
                rows.append(_delivered(item, delivery))
        if rows:
            ledger.put(tx, target.connection, target.info.name, target.mapping.name, rows)
        if settled:
            operations.settle(tx, settled)
        if target.info.write_class == "A":
            keys = [one.op_key for _, one in _of(items, target) if one.op_key]
            if keys:
                tx.run(
                    "DELETE FROM operations WHERE run = ? AND target = ? AND kind = 'batch'", (session.run, target.name)
                )


def _delivered(item: Item, delivery: Delivery) -> Delivered:
    known = delivery.known
    state = "delivered"
    if delivery.kind == "delete":
        state = "deleted"
    elif delivery.counted == "deleted":
        state = "deactivated"
    generation = (known.generation if known else 0) + (1 if state == "deleted" else 0)
    first = known is None and delivery.counted != "deleted" and not delivery.adopted
    fields = delivery.encoded if first else encode_json({**(delivery.before if known else {}), **delivery.payload})
    return Delivered(
        str(item.canonical_id), delivery.part, delivery.hash if state == "delivered" else b"\0" * 16, fields,
        delivery.native, delivery.outcome.version if delivery.outcome else None,
        (known.revision if known else 0) + 1, generation, state,
    )  # fmt: skip


def _history(tx: Tx, session: Session, plan: SyncPlan, items: list[Item], lost: set[str]) -> None:
    rows = []
    for item in _kept(items) if plan.schema.history and plan.flow.store != "none" else ():
        if str(item.canonical_id) in lost or not item.changed:
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


def _exceptions(tx: Tx, session: Session, plan: SyncPlan, items: list[Item]) -> None:
    failures, healed = [], []
    for item in items:
        troubles: list[tuple[Trouble, str, str, Any]] = [(item.trouble, "", "", None)] if item.trouble else []
        troubles += [(one.trouble, one.target.name, one.part, one.payload) for one in item.deliveries if one.trouble]
        later = (*item.later, *(one for delivery in item.deliveries for one in delivery.later))
        if later and item.trouble is None:
            problem = Problem(
                "E405", f"{item.key}: went on without {later[0][1]}", plan.source.mapping.document.at(), WITHOUT
            )
            trouble = Trouble("map", problem, "missing_reference", "waiting", reads=tuple(dict.fromkeys(later)))
            troubles.append((trouble, "", "later", None))
        for trouble, target, part, payload in troubles:
            if trouble.until is not None and (item.key, target, part) in session.overdue:
                _waited(trouble)
            failures.append(_failure(session, plan, item, trouble, target, part, payload))
        if session.live and item.ended != "redo":
            bad = {(target, part) for _, target, part, _ in troubles}
            healed += [key for key in session.live if key[0] == item.key and (key[1], key[2]) not in bad]
    if failures:
        exceptions.record(tx, failures)
        session.live |= {(one.key, one.target, one.part) for one in failures}
    if healed:
        exceptions.close(tx, plan.name, healed, f"succeeded in {session.run}")
        session.live -= set(healed)


def _waited(trouble: Trouble) -> None:
    """A wait that is over: a person is to look, and it still goes on by itself should the record arrive."""
    told = trouble.problem
    message = f"{told.message}, which did not come in the time that it may wait"
    trouble.state = "open"
    trouble.problem = Problem(told.code, message, told.at, "sync that record, or raise `wait_for`")


def _failure(
    session: Session, plan: SyncPlan, item: Item, trouble: Trouble, target: str, part: str, payload: Any
) -> exceptions.Failure:
    problem = trouble.problem
    print_ = digest([plan.name, target, trouble.stage, problem.code, str(problem.at)]).hex()
    return exceptions.Failure(
        plan.name, session.run, plan.schema.entity, item.key, item.canonical_id, target, part, trouble.stage,
        trouble.exception_class, problem.code, problem.message, problem.hint, str(problem.at) if problem.at else None,
        trouble.queue or plan.flow.owner, trouble.state, print_, trouble.until, item.record.modified, plan.logic,
        snapshot(item), encode_json(item.merged) if item.merged else None, encode_json(payload) if payload else None,
        trouble.reads,
    )  # fmt: skip


def _inputs(tx: Tx, session: Session, plan: SyncPlan, items: list[Item], lost: set[str]) -> None:
    """Remember what is done with; a record in trouble is handled anew whenever it is read."""
    rows = []
    for item in items:
        open_end = item.trouble is not None or any(one.trouble or one.later for one in item.deliveries)
        if open_end or item.ended in ("unchanged", "superseded", "redo") or str(item.canonical_id) in lost:
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
        changed += [(entity, str(item.canonical_id)) for one in item.deliveries if one.counted == "created"]
    session.woken += exceptions.wake(tx, changed)
