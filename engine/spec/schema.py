"""`schemas/<entity>.yaml`: canonical JSON Schemas and our annotations, checked in full.

A schema stays plain JSON Schema; what is checked here is the meta-schema and the `x-` annotations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from engine.sdk.errors import Problems, nearest
from engine.spec.source import Positions

ANNOTATIONS = ("x-version", "x-match", "x-owner", "x-ref", "x-transitions", "x-history", "x-sensitive", "x-label",
               "x-correlates")  # fmt: skip
SENSITIVE = ("personal", "compensation", "financial", "tax")
_KEYWORDS = (
    "$schema $id $ref $defs $anchor $comment title description default examples deprecated readOnly writeOnly type "
    "enum const properties required additionalProperties patternProperties propertyNames minProperties maxProperties "
    "dependentRequired dependentSchemas items prefixItems contains minContains maxContains minItems maxItems "
    "uniqueItems minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength pattern format "
    "contentEncoding contentMediaType allOf anyOf oneOf not if then else unevaluatedProperties unevaluatedItems about"
).split()


@dataclass(frozen=True)
class EntitySchema:
    """What other documents need to know of a schema."""

    entity: str
    version: str
    properties: dict[str, Any]
    references: frozenset[str] = field(default_factory=frozenset)
    """Names of other schemas: `$ref` and `x-ref`."""
    roles: frozenset[str] = field(default_factory=frozenset)


def read_schema(name: str, data: Any, positions: Positions) -> EntitySchema:
    """Check a schema. Raises SpecError with every fault."""
    problems = Problems()
    if not isinstance(data, dict):
        problems.add("E110", "a schema is a mapping", positions.at(), "start with `$schema` and `type: object`")
        problems.raise_any()
    _meta(data, positions, problems)
    references: set[str] = set()
    roles: set[str] = set()
    for path, node in _nodes(data, ()):
        _keywords(node, path, positions, problems)
        _annotations(node, path, positions, problems, references, roles)
    if data.get("type") == "object" and data.get("additionalProperties") is not False:
        problems.add("E111", "fields that the schema does not name must be refused",
                     positions.at("type"), "add `additionalProperties: false`")  # fmt: skip
    _root(data, positions, problems)
    problems.raise_any()
    return EntitySchema(name, str(data.get("x-version", "1.0.0")), data.get("properties", {}),
                        frozenset(references), frozenset(roles))  # fmt: skip


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(Draft202012Validator.META_SCHEMA)


def _meta(data: dict[str, Any], positions: Positions, problems: Problems) -> None:
    for error in _validator().iter_errors(data):
        path = tuple(error.absolute_path)
        problems.add("E110", f"not a JSON Schema: {'.'.join(map(str, path)) or 'the root'}: {error.message}",
                     positions.at(*path), "write what JSON Schema 2020-12 allows there")  # fmt: skip


_MAPS = ("properties", "$defs", "patternProperties", "dependentSchemas")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_ONE = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")


def _nodes(node: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Every schema in a schema with its path."""
    if not isinstance(node, dict):
        return
    yield path, node
    for key in _MAPS:
        children = node.get(key)
        for name, child in (children if isinstance(children, dict) else {}).items():
            yield from _nodes(child, (*path, key, name))
    for key in _LISTS:
        several = node.get(key)
        for number, child in enumerate(several if isinstance(several, list) else ()):
            yield from _nodes(child, (*path, key, number))
    for key in _ONE:
        yield from _nodes(node.get(key), (*path, key))


def _keywords(node: dict[str, Any], path: tuple[Any, ...], positions: Positions, problems: Problems) -> None:
    for key in node:
        if key not in _KEYWORDS and key not in ANNOTATIONS:
            problems.add("E112", f"there is no schema keyword {key!r}", positions.key_at(*path, key),
                         nearest(str(key), [*_KEYWORDS, *ANNOTATIONS]))  # fmt: skip


def _annotations(
    node: dict[str, Any], path: tuple[Any, ...], positions: Positions, problems: Problems,
    references: set[str], roles: set[str],
) -> None:  # fmt: skip
    name = node.get("$ref")
    if isinstance(name, str) and not name.startswith("#"):
        references.add(name)
        if "/" in name or ":" in name:
            problems.add("E113", f"{name!r} is not the name of a schema", positions.at(*path, "$ref"),
                         "name a schema of this workspace, such as money")  # fmt: skip
    given = node.get("x-ref")
    if given is not None:
        for one in [given] if isinstance(given, str) else given:
            if one != "any":
                references.add(str(one))
    roles.update(_owners(node, path, positions, problems))
    sensitive = node.get("x-sensitive")
    if sensitive is not None and sensitive not in SENSITIVE:
        problems.add("E114", f"`x-sensitive` cannot be {sensitive!r}", positions.at(*path, "x-sensitive"),
                     f"write one of {', '.join(SENSITIVE)}")  # fmt: skip
    _lifecycle(node, path, positions, problems)


def _owners(node: dict[str, Any], path: tuple[Any, ...], positions: Positions, problems: Problems) -> set[str]:
    given = node.get("x-owner")
    if given is None:
        return set()
    if isinstance(given, str):
        return {given} - {"shared"}
    found = set()
    for number, one in enumerate(given if isinstance(given, list) else [given]):
        if not isinstance(one, dict) or not isinstance(one.get("role"), str) or set(one) - {"role", "when"}:
            problems.add("E114", "`x-owner` is a role, or a list of {role, when}",
                         positions.at(*path, "x-owner", number), "write x-owner: erp")  # fmt: skip
        else:
            found.add(one["role"])
    return found - {"shared"}


def _lifecycle(node: dict[str, Any], path: tuple[Any, ...], positions: Positions, problems: Problems) -> None:
    transitions = node.get("x-transitions")
    if transitions is None:
        if node.get("x-history") not in (None, True, False):
            problems.add("E114", "`x-history` is true or false", positions.at(*path, "x-history"), "write true")
        return
    states = [state for state in node.get("enum", ()) if isinstance(state, str)]
    if not isinstance(transitions, dict) or not states:
        problems.add("E114", "`x-transitions` maps each state of an `enum` to the states after it",
                     positions.at(*path, "x-transitions"), "write {open: [won, lost]} beside the enum")  # fmt: skip
        return
    for state, after in transitions.items():
        named = [state, *(after if isinstance(after, list) else [after])]
        for one in named:
            if one is not None and one not in states:
                problems.add("E114", f"{one!r} is not a state of the enum",
                             positions.at(*path, "x-transitions", state), nearest(str(one), states))  # fmt: skip


def _single_refs(node: Any, path: str = "") -> Iterator[str]:
    """Paths of fields that refer to records of one entity; `[]` marks lists."""
    fields = node.get("properties") if isinstance(node, dict) else None
    for name, sub in (fields if isinstance(fields, dict) else {}).items():
        here = f"{path}.{name}".lstrip(".")
        for one, at in ((sub, here), (sub.get("items") if isinstance(sub, dict) else None, f"{here}[]")):
            if isinstance(one, dict):
                if isinstance(one.get("x-ref"), str) and one["x-ref"] != "any":
                    yield at
                yield from _single_refs(one, at)


def _root(data: dict[str, Any], positions: Positions, problems: Problems) -> None:
    properties = data.get("properties")
    names = list(properties) if isinstance(properties, dict) else []
    version = data.get("x-version")
    if version is not None and not re.fullmatch(r"\d+\.\d+\.\d+", str(version)):
        problems.add("E114", f"`x-version` is {version!r}", positions.at("x-version"), "write three numbers: 1.0.0")
    label = data.get("x-label")
    if label is not None and label not in names:
        problems.add("E114", f"`x-label` names {label!r}, which is not a field",
                     positions.at("x-label"), nearest(str(label), names))  # fmt: skip
    given = data.get("x-correlates")
    refs = list(_single_refs(data))
    for number, name in enumerate(given if isinstance(given, list) else [] if given is None else [given]):
        if name not in refs:
            problems.add("E365", f"`x-correlates` names {name!r}, which is not a field that refers to one entity",
                         positions.at("x-correlates", number), nearest(str(name), refs))  # fmt: skip
    for number, rule in enumerate(data.get("x-match") or ()):
        if isinstance(rule, dict):
            problems.add("E120", "matching by similarity is not there yet", positions.at("x-match", number),
                         "write a list of fields, such as [tax_id]")  # fmt: skip
            continue
        for one in rule if isinstance(rule, list) else [rule]:
            if str(one).split(".")[0] not in names:
                problems.add("E114", f"`x-match` names {one!r}, which is not a field",
                             positions.at("x-match", number), nearest(str(one), names))  # fmt: skip
