"""The steps of a process flow, each bound with what it needs: expressions, mappings, what it gives the steps after it."""

from __future__ import annotations

from collections.abc import Mapping as Table
from dataclasses import dataclass, field, replace
from typing import Any

from engine.compile.expression import Expression, compile_expression
from engine.compile.mapping import CompiledMapping, compile_inbound, compile_outbound
from engine.compile.registry import Registry
from engine.compile.shape import Schema, Shape
from engine.compile.sync import Describe, SourcePlan, SyncPlan, bind_target, compile_sync
from engine.compile.template import Template, compile_template
from engine.sdk.errors import Position, Problem, Problems, SpecError
from engine.spec.load import Document
from engine.spec.mapping import Mapping
from engine.spec.process import ProcessFlow, Step
from engine.spec.source import Positions
from engine.spec.sync import SyncFlow

TEXT: Schema = {"type": ["string", "null"]}
RESULTS: dict[str, Schema] = {
    "check": {"type": ["boolean", "null"]},
    "approve": {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {"approved_by": TEXT, "at": TEXT, "because": TEXT, "approval": TEXT},
    },
    "wait": {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {"type": TEXT, "id": TEXT, "at": TEXT, "data": {"type": ["object", "null"]}},
    },
    "call": {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {"flow": TEXT, "run": TEXT, "state": TEXT},
    },
}
"""What steps give that have no entity: kind → schema of the result."""
WRITTEN: Schema = {
    "type": ["object", "null"],
    "additionalProperties": False,
    "properties": {"native_id": TEXT, "outcome": TEXT},
}
"""What a `write` step gives of each target."""


@dataclass(frozen=True, slots=True)
class FindPlan:
    """Where a `find` step looks, and by which of the system's fields. by: canonical field → (path there, value)."""

    connection: str
    object: str
    inbound: CompiledMapping
    outbound: CompiledMapping
    by: Table[str, tuple[str, Expression]]


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step, bound. `plan`: of a write its targets, of a derivation its mapping as the source."""

    number: int
    kind: str
    name: str
    at: Position
    model: Step
    when: Expression | None = None
    that: Expression | None = None
    message: Template | None = None
    record: Expression | None = None
    plan: SyncPlan | None = None
    find: FindPlan | None = None
    subject: Expression | None = None
    data: Table[str, Expression] = field(default_factory=dict)

    @property
    def acts(self) -> bool:
        """Whether it changes something outside: what was approved before it must still be so."""
        return self.kind in ("write", "call", "publish")

    @property
    def gives(self) -> bool:
        """Whether later steps see a result of it."""
        return self.kind != "publish"


class Binder:
    """Binds one step after the other; `shape` grows by each step's result."""

    def __init__(self, document: Document, registry: Registry, describe: Describe | None, shape: Shape) -> None:
        self.document, self.registry, self.describe, self.shape = document, registry, describe, shape
        self.flow: ProcessFlow = document.model

    def expression(self, text: str, *place: Any, shape: Shape) -> Expression:
        return compile_expression(text, self.document.at(*place), shape=shape)

    def step(self, number: int) -> StepPlan:
        model, place, problems = self.flow.steps[number], ("steps", number), Problems()
        bound: dict[str, Any] = {}
        for key, text in (("when", model.when), ("that", model.that), ("record", model.record), ("for", model.for_)):
            if text is not None:
                name = "subject" if key == "for" else key
                bound[name] = problems.tried(lambda k=key, t=text: self.expression(t, *place, k, shape=self.shape))
        if model.otherwise is not None:
            at = self.document.at(*place, "otherwise")
            bound["message"] = problems.tried(
                lambda: compile_template(str(model.otherwise), at, mode="message", shape=self.shape)
            )
        bound["data"] = {
            name: problems.tried(lambda n=name, t=text: self.expression(t, *place, "data", n, shape=self.shape))
            for name, text in (model.data or {}).items()
        }
        result = RESULTS.get(model.kind)
        if model.kind in ("write", "derive", "find"):
            make = {"write": self._write, "derive": self._derive, "find": self._find}[model.kind]
            found = problems.tried(lambda: make(number, model))
            if found is not None:
                (key, value), result = found
                bound[key] = value
        if model.kind == "publish" and not (model.optional and model.connection not in self._connections()):
            at = self.document.at(*place, "connection")
            problems.tried(lambda: self.registry.workspace.connection(str(model.connection), at))
        if model.kind == "call":
            problems.tried(lambda: self._called(number, model))
        if result is not None:
            self.shape = self.shape.with_fields({model.name: result})
        problems.raise_any()
        return StepPlan(number, model.kind, model.name, self.document.at(*place), model, **bound)

    def _connections(self) -> Table[str, Any]:
        return self.registry.workspace.settings.connections

    # ------------------------------------------------------------------ steps with mappings
    def _write(self, number: int, model: Step) -> tuple[tuple[str, SyncPlan], Schema]:
        place = ("steps", number)
        names = [target.mapping for target in model.targets or ()]
        mapping = self.registry.document("mapping", names[0], self.document.at(*place, "targets", 0, "mapping"))
        entity = mapping.model.entity
        self._record_of(number, model, entity)
        document = self._as_sync(number, entity, {"connection": "canonical", "mapping": names[0]}, model)
        schema, shape = self.registry.schema(entity), self.registry.shape(entity)
        problems = Problems()
        found = [
            problems.tried(lambda n=n: bind_target(document, n, self.registry, self.describe, shape, schema))
            for n in range(len(names))
        ]
        problems.raise_any()
        source = SourcePlan("canonical", "canonical", found[0].mapping, None, None, None, "UTC")
        plan = SyncPlan(self.document.name, document, document.model, schema, source, (), tuple(found), (), b"")
        properties = {target.name: WRITTEN for target in found}
        return ("plan", plan), {"type": ["object", "null"], "additionalProperties": False, "properties": properties}

    def _derive(self, number: int, model: Step) -> tuple[tuple[str, SyncPlan], Schema]:
        at = self.document.at("steps", number, "mapping")
        mapping = self.registry.document("mapping", str(model.mapping), at)
        given = mapping.model
        if given.of is None or given.group:
            why = "it is many to one (`group`)" if given.group else "it has no `of`"
            raise SpecError(Problem("E369", f"{mapping.name!r} derives no records from one: {why}", at,
                                    "name a mapping between entities, such as canonical/opportunity_to_project"))  # fmt: skip
        self._record_of(number, model, given.of)
        source = {"connection": "canonical", "mapping": model.mapping}
        document = self._as_sync(number, given.entity, source, model)
        plan = compile_sync(document, self.registry, self.describe)
        if model.role is not None:
            self._speaks(number, model.role, given)
            plan.source = replace(plan.source, role=model.role)
        schema = _nullable(self.registry.schema(given.entity).bundle, given.entity)
        return ("plan", plan), {"type": ["array", "null"], "items": schema} if given.each else schema

    def _speaks(self, number: int, role: str, mapping: Mapping) -> None:
        """`role:` is one that owns fields of the entity, and the record is one that was made elsewhere."""
        at, owners = self.document.at("steps", number, "role"), self.registry.schema(mapping.entity).ownership.roles()
        if mapping.onto is None:
            raise SpecError(Problem("E370", f"{mapping.mapping!r} makes records of its own, which no other role speaks for", at,
                                    "leave `role` out, or name a mapping with `onto`"))  # fmt: skip
        if role not in owners:
            raise SpecError(Problem("E370", f"{role!r} owns no field of {mapping.entity}", at,
                                    f"write one of {', '.join(sorted(owners)) or 'none'}"))  # fmt: skip

    def _find(self, number: int, model: Step) -> tuple[tuple[str, FindPlan], Schema]:
        place = ("steps", number)
        at = self.document.at(*place, "mapping")
        connection = self.registry.workspace.connection(str(model.connection), self.document.at(*place, "connection"))
        mapping = self.registry.document("mapping", str(model.mapping), at)
        if connection.canonical or isinstance(mapping.model.onto, str) or mapping.model.each:
            raise SpecError(Problem("E368", f"nothing is found through {mapping.name!r}: a `find` step reads one record of a system",
                                    at, "name a connection, and a mapping that reads whole records"))  # fmt: skip
        info = self.describe(connection.name, mapping.model.object or "") if self.describe else None
        inbound = compile_inbound(mapping, self.registry, zone=connection.timezone)
        outbound = compile_outbound(mapping, self.registry, role="", info=info, zone=connection.timezone)
        by, problems = {}, Problems()
        for name, text in (model.by or {}).items():
            rule = mapping.model.fields.get(name)
            path = (rule.to or rule.from_) if rule is not None else None
            if not isinstance(path, str) or (
                info is not None and info.matches is not None and path not in info.matches
            ):
                problems.add("E368", f"{mapping.name!r} says no field of {mapping.model.object} to search {name!r} by",
                             self.document.key_at(*place, "by", name), "search by a field that the mapping gives by a plain path")  # fmt: skip
                continue
            value = problems.tried(lambda n=name, t=text: self.expression(t, *place, "by", n, shape=self.shape))
            by[name] = (path, value)
        problems.raise_any()
        schema = dict(self.registry.schema(mapping.model.entity, at).bundle)
        schema["properties"] = {**schema.get("properties", {}), "native_id": TEXT}
        return ("find", FindPlan(connection.name, mapping.model.object or "", inbound, outbound, by)), _nullable(
            schema, mapping.model.entity
        )

    def _called(self, number: int, model: Step) -> None:
        """The flow that is called is there, and runs for single records."""
        document = self.registry.workspace.document("flow", model.name, self.document.at("steps", number, "call"))
        if not isinstance(document.model, (SyncFlow, ProcessFlow)):
            raise SpecError(Problem("E367", f"{model.name!r} is no flow that runs for one record", self.document.at("steps", number, "call"),
                                    "call a sync or a process flow"))  # fmt: skip

    def _record_of(self, number: int, model: Step, entity: str) -> None:
        """`record:` is a record of that entity: the flow's own, a reference to one, or what a step gave."""
        text, shape = model.record, self.shape
        at = self.document.at("steps", number, "record" if text else "mapping")
        if text is None or text == "@":
            if entity != self.flow.entity:
                raise SpecError(Problem("E367", f"the step takes a {entity}, the flow's record is a {self.flow.entity}", at,
                                        "say which record it is with `record:`"))  # fmt: skip
            return
        inner: Shape | None = shape
        for name in text.split("."):
            if inner is not None and inner.ref:
                inner = inner.referenced()
            inner = inner.child(name) if inner is not None and name.replace("_", "").isalnum() else None
        if inner is None:
            return  # not a plain path: what it gives is seen when it runs
        if "array" in inner.types():
            inner = inner.element()
        known = inner.ref or ((str(inner.schema["x-entity"]),) if "x-entity" in inner.schema else ())
        if known and known != ("any",) and entity not in known:
            raise SpecError(Problem("E367", f"the step takes a {entity}, {text!r} is a {' or '.join(known)}", at,
                                    f"name a {entity}, or mappings for what it is"))  # fmt: skip
        if not known and inner.types() - {"null"} and text.split(".")[-1] != "id":
            raise SpecError(Problem("E367", f"{text!r} is no record", at, "name a reference, or a step that gives a record"))  # fmt: skip

    def _as_sync(self, number: int, entity: str, source: dict[str, Any], model: Step) -> Document:
        """The step as a sync flow of its own; places in it are the step's."""
        given = self.document.data
        data = {
            "flow": self.document.name, "kind": "sync", "entity": entity, "source": source,
            "targets": given["steps"][number].get("targets", []),
            **{key: given[key] for key in ("owner", "policy") if key in given},
        }  # fmt: skip
        prefix, old = ("steps", number), self.document.positions
        positions = Positions(old.file)
        for table, shifted in ((old.values, positions.values), (old.keys, positions.keys)):
            shifted.update({path[2:]: place for path, place in table.items() if path[:2] == prefix})
            for name in ("mapping", "connection"):
                if (*prefix, name) in table:
                    shifted["source", name] = table[*prefix, name]
        return replace(self.document, model=SyncFlow.model_validate(data), positions=positions)


def _nullable(schema: Schema, entity: str) -> Schema:
    """An entity's schema as a result, which is null where the step was skipped or found nothing."""
    return {**schema, "type": ["object", "null"], "x-entity": entity}
