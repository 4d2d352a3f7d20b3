"""Operations whose outcome is unknown, settled by their class once the target has had time to finish and index."""

from __future__ import annotations

from datetime import datetime, timedelta

from engine.compile.sync import SyncPlan, TargetPlan
from engine.run.session import Session
from engine.sdk.record import encode_json
from engine.state import ledger, links, operations
from engine.state.ledger import Delivered
from engine.state.links import Link


def resolve_in_doubt(session: Session, plan: SyncPlan) -> None:
    """Class C: search by the mark; one hit adopts, none lets the next diff create, several stay for a person."""
    for target in plan.targets:
        with session.store.read() as tx:
            found = operations.in_doubt(tx, target.connection, target.info.name)
            now = tx.now()
        if target.info.write_class in ("A", "B"):
            _let_go(session, [one for one in found if one.kind == "batch" or target.info.write_class == "B"])
        elif target.info.write_class == "C":
            settled = [one for one in found if _ripe(one, session, target, now)]
            if settled:
                _search(session, plan, target, settled)


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
        marks = [f"{one.canonical_id}.{one.part}" if one.part else one.canonical_id for one in creates]
        hits = session.connectors[target.connection].find(target.info.name, [{marker: mark} for mark in marks])
    with session.store.begin("resolve") as tx:
        operations.settle(tx, [(one.op_key, "dropped", None, None) for one in updates])
        for one, records in zip(creates, hits, strict=False):
            if len(records) == 1:
                key = records[0].key
                links.put(tx, [Link(plan.schema.entity, target.connection, target.info.name, key, one.canonical_id, one.part,
                                    "live", session.run)])  # fmt: skip
                row = Delivered(one.canonical_id, one.part, b"\0" * 16, encode_json({}), key, None, 1, 0)
                ledger.put(tx, target.connection, target.info.name, target.mapping.name, [row])
                operations.settle(tx, [(one.op_key, "confirmed", key, None)])
            elif not records:
                operations.settle(tx, [(one.op_key, "dropped", None, None)])
