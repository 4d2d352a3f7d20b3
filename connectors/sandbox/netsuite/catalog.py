"""The metadata catalogue: record types as JSON Schema."""

from __future__ import annotations

from connectors.sandbox.netsuite.kinds import KINDS, SUBLISTS, Kind
from connectors.sandbox.store import Doc

_TYPES: dict[str, Doc] = {
    "text": {"type": "string"}, "number": {"type": "number", "format": "double"}, "bool": {"type": "boolean"},
    "date": {"type": "string", "format": "date"}, "datetime": {"type": "string", "format": "date-time"},
    "duration": {"type": "string"}, "any": {}, "enum": {"type": "object", "properties": {"id": {"type": "string"}, "refName": {"type": "string"}}},
}  # fmt: skip


def schema(kind: Kind) -> Doc:
    """A record type."""
    names = ["id", "externalId", *kind.fields, "createdDate", "lastModifiedDate"]
    return {"type": "object", "x-ns-filterable": ["id", "externalId", *kind.fields], "required": list(kind.required),
            "properties": {name: _property(kind.type_of(name) or "any", name) for name in names}}  # fmt: skip


def listing(select: str, href: str) -> Doc:
    """Names and addresses of types; all, or those of `select`."""
    wanted = set(select.split(",")) if select else set(KINDS)
    items = [{"name": name, "links": [{"rel": "canonical", "href": f"{href}/{name}", "mediaType": "application/schema+json"}]}
             for name in sorted(wanted & set(KINDS))]  # fmt: skip
    return {"links": [], "items": items}


def schemas(select: str) -> Doc:
    """Several types in one document."""
    return {"components": {"schemas": {name: schema(KINDS[name]) for name in select.split(",") if name in KINDS}}}


def _property(kind: str, name: str) -> Doc:
    if kind.startswith("ref:"):
        return {"type": "object", "x-ns-references": kind[4:].split("|"),
                "properties": {one: {"type": "string"} for one in ("id", "externalId", "refName")}}  # fmt: skip
    if kind == "lines":
        properties = {field: _property(one, field) for field, one in SUBLISTS[name].items()}
        return {
            "type": "object",
            "properties": {"items": {"type": "array", "items": {"type": "object", "properties": properties}}},
        }
    return _TYPES[kind]
