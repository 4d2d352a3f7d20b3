"""Jinja2 templates, sandboxed: for `template:` rules and for messages.

A dot reads fields only. In rules missing and null are errors; in messages they print —. Numbers print plainly,
booleans as true and false. Output, loops and time are bounded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any, Literal

from jinja2 import Environment, StrictUndefined, TemplateSyntaxError, Undefined, UndefinedError, meta, nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.compile.functions import FunctionFault
from engine.compile.shape import Shape
from engine.sdk.errors import Position, Problem, SpecError, nearest
from engine.sdk.record import JSON, Fields

FILTERS = (
    "upper", "lower", "title", "trim", "replace", "default", "join", "length", "first", "last", "round", "truncate",
    "capitalize", "sort", "unique", "sum", "min", "max", "list", "string", "int", "abs", "reverse",
)  # fmt: skip
MAX_OUTPUT = 100_000
MAX_LOOPS = 10_000
MAX_SECONDS = 1.0
"""Of computing; a machine that is busy with something else does not fail a record."""


class _Value(dict[str, Any]):
    """A record in a template: fields only, and past a reference the record that it names."""

    shape: Shape | None = None
    env: Any = None


class _Blank(Undefined):
    """A missing value in a message."""

    def __str__(self) -> str:
        return "—"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(("*", "**", "%", "+"))

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(argument, str) and argument.startswith("_"):
            raise SecurityError(f"{argument!r} cannot be read")
        if isinstance(obj, Undefined):
            return obj
        if isinstance(obj, Reference):
            obj = obj.record()
        if isinstance(obj, dict):
            return obj[argument] if argument in obj else self.undefined(name=str(argument))
        if isinstance(obj, list) and isinstance(argument, int) and -len(obj) <= argument < len(obj):
            return obj[argument]
        return self.undefined(name=str(argument))

    def is_safe_callable(self, obj: Any) -> bool:
        return False

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator in ("*", "**", "%") and not (_number(left) and _number(right)):
            raise SecurityError(f"{operator} is for numbers only")
        if operator == "**" and (abs(right) > 100 or abs(left) > 10**9):
            raise SecurityError("** of numbers that large")
        return super().call_binop(context, operator, left, right)


def _number(value: Any) -> bool:
    return value.__class__ in (int, Decimal)


@dataclass(frozen=True)
class Reference:
    """A reference field in a template: prints its id, and a dot goes on in the record that it names."""

    key: str
    entities: tuple[str, ...]
    shape: Shape | None
    env: Any

    def __str__(self) -> str:
        return self.key

    def record(self) -> Any:
        found = self.env.follow(self.entities, self.key) if self.env is not None else None
        return wrapped(found, self.shape, self.env) if found is not None else {}


def wrapped(value: JSON, shape: Shape | None, env: Any) -> Any:
    """A record whose reference fields can be followed."""
    if shape is None or value.__class__ is not dict:
        return value
    found = {}
    for name, item in value.items():
        child = shape.child(name)
        if child is not None and child.ref and isinstance(item, str):
            found[name] = Reference(item, child.ref, child.referenced(), env)
        else:
            found[name] = wrapped(item, child, env) if item.__class__ is dict else item
    return found


def _finalize(mode: str) -> Callable[[Any], Any]:
    def show(value: Any) -> Any:
        if value is None:
            if mode == "message":
                return "—"
            raise UndefinedError("a field is null")
        if value is True or value is False:
            return "true" if value else "false"
        return format(value, "f") if isinstance(value, Decimal) else value

    return show


def _limited_range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > MAX_LOOPS:
        raise SecurityError(f"a loop of more than {MAX_LOOPS:,} rounds")
    return numbers


@cache
def _environment(mode: str) -> Environment:
    environment = _Environment(
        undefined=_Blank if mode == "message" else StrictUndefined, autoescape=False, finalize=_finalize(mode)
    )
    environment.filters = {name: environment.filters[name] for name in FILTERS}
    environment.globals = {"range": _limited_range}
    return environment


@dataclass(frozen=True)
class Template:
    """A compiled template. reads: names that it uses."""

    text: str
    at: Position
    reads: frozenset[str]
    _compiled: Any
    _shape: Shape | None

    def render(self, context: Fields, env: Any = None) -> str:
        """The text for a record. Raises FunctionFault for missing values (rules) and exceeded budgets."""
        parts: list[str] = []
        size, rounds, end = 0, 0, time.thread_time() + MAX_SECONDS
        try:
            for part in self._pieces(wrapped(context, self._shape, env)):
                parts.append(part)
                size, rounds = size + len(part), rounds + 1
                if size > MAX_OUTPUT or rounds > 10 * MAX_LOOPS or time.thread_time() > end:
                    raise FunctionFault(f"the template gives more than {MAX_OUTPUT:,} characters or takes too long")
        except UndefinedError as error:
            raise FunctionFault(f"the template needs a value: {error.message}") from None
        except (TemplateError, ArithmeticError, TypeError, ValueError) as error:
            raise FunctionFault(f"the template cannot be filled: {error}") from None
        return "".join(parts)

    def _pieces(self, context: Any) -> Iterator[str]:
        stream: Iterator[str] = self._compiled.generate(context)
        return stream


def compile_template(
    text: str, at: Position, mode: Literal["value", "message"] = "value", shape: Shape | None = None
) -> Template:
    """Compile a template. Raises SpecError E250 (syntax), E251 (unknown field), E252 (what it may not do)."""
    environment = _environment(mode)
    try:
        tree = environment.parse(text)
        _refuse(tree, at)
        compiled = environment.from_string(text)
    except TemplateSyntaxError as error:
        raise SpecError(
            Problem(
                "E250",
                f"cannot read the template: {str(error.message).rstrip('.')}",
                at,
                "write {{ field }} or {% if … %}",
            )
        ) from None
    reads = frozenset(meta.find_undeclared_variables(tree)) - {"range"}
    if shape is not None:
        for name in sorted(reads):
            if shape.child(name) is None:
                message = f"{shape.title} has no field {name!r}"
                raise SpecError(Problem("E251", message, at, nearest(name, shape.names())))
    return Template(text, at, reads, compiled, shape)


def _refuse(tree: nodes.Template, at: Position) -> None:
    """What templates may not do, found before they run."""
    for node in tree.find_all(
        (nodes.Call, nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Getattr)
    ):
        if isinstance(node, nodes.Getattr):
            if node.attr.startswith("_"):
                raise SpecError(Problem("E252", f"a template cannot read {node.attr!r}", at, "read fields only"))
        elif not (isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name == "range"):
            raise SpecError(Problem("E252", "a template cannot call or include", at, "use fields and filters only"))
    for block in tree.find_all(nodes.Const):
        if isinstance(block.value, int) and not isinstance(block.value, bool) and abs(block.value) > 10**6:
            raise SpecError(Problem("E252", "a template with a number over 1,000,000", at, "write a smaller one"))
