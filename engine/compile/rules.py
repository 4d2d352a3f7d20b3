"""What generated mapping code and its callers share: rules with their place, faults, link slots, the writer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from engine.compile.casts import shown
from engine.sdk.errors import ExceptionClass, Position, Problem
from engine.sdk.record import JSON, encode_json

MISSING: Final = type("Missing", (), {"__repr__": lambda self: "missing", "__bool__": lambda self: False})()
"""A field that says nothing, as opposed to None (says empty)."""

Fault = tuple[int, str, JSON, str]
"""(rule index, kind, value, detail): what generated code appends when a rule cannot give its value."""

FAULTS: dict[str, tuple[str, ExceptionClass, str]] = {
    # kind: (code, exception class, hint)
    "cast": ("E401", "mapping", "correct the value in the source, or the rule's `as`, `format` or `scale`"),
    "values": ("E402", "mapping", "add the value to `values`, or say `on_missing`"),
    "lookup": ("E403", "mapping", "add the row to the table, or say `on_missing`"),
    "reference": ("E404", "missing_reference", "sync that record first, or say `on_missing: wait` or `later`"),
    "wait": ("E405", "missing_reference", "it goes on by itself once that record arrives"),
    "expression": ("E406", "mapping", "correct the expression, or the value that it meets"),
    "conflict": ("E407", "mapping", "two rules write this field; make them agree or drop one"),
    "null": ("E408", "mapping", "the rule says `on_null: error`; give the field a value"),
    "template": ("E409", "mapping", "templates need every field that they name; use `when:` or `coalesce`"),
    "ambiguous": ("E410", "ambiguous_match", "name the entity or the object in the rule's `ref`"),
}


@dataclass(frozen=True, slots=True)
class RuleInfo:
    """A rule of a mapping: the field that it writes (dotted), the text that it reads, and where it stands."""

    index: int
    path: str
    reads: str
    at: Position


@dataclass(frozen=True, slots=True)
class RefSlot:
    """One kind of reference in a mapping: which entities, through which object's links. part: the expression for it;
    who asks then says it behind the id (`with_part`)."""

    entities: tuple[str, ...]
    object: str | None
    part: str
    path: str | None
    """The plain top-level name that it is read from, for prefetching; None where it must be asked one by one."""


BETWEEN = "\x1f"


def with_part(id: JSON, part: JSON) -> JSON:
    """What a link slot is asked for the record of a part of another record; the part may be unknown."""
    return f"{id}{BETWEEN}{part}" if part.__class__ is str else f"{id}{BETWEEN}"


class LinkSlot(dict[str, "str | None"]):
    """Known links of one RefSlot for the records at hand; asks the store once for each it does not know."""

    __slots__ = ("ask",)

    def __init__(self, ask: Callable[[str], str | None]) -> None:
        super().__init__()
        self.ask = ask

    def __missing__(self, key: str) -> str | None:
        found = self[key] = self.ask(key)
        return found


def both(one: JSON, other: JSON) -> str:
    """Two values that should have been one, for a message."""
    return f"{shown(one)} and {shown(other)}"


def problem_of(fault: Fault, rules: Sequence[RuleInfo]) -> tuple[Problem, ExceptionClass]:
    """A fault as a problem that names the mapping's line, and its exception class."""
    index, what, value, detail = fault
    rule = rules[index]
    code, exception_class, hint = FAULTS[what]
    texts = {
        "cast": f"{rule.path}: {detail}",
        "values": f"{rule.path}: no entry in `values` for {shown(value)}",
        "lookup": f"{rule.path}: {detail or 'no row for ' + shown(value)}",
        "reference": f"{rule.path}: no {detail} is known for {shown(value)}",
        "wait": f"{rule.path}: waits for the {detail} {shown(value)}",
        "expression": f"{rule.path}: {detail}",
        "conflict": f"{rule.path}: two rules give different values, {detail}",
        "null": f"{rule.path}: is null",
        "template": f"{rule.path}: {detail}",
        "ambiguous": f"{rule.path}: {shown(value)} is a {detail}",
    }
    return Problem(code, texts[what], rule.at, hint), exception_class


@dataclass(slots=True)
class Writer:
    """Collects the lines of one generated function and remembers which rule each came from."""

    lines: list[str] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    depth: int = 1
    rule: int = -1
    counter: int = 0

    def put(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)
        self.owners.append(self.rule)

    def name(self, stem: str) -> str:
        """A fresh variable name."""
        self.counter += 1
        return f"{stem}{self.counter}"

    def indent(self) -> None:
        self.depth += 1

    def dedent(self, levels: int = 1) -> None:
        self.depth -= levels


@dataclass(slots=True)
class Generated:
    """A compiled direction: the function, its source, and the rule of each source line."""

    call: Callable[..., Any]
    source: str
    owners: list[int]

    def rule_at(self, line: int) -> int:
        """Index of the rule whose code stands on a line of the source (1-based); -1 for none."""
        return self.owners[line - 1] if 0 < line <= len(self.owners) else -1


def build(name: str, arguments: str, writer: Writer, result: str, namespace: dict[str, Any]) -> Generated:
    """Compile the collected lines into a function of that name."""
    lines = [f"def {name}({arguments}):", *writer.lines, f"    return {result}"]
    source = "\n".join(lines) + "\n"
    code = compile(source, f"<{name}>", "exec")
    scope: dict[str, Any] = dict(namespace)
    exec(code, scope)  # noqa: S102 - our own generated source; texts of authors enter only as constants
    return Generated(scope[name], source, [-1, *writer.owners, -1])


def key_text(value: JSON) -> str | None:
    """A native id as links keep it: text, composite ones a JSON array; None where a part is missing."""
    if value.__class__ is str:
        return str(value)
    if value is None or value is MISSING:
        return None
    if isinstance(value, list):
        parts = [key_text(item) for item in value]
        return None if None in parts else encode_json(parts).decode()
    return format(value, "f") if hasattr(value, "as_tuple") else str(value)


def same_values(pairs: Iterable[tuple[JSON, JSON]]) -> dict[tuple[type, JSON], JSON]:
    """A typed value map, the first of equal keys: '1' and true stay apart from 1, which 1.0 is too."""
    found: dict[tuple[type, JSON], JSON] = {}
    for key, value in pairs:
        number = key.__class__ in (int, Decimal)
        for kind in (int, Decimal) if number else (key.__class__,):
            found.setdefault((kind, key), value)
    return found
