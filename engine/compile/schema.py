"""Canonical schemas made ready for a run: one closed validator, match rules, references, lifecycles.

`jsonschema-rs` decides and lists the faults; the words are ours and name the rule that produced the value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from engine.compile.casts import shown
from engine.compile.ownership import Ownership
from engine.sdk.errors import Position, Problem
from engine.sdk.record import JSON, Fields, digest
from engine.spec.load import Document

Schema = dict[str, Any]


@dataclass
class CompiledSchema:
    """An entity's schema for one run.

    match: the `x-match` rules, each a tuple of dotted paths. refs: dotted path → entities ('[]' marks lists).
    transitions: field → state → states that can be reached from it. history, sensitive: field names.
    correlates: fields that name what a new record belongs to, the first that holds one.
    """

    entity: str
    document: Document
    bundle: Schema
    ownership: Ownership
    match: tuple[tuple[str, ...], ...] = ()
    refs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    transitions: dict[str, dict[str, frozenset[str]]] = field(default_factory=dict)
    history: tuple[str, ...] = ()
    sensitive: dict[str, str] = field(default_factory=dict)
    label: str | None = None
    version: str = "1.0.0"
    correlates: tuple[str, ...] = ()

    @cached_property
    def _validator(self) -> Any:
        from jsonschema_rs import Draft202012Validator, RegexOptions

        return Draft202012Validator(self.bundle, validate_formats=True, offline=True, pattern_options=RegexOptions())

    @cached_property
    def accepts(self) -> Callable[[Fields], bool]:
        """True for a valid record; the fast way, without reasons."""
        accepts: Callable[[Fields], bool] = self._validator.is_valid
        return accepts

    def faults(self, record: Fields) -> Iterator[tuple[str, str]]:
        """(dotted path, what is wrong) of every fault."""
        for error in self._validator.iter_errors(record):
            path = ".".join(str(part) for part in error.instance_path)
            yield from _worded(path, error)

    def match_keys(self, record: Fields) -> list[tuple[int, bytes]]:
        """The record's value for each match rule whose fields all hold one; text compares without case or blanks."""
        keys = []
        for number, paths in enumerate(self.match):
            values = [_folded(value_at(record, path)) for path in paths]
            if all(value is not None for value in values):
                keys.append((number, digest(values)))
        return keys

    def transition_problem(self, name: str, old: JSON, new: JSON, at: Position | None) -> Problem | None:
        """The problem of a lifecycle change that cannot be reached, if it is one."""
        reach = self.transitions[name]
        if old == new or old is None or not isinstance(old, str) or new in reach.get(old, frozenset()):
            return None
        after = ", ".join(sorted(reach.get(old, ()))) or "nothing"
        return Problem(
            "E421",
            f"{name}: cannot go from {shown(old)} to {shown(new)}",
            at,
            f"after {old} comes {after}; correct the source, or `x-transitions`",
        )


def _folded(value: JSON) -> JSON:
    if isinstance(value, str):
        return " ".join(value.split()).casefold() or None
    return value if value != [] and value != {} else None


def value_at(record: JSON, path: str) -> JSON:
    """The value at a dotted path; None where the path ends early."""
    for name in path.split("."):
        if not isinstance(record, dict):
            return None
        record = record.get(name)
    return record


def _worded(path: str, error: Any) -> Iterator[tuple[str, str]]:
    """A fault of the validator in our words."""
    kind = error.kind.name
    name = path or "the record"
    rules: dict[str, Callable[[], str]] = {
        "type": lambda: f"expected {_types(error.kind)}, got {shown(error.instance)}",
        "enum": lambda: f"{shown(error.instance)} is not one of {', '.join(map(shown, error.kind.options))}",
        "format": lambda: f"{shown(error.instance)} is not a {error.kind.format}",
        "maxLength": lambda: f"has more than {error.kind.limit} characters",
        "minLength": lambda: "is empty" if error.kind.limit == 1 else f"has fewer than {error.kind.limit} characters",
        "pattern": lambda: f"{shown(error.instance)} does not match {error.kind.pattern!r}",
        "maximum": lambda: f"{shown(error.instance)} is more than {error.kind.limit}",
        "minimum": lambda: f"{shown(error.instance)} is less than {error.kind.limit}",
        "multipleOf": lambda: f"{shown(error.instance)} is not a multiple of {error.kind.multiple_of}",
        "const": lambda: f"{shown(error.instance)} is not the one value allowed",
    }
    if kind == "required":
        yield f"{path}.{error.kind.property}".strip("."), "is required, and no system gave it"
    elif kind == "additionalProperties":
        for extra in error.kind.unexpected:
            yield f"{path}.{extra}".strip("."), "is not a field of the schema"
    else:
        yield name, rules[kind]() if kind in rules else error.message


def _types(kind: Any) -> str:
    names = {"string": "text", "number": "a number", "integer": "an integer", "boolean": "true or false",
             "array": "a list", "object": "an object", "null": "null"}  # fmt: skip
    return " or ".join(names.get(str(one), str(one)) for one in kind.types)


def compile_schema(
    document: Document, resolve: Callable[[str, Position], Document], roles: frozenset[str] | None = None
) -> CompiledSchema:
    """Bundle a schema with the schemas that it names, and read its annotations. roles: those that connections have."""
    bundle = bundled(document, resolve)
    properties = bundle.get("properties", {})
    compiled = CompiledSchema(document.name, document, bundle, Ownership.of(document, roles))
    compiled.match = tuple(
        tuple(rule["fields"] if isinstance(rule, dict) else rule) for rule in document.data.get("x-match", ())
    )
    compiled.refs = dict(_references(bundle, bundle.get("$defs", {})))
    compiled.label = document.data.get("x-label")
    compiled.version = str(document.data.get("x-version", "1.0.0"))
    compiled.correlates = tuple(document.data.get("x-correlates", ()))
    for name, sub in properties.items():
        if "x-transitions" in sub:
            compiled.transitions[name] = reachable(sub["x-transitions"])
        if "x-sensitive" in sub:
            compiled.sensitive[name] = sub["x-sensitive"]
    compiled.history = tuple(name for name, sub in properties.items() if sub.get("x-history") or "x-transitions" in sub)
    return compiled


def bundled(document: Document, resolve: Callable[[str, Position], Document]) -> Schema:
    """The schema as one: schemas that it names are put in their place (recursive ones under `$defs`).

    Fields that are not required may be null, at every level: null says empty (LANGUAGE, three states).
    """
    defs: dict[str, Schema] = {}

    def walk(node: JSON, at: tuple[Any, ...], of: Document, inside: tuple[str, ...]) -> JSON:
        if isinstance(node, list):
            return [walk(item, (*at, number), of, inside) for number, item in enumerate(node)]
        if not isinstance(node, dict):
            return node
        found = {
            name: walk(item, (*at, name), of, inside) for name, item in node.items() if name not in ("$schema", "$id")
        }
        name = node.get("$ref")
        if isinstance(name, str) and not name.startswith("#"):
            rest = {key: value for key, value in found.items() if key != "$ref"}
            other = resolve(name, of.at(*at, "$ref"))
            if name in inside:
                defs.setdefault(name, {})
                return {**rest, "$ref": f"#/$defs/{name}"}
            found = {**walk(other.data, (), other, (*inside, name)), **rest}
            if name in defs:
                defs[name] = found
        if isinstance(found.get("properties"), dict) and found.get("type") == "object":
            required = set(found.get("required", ()))
            found["properties"] = {
                key: sub if key in required else nullable(sub) for key, sub in found["properties"].items()
            }
        return found

    schema: Schema = walk(document.data, (), document, (document.name,))
    schema["properties"] = {"id": {"type": "string"}, **schema.get("properties", {})}
    if defs:
        schema["$defs"] = {**defs, **schema.get("$defs", {})}
    return schema


def nullable(schema: Schema) -> Schema:
    """The same, or null."""
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    kind = schema.get("type")
    if isinstance(kind, str):
        kind = [kind]
    if isinstance(kind, list) and "null" not in kind:
        schema = {**schema, "type": [*kind, "null"]}
    if "enum" in schema and None not in schema["enum"]:
        schema = {**schema, "enum": [*schema["enum"], None]}
    return schema


def _references(schema: Schema, defs: dict[str, Schema], path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    if depth > 6:
        return
    for name, sub in schema.get("properties", {}).items():
        here = f"{path}.{name}".strip(".")
        yield from _reference_in(sub, defs, here, depth)


def _reference_in(sub: Schema, defs: dict[str, Schema], here: str, depth: int) -> Iterator[tuple[str, Any]]:
    target = sub.get("x-ref")
    if target is not None:
        yield here, (target,) if isinstance(target, str) else tuple(target)
    ref = sub.get("$ref")
    for one in [sub, *sub.get("anyOf", ()), defs.get(ref.removeprefix("#/$defs/"), {}) if ref else {}]:
        if "items" in one:
            yield from _reference_in(one["items"], defs, f"{here}[]", depth + 1)
        yield from _references(one, defs, here, depth + 1)


def reachable(transitions: dict[str, list[str]]) -> dict[str, frozenset[str]]:
    """State → every state that can come after it, however many steps later (reads miss states)."""
    found: dict[str, frozenset[str]] = {}
    for start in transitions:
        seen: set[str] = set()
        ahead = list(transitions[start] or ())
        while ahead:
            state = ahead.pop()
            if state not in seen:
                seen.add(state)
                ahead.extend(transitions.get(state) or ())
        found[start] = frozenset(seen)
    return found
