"""SOQL executed: names bound to objects, literals checked against field types, rows found by index where one helps."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeAlias

from connectors.sandbox.clock import instant, written
from connectors.sandbox.salesforce.dates import span
from connectors.sandbox.salesforce.errors import Fault
from connectors.sandbox.salesforce.fields import NUMBERS, Field, long_id
from connectors.sandbox.salesforce.objects import OBJECTS, SYSTEM, spelling
from connectors.sandbox.salesforce.soql import AGGREGATES, Among, Call, Compare, Literal, Node, Soql
from connectors.sandbox.store import Doc, Store

Rule: TypeAlias = Callable[[Doc], bool]
Get: TypeAlias = Callable[[Doc], Any]


class Bound:
    """A query bound to an object. deleted: rows of the recycle bin are seen too. Raises Fault for names and types."""

    def __init__(self, store: Store, found: Soql, deleted: bool = False, object: str | None = None) -> None:
        self.store, self.soql, self.deleted = store, found, deleted
        self.object = object or _object(found.object)
        self.fields = OBJECTS[self.object]
        self._parents: dict[tuple[str, str], Doc | None] = {}
        self.columns = self._columns()
        self.rule: Rule = self._rule(found.where) if found.where else lambda row: True
        self.order = [] if self.grouped else [(self.getter(name)[0], down, last) for name, down, last in found.order]

    @property
    def grouped(self) -> bool:
        """Whether it gives aggregate rows."""
        return bool(self.soql.group) or any(
            isinstance(one, Call) and one.name in AGGREGATES and one.path for one in self.soql.columns
        )

    @property
    def counted(self) -> bool:
        """Whether it is a bare COUNT()."""
        return self.soql.columns == [Call("COUNT", None, None)]

    @property
    def wide(self) -> bool:
        """Whether two long texts make its pages small."""
        names = [one for one in self.columns if isinstance(one, str) and one in self.fields]
        return sum(self.fields[name].kind == "textarea" and self.fields[name].length > 255 for name in names) >= 2

    # ------------------------------------------------------------------ names
    def _columns(self) -> list[str | Bound]:
        found: list[str | Bound] = []
        for one in self.soql.columns:
            if isinstance(one, Soql):
                found.append(self._child(one))
            elif isinstance(one, str):
                found.append(self.getter(one)[2])
            elif one.name == "FIELDS":
                found.extend(self._every(one.path or ""))
            elif one.path and one.name not in AGGREGATES:  # toLabel(Status), convertCurrency(Amount), FORMAT(Amount)
                found.append(self.getter(one.path)[2])
            elif one.path:
                self.getter(one.path)
        return list(dict.fromkeys(found))

    def _every(self, kind: str) -> list[str]:
        if kind.upper() not in ("ALL", "CUSTOM", "STANDARD"):
            raise Fault("MALFORMED_QUERY", f"unexpected token: '{kind}'")
        if kind.upper() != "STANDARD" and (self.soql.limit is None or self.soql.limit > 200):
            raise Fault("MALFORMED_QUERY", "The SOQL FIELDS function must have a LIMIT of at most 200")
        wanted = {"ALL": (True, False), "CUSTOM": (True,), "STANDARD": (False,)}[kind.upper()]
        return [name for name in self.fields if name.endswith("__c") in wanted]

    def _child(self, inner: Soql) -> Bound:
        for object, fields in OBJECTS.items():
            for one in fields.values():
                if one.to == self.object and (one.children or "").lower() == inner.object.lower():
                    bound = Bound(self.store, inner, self.deleted, object)
                    bound.link, bound.name = one.name, str(one.children)
                    return bound
        raise Fault("INVALID_TYPE", f"Didn't understand relationship '{inner.object}' in FROM part of query call.")

    link = name = ""
    version = "66.0"

    def getter(self, path: str) -> tuple[Get, Field, str]:
        """How to read a path, the field at its end, and its own spelling. A missing parent reads as None."""
        object = self.object
        steps: list[tuple[str, str]] = []
        names: list[str] = []
        *relations, last = path.split(".")
        for relation in relations:
            field = next(
                (one for one in OBJECTS[object].values() if (one.relation or "").lower() == relation.lower()), None
            )
            if field is None or field.to is None:
                if not steps and relation.lower() == object.lower():  # SELECT Account.Name FROM Account
                    continue
                raise Fault("INVALID_FIELD", f"Didn't understand relationship '{relation}' in field path. If you are attempting to "
                            "use a custom relationship, be sure to append the '__r' after the custom relationship name.")  # fmt: skip
            steps.append((field.name, field.to))
            names.append(str(field.relation))
            object = field.to
        name = spelling(object, last)
        if name is None:
            raise Fault("INVALID_FIELD", f"No such column '{last}' on entity '{object}'. If you are attempting to use a custom field, "
                        "be sure to append the '__c' after the custom field name.")  # fmt: skip
        if not steps:
            return (lambda row: row.get(name)), OBJECTS[object][name], name

        def read(row: Doc) -> Any:
            found: Doc | None = row
            for key, to in steps:
                found = self.parent(to, found.get(key)) if found else None
            return found.get(name) if found else None

        return read, OBJECTS[object][name], ".".join([*names, name])

    def parent(self, object: str, id: Any) -> Doc | None:
        """A parent row, read once a query."""
        if not id:
            return None
        if (object, id) not in self._parents:
            self._parents[object, id] = self.store.get(SYSTEM, object, id, deleted=True)
        return self._parents[object, id]

    # ------------------------------------------------------------------ rows
    def rows(self) -> list[Doc]:
        """Rows in their order, limit and offset applied."""
        found = [row for row in self._candidates() if self.rule(row)]
        for get, down, last in reversed(self.order):
            found.sort(key=lambda row, get=get: _sortable(get(row)), reverse=down)  # type: ignore[misc]
            found.sort(key=lambda row, get=get, last=last: (get(row) is None) == last)  # type: ignore[misc]
        found = found[self.soql.offset :]
        return found if self.soql.limit is None or self.grouped else found[: self.soql.limit]

    def _candidates(self) -> Iterable[Doc]:
        where, tests = self.soql.where, []
        if isinstance(where, (Compare, Among)):
            tests = [where]
        elif where is not None and where.joint == "AND":
            tests = [one for one in where.parts if isinstance(one, (Compare, Among))]
        since = until = None
        for one in tests:
            name = spelling(self.object, one.path)
            exact = isinstance(one, Among) and one.wanted and not isinstance(one.values, Soql)
            if name and (exact or (isinstance(one, Compare) and one.sign == "=" and one.value.value is not None)):
                values = [one.value] if isinstance(one, Compare) else list(one.values)  # type: ignore[arg-type]
                if name == "Id":
                    ids = dict.fromkeys(long_id(str(value.value)) for value in values)
                    return self.store.many(SYSTEM, self.object, ids, deleted=self.deleted)
                if name in self.store.indexed(SYSTEM, self.object) and not self.deleted:
                    keyed = [
                        row for value in values for row in self.store.keyed(SYSTEM, self.object, name, value.value)
                    ]
                    return {row["Id"]: row for row in keyed}.values()
            if name == "SystemModstamp" and isinstance(one, Compare) and one.value.kind == "datetime":
                since, until = _window(one, since, until)
        return self.store.scan(SYSTEM, self.object, since=since, until=until, deleted=self.deleted)

    # ------------------------------------------------------------------ tests
    def _rule(self, node: Node) -> Rule:
        if isinstance(node, Among):
            return self._among(node)
        if isinstance(node, Compare):
            return self._test(node)
        parts = [self._rule(part) for part in node.parts]
        if node.joint == "NOT":
            return lambda row: not parts[0](row)
        if node.joint == "AND":
            return lambda row: all(part(row) for part in parts)
        return lambda row: any(part(row) for part in parts)

    def _among(self, node: Among) -> Rule:
        get, field, _ = self.getter(node.path)
        if isinstance(node.values, Soql):
            inner = Bound(self.store, node.values, self.deleted)
            if len(inner.columns) != 1 or not isinstance(inner.columns[0], str):
                raise Fault("MALFORMED_QUERY", "A semi join sub-select must have exactly one column")
            values = {_folded(inner.getter(inner.columns[0])[0](row)) for row in inner.rows()} - {None}
        else:
            values = {_folded(_value(field, one)) for one in node.values}
        return lambda row: (_folded(_at(field, get(row))) in values) == node.wanted

    def _test(self, node: Compare) -> Rule:
        get, field, _ = self.getter(node.path)
        if node.value.kind == "macro":
            return self._macro(node, get, field)
        if node.sign == "LIKE":
            if node.value.kind != "text":
                raise Fault("INVALID_FIELD", f"{node.path}: LIKE needs text")
            pattern = re.compile(_like(node.value.value), re.IGNORECASE | re.DOTALL)
            return lambda row: bool(pattern.fullmatch(str(get(row) or "")))
        wanted = _folded(_value(field, node.value))
        if node.sign in ("=", "!="):
            return lambda row: (_folded(_at(field, get(row))) == wanted) == (node.sign == "=")
        return lambda row: _ordered(node.sign, _folded(_at(field, get(row))), wanted)

    def _macro(self, node: Compare, get: Get, field: Field) -> Rule:
        if field.kind not in ("date", "datetime"):
            raise Fault("INVALID_FIELD", f"{node.path}: date macros need a date")
        first, after = (day.isoformat() for day in span(node.value.value, self.store.clock.now().date()))

        def rule(row: Doc) -> bool:
            value = get(row)
            if value is None:
                return node.sign == "!="
            day = value[:10]
            inside = first <= day < after
            verdicts = {
                "=": inside,
                "!=": not inside,
                "<": day < first,
                "<=": day < after,
                ">": day >= after,
                ">=": day >= first,
            }
            return bool(verdicts[node.sign])

        return rule


def _object(name: str) -> str:
    found = next((one for one in OBJECTS if one.lower() == name.lower()), None)
    if found is None:
        raise Fault("INVALID_TYPE", f"sObject type '{name}' is not supported. If you are attempting to use a custom object, be sure to "
                    "append the '__c' after the entity name.")  # fmt: skip
    return found


def _value(field: Field, literal: Literal) -> Any:
    """A literal as rows of the field compare with it. Raises Fault INVALID_FIELD where the types do not go together."""
    kind = literal.kind
    if kind == "null":
        return None
    if kind == "macro":
        raise Fault("MALFORMED_QUERY", f"unexpected token: '{literal.value}'")
    wanted = (
        "number" if field.kind in NUMBERS else field.kind if field.kind in ("boolean", "date", "datetime") else "text"
    )
    if kind != wanted:
        quoted = (
            "should not be enclosed in quotes"
            if kind == "text"
            else "should be enclosed in quotes"
            if wanted == "text"
            else ""
        )
        raise Fault(
            "INVALID_FIELD",
            f"value of filter criterion for field '{field.name}' must be of type {field.kind} {quoted}".strip(),
        )
    if field.kind in ("id", "reference"):
        return long_id(literal.value)
    if kind == "datetime":
        return instant(re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", literal.value))[:19]
    return literal.value


def _at(field: Field, value: Any) -> Any:
    """A row's value in the precision of filters: whole seconds."""
    return instant(value)[:19] if field.kind == "datetime" and isinstance(value, str) else value


def _folded(value: Any) -> Any:
    if isinstance(value, str):
        return value.casefold() or None
    return Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _ordered(sign: str, left: Any, right: Any) -> bool:
    if left is None or right is None:
        return False
    return bool({"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[sign])


def _like(text: str) -> str:
    """A pattern of % and _ (each may be escaped) as a regular expression."""
    parts = re.findall(r"\\.|%|_|[^%_\\]+|\\", text, re.DOTALL)
    return "".join(
        ".*" if one == "%" else "." if one == "_" else re.escape(one[-1] if one[0] == "\\" else one) for one in parts
    )


def _sortable(value: Any) -> Any:
    return (0, "") if value is None else (1, _folded(value) or "") if isinstance(value, str) else (1, value)


def _window(one: Compare, since: str | None, until: str | None) -> tuple[str | None, str | None]:
    """Bounds of the stamp that a test implies; whole seconds, as filters see them."""
    text = instant(re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", one.value.value))[:19] + ".000Z"
    later = written(datetime.fromisoformat(text.replace("Z", "+00:00")) + timedelta(seconds=1))
    if one.sign in (">", ">="):
        since = max(since or "", text if one.sign == ">=" else later)
    elif one.sign in ("<", "<="):
        until = min(until or "9", text if one.sign == "<" else later)
    return since, until


def aggregated(bound: Bound) -> Iterator[Doc]:
    """Aggregate rows: one a group, unnamed expressions as expr0, expr1."""
    groups: dict[tuple[Any, ...], list[Doc]] = {}
    getters = {name: bound.getter(name)[0] for name in bound.soql.group}
    for row in bound.rows():
        groups.setdefault(tuple(_folded(get(row)) for get in getters.values()), []).append(row)
    if not bound.soql.group and not groups:
        groups[()] = []
    for rows in list(groups.values())[: bound.soql.limit]:
        record: Doc = {"attributes": {"type": "AggregateResult"}}
        unnamed = 0
        for one in bound.soql.columns:
            if isinstance(one, str):
                if one not in getters:
                    raise Fault("MALFORMED_QUERY", f"Field must be grouped or aggregated: {one}")
                record[one.split(".")[-1]] = getters[one](rows[0])
            elif isinstance(one, Call) and one.path:
                values = [value for row in rows if (value := bound.getter(one.path)[0](row)) is not None]
                record[one.alias or f"expr{unnamed}"] = _aggregate(one.name, values)
                unnamed += one.alias is None
        yield record


def _aggregate(name: str, values: list[Any]) -> Any:
    if name.startswith("COUNT"):
        return len(values) if name == "COUNT" else len({_folded(one) for one in values})
    if not values:
        return None
    if name in ("MIN", "MAX"):
        return min(values) if name == "MIN" else max(values)
    total = sum((Decimal(one) for one in values), Decimal(0))
    return total if name == "SUM" else total / len(values)
