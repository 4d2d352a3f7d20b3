"""Events: what happened, who wants to know, and the rows that say so in the transaction that makes it true.

Types are `<entity>.<what>.v<major>`; whoever listens may leave the version out, and end a pattern with `*`. Nothing is
written where nobody listens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from engine.sdk.cloudevents import CloudEvent
from engine.sdk.errors import SpecError
from engine.sdk.event_types import fits
from engine.sdk.record import Fields, digest_bytes, encode_json
from engine.spec.process import ProcessFlow
from engine.spec.workspace import Workspace
from engine.state import outbox, units
from engine.state.store import Tx

LANE = "webhook"
"""The lane of relay units: events are waited for."""

LONGEST = 200
"""Characters that a name of a stranger's may have here; what is longer is cut, or is not said."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. type: with its version. canonical_id: what it is about.

    key: events of one key are sent in order; default: entity and canonical id. source: a CloudEvents source; default:
    this workspace. id: given by whoever sent it to us; our own get one.
    """

    type: str
    entity: str
    canonical_id: str
    data: Fields
    correlation: str | None = None
    source: str = ""
    key: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class Listener:
    """Who wants which types. destination: `connection:NAME`, `flow:NAME` or `process:NAME`."""

    destination: str
    patterns: tuple[str, ...]
    topic: str = ""
    clearance: frozenset[str] = frozenset()

    def wants(self, type: str) -> bool:
        return any(fits(pattern, type) for pattern in self.patterns)


@dataclass
class Routes:
    """Everybody in a workspace who listens."""

    source: str
    listeners: tuple[Listener, ...] = ()
    _known: dict[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, workspace: Workspace) -> Routes:
        """Flows with an event trigger, processes that wait for one, and `events` of crosswalk.yaml."""
        found = [
            Listener(f"connection:{one.to}", tuple(one.types), one.topic or "", frozenset(one.clearance))
            for one in workspace.settings.events
        ]
        for name in workspace.names("flow", own=True):
            try:
                flow: Any = workspace.document("flow", name).model
            except SpecError:
                continue  # reported where it stands
            if getattr(flow, "mode", "live") == "off":
                continue
            starts = tuple(one.event for one in flow.trigger if one.event is not None)
            if starts:
                found.append(Listener(f"flow:{name}", starts))
            awaited = [step.event for step in flow.steps if step.event] if isinstance(flow, ProcessFlow) else []
            if awaited:
                found.append(Listener(f"process:{name}", tuple(dict.fromkeys(awaited))))
        return cls(f"/crosswalk/{workspace.settings.name}", tuple(found))

    def to(self, type: str) -> tuple[tuple[str, str], ...]:
        """(destination, topic) of all who want events of this type; of several lines for one, the first that fits."""
        known = self._known.get(type)
        if known is None:
            found: dict[str, str] = {}
            for one in self.listeners:
                if one.wants(type):
                    found.setdefault(one.destination, one.topic)
            known = self._known[type] = tuple(found.items())
        return known

    def wants(self, prefix: str) -> bool:
        """Whether anybody may want a type that begins so. A quick no saves all further work."""
        return any(_may_begin(pattern, prefix) for one in self.listeners for pattern in one.patterns)


def _may_begin(pattern: str, prefix: str) -> bool:
    fixed = pattern.split("*")[0]
    return fixed.startswith(prefix) or (prefix.startswith(fixed) and fixed != pattern)


def emit(tx: Tx, routes: Routes, events: Iterable[Event], to: str | None = None) -> int:
    """Write events down in the caller's transaction, for all who want them; how many there were.

    to: a connection that gets them whatever it listens to, and nobody else.
    """
    rows = []
    for one in events:
        wanted = routes.to(one.type) if to is None else ((f"connection:{to}", ""),)
        if wanted:
            rows.append(_row(one, routes.source, wanted))
    _put(tx, rows)
    return len(rows)


def arrived(tx: Tx, routes: Routes, event: Event) -> bool:
    """An event of somebody else's: flows start and processes hear it; it is not sent on. False: nobody listens.

    One that arrives twice, by its source and id, is one.
    """
    inside = tuple(one for one in routes.to(event.type) if not one[0].startswith("connection:"))
    if not inside:
        return False
    known = digest_bytes(f"{event.source}\x1f{event.id}".encode()).hex() if event.id else ""
    _put(tx, [_row(event, routes.source, inside)._replace(id=known)])
    return True


def event_from(told: CloudEvent) -> Event:
    """Somebody else's event as ours: what it is about is its subject, and the kind of it the first word of its type."""
    data = told.data if isinstance(told.data, dict) else {} if told.data is None else {"data": told.data}
    entity = told.type.split(".", 1)[0]
    subject = (told.subject or "")[:500]
    belongs = told.correlation if len(told.correlation or "") <= LONGEST else None
    key = digest_bytes(f"{entity}:{told.subject}".encode()).hex()
    return Event(told.type, entity[:LONGEST], subject, data, belongs, told.source[:LONGEST], key, told.id)


def _row(one: Event, source: str, wanted: tuple[tuple[str, str], ...]) -> outbox.Fresh:
    key = one.key or f"{one.entity}:{one.canonical_id}"
    return outbox.Fresh(one.type, one.entity, one.canonical_id, key, encode_json(one.data), one.correlation,
                        one.source or source, wanted)  # fmt: skip


def _put(tx: Tx, rows: list[outbox.Fresh]) -> None:
    if not rows:
        return
    outbox.put(tx, rows)
    for destination in sorted({destination for row in rows for destination, _ in row.wanted}):
        units.put(tx, "relay", destination, lane=LANE)
