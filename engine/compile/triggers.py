"""What starts flows, looked at together: flows that start each other in a circle, webhooks that share a path.

Events that the engine itself tells of records (`client.updated`) are no circle: a run that changes nothing tells nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from engine.sdk.connector import Connector
from engine.sdk.errors import Problem, SpecError
from engine.sdk.event_types import plain_type
from engine.spec.load import Document
from engine.spec.workspace import Workspace


def circles(document: Document, workspace: Workspace) -> Iterator[Problem]:
    """The triggers of a flow by which its own end starts it again, through `after` and the events that targets emit."""
    if not any(trigger.after or trigger.event for trigger in document.model.trigger):
        return
    known = {
        name: found for name in workspace.names("flow", own=True) if (found := _model(workspace, name)) is not None
    }
    known[document.name] = document.model
    for number, trigger in enumerate(document.model.trigger):
        for name in sorted(known):
            how = _starts(known[name], trigger)
            way = _way(known, document.name, name, (name,)) if how is not None else None
            if how is not None and way is not None:
                through = " → ".join([*way, document.name])
                text = "the flow starts itself" + (f": {through}" if len(way) > 1 else "")
                yield Problem("E354", text, document.at("trigger", number, how), "name another flow or event")
                break


def _model(workspace: Workspace, name: str) -> Any:
    try:
        return workspace.document("flow", name).model
    except SpecError:
        return None  # reported where it stands


def _starts(flow: Any, trigger: Any) -> str | None:
    """By which key of a trigger the end of a flow starts another one."""
    if trigger.after == flow.flow:
        return "after"
    if trigger.event is not None and any(_fits(trigger.event, type) for type in _emitted(flow)):
        return "event"
    return None


def _emitted(flow: Any) -> list[str]:
    return [target.emit for target in getattr(flow, "targets", ()) if target.emit is not None]


def _fits(pattern: str, type: str) -> bool:
    return fnmatchcase(type, pattern) or fnmatchcase(plain_type(type), plain_type(pattern))


def _way(known: dict[str, Any], start: str, end: str, passed: tuple[str, ...]) -> list[str] | None:
    """The flows from `start` on whose ends lead to that of `end`; None where none do."""
    if start == end:
        return [start]
    for name in sorted(known):
        if name in passed and name != end:
            continue
        if any(_starts(known[start], trigger) for trigger in known[name].trigger):
            rest = [end] if name == end else _way(known, name, end, (*passed, name))
            if rest is not None:
                return [start, *rest]
    return None


def shared_paths(document: Document, workspace: Workspace) -> Iterator[Problem]:
    """Webhooks of a flow whose path another connection's webhook has: the caller could not be told apart."""
    for number, trigger in enumerate(document.model.trigger):
        if trigger.webhook is None:
            continue
        for name in workspace.names("flow", own=True):
            model = _model(workspace, name)
            other = next((one.webhook for one in (model.trigger if model is not None else ())
                          if one.webhook is not None and one.webhook.path == trigger.webhook.path
                          and one.webhook.connection != trigger.webhook.connection), None)  # fmt: skip
            if other is not None:
                yield Problem("E358", f"the path {other.path!r} is that of {other.connection!r} too, in {name}",
                              document.at("trigger", number, "webhook", "path"), "give each connection paths of its own")  # fmt: skip
                break


def unheard(document: Document, workspace: Workspace) -> Iterator[Problem]:
    """Webhooks of a connection that does not say how its calls are verified: every one of them would be refused."""
    for number, trigger in enumerate(document.model.trigger):
        name = trigger.webhook.connection if trigger.webhook is not None else None
        if name is None or name not in workspace.settings.connections:
            continue
        at = document.at("trigger", number, "webhook", "connection")
        try:
            connector = workspace.connection(name).connector
            cls, manifest = workspace.connector_kind(connector, at)
        except SpecError:
            continue  # reported where it stands
        if cls.webhook is Connector.webhook or (manifest is not None and manifest.model.webhooks is None):
            yield Problem("E359", f"{name!r} takes no webhooks: {connector} does not say how its calls are verified", at,
                          "use a schedule, or write `webhooks` in the connector's manifest")  # fmt: skip
