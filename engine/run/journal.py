"""The journal's side of a write: intent before any byte leaves (T1), and what its end means for the ledger (T2)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from engine.compile.sync import SyncPlan, TargetPlan
from engine.run.items import Delivery, Item, Trouble
from engine.run.outcome import ENDS, class_of, in_doubt, several, undecidable
from engine.run.session import Session
from engine.sdk.errors import CrosswalkError, Problem
from engine.sdk.record import decode_json, digest_bytes, encode_json
from engine.state import inputs, leases, ledger, links, operations
from engine.state.store import Tx, instant, moment_of

Pair = tuple[Item, Delivery]
MARKER = "batch"
"""Kind of the row that stands for a whole batch of class A: its body lists [canonical id, part, kind, digest, fields]."""

JOB = "job"
"""Kind of the row that stands for a system's job."""


class Lost(CrosswalkError):
    """Another run holds the lease: this one must neither send nor commit any more."""

    def __init__(self, flow: str) -> None:
        super().__init__(Problem("R604", f"another run of {flow} took over while this one stood still", None,
                                 "nothing is lost: what it had sent is settled by the next run"))  # fmt: skip


def mine(tx: Tx, session: Session) -> bool:
    """Whether this run's fence still holds; nobody claims its lease before the transaction ends."""
    return session.lease is None or leases.held(tx, session.lease)


@contextmanager
def settling(session: Session) -> Iterator[Tx]:
    """A transaction that settles what was in doubt; only the holder of the lease may. Raises Lost."""
    with session.store.begin("resolve") as tx:
        if not mine(tx, session):
            raise Lost(session.plan.name if session.plan else "the flow")
        yield tx


def op_key(target: TargetPlan, item: Item, delivery: Delivery) -> str:
    """The same for the same intended write, whichever flow or run intends it.

    Updates name the mapping, for its ledger row is what their revision counts.
    """
    known = delivery.known
    revision: Any = known.revision if known else 0
    kind = "create" if delivery.kind == "upsert" else delivery.kind
    if kind == "append":
        revision = item.record.modified or item.raw_hash.hex()
    parts = [target.connection, target.info.name, item.canonical_id, delivery.part, kind,
             known.generation if known else 0, revision]  # fmt: skip
    if kind in ("update", "delete"):
        parts.append(target.mapping.name)
    return digest_bytes("\x1f".join(map(str, parts)).encode()).hex()


def frozen(delivery: Delivery) -> bytes:
    """What is sent, as bytes: the changes of an update, else the whole record."""
    return encode_json(delivery.changes if delivery.kind == "update" else delivery.record)


def same_bytes(standing: operations.Open, delivery: Delivery) -> bool:
    """Whether an open write held just what would be sent now, so that sending it again changes nothing."""
    if delivery.kind not in operations.SAFE_AGAIN:
        return False
    body = frozen(delivery)
    return standing.body in (body, digest_bytes(body))


def wait_for_open(session: Session, item: Item, delivery: Delivery, other: operations.Open) -> None:
    """Another write of this record has no known end: it comes first. Where nothing can be asked, a person decides."""
    target = delivery.target
    if other.state == "in_doubt" and other.op_key not in session.in_jobs and same_bytes(other, delivery):
        delivery.doubted = True  # the first ones may arrive late all the same
        return
    if other.found:
        delivery.trouble = several(target, item, other.found)
        return
    if undecidable(other.write_class, other.kind):
        delivery.trouble = in_doubt(target, item, other.kind, f"its {other.kind} had no answer")
        return
    problem = Problem(
        "E441", f"an earlier {other.kind} of it has no known outcome yet", target.at,
        "the next run looks for it and goes on",
    )  # fmt: skip
    delivery.trouble = Trouble("deliver", problem, "in_doubt", "waiting")


def intend(
    session: Session, plan: SyncPlan, target: TargetPlan, pairs: list[Pair], limit: float, *, first: bool
) -> list[Pair]:
    """T1, committed before any byte leaves: what may be sent. Class A needs only a marker that lists the batch.

    limit: seconds from now within which it may be sent. Raises Lost.
    """
    keys = [delivery.op_key for _, delivery in pairs]
    with session.store.begin("T1", durable=True) as tx:
        if not mine(tx, session):
            raise Lost(plan.name)
        send_by = instant(moment_of(tx.now()) + timedelta(seconds=limit))
        for _, delivery in pairs:
            delivery.send_by = send_by
        if target.write_class == "A":
            _mark_batch(tx, session, plan, target, pairs, send_by)
            return pairs
        if not first:
            gone = operations.prolong(tx, keys, session.run, send_by)
            kept = dict.fromkeys(gone, "open")
        else:
            rows = [_intent(session, plan, target, pair, send_by) for pair in pairs]
            kept = operations.send(tx, rows)
            kept |= _made_meanwhile(tx, session, plan, target, pairs, kept, rows)
    for item, delivery in pairs:
        if delivery.op_key in kept:
            _hold_back(target, item, delivery, kept[delivery.op_key])
    return [pair for pair in pairs if pair[1].op_key not in kept]


def _intent(session: Session, plan: SyncPlan, target: TargetPlan, pair: Pair, send_by: str) -> operations.Intent:
    item, delivery = pair
    body = frozen(delivery)
    # a key stands for these bytes in this run; bytes in doubt keep theirs, for they are sent again from the journal
    delivery.idempotency_key = digest_bytes(f"{delivery.op_key}{session.run}".encode() + body).hex()
    return operations.Intent(
        delivery.op_key, session.run, plan.name, target.name, target.connection, target.info.name,
        str(item.canonical_id), delivery.part, str(delivery.kind), class_of(target, str(delivery.kind)),
        delivery.idempotency_key, body,
        session.fence, send_by,
    )  # fmt: skip


def _mark_batch(tx: Tx, session: Session, plan: SyncPlan, target: TargetPlan, pairs: list[Pair], send_by: str) -> None:
    """One row for the batch; the next attempt at its rest only makes the row's time later."""
    if session.marker is not None and not operations.prolong(tx, [session.marker], session.run, send_by):
        return
    listed = [
        [str(item.canonical_id), one.part, one.kind, digest_bytes(frozen(one)).hex(),
         list(one.changes) if one.kind == "update" else []]
        for item, one in pairs
    ]  # fmt: skip
    body = encode_json(listed)
    session.marker = digest_bytes(session.run.encode() + body).hex()
    row = operations.Intent(
        session.marker, session.run, plan.name, target.name, target.connection, target.info.name,
        f"batch {session.marker}", "", MARKER, "A", None, body, session.fence, send_by,
    )  # fmt: skip
    operations.send(tx, [row])


def _made_meanwhile(
    tx: Tx, session: Session, plan: SyncPlan, target: TargetPlan, pairs: list[Pair], kept: dict[str, str],
    rows: list[operations.Intent],
) -> dict[str, str]:  # fmt: skip
    """Creates whose record another flow has linked since the diff: they are looked at anew, as updates."""
    creates = [(item, one) for item, one in pairs if one.kind == "create" and target.mapping.onto is None]
    if not creates:
        return {}
    ids = [str(item.canonical_id) for item, _ in creates]
    known = links.by_canonical(tx, target.connection, plan.schema.entity, ids, target.info.name)
    found: dict[str, str] = {}
    by_key = {row.op_key: row for row in rows}
    for item, one in creates:
        linked = any(link.state == "live" and link.part == one.part for link in known.get(str(item.canonical_id), ()))
        if linked and kept.get(one.op_key) != "open":
            found[one.op_key] = "confirmed"
            if one.op_key not in kept:
                operations.remove(tx, [one.op_key])
        elif kept.get(one.op_key) == "confirmed":  # made before, and unlinked on purpose since
            operations.reopen(tx, one.op_key)
            again = operations.send(tx, [by_key[one.op_key]])
            if again:
                found |= again
            else:
                del kept[one.op_key]
    return found


def _hold_back(target: TargetPlan, item: Item, delivery: Delivery, why: str) -> None:
    if why == "confirmed" and delivery.kind == "append":
        delivery.kind, delivery.counted = None, "unchanged"  # this version was appended already
        return
    delivery.again = why == "confirmed"
    problem = Problem("E441", f"{item.key}: another write of it has no known outcome yet", target.at,
                      "the next run looks for it and goes on")  # fmt: skip
    delivery.trouble = Trouble("deliver", problem, "in_doubt", "waiting")


def settle_writes(tx: Tx, session: Session, target: TargetPlan, pairs: list[Pair]) -> None:
    """T2's part: how each operation ended, and what the ledger can no longer be sure of."""
    ends = {"retry": "planned", "in_doubt": "in_doubt"} | dict.fromkeys(("refused", "conflict", "missing"), "refused")
    sent = [(item, one, one.outcome) for item, one in pairs if one.outcome is not None]
    in_jobs = set().union(*session.jobs.values())
    journaled = [(one, outcome) for _, one, outcome in sent if target.write_class != "A" or one.op_key in in_jobs]
    if journaled:
        rows = []
        for one, outcome in journaled:
            gone = outcome.state == "missing" and one.kind == "delete"
            rows.append((one.op_key, "confirmed" if gone else ends.get(outcome.state, "confirmed"), one.native, None))
        operations.settle(tx, rows, session.run)
    if sent and target.write_class == "A":
        operations.unmark(tx, session.run, target.name, MARKER)
    doubted = [(item, one, outcome.state in ENDS) for item, one, outcome in sent if one.doubted]
    late = [
        (item, one) for item, one, over in doubted
        if one.kind in operations.SAFE_AGAIN and (over or (target.write_class == "A" and one.op_key not in in_jobs))
    ]  # fmt: skip
    if late:
        note_doubts(tx, session, target, late)
    unknown = {
        (str(item.canonical_id), one.part): list(one.changes)
        for item, one, over in doubted
        if one.kind == "update" and not over
    }
    place = (target.connection, target.info.name)
    if unknown:
        ledger.doubt(tx, *place, unknown)
    for state in ("conflict", "missing"):
        rows_ = [(str(i.canonical_id), one.part) for i, one, o in sent if o.state == state and one.kind == "update"]
        if rows_:
            ledger.mark(tx, *place, rows_, "stale" if state == "conflict" else "missing")


def note_doubts(tx: Tx, session: Session, target: TargetPlan, pairs: list[Pair]) -> None:
    """Bytes that were sent, then sent again and taken: the first ones may still arrive late. Until they cannot any more,
    only the same bytes may follow them."""
    plan = session.plan
    assert plan is not None
    rows = [
        operations.Intent(
            _late_key(target, str(item.canonical_id), one.part), session.run, plan.name, target.name, target.connection,
            target.info.name, str(item.canonical_id), one.part, str(one.kind), "A", None, digest_bytes(frozen(one)),
            session.fence,
            one.send_by,
        )
        for item, one in pairs
    ]  # fmt: skip
    operations.doubt(tx, rows)


def spread(tx: Tx, target: TargetPlan, marker: operations.Open, run: str) -> None:
    """A batch whose run is gone: each of its records is in doubt by itself."""
    rows, changes, listed = [], {}, decode_json(marker.body)
    standing = operations.open_for(tx, target.connection, target.info.name, [one[0] for one in listed])
    for id, part, kind, body, fields in listed:
        if kind == "update":
            changes[id, part] = fields
        if (id, part) in standing and standing[id, part].op_key != _late_key(target, id, part):
            continue  # it stands for itself: as a row of a job
        rows.append(operations.Intent(
            _late_key(target, id, part), run, marker.flow, marker.target, target.connection, target.info.name, id, part,
            kind, "A", None, bytes.fromhex(body), 0, marker.send_by or marker.updated_at,
        ))  # fmt: skip
    operations.doubt(tx, rows)
    if changes:
        ledger.doubt(tx, target.connection, target.info.name, changes)
    inputs.forget(tx, [one[0] for one in listed])
    operations.remove(tx, [marker.op_key])


def _late_key(target: TargetPlan, id: str, part: str) -> str:
    return digest_bytes("\x1f".join(("late", target.connection, target.info.name, id, part)).encode()).hex()
