"""What both directions of a mapping share while their source is written: constants, expressions, slots."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import Any, ClassVar

from engine.compile.expression import Unit, compile_expression, lower, parse, reads_of
from engine.compile.functions import FunctionSet
from engine.compile.rules import MISSING, RefSlot, RuleInfo, Writer, both
from engine.compile.shape import Shape
from engine.compile.tables import TableIndex
from engine.compile.template import compile_template
from engine.sdk.errors import Position, Problems, SpecError
from engine.sdk.record import JSON, same
from engine.spec.load import Document
from engine.spec.mapping import FieldRule, Given, Mapping

Place = tuple[Any, ...]


class Body:
    """The state of one direction while it is generated. `shape` is None where the record is the system's."""

    arguments: ClassVar[str]

    def __init__(
        self,
        document: Document,
        *,
        tables: Callable[[str, Position], TableIndex],
        functions: FunctionSet,
        zone: str,
        shape: Shape | None = None,
    ) -> None:
        self.document = document
        self.model: Mapping = document.model
        self.tables, self.functions, self.zone, self.shape = tables, functions, zone, shape
        self.writer = Writer()
        self.unit = Unit(functions=functions)
        self.namespace = self.unit.namespace
        self.rules: list[RuleInfo] = []
        self.slots: list[RefSlot] = []
        self.index = -1
        self.problems = Problems()
        self.paths: set[str] = set()
        """Dotted paths of the system's record: what the inbound direction reads, what the outbound one writes."""

    def told(self, write: Callable[[], None]) -> None:
        """Write one rule; what is wrong with it is told together with the others' faults."""
        try:
            write()
        except SpecError as error:
            self.problems.extend(error.problems)

    def begin(self, path: str, rule: FieldRule, place: Place) -> int:
        """Start a rule: from here on generated lines belong to it."""
        self.index = self.writer.rule = len(self.rules)
        reads = rule.from_ if isinstance(rule.from_, str) else ", ".join(rule.from_ or ())
        self.rules.append(RuleInfo(self.index, path, reads, self.document.at(*place)))
        return self.index

    def constant(self, value: JSON, stem: str = "k") -> str:
        """A name or literal for a value in the generated source; texts of authors never become code."""
        if value is None or value is True or value is False or value.__class__ is int:
            return repr(value)
        name = f"{stem}_{len(self.namespace)}"
        self.namespace[name] = value
        return name

    def inline(self, text: str, place: Place, cur: str, shape: Shape | None = None) -> str:
        """An expression of an author as one Python expression over the variable `cur`."""
        at = self.document.at(*place)
        node = parse(text, at)
        if self.shape is None:
            self.noted(node, cur)
        return lower(node, cur, self.unit, at=at, shape=shape or self.shape)

    condition = inline

    def noted(self, node: dict[str, Any], cur: str) -> None:
        """Remember what an expression reads of the record; inside `each` that is what it says of root() only."""
        if cur == "rec" and self.model.each is None:
            self.paths |= {".".join(takewhile(lambda step: step != "[]", path)) for path in reads_of(node)} - {""}
        elif node["type"] == "subexpression" and node["children"][0].get("value") == "root":
            self.paths |= {".".join(path) for child in node["children"][1:] for path in reads_of(child)}
        else:
            for child in node["children"]:
                if isinstance(child, dict):
                    self.noted(child, cur)

    def fetch(self, text: str, place: Place, cur: str, value: str, fault: int | None = None) -> None:
        """Put the value of an expression into a variable; a plain path of names keeps missing and null apart."""
        names = plain_names(text)
        put = self.writer.put
        if names is None or self.follows(names):
            source = self.inline(text, place, cur)
            if fault is None:
                put(f"{value} = {source}")
                return
            put("try:")
            put(f"    {value} = {source}")
            put("except Fault as e:")
            put(f"    {value} = M; faults.append(({fault}, 'expression', None, str(e)))")
            return
        if self.shape is None and cur == "rec" and self.model.each is None:
            self.paths.add(text)
        put(f"{value} = {cur}.get({names[0]!r}, M)")
        for name in names[1:]:
            put(f"if {value} is not M and {value} is not None: "
                f"{value} = {value}.get({name!r}, M) if {value}.__class__ is dict else M")  # fmt: skip

    def follows(self, names: tuple[str, ...]) -> bool:
        """True where a path leaves the record through a reference (or a schema must check its names)."""
        return self.shape is not None and len(names) > 1

    def template(self, text: str, place: Place, cur: str, value: str, index: int) -> None:
        template = compile_template(text, self.document.at(*place), mode="value", shape=self.shape)
        if self.shape is None and cur == "rec" and self.model.each is None:
            self.paths |= template.reads
        name = self.constant(template, "template")
        self.writer.put("try:")
        self.writer.put(f"    {value} = {name}.render({cur}, env)")
        self.writer.put("except Fault as e:")
        self.writer.put(f"    {value} = M; faults.append(({index}, 'template', None, str(e)))")

    def table(self, rule: FieldRule, place: Place) -> str:
        """The table of a `lookup` rule, bound to the column and what it gives."""
        index = self.tables(rule.lookup or "", self.document.at(*place, "lookup"))
        bound = index.bind(rule.column, rule.give, tuple(rule.by or ()), self.document.at(*place))
        return self.constant(bound, "table")

    def from_table(self, rule: FieldRule, index: int, place: tuple[Any, ...], cur: str, value: str) -> list[str]:
        found = self.writer.name("m")
        table = self.table(rule, place)
        at = self.inline(rule.at, (*place, "at"), cur) if rule.at else "None"
        if rule.by:
            keys = ", ".join(
                f"{name!r}: {self.inline(text, (*place, 'by', name), cur)}" for name, text in rule.by.items()
            )
            get = f"{found}, why = {table}.pick({{{keys}}}, {at}, M)"
        else:
            get = f"{found}, why = {table}.give({value}, {at}, M)"
        return [get, *self.on_missing(rule, index, value, found, "lookup", "why", value)]

    def on_missing(
        self,
        rule: FieldRule,
        index: int,
        key: str,
        found: str,
        what: str,
        detail: str,
        value: str,
        *,
        back: bool = False,
    ) -> list[str]:
        """What follows where nothing was found: `value` becomes what the rule gives, or a fault is noted.

        back: the rule runs backwards, and `on_missing: { value: x }` is one way.
        """
        choice = "quarantine" if back and isinstance(rule.on_missing, Given) else rule.on_missing
        if choice == "clear":
            return [f"{value} = None if {found} is M else {found}"]
        if choice == "keep":
            return [f"if {found} is not M: {value} = {found}"]
        if isinstance(choice, Given):
            return [f"{value} = {self.constant(choice.value)} if {found} is M else {found}"]
        kind = choice if choice in ("wait", "later") else what
        return [f"if {found} is M: faults.append(({index}, {kind!r}, {key}, {detail}))", f"{value} = {found}"]

    def transforms(self, rule: FieldRule, place: Place, *, cleaning: bool = False) -> list[str]:
        """Names of the functions that `transform` applies, in order; only cleaning ones on the way back."""
        names = []
        for number, (function, arguments) in enumerate(rule.transform or ()):
            at = self.document.at(*place, "transform", number)
            found = self.functions.transform(function, arguments, at)
            if not cleaning or found.cleaning:
                names.append(self.constant(found.call, "transform"))
        return names

    def slot(self, rule: FieldRule, cur: str) -> int:
        """The link slot of a `ref` rule: which dictionary of links the generated code asks."""
        ref = rule.ref
        names = plain_names(rule.from_) if isinstance(rule.from_, str) else None
        path = names[0] if names and len(names) == 1 and cur == "rec" else None
        wanted = RefSlot(tuple(ref.entities), ref.object, ref.part or "", path) if ref else RefSlot((), None, "", None)
        if wanted in self.slots:
            return self.slots.index(wanted)
        self.slots.append(wanted)
        return len(self.slots) - 1

    def agree(self, out: str, name: str, kept: str) -> None:
        """Two rules wrote one path: the earlier value stays only where it equals the later one."""
        put, found = self.writer.put, f"{out}.get({name!r}, M)"
        self.namespace.update(same=same, both=both, M=MISSING)
        put(f"if {kept} is not M:")
        put(f"    if {found} is M: {out}[{name!r}] = {kept}")
        put(
            f"    elif not same({found}, {kept}): faults.append(({self.index}, 'conflict', {kept}, both({kept}, {found})))"
        )

    def target(self, out: str, name: str) -> str:
        """The left side of an assignment to a field."""
        return f"{out}[{name!r}]"

    @property
    def uses_root(self) -> bool:
        """True where some expression says root(), so that the generated code must keep the whole record."""
        return "root()" in str(self.document.data)


def plain_names(text: str) -> tuple[str, ...] | None:
    """`a.b.c` as its names; None for any other expression."""
    parts = tuple(text.split("."))
    return parts if all(part.isidentifier() for part in parts) else None


__all__ = ["MISSING", "Body", "compile_expression", "plain_names"]
