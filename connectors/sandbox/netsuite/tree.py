"""SuiteQL as a tree: expressions, tables, the query; and the error of one that cannot be run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from connectors.sandbox.netsuite.errors import Fault


def wrong(near: str) -> Fault:
    """A query that cannot be run."""
    return Fault(400, "INVALID_PARAMETER", f"Invalid search query. Detailed unprocessed description follows. {near}")


@dataclass(frozen=True)
class Const:
    """A literal or a bind."""

    value: Any


@dataclass(frozen=True)
class Column:
    """name, or table.name; lower case."""

    table: str | None
    name: str


@dataclass(frozen=True)
class Fn:
    """A function: upper-case name, arguments; COUNT(*) has the argument Star."""

    name: str
    args: tuple[Expr, ...]
    distinct: bool = False


@dataclass(frozen=True)
class Star:
    """* or table.*"""

    table: str | None = None


@dataclass(frozen=True)
class Op:
    """Two sides: comparison, ||, arithmetic, AND, OR, LIKE."""

    sign: str
    left: Expr
    right: Expr


@dataclass(frozen=True)
class Not:
    """The opposite; unknown stays unknown."""

    inner: Expr


@dataclass(frozen=True)
class InList:
    """left IN (…)"""

    left: Expr
    values: tuple[Expr, ...]


@dataclass(frozen=True)
class IsNull:
    """left IS NULL"""

    left: Expr


@dataclass(frozen=True)
class Case:
    """CASE WHEN … THEN … ELSE … END"""

    branches: tuple[tuple[Expr, Expr], ...]
    other: Expr


Expr: TypeAlias = "Const | Column | Fn | Star | Op | Not | InList | IsNull | Case"


@dataclass
class Source:
    """A table of FROM. on: None for the first one and for a comma join. outer: LEFT JOIN."""

    table: str
    alias: str
    on: Expr | None = None
    outer: bool = False


@dataclass
class Select:
    """A query. columns: (expression, alias or None)."""

    columns: list[tuple[Expr, str | None]]
    sources: list[Source]
    where: Expr | None = None
    group: list[Expr] = field(default_factory=list)
    having: Expr | None = None
    order: list[tuple[Expr, bool]] = field(default_factory=list)
    distinct: bool = False
    most: int | None = None
