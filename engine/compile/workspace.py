"""Every static check of a workspace: documents, names, mappings both ways, flows; no connection is opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from engine.compile.cycles import starts_itself
from engine.compile.indicator import compile_indicator
from engine.compile.mapping import compile_inbound, compile_outbound
from engine.compile.process import compile_process
from engine.compile.reconcile import compile_reconcile
from engine.compile.registry import Registry
from engine.compile.sync import compile_sync
from engine.compile.testcase import test_faults
from engine.compile.triggers import circles, shared_paths, unheard
from engine.sdk.connector import Connector
from engine.sdk.errors import Position, Problem, Problems, SpecError, in_order, nearest, unknown_name
from engine.spec.load import Document
from engine.spec.process import ProcessFlow
from engine.spec.sync import SyncFlow
from engine.spec.workspace import Workspace

KINDS = ("connector", "schema", "table", "mapping", "flow", "indicator", "test")


def problems_of(workspace: Workspace, names: Iterable[str] = ()) -> list[Problem]:
    """All faults at once, in order of place. names: documents or files to look at; everything otherwise."""
    problems, registry = Problems(), Registry(workspace)
    wanted = set(names)
    if not wanted:
        problems.extend(_connections(workspace))
    for kind in KINDS:
        for name in workspace.names(kind, own=True):
            if wanted and not wanted & {name, f"{kind}/{name}"}:
                continue
            document = problems.tried(lambda kind=kind, name=name: workspace.document(kind, name))
            if document is not None:
                _check(problems, registry, document)
    known = {kind: workspace.names(kind) for kind in KINDS}
    unknown = wanted - {one for kind, names in known.items() for name in names for one in (name, f"{kind}/{name}")}
    for name in sorted(unknown):
        problems.extend([unknown_name("document", name, [n for kind in KINDS for n in workspace.names(kind)], None)])
    if not wanted:
        problems.extend(_roles(workspace, registry))
    return in_order(problems.found)


def _check(problems: Problems, registry: Registry, document: Document) -> None:
    kind = document.kind
    if kind == "schema":
        problems.tried(lambda: _schema(registry, document))
    elif kind == "mapping":
        problems.tried(lambda: _mapping(problems, registry, document))
    elif kind == "flow":
        _flow(problems, registry, document)
    elif kind == "table":
        problems.tried(lambda: registry.table(document.name))
    elif kind == "test":
        test = document.model
        name, what = (test.mapping, "mapping") if test.mapping else (test.flow, "flow")
        problems.tried(lambda: registry.document(what, name, document.at(what)))
        problems.extend(test_faults(document, registry.workspace))
    elif kind == "indicator":
        problems.tried(lambda: compile_indicator(document, registry))


def _schema(registry: Registry, document: Document) -> None:
    registry.schema(document.name)
    for path, at in _xrefs(document.data, (), document):
        registry.document("schema", path, at)


def _xrefs(node: Any, path: tuple[Any, ...], document: Document) -> Iterator[tuple[str, Position]]:
    if isinstance(node, dict):
        target = node.get("x-ref")
        for one in [target] if isinstance(target, str) else target or ():
            if one != "any":
                yield one, document.at(*path, "x-ref")
        for key, item in node.items():
            yield from _xrefs(item, (*path, key), document)
    elif isinstance(node, list):
        for number, item in enumerate(node):
            yield from _xrefs(item, (*path, number), document)


def _mapping(problems: Problems, registry: Registry, document: Document) -> None:
    model = document.model
    schema = registry.schema(model.entity, document.at("entity"))
    if model.schema_ is not None:
        major = str(schema.document.data.get("x-version", "1.0.0")).split(".")[0]
        if str(model.schema_) != major:
            problems.add("E352", f"the mapping is for version {model.schema_} of {model.entity!r}, the schema is {major}",
                         document.at("schema"), "see what changed, then write the new version")  # fmt: skip
    shape = registry.shape(model.entity)
    for section in ("fields", "inbound"):
        _targets(problems, document, shape, getattr(model, section) or {}, (section,))
    for place, name in _references(model):
        problems.tried(lambda place=place, name=name: registry.document("schema", name, document.at(*place)))
    problems.tried(lambda: compile_inbound(document, registry))
    problems.tried(lambda: compile_outbound(document, registry, role=""))


def _targets(problems: Problems, document: Document, shape: Any, rules: dict[str, Any], place: tuple[Any, ...]) -> None:
    """Every canonical field that a mapping writes exists."""
    for name, rule in rules.items():
        given = name == "id" and len(place) == 1  # elements of lists have ids of their own
        child = None if given else shape.child(name)
        if child is None:
            hint = "the engine gives ids" if given else nearest(name, shape.names())
            problems.add("E353", f"{shape.title} has no field {name!r}", document.key_at(*place, name), hint)
        elif rule.fields:
            inner = child.element() if rule.each else child
            _targets(problems, document, inner, rule.fields, (*place, name, "fields"))


def _references(model: Any) -> Iterator[tuple[tuple[Any, ...], str]]:
    for section in ("fields", "inbound", "outbound", "per"):
        for name, rule in (getattr(model, section) or {}).items():
            for entity in rule.ref.entities if rule.ref else ():
                yield (section, name, "ref"), entity


def _flow(problems: Problems, registry: Registry, document: Document) -> None:
    flow, workspace = document.model, registry.workspace
    known = workspace.names("flow") if any(trigger.after for trigger in flow.trigger) else []
    for number, trigger in enumerate(flow.trigger):
        if trigger.after is not None and trigger.after not in known:
            problems.extend([unknown_name("flow", trigger.after, known, document.at("trigger", number, "after"))])
        if trigger.webhook is not None:
            at = document.at("trigger", number, "webhook", "connection")
            problems.tried(lambda name=trigger.webhook.connection, at=at: workspace.connection(name, at))
    problems.extend(circles(document, workspace))
    problems.extend(shared_paths(document, workspace))
    problems.extend(unheard(document, workspace))
    _queues(problems, document, workspace)
    if isinstance(flow, SyncFlow):
        problems.tried(lambda: compile_sync(document, registry, None))
        for number, name in enumerate(flow.refresh):
            properties = registry.schema(flow.entity).refs if flow.entity in workspace.names("schema") else {}
            if name not in properties:
                problems.add("E355", f"`refresh` names {name!r}, which is not a reference of {flow.entity}",
                             document.at("refresh", number), nearest(name, properties))  # fmt: skip
        return
    if isinstance(flow, ProcessFlow):
        problems.tried(lambda: compile_process(document, registry, None))
        problems.extend(starts_itself(document, workspace))
        return
    problems.tried(lambda: compile_reconcile(document, registry, None))


def _queues(problems: Problems, document: Document, workspace: Workspace) -> None:
    known = workspace.settings.queues
    asked: list[tuple[tuple[Any, ...], str | None]] = [(("owner",), document.model.owner)]
    asked += [(("queues", side), queue) for side, queue in getattr(document.model, "queues", {}).items()]
    for key in ("checks", "steps"):
        for number, one in enumerate(getattr(document.model, key, ())):
            asked.append(((key, number, "queue"), one.queue))
    for place, name in asked:
        if name is not None and name not in known and document.origin == "workspace":
            problems.extend([unknown_name("queue", name, known, document.at(*place))])


def _connections(workspace: Workspace) -> Iterator[Problem]:
    for name in workspace.settings.connections:
        try:
            info = workspace.connection(name)
            workspace.connector_kind(info.connector, workspace.at("connections", name, "connector"))
            workspace.config(name, reveal=False)
        except SpecError as error:
            yield from error.problems
    known = workspace.settings.connections
    for number, route in enumerate(workspace.settings.events):
        if route.to not in known:
            yield unknown_name("connection", route.to, known, workspace.at("events", number, "to"))
        elif not _carries(workspace, route.to):
            yield Problem("E363", f"connection {route.to!r} takes no events", workspace.at("events", number, "to"),
                          "name one that does: its connector is nats, rabbitmq or cloudevents")  # fmt: skip


def _carries(workspace: Workspace, name: str) -> bool:
    """Whether a connection's connector publishes events; True where the connector is a fault told elsewhere."""
    try:
        found, _ = workspace.connector_kind(workspace.connection(name).connector, None)
    except SpecError:
        return True
    return bool(found.publish is not Connector.publish)


def _roles(workspace: Workspace, registry: Registry) -> Iterator[Problem]:
    """Roles that own fields of entities in use, and that no connection has."""
    roles = workspace.roles()
    entities = set()
    for name in workspace.names("flow", own=True):
        try:
            entities.add(workspace.document("flow", name).model.entity)
        except SpecError:
            continue  # reported where it stands
    for entity in sorted(entities & set(workspace.names("schema"))):
        try:
            missing = registry.schema(entity).ownership.roles() - roles
        except SpecError:
            continue  # reported where it stands
        document = workspace.document("schema", entity)
        for role in sorted(missing) if document.origin == "workspace" else ():
            hint = f"give a connection `role: {role}`, or another owner"
            yield Problem(
                "E356", f"no connection has the role {role!r}, which owns fields of {entity!r}", document.at(), hint
            )
