"""A process that starts itself: by an event that it publishes or brings about, or through the flows that it calls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.sdk.errors import Problem, SpecError
from engine.sdk.event_types import plain_type
from engine.spec.load import Document
from engine.spec.process import ProcessFlow
from engine.spec.workspace import Workspace


def starts_itself(document: Document, workspace: Workspace) -> Iterator[Problem]:
    """The ways in which a process flow starts itself, each with the trigger or step that does it."""
    flow: ProcessFlow = document.model
    derived = {}
    for number, step in enumerate(flow.steps):
        if step.kind == "derive":
            mapping = _model(workspace, "mapping", str(step.mapping))
            if mapping is not None:
                derived[mapping.entity] = number
        if step.kind == "call":
            way = _way(workspace, step.name, document.name, ())
            if way is not None:
                through = " → ".join([document.name, *way])
                yield Problem(
                    "E366",
                    f"the process starts itself: {through}",
                    document.at("steps", number, "call"),
                    "call another flow",
                )
    published = {plain_type(step.name): number for number, step in enumerate(flow.steps) if step.kind == "publish"}
    for number, trigger in enumerate(flow.trigger):
        type = plain_type(trigger.event) if trigger.event else ""
        entity = type.rpartition(".")[0]
        if type in published or entity in derived:
            what = "publishes" if type in published else "brings about"
            yield Problem("E366", f"the process starts itself: it {what} {type}", document.at("trigger", number, "event"),
                          "wait for another event, or publish another one")  # fmt: skip


def _model(workspace: Workspace, kind: str, name: str) -> Any:
    try:
        return workspace.document(kind, name).model
    except SpecError:
        return None  # reported where it stands


def _way(workspace: Workspace, flow: str, home: str, passed: tuple[str, ...]) -> list[str] | None:
    """The flows that lead from one back home: those that it calls, and those that run after it."""
    if flow == home:
        return [home]
    if flow in passed:
        return None
    for other in _next(workspace, flow):
        found = _way(workspace, other, home, (*passed, flow))
        if found is not None:
            return [flow, *found]
    return None


def _next(workspace: Workspace, flow: str) -> Iterator[str]:
    model = _model(workspace, "flow", flow)
    if isinstance(model, ProcessFlow):
        yield from (step.name for step in model.steps if step.kind == "call")
    for name in workspace.names("flow"):
        other = _model(workspace, "flow", name)
        if other is not None and any(trigger.after == flow for trigger in getattr(other, "trigger", ())):
            yield name
