"""What the tables of the state are made of: the types of their columns, and how a table is declared."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, String, Table

metadata = MetaData()
Id, Name, Instant = String(64), String(200), String(32)
Native = String(500)
Serial = BigInteger().with_variant(Integer, "sqlite")


def table(name: str, *columns: Column[object] | Index, comment: str, in_key: bool = False) -> Table:
    """in_key: SQLite keeps the rows in the primary key itself, which halves what writing a short row touches."""
    return Table(name, metadata, *columns, comment=comment, sqlite_with_rowid=not in_key)
