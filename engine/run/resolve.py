"""Operations whose outcome is unknown, settled by their class once the target has had time to finish and index."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from engine.compile.sync import SyncPlan, TargetPlan
from engine.run.session import Session
from engine.sdk.connector import Operation
from engine.sdk.errors import ConnectorError
from engine.sdk.record import decode_json
from engine.state import ledger, links, operations
from engine.state.ledger import Delivered
from engine.state.links import Link
from engine.state.store import Tx


def resolve_in_doubt(session: Session, plan: SyncPlan) -> None:
    """By class: A is simply sent again, B again under its key, C is searched for, D waits for a person."""
    for target in plan.targets:
        with session.store.read() as tx:
            found = operations.in_doubt(tx, target.connection, target.info.name)
            now = tx.now()
        kind = target.info.write_class
        if kind == "A":
            _let_go(session, [one for one in found if one.kind == "batch"])
        elif kind == "B":
            _let_go(session, [one for one in found if one.kind != "create"])
            creates = [one for one in found if one.kind == "create"]
            young = [one for one in creates if _remembered(one, target, now)]
            if young:
                _resend(session, plan, target, young)
            found = [one for one in creates if one not in young]
        if kind == "C" or (kind == "B" and found and (target.mapping.model.marker or target.info.marker)):
            settled = [one for one in found if _ripe(one, session, target, now)]
            if settled:
                _search(session, plan, target, settled)


def _remembered(one: operations.Open, target: TargetPlan, now: str) -> bool:
    """Whether the system surely knows the key still: within four fifths of its documented life."""
    age = datetime.fromisoformat(now.replace("Z", "+00:00")) - datetime.fromisoformat(
        one.created_at.replace("Z", "+00:00")
    )
    return age < timedelta(seconds=target.info.key_life * 0.8)


def _resend(session: Session, plan: SyncPlan, target: TargetPlan, found: list[operations.Open]) -> None:
    """Class B: the same bytes under the same key. What the record is by now goes out as an update afterwards."""
    connector = session.connectors[target.connection]
    send_by = time.monotonic() + connector.config.timeout.total_seconds()
    sent = [
        Operation(
            one.op_key, "create", decode_json(one.body), mark=mark_of(one), idempotency_key=one.op_key, send_by=send_by
        )
        for one in found
    ]
    try:
        outcomes = {one.id: one for one in connector.write(target.info.name, sent)}
    except ConnectorError as error:
        if not error.transient:
            raise
        return  # still in doubt; the next run asks again
    with session.store.begin("resolve") as tx:
        for one in found:
            outcome = outcomes.get(one.op_key)
            if outcome is not None and outcome.state in ("created", "matched") and outcome.key:
                _adopt(session, plan, target, tx, one, outcome.key, one.body)
            elif outcome is not None and outcome.state == "refused":
                operations.settle(tx, [(one.op_key, "refused", None, None)])


def _adopt(
    session: Session, plan: SyncPlan, target: TargetPlan, tx: Tx, one: operations.Open, key: str, fields: bytes
) -> None:
    """The target has it: link and ledger say so; the hash is of nothing, so that the next diff compares fields."""
    links.put(tx, [Link(plan.schema.entity, target.connection, target.info.name, key, one.canonical_id, one.part, "live",
                        session.run)])  # fmt: skip
    row = Delivered(one.canonical_id, one.part, b"\0" * 16, fields, key, None, 1, 0)
    ledger.put(tx, target.connection, target.info.name, target.mapping.name, [row])
    operations.settle(tx, [(one.op_key, "confirmed", key, None)])


def mark_of(one: operations.Open) -> str:
    """Crosswalk's mark on a target record."""
    return f"{one.canonical_id}.{one.part}" if one.part else one.canonical_id


def _ripe(one: operations.Open, session: Session, target: TargetPlan, now: str) -> bool:
    """send_by + request timeout + late + index has passed."""
    timeout = session.connectors[target.connection].config.timeout
    wait = timeout + timedelta(seconds=target.info.late + target.info.index)
    sent = datetime.fromisoformat((one.send_by or one.updated_at).replace("Z", "+00:00"))
    over: bool = datetime.fromisoformat(now.replace("Z", "+00:00")) > sent + wait
    return over


def _let_go(session: Session, found: list[operations.Open]) -> None:
    """Sending again under the same key is safe, so the next diff simply does."""
    if found:
        with session.store.begin("resolve") as tx:
            operations.settle(tx, [(one.op_key, "dropped", None, None) for one in found])


def _search(session: Session, plan: SyncPlan, target: TargetPlan, found: list[operations.Open]) -> None:
    marker = target.mapping.model.marker or target.info.marker
    updates = [one for one in found if one.kind != "create"]
    creates = [one for one in found if one.kind == "create"]
    hits = []
    if creates and marker:
        wanted = [{marker: mark_of(one)} for one in creates]
        hits = session.connectors[target.connection].find(target.info.name, wanted)
    with session.store.begin("resolve") as tx:
        operations.settle(tx, [(one.op_key, "dropped", None, None) for one in updates])
        for one, records in zip(creates, hits, strict=False):
            if len(records) == 1:
                _adopt(session, plan, target, tx, one, records[0].key, b"{}")
            elif not records:
                operations.settle(tx, [(one.op_key, "dropped", None, None)])
