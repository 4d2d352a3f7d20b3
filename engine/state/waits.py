"""Events that `wait` steps ask for: kept as they come, for one may come before its instance waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.sdk.record import JSON, decode_json, encode_json
from engine.state import processes
from engine.state.store import Tx

Fits = Callable[[str, str], bool]
"""Whether an event's type is one that a pattern asks for."""


def hear(tx: Tx, flow: str, type: str, subject: str, event: str, data: JSON, fits: Fits) -> list[str]:
    """Keep an event for the `wait` steps of a flow, and wake the instances that wait for its type; their ids."""
    tx.run(
        "INSERT INTO process_events (flow, type, subject, event, at, data) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (flow, type, subject, event, tx.now(), encode_json(data)),
    )
    rows = tx.rows(
        "SELECT id, detail FROM processes WHERE flow = ? AND state = 'waiting' AND waiting = 'event'", (flow,)
    )
    found = []
    for id, detail in rows:
        told = decode_json(bytes(detail)) if detail else {}
        if told.get("for") == subject and fits(str(told.get("event")), type):
            found.append(str(id))
    processes.wake(tx, found)
    return found


def heard(tx: Tx, flow: str, pattern: str, subject: str, since: str, fits: Fits) -> tuple[str, str, str, Any] | None:
    """The first event about a record since then whose type is asked for: (event id, at, type, data)."""
    rows = tx.rows(
        "SELECT type, event, at FROM process_events WHERE flow = ? AND subject = ? AND at >= ? ORDER BY at, event",
        (flow, subject, since),
    )
    found = next(((str(type), str(event), str(at)) for type, event, at in rows if fits(pattern, str(type))), None)
    if found is None:
        return None
    type, event, at = found
    row = tx.one(
        "SELECT data FROM process_events WHERE flow = ? AND type = ? AND subject = ? AND event = ?",
        (flow, type, subject, event),
    )
    return (event, at, type, decode_json(bytes(row[0]))) if row else None
