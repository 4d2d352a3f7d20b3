"""A process flow bound once: its source as a sync flow without targets, and each step with what it needs.

Expressions see the record and, under its name, the result of every step before; shapes are checked with positions.
"""

from __future__ import annotations

from collections.abc import Mapping as Table
from dataclasses import dataclass, field, replace
from typing import Any

from engine.compile.expression import Expression
from engine.compile.registry import Registry
from engine.compile.steps import Binder, StepPlan
from engine.compile.sync import Describe, SyncPlan, TargetPlan, compile_sync, printable
from engine.sdk.errors import Problems
from engine.sdk.record import digest
from engine.spec.load import Document
from engine.spec.process import ProcessFlow
from engine.spec.sync import SyncFlow


@dataclass(slots=True)
class ProcessPlan:
    """Everything that instances with this logic need. intake: how records come in; it delivers nothing."""

    name: str
    document: Document
    flow: ProcessFlow
    intake: SyncPlan
    key: tuple[Expression, ...]
    steps: tuple[StepPlan, ...]
    registry: Registry
    logic: bytes = b""
    documents: Table[str, Any] = field(default_factory=dict)

    @property
    def entity(self) -> str:
        return self.flow.entity

    @property
    def targets(self) -> tuple[TargetPlan, ...]:
        """The targets of every step."""
        return tuple(target for step in self.steps if step.plan is not None for target in step.plan.targets)


def compile_process(document: Document, registry: Registry, describe: Describe | None) -> ProcessPlan:
    """Compile a process flow. Raises SpecError with every fault found in it and in what it names."""
    flow: ProcessFlow = document.model
    problems = Problems()
    intake = problems.tried(lambda: compile_sync(_intake(document), registry, describe))
    problems.raise_any()
    binder = Binder(document, registry, describe, registry.shape(flow.entity))
    given = [flow.key] if isinstance(flow.key, str) else flow.key or []
    key = problems.tried(lambda: tuple(binder.expression(text, "key", shape=binder.shape) for text in given))
    steps = [problems.tried(lambda n=number: binder.step(n)) for number in range(len(flow.steps))]
    problems.raise_any()
    plan = ProcessPlan(document.name, document, flow, intake, key, tuple(steps), registry)
    plan.documents = printable(_documents(plan, registry))
    plan.logic = intake.logic = digest(plan.documents)
    return plan


def _intake(document: Document) -> Document:
    """The flow's source as a sync flow without targets: the same reading, cursor, exceptions and corrections."""
    given = document.data
    data = {
        "flow": document.name, "kind": "sync", "entity": given.get("entity"), "source": given.get("source"), "targets": [],
        "guard": {"empty_source": "ignore"}, **{key: given[key] for key in ("owner", "policy") if key in given},
    }  # fmt: skip
    return replace(document, model=SyncFlow.model_validate(data))


def _documents(plan: ProcessPlan, registry: Registry) -> dict[str, Any]:
    """The resolved documents that decide what the flow does, by `kind/name`."""
    found = {f"flow/{plan.name}": plan.document.data, **plan.intake.documents}
    for (kind, name), document in registry.asked.items():
        if kind in ("schema", "mapping"):
            found[f"{kind}/{name}"] = document.data
    for name, table in registry.used_tables().items():
        found[f"table/{name}"] = [list(table.columns), [dict(row) for row in table.rows]]
    return found
