"""Owners that change with a record's stage: what the last owner gave goes to the system that owns the field from now on."""

from __future__ import annotations

from engine.compile.functions import FunctionFault
from engine.compile.ownership import Owner
from engine.compile.sync import SyncPlan, TargetPlan
from engine.run.items import Delivery, Item
from engine.run.session import Session
from engine.sdk.record import Fields


def hand_over(session: Session, plan: SyncPlan, target: TargetPlan, pairs: list[tuple[Item, Delivery]]) -> None:
    """Updates leave out what the target owns. Where it comes to own a field by this very change, it is sent once more:
    a deal that is closed with its last amount would else be closed with an older one there."""
    outbound = target.mapping.outbound
    passing = {
        name: owner
        for name, owner in plan.schema.ownership.owners.items()
        if len(owner.roles) > 1 and any(role == target.role for role, _ in owner.roles)
    }
    if outbound is None or not passing or target.operation in ("create", "append"):
        return
    for item, delivery in pairs:
        if item.before is None or not item.changed or delivery.kind == "create" or delivery.native is None:
            continue
        for name, owner in passing.items():
            if not (_of(session, owner, item.before) != target.role == _of(session, owner, item.merged)):
                continue
            sent = {top: delivery.once[top] for top in outbound.tops.get(name, frozenset()) & delivery.once.keys()}
            if sent:
                delivery.payload, delivery.changes = {**delivery.payload, **sent}, {**delivery.changes, **sent}
                delivery.kind, delivery.counted = "update", None


def _of(session: Session, owner: Owner, record: Fields) -> str | None:
    try:
        return owner.of(record, session.env)
    except FunctionFault:
        return None
