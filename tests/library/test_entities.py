"""Every schema holds what its entity must: fields by kind, owners, lifecycles, match rules, what is sensitive.

The demands stand as data in entities/*.yaml, one file a group of owners.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from engine.compile.registry import Registry
from engine.compile.schema import CompiledSchema
from engine.spec.source import read_yaml
from engine.spec.workspace import Workspace
from tests.conftest import Make

DEMANDS: dict[str, dict[str, Any]] = {}
for _path in sorted((Path(__file__).parent / "entities").glob("*.yaml")):
    DEMANDS |= read_yaml(_path.read_bytes(), _path.name)[0]


@pytest.fixture(params=sorted(DEMANDS))
def case(make: Make, request: pytest.FixtureRequest) -> tuple[CompiledSchema, dict[str, Any]]:
    """The compiled schema of an entity, in a workspace without connections, and what is demanded of it."""
    workspace = Workspace.open(make({"crosswalk.yaml": "crosswalk: 1\nname: library\n"}))
    return Registry(workspace).schema(request.param), DEMANDS[request.param]


def plain(schema: dict[str, Any]) -> dict[str, Any]:
    """A field's schema without the null that optional ones admit."""
    options = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    return {**schema, **options[0]} if options else schema


def faults(schema: dict[str, Any], demand: Any, path: str) -> list[str]:
    """Where a schema holds less than is demanded."""
    schema = plain(schema)
    kind = schema.get("type")
    types = {kind} if isinstance(kind, str) else set(kind or ())
    if isinstance(demand, list):
        if "array" not in types:
            return [f"{path} is no list"]
        return faults(schema["items"], demand[0], f"{path}[]")
    if isinstance(demand, dict):
        if "object" not in types:
            return [f"{path} is no object"]
        found = schema.get("properties", {})
        missing = [f"{path}.{name} is not there" for name in demand if name not in found]
        return missing + [
            one for name, sub in demand.items() if name in found for one in faults(found[name], sub, f"{path}.{name}")
        ]
    return [] if fits(schema, types, demand) else [f"{path} is not a {demand}"]


def fits(schema: dict[str, Any], types: set[str], demand: str) -> bool:
    """Whether a field is of the kind."""
    if demand.startswith("ref "):
        return schema.get("x-ref") == demand[4:]
    form, amount = schema.get("format"), set(schema.get("properties", ())) == {"amount", "currency"}
    kinds = {
        "text": "string" in types and form not in ("date", "date-time"),
        "number": bool(types & {"number", "integer"}),
        "boolean": "boolean" in types,
        "date": form == "date",
        "instant": form == "date-time",
        "money": amount,
        "code": "string" in types and ("enum" in schema or "pattern" in schema),
        "any": True,
    }
    return kinds[demand]


def test_it_has_every_field_and_each_is_of_its_kind(case: tuple[CompiledSchema, dict[str, Any]]) -> None:
    schema, demand = case
    assert faults(schema.bundle, demand["fields"], schema.entity) == []


def test_every_field_has_the_owner_that_it_must(case: tuple[CompiledSchema, dict[str, Any]]) -> None:
    schema, demand = case
    general, groups = demand["owner"], demand.get("owners", {})
    wrong = {}
    for name in schema.document.data["properties"]:
        wanted = next((role for role, names in groups.items() if name in names), general)
        given = schema.document.data["properties"][name].get("x-owner")
        if isinstance(wanted, list):
            wanted = [{"role": role} for role in wanted]
        elif isinstance(wanted, dict):
            wanted = [{"role": role} | ({} if when == "otherwise" else {"when": when}) for when, role in wanted.items()]
        if given != wanted:
            wrong[name] = given
    assert wrong == {}


def test_its_lifecycle_allows_what_it_must_and_keeps_history(case: tuple[CompiledSchema, dict[str, Any]]) -> None:
    schema, demand = case
    if "lifecycle" not in demand:
        assert "status" not in schema.document.data["properties"]
        return
    states = schema.document.data["properties"]["status"]
    assert states["x-history"] is True
    named = {state for chain in demand["lifecycle"] for state in chain.split(" > ")}
    assert set(states["enum"]) == named
    for chain in demand["lifecycle"]:
        steps = chain.split(" > ")
        for before, after in pairwise(steps):
            assert after in states["x-transitions"][before], f"{before} → {after}"


def test_match_rules_and_sensitive_fields_and_values(case: tuple[CompiledSchema, dict[str, Any]]) -> None:
    schema, demand = case
    assert bool(schema.match) or not demand.get("match")
    for rule in schema.match:
        assert all(path.split(".")[0] in schema.document.data["properties"] for path in rule)
    sensitive = demand.get("sensitive", {})
    assert {name: schema.sensitive.get(name) for name in sensitive} == sensitive
    for name, values in demand.get("values", {}).items():
        assert schema.document.data["properties"][name]["enum"] == values
