"""Ambiguous matches for a person to decide: which records each of them may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.compile.sync import TargetPlan, compile_sync
from engine.run.adopt import criterion
from engine.run.connectors import Connectors
from engine.run.items import Delivery, Item
from engine.run.mapping import make_items
from engine.run.runner import Runner
from engine.run.session import Options, Session
from engine.run.sync import prepare, process
from engine.sdk.record import Fields, Record, decode_json, fingerprint
from engine.spec.workspace import Workspace
from engine.state import canonical, links
from engine.state.kept import Kept
from engine.state.store import Store


def candidates(workspace: Workspace, store: Store, flow: str, kept: Sequence[Kept]) -> dict[str, list[Fields]]:
    """Exception → what its record may be: `{record, label, links}` of known records, `{native}` of a target's."""
    document = workspace.document("flow", flow)
    connectors = Connectors(workspace, document.model, store)
    session = Session(workspace, store, Runner(workspace, store).registry(), connectors, "review", Options(plan=True))
    found: dict[str, list[Fields]] = {}
    try:
        session.plan = plan = compile_sync(document, session.registry, connectors.describe)
        slots, totals = prepare(session, plan)
        for one in kept:
            record = Record(one.key, decode_json(one.raw or b"{}"), one.modified)
            session.retried[one.key] = fingerprint(record.value)[0]
            with session.reading():
                items = [item for item in make_items(session, plan, [record]) if item.key == one.key]
                process(session, plan, items, slots, totals)
                target = next((each for each in plan.targets if each.name == one.target), None)
                for item in items:
                    found[one.id] = _known(session, item) if target is None else _of_target(session, target, item)
    finally:
        connectors.close()
    return found


def _known(session: Session, item: Item) -> list[Fields]:
    """Canonical records that the first match rule with a hit gives."""
    assert session.plan is not None
    schema = session.plan.schema
    keys = schema.match_keys(item.mapped)
    hits = canonical.match(session.tx, schema.entity, keys)
    ids = next((hits[key] for key in keys if key in hits), [])
    stored = canonical.get(session.tx, schema.entity, ids)
    told = []
    for id in ids:
        label: Any = decode_json(stored[id].data).get(schema.label) if schema.label and id in stored else None
        linked = [f"{one.connection}:{one.native_id}" for one in links.of_record(session.tx, id) if one.state == "live"]
        told.append({"record": id, "label": None if schema.label in schema.sensitive else label, "links": linked})
    return told


def _of_target(session: Session, target: TargetPlan, item: Item) -> list[Fields]:
    """Records of the target that its first match rule with several hits gives."""
    delivery = next((one for one in item.deliveries if one.target is target), Delivery(target))
    for rule in target.match:
        wanted = criterion(target, rule, delivery)
        if not wanted:
            continue
        session.store.crashpoint("before find")
        found = session.connectors[target.connection].find(target.info.name, [wanted])[0]
        session.store.crashpoint("after find")
        if len(found) > 1:
            return [{"native": f"{target.connection}:{one.key}"} for one in found]
    return []
