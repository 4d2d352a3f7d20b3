"""Process instances: one row each, moved on by compare-and-set, every transition with a row of its timeline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from engine.sdk.record import JSON, decode_json, encode_json
from engine.state import units
from engine.state.store import Tx, new_id

LIVE = ("running", "waiting", "compensating", "needs_person", "paused")
ENDED = ("done", "compensated", "cancelled", "expired")
STATES = (*LIVE, *ENDED)
STILL = ("needs_person", "paused")
"""Live states in which nothing happens by itself."""
ENGINE = "crosswalk"
"""Who does what nobody asked for."""
LANE = "interactive"


class Instance(NamedTuple):
    """An instance of a process flow. context, detail: decoded JSON. See `tables_process` for what each says."""

    id: str
    flow: str
    key: str
    entity: str
    canonical_id: str
    state: str
    step: int
    version: int
    logic: bytes
    context: Any
    correlation: str | None
    waiting: str | None
    detail: Any
    until: str | None
    queue: str | None
    exception: str | None
    ending: str | None
    nudged: int
    attempts: int
    started_by: str
    started_at: str
    updated_at: str
    finished_at: str | None
    deadline: str | None

    @property
    def live(self) -> bool:
        """Whether it is not over."""
        return self.state in LIVE

    @property
    def beneath(self) -> str:
        """What a paused instance is again when the pause ends."""
        if self.state != "paused":
            return self.state
        return "waiting" if self.waiting is not None else "compensating" if self.ending is not None else "running"


_COLUMNS = ", ".join(Instance._fields)
_JSON = ("context", "detail")
_STANDS = ("waiting", "detail", "until", "queue", "exception")


def _instance(row: Sequence[Any]) -> Instance:
    one = Instance(*row)
    return one._replace(
        logic=bytes(one.logic),
        context=decode_json(bytes(one.context)),
        detail=decode_json(bytes(one.detail)) if one.detail is not None else None,
    )


def start(tx: Tx, flow: str, key: str, entity: str, canonical_id: str, *, logic: bytes, person: str,
          correlation: str | None, deadline: str | None) -> str | None:  # fmt: skip
    """A new instance; its id. None where one with that key is live already."""
    id, now = new_id("p"), tx.now()
    made = tx.run(
        "INSERT INTO processes (id, flow, key, entity, canonical_id, state, step, version, logic, context, correlation, "
        "started_by, started_at, updated_at, deadline) VALUES (?, ?, ?, ?, ?, 'running', 0, 1, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT DO NOTHING",
        (id, flow, key, entity, canonical_id, logic, b"{}", correlation, person, now, now, deadline),
    )
    if made != 1:
        return None
    _note(tx, id, 1, now, person, "running", None, None, "started", None)
    wake(tx, [id])
    return id


def get(tx: Tx, id: str) -> Instance | None:
    """One instance."""
    row = tx.one(f"SELECT {_COLUMNS} FROM processes WHERE id = ?", (id,))
    return _instance(row) if row else None


def last_of(tx: Tx, flow: str, keys: Iterable[str]) -> dict[str, Instance]:
    """The latest instance of each key of a flow."""
    sql = f"SELECT {_COLUMNS} FROM processes WHERE flow = ? AND key IN (…) ORDER BY started_at, id"
    return {one.key: one for one in map(_instance, tx.by_keys(sql, (flow,), keys))}


def of_record(tx: Tx, canonical_id: str) -> list[Instance]:
    """Instances that are about a record, oldest first."""
    sql = f"SELECT {_COLUMNS} FROM processes WHERE canonical_id = ? ORDER BY started_at, id"
    return [_instance(row) for row in tx.rows(sql, (canonical_id,))]


def listed(
    tx: Tx, flow: str | None = None, state: str | None = None, *, everything: bool = False, limit: int = 1000
) -> list[Instance]:
    """Instances, the newest first; live ones unless everything or a state is asked for."""
    given = {"flow": flow, "state": state}
    tests = [f"{name} = ?" for name, value in given.items() if value]
    if not everything and state is None:
        tests.append("state IN ('" + "', '".join(LIVE) + "')")
    where = f" WHERE {' AND '.join(tests)}" if tests else ""
    values = [value for value in given.values() if value]
    sql = f"SELECT {_COLUMNS} FROM processes{where} ORDER BY started_at DESC, id DESC LIMIT {int(limit)}"
    return [_instance(row) for row in tx.rows(sql, values)]


def ready(tx: Tx, flow: str) -> list[str]:
    """Instances of a flow that can go on: running, woken, or done with waiting; what is only tried again later, too."""
    rows = tx.rows(
        "SELECT id FROM processes WHERE flow = ? AND (state IN ('running', 'compensating') OR (state = 'waiting' "
        "AND (nudged = 1 OR until <= ? OR waiting = 'timer'))) ORDER BY started_at, id",
        (flow, tx.now()),
    )
    return [str(row[0]) for row in rows]


def count(tx: Tx, flow: str) -> dict[str, int]:
    """State → how many instances of a flow are in it."""
    rows = tx.rows("SELECT state, count(*) FROM processes WHERE flow = ? GROUP BY state", (flow,))
    return {str(state): int(number) for state, number in rows}


def late(tx: Tx, flow: str) -> list[str]:
    """Live instances of a flow that are past `done_within`, the latest first."""
    marks = "', '".join(LIVE)
    sql = f"SELECT id FROM processes WHERE flow = ? AND state IN ('{marks}') AND deadline < ? ORDER BY deadline, id"
    return [str(row[0]) for row in tx.rows(sql, (flow, tx.now()))]


# ---------------------------------------------------------------------- transitions
def move(tx: Tx, one: Instance, what: str, *, person: str = ENGINE, label: str | None = None, told: JSON = None,
         **changes: Any) -> Instance | None:  # fmt: skip
    """One transition: the instance as it is then; None where somebody else was faster.

    label: the step that it is about; told: what the timeline says more. changes: columns. What it waited for is
    forgotten unless the changes say so again.
    """
    now = tx.now()
    fresh: dict[str, Any] = {"waiting": None, "detail": None, "until": None, "queue": None, "attempts": 0, **changes}
    after = one._replace(version=one.version + 1, updated_at=now, **fresh)
    if after.state in ENDED:
        after = after._replace(finished_at=now)
    stored = {**fresh, "version": after.version, "updated_at": now, "finished_at": after.finished_at}
    values = [encode_json(value) if name in _JSON and value is not None else value for name, value in stored.items()]
    moved = tx.run(
        f"UPDATE processes SET {', '.join(f'{name} = ?' for name in stored)} WHERE id = ? AND version = ?",
        (*values, one.id, one.version),
    )
    if moved != 1:
        return None
    _note(tx, one.id, after.version, now, person, after.state, after.waiting, label, what, told)
    if after.state in (*ENDED, *STILL):
        tx.run("DELETE FROM units WHERE kind = 'process' AND key = ? AND state = 'ready'", (one.id,))
    elif after.until is not None:
        units.put(tx, "process", one.id, lane=LANE, due=after.until)
    return after


def _note(tx: Tx, id: str, version: int, at: str, person: str, state: str, waiting: str | None, step: str | None,
          what: str, detail: JSON) -> None:  # fmt: skip
    tx.run(
        "INSERT INTO process_history (instance, version, at, person, state, waiting, step, what, detail) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (id, version, at, person, state, waiting, step, what, encode_json(detail) if detail is not None else None),
    )


def take(tx: Tx, id: str, advance: str) -> Instance | None:
    """Take an instance in hand, whose lease is held: what it was nudged for is looked at now. None where it is not known.

    Writes are noted under `advance`; those that an earlier hand left without an end are in doubt from here on.
    """
    tx.run("UPDATE processes SET advance = ?, nudged = 0, attempts = attempts + 1 WHERE id = ?", (advance, id))
    return get(tx, id)


def pause(tx: Tx, one: Instance, person: str, because: str) -> Instance | None:
    """It does nothing more until the pause ends, and what it waits for is kept; None where somebody else was faster."""
    kept = {name: getattr(one, name) for name in _STANDS}
    return move(tx, one, f"paused: {because}", person=person, state="paused", **kept)


def unpause(tx: Tx, one: Instance, person: str) -> Instance | None:
    """It is what it was, and looked at at once: what came due or came in meanwhile acts now."""
    kept = {name: getattr(one, name) for name in _STANDS}
    moved = move(tx, one, "the pause is over", person=person, state=one.beneath, **kept)
    if moved is not None:
        wake(tx, [one.id])
    return moved


def let_go(tx: Tx, id: str, advance: str) -> None:
    """Nobody has it in hand any more."""
    tx.run("UPDATE processes SET advance = NULL WHERE id = ? AND advance = ?", (id, advance))


def wake(tx: Tx, ids: Sequence[str]) -> None:
    """Something happened that these wait for: they are looked at again, by whoever comes first."""
    tx.many("UPDATE processes SET nudged = 1 WHERE id = ?", [(id,) for id in ids])
    for id in ids:
        units.put(tx, "process", id, lane=LANE)


def wake_by_exception(tx: Tx, exceptions: Iterable[str]) -> None:
    """Instances that wait for one of these exceptions, which is to be tried again."""
    sql = "SELECT id FROM processes WHERE exception IN (…)"
    wake(tx, [str(row[0]) for row in tx.by_keys(sql, (), exceptions)])


def of_exception(tx: Tx, exceptions: Iterable[str]) -> dict[str, str]:
    """Exception → the live instance that it tells of."""
    marks = "', '".join(LIVE)
    sql = f"SELECT exception, id FROM processes WHERE state IN ('{marks}') AND exception IN (…)"
    return {str(row[0]): str(row[1]) for row in tx.by_keys(sql, (), exceptions)}


# ---------------------------------------------------------------------- timeline
class Moment(NamedTuple):
    """A transition as the timeline shows it. detail: decoded JSON."""

    version: int
    at: str
    person: str
    state: str
    waiting: str | None
    step: str | None
    what: str
    detail: Any


def timeline(tx: Tx, id: str) -> list[Moment]:
    """Every transition of an instance, in order."""
    sql = (
        "SELECT version, at, person, state, waiting, step, what, detail FROM process_history WHERE instance = ? "
        "ORDER BY version"
    )
    rows = tx.rows(sql, (id,))
    return [Moment._make((*row[:7], decode_json(bytes(row[7])) if row[7] is not None else None)) for row in rows]


def askers(tx: Tx, id: str) -> set[str]:
    """People who made an instance what it is: who began it, resumed it, or corrected its record."""
    rows = tx.rows(
        "SELECT DISTINCT person FROM process_history WHERE instance = ? AND what NOT LIKE 'approval %' "
        "AND what NOT LIKE 'paused: %' AND what <> 'the pause is over'",
        (id,),
    )
    return {str(row[0]) for row in rows} - {ENGINE}


def operations_of(tx: Tx, id: str) -> list[tuple[str, ...]]:
    """The writes of an instance: (at, connection, object, canonical id, kind, state, native id, operation key)."""
    sql = (
        "SELECT updated_at, connection, object, canonical_id, kind, state, native_id, op_key FROM operations "
        "WHERE run LIKE ? ORDER BY created_at, op_key"
    )
    return tx.rows(sql, (f"{id}.%",))
