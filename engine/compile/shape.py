"""What a schema says of values, for expressions: which fields exist, what they refer to, what they can equal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from engine.sdk.errors import nearest

Schema = dict[str, Any]
Bundle = Callable[[str], Schema]
_ANY: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Shape:
    """The schema of a value, with the definitions around it. `title` names it in messages."""

    schema: Schema
    definitions: Schema
    bundle: Bundle
    title: str
    extra: tuple[str, ...] = ()

    @classmethod
    def of_entity(cls, schema: Schema, bundle: Bundle, title: str = "the record") -> Shape:
        """The shape of an entity's records. bundle: entity → its bundled schema, for references."""
        return cls(schema, schema.get("$defs", {}), bundle, title)

    def extended(self, names: Iterable[str]) -> Shape:
        """The same record with more fields of unknown type (totals of `collect`)."""
        return Shape(self.schema, self.definitions, self.bundle, self.title, (*self.extra, *names))

    def with_fields(self, fields: dict[str, Schema]) -> Shape:
        """The same record with more fields, or others in the place of its own: what steps of a process give."""
        definitions = dict(self.definitions)
        for schema in fields.values():
            definitions |= schema.get("$defs", {}) | schema.get("items", {}).get("$defs", {})
        schema = {**self.schema, "properties": {**self.schema.get("properties", {}), **fields}}
        return Shape(schema, definitions, self.bundle, self.title, self.extra)

    def _plain(self) -> Schema:
        """The schema itself, past `$ref` and past `anyOf` with null."""
        schema = self.schema
        for _ in range(20):
            if "$ref" in schema:
                found = self.definitions.get(schema["$ref"].removeprefix("#/$defs/"), {})
                schema = {**found, **{key: value for key, value in schema.items() if key.startswith("x-")}}
            elif "anyOf" in schema and "properties" not in schema:
                options = [one for one in schema["anyOf"] if one.get("type") != "null"]
                if len(options) != 1:
                    break
                rest = {key: value for key, value in schema.items() if key.startswith("x-")}
                schema = {**options[0], **rest}
            else:
                break
        return schema

    def _with(self, schema: Schema, title: str) -> Shape:
        return Shape(schema, self.definitions, self.bundle, title)

    def names(self) -> list[str]:
        """Fields that the value can have."""
        return [*self._plain().get("properties", {}), *self.extra]

    def child(self, name: str) -> Shape | None:
        """The shape of a field; None where the schema excludes it; a shape that knows nothing where it is open."""
        schema = self._plain()
        properties = schema.get("properties")
        if name in self.extra or properties is None:
            return self._with({}, repr(name))
        if name in properties:
            return self._with(properties[name], repr(name))
        return None if schema.get("additionalProperties") is False else self._with({}, repr(name))

    def element(self) -> Shape:
        """The shape of a list's elements."""
        items = self._plain().get("items")
        return self._with(items if isinstance(items, dict) else {}, f"an element of {self.title}")

    def as_list(self) -> Shape:
        return self._with({"type": "array", "items": self.schema}, self.title)

    def flattened(self) -> Shape:
        """The shape of `[]`: elements that are lists are opened."""
        inner = self.element()
        return inner if "array" in inner.types() else self

    def types(self) -> frozenset[str]:
        """JSON types that the value can have; empty where nothing is known."""
        kind = self._plain().get("type")
        if kind is None:
            return _ANY
        return frozenset([kind] if isinstance(kind, str) else kind)

    @property
    def ref(self) -> tuple[str, ...]:
        """Entities that the value refers to."""
        target = self._plain().get("x-ref")
        return () if target is None else (target,) if isinstance(target, str) else tuple(target)

    def referenced(self) -> Shape | None:
        """The shape of the record that a reference names; None where there are several or any."""
        if len(self.ref) != 1 or self.ref[0] == "any":
            return None
        schema = self.bundle(self.ref[0])
        return Shape.of_entity(schema, self.bundle, self.ref[0])

    def at(self, path: str) -> Shape | None:
        """The shape at a dotted path within the record; None where there is none, or the path leaves the record."""
        shape: Shape | None = self
        for name in path.split("."):
            shape = shape.child(name) if shape is not None and not shape.ref and name.isidentifier() else None
        return shape

    @property
    def comparison(self) -> str:
        """How values of it are compared: text number money date instant list set elements object boolean plain."""
        schema, kinds = self._plain(), self.types() - {"null"}
        if kinds == {"object"}:
            return "money" if set(schema.get("properties", {})) == {"amount", "currency"} else "object"
        if kinds == {"array"}:
            inner = self.element().comparison
            return "elements" if inner == "object" else "set" if schema.get("uniqueItems") else "list"
        if kinds == {"string"}:
            return {"date": "date", "date-time": "instant"}.get(schema.get("format", ""), "text")
        if kinds and kinds <= {"number", "integer"}:
            return "number"
        return "boolean" if kinds == {"boolean"} else "plain"

    def enum(self) -> list[Any] | None:
        values: list[Any] | None = self._plain().get("enum")
        return values


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, Decimal)):
        return "number"
    kinds: dict[type[Any], str] = {str: "string", list: "array", dict: "object"}
    return kinds[value.__class__]


def comparison_fault(shape: Shape | None, literal: Any, how: str) -> tuple[str, str, str] | None:
    """(code, message, hint) of a comparison that types or enums make impossible; None where it can hold."""
    if shape is None:
        return None
    types = {"number" if kind == "integer" else kind for kind in shape.types()} - {"null"}
    if how not in ("eq", "ne") and types and not types & {"number", "string"}:
        return "E211", f"{shape.title} is {' or '.join(sorted(types))} and has no order", "compare with =="
    if literal is ... or literal is None:
        return None
    wanted = _type_of(literal)
    if types and wanted not in types:
        hint = "text stands in 'single quotes', numbers in `backticks`"
        return "E211", f"{shape.title} is {' or '.join(sorted(types))} and never {wanted}", hint
    enum = shape.enum()
    if enum is not None and how in ("eq", "ne") and literal not in enum:
        values = [str(one) for one in enum if one is not None]
        return "E212", f"{shape.title} is never {literal!r}", nearest(str(literal), values)
    return None
