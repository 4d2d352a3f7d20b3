"""What becomes of the canonical record: ownership field by field, images, three states; and the flow's `where`."""

from __future__ import annotations

from engine.compile.functions import FunctionFault
from engine.compile.operators import true
from engine.compile.sync import SyncPlan
from engine.run.echo import as_meant, followed, outdated, place_of
from engine.run.items import EVERY, Item, going
from engine.run.session import Session
from engine.run.shared import EMPTY, MISSING, Side, element_key, merge_shared, newer, three_way
from engine.run.swings import judge_swings
from engine.sdk.errors import Problem
from engine.sdk.record import JSON, Fields, decode_json, same
from engine.state import canonical, images
from engine.state.images import UNKNOWN, Image, Key


def merge_items(session: Session, plan: SyncPlan, items: list[Item]) -> None:
    """The incoming record onto the stored one, field by field, by owner."""
    live = [item for item in going(items) if item.canonical_id is not None]
    stored = canonical.get(session.tx, plan.schema.entity, [str(item.canonical_id) for item in live])
    place, known = place_of(plan.source.connection, plan.source.mapping), dict[Key, Image]()
    if place in session.mirrored or plan.schema.ownership.shared:
        known = images.get(session.tx, *place, stored)
    pending: dict[str, Item] = {}
    for item in live:
        key = str(item.canonical_id)
        item.stored, item.image = stored.get(key), known.get((key, item.part), UNKNOWN)
        if item.stored is not None:
            item.before = decode_json(item.stored.data)
            item.provenance = decode_json(item.stored.provenance)
        if outdated(session, plan, item):
            session.redo.append(item)
            item.ended = "redo"
            continue
        twin = pending.get(key)
        if twin is not None and not item.deleted:
            # two native records of one canonical record in one batch: the second merges onto the first
            item.before, item.provenance = twin.merged, dict(twin.provenance)
            session.redo.append(item)
            item.ended = "redo"
            continue
        pending[key] = item
        _merge(session, plan, item)
    judge_swings(session, plan, list(pending.values()))


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
    kept = followed(session, plan, place_of(source.connection, source.mapping), item.mapped)
    for name, value in item.mapped.items():
        given = item.provenance.get(name, general)
        holder = _holder(session, plan, name, before)
        known = item.image.meaning(name, MISSING) if name in kept and holder != role else MISSING
        if known is not MISSING:
            value = as_meant(item.image, name, value)
            if same(known, value):
                continue  # the source still has what it was known to have: it says nothing new
        derived = source.canonical and source.mapping.onto is None and given is not None and given[0] == role
        if not derived and not _may_give(item, name, role, before, holder, known):
            continue  # what was derived is derived anew until its owner has said otherwise
        if holder == "shared":
            fresh = merge_shared(plan, item, name, before.get(name), value)
        elif value is None and name in before and before[name] is not None and given and given[0] != role:
            continue  # null clears only a value that the same role gave
        elif known is not MISSING:
            side: Side = "incoming" if newer(item, name) else "stored"
            fresh, _ = three_way(known, before.get(name), value, side, element_key(plan, name))
        else:
            fresh = _merged_value(source.mapping.per, name, before.get(name), value)
        moved = name not in before or not same(before[name], fresh)
        if moved:
            if given and given[1] != source.connection and name in before:
                item.overwrites[name] = str(given[1])
            merged[name] = fresh
            changed = True
        if (moved or (holder != "shared" and known is MISSING)) and given != stamp:
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


def _may_give(item: Item, name: str, role: str, before: Fields, holder: str | None, known: JSON) -> bool:
    """Whether this source may set the field: it owns it, nobody does and it is newer, or the field is empty."""
    if holder == UNOWNED:
        return known is not MISSING or newer(item, name)
    return holder in (role, "shared") or before.get(name) in EMPTY


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
