"""Tables and queries as objects: what reflection says of columns, keys and uniqueness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Engine, MetaData, Table, column, inspect, text
from sqlalchemy import types as sqltypes

from connectors.sql.settings import SqlConfig, SqlObject, wrong
from connectors.sql.values import FIELD_TYPES, Kind, To, Unfit, Writer, kind_of, reader
from engine.sdk.connector import FieldInfo
from engine.sdk.errors import nearest
from engine.sdk.record import JSON, Fields, decode_json, digest_bytes, encode_json, text_key

SAMPLE = 50


@dataclass(slots=True)
class Source:
    """One object. table: a Table, or a query as a subquery; its columns carry no types, values pass as they are.

    kinds, readers, writers: by column. unique: the key has a unique index. alone: it is the only unique index.
    """

    name: str
    table: Any
    key: tuple[str, ...]
    settings: SqlObject
    kinds: dict[str, Kind]
    readers: dict[str, To]
    writers: dict[str, Writer]
    infos: tuple[FieldInfo, ...]
    needed: frozenset[str]
    unique: bool
    alone: bool
    writable: bool
    mark: bytes
    writes: dict[str, To]
    statements: dict[Any, Any] = field(default_factory=dict)

    @property
    def modified(self) -> str | None:
        return self.settings.modified

    @property
    def single(self) -> str:
        """The only column of a key."""
        return self.key[0]

    def column(self, name: str) -> Any:
        """A column. Raises ConnectorError C595 with the nearest name."""
        if name not in self.table.c:
            raise wrong("C595", f"{self.name!r} has no column {name!r}", nearest(name, self.table.c.keys()))
        return self.table.c[name]

    def nullable(self, name: str) -> bool:
        """Whether a column may be null (SQLite allows it even in a primary key)."""
        return bool(getattr(self.column(name), "nullable", True))

    def key_text(self, row: Mapping[str, Any]) -> str:
        """The native id of a row of database values."""
        if len(self.key) == 1:
            value = row[self.key[0]]
            if value.__class__ is str and self.kinds[self.key[0]] == "text":
                return value
        return text_key({name: self.readers[name](row[name]) for name in self.key}, self.key)

    def key_values(self, key: str) -> tuple[Any, ...] | None:
        """A native id as database values; None for one that the columns cannot hold."""
        try:
            parts: Sequence[JSON] = [key] if len(self.key) == 1 else decode_json(key)
            if not isinstance(parts, list) or len(parts) != len(self.key):
                return None
            return tuple(self.writers[name](part) for name, part in zip(self.key, parts, strict=True))
        except (Unfit, ValueError):
            return None

    def values(self, row: Sequence[Any]) -> tuple[Fields, str | None]:
        """A row as a record's fields, and what is wrong with it."""
        value: Fields = {}
        problem = None
        for (name, read), item in zip(self.readers.items(), row, strict=True):
            try:
                value[name] = read(item)
            except Unfit as error:
                problem = f"{name} {error}"
        return value, problem


def table_names(engine: Engine, schema: str | None) -> list[str]:
    """Tables and views of a schema."""
    found = inspect(engine)
    return [*found.get_table_names(schema), *found.get_view_names(schema)]


def load(engine: Engine, config: SqlConfig, name: str) -> Source:
    """The object of that name. Raises NoSuchTableError, ConnectorError C594, C595, and what the database raises."""
    settings: Any = config.objects.get(name) or SqlObject()
    return _query(engine, config, name, settings) if settings.query else _table(engine, config, name, settings)


def _table(engine: Engine, config: SqlConfig, name: str, settings: SqlObject) -> Source:
    schema, _, plain = (settings.table or name).rpartition(".")
    table = Table(plain, MetaData(), schema=schema or config.default_schema, autoload_with=engine)
    dialect = engine.dialect.name
    types = {str(one.name): one.type for one in table.c}
    kinds = {name: kind_of(kept, dialect) for name, kept in types.items()}
    found = inspect(engine)
    if dialect in ("mysql", "mariadb"):
        kinds.update(dict.fromkeys(_json_columns(engine, table), "json"))
    for one in table.c:
        if not isinstance(
            one.type, sqltypes.Integer
        ):  # integers pass as they are anyway, and a generated key needs its type
            one.type = sqltypes.NullType()
    primary = tuple(str(one.name) for one in table.primary_key)
    key = _key(name, settings, primary)
    uniques = [set(primary)] if primary else []
    uniques += [set(one["column_names"]) for one in found.get_unique_constraints(plain, table.schema)]
    uniques += [
        {str(part) for part in one["column_names"]} for one in found.get_indexes(plain, table.schema) if one["unique"]
    ]
    needed = frozenset(
        str(one.name) for one in table.c
        if not one.nullable and one.server_default is None and one is not table.autoincrement_column and one.computed is None
    )  # fmt: skip
    infos = tuple(_info(one, kinds[one.name], types[one.name], needed, key) for one in table.c)
    return _source(name, table, key, settings, config, dialect, kinds, types, infos=infos, needed=needed,
                   unique=set(key) in uniques, alone=all(one == set(key) for one in uniques), writable=True)  # fmt: skip


def _info(one: Any, kind: Kind, kept: Any, needed: frozenset[str], key: tuple[str, ...]) -> FieldInfo:
    text = isinstance(kept, sqltypes.String)
    values = tuple(kept.enums) if isinstance(kept, sqltypes.Enum) else None
    label = "kept in floating point: amounts may lose digits" if kind == "float" else ""
    return FieldInfo(
        str(one.name),
        FIELD_TYPES[kind],
        required=one.name in needed and one.name not in key,
        writable=one.computed is None and kind != "bytes",
        max_length=getattr(kept, "length", None) if text else None,
        scale=getattr(kept, "scale", None) if kind == "decimal" else None,
        values=values,
        references=tuple(sorted({foreign.column.table.name for foreign in one.foreign_keys}))
        if one.foreign_keys
        else (),
        label=label,
    )


def _json_columns(engine: Engine, table: Table) -> set[str]:
    """MariaDB keeps JSON as text under a check of the column."""
    if not getattr(engine.dialect, "is_mariadb", False):
        return set()
    checks = text(
        "SELECT check_clause FROM information_schema.check_constraints"
        " WHERE constraint_schema = COALESCE(:schema, DATABASE()) AND table_name = :name"
    )
    with engine.connect() as connection:
        found = connection.execute(checks, {"schema": table.schema, "name": table.name}).scalars()
        clauses = " ".join(str(one).lower() for one in found)
    return {str(one.name) for one in table.c if f"json_valid(`{one.name.lower()}`)" in clauses}


def _query(engine: Engine, config: SqlConfig, name: str, settings: SqlObject) -> Source:
    """A query's columns, with kinds taken from its first rows."""
    statement = str(settings.query).strip().rstrip(";").replace(":", r"\:")
    with engine.connect() as connection:
        result = connection.execute(text(f"SELECT * FROM ({statement}) AS q LIMIT {SAMPLE}"))
        names, rows = [str(one) for one in result.keys()], result.fetchall()  # noqa: SIM118
    table = text(statement).columns(*[column(one) for one in names]).subquery(name.replace(".", "_"))
    types: dict[str, Any] = {}
    for number, one in enumerate(names):
        sample = next((row[number] for row in rows if row[number] is not None), None)
        types[one] = _type_of(sample)
    dialect = engine.dialect.name
    kinds = {one: kind_of(kept, dialect) for one, kept in types.items()}
    if not settings.key:
        raise wrong("C594", f"{name!r} is a query and has no key", "name one with `objects: {" + name + ": {key: …}}`")
    infos = tuple(FieldInfo(one, FIELD_TYPES[kinds[one]], writable=False) for one in names)
    return _source(name, table, _key(name, settings, ()), settings, config, dialect, kinds, types,
                   infos=infos, needed=frozenset(), unique=False, alone=False, writable=False)  # fmt: skip


def _type_of(value: Any) -> sqltypes.TypeEngine[Any]:
    if isinstance(value, bool):
        return sqltypes.Boolean()
    if isinstance(value, datetime):
        return sqltypes.DateTime(timezone=value.tzinfo is not None)
    kinds: list[tuple[type, Any]] = [(int, sqltypes.BigInteger()), (Decimal, sqltypes.Numeric()), (float, sqltypes.Float()),
                                     (date, sqltypes.Date()), (str, sqltypes.Text())]  # fmt: skip
    return next((kept for kind, kept in kinds if isinstance(value, kind)), sqltypes.NullType())


def _key(name: str, settings: SqlObject, primary: tuple[str, ...]) -> tuple[str, ...]:
    given = settings.key
    key = primary if given is None else (given,) if isinstance(given, str) else tuple(given)
    if not key:
        raise wrong("C594", f"{name!r} has no primary key", "name one with `objects: {" + name + ": {key: …}}`")
    return key


def _source(
    name: str, table: Any, key: tuple[str, ...], settings: SqlObject, config: SqlConfig, dialect: str,
    kinds: dict[str, Kind], types: dict[str, Any], **facts: Any,
) -> Source:  # fmt: skip
    zone = ZoneInfo(config.timezone)
    writers = {one: Writer(kind, types[one], dialect, zone) for one, kind in kinds.items()}
    source = Source(
        name, table, key, settings, kinds, {one: reader(kind, zone) for one, kind in kinds.items()},
        writers,
        mark=digest_bytes(encode_json([name, *kinds])), writes={one: writer.write for one, writer in writers.items()}, **facts,
    )  # fmt: skip
    for one in (*key, settings.modified, settings.marker):
        if one is not None:
            source.column(one)
    return source
