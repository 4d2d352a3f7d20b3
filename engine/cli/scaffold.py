"""What `new` writes: documents to start from, fitted to what the workspace has."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import yaml

from engine.cli.propose import fields_of, known_to_mappings, mapping_text, matches, nearest_entity, path_of
from engine.sdk.errors import CrosswalkError, Problem, UsageError, nearest
from engine.sdk.record import Fields
from engine.spec.workspace import Workspace

FIXED = {
    "schema": "$schema: https://json-schema.org/draft/2020-12/schema\ntitle: {title}\nx-version: 1.0.0\nx-label: name\n"
              "type: object\nadditionalProperties: false\nrequired: [name]\nproperties:\n"
              "  name: {{ type: string, minLength: 1 }}\n",
    "table": "table: {name}\nkey: code\ncolumns: [code, name]\nrows:\n  - [A, First]\n",
    "connector": "connector: {name}\nsettings: {{ url: {{ required: true, doc: Address of the API }} }}\nbase: \"{{url}}\"\n"
                 "auth: {{ kinds: [bearer] }}\nmessage: body.error\nobjects:\n  things:\n    key: id\n"
                 "    read: {{ get: /things, records: body }}\n",
    "indicator": "indicator: {name}\nentity: {entity}\nmeasure: count\n",
}  # fmt: skip
COMPARES = ("flow: {name}\nkind: reconcile\nentity: {entity}\ntrigger: [{{ schedule: \"0 2 * * *\", timezone: UTC }}]\n"
            "left: {{ {left} }}\nright: {{ {right} }}\nkey: links\nreport: [html]\n")  # fmt: skip


def scaffold(workspace: Workspace, kind: str, name: str, given: dict[str, str | None]) -> tuple[str, list[str]]:
    """(text of the document, what is left to do). given: entity, connection, object, mapping; None where not said."""
    if kind == "mapping":
        return _mapping(workspace, name, given)
    if kind in ("flow", "reconciliation"):
        return _flow(workspace, name, given, reconciles=kind == "reconciliation")
    if kind == "test":
        return _test(workspace, name, given)
    title = name.split("/")[-1].replace("-", " ").capitalize()
    entity = _entity(workspace, name, given) if kind == "indicator" else ""
    return FIXED[kind].format(name=name, title=title, entity=entity), []


def _entity(workspace: Workspace, name: str, given: dict[str, str | None]) -> str:
    entity = given["entity"] or nearest_entity(workspace, given["object"] or name)
    if entity is None:
        own = workspace.names("schema", own=True)
        if len(own) == 1:
            return own[0]
        raise UsageError(Problem("X900", f"no schema resembles {name!r}", None,
                                 f"add --entity ({nearest(name, workspace.names('schema'))})"))  # fmt: skip
    workspace.document("schema", entity)
    return entity


def _mapping(workspace: Workspace, name: str, given: dict[str, str | None]) -> tuple[str, list[str]]:
    """Matches of both sides' fields; where the system cannot be asked, its names are taken from the schema."""
    if "/" not in name:
        raise UsageError(
            Problem("X900", f"{name!r} does not name a system", None, f"write SYSTEM/OBJECT, such as crm/{name}")
        )
    entity = _entity(workspace, name, given)
    schema: Fields = workspace.document("schema", entity).data
    system, _, last = name.partition("/")
    connection = given["connection"] or _connection(workspace, system)
    object = given["object"] or last
    if connection is not None:
        try:
            with workspace.connector(connection) as connector:
                objects = connector.objects()
                object = given["object"] or _object(objects, last)
                more = known_to_mappings(workspace, workspace.connection(connection).connector, object)
                fields = fields_of(connector, object, more)
        except CrosswalkError as error:
            if given["connection"] or given["object"]:
                raise
            return _unseen(name, last, entity, schema), [f"the system could not be asked: {error.problem.message}"]
        found = matches(schema.get("properties", {}), schema.get("required", []), fields)
        left = [
            f"{one.field}: required, and no field of {object} resembles it"
            for one in found
            if one.required and not one.source
        ]
        return mapping_text(name, object, entity, schema, found, fields), left
    return _unseen(name, last, entity, schema), [
        f"no connection of the workspace is a {system!r}: its names are the schema's"
    ]


def _unseen(name: str, object: str, entity: str, schema: Fields) -> str:
    from engine.sdk.connector import FieldInfo

    simple = [one for one, sub in schema.get("properties", {}).items()
              if isinstance(sub, dict) and sub.get("type") in ("string", "number", "integer", "boolean") and "x-ref" not in sub]  # fmt: skip
    fields = [FieldInfo(one) for one in simple if one != "id"]
    required = [one for one in schema.get("required", []) if one in simple]
    found = matches({one: schema["properties"][one] for one in simple}, required, fields)
    return mapping_text(name, object, entity, schema, found, fields)


def _connection(workspace: Workspace, system: str) -> str | None:
    names = workspace.settings.connections
    if system in names:
        return system
    return next((one for one in names if workspace.connection(one).connector == system), None)


def _object(objects: list[str], last: str) -> str:
    folded = {one.lower().replace("_", "").replace("-", ""): one for one in objects}
    wanted = last.lower().replace("_", "").replace("-", "")
    return next((folded[one] for one in (wanted, f"{wanted}s", wanted.removesuffix("s")) if one in folded), last)


def _flow(
    workspace: Workspace, name: str, given: dict[str, str | None], *, reconciles: bool = False
) -> tuple[str, list[str]]:
    """From the workspace's mapping that resembles the name, to another mapping of the same entity if there is one;
    a reconciliation compares the two, or the one with the canonical store."""
    from rapidfuzz import fuzz

    known = _own_mappings(workspace, "flow")
    source = given["mapping"] or max(known, key=lambda one: (fuzz.partial_ratio(name, one), one))
    entity = workspace.document("mapping", source).model.entity
    others = [one for one in known if one.split("/")[0] != source.split("/")[0]
              and workspace.document("mapping", one).model.entity == entity]  # fmt: skip
    connection = given["connection"] or _connection(workspace, source.split("/")[0]) or _any_connection(workspace)
    target = next((one for one in others if _connection(workspace, one.split("/")[0])), None)
    if reconciles:
        other = (
            f"connection: {_connection(workspace, target.split('/')[0])}, mapping: {target}"
            if target
            else "connection: canonical"
        )
        return COMPARES.format(
            name=name, entity=entity, left=f"connection: {connection}, mapping: {source}", right=other
        ), ["compare, ignore: see what a first run finds: crosswalk plan " + name]
    lines = [
        f"flow: {name}",
        "kind: sync",
        f"entity: {entity}",
        f"source: {{ connection: {connection}, mapping: {source} }}",
    ]
    if target is None:
        lines += ["targets: []  # only the canonical store is filled; add { connection: …, mapping: … }"]
        return "\n".join(lines) + "\n", [f"targets: no other mapping of {entity} has a connection"]
    lines += ["targets:", f"  - {{ connection: {_connection(workspace, target.split('/')[0])}, mapping: {target} }}"]
    return "\n".join(lines) + "\n", []


def _own_mappings(workspace: Workspace, kind: str) -> list[str]:
    found = workspace.names("mapping", own=True)
    if not found:
        raise UsageError(Problem("X900", f"a {kind} needs a mapping, and the workspace has none of its own", None,
                                 "write one first: crosswalk new mapping SYSTEM/OBJECT"))  # fmt: skip
    return found


def _any_connection(workspace: Workspace) -> str:
    names = list(workspace.settings.connections)
    if not names:
        raise UsageError(
            Problem(
                "X900", "a flow needs a connection, and crosswalk.yaml has none", None, "add one under `connections:`"
            )
        )
    return names[0]


class _Exact(yaml.SafeDumper):
    """Decimals as they are."""


_Exact.add_representer(
    Decimal, lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:float", format(value, "f"))
)
_SAMPLES: dict[str, Any] = {"integer": 1, "decimal": "1.00", "money": "1.00", "boolean": True, "date": "2026-01-31",
                            "datetime": "2026-01-31T12:00:00Z", "list": ["A"]}  # fmt: skip


def _test(workspace: Workspace, name: str, given: dict[str, str | None]) -> tuple[str, list[str]]:
    """A record that the mapping takes, and what it makes of it now: to be corrected by hand into what it should."""
    from rapidfuzz import fuzz

    from engine.compile.environment import StaticEnv
    from engine.compile.mapping import compile_inbound
    from engine.compile.registry import Registry
    from engine.compile.rules import LinkSlot

    known = _own_mappings(workspace, "test")
    mapping = given["mapping"] or max(known, key=lambda one: (fuzz.partial_ratio(name, one), one))
    document, registry = workspace.document("mapping", mapping), Registry(workspace)
    direction = compile_inbound(document, registry).inbound
    assert direction is not None
    sample: Fields = {}
    for rule in document.model.fields.values():
        if isinstance(rule.from_, str) and path_of(rule.from_) == rule.from_ and "." not in rule.from_ and not rule.ref:
            sample[rule.from_] = next(iter(rule.values)) if rule.values else _SAMPLES.get(rule.as_ or "", "A")
    slots = [LinkSlot(lambda key: None) for _ in direction.slots]
    found, faults = direction.inward(sample, StaticEnv(), slots)
    wrong = {direction.rules[fault[0]].path for fault in faults}
    wrong |= {path.split(".")[0] for path, _ in registry.schema(document.model.entity).faults({"id": "test", **found})}
    body: Fields = {"test": name, "mapping": mapping, "given": sample}
    if wrong:
        body["rejects"] = {"field": sorted(wrong)[0]}
    else:
        body["expect"] = {key: value for key, value in found.items() if value is not None}
    text = yaml.dump(body, Dumper=_Exact, sort_keys=False, allow_unicode=True, width=110)
    return text, ["put a real record under `given`, and what should come of it under `expect`"]
