"""Delivery: intent first (T1), then the write, then an outcome for every operation (DELIVERY.md section 2)."""

from __future__ import annotations

import random
import time
from datetime import timedelta
from typing import Any

from engine.compile.sync import SyncPlan, TargetPlan
from engine.run.items import Delivery, Item, Trouble
from engine.run.session import Session
from engine.sdk.connector import Operation, Outcome
from engine.sdk.errors import ConnectorError, Problem
from engine.sdk.record import digest, digest_bytes, encode_json
from engine.state import operations
from engine.state.store import instant

WHOLE_REQUEST = "C560"
"""Outcome code: the request as a whole was refused, so any of its records may be the culprit."""
Pair = tuple[Item, Delivery]


def deliver_items(session: Session, plan: SyncPlan, items: list[Item], fence: int) -> None:
    """Send what is to be sent, target by target; every delivery ends with an outcome or a trouble."""
    for target in plan.targets:
        pairs = [
            (item, one) for item in items for one in item.deliveries
            if one.target is target and one.kind is not None and one.trouble is None and item.trouble is None
        ]  # fmt: skip
        size = max(1, min(plan.flow.policy.batch, target.info.max_batch))
        for start in range(0, len(pairs), size):
            _send(session, plan, target, pairs[start : start + size], fence)


def _send(session: Session, plan: SyncPlan, target: TargetPlan, pairs: list[Pair], fence: int) -> None:
    for item, delivery in pairs:
        delivery.op_key = op_key(target, item, delivery)
    connector = session.connectors[target.connection]
    limit = connector.config.timeout.total_seconds()
    deadline = time.monotonic() + limit  # read before T1 begins: never later than the stored one
    send_by = instant(session.now.__class__.now(session.now.tzinfo) + timedelta(seconds=limit))
    pairs = _intend(session, plan, target, pairs, fence, send_by)
    session.store.crashpoint("before send")
    attempt = 0
    while pairs:
        outcomes = _write(session, target, pairs, deadline)
        session.store.crashpoint("after send")
        again: list[Pair] = []
        for item, delivery in pairs:
            outcome = outcomes[delivery.op_key]
            retry = outcome.state == "retry" or (outcome.state == "in_doubt" and target.info.write_class in "AB")
            if retry and attempt < connector.config.retries and not session.cancelled.is_set():
                again.append((item, delivery))
            else:
                _conclude(target, item, delivery, outcome)
        pairs = again
        if pairs:
            wait = max((outcomes[one.op_key].wait or 0 for _, one in pairs), default=0)
            _pause(connector.config.backoff, attempt, wait)
            attempt += 1
            deadline = time.monotonic() + limit


def op_key(target: TargetPlan, item: Item, delivery: Delivery) -> str:
    """The same for the same intended write, whichever flow or run intends it."""
    known = delivery.known
    revision: Any = known.revision if known else 0
    if delivery.kind == "append":
        revision = item.record.modified or item.raw_hash.hex()
    generation = known.generation if known else 0
    parts = (target.connection, target.info.name, item.canonical_id, delivery.part, delivery.kind, generation, revision)
    return digest_bytes("\x1f".join(map(str, parts)).encode()).hex()


def _intend(
    session: Session, plan: SyncPlan, target: TargetPlan, pairs: list[Pair], fence: int, send_by: str
) -> list[Pair]:
    """T1, committed before any byte leaves. Class A needs only a marker that lists the batch."""
    kind = target.info.write_class

    def intent(key: str, id: str, part: str, what: str, body: bytes) -> operations.Intent:
        return operations.Intent(key, session.run, plan.name, target.name, target.connection, target.info.name, id, part,
                                 what, kind, key if kind == "B" else None, body, fence, send_by)  # fmt: skip

    if kind == "A":
        keys = [delivery.op_key for _, delivery in pairs]
        marker = intent(
            digest(keys).hex(), f"batch {keys[0]}", "", "batch", encode_json([str(i.canonical_id) for i, _ in pairs])
        )
        with session.store.begin("T1", durable=True) as tx:
            operations.send(tx, [marker])
        return pairs
    rows = [
        intent(one.op_key, str(item.canonical_id), one.part, str(one.kind), encode_json(one.record))
        for item, one in pairs
    ]
    with session.store.begin("T1", durable=True) as tx:
        busy = operations.send(tx, rows)
    for item, delivery in pairs:
        if delivery.op_key in busy:
            problem = Problem(
                "E441", f"{item.key}: another write of it has no known outcome yet", target.at, "run again"
            )
            delivery.trouble = Trouble("deliver", problem, "in_doubt", "waiting")
    return [pair for pair in pairs if pair[1].trouble is None]


def _operation(target: TargetPlan, item: Item, delivery: Delivery, deadline: float) -> Operation:
    changes = delivery.changes if delivery.kind == "update" else None
    if delivery.kind == "update" and not target.info.partial:
        changes = {**delivery.payload}
    mark = f"{item.canonical_id}.{delivery.part}" if delivery.part else item.canonical_id
    return Operation(
        delivery.op_key,
        delivery.kind,  # type: ignore[arg-type]
        delivery.record,
        key=delivery.native,
        changes=changes,
        mark=mark,
        version=delivery.known.version if delivery.known else None,
        idempotency_key=delivery.op_key,
        send_by=deadline,
    )


def _write(session: Session, target: TargetPlan, pairs: list[Pair], deadline: float) -> dict[str, Outcome]:
    """One outcome an operation. A whole request that was refused is halved until only the culprit is out."""
    operations_ = [_operation(target, item, delivery, deadline) for item, delivery in pairs]
    try:
        found = session.connectors[target.connection].write(target.info.name, operations_)
    except ConnectorError as error:
        if not error.transient:
            raise
        return {one.id: Outcome(one.id, "retry", problem=error.problem, wait=error.wait) for one in operations_}
    outcomes = {one.id: one for one in found}
    for operation in operations_:
        if operation.id not in outcomes:
            problem = Problem(
                "E451", "the connector gave no outcome for it", target.at, "look at the target before a replay"
            )
            outcomes[operation.id] = Outcome(operation.id, "in_doubt", problem=problem)
    whole = [pair for pair in pairs if _whole(outcomes[pair[1].op_key])]
    if len(whole) > 1:
        half = len(whole) // 2
        for part in (whole[:half], whole[half:]):
            outcomes.update(_write(session, target, part, deadline))
    return outcomes


def _whole(outcome: Outcome) -> bool:
    return outcome.state == "refused" and outcome.problem is not None and outcome.problem.code == WHOLE_REQUEST


def _pause(backoff: Any, attempt: int, wanted: float) -> None:
    """Exponential with full jitter, never shorter than the system asked for."""
    longest = min(backoff.longest.total_seconds(), backoff.shortest.total_seconds() * 2**attempt)
    time.sleep(max(wanted, random.uniform(0, longest)))  # noqa: S311 - jitter, not a secret


def in_doubt_hint(target: TargetPlan, id: str) -> str:
    """What a person is to look for, and the three ways to decide."""
    return (
        f"look for {id} in {target.info.name} of {target.name}; adopt it with `links add`, send it again with "
        "`exceptions replay`, or drop it with `exceptions discard`"
    )


def _conclude(target: TargetPlan, item: Item, delivery: Delivery, outcome: Outcome) -> None:
    """What an outcome means for the delivery."""
    delivery.outcome = outcome
    state = outcome.state
    if state in ("created", "updated", "deleted", "matched"):
        delivery.native = outcome.key or delivery.native
        ends = {"created": "created", "updated": "updated", "matched": "updated", "deleted": "deleted"}
        delivery.counted = "deleted" if delivery.counted == "deactivated" else ends[state]
        return
    if state == "missing" and delivery.kind == "delete":
        delivery.counted = "deleted"
        return
    given = outcome.problem
    reason = given.message if given else "no reason given"
    place = target.mapping.document.at()
    name, key = target.name, item.key
    ends_badly = {
        "missing": (
            "E452",
            f"{key}: {name} no longer has {delivery.native}",
            "replay it to create it again",
            "conflict",
        ),
        "conflict": ("E453", f"{key}: {name} was changed meanwhile: {reason}", "replay it", "conflict"),
        "refused": (
            "E450",
            f"{key}: {name} refused it: {reason}",
            "correct the record or the mapping, then replay it",
            "rejected",
        ),
        "retry": (
            "E454",
            f"{key}: {name} did not take it: {reason}",
            "it is tried again in the next run",
            "intermittent",
        ),
        "in_doubt": (
            "E455",
            f"{key}: whether {name} has it is not known: {reason}",
            in_doubt_hint(target, str(item.canonical_id)),
            "in_doubt",
        ),
    }
    code, message, hint, exception_class = ends_badly[state]
    if given is not None and given.code == "E451":
        code = given.code
    waiting = state == "retry" or (state == "in_doubt" and target.info.write_class != "D")
    delivery.trouble = Trouble(
        "deliver", Problem(code, message, place, hint), exception_class, "waiting" if waiting else "open"
    )
