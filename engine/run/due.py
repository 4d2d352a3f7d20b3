"""What a run takes up beside what its source has new: due exceptions, sweeps, records read again, refreshes."""

from __future__ import annotations

from engine.compile.sync import SyncPlan
from engine.run.behind import next_in_line
from engine.run.items import Item
from engine.run.mapping import make_items
from engine.run.reading import Chunk
from engine.run.session import Session
from engine.sdk.connector import Read
from engine.sdk.record import Record, decode_json, fingerprint
from engine.state import canonical, exceptions, inputs, links, runs
from engine.state.kept import raw_of
from engine.state.store import instant


def due_records(session: Session, plan: SyncPlan) -> list[Chunk]:
    """Stored raw records of exceptions that are to be tried again."""
    if session.options.plan or session.options.records:
        return []
    keys = [key for _, key in exceptions.due(session.tx, plan.name)]
    found = raw_of(session.tx, plan.name, keys)
    kept = {key: (decode_json(raw), modified) for key, (raw, modified) in found.items() if raw}
    records = [
        Record(key, value or {}, modified, deleted=value is None)
        for key, (value, modified) in kept.items() if value != {}
    ]  # fmt: skip
    records += next_in_line(session, plan)
    session.retried.update({record.key: fingerprint(record.value)[0] for record in records})
    session.woken = 0
    return _chunks(records)


def missing_records(session: Session, plan: SyncPlan, read: set[str]) -> list[Chunk]:
    """After a complete sweep: tombstones for what is known and was not read."""
    ids = {key: id for key, id in inputs.keys(session.tx, plan.name) if id is not None and key not in read}
    gone = list(ids)
    if plan.source.canonical:  # its records have ids of their own, and no links
        stored = canonical.get(session.tx, plan.schema.entity, list(ids.values()))
        live = [key for key, id in ids.items() if id in stored and not stored[id].deleted]
        return _chunks([Record(key, {}, deleted=True, raw=b"deleted") for key in live])
    known = links.by_native(
        session.tx, plan.source.connection, plan.schema.entity, gone, plan.source.mapping.model.object
    )
    live = [key for key in gone if any(link.state == "live" for link in known.get(key, ()))]
    return _chunks([Record(key, {}, deleted=True, raw=b"deleted") for key in live])


def read_again(session: Session, plan: SyncPlan, items: list[Item]) -> list[Item]:
    """Items as the source has them now, where another flow writes to it: what was read may be older than that write."""
    source = plan.source
    object = source.mapping.model.object or ""
    if (source.connection, object) not in session.mirrored:
        return items
    with session.reading() as tx:
        now = tx.now()
    keys = tuple(dict.fromkeys(item.record.key for item in items if not item.record.deleted))
    asked = Read(object, keys=keys, fields=source.mapping.reads, query=plan.flow.source.query)
    records: list[Record] = []
    if keys:
        session.store.crashpoint("before read")
        records = [one for batch in session.connectors[source.connection].read(asked) for one in batch.records]
        session.store.crashpoint("after read")
    found = {item.key: item for item in make_items(session, plan, records)}
    for item in items:
        fresh = found.get(item.key)
        if fresh is not None:
            item.record, item.raw_hash, item.value = fresh.record, fresh.raw_hash, fresh.value
        item.read_at = now
    return items


def refreshed_items(session: Session, plan: SyncPlan) -> list[Item]:
    """Delivered records that read a record which changed since the last run: they go again from map out."""
    if not plan.flow.refresh or session.options.records or session.options.plan:
        return []
    ids: dict[str, None] = {}
    for field in plan.flow.refresh:
        for entity in plan.schema.refs.get(field, ()):
            name = f"refresh:{plan.name}:{field}:{entity}"
            since = runs.fact(session.tx, name)
            changed, newest = canonical.changed_ids(session.tx, entity, since or instant(session.now))
            session.positions[name] = newest
            ids.update(dict.fromkeys(canonical.readers(session.tx, plan.schema.entity, field, changed)))
    object = plan.source.mapping.model.object or ""
    native = links.by_canonical(session.tx, plan.source.connection, plan.schema.entity, list(ids), object)
    items = []
    for id, stored in canonical.get(session.tx, plan.schema.entity, list(ids)).items():
        if stored.deleted or id not in native:
            continue
        merged = decode_json(stored.data)
        items.append(Item(Record(native[id][0].native_id, merged), native[id][0].native_id, canonical_id=id, merged=merged,
                          before=merged, stored=stored, changed=False))  # fmt: skip
    return items


def _chunks(records: list[Record], size: int = 500) -> list[Chunk]:
    return [records[start : start + size] for start in range(0, len(records), size)]
