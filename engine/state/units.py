"""Units: work that an executor is woken for. One open unit a (kind, key); whoever holds its lease does it.

Kinds: `run` (a run that a command began), `flow` (start a flow), `inbox`, `relay`, `process`, `resolve`, `measure`. A unit that
is asked for while somebody works on it is done once more afterwards, so that nothing that came meanwhile is missed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from engine.sdk.record import JSON, decode_json, encode_json
from engine.state.leases import me
from engine.state.store import Tx, instant, moment_of, new_id

MANY = 100
"""Units that one statement asks for."""
LIFE = timedelta(seconds=60)
"""How long a worker that tells nothing keeps a unit."""


RECORDS = 5000
"""Records that a unit names at most; beyond, it is about everything."""


class Unit(NamedTuple):
    """A unit that is held. payload: decoded JSON; attempts: this one included; fence: tells a late worker from its heir."""

    id: str
    kind: str
    key: str
    lane: str
    payload: Any
    attempts: int
    fence: int


_COLUMNS = "id, kind, key, lane, payload, attempts, fence"


def put(tx: Tx, kind: str, key: str, *, lane: str, due: str | None = None, payload: JSON = None) -> str:
    """Ask for work; the id of its unit. Asked for again before it began, it is done once, at the earlier time."""
    due = due or tx.now()
    fresh = new_id("u")
    made = tx.run(
        "INSERT INTO units (id, kind, key, lane, state, due, payload) VALUES (?, ?, ?, ?, 'ready', ?, ?) ON CONFLICT DO NOTHING",
        (fresh, kind, key, lane, due, encode_json(payload)),
    )
    if made == 1:
        return fresh
    tx.run(
        "UPDATE units SET due = CASE WHEN due > ? THEN ? ELSE due END, again = CASE state WHEN 'leased' THEN 1 ELSE 0 END "
        "WHERE kind = ? AND key = ? AND state IN ('ready', 'leased')",
        (due, due, kind, key),
    )
    row = tx.one(
        "SELECT id, payload FROM units WHERE kind = ? AND key = ? AND state IN ('ready', 'leased')", (kind, key)
    )
    if row is None:
        return put(tx, kind, key, lane=lane, due=due, payload=payload)
    standing = decode_json(bytes(row[1]))
    both = joined(standing, payload)
    if both != standing:
        tx.run("UPDATE units SET payload = ? WHERE id = ?", (encode_json(both), row[0]))
    return str(row[0])


def joined(standing: Any, asked: Any) -> Any:
    """The payload of a unit that is asked for twice: it is about the `records` of both, and about everything where one
    of them names none. Those that a worker has in hand stay in it, for it may die."""
    if not isinstance(standing, dict) or "records" not in standing:
        return standing
    more = asked.get("records") if isinstance(asked, dict) else None
    if more is None:
        return {name: value for name, value in standing.items() if name != "records"}
    together = list(dict.fromkeys([*standing["records"], *more]))
    if len(together) > RECORDS:
        return {name: value for name, value in standing.items() if name != "records"}
    both = {**standing, "records": together}
    if standing.get("correlation") != asked.get("correlation"):  # they belong to several
        both.pop("correlation", None)
    return both


def put_many(tx: Tx, kind: str, keys: Iterable[str], *, lane: str, due: str) -> None:
    """Like `put` for many keys without a payload, in few statements. Rows are touched in order of their keys."""
    wanted = sorted(set(keys))
    for start in range(0, len(wanted), MANY):
        part = wanted[start : start + MANY]
        rows = [(new_id("u"), kind, key, lane, due, b"null") for key in part]
        marks = ", ".join(["(?, ?, ?, ?, 'ready', ?, ?)"] * len(rows))
        made = tx.rows(
            f"INSERT INTO units (id, kind, key, lane, state, due, payload) VALUES {marks} ON CONFLICT DO NOTHING RETURNING key",
            [value for row in rows for value in row],
        )
        known = [key for key in part if (key,) not in set(made)]
        if not known:
            continue
        marks = ", ".join("?" * len(known))
        touched = tx.rows(
            "UPDATE units SET due = CASE WHEN due > ? THEN ? ELSE due END, again = CASE state WHEN 'leased' THEN 1 ELSE 0 END "
            f"WHERE kind = ? AND key IN ({marks}) AND state IN ('ready', 'leased') RETURNING key",
            (due, due, kind, *known),
        )
        for key in set(known) - {str(row[0]) for row in touched}:  # it ended meanwhile
            put(tx, kind, key, lane=lane, due=due)


def claim(tx: Tx, owner: str, lanes: Sequence[str], limit: int = 1, life: timedelta = LIFE) -> list[Unit]:
    """Take units that are due, and those whose worker is gone, the longest due first."""
    now = tx.now()
    marks = ", ".join("?" * len(lanes))
    lock = " FOR UPDATE SKIP LOCKED" if tx.connection.dialect.name == "postgresql" else ""
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM units WHERE lane IN ({marks}) AND ((state = 'ready' AND due <= ?) "
        f"OR (state = 'leased' AND expires_at <= ?)) ORDER BY due, id LIMIT {int(limit)}{lock}",
        (*lanes, now, now),
    )
    until = instant(moment_of(now) + life)
    taken = []
    for id, kind, key, lane, payload, attempts, fence in rows:  # locked, so nobody else takes them
        taken.append(Unit(id, kind, key, lane, decode_json(bytes(payload)), int(attempts) + 1, int(fence) + 1))
    tx.many(
        "UPDATE units SET state = 'leased', owner = ?, expires_at = ?, attempts = ?, fence = ?, again = 0 "
        "WHERE id = ? AND fence = ?",
        [(owner, until, unit.attempts, unit.fence, unit.id, unit.fence - 1) for unit in taken],
    )
    return taken


def renew(tx: Tx, unit: Unit, life: timedelta = LIFE) -> bool:
    """Hold on to a unit; False where another worker has taken over."""
    until = instant(moment_of(tx.now()) + life)
    return tx.run("UPDATE units SET expires_at = ? WHERE id = ? AND fence = ?", (until, unit.id, unit.fence)) == 1


_DONE = (
    "UPDATE units SET state = CASE again WHEN 1 THEN 'ready' ELSE 'done' END, attempts = 0, owner = NULL, "
    "expires_at = NULL, error = NULL WHERE id = ? AND fence = ? AND state = 'leased'"
)


def done(tx: Tx, unit: Unit) -> bool:
    """The work is done, or goes on at once where it was asked for meanwhile; False where another worker has it."""
    return tx.run(_DONE, (unit.id, unit.fence)) == 1


def done_all(tx: Tx, held: Iterable[Unit]) -> None:
    """Like `done`, for many."""
    tx.many(_DONE, [(unit.id, unit.fence) for unit in sorted(held, key=lambda each: each.key)])


def later(tx: Tx, unit: Unit, due: str, error: str | None = None, *, counted: bool = True) -> bool:
    """Put it back until `due` (or sooner, where it was asked for meanwhile). counted: it was an attempt."""
    return (
        tx.run(
            "UPDATE units SET state = 'ready', due = CASE again WHEN 1 THEN due ELSE ? END, owner = NULL, expires_at = NULL, "
            "error = ?, attempts = ? WHERE id = ? AND fence = ? AND state = 'leased'",
            (due, error, unit.attempts - (not counted), unit.id, unit.fence),
        )
        == 1
    )


def failed(tx: Tx, unit: Unit, error: str) -> bool:
    """Give the work up; why stays in its row."""
    return (
        tx.run(
            "UPDATE units SET state = 'failed', owner = NULL, expires_at = NULL, error = ? "
            "WHERE id = ? AND fence = ? AND state = 'leased'",
            (error, unit.id, unit.fence),
        )
        == 1
    )


def abandon(tx: Tx, owner: str) -> int:
    """The units of a process that is known to be gone are free at once; how many."""
    return tx.run("UPDATE units SET expires_at = ? WHERE state = 'leased' AND owner = ?", (tx.now(), owner))


def owners(tx: Tx) -> list[str]:
    """Who has units in hand."""
    rows = tx.rows(
        "SELECT DISTINCT owner FROM units WHERE state = 'leased' AND owner IS NOT NULL AND expires_at > ?", (tx.now(),)
    )
    return [str(row[0]) for row in rows]


def given_up(tx: Tx, limit: int = 100) -> list[tuple[str, str, str]]:
    """(kind, key, why) of work that was given up and not asked for again since."""
    rows = tx.rows(
        "SELECT kind, key, error FROM units u WHERE state = 'failed' AND kind <> 'run' AND NOT EXISTS (SELECT 1 FROM units "
        f"WHERE kind = u.kind AND key = u.key AND (due > u.due OR (due = u.due AND id > u.id))) ORDER BY due DESC LIMIT {int(limit)}"
    )
    return [(str(kind), str(key), str(error or "")) for kind, key, error in rows]


def due_lanes(tx: Tx) -> set[str]:
    """Lanes in which something waits for a worker now."""
    now = tx.now()
    rows = tx.rows(
        "SELECT DISTINCT lane FROM units WHERE (state = 'ready' AND due <= ?) OR (state = 'leased' AND expires_at <= ?)",
        (now, now),
    )
    return {str(row[0]) for row in rows}


def hurry(tx: Tx, kind: str, key: str) -> None:
    """What waits under that key is due now."""
    tx.run("UPDATE units SET due = ? WHERE kind = ? AND key = ? AND state = 'ready'", (tx.now(), kind, key))


def ready_by(tx: Tx, lanes: Sequence[str], moment: str) -> bool:
    """Whether something waits that is due by then, or whose worker is gone by then."""
    marks = ", ".join("?" * len(lanes))
    sql = (
        "SELECT 1 FROM units WHERE ((state = 'ready' AND due <= ?) OR (state = 'leased' AND owner <> ? AND expires_at <= ?)) "
        f"AND lane IN ({marks}) LIMIT 1"
    )
    return tx.one(sql, (moment, me(), moment, *lanes)) is not None


def open_keys(tx: Tx, kind: str) -> set[str]:
    """Keys that are asked for or in hand."""
    return {
        str(row[0]) for row in tx.rows("SELECT key FROM units WHERE kind = ? AND state IN ('ready', 'leased')", (kind,))
    }


def next_due(tx: Tx) -> str | None:
    """When there is work next; None where nothing waits."""
    row = tx.one(
        "SELECT min(CASE state WHEN 'ready' THEN due ELSE expires_at END) FROM units WHERE state IN ('ready', 'leased')"
    )
    return str(row[0]) if row and row[0] else None


def backlog(tx: Tx) -> dict[str, int]:
    """Lane → units that are due now and that nobody works on."""
    rows = tx.rows("SELECT lane, count(*) FROM units WHERE state = 'ready' AND due <= ? GROUP BY lane", (tx.now(),))
    return {str(lane): int(count) for lane, count in rows}
