"""SuiteQL executed: expressions as closures over rows, joins, groups, order; unknown names are errors before any row is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cmp_to_key, partial
from typing import Any, TypeAlias

from connectors.sandbox.clock import written
from connectors.sandbox.netsuite.compare import arithmetic, both, compare, either, folded, like, ranked
from connectors.sandbox.netsuite.functions import FUNCTIONS, number, text
from connectors.sandbox.netsuite.tables import Row, Tables
from connectors.sandbox.netsuite.tree import Case, Column, Const, Expr, Fn, InList, IsNull, Not, Op, Select, Star, wrong

Env: TypeAlias = dict[str, Any]
"""Rows by alias; `#rows` holds the environments of a group, `#number` the row's number."""
Get: TypeAlias = Callable[[Env], Any]
AGGREGATES = ("COUNT", "SUM", "MIN", "MAX", "AVG")
_EMPTY = Row({})


class Plan:
    """A query bound to tables. Raises Fault INVALID_PARAMETER."""

    def __init__(self, tables: Tables, query: Select) -> None:
        self.tables, self.query = tables, query
        self.names = {source.alias: tables.columns(source.table) for source in query.sources}
        self.columns = self._columns()
        self.where = self.bound(query.where) if query.where is not None else None
        self.joins = [self.bound(source.on) if source.on is not None else None for source in query.sources]
        self.grouped = bool(query.group) or any(_aggregates(one) for one, _ in query.columns)
        self.groups = [self.bound(one) for one in query.group]
        self.having = self.bound(query.having) if query.having is not None else None
        self.order = [(self._position(one), down) for one, down in query.order]

    def _columns(self) -> list[tuple[Get, str]]:
        found: list[tuple[Get, str]] = []
        for place, (one, alias) in enumerate(self.query.columns, 1):
            if isinstance(one, Star):
                for table, names in self.names.items():
                    if one.table in (None, table):
                        found += [(self._column(Column(table, name)), name) for name in sorted(names)]
                continue
            inner = one.args[0] if isinstance(one, Fn) and one.args and len(self.query.columns) > 1 else one
            plain = one.name if isinstance(one, Column) else inner.name if isinstance(inner, Column) else f"expr{place}"
            found.append((self.bound(one), alias or plain))
        return found

    def _position(self, one: Expr) -> Get:
        """ORDER BY 1 and ORDER BY alias mean columns."""
        if isinstance(one, Const) and isinstance(one.value, Decimal) and 1 <= one.value <= len(self.columns):
            return self.columns[int(one.value) - 1][0]
        aliases = {alias: get for (_, alias), (get, _) in zip(self.query.columns, self.columns, strict=False) if alias}
        if isinstance(one, Column) and one.table is None and one.name in aliases:
            return aliases[one.name]
        return self.bound(one)

    # ------------------------------------------------------------------ rows
    def run(self) -> list[dict[str, str]]:
        """All rows of the answer: texts by lower-case name, nulls left out."""
        envs = self._grouped() if self.grouped else list(self._filtered())
        if self.order:
            keyed: list[tuple[list[Any], Env]] = [([get(env) for get, _ in self.order], env) for env in envs]
            directions = [down for _, down in self.order]
            keyed.sort(key=cmp_to_key(partial(_before, directions)))
            envs = [env for _, env in keyed]
        rows: list[dict[str, str]] = []
        seen: set[tuple[tuple[str, str], ...]] = set()
        for env in envs:
            row = {alias: shown for get, alias in self.columns if (shown := text(get(env))) is not None}
            if self.query.distinct:
                key = tuple(sorted(row.items()))
                if key in seen:
                    continue
                seen.add(key)
            rows.append(row)
        return rows if self.query.most is None else rows[: self.query.most]

    def _filtered(self) -> Iterator[Env]:
        passed = 0
        for env in self._joined(0, {}):
            env["#number"] = Decimal(passed + 1)
            if self.where is None or self.where(env) is True:
                passed += 1
                yield env

    def _joined(self, place: int, env: Env) -> Iterator[Env]:
        """Environments of the first tables and of those that follow; later tables are read once."""
        if place == len(self.query.sources):
            yield dict(env)
            return
        source = self.query.sources[place]
        on, hit = self.joins[place], False
        if place == 0:
            rows: Any = self.tables.rows(source.table, *self._narrowed(source.alias))
        else:
            cached = self.__dict__.setdefault("_cached", {})
            if place not in cached:
                cached[place] = list(self.tables.rows(source.table))
            rows = cached[place]
        for row in rows:
            env[source.alias] = row
            if on is None or on(env) is True:
                hit = True
                yield from self._joined(place + 1, env)
        if source.outer and not hit:
            env[source.alias] = _EMPTY
            yield from self._joined(place + 1, env)
        env.pop(source.alias, None)

    def _narrowed(self, alias: str) -> tuple[list[str] | None, str | None]:
        """Ids or a bound of the stamp that every row of the answer must have, so that not all are read."""
        ids: list[str] | None = None
        since: str | None = None
        for one in _conjuncts(self.query.where):
            left = one.left if isinstance(one, (Op, InList)) else None
            if not isinstance(left, Column) or left.table not in (None, alias):
                continue
            if left.name == "id" and isinstance(one, InList):
                ids = [str(text(self.bound(value)({}))) for value in one.values] if _constant(one.values) else ids
            elif isinstance(one, Op) and _constant((one.right,)):
                value = self.bound(one.right)({})
                if left.name == "id" and one.sign == "=":
                    ids = [str(text(value))]
                elif left.name == "lastmodifieddate" and one.sign in (">", ">=") and isinstance(value, datetime):
                    since = written(value.replace(tzinfo=self.tables.zone).astimezone(UTC))
        return (list(dict.fromkeys(ids)) if ids is not None else None), since

    def _grouped(self) -> list[Env]:
        groups: dict[tuple[Any, ...], list[Env]] = {}
        for env in self._filtered():
            groups.setdefault(tuple(text(get(env)) for get in self.groups), []).append(env)
        if not groups and not self.groups:
            groups[()] = []
        empty = {source.alias: _EMPTY for source in self.query.sources}
        envs = [{**(rows[0] if rows else empty), "#rows": rows} for rows in groups.values()]
        return [env for env in envs if self.having is None or self.having(env) is True]

    # ------------------------------------------------------------------ expressions
    def bound(self, one: Expr) -> Get:
        """An expression as a function of an environment."""
        if isinstance(one, Const):
            value = one.value
            return lambda env: value
        if isinstance(one, Column):
            return self._column(one)
        if isinstance(one, Fn):
            return self._function(one)
        if isinstance(one, Op):
            return self._operation(one)
        if isinstance(one, Not):
            inner = self.bound(one.inner)
            return lambda env: None if (found := inner(env)) is None else not found
        if isinstance(one, IsNull):
            left = self.bound(one.left)
            return lambda env: text(left(env)) is None
        if isinstance(one, InList):
            return self._in(one)
        if isinstance(one, Case):
            branches = [(self.bound(test), self.bound(value)) for test, value in one.branches]
            other = self.bound(one.other)
            return lambda env: next((value(env) for test, value in branches if test(env) is True), None) if any(
                test(env) is True for test, _ in branches) else other(env)  # fmt: skip
        raise wrong("Invalid or unsupported search near '*'")

    def _column(self, one: Column) -> Get:
        name = one.name
        if one.table is None and name in ("sysdate", "current_date"):
            return lambda env: self.tables.store.clock.now().astimezone(self.tables.zone).replace(tzinfo=None)
        if one.table is None and name == "rownum":
            return lambda env: env.get("#number")
        if one.table is not None:
            if one.table not in self.names or not _has(self.names[one.table], name):
                raise wrong(f"Search error occurred: Field '{name}' for record '{one.table}' was not found.")
            table = one.table
        else:
            having = [alias for alias, names in self.names.items() if _has(names, name)]
            if not having:
                raise wrong(
                    f"Search error occurred: Field '{name}' for record '{next(iter(self.names))}' was not found."
                )
            table = having[0]
        return lambda env: env[table].get(name)

    def _function(self, one: Fn) -> Get:
        if one.name in AGGREGATES:
            return self._aggregate(one)
        if one.name == "BUILTIN.DF":
            if len(one.args) != 1 or not isinstance(one.args[0], Column):
                raise wrong("BUILTIN.DF takes one field")
            column = one.args[0]
            self._column(column)
            alias = column.table or next(table for table, names in self.names.items() if _has(names, column.name))
            return lambda env: self.tables.display(env[alias], column.name)
        work = FUNCTIONS.get(one.name)
        if work is None:
            raise wrong(f"Function {one.name} is not supported")
        args = [self.bound(arg) for arg in one.args]

        def call(env: Env) -> Any:
            try:
                return work(*(arg(env) for arg in args))
            except (TypeError, ValueError):
                raise wrong(f"Function {one.name} cannot be used like this") from None

        return call

    def _aggregate(self, one: Fn) -> Get:
        star = len(one.args) == 1 and isinstance(one.args[0], Star)
        inner = None if star else self.bound(one.args[0])

        def call(env: Env) -> Any:
            rows = env.get("#rows", [])
            if inner is None:
                return Decimal(len(rows))
            values = [value for row in rows if text(value := inner(row)) is not None]
            if one.distinct:
                values = list({text(value): value for value in values}.values())
            if one.name == "COUNT":
                return Decimal(len(values))
            if not values:
                return None
            if one.name in ("MIN", "MAX"):
                return min(values) if one.name == "MIN" else max(values)
            total = sum((number(value) or Decimal(0) for value in values), Decimal(0))
            return total if one.name == "SUM" else total / len(values)

        return call

    def _in(self, one: InList) -> Get:
        left, values = self.bound(one.left), [self.bound(value) for value in one.values]
        if _constant(one.values):
            known = [value({}) for value in values]
            texts = {folded(value) for value in known}
            if not any(isinstance(value, date) for value in known):
                return lambda env: None if (found := left(env)) is None else folded(found) in texts
        return lambda env: (
            None if (found := left(env)) is None else any(compare(found, value(env)) == 0 for value in values)
        )

    def _operation(self, one: Op) -> Get:
        left, right, sign = self.bound(one.left), self.bound(one.right), one.sign
        if sign == "AND":
            return lambda env: both(left(env), right(env))
        if sign == "OR":
            return lambda env: True if left(env) is True or right(env) is True else either(left(env), right(env))
        if sign == "||":
            return lambda env: ((text(left(env)) or "") + (text(right(env)) or "")) or None
        if sign == "LIKE":
            return lambda env: like(text(left(env)), text(right(env)))
        if sign in ("+", "-", "*", "/"):
            return lambda env: arithmetic(sign, left(env), right(env))

        def test(env: Env) -> bool | None:
            order = compare(left(env), right(env))
            if order is None:
                return None
            return {
                "=": order == 0,
                "!=": order != 0,
                "<": order < 0,
                "<=": order <= 0,
                ">": order > 0,
                ">=": order >= 0,
            }[sign]

        return test


def _has(names: set[str], name: str) -> bool:
    return name in names or (name.startswith("cust") and name not in ("customer", "customers"))


def _aggregates(one: Expr) -> bool:
    if isinstance(one, Fn):
        return one.name in AGGREGATES or any(_aggregates(arg) for arg in one.args)
    return isinstance(one, Op) and (_aggregates(one.left) or _aggregates(one.right))


def _conjuncts(one: Expr | None) -> list[Expr]:
    if isinstance(one, Op) and one.sign == "AND":
        return [*_conjuncts(one.left), *_conjuncts(one.right)]
    return [] if one is None else [one]


def _constant(values: tuple[Expr, ...]) -> bool:
    return all(
        isinstance(one, Const) or (isinstance(one, Fn) and one.name.startswith("TO_") and _constant(one.args))
        for one in values
    )


def _before(directions: list[bool], left: tuple[list[Any], Env], right: tuple[list[Any], Env]) -> int:
    return ranked(left[0], right[0], directions)
