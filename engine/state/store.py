"""The state's database: SQLite (WAL) by default, PostgreSQL by URL. Transactions are explicit and short."""

from __future__ import annotations

import logging
import secrets
import string
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    DatabaseError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.pool import QueuePool

from engine.sdk.errors import CrosswalkError, Problem

T = TypeVar("T")
CHUNK = 500
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Row = tuple[Any, ...]


class StateError(CrosswalkError):
    """The state cannot be used."""


class StaleState(CrosswalkError):
    """Somebody else changed the row since it was read."""


def instant(moment: datetime | None = None) -> str:
    """An instant as the state keeps it: sortable text in UTC with microseconds."""
    return (moment or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def moment_of(text: str) -> datetime:
    """An instant of the state as a moment in UTC."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def microseconds(text: str) -> int:
    """An instant of the state as microseconds since 1970."""
    return (moment_of(text) - EPOCH) // timedelta(microseconds=1)


def new_id(prefix: str) -> str:
    """A short id that sorts by time: `r-20261120-101502-x7k2a`."""
    tail = "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(6))
    return f"{prefix}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{tail}"


class Tx:
    """One open transaction. Statements take `?` for values, whatever the database."""

    def __init__(self, connection: Connection, style: str) -> None:
        self.connection, self.style = connection, style

    def _sql(self, sql: str) -> str:
        return sql if self.style == "qmark" else sql.replace("%", "%%").replace("?", "%s")

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """All rows of a query."""
        result = self.connection.exec_driver_sql(self._sql(sql), tuple(values))
        with closing(result):  # the driver's own tuples: nothing here needs names
            return list(result.cursor.fetchall())

    def stream(self, sql: str, values: Sequence[Any] = ()) -> Iterator[Row]:
        """Rows one by one, without holding them all."""
        result = self.connection.exec_driver_sql(
            self._sql(sql), tuple(values), execution_options={"stream_results": True}
        )
        with closing(result):
            for found in result.partitions(CHUNK):
                yield from found

    def one(self, sql: str, values: Sequence[Any] = ()) -> Row | None:
        """The first row, or None."""
        row = self.connection.exec_driver_sql(self._sql(sql), tuple(values)).first()
        return tuple(row) if row is not None else None

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """A statement; the number of rows that it changed."""
        return self.connection.exec_driver_sql(self._sql(sql), tuple(values)).rowcount

    def many(self, sql: str, rows: Sequence[Row]) -> int:
        """One statement for many rows of values; the number of rows that it changed in all."""
        if not rows:
            return 0
        return self.connection.exec_driver_sql(self._sql(sql), list(rows)).rowcount

    def tried(self, sql: str, rows: Sequence[Row]) -> bool:
        """Like `many`, but where a unique index objects nothing of it happens; whether it went through."""
        point = self.connection.begin_nested() if self.style != "qmark" else None
        if point is None:
            self.connection.exec_driver_sql("SAVEPOINT tried")
        try:
            self.many(sql, rows)
        except IntegrityError:
            if point is None:
                self.connection.exec_driver_sql("ROLLBACK TO tried")
                self.connection.exec_driver_sql("RELEASE tried")
            else:
                point.rollback()
            return False
        if point is None:
            self.connection.exec_driver_sql("RELEASE tried")
        else:
            point.commit()
        return True

    def by_keys(self, sql: str, before: Sequence[Any], keys: Iterable[Any]) -> Iterator[Row]:
        """Rows of a query whose `IN (…)` takes the keys, in chunks that every database accepts."""
        wanted = list(dict.fromkeys(keys))
        for start in range(0, len(wanted), CHUNK):
            chunk = wanted[start : start + CHUNK]
            marks = ", ".join("?" * len(chunk))
            yield from self.rows(sql.replace("(…)", f"({marks})"), (*before, *chunk))

    def alone(self, name: str) -> None:
        """Wait until no other transaction is at this; SQLite has one writer at a time anyway."""
        if self.style != "qmark":
            self.run("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", (name,))

    def now(self) -> str:
        """The database's own time."""
        if self.connection.dialect.name == "postgresql":
            row = self.one("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
        else:
            row = self.one("SELECT strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')")
        assert row is not None
        return str(row[0])


class Store:
    """An open state. Threads may share it; each transaction has a connection of its own.

    url: as the workspace writes it, without its password. passing: whether nothing that is written stays.
    """

    passing = False

    def __init__(self, engine: Engine, url: str) -> None:
        self.engine, self.url = engine, url
        self.sqlite = engine.dialect.name == "sqlite"
        self.style = engine.dialect.paramstyle if self.sqlite else "format"
        self.crashpoint: Callable[[str], None] = lambda name: None
        self._write = threading.Lock()

    @classmethod
    def open(cls, url: str, folder: Path, *, migrate_later: bool = False) -> Store:
        """Open the state, making it where it is new.

        Raises:
            StateError: S700 not reachable, S701 driver missing, S702 made by a newer version, S703 needs
            `crosswalk state upgrade`.
        """
        from engine.state.migrations import prepare

        try:
            parsed = make_url(url)
        except SQLAlchemyError:
            raise StateError(
                Problem("S700", "`state` is not a database URL", None, "write sqlite:///path or postgresql://…")
            ) from None
        shown = parsed.render_as_string(hide_password=True)
        if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
            path = folder / str(parsed.database)
            path.parent.mkdir(parents=True, exist_ok=True)
            parsed = parsed.set(database=str(path))
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        try:
            engine = create_engine(
                parsed, hide_parameters=True, poolclass=QueuePool, pool_size=8, max_overflow=32, pool_use_lifo=True
            )
        except (ModuleNotFoundError, NoSuchModuleError):
            hint = "run: pip install 'crosswalk[postgres]'"
            raise StateError(Problem("S701", f"no driver for {parsed.drivername} is installed", None, hint)) from None
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _sqlite_settings)
        else:
            logging.getLogger("psycopg").setLevel(
                logging.ERROR
            )  # it warns of each row that `tried` finds there already
        store = cls(engine, shown)
        try:
            if not migrate_later:
                prepare(store)
        except DBAPIError as error:
            engine.dispose()
            reason = str(error.orig).strip().splitlines()[0] if error.orig else "no answer"
            raise StateError(Problem("S700", f"the state at {store.url} cannot be opened: {reason}", None,
                                     "start the database, or correct `state` in crosswalk.yaml")) from None  # fmt: skip
        return store

    @contextmanager
    def begin(self, name: str = "", *, durable: bool = False) -> Iterator[Tx]:
        """A writing transaction; commits at the end, rolls back on an error.

        durable: on SQLite the commit waits for the disk (what must survive before bytes leave).
        """
        with self._worded(), self._write if self.sqlite else _nothing(), self.engine.connect() as connection:
            if self.sqlite:
                connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            tx = Tx(connection, self.style)
            try:
                yield tx
            except BaseException:
                connection.rollback()
                raise
            if name:
                self.crashpoint(f"before commit:{name}")
            connection.commit()
            if name:
                self.crashpoint(f"after commit:{name}")

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """A reading transaction: one consistent view."""
        with self._worded(), self.engine.connect() as connection:
            if self.sqlite:
                connection.exec_driver_sql("BEGIN")
            else:
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield Tx(connection, self.style)
            connection.rollback()

    @contextmanager
    def _worded(self) -> Iterator[None]:
        """A disk that is full or may not be written, a server that went away: StateError S704, not a stack trace."""
        try:
            yield
        except DBAPIError as error:
            if not isinstance(error, (OperationalError, InterfaceError)) and error.__class__ is not DatabaseError:
                raise
            reason = str(error.orig).strip().splitlines()[0] if error.orig else "no answer"
            hint = "see that its disk has room and may be written, and that its server runs; then run again"
            raise StateError(Problem("S704", f"the state at {self.url} failed: {reason}", None, hint)) from error

    def close(self) -> None:
        self.engine.dispose()


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _sqlite_settings(connection: Any, _: Any) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "busy_timeout=60000",  # first: the others may have to wait for another process
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "cache_size=-16000",
        "temp_store=MEMORY",
        "wal_autocheckpoint=8000",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
