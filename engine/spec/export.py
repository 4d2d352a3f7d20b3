"""JSON Schema of every kind of document, from the models that read them: editors complete and check as people type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from engine.sdk.record import encode_json
from engine.spec.load import model_class

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FOLDER = ".crosswalk/schemas"
"""Where a workspace keeps them; each document's first line may name its own (`modeline`)."""
_ANNOTATIONS: dict[str, Any] = {
    "x-version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    "x-label": {"type": "string"},
    "x-match": {"type": "array"},
    "x-owner": {"type": ["string", "array"]},
    "x-ref": {"type": ["string", "array"]},
    "x-transitions": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
    "x-history": {"type": "boolean"},
    "x-correlates": {"type": "array", "items": {"type": "string"}},
    "x-sensitive": {"enum": ["personal", "compensation", "financial", "tax"]},
}


class _Lenient(GenerateJsonSchema):
    """Where a model takes a short form too, or reads text itself, the editor must not refuse what the loader takes."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        inside: Any = schema["schema"]
        while inside["type"] == "function-after":
            inside = inside["schema"]
        return {"anyOf": [made, {"type": ["string", "array"]}]} if inside["type"] == "function-before" else made

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        inner = self.generate_inner(schema["schema"])
        return inner if "properties" in inner else {}

    def function_plain_schema(self, schema: core_schema.PlainValidatorFunctionSchema) -> JsonSchemaValue:
        return {}

    def function_wrap_schema(self, schema: core_schema.WrapValidatorFunctionSchema) -> JsonSchemaValue:
        return {}

    def handle_invalid_for_json_schema(self, schema: core_schema.CoreSchema, error_info: str) -> JsonSchemaValue:
        return {}

    def timedelta_schema(self, schema: core_schema.TimedeltaSchema) -> JsonSchemaValue:
        return {"type": "string"}

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        return {"type": ["number", "string"]}


def editor_schemas() -> dict[str, dict[str, Any]]:
    """Kind of document (`workspace`, `flow`, …) → its JSON Schema 2020-12."""
    from engine.spec.settings import Settings

    found = {"workspace": _of(Settings), "schema": _of_schemas()}
    for kind in ("mapping", "table", "indicator", "test", "connector"):
        found[kind] = _of(_model(kind))
    rows = found["table"]["properties"]["rows"]  # lists of cells become objects when the table is read
    found["table"]["properties"]["rows"] = {
        **rows,
        "anyOf": [{"type": "array", "items": {"type": ["array", "object"]}}, {"type": "null"}],
    }
    kinds = {kind: _of(_model("flow", kind)) for kind in ("sync", "reconcile", "process")}
    definitions: dict[str, Any] = {}
    for one in kinds.values():
        definitions |= one.pop("$defs", {})
    rules = [
        {"if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]}, "then": one}
        for kind, one in kinds.items()
    ]
    given = {"kind": {"enum": list(kinds)}}
    anyhow = {"anyOf": [{"required": ["kind"]}, {"required": ["extends"]}]}
    found["flow"] = {
        "$schema": DIALECT,
        "type": "object",
        "properties": given,
        "allOf": [anyhow, *rules],
        "$defs": definitions,
    }
    return found


def _model(kind: str, flow: str = "") -> type[BaseModel]:
    model = model_class(kind, {"kind": flow})
    assert model is not None, kind
    return model


def _of(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(schema_generator=_Lenient)
    if "properties" not in schema and "anyOf" in schema:  # a document has no short form
        schema = {**schema["anyOf"][0], "$defs": schema.get("$defs", {})}
    required = schema.pop("required", [])
    if "extends" in schema.get("properties", {}) and required:  # the other document may give what is missing here
        schema["anyOf"] = [{"required": required}, {"required": ["extends"]}]
    elif required:
        schema["required"] = required
    return {"$schema": DIALECT, **schema}


def _of_schemas() -> dict[str, Any]:
    """A schema of an entity: JSON Schema itself, and our annotations at every level that carries them."""
    field = {"type": ["object", "boolean"], "properties": _ANNOTATIONS}
    return {"$schema": DIALECT, "allOf": [{"$ref": DIALECT}], "type": "object", "required": ["$schema", "type"],
            "properties": {**_ANNOTATIONS, "properties": {"type": "object", "additionalProperties": field}}}  # fmt: skip


def export(folder: Path) -> list[str]:
    """Write `<kind>.json` for every kind into a folder; their names."""
    folder.mkdir(parents=True, exist_ok=True)
    found = editor_schemas()
    for kind, schema in sorted(found.items()):
        (folder / f"{kind}.json").write_bytes(encode_json(schema) + b"\n")
    return [f"{kind}.json" for kind in sorted(found)]


def modeline(kind: str, document: str) -> str:
    """The first line of a document at a path of the workspace, by which editors find its schema."""
    up = "../" * document.count("/")
    return f"# yaml-language-server: $schema={up}{FOLDER}/{kind}.json\n"
