"""SuiteQL: the part of it that the fake NetSuite answers: one table, AND/OR tests, binds, TO_CHAR, TO_TIMESTAMP."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:''|[^'])*')|(?P<number>-?\d+(?:\.\d+)?)|(?P<word>[A-Za-z_][\w.]*)|(?P<sign><=|>=|!=|<>|[=<>(),?*]))"
)
Test = Callable[[dict[str, Any]], bool]


class SuiteQLError(ValueError):
    """The query cannot be read."""


class Query:
    """Parses on construction: columns as (source, alias), table, test, order."""

    def __init__(self, text: str, params: list[Any]) -> None:
        self.tokens, self.params, self.place = [], list(params), 0
        place = 0
        while place < len(text.rstrip()):
            match = _TOKEN.match(text, place)
            if not match:
                raise SuiteQLError(f"Invalid or unsupported search near {text[place : place + 20]!r}")
            self.tokens.append((str(match.lastgroup), match[str(match.lastgroup)]))
            place = match.end()
        self.take("SELECT")
        self.columns = [self.column()]
        while self.accept(","):
            self.columns.append(self.column())
        self.take("FROM")
        self.table = self.take()[1].lower()
        self.test: Test = self.either() if self.accept("WHERE") else lambda row: True
        self.order: list[str] = []
        if self.accept("ORDER"):
            self.take("BY")
            self.order = [self.take()[1].lower()]
            while self.accept(","):
                self.order.append(self.take()[1].lower())
        if self.place < len(self.tokens):
            raise SuiteQLError(f"Invalid or unsupported search near {self.take()[1]!r}")

    def peek(self) -> str:
        return self.tokens[self.place][1].upper() if self.place < len(self.tokens) else ""

    def take(self, wanted: str | None = None) -> tuple[str, str]:
        if self.place >= len(self.tokens) or (wanted and self.peek() != wanted):
            raise SuiteQLError(f"Invalid or unsupported search: expected {wanted or 'more'}")
        self.place += 1
        return self.tokens[self.place - 1]

    def accept(self, word: str) -> bool:
        found = self.peek() == word
        self.place += found
        return found

    def column(self) -> tuple[str, str]:
        name = self.take()[1].lower()
        if self.accept("("):
            inner = self.take()[1].lower()
            while self.accept(","):
                self.take()
            self.take(")")
            name = f"{name}:{inner}"
        alias = name.split(":")[-1]
        if self.accept("AS"):
            alias = self.take()[1].lower()
        return name, alias

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
        if self.accept("("):
            inner = self.either()
            self.take(")")
            return inner
        name = self.take()[1].lower()
        if self.accept("IN"):
            self.take("(")
            values = {_text(self.value())}
            while self.accept(","):
                values.add(_text(self.value()))
            self.take(")")
            return lambda row: _text(row.get(name)) in values
        if self.accept("IS"):
            wanted = not self.accept("NOT")
            self.take("NULL")
            return lambda row: (row.get(name) is None) == wanted
        sign, other = self.take()[1], self.value()
        return lambda row: _compare(row.get(name), sign, other)

    def value(self) -> Any:
        kind, text = self.take()
        if text == "?":
            if not self.params:
                raise SuiteQLError("Invalid number of parameters")
            return self.params.pop(0)
        if kind == "text":
            return text[1:-1].replace("''", "'")
        if kind == "number":
            return text
        if text.upper() in ("TO_TIMESTAMP", "TO_DATE"):
            self.take("(")
            found = self.value()
            self.take(",")
            self.take()
            self.take(")")
            return found
        raise SuiteQLError(f"Invalid or unsupported search near {text!r}")


def _text(value: Any) -> str:
    return "" if value is None else "T" if value is True else "F" if value is False else str(value)


def _compare(value: Any, sign: str, other: Any) -> bool:
    if value is None or other is None:
        return False
    left: Any = _text(value)
    right: Any = _text(other)
    if left.isdigit() and right.isdigit():
        left, right = int(left), int(right)
    elif isinstance(left, str) and isinstance(right, str) and sign in ("=", "!=", "<>"):
        left, right = left.casefold(), right.casefold()
    if isinstance(left, str) != isinstance(right, str):
        left, right = str(left), str(right)
    return bool({"=": left == right, "!=": left != right, "<>": left != right, "<": left < right, "<=": left <= right,
                 ">": left > right, ">=": left >= right}[sign])  # fmt: skip
