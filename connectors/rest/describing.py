"""What a system tells of its own fields, merged with what the manifest says; the manifest wins where it says more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from connectors.rest.shapes import search
from engine.sdk.connector import FieldInfo, FieldType, ObjectInfo
from engine.sdk.errors import ConnectorError, Problem
from engine.sdk.manifest_requests import Describe

if TYPE_CHECKING:
    from connectors.rest.connector import RestConnector

_JSON_TYPES: dict[str, FieldType] = {"string": "string", "integer": "integer", "number": "decimal", "boolean": "boolean", "object": "object",
                                     "array": "array"}  # fmt: skip
_FORMATS: dict[str, FieldType] = {"date": "date", "date-time": "datetime", "duration": "duration"}


def described(connector: RestConnector, info: ObjectInfo) -> ObjectInfo:
    """The object with the system's own fields. Raises ConnectorError where the system's description cannot be used."""
    spec = connector.spec(info.name)
    how = spec.describe or connector.manifest.describe
    if how is None:
        return info
    answer = connector.answered(how.method, connector.address(how, {"object": info.name}), headers=how.headers)
    found = search(how.fields, answer.facts())
    if how.kind == "json_schema" and isinstance(found, dict):
        required = search(how.required, answer.facts()) if how.required else []
        told = list(_schema(found, required or []))
    elif how.kind == "list" and isinstance(found, list):
        told = list(_list(found, how))
    else:
        what = f"{connector.context.name!r} {info.name}: its description has no fields at {how.fields!r}"
        raise ConnectorError("bad_response", Problem("C530", what, None, "see `describe` of the manifest"))
    own = {one.name: one for one in info.fields}
    fields = [_merged(one, own.pop(one.name, None)) for one in told]
    return replace(info, fields=(*fields, *own.values()))


def _list(rows: list[Any], how: Describe) -> Iterator[FieldInfo]:
    def told(expression: str | None, row: Any) -> Any:
        return search(expression, row)

    for row in rows:
        values, references = told(how.values, row), told(how.references, row)
        length, scale = told(how.max_length, row), told(how.scale, row)
        kind = how.types.get(str(told(how.type, row)), "any")
        yield FieldInfo(
            str(told(how.name, row)), kind, required=told(how.required, row) is True,
            writable=how.writable is None or told(how.writable, row) is True, max_length=length if length else None,
            scale=scale if isinstance(scale, int) and kind == "decimal" else None, values=tuple(map(str, values)) if values else None,
            references=tuple(map(str, references or ())), label=str(told(how.label, row) or ""),
        )  # fmt: skip


def _schema(properties: Mapping[str, Any], required: list[str]) -> Iterator[FieldInfo]:
    for name, one in properties.items():
        kind = _FORMATS.get(str(one.get("format"))) or _JSON_TYPES.get(str(one.get("type")), "any")
        yield FieldInfo(
            name, kind, required=name in required, writable=not one.get("readOnly"), max_length=one.get("maxLength"),
            values=tuple(map(str, one["enum"])) if one.get("enum") else None, references=tuple(one.get("x-ns-references", ())),
            label=str(one.get("title") or ""),
        )  # fmt: skip


def _merged(told: FieldInfo, own: FieldInfo | None) -> FieldInfo:
    """The system's facts with those that the manifest gives put over them."""
    if own is None:
        return told
    given: dict[str, Any] = {
        name: value for name in FieldInfo.__slots__
        if (value := getattr(own, name)) != getattr(FieldInfo(own.name), name)
    }  # fmt: skip
    return replace(told, **given)
