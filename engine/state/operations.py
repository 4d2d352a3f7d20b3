"""The intent journal: one row a write, committed before a byte leaves, settled with its outcome (DELIVERY.md section 2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from engine.state.store import Tx, instant

TRANSITIONS: Mapping[str, frozenset[str]] = {
    "planned": frozenset({"sent", "dropped"}),
    "sent": frozenset({"planned", "confirmed", "refused", "in_doubt"}),
    "in_doubt": frozenset({"sent", "confirmed", "refused", "dropped"}),
    "confirmed": frozenset({"sent", "confirmed"}),
    "refused": frozenset({"sent", "confirmed"}),
    "dropped": frozenset({"sent", "confirmed"}),
}
"""State of an operation → what it may become. planned: surely not processed, to be sent again. dropped: given up, or
found not to be there. A late answer confirms whatever was thought meanwhile: that the target has it is a fact."""
FIRST = "sent"
"""What a new operation begins as."""
AGAIN = frozenset({("in_doubt", "sent"), ("confirmed", "sent")})
"""Only for SAFE_AGAIN: a create is not sent twice by itself."""
UNLINKED = ("confirmed", "dropped")
"""Of a record that a person has unlinked, so that it is made again."""
OPEN = "('sent', 'in_doubt')"
SAFE_AGAIN = frozenset({"update", "delete", "upsert"})
"""Kinds that come to the same when the same bytes are sent twice."""


class Intent(NamedTuple):
    """A write that is about to be sent. body: the frozen request as JSON bytes."""

    op_key: str
    run: str
    flow: str
    target: str
    connection: str
    object: str
    canonical_id: str
    part: str
    kind: str
    write_class: str
    idempotency_key: str | None
    body: bytes
    fence: int
    send_by: str


class Open(NamedTuple):
    """An operation without a known end."""

    op_key: str
    canonical_id: str
    part: str
    kind: str
    state: str
    write_class: str
    body: bytes
    send_by: str | None
    attempts: int
    updated_at: str
    created_at: str
    flow: str
    target: str
    idempotency_key: str | None
    found: str | None
    """What a search for it found that is no answer: several records, or another's."""

    @property
    def mark(self) -> str:
        """Crosswalk's mark on the target's record."""
        return mark_of(self.canonical_id, self.part)


def mark_of(canonical_id: str, part: str) -> str:
    """What a target's record is marked with: its canonical id, and the part where there is one."""
    return f"{canonical_id}-{part}" if part else canonical_id  # external ids take letters, digits, _ and -


_SHOWN = (
    "op_key, canonical_id, part, kind, state, class, body, send_by, attempts, updated_at, created_at, flow, target, "
    "idempotency_key, response"
)
_INSERT = (
    "INSERT INTO operations (op_key, run, flow, target, connection, object, canonical_id, part, kind, class, "
    "idempotency_key, body, fence, send_by, state, attempts, created_at, updated_at) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'sent', 1, ?, ?)"
)
_DOUBT = _INSERT.replace("'sent'", "'in_doubt'")


def _open(row: tuple[object, ...]) -> Open:
    one = Open(*row)  # type: ignore[arg-type]
    return one._replace(body=bytes(one.body), found=bytes(one.found).decode() if one.found else None)  # type: ignore[arg-type]


def open_for(tx: Tx, connection: str, object: str, ids: Iterable[str]) -> dict[tuple[str, str], Open]:
    """Open operations of these records by (canonical id, part)."""
    sql = f"SELECT {_SHOWN} FROM operations WHERE connection = ? AND object = ? AND state IN {OPEN} AND canonical_id IN (…)"
    return {(row[1], row[2]): _open(row) for row in tx.by_keys(sql, (connection, object), ids)}


def send(tx: Tx, intents: Sequence[Intent]) -> dict[str, str]:
    """T1: note the intent to send. What may not go by op key: `open` (another write of that record has no known end),
    or `confirmed` (this very write was made already)."""
    at = instant()
    rows = [(*one, at, at) for one in intents]
    if tx.tried(_INSERT, rows):  # the usual case: all of them are new
        return {}
    kept: dict[str, str] = {}
    for one, row in zip(intents, rows, strict=True):
        why = _take(tx, one, row)
        if why is not None:
            kept[one.op_key] = why
    return kept


def _take(tx: Tx, one: Intent, row: tuple[object, ...]) -> str | None:
    """One intent where something stands already: the row that it becomes, or why it may not go."""
    place = (one.connection, one.object, one.canonical_id, one.part)
    tx.run(
        "UPDATE operations SET state = 'dropped', updated_at = ? WHERE connection = ? AND object = ? AND canonical_id = ? "
        "AND part = ? AND state = 'planned' AND op_key <> ?", (row[-1], *place, one.op_key),
    )  # fmt: skip
    if tx.run(f"{_INSERT} ON CONFLICT DO NOTHING", row) == 1:
        return None
    standing = tx.one("SELECT state, body FROM operations WHERE op_key = ?", (one.op_key,))
    if standing is None:
        return "open"  # another write of the record
    state, body = str(standing[0]), bytes(standing[1])
    if state == "sent" or (state == "in_doubt" and not (one.kind in SAFE_AGAIN and body == one.body)):
        return "open"
    if state == "confirmed" and one.kind not in SAFE_AGAIN:
        return "confirmed"
    return None if _again(tx, one, state) else "open"


def _again(tx: Tx, one: Intent, state: str) -> bool:
    """Take over a row of the same write that ended, or that may be repeated; False where somebody else was faster."""
    taken = tx.tried(
        "UPDATE operations SET state = 'sent', run = ?, flow = ?, target = ?, kind = ?, class = ?, idempotency_key = ?, body = ?, fence = ?, "
        "send_by = ?, attempts = attempts + 1, updated_at = ? WHERE op_key = ? AND state = ?",
        [(one.run, one.flow, one.target, one.kind, one.write_class, one.idempotency_key, one.body, one.fence,
          one.send_by, instant(), one.op_key, state)],
    )  # fmt: skip
    if not taken:
        return False  # another write of the record is open
    row = tx.one("SELECT run, state FROM operations WHERE op_key = ?", (one.op_key,))
    return row is not None and (row[0], row[1]) == (one.run, "sent")


def reopen(tx: Tx, op_key: str) -> None:
    """A confirmed write whose record was unlinked on purpose may be made again."""
    tx.run("UPDATE operations SET state = ? WHERE op_key = ? AND state = ?", (UNLINKED[1], op_key, UNLINKED[0]))


def prolong(tx: Tx, op_keys: Sequence[str], run: str, send_by: str) -> set[str]:
    """T1 of another attempt in the same run: the later limit. The op keys that are no longer this run's to send."""
    tx.many(
        "UPDATE operations SET send_by = ?, attempts = attempts + 1, updated_at = ? WHERE op_key = ? AND run = ? AND state = 'sent'",
        [(send_by, instant(), key, run) for key in op_keys],
    )
    sql = "SELECT op_key FROM operations WHERE run = ? AND state = 'sent' AND op_key IN (…)"
    return set(op_keys) - {row[0] for row in tx.by_keys(sql, (run,), op_keys)}


def still_open(tx: Tx, keys: Sequence[str]) -> bool:
    """Whether one of these operations has no known end."""
    sql = f"SELECT op_key FROM operations WHERE state IN {OPEN} AND op_key IN (…)"
    return next(tx.by_keys(sql, (), keys), None) is not None


def _before(state: str) -> str:
    """The states that may become this one, for an SQL `IN`."""
    return "(" + ", ".join(f"'{one}'" for one, to in TRANSITIONS.items() if state in to) + ")"


def settle(tx: Tx, rows: Sequence[tuple[str, str, str | None, bytes | None]], run: str | None = None) -> None:
    """Note outcomes: (op key, state, native id, response). run: only where the row is still that run's; a confirmation
    is noted in any case."""
    at = instant()
    groups: dict[str, list[tuple[object, ...]]] = {}
    for op_key, state, native_id, response in rows:
        groups.setdefault(state, []).append((state, native_id, response, at, op_key))
    for state, group in groups.items():
        mine = run is not None and state != "confirmed"
        tx.many(
            "UPDATE operations SET state = ?, native_id = ?, response = ?, updated_at = ? WHERE op_key = ? "
            f"AND state IN {_before(state)}" + (" AND run = ?" if mine else ""),
            [(*one, run) for one in group] if mine else group,
        )


def in_doubt(tx: Tx, connection: str, object: str) -> list[Open]:
    """Operations of an object whose outcome is unknown: in doubt, or sent by a run that may be gone."""
    sql = f"SELECT {_SHOWN} FROM operations WHERE connection = ? AND object = ? AND state IN {OPEN} ORDER BY created_at, op_key"
    return [_open(row) for row in tx.rows(sql, (connection, object))]


def flows_in_doubt(tx: Tx, connection: str) -> list[str]:
    """Flows with writes at a connection that may be settled without a person."""
    sql = "SELECT DISTINCT flow FROM operations WHERE connection = ? AND state IN ('sent', 'in_doubt') AND class <> 'D' ORDER BY flow"
    return [str(row[0]) for row in tx.rows(sql, (connection,))]


def doubts(tx: Tx) -> dict[str, str]:
    """Connection → when the oldest of its writes in doubt that need no person was touched last."""
    sql = "SELECT connection, min(updated_at) FROM operations WHERE state = 'in_doubt' AND class <> 'D' GROUP BY connection"
    return {str(name): str(at) for name, at in tx.rows(sql)}


def abandoned(tx: Tx, connection: str, object: str) -> list[Open]:
    """Sent by a run that is over, or by a hand that let its process instance go: from now on in doubt. They are returned."""
    where = (
        "connection = ? AND object = ? AND state = 'sent' AND run NOT IN (SELECT id FROM runs WHERE state = 'running') "
        "AND run NOT IN (SELECT advance FROM processes WHERE advance IS NOT NULL)"
    )
    found = [_open(row) for row in tx.rows(f"SELECT {_SHOWN} FROM operations WHERE {where}", (connection, object))]
    if found:
        tx.run(f"UPDATE operations SET state = 'in_doubt' WHERE {where}", (connection, object))
    return [one._replace(state="in_doubt") for one in found]


def doubt(tx: Tx, intents: Sequence[Intent]) -> None:
    """Class A: bytes that may still arrive late; one row a record, the latest."""
    at = instant()
    tx.many(
        f"{_DOUBT} ON CONFLICT (op_key) DO UPDATE SET run = excluded.run, kind = excluded.kind, "
        "body = excluded.body, send_by = excluded.send_by, state = 'in_doubt', updated_at = excluded.updated_at",
        [(*one, at, at) for one in intents],
    )  # fmt: skip


def unmark(tx: Tx, run: str, target: str, kind: str) -> None:
    """The rows of a run that stood for whole batches to a target: their writes are settled."""
    tx.run("DELETE FROM operations WHERE run = ? AND target = ? AND kind = ?", (run, target, kind))


def remove(tx: Tx, op_keys: Sequence[str]) -> None:
    """Forget rows that told of no write of their own: markers of a batch."""
    tx.many("DELETE FROM operations WHERE op_key = ?", [(key,) for key in op_keys])


def note_found(tx: Tx, op_key: str, found: str) -> None:
    """What a search for it found that is no answer."""
    tx.run("UPDATE operations SET response = ? WHERE op_key = ?", (found.encode(), op_key))


def give_up_key(tx: Tx, op_keys: Sequence[str]) -> None:
    """The system no longer knows these idempotency keys, and nothing else finds what they made: class D from now on."""
    tx.many("UPDATE operations SET class = 'D' WHERE op_key = ?", [(key,) for key in op_keys])


def doubted_since(tx: Tx, connection: str, object: str, since: str) -> bool:
    """Whether a create of an object that nobody can ask about had no sure outcome since then."""
    row = tx.one(
        "SELECT 1 FROM operations WHERE connection = ? AND object = ? AND kind = 'create' AND class = 'C' AND updated_at >= ? "
        f"AND (attempts > 1 OR state = 'dropped' OR state IN {OPEN}) LIMIT 1",
        (connection, object, since),
    )
    return row is not None


def decide(
    tx: Tx, canonical_id: str, part: str, state: str, *, where: tuple[str, str], native: str | None = None
) -> int:
    """A person's word on a create that nobody can ask about (class D): how many operations it ended.

    where: (flow, target) of an exception, or (connection, object) where `native` is the id that it has there.
    """
    columns = "connection = ? AND object = ?" if native else "flow = ? AND target = ? AND class = 'D'"
    return tx.run(
        f"UPDATE operations SET state = ?, native_id = ?, updated_at = ? WHERE canonical_id = ? AND part = ? "
        f"AND state IN {OPEN} AND state IN {_before(state)} AND {columns}",
        (state, native, instant(), canonical_id, part, *where),
    )


def of_record(tx: Tx, canonical_id: str) -> list[tuple[str, ...]]:
    """A record's writes: (at, connection, object, kind, state, native id, run)."""
    sql = (
        "SELECT updated_at, connection, object, kind, state, native_id, run FROM operations "
        "WHERE canonical_id = ? ORDER BY updated_at"
    )
    return tx.rows(sql, (canonical_id,))
