"""The canonical store: the latest version of every record, compare-and-set, with match values and references."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from engine.state.store import Tx, instant


class Stored(NamedTuple):
    """A canonical record as it stands. data, provenance: JSON bytes. correlation: None stands for its own id."""

    id: str
    version: int
    data: bytes
    provenance: bytes
    deleted: bool
    correlation: str | None = None


class Change(NamedTuple):
    """A new version of a record. expected: the version that was merged; 0 for a new record.

    correlation: of a new record; it keeps it for good.
    """

    id: str
    expected: int
    data: bytes
    provenance: bytes
    deleted: bool = False
    correlation: str | None = None


def get(tx: Tx, entity: str, ids: Iterable[str]) -> dict[str, Stored]:
    """Records by id."""
    sql = "SELECT id, version, data, provenance, deleted, correlation FROM canonical WHERE entity = ? AND id IN (…)"
    return {
        row[0]: Stored(row[0], row[1], bytes(row[2]), bytes(row[3]), bool(row[4]), row[5])
        for row in tx.by_keys(sql, (entity,), ids)
    }


def put(tx: Tx, entity: str, changes: Sequence[Change], run: str) -> set[str]:
    """Write new versions over the expected ones; the ids that somebody else changed meanwhile."""
    changes = sorted(changes, key=lambda one: one.id)  # two runs that change the same records take them in one order
    at = instant()
    fresh = [
        (entity, one.id, 1, one.data, one.provenance, int(one.deleted), at, run, one.correlation)
        for one in changes
        if one.expected == 0
    ]
    made = tx.many(
        "INSERT INTO canonical (entity, id, version, data, provenance, deleted, changed_at, run, correlation) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        fresh,
    )
    updates = [
        (one.data, one.provenance, int(one.deleted), at, run, entity, one.id, one.expected)
        for one in changes
        if one.expected
    ]
    written = made + tx.many(
        "UPDATE canonical SET data = ?, provenance = ?, deleted = ?, changed_at = ?, run = ?, version = version + 1 "
        "WHERE entity = ? AND id = ? AND version = ?",
        updates,
    )
    if written == len(changes):  # the usual case
        return set()
    ids = [one.id for one in changes]
    sql = "SELECT id FROM canonical WHERE entity = ? AND changed_at = ? AND run = ? AND id IN (…)"
    return set(ids) - {row[0] for row in tx.by_keys(sql, (entity, at, run), ids)}


def moved(tx: Tx, entity: str, versions: Mapping[str, int]) -> set[str]:
    """Of records that were read at these versions, those that have another one now."""
    sql = "SELECT id, version FROM canonical WHERE entity = ? AND id IN (…)"
    return {row[0] for row in tx.by_keys(sql, (entity,), versions) if row[1] != versions[row[0]]}


def scan(tx: Tx, entity: str, *, since: str = "") -> Iterator[Stored]:
    """Every record of an entity (changed after `since`), streamed."""
    sql = "SELECT id, version, data, provenance, deleted FROM canonical WHERE entity = ? AND changed_at > ? ORDER BY id"
    for row in tx.stream(sql, (entity, since)):
        yield Stored(row[0], row[1], bytes(row[2]), bytes(row[3]), bool(row[4]))


def changed_ids(tx: Tx, entity: str, since: str) -> tuple[list[str], str]:
    """Ids changed after an instant, and the newest change seen."""
    rows = tx.rows(
        "SELECT id, changed_at FROM canonical WHERE entity = ? AND changed_at > ? ORDER BY changed_at", (entity, since)
    )
    return [row[0] for row in rows], rows[-1][1] if rows else since


def entity_of(tx: Tx, id: str, entities: Iterable[str]) -> str | None:
    """Which of these entities a canonical id belongs to."""
    for row in tx.by_keys("SELECT entity FROM canonical WHERE id = ? AND entity IN (…)", (id,), entities):
        return str(row[0])
    return None


def match(tx: Tx, entity: str, keys: Iterable[tuple[int, bytes]]) -> dict[tuple[int, bytes], list[str]]:
    """Ids of records that hold a value of a match rule."""
    wanted = set(keys)
    sql = "SELECT rule, digest, id FROM matches WHERE entity = ? AND digest IN (…)"
    found: dict[tuple[int, bytes], list[str]] = {}
    for rule, digest, id in tx.by_keys(sql, (entity,), [digest for _, digest in wanted]):
        key = (rule, bytes(digest))
        if key in wanted:
            found.setdefault(key, []).append(id)
    return found


def put_matches(tx: Tx, entity: str, rows: Sequence[tuple[str, list[tuple[int, bytes]]]]) -> None:
    """Replace the match values of records: (id, [(rule, digest)])."""
    tx.many("DELETE FROM matches WHERE entity = ? AND id = ?", [(entity, id) for id, _ in rows])
    tx.many(
        "INSERT INTO matches (entity, rule, digest, id) VALUES (?, ?, ?, ?)",
        [(entity, rule, digest, id) for id, keys in rows for rule, digest in keys],
    )


def put_references(tx: Tx, entity: str, rows: Sequence[tuple[str, list[tuple[str, str]]]]) -> None:
    """Replace the references of records: (id, [(field, id that it names)])."""
    tx.many("DELETE FROM refs WHERE entity = ? AND id = ?", [(entity, id) for id, _ in rows])
    tx.many(
        "INSERT INTO refs (entity, id, field, to_id) VALUES (?, ?, ?, ?)",
        [(entity, id, field, to_id) for id, found in rows for field, to_id in dict.fromkeys(found)],
    )


def readers(tx: Tx, entity: str, field: str, to_ids: Iterable[str]) -> list[str]:
    """Records of an entity whose field names one of these records."""
    sql = "SELECT DISTINCT id FROM refs WHERE entity = ? AND field = ? AND to_id IN (…)"
    return [row[0] for row in tx.by_keys(sql, (entity, field), to_ids)]


def add_history(tx: Tx, rows: Sequence[tuple[str, str, str, int, bytes | None, bytes | None, str, str]]) -> None:
    """Changes of `x-history` fields: (entity, id, field, version, old, new, source, run)."""
    at = instant()
    tx.many(
        "INSERT INTO history (entity, id, field, version, old, new, at, source, run) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (entity, id, field, version, old, new, at, source, run)
            for entity, id, field, version, old, new, source, run in rows
        ],
    )


def history_of(tx: Tx, id: str) -> list[tuple[str, bytes | None, bytes | None, str, str, str]]:
    """Changes of a record: (field, old, new, at, source, run)."""
    sql = "SELECT field, old, new, at, source, run FROM history WHERE id = ? ORDER BY at, version"
    return [(row[0], row[1], row[2], row[3], row[4], row[5]) for row in tx.rows(sql, (id,))]
