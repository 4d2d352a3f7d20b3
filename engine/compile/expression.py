"""JMESPath expressions compiled to Python, exact on Decimal.

The `jmespath` library parses; its tree is translated to one Python expression, null-safe and inlined, so that a
mapping compiles to one function. Held to the official compliance suite and, by a property test, to the library.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from jmespath import lexer, parser
from jmespath.exceptions import EmptyExpressionError, JMESPathError, LexerError, ParseError

from engine.compile.functions import Function, FunctionSet
from engine.compile.lower import Lowering, Unit
from engine.compile.shape import Shape
from engine.sdk.errors import Position, Problem, SpecError
from engine.sdk.record import JSON, decode_json

Node = dict[str, Any]
Path = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Expression:
    """Compiled once, evaluated for many records.

    reads: paths from the root of the record ('[]' for elements). path: set where it is a plain path.
    functions: names used. follows: it leaves the record through a reference.
    """

    text: str
    at: Position
    reads: frozenset[tuple[str, ...]]
    path: Path | None
    functions: frozenset[str]
    follows: bool
    evaluate: Callable[[JSON, Any], JSON] = field(compare=False)
    gives: Shape | None = field(default=None, compare=False)
    """The shape of its value, where the record's is known."""


class _Lexer(lexer.Lexer):  # type: ignore[misc]
    """The library's lexer with exact number literals; its own makes floats of them."""

    def _consume_literal(self) -> dict[str, Any]:
        start = self._position
        text = self._consume_until("`").replace("\\`", "`")
        try:
            value = decode_json(text)
        except ValueError:
            try:
                value = decode_json(f'"{text.lstrip()}"')
            except ValueError:
                raise LexerError(start, self._expression[start:], f"not JSON between backticks: {text}") from None
        return {"type": "literal", "value": value, "start": start, "end": self._position - start}


class _Parser(parser.Parser):  # type: ignore[misc]
    """The library's parser on that lexer."""

    def tree(self, text: str) -> Node:
        self._tokens = list(_Lexer().tokenize(text))
        self._index = 0
        parsed: Node = self._expression(binding_power=0)
        if self._current_token() != "eof":
            token = self._lookahead_token(0)
            raise ParseError(token["start"], token["value"], token["type"], "unexpected")
        return parsed


def parse(text: str, at: Position) -> Node:
    """The tree of an expression, its number literals exact. Raises SpecError E201 at the bad character."""
    try:
        return _Parser().tree(text)
    except JMESPathError as error:
        raise SpecError(_unreadable(text, error, at)) from None
    except RecursionError:
        raise SpecError(Problem("E201", "the expression nests too deep", at, "split it")) from None


def _unreadable(text: str, error: JMESPathError, at: Position) -> Problem:
    offset = getattr(error, "lex_position", None) or 0
    if isinstance(error, EmptyExpressionError):
        return Problem("E201", "the expression is empty", at, "write a path, such as status.key")
    detail = str(error.args[0]) if isinstance(error, ParseError) and error.args else str(error)
    hint = "expressions are JMESPath: text in 'single quotes', numbers in `backticks`"
    if '"' in text or "==" in text:
        hint = "text stands in 'single quotes', a name with blanks in \"double quotes\", a number in `backticks`"
    token = getattr(error, "token_value", None)
    what = f"at {token!r}" if token else detail.splitlines()[0].lower()
    return Problem("E201", f"cannot read the expression {text!r}: {what}", at.right(min(offset, len(text))), hint)


def lower(node: Node, cur: str, unit: Unit, *, at: Position, shape: Shape | None = None) -> str:
    """One Python expression over the variable `cur`. Constants and helpers go to `unit.namespace`."""
    return Lowering(unit, at, shape).source(node, cur)


def compile_expression(
    text: str, at: Position, shape: Shape | None = None, functions: FunctionSet | None = None, *, element: bool = False
) -> Expression:
    """An expression as a function of (record, env). Raises SpecError with the exact place of what is wrong.

    element: the record is an element of the one that root() means, which the caller has put into `env.root`.
    """
    node = parse(text, at)
    unit = Unit(functions=functions)
    source, gives = Lowering(unit, at, shape).lower(node, "rec", shape)
    scope = dict(unit.namespace)
    call = eval(compile(f"lambda rec, env=None: {source}", f"<{text[:60]}>", "eval"), scope)  # noqa: S307 - our own source; texts enter as constants only
    if "root" in unit.called and not element:
        inner = call

        def call(rec: JSON, env: Any = None) -> JSON:
            env.root = rec
            return inner(rec, env)

    unit.reads |= reads_of(node)
    return Expression(
        text, at, frozenset(unit.reads), plain_path(node), frozenset(unit.called), unit.follows, call, gives
    )


def plain_path(text: str | Node) -> Path | None:
    """The steps of a plain path: names, indexes, and ('id', '77') for `[?id=='77'] … | [0]`; else None."""
    if isinstance(text, str):
        try:
            node = _Parser().tree(text)
        except JMESPathError:
            return None
    else:
        node = text
    return _path(node)


def _path(node: Node) -> Path | None:
    kind, children = node["type"], node["children"]
    if kind == "field":
        return (node["value"],)
    if kind == "subexpression":  # a chain: `a.b[0].c` has the children a, b[0] and c
        parts = [_path(child) for child in children]
        return None if None in parts else tuple(step for part in parts if part is not None for step in part)
    if kind == "index_expression" and children[1]["type"] == "index":
        left = () if children[0]["type"] == "identity" else _path(children[0])
        return None if left is None else (*left, children[1]["value"])
    first = (
        kind == "pipe" and children[1]["type"] == "index_expression" and children[1]["children"][1].get("value") == 0
    )
    return _element(children[0]) if first and children[0]["type"] == "filter_projection" else None


def _element(node: Node) -> Path | None:
    left, right, test = node["children"]
    if test["type"] != "comparator" or test["value"] != "eq":
        return None
    name, value = test["children"]
    above = _path(left)
    below = () if right["type"] == "identity" else _path(right)
    if name["type"] != "field" or value["type"] != "literal" or above is None or below is None:
        return None
    return (*above, (name["value"], value["value"]), *below)


def assign(path: Path, target: JSON, value: JSON) -> None:
    """Write a value at a plain path; objects and the list element of a filter step are made where missing."""
    for step, after in zip(path, [*path[1:], None], strict=True):
        last = after is None
        fresh: JSON = [] if isinstance(after, (int, tuple)) else {}
        if isinstance(step, tuple):
            element = next((item for item in target if item.get(step[0]) == step[1]), None)
            if element is None:
                element = {step[0]: step[1]}
                target.append(element)
            target = element
        elif isinstance(step, int):
            while len(target) <= step:
                target.append({})
            if last:
                target[step] = value
            target = target[step]
        elif last:
            target[step] = value
        else:
            target = target.setdefault(step, fresh)


def reads_of(node: Node, base: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """Paths that an expression reads, from where it starts. The longest of a chain stands for the chain."""
    kind, children = node["type"], node["children"]
    if kind == "field":
        return {(*base, node["value"])}
    if kind in ("subexpression", "pipe", "index_expression"):
        steps = reads_of(children[0], base)
        for child in children[1:]:
            if child["type"] in ("field", "subexpression", "multi_select_dict", "multi_select_list"):
                steps = {path for step in steps or {base} for path in reads_of(child, step)} or steps
        return steps
    if kind in ("projection", "filter_projection", "value_projection", "flatten"):
        steps = reads_of(children[0], base)
        inside = {path for step in steps or {base} for child in children[1:] for path in reads_of(child, (*step, "[]"))}
        return steps | inside
    return {path for child in children if isinstance(child, dict) for path in reads_of(child, base)}


def identifier_offset(text: str, name: str) -> int:
    """Where a name stands in an expression, for the column of a message."""
    match = re.search(rf"(?<![\w']){re.escape(name)}(?![\w'])", text)
    return match.start() if match else 0


__all__ = ["Decimal", "Expression", "Function", "Unit", "assign", "compile_expression", "lower", "parse", "plain_path"]
