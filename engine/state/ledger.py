"""The ledger: what each target last got of each record, so that unchanged payloads are never sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from engine.state.store import Tx


class Delivered(NamedTuple):
    """What was last delivered. fields: payload as JSON bytes. state: delivered, deleted, deactivated."""

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
