"""A mapping compiled: one Python function a direction, derived from one file, with its rules' places."""

from __future__ import annotations

from collections.abc import Mapping as Table
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from engine.compile.body import plain_names
from engine.compile.expression import Expression, compile_expression
from engine.compile.inbound import Inbound
from engine.compile.outbound import Outbound
from engine.compile.registry import Registry
from engine.compile.rules import Fault, Generated, LinkSlot, RefSlot, RuleInfo, problem_of
from engine.compile.shape import Shape
from engine.sdk.connector import ObjectInfo
from engine.sdk.errors import ExceptionClass, Problem
from engine.sdk.record import JSON, Fields
from engine.spec.load import Document
from engine.spec.mapping import Mapping, Onto


@dataclass(slots=True)
class Direction:
    """One direction of a mapping, ready to call for record after record."""

    generated: Generated
    rules: list[RuleInfo]
    slots: list[RefSlot]
    clears: frozenset[str] = frozenset()
    alike: Table[str, Table[tuple[type, JSON], JSON]] = field(default_factory=dict)
    """Outbound, by path: system value (with its type) → canonical value, where several system values mean one."""

    tops: Table[str, frozenset[str]] = field(default_factory=dict)
    """Outbound: canonical field → top-level fields of the system that it is written to."""

    def inward(self, record: Fields, env: Any, links: Sequence[LinkSlot]) -> tuple[Fields, list[Fault]]:
        """System → canonical. A surprise in generated code becomes a fault of the rule that it came from."""
        faults: list[Fault] = []
        try:
            return self.generated.call(record, env, links, faults), faults
        except Exception as error:  # noqa: BLE001 - an author's expression met a value nobody foresaw
            return {}, [self.surprise(error)]

    def outward(
        self, record: Fields, env: Any, links: Sequence[LinkSlot], part: str = ""
    ) -> tuple[Fields, Fields, list[Fault]]:
        """Canonical → system: payload, what is sent on create only, faults."""
        faults: list[Fault] = []
        try:
            payload, once = self.generated.call(record, env, links, faults, part)
            return payload, once, faults
        except Exception as error:  # noqa: BLE001 - see inward
            return {}, {}, [self.surprise(error)]

    def keeping(self, payload: Fields, held: Fields) -> Fields:
        """The payload, with a value that the target holds left as it is where it means the same as the one to send."""
        for path, meanings in self.alike.items():
            names = path.split(".")
            here, there = _value_at(payload, names), _value_at(held, names)
            if here is None or there is None or here == there:
                continue
            meaning = meanings.get((there.__class__, there))
            if meaning is not None and meaning == meanings.get((here.__class__, here)):
                payload = _with_value(payload, names, there)
        return payload

    def surprise(self, error: Exception) -> Fault:
        """The fault for an exception: which rule's line of the generated source it came from."""
        line, trace = 0, error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename in ("<inbound>", "<outbound>"):
                line = trace.tb_lineno
            trace = trace.tb_next
        rule = self.generated.rule_at(line)
        return (max(rule, 0), "expression", None, f"{type(error).__name__}: {error}")

    def problem(self, fault: Fault) -> tuple[Problem, ExceptionClass]:
        """A fault with the mapping's line, and its exception class."""
        return problem_of(fault, self.rules)


def _value_at(record: JSON, names: Sequence[str]) -> JSON:
    """The value at a path of names that can be told from others; None where there is none."""
    for name in names:
        record = record.get(name) if record.__class__ is dict else None
    return record if record.__class__ in (str, int, bool, Decimal) else None


def _with_value(record: Fields, names: Sequence[str], value: JSON) -> Fields:
    inner = value if len(names) == 1 else _with_value(record[names[0]], names[1:], value)
    return {**record, names[0]: inner}


@dataclass(slots=True)
class CompiledMapping:
    """A mapping bound to a connection's time zone and, outbound, to what its object describes.

    reads: dotted paths of the system's record that the inbound direction reads, or the outbound one writes.
    where, deleted, each, key: compiled from the mapping's own keys, None where it does not say them.
    """

    name: str
    document: Document
    model: Mapping
    inbound: Direction | None
    outbound: Direction | None
    where: Expression | None = None
    deleted: Expression | None = None
    each: Expression | None = None
    key: tuple[Expression, ...] = ()
    onto: Expression | None = None
    group: tuple[Expression, ...] = ()
    sums: dict[str, Expression] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    deactivate: dict[str, JSON] = field(default_factory=dict)
    uses_clock: bool = False
    follows: bool = False
    """Between entities: it reads records that its own refers to."""

    @property
    def per(self) -> str | None:
        """The canonical list that this mapping makes one target record of each element of."""
        return next(iter(self.model.per), None) if self.model.per else None


def compile_inbound(document: Document, registry: Registry, *, zone: str = "UTC") -> CompiledMapping:
    """Compile the system → canonical direction. Raises SpecError with every fault."""
    model: Mapping = document.model
    group, sums = _grouping(document, registry)
    known = registry.shape(model.of, document.at("of")) if model.of is not None else None
    if known is not None and group:
        known = _group_shape(known, group, sums)
    inner = _element(known, model.each) if model.each else known
    body = Inbound(document, tables=registry.table, functions=registry.functions, zone=zone, shape=inner)
    direction = Direction(body.generate(), body.rules, body.slots)
    compiled = CompiledMapping(document.name, document, model, direction, None, group=group, sums=sums)
    _conditions(compiled, document, known)
    reads = set(body.paths)
    if isinstance(model.onto, Onto):
        reads.add(model.onto.from_)
    elif model.onto is not None and model.of is not None:
        compiled.onto = compile_expression(model.onto, document.at("onto"), shape=known)
    for expression in (compiled.where, compiled.deleted, compiled.each, *([] if model.each else compiled.key)):
        if expression is not None:
            reads |= {".".join(path) for path in expression.reads}
    compiled.reads = tuple(sorted(one for one in reads if one))
    compiled.uses_clock = "now" in body.unit.called
    where = compiled.where
    compiled.follows = model.of is not None and (body.unit.follows or (where is not None and where.follows))
    return compiled


def _grouping(document: Document, registry: Registry) -> tuple[tuple[Expression, ...], dict[str, Expression]]:
    """`group` and `sum` of a mapping between entities, over the records that it reads."""
    model: Mapping = document.model
    if model.of is None or not model.group:
        return (), {}
    shape = registry.shape(model.of, document.at("of"))
    group = tuple(
        compile_expression(text, document.at("group", number), shape=shape) for number, text in enumerate(model.group)
    )
    sums = {
        name: compile_expression(text, document.at("sum", name), shape=shape)
        for name, text in (model.sum or {}).items()
    }
    return group, sums


def _group_shape(shape: Shape, group: tuple[Expression, ...], sums: Table[str, Expression]) -> Shape:
    """What a group's record holds: its values, of which references can be followed, its totals and `members`."""
    refs = {one.text: one.gives.ref for one in group if one.gives is not None and one.gives.ref}
    fields = {one.text: {"x-ref": list(refs[one.text])} if one.text in refs else {} for one in group}
    properties = {**fields, **{name: {} for name in sums}, "members": {"type": "integer"}}
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return Shape.of_entity(schema, shape.bundle, "the group")


def _element(shape: Shape | None, each: str) -> Shape | None:
    """The shape of a list's elements, where `each` is a plain path of fields of the record itself."""
    for name in plain_names(each) or ("",):
        shape = shape.child(name) if shape is not None and name and not shape.ref else None
    return shape.element() if shape is not None else None


def compile_outbound(
    document: Document,
    registry: Registry,
    *,
    role: str,
    info: ObjectInfo | None = None,
    zone: str = "UTC",
) -> CompiledMapping:
    """Compile the canonical → system direction for a target whose connection has that role."""
    model: Mapping = document.model
    schema = registry.schema(model.entity, document.at("entity"))
    body = Outbound(
        document,
        tables=registry.table,
        functions=registry.functions,
        zone=zone,
        shape=registry.shape(model.entity, document.at("entity")),
        info=info,
        ownership=schema.ownership,
        role=role,
    )
    direction = Direction(body.generate(), body.rules, body.slots, frozenset(body.clears), body.alike, body.tops)
    compiled = CompiledMapping(document.name, document, model, None, direction)
    compiled.reads = tuple(sorted(body.paths))
    compiled.uses_clock = "now" in body.unit.called
    _conditions(compiled, document)
    if isinstance(model.onto, str) and model.of is None:
        shape = registry.shape(model.entity, document.at("entity"))
        compiled.onto = compile_expression(model.onto, document.at("onto"), shape=shape)
    return compiled


def _conditions(compiled: CompiledMapping, document: Document, shape: Shape | None = None) -> None:
    model = compiled.model
    if model.where:
        compiled.where = compile_expression(model.where, document.at("where"), shape=shape)
    if model.deleted:
        if model.deleted.when:
            compiled.deleted = compile_expression(model.deleted.when, document.at("deleted", "when"))
        compiled.deactivate = dict(model.deleted.set or {})
    if model.each:
        compiled.each = compile_expression(model.each, document.at("each"))
        compiled.key = tuple(
            compile_expression(text, document.at("key", number), element=True)
            for number, text in enumerate(model.key or ())
        )
