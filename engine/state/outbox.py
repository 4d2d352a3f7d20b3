"""Events and whom they go to. Rows are written in the transaction that makes them true; the relay sends them later.

Events of one key reach a destination in the order of `seq`: whoever changes a record holds its row until the commit,
so a later change of it gets a greater number.
"""

from __future__ import annotations

from collections.abc import Sequence
from secrets import token_hex
from typing import NamedTuple

from engine.state.store import Tx

ENDED = ("delivered", "dropped")


class Fresh(NamedTuple):
    """An event to be written down, with (destination, topic) of all who want it."""

    type: str
    entity: str
    subject: str
    key: str
    data: bytes
    correlation: str | None
    source: str
    wanted: tuple[tuple[str, str], ...]
    id: str = ""


class Outgoing(NamedTuple):
    """One event on its way to one destination. attempts: tries so far."""

    seq: int
    id: str
    type: str
    entity: str
    subject: str
    key: str
    data: bytes
    correlation: str | None
    source: str
    at: str
    topic: str
    attempts: int


class Delivery(NamedTuple):
    """How far an event got with a destination."""

    seq: int
    id: str
    type: str
    subject: str
    destination: str
    state: str
    attempts: int
    due: str
    error: str | None
    at: str


_EVENT = "e.seq, e.id, e.type, e.entity, e.subject, e.key, e.data, e.correlation, e.source, e.at"
_DELIVERY = "e.seq, e.id, e.type, e.subject, d.destination, d.state, d.attempts, d.due, d.error, e.at"


def put(tx: Tx, found: Sequence[Fresh]) -> None:
    """Write events down, and one delivery for each destination. An id that is there already is the same event."""
    now = tx.now()
    rows = [one if one.id else one._replace(id=token_hex(16)) for one in found]
    tx.many(
        "INSERT INTO events (id, type, entity, subject, key, data, correlation, source, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT DO NOTHING",
        [(*one_values(one), now) for one in rows],
    )
    tx.many(
        "INSERT INTO event_deliveries (destination, seq, key, topic, state, due, updated_at) "
        "SELECT ?, seq, key, ?, 'ready', ?, ? FROM events WHERE id = ? ON CONFLICT DO NOTHING",
        [(destination, topic, now, now, one.id) for one in rows for destination, topic in one.wanted],
    )


def one_values(one: Fresh) -> tuple[str, str, str, str, str, bytes, str | None, str]:
    """An event's columns."""
    return one.id, one.type, one.entity, one.subject, one.key, one.data, one.correlation, one.source


def due(tx: Tx, destination: str, limit: int) -> list[Outgoing]:
    """Events that may go to a destination now, in order. One that stands behind a refused or a waiting one of its key
    may not."""
    now = tx.now()
    rows = tx.rows(
        f"SELECT {_EVENT}, d.topic, d.attempts FROM event_deliveries d JOIN events e ON e.seq = d.seq "
        "WHERE d.destination = ? AND d.state = 'ready' AND d.due <= ? AND NOT EXISTS (SELECT 1 FROM event_deliveries b "
        "WHERE b.destination = d.destination AND b.key = d.key AND b.seq < d.seq "
        "AND b.state IN ('ready', 'refused') AND (b.state = 'refused' OR b.due > ?)) "
        f"ORDER BY d.seq LIMIT {int(limit)}",
        (destination, now, now),
    )
    return [Outgoing._make((*row[:6], bytes(row[6]), *row[7:])) for row in rows]


def next_due(tx: Tx, destination: str) -> str | None:
    """When the destination has something to get next; None where nothing waits but for a person."""
    row = tx.one(
        "SELECT min(d.due) FROM event_deliveries d WHERE d.destination = ? AND d.state = 'ready' AND NOT EXISTS ("
        "SELECT 1 FROM event_deliveries b WHERE b.destination = d.destination AND b.key = d.key AND b.seq < d.seq "
        "AND b.state IN ('ready', 'refused'))",
        (destination,),
    )
    return str(row[0]) if row and row[0] else None


def delivered(tx: Tx, destination: str, numbers: Sequence[int]) -> None:
    """The destination has them. What a person dropped or retried meanwhile is delivered all the same."""
    now = tx.now()
    tx.many(
        "UPDATE event_deliveries SET state = 'delivered', attempts = attempts + 1, error = NULL, updated_at = ? "
        "WHERE destination = ? AND seq = ?",
        [(now, destination, seq) for seq in numbers],
    )


def put_back(tx: Tx, destination: str, rows: Sequence[tuple[int, str, str]], *, counted: bool = True) -> None:
    """(seq, due, why): not taken yet. counted: whether it was a try of the event, not only of its destination."""
    now = tx.now()
    tx.many(
        "UPDATE event_deliveries SET due = ?, error = ?, attempts = attempts + ?, updated_at = ? "
        "WHERE destination = ? AND seq = ? AND state = 'ready'",
        [(due, why, int(counted), now, destination, seq) for seq, due, why in rows],
    )


def refused(tx: Tx, destination: str, rows: Sequence[tuple[int, str]]) -> None:
    """(seq, why): a definite no. It holds the later ones of its key until somebody retries or drops it."""
    now = tx.now()
    tx.many(
        "UPDATE event_deliveries SET state = 'refused', error = ?, attempts = attempts + 1, updated_at = ? "
        "WHERE destination = ? AND seq = ? AND state = 'ready'",
        [(why, now, destination, seq) for seq, why in rows],
    )


def decide(tx: Tx, id: str, destination: str, state: str) -> bool:
    """A person's word on an event that is not delivered: `ready` again with a fresh count, or `dropped`."""
    now = tx.now()
    return (
        tx.run(
            "UPDATE event_deliveries SET state = ?, due = ?, attempts = 0, updated_at = ? WHERE destination = ? "
            "AND seq = (SELECT seq FROM events WHERE id = ?) AND state IN ('ready', 'refused')",
            (state, now, now, destination, id),
        )
        == 1
    )


def get(tx: Tx, id: str) -> Outgoing | None:
    """An event by its id; topic and attempts are empty."""
    row = tx.one(f"SELECT {_EVENT} FROM events e WHERE e.id = ?", (id,))
    return Outgoing._make((*row[:6], bytes(row[6]), *row[7:], "", 0)) if row else None


def deliveries(tx: Tx, id: str) -> list[Delivery]:
    """How far an event got, destination by destination."""
    sql = f"SELECT {_DELIVERY} FROM event_deliveries d JOIN events e ON e.seq = d.seq WHERE e.id = ? ORDER BY d.destination"
    return [Delivery(*row) for row in tx.rows(sql, (id,))]


def listed(
    tx: Tx, *, state: str | None = None, destination: str | None = None, type: str | None = None,
    subject: str | None = None, limit: int = 100, everything: bool = False,
) -> list[Delivery]:  # fmt: skip
    """Deliveries, newest first; only those not over yet unless everything or a state is asked for."""
    tests, values = [], []
    for column, value in (("d.state", state), ("d.destination", destination), ("e.type", type), ("e.subject", subject)):
        if value is not None:
            tests.append(f"{column} = ?")
            values.append(value)
    if state is None and not everything:
        tests.append("d.state IN ('ready', 'refused')")
    where = f"WHERE {' AND '.join(tests)} " if tests else ""
    rows = tx.rows(
        f"SELECT {_DELIVERY} FROM event_deliveries d JOIN events e ON e.seq = d.seq {where}"
        f"ORDER BY e.seq DESC, d.destination LIMIT {int(limit)}",
        values,
    )
    return [Delivery(*row) for row in rows]


def waiting(tx: Tx) -> list[str]:
    """Destinations for which something is ready."""
    rows = tx.rows("SELECT DISTINCT destination FROM event_deliveries WHERE state = 'ready' ORDER BY destination")
    return [str(row[0]) for row in rows]


def prune(tx: Tx, before: str) -> int:
    """Forget events of before an instant that are over everywhere; how many."""
    tx.run(
        "DELETE FROM event_deliveries WHERE state IN ('delivered', 'dropped') AND seq IN (SELECT seq FROM events WHERE at < ?)",
        (before,),
    )
    return tx.run(
        "DELETE FROM events WHERE at < ? AND NOT EXISTS (SELECT 1 FROM event_deliveries d WHERE d.seq = events.seq)",
        (before,),
    )
