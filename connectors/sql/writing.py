"""Writes to a table: a batch in one transaction by the dialect's own upsert; row by row where the batch is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, and_, delete, insert, select, update
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import DBAPIError, OperationalError

from connectors.sql.values import Unfit, to_database
from engine.sdk.connector import Operation, Outcome
from engine.sdk.errors import ConnectorError, Problem, nearest
from engine.sdk.record import Fields, decode_json, text_key

if TYPE_CHECKING:
    from connectors.sql.connector import SqlConnector

Ready = tuple[Operation, Fields]


class Writer:
    """The writes of one call to one table."""

    def __init__(self, connector: SqlConnector, name: str) -> None:
        self.connector, self.name = connector, name
        self.table, self.key = connector._table(name), connector._key(name)
        zone = ZoneInfo(connector.config.timezone)
        self.writers = {column.name: to_database(column.type, zone) for column in self.table.c}

    def write(self, operations: Sequence[Operation]) -> list[Outcome]:
        """One outcome an operation, in order."""
        outcomes: dict[str, Outcome] = {}
        ready: list[Ready] = []
        for one in operations:
            try:
                ready.append((one, self._row(one)))
            except Unfit as error:
                outcomes[one.id] = Outcome(
                    one.id, "refused", one.key, problem=Problem("C597", str(error), None, "correct the value")
                )
        with self.connector._faults():
            outcomes.update(self._batch(ready))
        return [outcomes[one.id] for one in operations]

    def _row(self, one: Operation) -> Fields:
        """The columns to write. Raises Unfit for a value or a name that the table does not take."""
        if one.kind == "delete":
            return {}
        row: Fields = {}
        source = one.changes if one.kind == "update" and one.changes is not None else one.record
        for name, value in source.items():
            if name not in self.writers:
                raise Unfit(f"{self.name!r} has no column {name!r}: {nearest(name, self.writers)}")
            try:
                row[name] = self.writers[name](value)
            except (Unfit, ValueError) as error:
                raise Unfit(f"{name}: {error}") from None
        if one.kind in ("create", "upsert"):
            missing = next((name for name in self.key if row.get(name) is None), None)
            if missing and one.kind == "upsert":
                raise Unfit(f"the record has no {missing!r}, which is its key")
        return row

    def _batch(self, ready: list[Ready]) -> dict[str, Outcome]:
        try:
            with self.connector.engine.begin() as connection:
                return self._apply(connection, ready)
        except OperationalError:
            raise
        except DBAPIError as error:
            if len(ready) == 1:
                return {ready[0][0].id: self._refused(ready[0][0], error)}
        outcomes: dict[str, Outcome] = {}
        for one in ready:
            outcomes.update(self._batch([one]))
        return outcomes

    def _refused(self, one: Operation, error: DBAPIError) -> Outcome:
        reason = str(error.orig).strip().splitlines()[0] if error.orig else "refused"
        return Outcome(
            one.id, "refused", one.key, problem=Problem("C598", reason, None, "correct the record, then replay it")
        )

    def _apply(self, connection: Connection, ready: list[Ready]) -> dict[str, Outcome]:
        outcomes: dict[str, Outcome] = {}
        known = self._standing(connection, [row for one, row in ready if one.kind in ("create", "upsert")])
        merges: list[Fields] = []
        for one, row in ready:
            if one.kind in ("upsert", "create"):
                outcomes[one.id] = self._merged(one, row, known, merges)
            elif one.kind == "append":
                connection.execute(insert(self.table).values(**row))
                outcomes[one.id] = Outcome(one.id, "created", text_key(row, self.key))
            else:
                outcomes[one.id] = self._change(connection, one, row)
        self._upsert(connection, merges)
        return outcomes

    def _merged(self, one: Operation, row: Fields, known: set[str], merges: list[Fields]) -> Outcome:
        if any(row.get(name) is None for name in self.key):
            merges.append(row)
            return Outcome(one.id, "created", None)
        key = text_key({name: row[name] for name in self.key}, self.key)
        if key in known and one.kind == "create":
            return Outcome(one.id, "matched", key)
        merges.append(row)
        state = "updated" if key in known else "created"
        known.add(key)
        return Outcome(one.id, "created" if state == "created" else "updated", key)

    def _standing(self, connection: Connection, rows: list[Fields]) -> set[str]:
        """Native ids among the rows that the table has already."""
        wanted = [row for row in rows if all(row.get(name) is not None for name in self.key)]
        found: set[str] = set()
        columns = [self.table.c[name] for name in self.key]
        for start in range(0, len(wanted), 500):
            chunk = wanted[start : start + 500]
            if len(self.key) == 1:
                test = columns[0].in_([row[self.key[0]] for row in chunk])
            else:
                from sqlalchemy import tuple_

                test = tuple_(*columns).in_([tuple(row[name] for name in self.key) for row in chunk])
            for row in connection.execute(select(*columns).where(test)):
                found.add(text_key(dict(zip(self.key, row, strict=True)), self.key))
        return found

    def _upsert(self, connection: Connection, rows: list[Fields]) -> None:
        """Rows with the same columns go in one statement."""
        groups: dict[tuple[str, ...], list[Fields]] = {}
        for row in rows:
            groups.setdefault(tuple(row), []).append(row)
        for columns, group in groups.items():
            connection.execute(self._statement(columns), group)

    def _statement(self, columns: tuple[str, ...]) -> Any:
        rest = [name for name in columns if name not in self.key]
        dialect = self.connector.engine.dialect.name
        if dialect in ("mysql", "mariadb"):
            statement = mysql.insert(self.table)
            assigned = {name: statement.inserted[name] for name in rest} or {
                self.key[0]: statement.inserted[self.key[0]]
            }
            return statement.on_duplicate_key_update(**assigned)
        if dialect in ("postgresql", "sqlite"):
            make: Any = postgresql.insert if dialect == "postgresql" else sqlite.insert
            upsert = make(self.table)
            if not set(self.key) <= set(columns):
                return upsert
            if not rest:
                return upsert.on_conflict_do_nothing(index_elements=list(self.key))
            return upsert.on_conflict_do_update(
                index_elements=list(self.key), set_={name: upsert.excluded[name] for name in rest}
            )
        raise ConnectorError(
            "config", Problem("C599", f"there is no upsert for {dialect} here", None, "use another database")
        )

    def _change(self, connection: Connection, one: Operation, row: Fields) -> Outcome:
        test = self._is(one.key or "")
        if one.kind == "delete":
            gone = connection.execute(delete(self.table).where(test)).rowcount
            return Outcome(one.id, "deleted" if gone else "missing", one.key)
        if not row:
            return Outcome(one.id, "updated", one.key)
        changed = connection.execute(update(self.table).where(test).values(**row)).rowcount
        if (
            not changed
            and not connection.execute(select(*[self.table.c[name] for name in self.key]).where(test)).first()
        ):
            return Outcome(one.id, "missing", one.key)
        return Outcome(one.id, "updated", one.key)

    def _is(self, key: str) -> Any:
        values = [key] if len(self.key) == 1 else decode_json(key)
        tests = []
        for name, value in zip(self.key, values, strict=True):
            column = self.table.c[name]
            whole = column.type.python_type is int if hasattr(column.type, "python_type") else False
            tests.append(column == (int(value) if whole and isinstance(value, str) else self.writers[name](value)))
        return and_(*tests)
