"""The library's page: entities, what each system offers for them, flows and tables, from the documents themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.compile.mapping import compile_inbound, compile_outbound
from engine.compile.registry import Registry
from engine.spec.load import Document
from engine.spec.reconcile import ReconcileFlow
from engine.spec.sync import SyncFlow
from engine.spec.workspace import Workspace

WRITES = ("create", "update", "upsert")


def library_page(workspace: Workspace) -> str:
    """The whole page as Markdown. workspace: one whose connections the library's flows name."""
    registry = Registry(workspace)
    parts = ["# Library", "", "Generated from the documents; a test compares it with them.", "", "## Entities", "",
             "Owners are roles; of several the first that a connection has. Sensitive fields are masked without clearance.", "",
             "| entity | owners | lifecycle | matched by | sensitive |", "|---|---|---|---|---|"]  # fmt: skip
    entities = [name for name in workspace.names("schema") if _is_entity(workspace.document("schema", name))]
    parts += [_entity(workspace.document("schema", name)) for name in entities]
    parts += ["", "## What each system offers", "", "`reads`: system to canonical; `writes`: canonical to system.", "",
              "| entity | system | object | direction | mapping | to know |", "|---|---|---|---|---|---|"]  # fmt: skip
    parts += sorted(_mapping(workspace.document("mapping", name), registry) for name in _mappings(workspace))
    without = sorted(
        set(entities) - {workspace.document("mapping", name).model.entity for name in _mappings(workspace)}
    )
    parts += ["", f"No system of these holds a record of: {', '.join(without)}.", "", "## Flows", "",
              "| flow | entity | from | to | checks |", "|---|---|---|---|---|"]  # fmt: skip
    parts += [row for name in workspace.names("flow") for row in _flow(workspace.document("flow", name))]
    parts += ["", "## Reconciliations", "", "What each means, and what it leaves alone: [reconciliations.md](reconciliations.md).", "",
              "| flow | entity | sides | joined by | adds up |", "|---|---|---|---|---|"]  # fmt: skip
    parts += [row for name in workspace.names("flow") for row in _reconciliation(workspace.document("flow", name))]
    parts += ["", "## Tables", "", "| table | key | rows | notes |", "|---|---|---|---|"]
    parts += [_table(workspace.document("table", name)) for name in workspace.names("table")]
    return "\n".join(parts) + "\n"


def _is_entity(document: Document) -> bool:
    """Whether a schema is an entity's, and not a part of others such as money."""
    properties = document.data.get("properties", {})
    return any("x-owner" in one or "x-ref" in one for one in properties.values()) or "status" in properties


def _mappings(workspace: Workspace) -> Iterator[str]:
    """Mappings of systems; those between entities are told with their flows."""
    return (name for name in workspace.names("mapping") if workspace.document("mapping", name).model.object is not None)


def _entity(document: Document) -> str:
    properties = document.data["properties"]
    groups: dict[str, list[str]] = {}
    for name, field in properties.items():
        groups.setdefault(_owner(field.get("x-owner")), []).append(name)
    main = max(groups, key=lambda one: len(groups[one]))
    owners = "; ".join([main, *[f"{one}: {', '.join(names)}" for one, names in groups.items() if one != main]])
    states = ", ".join(properties.get("status", {}).get("enum", ()))
    rules = document.data.get("x-match", ())
    match = "; ".join(" + ".join(rule["fields"] if isinstance(rule, dict) else rule) for rule in rules)
    sensitive = ", ".join(name for name, field in properties.items() if "x-sensitive" in field)
    return f"| {document.name} | {owners} | {states} | {match} | {sensitive} |"


def _owner(given: Any) -> str:
    if given is None:
        return "the latest"
    if isinstance(given, str):
        return given
    return ", else ".join(one["role"] + (f" while `{one['when']}`" if "when" in one else "") for one in given)


def _mapping(document: Document, registry: Registry) -> str:
    model, system = document.model, document.name.split("/")[0]
    if system not in registry.workspace.names("connector"):  # written in Python: it takes whatever object there is
        return f"| {model.entity} | {system} | {model.object} | reads | `{document.name}` | {_note(document)} |"
    offered = registry.document("connector", system, document.at()).model.objects[model.object]
    reads, writes = compile_inbound(document, registry).inbound, compile_outbound(document, registry, role="").outbound
    ways = []
    if reads is not None and reads.rules and offered.read is not None and model.where != "`false`":
        ways.append("adds" if model.onto else "reads")
    kinds = {kind for kind in WRITES if getattr(offered, kind) is not None or kind in offered.batch}
    if writes is not None and writes.rules and kinds and not model.onto and model.each is None:
        ways.append("writes")
    return f"| {model.entity} | {system} | {model.object} | {', '.join(ways)} | `{document.name}` | {_note(document)} |"


def _note(document: Document) -> str:
    """The first sentence of the comment that leads a mapping."""
    if document.path is None:
        return ""
    lines: list[str] = []
    for line in document.path.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    text = " ".join(lines)
    end = min((at for at in (text.find(". "), text.find(": ")) if at > 0), default=len(text))
    return text[:end].rstrip(".").replace("|", "\\|")


def _flow(document: Document) -> Iterator[str]:
    model = document.model
    if isinstance(model, ReconcileFlow):
        return
    if not isinstance(model, SyncFlow):
        yield f"| {document.name} | {model.entity} | {document.data.get('kind')} | | |"
        return
    source = f"{model.source.connection} `{model.source.mapping}`"
    targets = "; ".join(f"{one.connection} `{one.mapping}`" for one in model.targets) or "the canonical store"
    checks = ", ".join(check.name for check in model.checks)
    yield f"| {document.name} | {model.entity} | {source} | {targets} | {checks} |"


def _reconciliation(document: Document) -> Iterator[str]:
    flow = document.model
    if isinstance(flow, ReconcileFlow):
        sides = "; ".join(f"{one.connection} `{one.mapping}`" for one in flow.all_sides().values())
        key = "links" if flow.key == "links" else ", ".join(flow.key)
        sums = [f"{one.sum or 'records'}{' by ' + ', '.join(one.by) if one.by else ''}" for one in flow.totals]
        yield f"| {document.name} | {flow.entity} | {sides} | {key} | {'; '.join(sums)} |"


def _table(document: Document) -> str:
    model = document.model
    rows = f"those of {model.from_.entity} in the store" if model.from_ else len(model.rows or ()) or "see the file"
    notes = (model.about.notes if model.about else None) or ""
    return f"| {document.name} | {', '.join(model.key)} | {rows} | {notes} |"
