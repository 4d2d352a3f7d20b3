"""The journal: every write that a fake accepted, in order. The oracle of delivery tests, never cleared by a write."""

from __future__ import annotations

import sqlite3
from contextvars import ContextVar
from typing import Any, NamedTuple

from engine.sdk.record import decode_json, encode_json

SCHEMA = """
CREATE TABLE IF NOT EXISTS journal (seq INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT, system TEXT, object TEXT, op TEXT,
  id TEXT, body BLOB, headers BLOB);
CREATE TABLE IF NOT EXISTS faults (seq INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT, system TEXT, method TEXT, path TEXT,
  what TEXT);
"""
KEPT = (
    "user-agent", "x-request-id", "x-correlation-id", "idempotency-key", "x-netsuite-idempotency-key", "sforce-call-options", "prefer",
    "if-match", "if-unmodified-since",
)  # fmt: skip
"""Request headers that a write is journaled with."""
HEADERS: ContextVar[dict[str, str] | None] = ContextVar("headers", default=None)
"""Headers of the request being answered; None where no request is (a user's edit, the seed)."""


class Entry(NamedTuple):
    """One accepted write. op: create, update, delete. headers: of the request, None for a user's edit."""

    seq: int
    object: str
    op: str
    id: str
    body: Any
    system: str
    at: str
    headers: dict[str, str] | None


def note(db: sqlite3.Connection, at: str, system: str, object: str, op: str, id: str, body: Any) -> None:
    """Add a write; the caller holds the transaction that made it."""
    headers = HEADERS.get()
    kept = None if headers is None else {name: headers[name] for name in KEPT if name in headers}
    db.execute(
        "INSERT INTO journal (at, system, object, op, id, body, headers) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (at, system, object, op, id, encode_json(body), encode_json(kept)),
    )


def entries(rows: list[tuple[Any, ...]]) -> list[Entry]:
    """Rows (seq, object, op, id, body, system, at, headers) as entries."""
    return [Entry._make((*row[:4], decode_json(row[4]), row[5], row[6], decode_json(row[7]))) for row in rows]
