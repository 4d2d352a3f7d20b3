"""The intent journal: one row a write, committed before a byte leaves, settled with its outcome."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from engine.state.store import Tx, instant

OPEN = "('planned', 'sent', 'in_doubt')"


class Intent(NamedTuple):
    """A write that is about to be sent. body: the frozen request as JSON bytes."""

    op_key: str
    run: str
    flow: str
    target: str
    connection: str
    object: str
    canonical_id: str
    part: str
    kind: str
    write_class: str
    idempotency_key: str | None
    body: bytes
    fence: int
    send_by: str


class Open(NamedTuple):
    """An operation without a known end."""

    op_key: str
    canonical_id: str
    part: str
    kind: str
    state: str
    write_class: str
    body: bytes
    send_by: str | None
    attempts: int
    updated_at: str
    created_at: str


def open_for(tx: Tx, connection: str, object: str, ids: Iterable[str]) -> dict[tuple[str, str], Open]:
    """Open operations of these records by (canonical id, part)."""
    sql = (
        "SELECT op_key, canonical_id, part, kind, state, class, body, send_by, attempts, updated_at, created_at FROM operations "
        f"WHERE connection = ? AND object = ? AND state IN {OPEN} AND canonical_id IN (…)"
    )
    return {(row[1], row[2]): Open(*row) for row in tx.by_keys(sql, (connection, object), ids)}


def send(tx: Tx, intents: Sequence[Intent]) -> set[str]:
    """T1: note the intent to send. The op keys that may not go: another write of that record is open."""
    at = instant()
    busy: set[str] = set()
    groups: dict[tuple[str, str], list[Intent]] = {}
    for one in intents:
        groups.setdefault((one.connection, one.object), []).append(one)
    for (connection, object), group in groups.items():
        standing = open_for(tx, connection, object, [one.canonical_id for one in group])
        for one in group:
            other = standing.get((one.canonical_id, one.part))
            if other is not None and other.op_key != one.op_key:
                busy.add(one.op_key)
    rows = [
        (one.op_key, one.run, one.flow, one.target, one.connection, one.object, one.canonical_id, one.part, one.kind,
         "sent", one.write_class, one.idempotency_key, one.body, one.fence, one.send_by, at, at)
        for one in intents if one.op_key not in busy
    ]  # fmt: skip
    tx.many(
        "INSERT INTO operations (op_key, run, flow, target, connection, object, canonical_id, part, kind, state, "
        "class, idempotency_key, body, fence, send_by, attempts, created_at, updated_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?) "
        "ON CONFLICT (op_key) DO UPDATE SET state = 'sent', run = excluded.run, fence = excluded.fence, "
        "send_by = excluded.send_by, attempts = operations.attempts + 1, updated_at = excluded.updated_at",
        rows,
    )
    return busy


def settle(tx: Tx, rows: Sequence[tuple[str, str, str | None, bytes | None]]) -> None:
    """Note outcomes: (op key, state, native id, response)."""
    at = instant()
    tx.many(
        "UPDATE operations SET state = ?, native_id = ?, response = ?, updated_at = ? WHERE op_key = ?",
        [(state, native_id, response, at, op_key) for op_key, state, native_id, response in rows],
    )


def in_doubt(tx: Tx, connection: str, object: str) -> list[Open]:
    """Operations of an object whose outcome is unknown: sent by a run that is gone, or in doubt."""
    sql = (
        "SELECT op_key, canonical_id, part, kind, state, class, body, send_by, attempts, updated_at, created_at FROM operations "
        f"WHERE connection = ? AND object = ? AND state IN {OPEN}"
    )
    return [Open(*row) for row in tx.rows(sql, (connection, object))]


def decide(
    tx: Tx, canonical_id: str, part: str, state: str, *, where: tuple[str, str], native: str | None = None
) -> int:
    """A person's word on a create that nobody can ask about (class D): how many operations it ended.

    where: (flow, target) of an exception, or (connection, object) where `native` is the id that it has there.
    """
    columns = "connection = ? AND object = ?" if native else "flow = ? AND target = ? AND class = 'D'"
    return tx.run(
        f"UPDATE operations SET state = ?, native_id = ?, updated_at = ? WHERE canonical_id = ? AND part = ? "
        f"AND state IN {OPEN} AND {columns}",
        (state, native, instant(), canonical_id, part, *where),
    )


def of_record(tx: Tx, canonical_id: str) -> list[tuple[str, ...]]:
    """A record's writes: (at, connection, object, kind, state, native id, run)."""
    sql = (
        "SELECT updated_at, connection, object, kind, state, native_id, run FROM operations "
        "WHERE canonical_id = ? ORDER BY updated_at"
    )
    return tx.rows(sql, (canonical_id,))
