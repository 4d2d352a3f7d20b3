"""Delivery: intent first (T1), then the write, then an outcome for every operation (DELIVERY.md section 2)."""

from __future__ import annotations

import random
import time
from typing import Any

from engine.compile.sync import SyncPlan, TargetPlan
from engine.run.items import Delivery, Item
from engine.run.jobs import note_jobs
from engine.run.journal import Pair, intend, op_key
from engine.run.outcome import conclude
from engine.run.parking import park, parks, queued, still_doubted
from engine.run.session import Session
from engine.sdk.clock import boot
from engine.sdk.connector import Operation, Outcome
from engine.sdk.errors import ConnectorError, Problem
from engine.state.operations import SAFE_AGAIN, mark_of

WHOLE_REQUEST = "C560"
"""Outcome code: the request as a whole was refused, so any of its records may be the culprit."""
TAKEN = ("created", "updated", "deleted", "matched")


def deliver_items(session: Session, plan: SyncPlan, items: list[Item]) -> None:
    """Send what is to be sent, target by target; every delivery ends with an outcome or a trouble."""
    for target in plan.targets:
        pairs = [
            (item, one) for item in items for one in item.deliveries
            if one.target is target and one.kind is not None and one.trouble is None and item.trouble is None
        ]  # fmt: skip
        size = max(1, min(plan.flow.policy.batch, target.info.max_batch))
        for start in range(0, len(pairs), size):
            _send(session, plan, target, pairs[start : start + size])


def _send(session: Session, plan: SyncPlan, target: TargetPlan, pairs: list[Pair]) -> None:
    for item, delivery in pairs:
        delivery.op_key = op_key(target, item, delivery)
    if target.connection in session.parked:
        for item, delivery in pairs:
            park(session, target, item, delivery, None)
        return
    config = session.connectors[target.connection].config
    limit, attempt, first = config.timeout.total_seconds(), 0, True
    session.marker = None
    while pairs:
        deadline = boot() + limit  # read before T1 begins: never later than the stored one
        pairs, first = intend(session, plan, target, pairs, limit, first=first), False
        note_jobs(session, plan, target, pairs)
        outcomes = _write(session, target, pairs, deadline) if pairs else {}
        again: list[Pair] = []
        moves = any(
            one.state in TAKEN for one in outcomes.values()
        )  # a queue that moves on is no failure, however slow
        parked = parks(session, target, outcomes, last=attempt >= config.retries and not moves)
        over = parked or session.cancelled.is_set()
        for item, delivery in pairs:
            outcome = still_doubted(target, delivery, outcomes[delivery.op_key])
            retry = _once_more(target, delivery, outcome)
            if retry and not over and (attempt < config.retries or (moves and queued(outcome))):
                again.append((item, delivery))
            elif parked and (outcome.state == "retry" or (retry and target.write_class == "A")):
                park(session, target, item, delivery, outcome)
            else:
                conclude(target, item, delivery, outcome)
        pairs = again
        if pairs and not (moves and all(queued(outcomes[one.op_key]) for _, one in again)):
            wait = max((outcomes[one.op_key].wait or 0 for _, one in pairs), default=0)
            _pause(config.backoff, attempt, wait)
            attempt += 1


def _once_more(target: TargetPlan, delivery: Delivery, outcome: Outcome) -> bool:
    """Surely not processed; or in doubt, and the same bytes may go again: by kind, or by key."""
    if outcome.state == "retry":
        return True
    safe = delivery.kind in SAFE_AGAIN or target.write_class == "B"
    return outcome.state == "in_doubt" and outcome.job is None and safe


def _operation(session: Session, target: TargetPlan, item: Item, delivery: Delivery, deadline: float) -> Operation:
    changes = delivery.changes if delivery.kind == "update" else None
    if delivery.kind == "update" and not target.info.partial:
        changes = {**delivery.payload}
    mark = mark_of(str(item.canonical_id), delivery.part)
    return Operation(
        delivery.op_key,
        delivery.kind,  # type: ignore[arg-type]
        delivery.record,
        key=delivery.native,
        changes=changes,
        mark=mark,
        version=delivery.version,
        idempotency_key=delivery.idempotency_key or delivery.op_key,
        send_by=deadline,
        correlation=item.correlation,
        run=session.run,
    )


def _write(session: Session, target: TargetPlan, pairs: list[Pair], deadline: float) -> dict[str, Outcome]:
    """One outcome an operation. A whole request that was refused is halved until only the culprit is out."""
    operations_ = [_operation(session, target, item, delivery, deadline) for item, delivery in pairs]
    session.store.crashpoint("before send")
    try:
        found = session.connectors[target.connection].write(target.info.name, operations_)
        session.store.crashpoint("after send")
    except ConnectorError as error:
        return {
            one.id: Outcome(one.id, "retry", problem=error.problem, wait=error.wait, trouble=error.trouble)
            for one in operations_
        }
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
