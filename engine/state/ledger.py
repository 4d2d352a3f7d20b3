"""The ledger: what each target last got of each record, so that unchanged payloads are never sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from engine.sdk.record import decode_json, encode_json
from engine.state.store import Tx

UNKNOWN = {"unknown": "its last write had no answer"}
"""Stands in `fields` for a value that nobody knows; it equals none, so the next diff sends the field."""
NO_HASH = b"\0" * 16
"""Equals no payload's hash: the next diff compares field by field."""


class Delivered(NamedTuple):
    """What was last delivered. fields: payload as JSON bytes. state: delivered, deleted, deactivated,
    stale (compare before the next write), missing (the target no longer has it)."""

    canonical_id: str
    part: str
    hash: bytes
    fields: bytes
    native_id: str | None
    version: str | None
    revision: int
    generation: int
    state: str = "delivered"


_COLUMNS = "canonical_id, part, hash, fields, native_id, version, revision, generation, state"
Key = tuple[str, str]


def get(tx: Tx, connection: str, object: str, mapping: str, ids: Iterable[str]) -> dict[Key, Delivered]:
    """Deliveries by (canonical id, part)."""
    sql = f"SELECT {_COLUMNS} FROM ledger WHERE connection = ? AND object = ? AND mapping = ? AND canonical_id IN (…)"
    rows = tx.by_keys(sql, (connection, object, mapping), ids)
    return {(row[0], row[1]): _delivered(row) for row in rows}


def _delivered(row: tuple[object, ...]) -> Delivered:
    one = Delivered(*row)  # type: ignore[arg-type]
    return one._replace(hash=bytes(one.hash), fields=bytes(one.fields))


def put(tx: Tx, connection: str, object: str, mapping: str, rows: Sequence[Delivered]) -> None:
    """Write deliveries over what stands there."""
    tx.many(
        f"INSERT INTO ledger (connection, object, mapping, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (connection, object, mapping, canonical_id, part) DO UPDATE SET hash = excluded.hash, "
        "fields = excluded.fields, native_id = excluded.native_id, version = excluded.version, "
        "revision = excluded.revision, generation = excluded.generation, state = excluded.state",
        [(connection, object, mapping, *row) for row in rows],
    )


def doubt(tx: Tx, connection: str, object: str, changes: Mapping[Key, Iterable[str]]) -> None:
    """Updates without an answer, fields by (canonical id, part): what the target holds there is unknown from now on."""
    sql = "SELECT mapping, canonical_id, part, fields FROM ledger WHERE connection = ? AND object = ? AND canonical_id IN (…)"
    rows = []
    for mapping, id, part, fields in tx.by_keys(sql, (connection, object), [id for id, _ in changes]):
        names = changes.get((id, part))
        if names is not None:
            known = {**decode_json(bytes(fields)), **dict.fromkeys(names, UNKNOWN)}
            rows.append((NO_HASH, encode_json(known), connection, object, mapping, id, part))
    tx.many(
        "UPDATE ledger SET hash = ?, fields = ? WHERE connection = ? AND object = ? AND mapping = ? AND canonical_id = ? "
        "AND part = ?",
        rows,
    )


def mark(tx: Tx, connection: str, object: str, rows: Sequence[Key], state: str) -> None:
    """stale: compared with the target before the next write. missing: the target lost it; its next create is another one."""
    tx.many(
        "UPDATE ledger SET state = ?, generation = generation + ?, version = NULL WHERE connection = ? AND object = ? "
        "AND canonical_id = ? AND part = ?",
        [(state, int(state == "missing"), connection, object, id, part) for id, part in rows],
    )


def of_record(tx: Tx, canonical_id: str) -> Iterator[tuple[str, str, str, Delivered]]:
    """Every delivery of a record: (connection, object, mapping, what)."""
    sql = f"SELECT connection, object, mapping, {_COLUMNS} FROM ledger WHERE canonical_id = ? ORDER BY connection"
    for row in tx.rows(sql, (canonical_id,)):
        yield row[0], row[1], row[2], _delivered(row[3:])


def count(tx: Tx, connection: str, object: str, mapping: str) -> int:
    """Records that a target has."""
    row = tx.one(
        "SELECT count(*) FROM ledger WHERE connection = ? AND object = ? AND mapping = ? AND state = 'delivered'",
        (connection, object, mapping),
    )
    return int(row[0]) if row else 0
