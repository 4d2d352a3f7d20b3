"""What each flow last read of each record: for the skip of unchanged input, sweeps, and replays of history."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from engine.state.store import Tx, instant


class Seen(NamedTuple):
    """What was last read. canonical_id: None where the flow's `where` left the record out."""

    key: str
    hash: bytes
    logic: bytes
    canonical_id: str | None
    modified: str | None


_SELECT = "SELECT key, hash, logic, canonical_id, modified FROM inputs WHERE flow = ?"
PRELOAD = 50_000


def preload(tx: Tx, flow: str) -> dict[str, Seen] | None:
    """Everything that a flow has seen, slimmed (see `slim`); None where that is too much to hold."""
    if count(tx, flow) > PRELOAD:
        return None
    shared: dict[bytes, bytes] = {}
    sql = (
        "SELECT key, hash, logic, CASE WHEN canonical_id IS NULL THEN 0 ELSE 1 END, modified FROM inputs WHERE flow = ?"
    )
    return {
        key: Seen("", bytes(hash), shared.setdefault(bytes(logic), bytes(logic)), "" if linked else None, modified)
        for key, hash, logic, linked, modified in tx.stream(sql, (flow,))
    }


def slim(seen: Seen) -> Seen:
    """Without what the caller need not hold twice: the key, and the id itself."""
    return Seen("", seen.hash, seen.logic, None if seen.canonical_id is None else "", seen.modified)


def get(tx: Tx, flow: str, keys: Iterable[str]) -> dict[str, Seen]:
    """What was last read of these records."""
    rows = tx.by_keys(f"{_SELECT} AND key IN (…)", (flow,), keys)
    return {row[0]: Seen(row[0], bytes(row[1]), bytes(row[2]), row[3], row[4]) for row in rows}


def put(tx: Tx, flow: str, rows: Sequence[Seen], run: str) -> None:
    """Remember what was read."""
    tx.many(
        "INSERT INTO inputs (flow, key, hash, logic, canonical_id, modified, run) VALUES (?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (flow, key) DO UPDATE SET hash = excluded.hash, logic = excluded.logic, "
        "canonical_id = excluded.canonical_id, modified = excluded.modified, run = excluded.run",
        [(flow, *row, run) for row in rows],
    )


def forget(tx: Tx, canonical_ids: Sequence[str]) -> None:
    """Records that are to be handled anew when they are read next, though they come as they were."""
    found = tx.by_keys("SELECT flow, key FROM inputs WHERE canonical_id IN (…)", (), canonical_ids)
    tx.many("DELETE FROM inputs WHERE flow = ? AND key = ?", list(found))


def count(tx: Tx, flow: str) -> int:
    """Records that a flow knows."""
    row = tx.one("SELECT count(*) FROM inputs WHERE flow = ?", (flow,))
    return int(row[0]) if row else 0


def keys(tx: Tx, flow: str) -> Iterator[tuple[str, str | None]]:
    """(key, canonical id) of every record that a flow knows, in order of key."""
    for row in tx.stream("SELECT key, canonical_id FROM inputs WHERE flow = ? ORDER BY key", (flow,)):
        yield row[0], row[1]


def keep(tx: Tx, flow: str, rows: Sequence[tuple[str, bytes]]) -> None:
    """Keep raw inputs: (key, raw)."""
    at = instant()
    tx.many(
        "INSERT INTO kept_inputs (flow, key, at, raw) VALUES (?, ?, ?, ?)", [(flow, key, at, raw) for key, raw in rows]
    )
