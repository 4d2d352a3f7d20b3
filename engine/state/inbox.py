"""The inbox: what systems told us, kept before it is acknowledged, drained record by record.

A row is `new` until every flow that it is for has had its record; `held` where only paused flows are left; then `done`.
Rows of one record have one unit (`units`, kind `inbox`), so they are drained in order and by one worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from engine.sdk.record import JSON, decode_json, encode_json
from engine.state import units
from engine.state.store import Tx

LANE = "webhook"
LONGEST = 200
MANY = 50
"""Rows that one statement inserts."""


class Arrival(NamedTuple):
    """One event as it came. event_id: its system's own, the same each time it is told. key: native id, None: not said.

    path: the webhook's path; empty where it came as an event. record: JSON bytes of the record itself, or None.
    """

    connection: str
    event_id: str
    object: str | None = None
    key: str | None = None
    path: str = ""
    type: str | None = None
    deleted: bool = False
    at: str | None = None
    record: bytes | None = None
    body: bytes | None = None


class Row(NamedTuple):
    """A row that waits. flows: those that it is still for; None: all that its path starts."""

    seq: int
    connection: str
    path: str
    object: str | None
    key: str | None
    type: str | None
    deleted: bool
    at: str | None
    record: bytes | None
    body: bytes | None
    unit: str
    flows: tuple[str, ...] | None
    received_at: str


_COLUMNS = "seq, connection, path, object, key, type, deleted, at, record, body, unit, flows, received_at"


def fitted(arrival: Arrival) -> Arrival:
    """An event as the columns take it. Strangers write these words: what cannot be kept is a digest, or is not said."""
    return arrival._replace(
        event_id=arrival.event_id if _fits(arrival.event_id, LONGEST) else _digest(arrival.event_id),
        object=arrival.object if _fits(arrival.object, LONGEST) else None,
        key=arrival.key if _fits(arrival.key, 500) else None,
        type=arrival.type if _fits(arrival.type, LONGEST) else None,
        at=arrival.at if _fits(arrival.at, LONGEST) else None,
    )


def _fits(text: str | None, longest: int) -> bool:
    return bool(text) and len(text or "") <= longest and (text or "").isprintable()


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def unit_of(arrival: Arrival) -> str:
    """The key of the unit that drains an event's record: `connection:object:key`, or a digest where that is long."""
    text = ":".join((arrival.connection, arrival.object or arrival.path, arrival.key or ""))
    if len(text) <= LONGEST:
        return text
    return f"{arrival.connection}:{_digest(text)}"


def put(tx: Tx, connection: str, event_id: str, object: str | None, key: str | None, body: bytes | None,
        **more: Any) -> bool:  # fmt: skip
    """Keep one event and ask for its unit; False where it is known already."""
    return put_all(tx, [Arrival(connection, event_id, object, key, body=body, **more)]) == 1


def put_all(tx: Tx, arrivals: Iterable[Arrival]) -> int:
    """Keep events and ask for their units; how many were not known. Rows are touched in one order by all who do it."""
    now, units_of = tx.now(), []
    known = sorted(set(map(fitted, arrivals)), key=lambda each: (each.connection, each.event_id))
    for start in range(0, len(known), MANY):
        rows = [(one.connection, one.event_id, one.path, one.object, one.key, one.type, int(one.deleted), one.at, one.record,
                 one.body, unit_of(one), now) for one in known[start : start + MANY]]  # fmt: skip
        marks = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'new', ?)"] * len(rows))
        made = tx.rows(
            "INSERT INTO inbox (connection, event_id, path, object, key, type, deleted, at, record, body, unit, state, received_at) "
            f"VALUES {marks} ON CONFLICT (connection, event_id) DO NOTHING RETURNING unit",
            [value for row in rows for value in row],
        )
        units_of += [str(row[0]) for row in made]
    units.put_many(tx, "inbox", units_of, lane=LANE, due=now)
    return len(units_of)


def waiting(tx: Tx, keys: Iterable[str]) -> list[Row]:
    """What units have to drain, in order of arrival."""
    rows = tx.by_keys(f"SELECT {_COLUMNS} FROM inbox WHERE state = 'new' AND unit IN (…)", (), keys)
    return sorted(_row(row) for row in rows)


def _row(row: Sequence[Any]) -> Row:
    found = Row(*row)
    return found._replace(
        deleted=bool(found.deleted),
        record=bytes(found.record) if found.record is not None else None,
        body=bytes(found.body) if found.body is not None else None,
        flows=tuple(decode_json(str(found.flows).encode())) if found.flows is not None else None,
    )


def settle(tx: Tx, rows: Iterable[tuple[int, str, tuple[str, ...] | None]]) -> None:
    """Note what became of rows: (seq, state, flows that are left)."""
    now = tx.now()
    tx.many(
        "UPDATE inbox SET state = ?, flows = ?, done_at = ? WHERE seq = ?",
        [(state, _text(list(left)) if left else None, now if state == "done" else None, seq) for seq, state, left in sorted(rows)],
    )  # fmt: skip


def _text(value: JSON) -> str:
    return encode_json(value).decode()


def release(tx: Tx, flow: str) -> int:
    """A flow goes on after a pause: what waited for it is drained; how many rows."""
    held = [(int(row[0]), str(row[1]), decode_json(str(row[2]).encode())) for row in
            tx.rows("SELECT seq, unit, flows FROM inbox WHERE state = 'held'")]  # fmt: skip
    mine = [(seq, unit, flows) for seq, unit, flows in held if flow in flows]
    settle(tx, [(seq, "new", tuple(flows)) for seq, _, flows in mine])
    for unit in sorted({unit for _, unit, _ in mine}):
        units.put(tx, "inbox", unit, lane=LANE)
    return len(mine)


def left_behind(tx: Tx, before: str, limit: int = 1000) -> list[str]:
    """Units of rows that came before an instant, wait, and have no open unit any more (it failed)."""
    rows = tx.rows(
        "SELECT DISTINCT unit FROM inbox WHERE state = 'new' AND received_at < ? AND NOT EXISTS (SELECT 1 FROM units "
        f"WHERE kind = 'inbox' AND key = inbox.unit AND state IN ('ready', 'leased')) LIMIT {int(limit)}",
        (before,),
    )
    return sorted(str(row[0]) for row in rows)


def backlog(tx: Tx) -> dict[str, int]:
    """State → rows that wait."""
    rows = tx.rows("SELECT state, count(*) FROM inbox WHERE state <> 'done' GROUP BY state")
    return {str(state): int(count) for state, count in rows}
