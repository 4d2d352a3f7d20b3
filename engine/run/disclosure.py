"""What is not shown without clearance: fields that a schema calls sensitive are left out of events, masked in reports."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from engine.sdk.record import JSON
from engine.spec.workspace import Workspace

DEEPEST = 8
MASK = "••••"


def sensitive(workspace: Workspace, entity: str) -> set[str]:
    """Canonical fields of an entity that are, or hold, what has `x-sensitive`."""
    return {path.partition(".")[0] for path in sensitive_paths(workspace, entity)}


def sensitive_paths(workspace: Workspace, entity: str) -> frozenset[str]:
    """Dotted paths of every sensitive field, however deep; elements of lists have the path of their list."""
    return frozenset(_paths(workspace, workspace.document("schema", entity).data, "", 0))


def _paths(workspace: Workspace, schema: Any, path: str, depth: int) -> Iterator[str]:
    if not isinstance(schema, dict) or depth > DEEPEST:
        return
    if "x-sensitive" in schema and path:
        yield path
        return
    named = schema.get("$ref")
    if isinstance(named, str) and not named.startswith("#"):
        schema = {**workspace.document("schema", named).data, **schema}
    yield from _paths(workspace, schema.get("items"), path, depth + 1)
    fields = schema.get("properties")
    for name, inner in (fields if isinstance(fields, dict) else {}).items():
        yield from _paths(workspace, inner, f"{path}.{name}" if path else name, depth + 1)


def disclosed(workspace: Workspace, entity: str, data: JSON, clearance: Collection[str]) -> JSON:
    """The data without sensitive fields of other kinds than those of `clearance`; all of it where no schema is known."""
    if entity not in workspace.names("schema"):
        return data
    return _shown(workspace, workspace.document("schema", entity).data, data, frozenset(clearance), 0)


def _shown(workspace: Workspace, schema: Any, data: JSON, clearance: frozenset[str], depth: int) -> JSON:
    named = schema.get("$ref") if isinstance(schema, dict) else None
    if isinstance(named, str) and not named.startswith("#"):
        schema = {**workspace.document("schema", named).data, **schema}
    if not isinstance(schema, dict) or depth > DEEPEST:
        return data
    if isinstance(data, list):
        return [_shown(workspace, schema.get("items"), one, clearance, depth + 1) for one in data]
    fields = schema.get("properties")
    if not isinstance(data, dict) or not isinstance(fields, dict):
        return data
    return {
        name: _shown(workspace, fields.get(name), value, clearance, depth + 1)
        for name, value in data.items()
        if (fields.get(name) or {}).get("x-sensitive") in (None, *clearance)
    }
