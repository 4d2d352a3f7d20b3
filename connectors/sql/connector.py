"""The `sql` connector: an object is a table or a query; writes use the dialect's own upsert; reads go by keyset.

Class A where the key has a unique index: a record is found again by its key. Without one a repeated insert could
double a row, so such a table is class C and takes no upsert. Amounts pass as Decimal; a value that the column would not
give back the same is refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Engine, literal_column, select
from sqlalchemy.exc import DBAPIError, NoSuchTableError, SQLAlchemyError

from connectors.sql.checksums import Table, compared
from connectors.sql.faults import problem_of, trouble_of
from connectors.sql.reading import Reader
from connectors.sql.settings import SqlConfig, open_engine, wrong
from connectors.sql.tables import Source, load, table_names
from connectors.sql.writing import MERGES, Writing
from engine.sdk.config import ConnectionContext
from engine.sdk.connector import Batch, Connector, Finding, ObjectInfo, Operation, Outcome, Read, Rows, Unlike
from engine.sdk.errors import ConnectorError, Problem, nearest
from engine.sdk.record import Fields, Record

KEYED = frozenset({"read", "find", "create", "update", "upsert", "delete", "append"})
ORDERS = {"integer": "number", "decimal": "number", "float": "number", "date": "date"}


class SqlConnector(Connector[SqlConfig]):
    """A database through SQLAlchemy Core; tables are reflected, so identifiers never come from records."""

    name, config_model = "sql", SqlConfig

    def __init__(self, config: SqlConfig, context: ConnectionContext) -> None:
        super().__init__(config, context)
        self._sources: dict[str, Source] = {}
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """The pool, made when it is first needed. Raises ConnectorError C590, C591, C592."""
        if self._engine is None:
            self._engine = open_engine(self.config, self.context)
        return self._engine

    @contextlib.contextmanager
    def _faults(self, name: str = "") -> Iterator[None]:
        """The database's errors as ours, without parameters or passwords."""
        try:
            yield
        except NoSuchTableError:
            raise wrong("C504", f"there is no table {name!r}", nearest(name, self._names(name))) from None
        except DBAPIError as error:
            raise ConnectorError(trouble_of(error), problem_of(error, self.context.name)) from None
        except SQLAlchemyError as error:
            text = str(error).splitlines()[0]
            raise ConnectorError("refused", Problem("C593", f"connection {self.context.name!r}: {text}")) from None

    def close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()

    def _names(self, name: str = "") -> list[str]:
        """Tables and views: of the schema that a name says, else of the connection's, and what settings name."""
        schema = name.rpartition(".")[0] or None
        found = table_names(self.engine, schema or self.config.default_schema)
        return sorted({*(f"{schema}.{one}" if schema else one for one in found), *self.config.objects})

    def objects(self) -> list[str]:
        with self._faults():
            return self._names()

    def _source(self, name: str) -> Source:
        """The object as reflected; once a connection and run."""
        if name not in self._sources:
            given = self.config.objects.get(name)
            with self._faults(given.table if given and given.table else name):
                self._sources[name] = load(self.engine, self.config, name)
        return self._sources[name]

    def check(self) -> list[Finding]:
        try:
            with self._faults(), self.engine.connect() as connection:
                connection.execute(select(literal_column("1")))
            found = [Finding(True, f"{self.engine.dialect.name} answers; {len(self.objects())} tables")]
            return found + [one for name in self.config.objects for one in self._checked(name)]
        except ConnectorError as error:
            return [Finding(False, error.problem.message, error.problem.hint)]

    def _checked(self, name: str) -> Iterator[Finding]:
        """What is wrong with an object that settings name."""
        try:
            source = self._source(name)
        except ConnectorError as error:
            yield Finding(False, error.problem.message, error.problem.hint)
            return
        if source.writable and not source.unique:
            key = ", ".join(source.key)
            yield Finding(False, f"{name}: nothing keeps {key} unique", f"make a unique index on {key} to write there")

    def describe(self, name: str) -> ObjectInfo:
        source = self._source(name)
        kind = source.kinds[source.modified] if source.modified else "datetime"
        merges = self.engine.dialect.name in MERGES and source.unique
        order: Any = ORDERS.get(kind, "instant")
        return ObjectInfo(
            name,
            source.key,
            source.infos,
            modified=source.modified,
            modified_type=order,
            ordered=source.modified is not None,
            operations=(KEYED if merges else KEYED - {"upsert"}) if source.writable else frozenset({"read", "find"}),
            write_class="A" if merges else "C" if source.writable else "D",
            late=0,
            index=0,
            marker=source.settings.marker,
            slices=tuple(name for name, held in source.kinds.items() if held in ("date", "datetime")),
            max_batch=2000,
        )

    def read(self, request: Read) -> Iterator[Batch]:
        source = self._source(request.object)
        with self._faults():
            yield from Reader(self.engine, source, ZoneInfo(self.config.timezone)).read(request)

    def find(self, name: str, by: Sequence[Fields], fields: tuple[str, ...] = ()) -> list[list[Record]]:
        source = self._source(name)
        with self._faults():
            return Reader(self.engine, source, ZoneInfo(self.config.timezone)).find(by)

    def unlike(self, mine: Rows, other: Connector[Any], theirs: Rows) -> Unlike:
        if not isinstance(other, SqlConnector):
            return Unlike(why="the other side is no database")
        with self._faults(), other._faults():
            return compared(
                Table(self.engine, self._source(mine.object), mine),
                Table(other.engine, other._source(theirs.object), theirs),
            )

    def write(self, name: str, operations: Sequence[Operation]) -> list[Outcome]:
        source = self._source(name)
        if self.engine.dialect.name not in MERGES and any(one.kind == "upsert" for one in operations):
            raise wrong("C599", f"there is no upsert for {self.engine.dialect.name} here", "use `operation: create`")
        with self._faults():
            return Writing(self.engine, source, self.context.name).write(operations)
