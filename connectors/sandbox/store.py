"""What the fake systems hold: documents in SQLite, shared by threads and processes, with lookups by key and by time."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from connectors.sandbox import journal
from connectors.sandbox.clock import Clock, instant, written
from engine.sdk.record import decode_json, encode_json

Doc: TypeAlias = dict[str, Any]
Place: TypeAlias = tuple[str, str, str]
"""(system, object, id)."""
LAG: ContextVar[float] = ContextVar("lag", default=0.0)
"""Seconds of writes that the request being answered does not see: its index is behind."""

VERSION = 3
_SCHEMA = """
CREATE TABLE IF NOT EXISTS docs (system TEXT, object TEXT, id TEXT, body BLOB, modified TEXT, deleted INTEGER DEFAULT 0,
  PRIMARY KEY (system, object, id));
CREATE INDEX IF NOT EXISTS docs_modified ON docs (system, object, modified, id, deleted);
CREATE TABLE IF NOT EXISTS keys (system TEXT, object TEXT, name TEXT, value TEXT, id TEXT,
  PRIMARY KEY (system, object, name, value, id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS keys_id ON keys (system, object, id);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER);
"""
_PUT = ("INSERT INTO docs VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (system, object, id) DO UPDATE SET "
        "body = excluded.body, modified = excluded.modified, deleted = excluded.deleted")  # fmt: skip
_KEY = "INSERT OR IGNORE INTO keys VALUES (?, ?, ?, ?, ?)"


@dataclass(frozen=True)
class Shape:
    """How a system's documents are found. modified: the field of its stamp. indexed: fields looked up by value."""

    modified: str
    indexed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Store:
    """Documents by system, object and id. Every method is one transaction unless inside `writing`."""

    def __init__(self, path: Path | None, shapes: Mapping[str, Shape], clock: Clock | None = None) -> None:
        self.clock, self._shapes = clock or Clock(), shapes
        target = str(path) if path is not None else ":memory:"
        self._db = sqlite3.connect(target, check_same_thread=False, isolation_level=None, timeout=30)
        self._lock = threading.RLock()
        self.remembered = 0.0
        """Seconds for which documents are kept as they were before a write of this process, for requests with a lag."""
        self._before: deque[tuple[float, Place, Doc | None]] = deque()
        if path is not None:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
        if self._db.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            with self.writing():
                self._upgrade()

    def _upgrade(self) -> None:
        """Make the tables; data of an earlier layout gets its keys, stamps and journal columns."""
        tables = {row[0] for row in self.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
        self._db.execute("DROP INDEX IF EXISTS docs_modified")
        for statement in (_SCHEMA + journal.SCHEMA).split(";"):
            self._db.execute(statement)
        if "docs" in tables and "keys" not in tables:
            self._db.execute("ALTER TABLE journal ADD COLUMN headers BLOB DEFAULT 'null'")
            for system, object, id, body, deleted in self.rows("SELECT system, object, id, body, deleted FROM docs"):
                self.put(system, object, id, decode_json(body), deleted=bool(deleted))
        self._db.execute(f"PRAGMA user_version = {VERSION}")

    def close(self) -> None:
        with self._lock:
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

    def version(self) -> tuple[float, ...]:
        """Another value after every change, whichever process made it, and for every request with a lag."""
        with self._lock:
            seen = self._db.execute("PRAGMA data_version").fetchone()[0]
            return int(seen), self._db.total_changes, time.monotonic() if LAG.get() else 0.0

    # ------------------------------------------------------------------ reads that are behind
    def _remember(self, place: Place) -> None:
        if self.remembered:
            now = time.monotonic()
            while self._before and self._before[0][0] < now - self.remembered:
                self._before.popleft()
            self._before.append((now, place, self.get(*place)))

    def _unseen(self, system: str, object: str) -> dict[str, Doc | None]:
        """Documents by id as they were before the writes that the request does not see; None: not there."""
        lag, found = LAG.get(), dict[str, Doc | None]()
        if lag:
            start = time.monotonic() - lag
            for at, place, doc in self._before:
                if at >= start and place[:2] == (system, object):
                    found.setdefault(place[2], doc)
        return found

    # ------------------------------------------------------------------ reads
    def get(self, system: str, object: str, id: str, *, deleted: bool = False) -> Doc | None:
        found = self.many(system, object, [id], deleted=deleted)
        return found[0] if found else None

    def many(self, system: str, object: str, ids: Iterable[str], *, deleted: bool = False) -> list[Doc]:
        """Documents of these ids in their order; absent ones are left out."""
        more = "" if deleted else " AND deleted = 0"
        sql = f"SELECT body FROM docs WHERE system = ? AND object = ? AND id = ?{more}"
        with self._lock:
            behind = self._unseen(system, object)
            wanted = list(ids)
            rows = [self._db.execute(sql, (system, object, id)).fetchone() for id in wanted]
        if not behind:
            return [decode_json(row[0]) for row in rows if row]
        now = {id: decode_json(row[0]) if row else None for id, row in zip(wanted, rows, strict=True)}
        return [doc for id in wanted if (doc := behind.get(id, now[id])) is not None]

    def keyed(self, system: str, object: str, name: str, value: Any) -> list[Doc]:
        """Documents whose indexed field has a value; letters' case does not matter."""
        sql = "SELECT id FROM keys WHERE system = ? AND object = ? AND name = ? AND value = ? ORDER BY length(id), id"
        found = self.many(system, object, [row[0] for row in self.rows(sql, (system, object, name, _key(value)))])
        return [doc for doc in found if _key(doc.get(name)) == _key(value)] if LAG.get() else found

    def indexed(self, system: str, object: str) -> tuple[str, ...]:
        """Fields that `keyed` takes."""
        return self._shapes[system].indexed.get(object, ())

    def ids(
        self, system: str, object: str, *, since: str | None = None, until: str | None = None, deleted: bool = False,
        order: str = "id",
    ) -> list[str]:  # fmt: skip
        """Ids in order of id or of (modified, id); window [since, until) of stamps as `instant` writes them."""
        tests, values = ["system = ?", "object = ?"], [system, object]
        for bound, sign in ((since, ">="), (until, "<")):
            if bound is not None:
                tests.append(f"modified {sign} ?")
                values.append(bound)
        if not deleted:
            tests.append("deleted = 0")
        by = "modified, length(id), id" if order == "modified" else "length(id), id"
        found = [row[0] for row in self.rows(f"SELECT id FROM docs WHERE {' AND '.join(tests)} ORDER BY {by}", values)]
        with self._lock:
            behind = self._unseen(system, object)
        return [id for id in found if behind.get(id, {}) is not None] if behind else found

    def scan(
        self, system: str, object: str, *, since: str | None = None, until: str | None = None, deleted: bool = False
    ) -> Iterator[Doc]:
        """Documents in order of id, read in chunks, so that neither a lock nor all of them are held meanwhile."""
        ids = self.ids(system, object, since=since, until=until, deleted=deleted)
        for start in range(0, len(ids), 1000):
            yield from self.many(system, object, ids[start : start + 1000], deleted=deleted)

    def all(self, system: str, object: str, *, deleted: bool = False) -> list[Doc]:
        """Documents of an object in order of id."""
        return list(self.scan(system, object, deleted=deleted))

    def count(self, system: str, object: str) -> int:
        sql = "SELECT count(*) FROM docs WHERE system = ? AND object = ? AND deleted = 0"
        return int(self.rows(sql, (system, object))[0][0])

    def greatest(self, system: str, object: str) -> int:
        """The greatest id that is a number, 0 without any."""
        sql = "SELECT max(CAST(id AS INTEGER)) FROM docs WHERE system = ? AND object = ?"
        return int(self.rows(sql, (system, object))[0][0] or 0)

    def seeded(self) -> bool:
        return bool(self.rows("SELECT 1 FROM docs LIMIT 1"))

    # ------------------------------------------------------------------ writes
    def put(self, system: str, object: str, id: str, doc: Doc, *, deleted: bool = False) -> None:
        """Write a document; the caller has put the system's own stamps into it."""
        with self.writing():
            self._remember((system, object, id))
            self._db.execute("DELETE FROM keys WHERE system = ? AND object = ? AND id = ?", (system, object, id))
            self._db.execute(_PUT, self._row(system, object, id, doc, deleted))
            if not deleted:
                self._db.executemany(_KEY, self._keys(system, object, id, doc))

    def put_many(self, system: str, object: str, docs: Iterable[tuple[str, Doc]]) -> None:
        """Write new documents from a stream, without holding more than a thousand of them."""
        rows: list[tuple[Any, ...]] = []
        keys: list[tuple[Any, ...]] = []

        def flush() -> None:
            self._db.executemany(_PUT, rows)
            self._db.executemany(_KEY, keys)
            rows.clear()
            keys.clear()

        with self.writing():
            for id, doc in docs:
                rows.append(self._row(system, object, id, doc, False))
                keys.extend(self._keys(system, object, id, doc))
                if len(rows) == 1000:
                    flush()
            flush()

    def _row(self, system: str, object: str, id: str, doc: Doc, deleted: bool) -> tuple[Any, ...]:
        stamp = doc.get(self._shapes[system].modified)
        modified = instant(stamp) if isinstance(stamp, str) else self.now()
        return system, object, id, encode_json(doc), modified, int(deleted)

    def _keys(self, system: str, object: str, id: str, doc: Doc) -> list[tuple[Any, ...]]:
        names = self._shapes[system].indexed.get(object, ())
        return [(system, object, name, _key(doc[name]), id) for name in names if doc.get(name) is not None]

    def purge(self, system: str, object: str, id: str) -> None:
        """Forget a document; not even a deleted one is left."""
        with self.writing():
            self._remember((system, object, id))
            for table in ("docs", "keys"):
                self._db.execute(
                    f"DELETE FROM {table} WHERE system = ? AND object = ? AND id = ?", (system, object, id)
                )

    def next_id(self, name: str, start: int | Callable[[], int] = 1) -> int:
        """The next number of a counter that begins at `start`."""
        with self.writing():
            rows = self.rows("SELECT value FROM counters WHERE name = ?", (name,))
            value = rows[0][0] + 1 if rows else start if isinstance(start, int) else start()
            self._db.execute("INSERT OR REPLACE INTO counters VALUES (?, ?)", (name, value))
            return int(value)

    def now(self) -> str:
        """The clock's moment as `instant` writes it."""
        return written(self.clock.now())

    def note(self, system: str, object: str, op: str, id: str, body: Any) -> None:
        """Journal an accepted write, in the transaction that makes it."""
        with self._lock:
            journal.note(self._db, self.now(), system, object, op, id, body)

    def note_fault(self, system: str, method: str, path: str, what: str) -> None:
        """Journal a fault, whatever becomes of the request."""
        with self.writing():
            self._db.execute(
                "INSERT INTO faults (at, system, method, path, what) VALUES (?, ?, ?, ?, ?)",
                (self.now(), system, method, path, what),
            )

    def faults(self) -> list[tuple[Any, ...]]:
        """Faults that were made, in order: (seq, at, system, method, path, what)."""
        return self.rows("SELECT seq, at, system, method, path, what FROM faults ORDER BY seq")

    def journal(self, system: str | None = None) -> list[journal.Entry]:
        """Accepted writes in order, of one system or of all."""
        sql = "SELECT seq, object, op, id, body, system, at, headers FROM journal"
        where = " WHERE system = ?" if system else ""
        return journal.entries(self.rows(f"{sql}{where} ORDER BY seq", (system,) if system else ()))

    def clear(self) -> None:
        with self.writing():
            self._before.clear()
            for table in ("docs", "keys", "journal", "counters", "faults"):
                self._db.execute(f"DELETE FROM {table}")


def _key(value: Any) -> str:
    return str(value).casefold()
