"""Two tables compared where they lie: the databases give checksums of ranges, and only ranges that differ are looked into.

`reladiff` does it. It is asked only for what it compares exactly: a unique integer key, and columns of one type that it does
not round. A fault of it is no fault of the comparison: the tables are read instead.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import Engine, func, inspect, select, text
from sqlalchemy import types as sqltypes

from connectors.sql.tables import Source
from engine.sdk.connector import Rows, Unlike

MOST = 20_000
"""Keys that are read one by one; where more differ, reading all of it is faster."""
EXACT = (sqltypes.Integer, sqltypes.String, sqltypes.Date, sqltypes.Boolean)


class Table(NamedTuple):
    """One side."""

    engine: Engine
    source: Source
    rows: Rows


def compared(mine: Table, theirs: Table) -> Unlike:
    """What is not alike, or why that cannot be told so."""
    why = _no_table(mine) or _no_table(theirs) or _inexact(mine, theirs)
    if why is not None:
        return Unlike(why=why)
    if find_spec("reladiff") is None:
        return Unlike(why="pip install 'crosswalk[checksums]' lets the databases compare")
    counts = (_count(mine), _count(theirs))
    if not all(counts):
        return Unlike(why="a table is empty")
    try:
        keys = _differing(mine, theirs)
    except Exception as error:  # noqa: BLE001 - whatever it is: the tables can be read
        return Unlike(why=f"checksums failed ({type(error).__name__})")
    if len(keys) > MOST:
        return Unlike(why=f"more than {MOST:,} records differ")
    return Unlike(tuple(sorted(keys)), counts)


def _no_table(one: Table) -> str | None:
    """Why it is nothing that has checksums under a unique key."""
    source, key = one.source, one.rows.key
    if one.engine.dialect.name != "postgresql":
        return f"{one.engine.dialect.name} is not compared by checksums"
    if not source.writable or source.settings.query:
        return f"{source.name} is no table"
    return None if source.key == (key,) and source.unique else f"{key} is not the unique key of {source.name}"


def _inexact(mine: Table, theirs: Table) -> str | None:
    """Why equal checksums would not mean equal columns."""
    types = (_types(mine), _types(theirs))
    for one, held in zip((mine, theirs), types, strict=True):
        if not isinstance(held[one.rows.key], sqltypes.Integer):
            return f"{one.rows.key} is no integer"
        for name in one.rows.fields:
            kept = held[name]
            scaled = (
                isinstance(kept, sqltypes.Numeric) and not isinstance(kept, sqltypes.Float) and kept.scale is not None
            )
            if not (scaled or isinstance(kept, EXACT)):
                return f"{name} is {str(kept).lower()}, which checksums would round"
    for here, there in zip((mine.rows.key, *mine.rows.fields), (theirs.rows.key, *theirs.rows.fields), strict=True):
        if str(types[0][here]) != str(types[1][there]):
            return f"{here} and {there} are of two types"
    return None


def _types(one: Table) -> dict[str, Any]:
    """The types of a table's columns as the database says them; the object's own columns carry none."""
    table = one.source.table
    found = {each["name"]: each["type"] for each in inspect(one.engine).get_columns(table.name, schema=table.schema)}
    return {name: found.get(name, sqltypes.NullType()) for name in (one.rows.key, *one.rows.fields)}


def _count(one: Table) -> int:
    with one.engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(one.source.table)).scalar_one())


def _differing(mine: Table, theirs: Table) -> set[str]:
    from reladiff import connect_to_table, diff_tables

    logging.getLogger("reladiff").setLevel(logging.ERROR)
    sides = [
        connect_to_table(_address(one), _path(one), one.rows.key, extra_columns=one.rows.fields)
        for one in (mine, theirs)
    ]
    try:
        return {str(row[0]) for _, row in islice(diff_tables(*sides), 2 * MOST + 2)}
    finally:
        for side in sides:
            side.database.close()


def _path(one: Table) -> tuple[str, str]:
    """Schema and name of the table that the connection's search path leads to."""
    table = one.source.table
    if table.schema:
        return table.schema, table.name
    where = "SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass(:name)"
    quoted = one.engine.dialect.identifier_preparer.quote(table.name)
    with one.engine.connect() as connection:
        return str(connection.execute(text(where), {"name": quoted}).scalar_one()).strip('"'), table.name


def _address(one: Table) -> dict[str, Any]:
    url = one.engine.url
    given = {
        "host": url.host,
        "port": url.port,
        "user": url.username,
        "password": url.password,
        "database": url.database,
    }
    more = {name: value for name, value in url.query.items() if isinstance(value, str)}  # search path, TLS
    more["options"] = f"{more.get('options', '')} -c default_transaction_read_only=on".strip()
    return {"driver": "postgresql", **more, **{name: value for name, value in given.items() if value is not None}}
