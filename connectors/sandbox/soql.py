"""SOQL: a parser and an executor for what the fake Salesforce answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:\\.|[^'\\])*')|(?P<instant>\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:?\d{2}))?)"
    r"|(?P<number>-?\d+(?:\.\d+)?)|(?P<word>[A-Za-z_][\w.]*)|(?P<sign><=|>=|!=|<>|[=<>(),]))"
)


class SoqlError(ValueError):
    """The query cannot be read; `code` is Salesforce's."""

    def __init__(self, message: str, code: str = "MALFORMED_QUERY") -> None:
        super().__init__(message)
        self.code = code


Test = Callable[[dict[str, Any]], bool]


@dataclass
class Soql:
    """A parsed query."""

    columns: list[str]
    object: str
    test: Test = lambda row: True
    order: list[tuple[str, bool]] = field(default_factory=list)
    limit: int | None = None
    offset: int = 0
    fields: set[str] = field(default_factory=set)


class Parser:
    """Recursive descent over the tokens."""

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        place = 0
        while place < len(text.rstrip()):
            match = _TOKEN.match(text, place)
            if not match:
                raise SoqlError(f"unexpected token: {text[place : place + 10]!r}")
            kind = str(match.lastgroup)
            self.tokens.append((kind, match[kind]))
            place = match.end()
        self.place = 0
        self.fields: set[str] = set()

    def peek(self) -> str:
        return self.tokens[self.place][1].upper() if self.place < len(self.tokens) else ""

    def take(self, wanted: str | None = None) -> tuple[str, str]:
        if self.place >= len(self.tokens):
            raise SoqlError("unexpected end of query")
        token = self.tokens[self.place]
        if wanted is not None and token[1].upper() != wanted:
            raise SoqlError(f"expecting {wanted}, found {token[1]!r}")
        self.place += 1
        return token

    def accept(self, word: str) -> bool:
        if self.peek() == word:
            self.place += 1
            return True
        return False

    def query(self) -> Soql:
        self.take("SELECT")
        columns = [self.column()]
        while self.accept(","):
            columns.append(self.column())
        self.take("FROM")
        found = Soql(columns, self.take()[1])
        if self.accept("WHERE"):
            found.test = self.either()
        if self.accept("ORDER"):
            self.take("BY")
            found.order = [self.ordering()]
            while self.accept(","):
                found.order.append(self.ordering())
        if self.accept("LIMIT"):
            found.limit = int(self.take()[1])
        if self.accept("OFFSET"):
            found.offset = int(self.take()[1])
            if found.offset > 2000:
                raise SoqlError("Maximum SOQL offset allowed is 2000", "NUMBER_OUTSIDE_VALID_RANGE")
        if self.place < len(self.tokens):
            raise SoqlError(f"unexpected token: {self.take()[1]!r}")
        found.fields = self.fields | {one for one in columns if not one.endswith("()")}
        return found

    def column(self) -> str:
        name = self.take()[1]
        if self.accept("("):
            inner = "" if self.peek() == ")" else self.take()[1]
            self.take(")")
            if name.upper() == "FIELDS" and inner.upper() == "ALL":
                return "FIELDS(ALL)"
            return f"{name.upper()}()"
        return name

    def ordering(self) -> tuple[str, bool]:
        name = self.take()[1]
        self.fields.add(name)
        down = self.accept("DESC")
        if not down:
            self.accept("ASC")
        if self.accept("NULLS"):
            self.take()
        return name, down

    def either(self) -> Test:
        tests = [self.both()]
        while self.accept("OR"):
            tests.append(self.both())
        return lambda row: any(test(row) for test in tests)

    def both(self) -> Test:
        tests = [self.single()]
        while self.accept("AND"):
            tests.append(self.single())
        return lambda row: all(test(row) for test in tests)

    def single(self) -> Test:
        if self.accept("NOT"):
            inner = self.single()
            return lambda row: not inner(row)
        if self.accept("("):
            inner = self.either()
            self.take(")")
            return inner
        name = self.take()[1]
        self.fields.add(name)
        if self.accept("NOT"):
            self.take("IN")
            values = self.listed()
            return lambda row: _fold(value_of(row, name)) not in values
        if self.accept("IN"):
            values = self.listed()
            return lambda row: _fold(value_of(row, name)) in values
        if self.accept("LIKE"):
            pattern = re.compile(_like(str(self.literal())), re.IGNORECASE | re.DOTALL)
            return lambda row: bool(pattern.fullmatch(str(value_of(row, name) or "")))
        sign = self.take()[1]
        wanted = self.literal()
        return lambda row: _compare(value_of(row, name), sign, wanted)

    def listed(self) -> list[Any]:
        self.take("(")
        values = [_fold(self.literal())]
        while self.accept(","):
            values.append(_fold(self.literal()))
        self.take(")")
        return values

    def literal(self) -> Any:
        kind, text = self.take()
        if kind == "text":
            return re.sub(r"\\(.)", lambda m: {"n": "\n", "r": "\r"}.get(m[1], m[1]), text[1:-1])
        if kind == "number":
            return Decimal(text)
        if kind == "instant":
            return text
        words = {"TRUE": True, "FALSE": False, "NULL": None}
        if text.upper() not in words:
            raise SoqlError(f"unexpected token: {text!r}")
        return words[text.upper()]


def _like(text: str) -> str:
    return "".join(".*" if one == "%" else "." if one == "_" else re.escape(one) for one in text)


def value_of(row: dict[str, Any], path: str) -> Any:
    """The value at `Owner.Name`; None where a parent is missing."""
    value: Any = row
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _fold(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value


def _compare(value: Any, sign: str, wanted: Any) -> bool:
    if sign in ("=", "!=", "<>"):
        equal: bool = _instant(_fold(value), wanted) == _instant(_fold(wanted), wanted)
        return equal == (sign == "=")
    if value is None or wanted is None:
        return False
    left, right = _instant(value, wanted), _instant(wanted, wanted)
    if isinstance(left, str) != isinstance(right, str):
        return False
    return bool({"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[sign])


def _instant(value: Any, like: Any) -> Any:
    """Instants compare as `YYYY-MM-DDTHH:MM:SS`, whatever their fraction or offset spelling."""
    if isinstance(like, str) and re.match(r"\d{4}-\d{2}-\d{2}[Tt]", like) and isinstance(value, str):
        return value[:19].upper()
    return value


def parse(text: str) -> Soql:
    """Read a query. Raises SoqlError."""
    return Parser(text).query()
