"""The `sql` connector: an object is a table; writes use the dialect's own upsert; reads go by keyset.

Class A: a record is found again by its key. Amounts pass as Decimal; a value that the column would not give back
the same is refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import Field
from sqlalchemy import (
    Engine,
    MetaData,
    Select,
    Table,
    and_,
    create_engine,
    event,
    inspect,
    literal_column,
    or_,
    select,
    text,
    tuple_,
)  # fmt: skip
from sqlalchemy import types as sqltypes
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    DBAPIError,
    NoSuchModuleError,
    NoSuchTableError,
    OperationalError,
    SQLAlchemyError,
)

from connectors.sql.values import Unfit, field_type, from_database, to_database
from engine.sdk.config import Config, ConnectionConfig, Secret
from engine.sdk.connector import Batch, Connector, FieldInfo, Finding, ObjectInfo, Operation, Outcome, Read
from engine.sdk.errors import ConnectorError, Problem, nearest
from engine.sdk.record import Fields, Record, decode_json, text_key

ALL = frozenset({"read", "find", "create", "update", "upsert", "delete", "append"})


class SqlObject(Config):
    """One object: a table, or a query that can be read."""

    table: str | None = None
    """Table, `schema.table`; the object's name otherwise."""
    query: str | None = None
    """SELECT that makes the rows; read-only."""
    key: str | list[str] | None = None
    """Field or fields that identify a row; the primary key otherwise."""
    modified: str | None = None
    """Column that grows with every change."""


class SqlConfig(ConnectionConfig):
    """A database."""

    url: str = Field(repr=False)
    """SQLAlchemy URL; a secret in it is written ${secret:name}."""
    password: Secret | None = None
    """Password, kept out of the URL."""
    objects: dict[str, SqlObject] = {}  # type: ignore[assignment]
    """Settings of single objects."""


class SqlConnector(Connector[SqlConfig]):
    """A database through SQLAlchemy Core; tables are reflected, so identifiers never come from records."""

    name, config_model = "sql", SqlConfig

    def __init__(self, config: SqlConfig, context: Any) -> None:
        super().__init__(config, context)
        self._tables: dict[str, Table] = {}
        self._writers: dict[str, dict[str, Any]] = {}
        self._zone = ZoneInfo(config.timezone)
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """The pool, made when it is first needed. Raises ConnectorError C590, C591."""
        if self._engine is None:
            self._engine = self._connect()
        return self._engine

    def _connect(self) -> Engine:
        try:
            url = make_url(self.config.url)
            if url.drivername in ("postgresql", "mysql", "mariadb"):
                url = url.set(
                    drivername={"postgresql": "postgresql+psycopg"}.get(url.drivername, f"{url.drivername}+pymysql")
                )
            if self.config.password is not None:
                url = url.set(password=self.config.password.reveal())
            if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:"):
                url = url.set(database=str(self.context.path(str(url.database))))
            engine = create_engine(url, hide_parameters=True, pool_pre_ping=url.get_backend_name() != "sqlite")
        except (ModuleNotFoundError, NoSuchModuleError):
            extra = "postgres" if self.config.url.startswith("postgres") else "mariadb"
            raise _config(
                "C591", "no driver for that database is installed", f"run: pip install 'crosswalk[{extra}]'"
            ) from None
        except SQLAlchemyError:
            raise _config(
                "C590", "`url` is not a database URL", "write sqlite:///file.db or postgresql://host/name"
            ) from None
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", lambda dbapi, _: dbapi.execute("PRAGMA journal_mode=WAL") and None)
        return engine

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        """The database's errors as ours, without parameters or passwords."""
        try:
            yield
        except NoSuchTableError as error:
            raise _config("C504", f"there is no table {error}", nearest(str(error), self._names())) from None
        except OperationalError as error:
            reason = _reason(error)
            busy = any(word in reason.lower() for word in ("lock", "deadlock", "timeout"))
            raise ConnectorError("timeout" if busy else "unreachable", Problem(
                "C592", f"connection {self.context.name!r}: {reason}", None, "see that the database runs and the URL is right",
            )) from None  # fmt: skip
        except DBAPIError as error:
            raise ConnectorError("refused", Problem("C593", f"connection {self.context.name!r}: {_reason(error)}", None,
                                                    "see the database's own message")) from None  # fmt: skip

    def close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()

    def check(self) -> list[Finding]:
        try:
            with self._faults(), self.engine.connect() as connection:
                connection.execute(select(literal_column("1")))
            return [Finding(True, f"{self.engine.dialect.name} answers; {len(self.objects())} tables")]
        except ConnectorError as error:
            return [Finding(False, error.problem.message, error.problem.hint)]

    def _names(self) -> list[str]:
        return list(inspect(self.engine).get_table_names())

    def objects(self) -> list[str]:
        with self._faults():
            return sorted({*self._names(), *self.config.objects})

    def _settings(self, name: str) -> SqlObject:
        return self.config.objects.get(name) or SqlObject()

    def _table(self, name: str) -> Any:
        """The reflected table, or the query as one."""
        if name not in self._tables:
            settings = self._settings(name)
            with self._faults():
                if settings.query:
                    with self.engine.connect() as connection:
                        columns = list(
                            connection.execute(text(f"SELECT * FROM ({settings.query}) q WHERE 1 = 0")).keys()
                        )
                    plain = text(settings.query).columns(*[literal_column(one).label(one) for one in columns])
                    self._tables[name] = plain.subquery(name)  # type: ignore[assignment]
                else:
                    schema, _, table = (settings.table or name).rpartition(".")
                    self._tables[name] = Table(table, MetaData(), schema=schema or None, autoload_with=self.engine)
                    if (
                        self.engine.dialect.name == "sqlite"
                    ):  # it keeps NUMERIC in floating point, whatever it is called
                        for column in self._tables[name].c:
                            if isinstance(column.type, sqltypes.Numeric):
                                column.type = sqltypes.Float(asdecimal=False)
        return self._tables[name]

    def _key(self, name: str) -> tuple[str, ...]:
        given = self._settings(name).key
        if given is not None:
            return (given,) if isinstance(given, str) else tuple(given)
        table = self._table(name)
        keys = tuple(column.name for column in getattr(table, "primary_key", ()))
        if not keys:
            raise _config("C594", f"{name!r} has no primary key", "name one with `objects: {" + name + ": {key: …}}`")
        return keys

    def describe(self, name: str) -> ObjectInfo:
        settings, table, key = self._settings(name), self._table(name), self._key(name)
        for column in (*key, *([settings.modified] if settings.modified else ())):
            if column not in table.c:
                raise _config("C595", f"{name!r} has no column {column!r}", nearest(column, table.c.keys()))
        fields = tuple(
            FieldInfo(
                column.name,
                field_type(column.type),
                required=not column.nullable and column.server_default is None and column.name not in key,
                max_length=getattr(column.type, "length", None) if isinstance(column.type, sqltypes.String) else None,
                scale=getattr(column.type, "scale", None) if isinstance(column.type, sqltypes.Numeric) else None,
            )
            for column in table.c
        )
        operations = frozenset({"read", "find"}) if settings.query else ALL
        return ObjectInfo(
            name, key, fields, modified=settings.modified, ordered=settings.modified is not None,
            operations=operations, write_class="A", late=0, index=0, max_batch=2000,
        )  # fmt: skip

    # ------------------------------------------------------------------ reading
    def read(self, request: Read) -> Iterator[Batch]:
        name = request.object
        table, key, modified = self._table(name), self._key(name), self._settings(name).modified
        order = [table.c[one] for one in ((modified, *key) if modified else key)]
        base = select(table)
        if modified and request.since is not None:
            base = base.where(table.c[modified] >= to_database(table.c[modified].type, self._zone)(request.since))
        if modified and request.until is not None:
            base = base.where(table.c[modified] < to_database(table.c[modified].type, self._zone)(request.until))
        if request.keys is not None:
            base = base.where(self._in_keys(table, key, request.keys))
        for column, value in request.query.items():
            base = base.where(table.c[column] == value)
        reader, last = from_database(self._zone), None
        while True:
            page = base if last is None else base.where(_after(order, last))
            rows = self._rows(page.order_by(*order).limit(request.page))
            if not rows:
                break
            yield Batch(
                [self._record(row, key, modified, reader) for row in rows], self._reached(rows[-1], modified, reader)
            )
            last = [rows[-1][column.name] for column in order]
            if len(rows) < request.page or any(value is None for value in last):
                if any(value is None for value in last) and len(rows) == request.page:
                    raise _config(
                        "C596", f"{name!r} has rows without {modified!r}", "fill the column, or drop `modified`"
                    )
                break
        yield Batch([])

    def _rows(self, statement: Select[Any]) -> list[Mapping[str, Any]]:
        with self._faults(), self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(statement).mappings()]

    def _reached(self, row: Mapping[str, Any], modified: str | None, reader: Any) -> str | None:
        return None if modified is None or row[modified] is None else str(reader(row[modified]))

    def _record(self, row: Mapping[str, Any], key: tuple[str, ...], modified: str | None, reader: Any) -> Record:
        value: Fields = {}
        problem = None
        for name, item in row.items():
            try:
                value[name] = reader(item)
            except Unfit as error:
                problem = f"{name} {error}"
        stamp = None if modified is None or value.get(modified) is None else str(value[modified])
        return Record(text_key(value, key), value, stamp, problem=problem)

    def _in_keys(self, table: Any, key: tuple[str, ...], keys: Sequence[str]) -> Any:
        if len(key) == 1:
            write = to_database(table.c[key[0]].type, self._zone)
            whole = isinstance(table.c[key[0]].type, sqltypes.Integer)
            wanted = [int(one) for one in keys if one.lstrip("-").isdigit()] if whole else [write(one) for one in keys]
            return table.c[key[0]].in_(wanted)
        return tuple_(*[table.c[one] for one in key]).in_([tuple(decode_json(one)) for one in keys])

    def find(self, name: str, by: Sequence[Fields], fields: tuple[str, ...] = ()) -> list[list[Record]]:
        table, key, modified, reader = (
            self._table(name),
            self._key(name),
            self._settings(name).modified,
            from_database(self._zone),
        )
        found = []
        for wanted in by:
            for column in wanted:
                if column not in table.c:
                    raise _config("C595", f"{name!r} has no column {column!r}", nearest(column, table.c.keys()))
            tests = [table.c[one] == to_database(table.c[one].type, self._zone)(value) for one, value in wanted.items()]
            rows = self._rows(select(table).where(and_(*tests)).limit(10))
            found.append([self._record(row, key, modified, reader) for row in rows])
        return found

    # ------------------------------------------------------------------ writing
    def write(self, name: str, operations: Sequence[Operation]) -> list[Outcome]:
        from connectors.sql.writing import Writer

        return Writer(self, name).write(operations)


def _after(order: Sequence[Any], last: Sequence[Any]) -> Any:
    """Rows that come after one in an order of several columns."""
    tests = []
    for number, column in enumerate(order):
        same = [before == value for before, value in zip(order[:number], last[:number], strict=True)]
        tests.append(and_(*same, column > last[number]))
    return or_(*tests)


def _reason(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0] if error.orig else "no reason given"


def _config(code: str, message: str, hint: str) -> ConnectorError:
    return ConnectorError("config", Problem(code, message, None, hint))
