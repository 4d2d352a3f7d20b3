"""What the fake systems hold: documents in SQLite, shared by threads and processes, and a journal of every write."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.sdk.record import decode_json, encode_json

Doc = dict[str, Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS docs (system TEXT, object TEXT, id TEXT, body BLOB, modified TEXT, deleted INTEGER DEFAULT 0,
  PRIMARY KEY (system, object, id));
CREATE INDEX IF NOT EXISTS docs_modified ON docs (system, object, modified);
CREATE TABLE IF NOT EXISTS journal (seq INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT, system TEXT, object TEXT, op TEXT,
  id TEXT, body BLOB);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER);
"""


def now() -> str:
    """The sandbox's clock: UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Store:
    """Documents by system, object and id. Every method is one transaction unless inside `writing`."""

    def __init__(self, path: Path | None) -> None:
        target = str(path) if path is not None else ":memory:"
        self._db = sqlite3.connect(target, check_same_thread=False, isolation_level=None, timeout=30)
        self._lock = threading.RLock()
        if path is not None:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Several writes as one; readers see all or none."""
        with self._lock:
            if self._db.in_transaction:
                yield
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def rows(self, sql: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(sql, tuple(values)).fetchall()

    def all(self, system: str, object: str, *, deleted: bool = False) -> list[Doc]:
        """Documents of an object in order of id."""
        more = "" if deleted else " AND deleted = 0"
        sql = f"SELECT body FROM docs WHERE system = ? AND object = ?{more} ORDER BY length(id), id"
        return [decode_json(row[0]) for row in self.rows(sql, (system, object))]

    def get(self, system: str, object: str, id: str, *, deleted: bool = False) -> Doc | None:
        more = "" if deleted else " AND deleted = 0"
        rows = self.rows(
            f"SELECT body FROM docs WHERE system = ? AND object = ? AND id = ?{more}", (system, object, id)
        )
        return decode_json(rows[0][0]) if rows else None

    def put(
        self, system: str, object: str, id: str, doc: Doc, *, modified: str | None = None, deleted: bool = False
    ) -> None:
        """Write a document; the caller has put the system's own stamps into it."""
        with self._lock:
            self._db.execute(
                "INSERT INTO docs VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (system, object, id) DO UPDATE SET "
                "body = excluded.body, modified = excluded.modified, deleted = excluded.deleted",
                (system, object, id, encode_json(doc), modified or now(), int(deleted)),
            )

    def next_id(self, name: str, start: int = 1) -> int:
        """The next number of a counter."""
        with self.writing():
            rows = self.rows("SELECT value FROM counters WHERE name = ?", (name,))
            value = rows[0][0] + 1 if rows else start
            self._db.execute("INSERT OR REPLACE INTO counters VALUES (?, ?)", (name, value))
            return int(value)

    def note(self, system: str, object: str, op: str, id: str, body: Any) -> None:
        """Journal an accepted write."""
        with self._lock:
            self._db.execute(
                "INSERT INTO journal (at, system, object, op, id, body) VALUES (?, ?, ?, ?, ?, ?)",
                (now(), system, object, op, id, encode_json(body)),
            )

    def journal(self, system: str) -> list[tuple[int, str, str, str, Any]]:
        """Accepted writes of a system in order: (number, object, operation, id, body)."""
        rows = self.rows("SELECT seq, object, op, id, body FROM journal WHERE system = ? ORDER BY seq", (system,))
        return [(row[0], row[1], row[2], row[3], decode_json(row[4])) for row in rows]

    def seeded(self) -> bool:
        return bool(self.rows("SELECT 1 FROM docs LIMIT 1"))

    def clear(self) -> None:
        with self.writing():
            for table in ("docs", "journal", "counters"):
                self._db.execute(f"DELETE FROM {table}")
