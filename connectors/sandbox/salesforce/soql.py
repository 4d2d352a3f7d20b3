"""SOQL as a tree: tokens, and a parser by recursive descent. It knows the grammar, not the objects."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeAlias

from connectors.sandbox.salesforce.errors import Fault

MAX_LENGTH = 100_000
MAX_OFFSET = 2000
_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:\\.|[^'\\])*')"
    r"|(?P<datetime>\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:?\d{2}))|(?P<date>\d{4}-\d{2}-\d{2})"
    r"|(?P<number>[+-]?\d+(?:\.\d+)?)|(?P<macro>(?:LAST|NEXT)_N_[A-Z]+:\d+)|(?P<word>[A-Za-z_][\w.]*)|(?P<sign><=|>=|!=|<>|[=<>(),]))",
    re.IGNORECASE,
)
MACRO = re.compile(
    r"(TODAY|YESTERDAY|TOMORROW|(THIS|LAST|NEXT)_(WEEK|MONTH|QUARTER|YEAR)|LAST_90_DAYS|NEXT_90_DAYS)", re.IGNORECASE
)
AGGREGATES = ("COUNT", "COUNT_DISTINCT", "SUM", "AVG", "MIN", "MAX")


@dataclass(frozen=True)
class Literal:
    """A value as written. kind: text number date datetime boolean null macro."""

    kind: str
    value: Any


@dataclass(frozen=True)
class Compare:
    """path sign value; sign one of = != < <= > >= LIKE."""

    path: str
    sign: str
    value: Literal


@dataclass(frozen=True)
class Among:
    """path [NOT] IN (values, or a query's single column)."""

    path: str
    values: tuple[Literal, ...] | Soql
    wanted: bool


@dataclass(frozen=True)
class Several:
    """Tests joined by AND or OR; NOT has one part."""

    joint: str
    parts: tuple[Node, ...]


Node: TypeAlias = "Compare | Among | Several"


@dataclass(frozen=True)
class Call:
    """A function of a field in the select list. COUNT() has no path."""

    name: str
    path: str | None
    alias: str | None


Column: TypeAlias = "str | Call | Soql"


@dataclass
class Soql:
    """A query. order: (path, descending, nulls last). A sub-query's object is the name of a child relationship."""

    columns: list[Column]
    object: str
    where: Node | None = None
    group: list[str] = field(default_factory=list)
    order: list[tuple[str, bool, bool]] = field(default_factory=list)
    limit: int | None = None
    offset: int = 0


def parse(text: str) -> Soql:
    """Read a query. Raises Fault MALFORMED_QUERY."""
    if len(text) > MAX_LENGTH:
        raise Fault("MALFORMED_QUERY", f"SOQL statements cannot be longer than {MAX_LENGTH} characters")
    parser = _Parser(text)
    found = parser.query()
    if parser.place < len(parser.tokens):
        raise parser.unexpected()
    return found


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        self.place, at, end = 0, 0, len(text.rstrip())
        while at < end:
            match = _TOKEN.match(text, at)
            if not match:
                raise Fault("MALFORMED_QUERY", f"line 1:{at} no viable alternative at character {text[at : at + 1]!r}")
            self.tokens.append((str(match.lastgroup), match[str(match.lastgroup)]))
            at = match.end()

    # ------------------------------------------------------------------ tokens
    def peek(self, ahead: int = 0) -> str:
        place = self.place + ahead
        return self.tokens[place][1].upper() if place < len(self.tokens) and self.tokens[place][0] != "text" else ""

    def take(self) -> tuple[str, str]:
        if self.place >= len(self.tokens):
            raise Fault("MALFORMED_QUERY", "unexpected token: <EOF>")
        self.place += 1
        return self.tokens[self.place - 1]

    def expect(self, word: str) -> None:
        if not self.accept(word):
            raise self.unexpected(f", expecting {word}")

    def accept(self, word: str) -> bool:
        found = self.peek() == word
        self.place += found
        return found

    def unexpected(self, more: str = "") -> Fault:
        token = self.tokens[self.place][1] if self.place < len(self.tokens) else "<EOF>"
        return Fault("MALFORMED_QUERY", f"unexpected token: '{token}'{more}")

    def name(self) -> str:
        if self.place >= len(self.tokens) or self.tokens[self.place][0] != "word":
            raise self.unexpected()
        return self.take()[1]

    def whole(self) -> int:
        kind, text = self.take()
        if kind != "number" or not text.isdigit():
            raise Fault("MALFORMED_QUERY", f"unexpected token: '{text}'")
        return int(text)

    # ------------------------------------------------------------------ clauses
    def query(self) -> Soql:
        self.expect("SELECT")
        columns = [self.column()]
        while self.accept(","):
            columns.append(self.column())
        self.expect("FROM")
        found = Soql(columns, self.name())
        if self.accept("WHERE"):
            found.where = self.joined()
        if self.accept("GROUP"):
            self.expect("BY")
            found.group = [self.name()]
            while self.accept(","):
                found.group.append(self.name())
        if self.accept("ORDER"):
            self.expect("BY")
            found.order = [self.ordering()]
            while self.accept(","):
                found.order.append(self.ordering())
        if self.accept("LIMIT"):
            found.limit = self.whole()
        if self.accept("OFFSET"):
            found.offset = self.whole()
            if found.offset > MAX_OFFSET:
                raise Fault("NUMBER_OUTSIDE_VALID_RANGE", f"Maximum SOQL offset allowed is {MAX_OFFSET}")
        return found

    def column(self) -> Column:
        if self.accept("("):
            inner = self.query()
            self.expect(")")
            return inner
        name = self.name()
        if not self.accept("("):
            return name
        path = None if self.peek() == ")" else self.name()
        self.expect(")")
        taken = ("FROM", ",", "")
        alias = self.name() if self.peek() not in taken and self.tokens[self.place][0] == "word" else None
        return Call(name.upper(), path, alias)

    def ordering(self) -> tuple[str, bool, bool]:
        name = self.name()
        down = self.accept("DESC")
        if not down:
            self.accept("ASC")
        last = False
        if self.accept("NULLS"):
            last = self.accept("LAST")
            if not last:
                self.expect("FIRST")
        return name, down, last

    # ------------------------------------------------------------------ tests
    def joined(self) -> Node:
        """Tests joined by one word: AND and OR mix only in parentheses."""
        parts = [self.single()]
        joint = self.peek()
        if joint not in ("AND", "OR"):
            return parts[0]
        while self.accept(joint):
            parts.append(self.single())
        if self.peek() in ("AND", "OR"):
            raise self.unexpected(" (AND and OR need parentheses)")
        return Several(joint, tuple(parts))

    def single(self) -> Node:
        if self.accept("NOT"):
            return Several("NOT", (self.single(),))
        if self.accept("("):
            inner = self.joined()
            self.expect(")")
            return inner
        path = self.name()
        if self.peek() == "NOT" and self.peek(1) == "IN":
            self.place += 1
        wanted = self.tokens[self.place - 1][1].upper() != "NOT"
        if self.accept("IN"):
            return Among(path, self.values(), wanted)
        if self.accept("LIKE"):
            return Compare(path, "LIKE", self.literal())
        kind, sign = self.take()
        if kind != "sign" or sign in "(),":
            self.place -= 1
            raise self.unexpected()
        return Compare(path, "!=" if sign == "<>" else sign, self.literal())

    def values(self) -> tuple[Literal, ...] | Soql:
        self.expect("(")
        if self.peek() == "SELECT":
            inner = self.query()
            self.expect(")")
            return inner
        values = [self.literal()]
        while self.accept(","):
            values.append(self.literal())
        self.expect(")")
        return tuple(values)

    def literal(self) -> Literal:
        kind, text = self.take()
        if kind == "text":
            escapes = {"n": "\n", "r": "\r", "t": "\t"}
            return Literal("text", re.sub(r"\\(.)", lambda m: escapes.get(m[1], m[1]), text[1:-1], flags=re.DOTALL))
        if kind == "number":
            return Literal("number", Decimal(text))
        if kind in ("date", "datetime"):
            return Literal(kind, text)
        if kind == "macro" or MACRO.fullmatch(text):
            return Literal("macro", text.upper())
        if text.upper() in ("TRUE", "FALSE"):
            return Literal("boolean", text.upper() == "TRUE")
        if text.upper() == "NULL":
            return Literal("null", None)
        self.place -= 1
        raise self.unexpected()
