"""Who a record is, and what becomes of the canonical record: links, match rules, ownership, three states."""

from __future__ import annotations

from typing import Any

import xxhash

from engine.compile.functions import FunctionFault
from engine.compile.operators import true
from engine.compile.rules import key_text
from engine.compile.sync import SyncPlan
from engine.run.items import EVERY, Item, going
from engine.run.session import Session
from engine.run.shared import merge_shared, shared_names
from engine.sdk.errors import Problem
from engine.sdk.record import JSON, Fields, decode_json, same
from engine.spec.mapping import Onto
from engine.state import bases, canonical, links

NEIGHBOURS = -3
"""Native ids that differ in their last three characters only get ids that sort side by side."""


def new_identity(entity: str, connection: str, object: str, native: str) -> str:
    """The canonical id of a record at first sight: the same for the same record, whoever computes it.

    32 hex digits: 6 of the native id's beginning, so that records made one after the other lie on the same pages
    of the state's indexes, and 26 of the whole.
    """
    space = "\x1f".join((entity, connection, object, ""))
    near = xxhash.xxh3_64_hexdigest((space + native[:NEIGHBOURS]).encode())
    return near[:6] + xxhash.xxh3_128_hexdigest((space + native).encode())[:26]


def identify(session: Session, plan: SyncPlan, items: list[Item]) -> None:
    """Give each item its canonical id: by its link, else by the match rules, else a new one."""
    source, entity = plan.source, plan.schema.entity
    object = source.mapping.model.object or ""
    live = going(items)
    if source.canonical:
        for item in live:
            item.canonical_id = new_identity(entity, source.mapping.name, source.mapping.model.of or "", item.key)
        return
    if isinstance(source.mapping.model.onto, Onto):
        _onto(session, plan, live, source.mapping.model.onto)
        return
    known = links.by_native(session.tx, source.connection, entity, [item.key for item in live], object)
    fresh = []
    for item in live:
        found = known.get(item.key)
        if found:
            item.canonical_id = found[0].canonical_id
            if found[0].state == "deleted" and not item.deleted:
                item.fresh_link = True
        elif item.deleted:
            item.ended = "skipped"
        else:
            fresh.append(item)
    if fresh:
        _match(session, plan, fresh, object)


def _onto(session: Session, plan: SyncPlan, items: list[Item], onto: Onto) -> None:
    """A mapping that adds to a record that another made: never creates."""
    source, entity = plan.source, onto.ref.entities[0]
    natives = {id(item): key_text(item.value.get(onto.from_)) for item in items}
    wanted = [native for native in natives.values() if native]
    found = links.by_native(session.tx, source.connection, entity, wanted, onto.ref.object)
    for item in items:
        native = natives[id(item)]
        known = found.get(native or "")
        if known:
            item.canonical_id = known[0].canonical_id
        else:
            place = source.mapping.document.at("onto")
            problem = Problem("E404", f"onto: no {entity} is known for {native!r}", place, "sync that record first")
            item.stop("merge", problem, "missing_reference", reads=((entity, f"{source.connection}:{native}"),))


def _match(session: Session, plan: SyncPlan, items: list[Item], object: str) -> None:
    """The `x-match` rules in order: exactly one hit links, none creates, several go to review."""
    schema, source = plan.schema, plan.source
    keys = {id(item): schema.match_keys(item.mapped) for item in items}
    hits = (
        canonical.match(session.tx, schema.entity, [key for found in keys.values() for key in found])
        if schema.match
        else {}
    )
    here: dict[tuple[int, bytes], str] = {}
    for item in items:
        found: list[str] = []
        for key in keys[id(item)]:
            found = [*hits.get(key, ()), *([here[key]] if key in here else [])]
            if found:
                break
        ids = list(dict.fromkeys(found))
        if len(ids) > 1:
            _review(item, plan, f"{len(ids)} {schema.entity} records match it")
            continue
        if ids and _linked_here(session, plan, ids[0], object, item, here):
            continue
        item.canonical_id = ids[0] if ids else new_identity(schema.entity, source.connection, object, item.key)
        item.fresh_link = True
        for key in keys[id(item)]:
            here.setdefault(key, item.canonical_id)


def _linked_here(
    session: Session, plan: SyncPlan, id: str, object: str, item: Item, here: dict[tuple[int, bytes], str]
) -> bool:
    """A hit that this system already has another record of: a suspected duplicate."""
    standing = links.by_canonical(session.tx, plan.source.connection, plan.schema.entity, [id], object).get(id, [])
    others = [link.native_id for link in standing if link.state == "live" and link.native_id != item.key]
    if not others and id not in here.values():
        return False
    other = others[0] if others else "another record of this batch"
    _review(item, plan, f"it matches {other}, which is already linked: a suspected duplicate")
    return True


def _review(item: Item, plan: SyncPlan, why: str) -> None:
    problem = Problem(
        "E413", f"{item.key}: {why}", plan.schema.document.at("x-match"), "merge them in the source, or link it by hand"
    )
    item.stop("merge", problem, "ambiguous_match")


def merge_items(session: Session, plan: SyncPlan, items: list[Item]) -> None:
    """The incoming record onto the stored one, field by field, by owner."""
    live = [item for item in going(items) if item.canonical_id is not None]
    stored = canonical.get(session.tx, plan.schema.entity, [str(item.canonical_id) for item in live])
    known = bases.get(session.tx, plan.source.connection, stored) if shared_names(plan) else {}
    pending: dict[str, Item] = {}
    for item in live:
        key = str(item.canonical_id)
        item.stored, item.base = stored.get(key), known.get(key, {})
        if item.stored is not None:
            item.before = decode_json(item.stored.data)
            item.provenance = decode_json(item.stored.provenance)
        twin = pending.get(key)
        if twin is not None and not item.deleted:
            # two native records of one canonical record in one batch: the second merges onto the first
            item.before, item.provenance = twin.merged, dict(twin.provenance)
            session.redo.append(item)
            item.ended = "redo"
            continue
        pending[key] = item
        _merge(session, plan, item)


def _merge(session: Session, plan: SyncPlan, item: Item) -> None:
    before = item.before
    if item.deleted:
        item.merged = before if before is not None else {"id": item.canonical_id}
        item.changed = item.stored is not None and not item.stored.deleted
        return
    role, source = plan.source.role, plan.source
    stamp = [role, source.connection, item.record.modified]
    if before is None:
        item.merged = {"id": item.canonical_id, **item.mapped}
        item.provenance = {EVERY: stamp}
        return
    merged, changed = dict(before), item.stored is not None and item.stored.deleted
    general = item.provenance.get(EVERY)
    for name, value in item.mapped.items():
        given = item.provenance.get(name, general)
        holder = _holder(session, plan, name, before)
        if not _may_give(item, name, role, before, given, holder):
            continue
        if holder == "shared":
            fresh = merge_shared(plan, item, name, before.get(name), value)
            if same(before.get(name), fresh):
                continue
        elif value is None and name in before and before[name] is not None and given and given[0] != role:
            continue  # null clears only a value that the same role gave
        else:
            fresh = _merged_value(source.mapping.per, name, before.get(name), value)
        if name not in before or not same(before[name], fresh):
            merged[name] = fresh
            changed = True
        if item.provenance.get(name, general) != stamp:
            item.provenance[name] = stamp
    item.merged, item.changed = merged, changed


UNOWNED = ""


def _holder(session: Session, plan: SyncPlan, name: str, before: Fields) -> str | None:
    """The role that owns a field of this record, `UNOWNED` where the schema names none, None where no stage does."""
    owner = plan.schema.ownership.owners.get(name)
    if owner is None:
        return UNOWNED
    try:
        return owner.of(before, session.env)
    except FunctionFault:
        return None


def _may_give(item: Item, name: str, role: str, before: Fields, given: Any, holder: str | None) -> bool:
    """Whether this source may set the field: it owns it, nobody does and it is newer, or the field is empty."""
    if holder == UNOWNED:
        return _newer(item.record.modified, given)
    return holder in (role, "shared") or before.get(name) in (None, "", [], {})


def _newer(modified: str | None, given: Any) -> bool:
    """Without an owner the latest source version wins; versions that cannot be compared count as newer."""
    return not (given and given[2] and modified and modified < given[2])


def _merged_value(per: str | None, name: str, before: JSON, value: JSON) -> JSON:
    """Objects merge field by field; a list is sent whole, except that `per` reads one element at a time."""
    if isinstance(before, dict) and isinstance(value, dict):
        return {**before, **{key: _merged_value(None, key, before.get(key), item) for key, item in value.items()}}
    if per == name and isinstance(before, list) and isinstance(value, list):
        return [*before, *[one for one in value if not any(same(one, other) for other in before)]]
    return value


def select_items(session: Session, plan: SyncPlan, items: list[Item]) -> None:
    """The flow's `where`, judged on the canonical record. What it left before and leaves now goes to `on_leave`."""
    where = plan.source.where
    if where is None:
        return
    for item in going(items):
        if item.deleted:
            continue
        session.env.followed.clear()
        try:
            fits = true(where.evaluate(item.merged, session.env))
        except FunctionFault as fault:
            problem = Problem("E406", f"where: {fault}", where.at, "correct the expression, or the record")
            item.stop("check", problem, "mapping", reads=tuple(session.env.followed))
            continue
        if fits:
            continue
        if item.stored is None:
            item.ended = "skipped"
        else:
            item.left = True


def drop_unwanted(session: Session, plan: SyncPlan, items: list[Item]) -> None:
    """Records with mapping faults that `where` leaves out all the same: skipped, not quarantined."""
    where = plan.source.where
    direction = plan.source.mapping.inbound
    if where is None or direction is None:
        return
    for item in going(items):
        if not item.faults:
            continue
        broken = {direction.rules[fault[0]].path.split(".")[0] for fault in item.faults}
        if broken & {path[0] for path in where.reads}:
            continue
        try:
            if not true(where.evaluate(item.mapped, session.env)):
                item.ended = "skipped"
        except FunctionFault:
            continue
