"""What the closing transaction of a batch tells: records made, changed, deleted, at a new stage of their life, delivered."""

from __future__ import annotations

from collections.abc import Iterator

from engine.compile.schema import CompiledSchema
from engine.compile.sync import SyncPlan
from engine.run.events import Event, emit
from engine.run.items import Delivery, Item
from engine.run.session import Session
from engine.sdk.event_types import CREATED, DELETED, UPDATED, versioned
from engine.sdk.record import Fields
from engine.state.ledger import NO_HASH
from engine.state.store import Tx


def emit_items(tx: Tx, session: Session, plan: SyncPlan, items: list[Item]) -> None:
    """Events of a batch, in the order of its records. Costs nothing where nobody listens."""
    routes = session.routes
    if not routes.listeners:
        return
    found: list[Event] = []
    if routes.wants(f"{plan.schema.entity}.") and plan.flow.store != "none":
        found += [event for item in items for event in changes_of(plan.schema, item)]
    if any(target.emit for target in plan.targets):
        found += [event for item in items for event in _delivered(plan, item)]
    emit(tx, routes, found)


def changes_of(schema: CompiledSchema, item: Item) -> Iterator[Event]:
    """What became of the canonical record."""
    stored = item.trouble is None and item.ended is None and item.canonical_id is not None
    if not stored or item.lost or not (item.changed or item.stored is None):
        return
    if item.deleted:
        if item.stored is not None and item.changed:
            yield event_of(schema, item, DELETED.what)
        return
    known = item.stored is not None and not item.stored.deleted
    yield event_of(schema, item, (UPDATED if known else CREATED).what)
    before: Fields = (item.before or {}) if known else {}
    for name in schema.transitions:
        state = item.merged.get(name)
        if isinstance(state, str) and state != before.get(name):
            yield event_of(schema, item, state)


def _delivered(plan: SyncPlan, item: Item) -> Iterator[Event]:
    """Targets that have the record now and did not have it so before: `emit` of the flow."""
    for one in item.deliveries:
        if one.target.emit and _confirmed(one) and item.canonical_id is not None:
            data = {**item.merged, "id": item.canonical_id}
            yield Event(versioned(one.target.emit, plan.schema.version), plan.schema.entity, item.canonical_id, data,
                        item.correlation)  # fmt: skip


def _confirmed(one: Delivery) -> bool:
    """A write that the target took; or what a write in doubt left there, found to be just what was meant."""
    if one.trouble is not None:
        return False
    if one.outcome is not None:
        return one.counted in ("created", "updated", "deleted")
    return one.known is not None and one.known.hash == NO_HASH and one.counted == "unchanged"


def event_of(schema: CompiledSchema, item: Item, what: str) -> Event:
    """An event about a record of an entity."""
    type = versioned(f"{schema.entity}.{what}", schema.version)
    return Event(type, schema.entity, str(item.canonical_id), item.merged, item.correlation)
