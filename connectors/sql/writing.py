"""Writes to a table: a batch in one transaction by the dialect's own upsert; halved where a row of it is refused."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, delete, insert, select, update
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import NullType

from connectors.sql.faults import HINTS, kind_of, problem_of, reason, row_problem, trouble_of
from connectors.sql.reading import among, bound
from connectors.sql.tables import Source
from connectors.sql.values import Unfit
from engine.sdk.clock import boot
from engine.sdk.connector import Operation, Outcome
from engine.sdk.errors import Problem, nearest
from engine.sdk.record import Fields, text_key

MERGES = ("postgresql", "sqlite", "mysql", "mariadb")


@dataclass(slots=True)
class Ready:
    """An operation with its columns. key: native id; values: the same as database values; None where the table gives it."""

    one: Operation
    row: Fields
    key: str | None
    values: tuple[Any, ...] | None


class Writing:
    """The writes of one call to one table."""

    def __init__(self, engine: Engine, source: Source, connection: str) -> None:
        self.engine, self.source, self.connection = engine, source, connection
        self.dialect = engine.dialect.name

    def write(self, operations: Sequence[Operation]) -> list[Outcome]:
        """One outcome an operation, in order. Raises ConnectorError where the database cannot be reached at all."""
        outcomes: dict[str, Outcome] = {}
        ready: list[Ready] = []
        for one in operations:
            if one.send_by is not None and boot() > one.send_by:
                outcomes[one.id] = Outcome(one.id, "retry", one.key)
                continue
            try:
                ready.append(self._ready(one))
            except Unfit as error:
                problem = Problem("C597", str(error), None, "correct the value")
                outcomes[one.id] = Outcome(one.id, "refused", one.key, problem=problem)
        if ready:
            outcomes.update(self._batch(ready))
        return [outcomes[one.id] for one in operations]

    # ------------------------------------------------------------------ before the database
    def _ready(self, one: Operation) -> Ready:
        """The columns to write. Raises Unfit for a value or a name that the table does not take."""
        source = self.source
        if not source.writable:
            raise Unfit(f"{source.name!r} is a query and cannot be written: name its table")
        if one.kind in ("update", "delete"):
            values = source.key_values(one.key or "")
            row = {} if one.kind == "delete" else self._row(one.changes if one.changes is not None else one.record)
            for name, value in zip(source.key, values or (), strict=False):
                if name in row and row.pop(name) != value:
                    raise Unfit(f"{name}: an update cannot change the key")
            return Ready(one, row, one.key, values)
        row = self._row(one.record)
        if source.settings.marker and one.mark is not None:
            row[source.settings.marker] = source.writers[source.settings.marker](one.mark)
        missing = next((name for name in source.key if row.get(name) is None), None)
        if missing is None:
            return Ready(one, row, source.key_text(row), tuple(row[name] for name in source.key))
        if one.kind == "upsert":
            raise Unfit(f"the record has no {missing!r}, which is its key")
        return Ready(
            one, {name: value for name, value in row.items() if name not in source.key or value is not None}, None, None
        )

    def _row(self, fields: Fields) -> Fields:
        writes, name = self.source.writes, ""
        try:
            row: Fields = {}
            for name, value in fields.items():
                write = writes[name]
                row[name] = None if value is None else write(value)
            return row
        except KeyError:
            raise Unfit(f"{self.source.name!r} has no column {name!r}: {nearest(name, writes)}") from None
        except (Unfit, ValueError, TypeError) as error:
            raise Unfit(f"{name}: {error}") from None

    # ------------------------------------------------------------------ one transaction, or less
    def _batch(self, ready: list[Ready]) -> dict[str, Outcome]:
        """All in one transaction; where a row is refused, each half in its own, down to the row.

        A database that cannot be reached any more is told for the rows at hand: the other half may be written by then.
        """
        committing = False
        try:
            connection = self.engine.connect()
        except DBAPIError as error:
            trouble, problem = trouble_of(error), problem_of(error, self.connection)
            return {
                one.one.id: Outcome(one.one.id, "retry", one.key, problem=problem, trouble=trouble) for one in ready
            }
        try:
            with connection:
                outcomes: dict[str, Outcome] = {}
                for wave in _waves(ready):
                    outcomes.update(self._wave(connection, wave))
                committing = True
                connection.commit()
                return outcomes
        except DBAPIError as error:
            kind = kind_of(error)
            if kind == "transient":
                return self._all(ready, "in_doubt" if committing else "retry", error)
            if kind == "whole":
                return self._all(ready, "refused", error)
            if len(ready) == 1:
                one = ready[0]
                return {one.one.id: Outcome(one.one.id, "refused", one.key, problem=row_problem(error))}
        half = len(ready) // 2
        return {**self._batch(ready[:half]), **self._batch(ready[half:])}

    def _all(self, ready: list[Ready], state: Any, error: DBAPIError) -> dict[str, Outcome]:
        trouble = trouble_of(error)
        code = "C593" if trouble == "refused" else "C592"
        problem = Problem(code, reason(error), None, HINTS.get(trouble, ""))
        return {one.one.id: Outcome(one.one.id, state, one.key, problem=problem) for one in ready}

    def _wave(self, connection: Connection, wave: list[Ready]) -> dict[str, Outcome]:
        """Operations of different keys, each kind of statement once for all rows that share it."""
        outcomes: dict[str, Outcome] = {}
        known = self._standing(connection, wave)
        strange = known - {item.key for item in wave}  # keys that the database takes for equal, and we do not
        folded = {_fold(key): key for key in strange}
        inserts: list[Fields] = []
        merges: list[Fields] = []
        updates: list[Ready] = []
        gone: list[Ready] = []
        for item in wave:
            one, key, there = item.one, item.key, item.key in known
            twin = folded.get(_fold(key)) if folded and key is not None and not there else None
            if twin is not None and item.values is not None:
                text = f"the table holds {twin!r}, which it takes for the same key as {key!r}"
                problem = Problem("C588", text, None, "write the key as the table holds it")
                outcomes[one.id] = Outcome(one.id, "refused", key, problem=problem)
            elif one.kind in ("update", "delete"):
                outcomes[one.id] = Outcome(one.id, _ended(one.kind) if there else "missing", key)
                if there and (one.kind == "delete" or item.row):
                    (gone if one.kind == "delete" else updates).append(item)
            elif item.values is None:
                outcomes[one.id] = Outcome(one.id, "created", self._insert(connection, item.row))
            elif there and one.kind != "upsert":
                outcomes[one.id] = Outcome(one.id, "matched", key)
            else:
                outcomes[one.id] = Outcome(one.id, "updated" if there else "created", key)
                if one.kind != "upsert" or not (there or self._merges(item.row)):
                    inserts.append(item.row)
                elif there and not self._merges(item.row):
                    updates.append(item)
                else:
                    merges.append(item.row)
        self._send(connection, "insert", inserts)
        self._send(connection, "merge", merges)
        self._send(connection, "update", [self._bound(item) for item in updates])
        self._send(connection, "delete", [self._bound(item) for item in gone])
        return outcomes

    def _merges(self, row: Fields) -> bool:
        """Whether the dialect's upsert does for this row: it must hold every column that an insert needs, and on
        MariaDB, whose upsert goes by any unique index, the key must be the only one."""
        source = self.source
        fit = self.dialect in ("postgresql", "sqlite") or (self.dialect in MERGES and source.alone)
        return fit and source.unique and source.needed <= row.keys()

    def _standing(self, connection: Connection, wave: list[Ready]) -> set[str]:
        """Native ids that the table has already, as it writes them. Rows to be changed stay locked."""
        found: set[str] = set()
        columns = [self.source.column(name) for name in self.source.key]
        locked = self.dialect in ("postgresql", "mysql", "mariadb")
        for lock in (True, False):
            wanted = [
                one.values for one in wave if one.values is not None and (one.one.kind in ("update", "delete")) is lock
            ]
            for start in range(0, len(wanted), 500):
                statement = select(*columns).where(among(self.source, wanted[start : start + 500]))
                if lock and locked:
                    statement = statement.with_for_update()
                for row in connection.execute(statement):
                    found.add(self.source.key_text(dict(zip(self.source.key, row, strict=True))))
        return found

    # ------------------------------------------------------------------ statements
    def _insert(self, connection: Connection, row: Fields) -> str | None:
        """One row whose key the table gives; its native id."""
        source = self.source
        given = connection.execute(
            insert(source.table).values({name: bound(value) for name, value in row.items()})
        ).inserted_primary_key
        names = [column.name for column in source.table.primary_key]
        values = {**row, **dict(zip(names, given or (), strict=False))}
        if any(values.get(name) is None for name in source.key):
            return None
        return text_key({name: source.readers[name](values[name]) for name in source.key}, source.key)

    def _bound(self, item: Ready) -> Fields:
        """The row under its columns' names, its key under names of their own."""
        keys = {f"_key_{number}": value for number, value in enumerate(item.values or ())}
        return {**item.row, **keys}

    def _send(self, connection: Connection, kind: str, rows: list[Fields]) -> None:
        """Rows with the same columns go in one statement, past the type system: values are the driver's own already."""
        groups: dict[tuple[str, ...], list[Fields]] = {}
        for row in rows:
            groups.setdefault(tuple(row), []).append(row)
        for columns, group in groups.items():
            text, order = self._statement(kind, columns)
            given: list[Any] = group if order is None else [tuple(map(row.__getitem__, order)) for row in group]
            connection.exec_driver_sql(text, given)

    def _statement(self, kind: str, columns: tuple[str, ...]) -> tuple[str, tuple[str, ...] | None]:
        """SQL text in the driver's words, and the order of its parameters where they have no names."""
        known = self.source.statements.get((kind, columns))
        if known is None:
            compiled = self._built(kind, columns).compile(
                self.engine, column_keys=[name for name in columns if name in self.source.kinds]
            )
            order = tuple(compiled.positiontup) if compiled.positional else None
            known = self.source.statements[kind, columns] = (str(compiled), order)
        return known

    def _built(self, kind: str, columns: tuple[str, ...]) -> Any:
        source, table = self.source, self.source.table
        if kind in ("update", "delete"):
            tests = [
                source.column(name) == bindparam(f"_key_{number}", type_=NullType())
                for number, name in enumerate(source.key)
            ]
            return (update(table) if kind == "update" else delete(table)).where(*tests)
        rest = [name for name in columns if name not in source.key]
        if kind == "insert":
            return insert(table)
        if self.dialect in ("mysql", "mariadb"):
            merge = mysql.insert(table)
            return merge.on_duplicate_key_update({name: merge.inserted[name] for name in rest or source.key})
        upsert: Any = (postgresql.insert if self.dialect == "postgresql" else sqlite.insert)(table)
        if not rest:
            return upsert.on_conflict_do_nothing(index_elements=list(source.key))
        return upsert.on_conflict_do_update(
            index_elements=list(source.key), set_={name: upsert.excluded[name] for name in rest}
        )


def _ended(kind: str) -> Any:
    return "deleted" if kind == "delete" else "updated"


def _fold(key: str | None) -> str:
    """A key as databases that ignore case, accents and trailing blanks compare it."""
    if key is None or key.isascii():
        return (key or "").lower().rstrip(" ")
    plain = unicodedata.normalize("NFKD", key).casefold().rstrip(" ")
    return "".join(sign for sign in plain if not unicodedata.combining(sign))


def _waves(ready: list[Ready]) -> list[list[Ready]]:
    """The operations in order, no key twice in a wave."""
    waves: list[list[Ready]] = [[]]
    seen: set[str] = set()
    for item in ready:
        form = _fold(item.key)
        if item.key is not None and form in seen:
            waves.append([])
            seen = set()
        seen.add(form)
        waves[-1].append(item)
    return waves
