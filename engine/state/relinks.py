"""Links put right by hand: two records that are one, a link that belongs to another record, native ids that changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.sdk.errors import Problem
from engine.sdk.record import decode_json, encode_json
from engine.state import canonical, inputs, links
from engine.state.canonical import Change
from engine.state.links import Link
from engine.state.operations import OPEN
from engine.state.store import StaleState, Tx

PLACE = {"ledger": "connection, object, mapping, part", "images": "connection, object, part"}
"""Tables with a row for each place that has the record, and what else is in their key; the place comes first and last."""


def clashes(tx: Tx, double: str, kept: str) -> list[tuple[Link, Link]]:
    """Places that have both records, each under an id of its own: the live links of the one and of the other."""
    standing = {(one.connection, one.object, one.part): one for one in links.of_record(tx, kept) if one.state == "live"}
    return [
        (one, standing[one.connection, one.object, one.part])
        for one in links.of_record(tx, double)
        if one.state == "live" and (one.connection, one.object, one.part) in standing
    ]


def open_writes(tx: Tx, canonical_ids: Iterable[str]) -> int:
    """Writes of records whose end nobody knows."""
    sql = f"SELECT op_key FROM operations WHERE state IN {OPEN} AND canonical_id IN (…)"
    return len(list(tx.by_keys(sql, (), canonical_ids)))


def merge(tx: Tx, entity: str, double: str, kept: str, refs: Mapping[str, Iterable[str]], run: str) -> dict[str, int]:
    """Make one record of two: links, ledger and images of `double` become those of `kept`, references follow, and its id
    goes on to mean `kept`. Fields that `kept` lacks come from it. How many rows of each moved.

    refs: entity → paths of its fields that name this entity. Raises StaleState where a record changes at this moment.
    """
    live = {(one.connection, one.object, one.part) for one in links.of_record(tx, double) if one.state == "live"}
    counts = {"links": tx.run("UPDATE links SET canonical_id = ? WHERE canonical_id = ?", (kept, double))}
    alias = Link(entity, links.ALIAS, links.ALIAS, double, kept, "", "deleted", run)
    links.put(tx, [alias])
    counts["deliveries"] = _taken_over(tx, "ledger", double, kept, live)
    _taken_over(tx, "images", double, kept, live)
    inputs.forget(tx, [double, kept])
    _matches(tx, entity, double, kept)
    tx.run("DELETE FROM swings WHERE canonical_id = ?", (double,))
    tx.run("UPDATE operations SET canonical_id = ? WHERE canonical_id = ?", (kept, double))
    tx.run("UPDATE exceptions SET canonical_id = ? WHERE canonical_id = ?", (kept, double))
    _waits(tx, entity, double, kept)
    _one_record(tx, entity, double, kept, run)
    counts["references"] = _follow(tx, double, kept, refs, run)
    return counts


def _taken_over(tx: Tx, table: str, double: str, kept: str, live: set[tuple[str, str, str]]) -> int:
    """Rows of the double become the kept record's; where both have one, that of the live link stays."""
    key = PLACE[table]
    where = " AND ".join(f"{name} = ?" for name in key.split(", "))
    sql = f"SELECT {key} FROM {table} WHERE canonical_id = ?"
    standing = set(tx.rows(sql, (kept,)))
    for row in tx.rows(sql, (double,)):
        if row in standing:
            loser = kept if (row[0], row[1], row[-1]) in live else double
            tx.run(f"DELETE FROM {table} WHERE canonical_id = ? AND {where}", (loser, *row))
    return tx.run(f"UPDATE {table} SET canonical_id = ? WHERE canonical_id = ?", (kept, double))


def _matches(tx: Tx, entity: str, double: str, kept: str) -> None:
    """What the double was recognised by is the kept record's, until its next version."""
    rows = tx.rows("SELECT rule, digest FROM matches WHERE entity = ? AND id = ?", (entity, double))
    tx.run("DELETE FROM matches WHERE entity = ? AND id = ?", (entity, double))
    sql = "INSERT INTO matches (entity, rule, digest, id) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
    tx.many(sql, [(entity, rule, bytes(digest), kept) for rule, digest in rows])


def _waits(tx: Tx, entity: str, double: str, kept: str) -> None:
    """Exceptions that wait for the double wait for the kept record."""
    rows = tx.rows("SELECT exception FROM exception_reads WHERE entity = ? AND key = ?", (entity, double))
    tx.run("DELETE FROM exception_reads WHERE entity = ? AND key = ?", (entity, double))
    sql = "INSERT INTO exception_reads (exception, entity, key) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
    tx.many(sql, [(row[0], entity, kept) for row in rows])


def _one_record(tx: Tx, entity: str, double: str, kept: str, run: str) -> None:
    """The kept record with what it lacked; the double as a tombstone."""
    found = canonical.get(tx, entity, [double, kept])
    changes = []
    if double in found:
        old = found[double]
        changes.append(Change(double, old.version, old.data, old.provenance, deleted=True))
    if len(found) == 2:
        data, from_ = decode_json(found[kept].data), decode_json(found[kept].provenance)
        others, theirs = decode_json(found[double].data), decode_json(found[double].provenance)
        lacked = {name: value for name, value in others.items() if value is not None and data.get(name) is None}
        sources = {name: theirs[name] for name in lacked if name in theirs}
        changes.append(Change(kept, found[kept].version, encode_json({**data, **lacked}), encode_json({**from_, **sources}),
                              found[kept].deleted))  # fmt: skip
    put(tx, entity, changes, run)


def put(tx: Tx, entity: str, changes: Sequence[Change], run: str) -> None:
    """Write new versions, all of them or none. Raises StaleState R605."""
    if changes and canonical.put(tx, entity, changes, run):
        problem = Problem(
            "R605", f"a {entity} record was changed at this moment", None, "nothing was changed here: try again"
        )
        raise StaleState(problem)


def _follow(tx: Tx, double: str, kept: str, refs: Mapping[str, Iterable[str]], run: str) -> int:
    """References to the double in stored records; such a record is handled anew when it is read next."""
    rows = tx.rows("SELECT entity, id, field FROM refs WHERE to_id = ?", (double,))
    tx.run("DELETE FROM refs WHERE to_id = ?", (double,))
    sql = "INSERT INTO refs (entity, id, field, to_id) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
    tx.many(sql, [(*row, kept) for row in rows])
    count = 0
    for entity, paths in refs.items():
        changes = []
        for one in canonical.scan(tx, entity):
            data = decode_json(one.data)
            if not one.deleted and sum(_replaced(data, path.split("."), double, kept) for path in paths):
                changes.append(Change(one.id, one.version, encode_json(data), one.provenance))
        put(tx, entity, changes, run)
        inputs.forget(tx, [one.id for one in changes])
        count += len(changes)
    return count


def _replaced(value: Any, path: list[str], old: str, new: str) -> bool:
    """Put one id for another at a dotted path, `[]` for each element of a list; whether it stood there."""
    name, rest = path[0], path[1:]
    each = name.endswith("[]")
    name = name.removesuffix("[]")
    if name and not (isinstance(value, dict) and name in value):
        return False
    inner = value[name] if name else value
    if each:
        if not isinstance(inner, list):
            return False
        if rest:
            return sum(_replaced(one, rest, old, new) for one in inner) > 0
        hit = old in inner
        inner[:] = [new if one == old else one for one in inner]
        return hit
    if rest:
        return _replaced(inner, rest, old, new)
    if inner != old:
        return False
    value[name] = new
    return True


def split(tx: Tx, link: Link, fresh: str, run: str) -> None:
    """Take a link off its record: it is the record `fresh` from now on, and its place is free for another."""
    links.remove(tx, link)
    links.put(tx, [link._replace(canonical_id=fresh, part="", run=run)])
    place = (link.canonical_id, link.connection, link.object, link.part)
    for table in PLACE:
        tx.run(f"DELETE FROM {table} WHERE canonical_id = ? AND connection = ? AND object = ? AND part = ?", place)
    inputs.forget(tx, [link.canonical_id])


def remap(tx: Tx, connection: str, object: str, flows: Sequence[str], pairs: Mapping[str, str]) -> dict[str, int]:
    """Put new native ids in the place of old ones. flows: those that read the object. How many rows of each changed.

    What the system has under a new id is compared before the next write.
    """
    count = 0
    for step in (lambda old: (_passing(old), old), lambda old: (pairs[old], _passing(old))):  # ids may change places
        count = tx.many(
            "UPDATE links SET native_id = ? WHERE native_id = ? AND connection = ? AND object = ?",
            [(*step(old), connection, object) for old in pairs],
        )
    deliveries = 0
    for step in (lambda old: (_passing(old), old), lambda old: (pairs[old], _passing(old))):
        deliveries = tx.many(
            "UPDATE ledger SET native_id = ?, version = NULL, "
            "state = CASE state WHEN 'delivered' THEN 'stale' ELSE state END "
            "WHERE native_id = ? AND connection = ? AND object = ?",
            [(*step(old), connection, object) for old in pairs],
        )
    for flow in flows:
        tx.many("DELETE FROM inputs WHERE flow = ? AND key = ?", [(flow, old) for old in pairs])
    sql = "SELECT DISTINCT canonical_id FROM links WHERE connection = ? AND object = ? AND native_id IN (…)"
    ids = [row[0] for row in tx.by_keys(sql, (connection, object), pairs.values())]
    place = "WHERE connection = ? AND object = ? AND canonical_id = ?"
    tx.many(f"DELETE FROM images {place}", [(connection, object, id) for id in ids])
    return {"links": count, "deliveries": deliveries}


def _passing(native: str) -> str:
    """What an id is called while ids change places: no system gives such a one."""
    return f"\x1f{native}"
