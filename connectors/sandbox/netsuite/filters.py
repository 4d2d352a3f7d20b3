"""The `q` grammar of record lists: `field OPERATOR value`, joined by AND and OR, in parentheses."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias

from connectors.sandbox.netsuite.errors import parameter
from connectors.sandbox.netsuite.kinds import Kind
from connectors.sandbox.store import Doc

Rule: TypeAlias = Callable[[Doc], bool]
_TOKEN = re.compile(r'\s*(?:(?P<text>"[^"]*")|(?P<sign>[()\[\],])|(?P<word>[^\s()\[\],"]+))')
_TEXTS: dict[str, Callable[[str, str], bool]] = {
    "IS": lambda value, wanted: value == wanted, "CONTAIN": lambda value, wanted: wanted in value,
    "START_WITH": lambda value, wanted: value.startswith(wanted), "END_WITH": lambda value, wanted: value.endswith(wanted),
}  # fmt: skip
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "EQUAL": lambda value, wanted: bool(value == wanted), "GREATER": lambda value, wanted: bool(value > wanted),
    "GREATER_OR_EQUAL": lambda value, wanted: bool(value >= wanted), "LESS": lambda value, wanted: bool(value < wanted),
    "LESS_OR_EQUAL": lambda value, wanted: bool(value <= wanted),
}  # fmt: skip
_DATES = {
    "ON": "EQUAL",
    "AFTER": "GREATER",
    "BEFORE": "LESS",
    "ON_OR_AFTER": "GREATER_OR_EQUAL",
    "ON_OR_BEFORE": "LESS_OR_EQUAL",
}


def parse(text: str, kind: Kind) -> Rule:
    """A condition over records. Raises Fault INVALID_PARAMETER."""
    tokens: list[str] = []
    place = 0
    while place < len(text.rstrip()):
        match = _TOKEN.match(text, place)
        if not match:
            raise parameter(f"The query parameter q cannot be read near {text[place : place + 20]!r}")
        tokens.append(match[0].strip())
        place = match.end()
    reader = _Reader(tokens, kind)
    rule = reader.either()
    if reader.tokens:
        raise parameter(f"The query parameter q cannot be read near {reader.tokens[0]!r}")
    return rule


class _Reader:
    def __init__(self, tokens: list[str], kind: Kind) -> None:
        self.tokens, self.kind = tokens, kind

    def take(self, wanted: str | None = None) -> str:
        if not self.tokens or (wanted and self.tokens[0] != wanted):
            raise parameter(f"The query parameter q ends early or lacks {wanted or 'a value'}")
        return self.tokens.pop(0)

    def accept(self, word: str) -> bool:
        if self.tokens and self.tokens[0].upper() == word:
            self.tokens.pop(0)
            return True
        return False

    def either(self) -> Rule:
        parts = [self.both()]
        while self.accept("OR"):
            parts.append(self.both())
        return lambda row: any(part(row) for part in parts)

    def both(self) -> Rule:
        parts = [self.single()]
        while self.accept("AND"):
            parts.append(self.single())
        return lambda row: all(part(row) for part in parts)

    def single(self) -> Rule:
        if self.accept("("):
            inner = self.either()
            self.take(")")
            return inner
        name, operator = self.take(), self.take().upper()
        type_of = self.kind.type_of(name)
        if type_of is None:
            raise parameter(f"Field {name} is not one of {self.kind.name}")
        positive = operator.removesuffix("_NOT")
        rule = self._rule(name, type_of, positive)
        return rule if positive == operator else lambda row: not rule(row)

    def _rule(self, name: str, kind: str, operator: str) -> Rule:
        if operator == "EMPTY":
            return lambda row: row.get(name) in (None, "")
        if operator in ("BETWEEN", "WITHIN", "ANY_OF"):
            values = self.listed()
            if operator == "ANY_OF":
                return lambda row: _id(row.get(name)) in values
            low, high = (_typed(kind, one) for one in (*values, "", "")[:2])
            return lambda row: (value := _own(kind, row.get(name))) is not None and low <= value <= high
        wanted = self.take().strip('"')
        if operator in _TEXTS:
            test, folded = _TEXTS[operator], wanted.casefold()
            return lambda row: test(_id(row.get(name)).casefold(), folded)
        order = _ORDERS.get(_DATES.get(operator, operator))
        if order is None or (operator in _DATES) != (kind in ("date", "datetime")):
            raise parameter(f"Operator {operator} does not go with the {kind.partition(':')[0]} field {name}")
        value = _typed(kind, wanted)
        return lambda row: (mine := _own(kind, row.get(name))) is not None and order(mine, value)

    def listed(self) -> list[str]:
        self.take("[")
        values = [self.take().strip('"')]
        while self.accept(","):
            values.append(self.take().strip('"'))
        self.take("]")
        return values


def _id(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("id")
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _typed(kind: str, text: str) -> Any:
    """A literal: dates in the account's format, month first."""
    try:
        if kind in ("date", "datetime"):
            month, day, year = (int(part) for part in text.split("/"))
            return date(year, month, day)
        return Decimal(text)
    except (ValueError, InvalidOperation):
        shape = "a date such as 1/31/2026" if kind in ("date", "datetime") else "a number"
        raise parameter(f"{text!r} is not {shape}") from None


def _own(kind: str, value: Any) -> Any:
    """A record's value in the precision of filters: days, numbers."""
    if value is None:
        return None
    return date.fromisoformat(str(value)[:10]) if kind in ("date", "datetime") else Decimal(_id(value) or 0)
