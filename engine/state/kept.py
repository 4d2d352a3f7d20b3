"""What exceptions keep of their records: enough to look at them, and to try them again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from engine.state.exceptions import BEHIND, LIVE
from engine.state.store import Tx


class Kept(NamedTuple):
    """What an exception keeps of its record, for a replay. raw, canonical, payload: JSON bytes."""

    id: str
    flow: str
    key: str
    canonical_id: str | None
    target: str
    part: str
    modified: str | None
    logic: bytes | None
    raw: bytes | None
    canonical: bytes | None
    payload: bytes | None
    revision: int | None
    opened_at: str


def stages_of(tx: Tx, id: str) -> tuple[bytes | None, bytes | None, bytes | None, str | None]:
    """(raw, canonical, payload, modified) of an exception."""
    row = tx.one("SELECT raw, canonical, payload, modified FROM exceptions WHERE id = ?", (id,))
    return (row[0], row[1], row[2], row[3]) if row else (None, None, None, None)


def kept_of(tx: Tx, ids: Iterable[str]) -> list[Kept]:
    """What exceptions keep of their records, the oldest first."""
    sql = (
        "SELECT id, flow, key, canonical_id, target, part, modified, logic, raw, canonical, payload, revision, opened_at "
        "FROM exceptions WHERE id IN (…)"
    )
    found = [
        Kept(*row[:7], *(None if one is None else bytes(one) for one in row[7:11]), *row[11:])
        for row in tx.by_keys(sql, (), ids)
    ]
    return sorted(found, key=lambda one: (one.opened_at, one.key, one.id))


def raw_of(tx: Tx, flow: str, keys: Iterable[str]) -> dict[str, tuple[bytes | None, str | None]]:
    """Stored raw records of live exceptions by key: (raw, modified)."""
    sql = f"SELECT key, raw, modified FROM exceptions WHERE flow = ? AND state IN {LIVE} AND part NOT LIKE ? AND key IN (…)"
    return {row[0]: (row[1], row[2]) for row in tx.by_keys(sql, (flow, f"{BEHIND}%"), keys)}
