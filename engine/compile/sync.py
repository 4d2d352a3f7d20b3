"""A sync flow bound for one run: source and target mappings compiled, checks, totals, guards.

Nothing here talks to a system: `describe` gives what the connectors know of an object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.compile.checks import CompiledCheck, compile_checks
from engine.compile.expression import Expression, compile_expression
from engine.compile.mapping import CompiledMapping, compile_inbound, compile_outbound
from engine.compile.registry import Registry
from engine.compile.schema import CompiledSchema
from engine.compile.shape import Shape
from engine.sdk.connector import ObjectInfo
from engine.sdk.errors import Position, Problem, Problems, SpecError
from engine.sdk.record import digest
from engine.spec.load import Document
from engine.spec.sync import SyncFlow

Describe = Callable[[str, str], ObjectInfo]
"""(connection, object) → what the connector says of it."""


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """Where records come from. `info` is None for the canonical store."""

    connection: str
    role: str
    mapping: CompiledMapping
    info: ObjectInfo | None
    where: Expression | None
    modified: str | None
    timezone: str

    @property
    def canonical(self) -> bool:
        return self.connection == "canonical"


@dataclass(frozen=True, slots=True)
class TargetPlan:
    """Where records go."""

    name: str
    connection: str
    role: str
    mapping: CompiledMapping
    info: ObjectInfo
    operation: str
    match: tuple[tuple[str, ...], ...]
    when: Expression | None
    on_delete: str
    on_leave: str
    emit: str | None
    at: Position

    @property
    def marker(self) -> str | None:
        """The target's field that holds Crosswalk's mark: the mapping's, else the connector's."""
        return self.mapping.model.marker or self.info.marker

    def native_paths(self, rule: tuple[str, ...]) -> tuple[str, ...] | None:
        """Where the target holds the fields of a match rule; None where one of them has no plain path."""
        fields = [self.mapping.model.fields.get(name) for name in rule]
        paths = [field.to or field.from_ if field is not None else None for field in fields]
        return tuple(map(str, paths)) if all(isinstance(path, str) for path in paths) else None

    @property
    def write_class(self) -> str:
        """The DELIVERY class of writes to it. A rests on upserts, C on something to search by; where a flow has no use
        for the one, or a mapping nothing for the other, what is left counts."""
        given = self.info.write_class
        if given == "A" and not ("upsert" in self.info.operations and self.operation in ("upsert", "update")):
            given = "C"
        if given == "C" and not (self.marker or self.match):
            return "D"
        return given


@dataclass(frozen=True, slots=True)
class CollectPlan:
    """A total over the canonical store. by: group expression; value: what is summed (None: counted)."""

    name: str
    entity: str
    by: Expression
    where: Expression | None
    value: Expression | None


@dataclass(slots=True)
class SyncPlan:
    """Everything a run of one sync flow needs, fixed at its start. logic: digest of the resolved documents."""

    name: str
    document: Document
    flow: SyncFlow
    schema: CompiledSchema
    source: SourcePlan
    checks: tuple[CompiledCheck, ...]
    targets: tuple[TargetPlan, ...]
    collects: tuple[CollectPlan, ...]
    logic: bytes
    documents: Mapping[str, Any] = field(default_factory=dict)
    follows: bool = False
    """`where` or a mapping's expression reads other records or the clock: input is never skipped as unchanged."""


def compile_sync(document: Document, registry: Registry, describe: Describe | None) -> SyncPlan:
    """Compile a flow. Raises SpecError with every fault found in it and in what it names.

    Without `describe` (static validation) objects are taken to be as the mappings say.
    """
    flow: SyncFlow = document.model
    problems = Problems()
    schema = problems.tried(lambda: registry.schema(flow.entity, document.at("entity")))
    shape = problems.tried(lambda: registry.shape(flow.entity, document.at("entity")))
    problems.raise_any()
    assert schema is not None and shape is not None
    extended = shape.extended(dict.fromkeys(flow.collect)) if flow.collect else shape
    source = problems.tried(lambda: _source(document, registry, describe, shape))
    checks = problems.tried(lambda: compile_checks(document, flow.checks, extended))
    targets = [
        problems.tried(lambda n=number: bind_target(document, n, registry, describe, extended, schema))
        for number in range(len(flow.targets))
    ]
    collects = problems.tried(lambda: _collects(document, registry))
    problems.raise_any()
    assert source is not None and checks is not None and collects is not None
    found = tuple(target for target in targets if target is not None)
    plan = SyncPlan(document.name, document, flow, schema, source, checks, found, collects, b"")
    plan.documents = printable(_documents(plan, registry))
    plan.logic = digest(plan.documents)
    plan.follows = _follows(plan)
    return plan


def _source(document: Document, registry: Registry, describe: Describe | None, shape: Shape) -> SourcePlan:
    flow: SyncFlow = document.model
    given = flow.source
    mapping_document = registry.document("mapping", given.mapping, document.at("source", "mapping"))
    _same_entity(document, ("source", "mapping"), flow.entity, mapping_document)
    connection = registry.workspace.connection(given.connection, document.at("source", "connection"))
    if isinstance(mapping_document.model.onto, str):
        if mapping_document.model.of is None:
            raise _onto_fault(document, ("source", "mapping"), mapping_document, "sends, and cannot be read through",
                              "inbound, write `onto: { from: …, ref: … }`")  # fmt: skip
        if document.data.get("kind") != "process":  # it is applied once, which only a step can promise
            raise _onto_fault(document, ("source", "mapping"), mapping_document, "changes a record once, not at each run",
                              "name it in a `derive` step of a process")  # fmt: skip
    mapping = compile_inbound(mapping_document, registry, zone=connection.timezone)
    info = describe(given.connection, mapping.model.object or "") if describe and not connection.canonical else None
    if given.partition is not None:
        _sliced(document, given.partition.by, connection.canonical, info)
    where = None
    if given.where:
        where = compile_expression(given.where, document.at("source", "where"), shape=shape)
    modified = info.modified if info and given.incremental not in (False, "none") else None
    return SourcePlan(given.connection, connection.role, mapping, info, where, modified, connection.timezone)


def _sliced(document: Document, by: str, canonical: bool, info: ObjectInfo | None) -> None:
    """Raises SpecError E382 where the source cannot be read in slices of that field."""
    at = document.at("source", "partition")
    if canonical:
        raise SpecError(Problem("E382", "the canonical store is read in one go", at, "leave `partition` out"))
    if info is None:
        return
    if by not in info.slices:
        able = f"it can by {', '.join(info.slices)}" if info.slices else "leave `partition` out: it is read in one go"
        raise SpecError(Problem("E382", f"{info.name} cannot be read in slices of {by!r}", at, able))
    if info.modified is not None and info.modified_type not in ("instant", "date"):
        raise SpecError(Problem("E382", f"{info.name} counts its changes ({info.modified}), so nobody can tell what changed while "
                                "its slices are read", at, "leave `partition` out, or say `incremental: none`"))  # fmt: skip


def bind_target(
    document: Document, number: int, registry: Registry, describe: Describe | None, shape: Shape, schema: CompiledSchema
) -> TargetPlan:
    """One target of a flow: its mapping compiled for the role of its connection."""
    flow: SyncFlow = document.model
    given, place = flow.targets[number], ("targets", number)
    mapping_document = registry.document("mapping", given.mapping, document.at(*place, "mapping"))
    _same_entity(document, (*place, "mapping"), flow.entity, mapping_document)
    connection = registry.workspace.connection(given.connection, document.at(*place, "connection"))
    if mapping_document.model.onto is not None:
        if not isinstance(mapping_document.model.onto, str):
            raise _onto_fault(document, (*place, "mapping"), mapping_document, "reads, and cannot be written through",
                              "outbound, write `onto:` with the path of a reference, such as project.opportunity")  # fmt: skip
        ending = next(
            (key for key in ("on_delete", "on_leave") if getattr(given, key) in ("delete", "deactivate")), None
        )
        if ending or given.operation in ("create", "append"):
            key = ending or "operation"
            raise _onto_fault(document, (*place, key), mapping_document, f"adds to another record, and takes no `{key}`",
                              "leave it out: the record is another mapping's to make and to end")  # fmt: skip
    info = describe(given.connection, mapping_document.model.object or "") if describe else None
    mapping = compile_outbound(mapping_document, registry, role=connection.role, info=info, zone=connection.timezone)
    when = compile_expression(given.when, document.at(*place, "when"), shape=shape) if given.when else None
    match = tuple(tuple(rule) for rule in given.match) if given.match is not None else schema.match
    return TargetPlan(
        given.name or given.connection,
        given.connection,
        connection.role,
        mapping,
        info or ObjectInfo(mapping_document.model.object, ("id",)),
        given.operation,
        match,
        when,
        given.on_delete,
        given.on_leave,
        given.emit,
        document.at(*place),
    )


def _onto_fault(document: Document, place: tuple[Any, ...], mapping: Document, what: str, hint: str) -> SpecError:
    return SpecError(Problem("E357", f"{mapping.name!r} is an `onto` mapping that {what}", document.at(*place), hint))


def _same_entity(document: Document, place: tuple[Any, ...], entity: str, mapping: Document) -> None:
    if mapping.model.entity != entity:
        raise SpecError(
            Problem(
                "E351",
                f"mapping {mapping.name!r} is for {mapping.model.entity!r}, the flow for {entity!r}",
                document.at(*place),
                f"name a mapping of {entity!r}",
            )
        )


def _collects(document: Document, registry: Registry) -> tuple[CollectPlan, ...]:
    flow: SyncFlow = document.model
    plans = []
    for name, given in flow.collect.items():
        place = ("collect", name)
        shape = registry.shape(given.entity, document.at(*place, "entity"))

        def expression(text: str | None, key: str, shape: Shape = shape, place: Any = place) -> Expression | None:
            return compile_expression(text, document.at(*place, key), shape=shape) if text else None

        by = expression(given.by, "by")
        assert by is not None
        plans.append(
            CollectPlan(name, given.entity, by, expression(given.where, "where"), expression(given.sum, "sum"))
        )
    return tuple(plans)


def _documents(plan: SyncPlan, registry: Registry) -> dict[str, Any]:
    """The resolved documents that decide what this flow does, by `kind/name`."""
    documents = {f"flow/{plan.name}": plan.document.data, f"schema/{plan.schema.entity}": plan.schema.bundle}
    for mapping in (plan.source.mapping, *(target.mapping for target in plan.targets)):
        documents[f"mapping/{mapping.name}"] = mapping.document.data
    for name, table in registry.used_tables().items():
        documents[f"table/{name}"] = [list(table.columns), [dict(row) for row in table.rows]]
    return documents


def _follows(plan: SyncPlan) -> bool:
    """Whether the same input may give another result: expressions that read other records, or the clock."""
    inbound = plan.source.mapping
    expressions = [plan.source.where, *(target.when for target in plan.targets)]
    if any(one is not None and (one.follows or "now" in one.functions) for one in expressions):
        return True
    return inbound.uses_clock or inbound.follows or any(target.mapping.uses_clock for target in plan.targets)


def printable(documents: Any) -> Any:
    """Documents as JSON: keys that are no text (typed value maps) become text with their type."""
    if isinstance(documents, dict):
        return {
            key if isinstance(key, str) else f"!{type(key).__name__} {key}": printable(value)
            for key, value in documents.items()
        }
    return [printable(one) for one in documents] if isinstance(documents, (list, tuple)) else documents
