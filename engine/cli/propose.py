"""A first mapping proposed from both sides: each canonical field's most similar system field, with its score."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.sdk.connector import Connector, FieldInfo, Read
from engine.sdk.errors import ConnectorError, CrosswalkError
from engine.sdk.record import Fields
from engine.spec.workspace import Workspace

LIKELY = 70
"""Scores (0 to 100) from here on are proposed."""
SAMPLE = 200
_NUMBERS = {"integer": "integer", "number": "decimal"}
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


@dataclass(frozen=True)
class Match:
    """A canonical field and the system's field that resembles it most; None where none does."""

    field: str
    source: FieldInfo | None
    score: int
    required: bool


def known_to_mappings(workspace: Workspace, connector: str, object: str) -> list[str]:
    """Fields that mappings of the library and the workspace name, for systems that do not describe themselves."""
    found: dict[str, None] = {}
    for name in workspace.names("mapping"):
        if name.split("/")[0] != connector:
            continue
        try:
            model = workspace.document("mapping", name).model
        except CrosswalkError:
            continue  # `validate` reports it
        texts = [rule.from_ for rule in model.fields.values()] if model.object == object else []
        found |= dict.fromkeys(
            one for one in texts if isinstance(one, str) and _PLAIN.fullmatch(one) and "." not in one
        )
    return list(found)


def fields_of(connector: Connector[Any], object: str, more: Sequence[str] = ()) -> list[FieldInfo]:
    """An object's fields as the system describes them, `more` that are known, and those that its first records show."""
    info = connector.describe(object)
    found = {name: FieldInfo(name) for name in more} | {one.name: one for one in info.fields}
    wanted = tuple(found)
    try:
        for batch in connector.read(Read(object, fields=wanted, page=SAMPLE)):
            for record in batch.records[:SAMPLE]:
                for name, value in record.value.items():
                    found.setdefault(name, FieldInfo(name, _type_of(value)))  # type: ignore[arg-type]
            break
    except ConnectorError:  # what cannot be read is still described
        if not found:
            raise
    return list(found.values())


def _type_of(value: Any) -> str:
    names = {bool: "boolean", int: "integer", str: "string", dict: "object", list: "array"}
    return names.get(type(value), "any" if value is None else "decimal")


def matches(properties: Mapping[str, Fields], required: Sequence[str], fields: Sequence[FieldInfo]) -> list[Match]:
    """Every canonical field with its best partner; each system field is given once, to its best."""
    scored = sorted(
        ((_score(name, sub, one), name, one) for name, sub in properties.items() for one in fields if name != "id"),
        key=lambda row: (-row[0], row[1], row[2].name),
    )
    taken: dict[str, tuple[FieldInfo, int]] = {}
    used: set[str] = set()
    for score, name, one in scored:
        if score >= LIKELY and name not in taken and one.name not in used:
            taken[name] = (one, score)
            used.add(one.name)
    nothing: tuple[FieldInfo | None, int] = (None, 0)
    found = []
    for name in properties:
        if name != "id":
            source, score = taken.get(name, nothing)
            found.append(Match(name, source, score, name in required))
    return found


def _score(name: str, sub: Fields, one: FieldInfo) -> int:
    from rapidfuzz import fuzz

    wanted, given, label = _words(name), _words(one.name), _words(one.label)
    score = max(fuzz.token_sort_ratio(wanted, text) for text in (given, label or given))
    score = max(score, 90 if wanted in given.split() or given in wanted.split() else 0) if len(given) > 3 else score
    if one.values and set(one.values) & set(sub.get("enum") or ()):
        score += 15
    kinds = {"object": {"object"}, "array": {"array"}}.get(str(sub.get("type")), set())
    if "$ref" in sub and sub["$ref"] != "money":
        kinds = {"object"}
    if kinds and one.type not in kinds:
        return 0
    if not kinds and one.type in ("object", "array"):
        return 0
    return min(100, int(score))


def _words(text: str) -> str:
    """`Payment_Terms__c` and `paymentTerms` → `payment terms`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", re.sub(r"__c$", "", text))
    return re.sub(r"[\W_]+", " ", spaced).strip().lower()


def mapping_text(
    name: str, object: str, entity: str, schema: Fields, found: Sequence[Match], fields: Sequence[FieldInfo]
) -> str:
    """The YAML of a mapping: matches with their score, TODO lines for required fields without one."""
    major = str(schema.get("x-version", "1.0.0")).split(".")[0]
    lines = [f"mapping: {name}", f"object: {object}", f"entity: {entity}", f"schema: {major}", "fields:"]
    currency = next(
        (one.name for one in fields if _words(one.name).split()[-1:] == ["currency"] or "currency" in _words(one.name)),
        None,
    )
    rules = []
    for one in found:
        sub = schema["properties"][one.field]
        if one.source is not None:
            rules.append((f"  {one.field}: {_rule(one.source, sub, currency)}", f"{one.score} %"))
        elif one.required:
            rules.append((f'  {one.field}: {{ from: "" }}', "TODO: required; name the system's field"))
    width = max((len(rule) for rule, _ in rules), default=0)
    lines += [f"{rule:<{width}}  # {why}" for rule, why in rules]
    if not rules:
        lines[-1] += "  # TODO: nothing of the system resembles a field of the schema"
    used = {one.source.name for one in found if one.source}
    _rest(
        lines, "of the schema, without a match", [one.field for one in found if one.source is None and not one.required]
    )
    _rest(lines, "of the system, not used", [one.name for one in fields if one.name not in used])
    return "\n".join(lines) + "\n"


def _rest(lines: list[str], what: str, names: list[str]) -> None:
    if names:
        lines.append(f"# {what}: {', '.join(names)}")


def path_of(name: str) -> str:
    """A field's name as a path: quoted where JMESPath needs it."""
    return name if _PLAIN.fullmatch(name) else json.dumps(name)


def _rule(source: FieldInfo, sub: Fields, currency: str | None) -> str:
    """The right side: path, cast, reference or value map, as both sides' types ask for it."""
    path = json.dumps(path_of(source.name)) if not _PLAIN.fullmatch(source.name) else source.name
    kind, text = str(sub.get("type")), source.type in ("string", "any")
    if "x-ref" in sub and kind == "string":
        target = sub["x-ref"] if isinstance(sub["x-ref"], str) else f"[{', '.join(sub['x-ref'])}]"
        blank = ", blank: clear" if text else ""  # an empty cell names nobody, and nobody would ever come
        return f"{{ from: {path}, ref: {target}, on_missing: wait{blank} }}" if target != "any" else path
    if sub.get("$ref") == "money":
        other = path_of(currency) if currency else "'EUR'"
        return f"{{ from: {path}, as: money, currency: {json.dumps(other)} }}"
    if kind in _NUMBERS and text:
        return f"{{ from: {path}, as: {_NUMBERS[kind]}, blank: clear }}"
    if kind == "boolean" and source.type != "boolean":
        return f"{{ from: {path}, as: boolean }}"
    if kind == "string" and sub.get("format") in ("date", "date-time"):
        blank = ", blank: clear" if text else ""
        return f"{{ from: {path}, as: {'date' if sub['format'] == 'date' else 'datetime'}{blank} }}"
    if kind == "string" and source.type in ("integer", "decimal"):
        return f"{{ from: {path}, as: string }}"
    if sub.get("enum") and source.values:
        return _values(path, source.values, [str(one) for one in sub["enum"]])
    if kind == "string" and source.type == "string" and not sub.get("enum"):
        return f"{{ from: {path}, transform: [trim] }}"
    return path


def _values(path: str, given: Sequence[str], wanted: Sequence[str]) -> str:
    from rapidfuzz import fuzz

    pairs = []
    for one in given:
        best = max(wanted, key=lambda each: fuzz.ratio(_words(one), _words(each)))
        if fuzz.ratio(_words(one), _words(best)) >= LIKELY:
            pairs.append(f"{json.dumps(one, ensure_ascii=False)}: {best}")
    return f"{{ from: {path}, values: {{ {', '.join(pairs)} }} }}" if pairs else path


def nearest_entity(workspace: Workspace, name: str) -> str | None:
    """The schema whose name resembles an object's most, or None."""
    from rapidfuzz import fuzz

    known = workspace.names("schema")
    wanted = _words(name.split("/")[-1]).removesuffix("s")
    scored = [(fuzz.ratio(wanted, _words(one)), one) for one in known]
    best = max(scored, default=(0, ""))
    return best[1] if best[0] >= LIKELY else None
