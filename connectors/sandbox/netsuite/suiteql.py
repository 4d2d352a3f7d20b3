"""SuiteQL read: tokens, and a parser of SELECT by precedence climbing. It knows the grammar, not the tables."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from connectors.sandbox.netsuite.tree import (
    Case,
    Column,
    Const,
    Expr,
    Fn,
    InList,
    IsNull,
    Not,
    Op,
    Select,
    Source,
    Star,
    wrong,
)

_TOKEN = re.compile(
    r"\s*(?:(?P<comment>--[^\n]*|/\*.*?\*/)|(?P<text>'(?:''|[^'])*')|(?P<number>\d+(?:\.\d+)?)|(?P<word>[A-Za-z_][\w$]*)"
    r"|(?P<quoted>\"[^\"]+\")|(?P<sign>\|\||<=|>=|!=|<>|[=<>(),?*.+/-]))",
    re.DOTALL,
)
RESERVED = frozenset(
    "SELECT FROM WHERE GROUP HAVING ORDER BY AND OR NOT IN LIKE IS NULL BETWEEN CASE WHEN THEN ELSE END JOIN LEFT INNER OUTER ON AS "
    "DISTINCT FETCH OFFSET UNION ASC DESC TOP".split()
)
_LEVELS = (("=", "!=", "<>", "<", "<=", ">", ">="), ("||",), ("+", "-"), ("*", "/"))


def parse(text: str, params: list[Any]) -> Select:
    """Read a query with its binds. Raises Fault INVALID_PARAMETER."""
    parser = _Parser(text, params)
    found = parser.select()
    if parser.place < len(parser.tokens):
        raise wrong(f"Invalid or unsupported search near {parser.tokens[parser.place][1]!r}")
    if parser.binds != len(params):
        raise wrong(f"The query has {parser.binds} parameters, {len(params)} were given")
    return found


class _Parser:
    def __init__(self, text: str, params: list[Any]) -> None:
        self.tokens: list[tuple[str, str]] = []
        self.params, self.binds, self.place = params, 0, 0
        at, end = 0, len(text.rstrip())
        while at < end:
            match = _TOKEN.match(text, at)
            if not match:
                raise wrong(f"Invalid or unsupported search near {text[at : at + 20]!r}")
            if match.lastgroup != "comment":
                self.tokens.append((str(match.lastgroup), match[str(match.lastgroup)]))
            at = match.end()

    # ------------------------------------------------------------------ tokens
    def peek(self, ahead: int = 0) -> str:
        place = self.place + ahead
        return (
            self.tokens[place][1].upper()
            if place < len(self.tokens) and self.tokens[place][0] in ("word", "sign")
            else ""
        )

    def take(self) -> tuple[str, str]:
        if self.place >= len(self.tokens):
            raise wrong("Invalid or unsupported search: it ends early")
        self.place += 1
        return self.tokens[self.place - 1]

    def accept(self, *words: str) -> bool:
        found = all(self.peek(ahead) == word for ahead, word in enumerate(words))
        self.place += len(words) if found else 0
        return found

    def expect(self, word: str) -> None:
        if not self.accept(word):
            near = self.tokens[self.place][1] if self.place < len(self.tokens) else "the end"
            raise wrong(f"Invalid or unsupported search near {near!r}, expected {word}")

    def name(self) -> str:
        kind, text = self.take()
        if kind == "quoted":
            return text[1:-1].lower()
        if kind != "word" or text.upper() in RESERVED:
            raise wrong(f"Invalid or unsupported search near {text!r}")
        return text.lower()

    def whole(self) -> int:
        kind, text = self.take()
        if kind != "number" or not text.isdigit():
            raise wrong(f"Invalid or unsupported search near {text!r}")
        return int(text)

    # ------------------------------------------------------------------ clauses
    def select(self) -> Select:
        self.expect("SELECT")
        distinct = self.accept("DISTINCT")
        most = self.whole() if self.accept("TOP") else None
        columns = [self.column()]
        while self.accept(","):
            columns.append(self.column())
        self.expect("FROM")
        found = Select(columns, [self.source()], distinct=distinct, most=most)
        self.joins(found)
        if self.accept("WHERE"):
            found.where = self.either()
        if self.accept("GROUP", "BY"):
            found.group = self.listed()
        if self.accept("HAVING"):
            found.having = self.either()
        if self.accept("ORDER", "BY"):
            found.order = [self.ordering()]
            while self.accept(","):
                found.order.append(self.ordering())
        if self.accept("FETCH"):
            if not self.accept("FIRST"):
                self.expect("NEXT")
            found.most = self.whole()
            if not self.accept("ROWS"):
                self.expect("ROW")
            self.expect("ONLY")
        return found

    def column(self) -> tuple[Expr, str | None]:
        if self.accept("*"):
            return Star(), None
        if self.peek(1) == "." and self.peek(2) == "*":
            table = self.name()
            self.place += 2
            return Star(table), None
        found = self.either()
        if self.accept("AS"):
            return found, self.name()
        more = (
            self.place < len(self.tokens)
            and self.tokens[self.place][0] in ("word", "quoted")
            and self.peek() not in RESERVED
        )
        return found, self.name() if more else None

    def source(self) -> Source:
        table = self.name()
        self.accept("AS")
        aliased = self.place < len(self.tokens) and self.tokens[self.place][0] == "word" and self.peek() not in RESERVED
        return Source(table, self.name() if aliased else table)

    def joins(self, found: Select) -> None:
        while True:
            if self.accept(","):
                found.sources.append(self.source())
                continue
            outer = self.accept("LEFT", "OUTER", "JOIN") or self.accept("LEFT", "JOIN")
            if not outer and not (self.accept("INNER", "JOIN") or self.accept("JOIN")):
                return
            source = self.source()
            self.expect("ON")
            source.on, source.outer = self.either(), outer
            found.sources.append(source)

    def ordering(self) -> tuple[Expr, bool]:
        found = self.either()
        down = self.accept("DESC")
        if not down:
            self.accept("ASC")
        if self.accept("NULLS"):
            self.take()
        return found, down

    def listed(self) -> list[Expr]:
        values = [self.either()]
        while self.accept(","):
            values.append(self.either())
        return values

    # ------------------------------------------------------------------ expressions
    def either(self) -> Expr:
        left = self.both()
        while self.accept("OR"):
            left = Op("OR", left, self.both())
        return left

    def both(self) -> Expr:
        left = self.negated()
        while self.accept("AND"):
            left = Op("AND", left, self.negated())
        return left

    def negated(self) -> Expr:
        return Not(self.negated()) if self.accept("NOT") else self.tested()

    def tested(self) -> Expr:
        left = self.binary(0)
        if self.accept("IS", "NOT", "NULL"):
            return Not(IsNull(left))
        if self.accept("IS", "NULL"):
            return IsNull(left)
        opposite = self.peek() == "NOT" and self.peek(1) in ("IN", "LIKE", "BETWEEN")
        self.place += opposite
        found: Expr = left
        if self.accept("IN"):
            self.expect("(")
            found = InList(left, tuple(self.listed()))
            self.expect(")")
        elif self.accept("LIKE"):
            found = Op("LIKE", left, self.binary(1))
        elif self.accept("BETWEEN"):
            low = self.binary(1)
            self.expect("AND")
            found = Op("AND", Op(">=", left, low), Op("<=", left, self.binary(1)))
        return Not(found) if opposite else found

    def binary(self, level: int) -> Expr:
        if level == len(_LEVELS):
            return self.primary()
        left = self.binary(level + 1)
        while self.peek() in _LEVELS[level]:
            sign = self.take()[1]
            left = Op("!=" if sign == "<>" else sign, left, self.binary(level + 1))
        return left

    def primary(self) -> Expr:
        kind, text = self.take()
        if kind == "text":
            return Const(text[1:-1].replace("''", "'"))
        if kind == "number":
            return Const(Decimal(text))
        if text == "?":
            if self.binds >= len(self.params):
                raise wrong("The query has more parameters than were given")
            self.binds += 1
            return Const(self.params[self.binds - 1])
        if text == "-":
            return Op("-", Const(Decimal(0)), self.primary())
        if text == "(":
            inner = self.either()
            self.expect(")")
            return inner
        if kind == "quoted":
            return Column(None, text[1:-1].lower())
        upper = text.upper()
        if kind != "word" or upper in RESERVED - {"NULL", "CASE"}:
            raise wrong(f"Invalid or unsupported search near {text!r}")
        if upper == "NULL":
            return Const(None)
        return self.case() if upper == "CASE" else self.named(text)

    def named(self, text: str) -> Expr:
        """A column or a function, each perhaps with a prefix."""
        prefix = None
        if self.accept("."):
            prefix, text = text.lower(), self.name()
        if not self.accept("("):
            return Column(prefix, text.lower())
        name = f"{prefix.upper()}.{text.upper()}" if prefix else text.upper()
        distinct = self.accept("DISTINCT")
        if self.accept("*"):
            self.expect(")")
            return Fn(name, (Star(),))
        args = tuple(self.listed()) if self.peek() != ")" else ()
        self.expect(")")
        return Fn(name, args, distinct)

    def case(self) -> Expr:
        subject = None if self.peek() == "WHEN" else self.either()
        branches = []
        while self.accept("WHEN"):
            test = self.either()
            self.expect("THEN")
            branches.append((test if subject is None else Op("=", subject, test), self.either()))
        other: Expr = self.either() if self.accept("ELSE") else Const(None)
        self.expect("END")
        return Case(tuple(branches), other)
