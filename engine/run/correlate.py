"""The id that a new record belongs together with others under; it keeps it for good.

Of a record derived from another one: that one's. Else of the first record that `x-correlates` of its schema names, else
of the run, else its own id.
"""

from __future__ import annotations

from engine.compile.schema import value_at
from engine.compile.sync import SyncPlan
from engine.run.items import Item, going
from engine.run.session import Session
from engine.sdk.record import JSON
from engine.state import correlation


def correlate_items(session: Session, plan: SyncPlan, items: list[Item]) -> None:
    """Tell every new record what it belongs to; records that are known keep theirs."""
    mapping, schema = plan.source.mapping.model, plan.schema
    derived = plan.source.canonical and not mapping.group
    fresh = []
    for item in going(items):
        if item.stored is not None:
            item.correlates = item.stored.correlation
        else:
            item.correlates = session.options.correlation
            fresh.append(item)
    if not fresh or not (derived or schema.correlates):
        return
    asked: dict[str, dict[str, list[Item]]] = {}
    for item in fresh:
        place = (str(mapping.of), item.record.key) if derived else _named(plan, item)
        if place is not None and place != (schema.entity, item.canonical_id):
            asked.setdefault(place[0], {}).setdefault(place[1], []).append(item)
    for entity, by_id in asked.items():
        for id, found in correlation.of(session.tx, entity, by_id).items():
            for item in by_id[id]:
                item.correlates = found


def _first(record: JSON, path: str) -> JSON:
    """The value at a path; of lists on the way (`lines[].invoice`) that of the first element that has one."""
    head, brackets, rest = path.partition("[]")
    value = value_at(record, head)
    if not brackets:
        return value
    found = (_first(one, rest.lstrip(".")) if rest else one for one in value or () if isinstance(value, list))
    return next((one for one in found if one), None)


def _named(plan: SyncPlan, item: Item) -> tuple[str, str] | None:
    """(entity, id) of the first record that one of the schema's `x-correlates` fields holds."""
    for name in plan.schema.correlates:
        value = _first(item.merged, name)
        entities = plan.schema.refs.get(name, ())
        if isinstance(value, str) and value and len(entities) == 1:
            return entities[0], value
    return None
