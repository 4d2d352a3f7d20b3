"""What each connection was last known to have of a record's shared fields: the base of three-way merges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.sdk.record import Fields, decode_json, encode_json
from engine.state.store import Tx


def get(tx: Tx, connection: str, ids: Iterable[str]) -> dict[str, Fields]:
    """Shared fields by canonical id, as last seen in the connection or delivered to it."""
    sql = "SELECT canonical_id, fields FROM bases WHERE connection = ? AND canonical_id IN (…)"
    return {row[0]: decode_json(bytes(row[1])) for row in tx.by_keys(sql, (connection,), ids)}


def put(tx: Tx, rows: Sequence[tuple[str, str, Fields]]) -> None:
    """Move bases: (canonical id, connection, fields that it has now). Fields that are not named keep theirs."""
    fresh: dict[tuple[str, str], Fields] = {}
    for id, connection, fields in rows:
        fresh.setdefault((id, connection), {}).update(fields)
    for connection in {one for _, one in fresh}:
        ids = [id for id, one in fresh if one == connection]
        standing = get(tx, connection, ids)
        tx.many(
            "INSERT INTO bases (canonical_id, connection, fields) VALUES (?, ?, ?) "
            "ON CONFLICT (canonical_id, connection) DO UPDATE SET fields = excluded.fields",
            [(id, connection, encode_json({**standing.get(id, {}), **fresh[id, connection]})) for id in ids],
        )
