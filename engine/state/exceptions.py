"""Exceptions: records that left the line, each with everything that is needed to look at it and try again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from engine.sdk.errors import ExceptionClass
from engine.state import processes
from engine.state.store import Tx, instant, new_id

BEHIND = "behind "
"""Begins the `part` of a version that waits for earlier ones of its record; the version follows."""
LIVE = "('open', 'waiting', 'due')"


class Failure(NamedTuple):
    """What went wrong with a record now. target: '' where it concerns no target in particular.

    reads: (entity, canonical id or `connection:native id`) whose change tries it again. revision: how many
    deliveries the target had got of it, None where it concerns no target.
    """

    flow: str
    run: str
    entity: str
    key: str
    canonical_id: str | None
    target: str
    part: str
    stage: str
    exception_class: ExceptionClass
    code: str
    message: str
    hint: str
    at: str | None
    queue: str | None
    state: str
    fingerprint: str
    until: str | None
    modified: str | None
    logic: bytes
    raw: bytes | None
    canonical: bytes | None
    payload: bytes | None
    reads: tuple[tuple[str, str], ...] = ()
    revision: int | None = None


class Row(NamedTuple):
    """An exception as lists show it. queue: the one it waits in, whoever put it there. owner: who has taken it."""

    id: str
    flow: str
    entity: str
    key: str
    canonical_id: str | None
    target: str
    part: str
    stage: str
    exception_class: ExceptionClass
    code: str
    message: str
    hint: str
    at: str | None
    queue: str | None
    state: str
    attempts: int
    opened_at: str
    updated_at: str
    run: str
    closed_how: str | None
    fingerprint: str
    owner: str | None


_SHOWN = (
    "id, flow, entity, key, canonical_id, target, part, stage, class, code, message, hint, at, coalesce(routed, queue), "
    "state, attempts, opened_at, updated_at, run, closed_how, fingerprint, owner"
)
_TESTS = {
    "flow": "flow = ?",
    "queue": "coalesce(routed, queue) = ?",
    "code": "code = ?",
    "key": "key = ?",
    "target": "target = ?",
    "canonical_id": "canonical_id = ?",
    "exception_class": "class = ?",
    "owner": "coalesce(owner, '') = ?",
    "tag": "id IN (SELECT exception FROM exception_tags WHERE tag = ?)",
    "fingerprint": "fingerprint LIKE ?",
    "before": "opened_at < ?",
}
"""What lists can be narrowed by; before: an instant; fingerprint: with `%` behind its beginning; owner: '' for nobody."""


def record(tx: Tx, failures: Sequence[Failure]) -> list[str]:
    """Open exceptions; a record that fails again keeps its exception, with the new reason. Their ids."""
    ids = []
    now = instant()
    for one in failures:
        known = tx.one(
            f"SELECT id FROM exceptions WHERE flow = ? AND key = ? AND target = ? AND part = ? AND state IN {LIVE}",
            (one.flow, one.key, one.target, one.part),
        )
        values = (
            one.run, one.canonical_id, one.stage, one.exception_class, one.code, one.message, one.hint, one.at, one.queue,
            one.state, one.fingerprint, one.until, one.modified, one.logic, one.raw, one.canonical, one.payload,
            one.revision, now,
        )  # fmt: skip
        if known:
            id = str(known[0])
            tx.run(
                "UPDATE exceptions SET run = ?, canonical_id = ?, stage = ?, class = ?, code = ?, message = ?, hint = ?, "
                "at = ?, queue = ?, state = ?, fingerprint = ?, until = coalesce(until, ?), modified = ?, logic = ?, "
                "raw = ?, canonical = ?, payload = ?, revision = ?, updated_at = ?, attempts = attempts + 1 WHERE id = ?",
                (*values, id),
            )
            tx.run("DELETE FROM exception_reads WHERE exception = ?", (id,))
        else:
            id = new_id("x")
            tx.run(
                "INSERT INTO exceptions (run, canonical_id, stage, class, code, message, hint, at, queue, state, "
                "fingerprint, until, modified, logic, raw, canonical, payload, revision, updated_at, id, flow, entity, key, "
                "target, part, opened_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, id, one.flow, one.entity, one.key, one.target, one.part, now),
            )
        tx.many(
            "INSERT INTO exception_reads (exception, entity, key) VALUES (?, ?, ?)",
            [(id, entity, key) for entity, key in dict.fromkeys(one.reads)],
        )
        ids.append(id)
    return ids


def live_id(tx: Tx, flow: str, key: str, target: str, part: str) -> str | None:
    """The live exception of a record and target."""
    row = tx.one(
        f"SELECT id FROM exceptions WHERE flow = ? AND key = ? AND target = ? AND part = ? AND state IN {LIVE}",
        (flow, key, target, part),
    )
    return str(row[0]) if row else None


def read_also(tx: Tx, id: str, reads: Sequence[tuple[str, str]]) -> None:
    """More records whose change tries an exception again: (entity, canonical id or `connection:native id`)."""
    tx.many(
        "INSERT INTO exception_reads (exception, entity, key) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        [(id, entity, key) for entity, key in dict.fromkeys(reads)],
    )


def live_keys(tx: Tx, flow: str) -> set[tuple[str, str, str]]:
    """(key, target, part) of every live exception of a flow; few, so that success can close them cheaply."""
    rows = tx.rows(f"SELECT key, target, part FROM exceptions WHERE flow = ? AND state IN {LIVE}", (flow,))
    return {(row[0], row[1], row[2]) for row in rows}


def live_versions(tx: Tx, flow: str) -> dict[str, str]:
    """Key → the newest version of its record that is in trouble."""
    sql = f"SELECT key, max(modified) FROM exceptions WHERE flow = ? AND state IN {LIVE} AND modified IS NOT NULL GROUP BY key"
    return {row[0]: row[1] for row in tx.rows(sql, (flow,))}


def overdue(tx: Tx, flow: str, now: str) -> set[tuple[str, str, str]]:
    """(key, target, part) of the live exceptions of a flow that waited as long as they may."""
    rows = tx.rows(
        f"SELECT key, target, part FROM exceptions WHERE flow = ? AND state IN {LIVE} AND until < ?", (flow, now)
    )
    return {(row[0], row[1], row[2]) for row in rows}


def close(tx: Tx, flow: str, keys: Iterable[tuple[str, str, str]], how: str) -> None:
    """Close the live exceptions of records that went through: (key, target, part)."""
    now = instant()
    tx.many(
        "UPDATE exceptions SET state = 'closed', closed_at = ?, closed_how = ?, updated_at = ? "
        f"WHERE flow = ? AND key = ? AND target = ? AND part = ? AND state IN {LIVE}",
        [(now, how, now, flow, key, target, part) for key, target, part in keys],
    )


def close_mended(tx: Tx, flow: str, run: str) -> int:
    """Close what could not be read before, and was read without that fault, or is gone, in a run over everything."""
    now = instant()
    return tx.run(
        "UPDATE exceptions SET state = 'closed', closed_at = ?, closed_how = ?, updated_at = ? "
        f"WHERE flow = ? AND run <> ? AND class = 'parse' AND state IN {LIVE}",
        (now, f"mended in the source: {run}", now, flow, run),
    )


def set_state(tx: Tx, ids: Sequence[str], state: str, how: str | None = None) -> None:
    """Put exceptions into a state."""
    now = instant()
    ended = now if state in ("closed", "discarded", "superseded") else None
    tx.many(
        "UPDATE exceptions SET state = ?, closed_at = ?, closed_how = ?, updated_at = ? WHERE id = ?",
        [(state, ended, how and how[:200], now, id) for id in ids],
    )


def wake(tx: Tx, changes: Iterable[tuple[str, str]]) -> int:
    """Make due whatever reads one of these: (entity, canonical id or `connection:native id`)."""
    wanted = set(changes)
    if not wanted:
        return 0
    sql = (
        "SELECT DISTINCT r.exception, r.entity, r.key FROM exception_reads r JOIN exceptions e ON e.id = r.exception "
        "WHERE e.state IN ('open', 'waiting') AND r.key IN (…)"
    )
    ids = {row[0] for row in tx.by_keys(sql, (), [key for _, key in wanted]) if (row[1], row[2]) in wanted}
    tx.many("UPDATE exceptions SET state = 'due' WHERE id = ?", [(id,) for id in ids])
    if ids:
        processes.wake_by_exception(tx, ids)
    return len(ids)


def try_again(tx: Tx, code: str, canonical_ids: Iterable[str]) -> None:
    """Make due what is open with a code about these records, in whichever flow."""
    tx.many(
        "UPDATE exceptions SET state = 'due' WHERE canonical_id = ? AND code = ? AND state = 'open'",
        [(id, code) for id in sorted(canonical_ids)],
    )


def any_live_reads(tx: Tx) -> bool:
    """Whether any live exception waits for something."""
    return tx.one(f"SELECT 1 FROM exceptions WHERE state IN {LIVE} LIMIT 1") is not None


def due(tx: Tx, flow: str | None = None) -> list[tuple[str, str]]:
    """(flow, key) of what is to be tried again: woken, or waited too long."""
    more, values = (" AND flow = ?", [flow]) if flow else ("", [])
    sql = f"SELECT DISTINCT flow, key FROM exceptions WHERE (state = 'due' OR (state = 'waiting' AND (until < ? OR stage = 'deliver'))){more}"
    return [(row[0], row[1]) for row in tx.rows(sql, (tx.now(), *values))]


def listed(tx: Tx, *, everything: bool = False, limit: int = 1000, **chosen: str | None) -> list[Row]:
    """Exceptions, newest first; live ones unless everything is asked for. chosen: see `_TESTS`."""
    where, values = _chosen(everything, chosen)
    sql = f"SELECT {_SHOWN} FROM exceptions{where} ORDER BY updated_at DESC, flow, key, target, id LIMIT {int(limit)}"
    return [Row(*row) for row in tx.rows(sql, values)]


def count(tx: Tx, *, everything: bool = False, **chosen: str | None) -> int:
    """How many `listed` would give without a limit."""
    where, values = _chosen(everything, chosen)
    row = tx.one(f"SELECT count(*) FROM exceptions{where}", values)
    return int(row[0]) if row else 0


def _chosen(everything: bool, chosen: Mapping[str, str | None]) -> tuple[str, list[str]]:
    given = {name: value for name, value in chosen.items() if value is not None}
    tests = [*([] if everything else [f"state IN {LIVE}"]), *(_TESTS[name] for name in given)]
    return (f" WHERE {' AND '.join(tests)}" if tests else ""), list(given.values())


def get(tx: Tx, id: str) -> Row | None:
    """One exception."""
    row = tx.one(f"SELECT {_SHOWN} FROM exceptions WHERE id = ?", (id,))
    return Row(*row) if row else None


def older_of(tx: Tx, rows: Sequence[Row]) -> list[Row]:
    """Live exceptions of the same records that were opened before these, and are not among them."""
    first: dict[str, str] = {}
    for row in rows:
        if row.canonical_id is not None:
            first[row.canonical_id] = max(row.opened_at, first.get(row.canonical_id, ""))
    sql = f"SELECT {_SHOWN} FROM exceptions WHERE state IN {LIVE} AND canonical_id IN (…)"
    named = {row.id for row in rows}
    found = [Row(*row) for row in tx.by_keys(sql, (), first)]
    return [row for row in found if row.id not in named and row.opened_at < first[str(row.canonical_id)]]
