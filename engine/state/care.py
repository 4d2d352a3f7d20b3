"""Care of the state: backup, pruning by retention, facts for `doctor`."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

from engine.sdk.errors import Problem
from engine.state import breaks, outbox, reconciliations
from engine.state.operations import OPEN
from engine.state.store import StateError, Store, instant, moment_of
from engine.state.tables import metadata

DEFAULTS = {
    "exceptions": timedelta(days=180),
    "inputs": timedelta(days=14),
    "operations": timedelta(days=90),
    "events": timedelta(days=30),
    "inbox": timedelta(days=30),
    "reconciliations": timedelta(days=400),
}
TICKS, UNITS = timedelta(days=7), timedelta(days=1)
"""How long ticks and units of work are kept that are over: they tell nothing that runs do not."""


def backup(store: Store, target: Path) -> Path:
    """A consistent copy of a SQLite state while others write. PostgreSQL has its own tool."""
    if not store.sqlite:
        raise StateError(Problem("S706", "a PostgreSQL state is backed up by its own tool", None, "run pg_dump"))
    target.parent.mkdir(parents=True, exist_ok=True)
    path = store.engine.url.database
    assert path is not None
    source, copy = sqlite3.connect(path), sqlite3.connect(target)
    try:
        source.backup(copy)
    finally:
        source.close()
        copy.close()
    return target


def prune(store: Store, keep: dict[str, timedelta]) -> dict[str, int]:
    """Remove what is older than its retention; how many rows of each. Open exceptions stay, and corrections that hold."""
    spans = {**DEFAULTS, **keep}

    def before(name: str) -> str:
        return instant(datetime.now(UTC) - spans[name])

    statements = {
        "exceptions": ("DELETE FROM exceptions WHERE state IN ('closed', 'discarded', 'superseded') AND closed_at < ?",
                       before("exceptions")),
        "inputs": ("DELETE FROM kept_inputs WHERE at < ?", before("inputs")),
        "operations": ("DELETE FROM operations WHERE state IN ('confirmed', 'refused', 'dropped') AND updated_at < ?",
                       before("operations")),
    }  # fmt: skip
    if "history" in keep:
        statements["history"] = ("DELETE FROM history WHERE at < ?", before("history"))
    removed = {}
    for name, (sql, limit) in statements.items():
        with store.begin("prune") as tx:
            removed[name] = tx.run(sql, (limit,))
    with store.begin("prune") as tx:
        removed["events"] = outbox.prune(tx, before("events"))
    with store.begin("prune") as tx:
        removed["reconciliations"] = reconciliations.prune(tx, before("reconciliations"))
        removed["breaks"] = breaks.prune(tx, before("reconciliations"))
    with store.begin("prune reads") as tx:
        gone = "exception NOT IN (SELECT id FROM exceptions)"
        for sql in (
            f"exception_reads WHERE {gone}",
            f"exception_tags WHERE {gone}",
            f"corrections WHERE past = 1 AND {gone}",
        ):
            tx.run(f"DELETE FROM {sql}")
    return removed | prune_serve(store, keep.get("inbox"))


def prune_serve(store: Store, inbox: timedelta | None = None) -> dict[str, int]:
    """Remove drained events, old ticks and units that are over; how many rows of each."""
    now = datetime.now(UTC)
    limits = {
        "inbox": ("DELETE FROM inbox WHERE state = 'done' AND done_at < ?", inbox or DEFAULTS["inbox"]),
        "ticks": ("DELETE FROM ticks WHERE state NOT IN ('due', 'started') AND at < ?", TICKS),
        "units": ("DELETE FROM units WHERE state = 'done' AND due < ?", UNITS),
        "failed units": ("DELETE FROM units WHERE state = 'failed' AND due < ?", inbox or DEFAULTS["inbox"]),
    }
    removed = {}
    for name, (sql, span) in limits.items():
        with store.begin("prune") as tx:
            removed[name] = tx.run(sql, (instant(now - span),))
    return removed


def age(store: Store, seconds: float) -> None:
    """Make leases, writes in doubt and what instances wait for look older by so many seconds: what tests do instead of
    waiting."""

    def older(text: str | None) -> str | None:
        return instant(moment_of(text) - timedelta(seconds=seconds)) if text else text

    with store.begin("age") as tx:
        for row in tx.rows(f"SELECT op_key, send_by, updated_at, created_at FROM operations WHERE state IN {OPEN}"):
            times = [older(one) for one in row[1:]]
            tx.run(
                "UPDATE operations SET send_by = ?, updated_at = ?, created_at = ? WHERE op_key = ?", (*times, row[0])
            )
        for name, until in tx.rows("SELECT name, expires_at FROM leases"):
            tx.run("UPDATE leases SET expires_at = ? WHERE name = ?", (older(until), name))
        for id, until, deadline in tx.rows("SELECT id, until, deadline FROM processes WHERE finished_at IS NULL"):
            tx.run("UPDATE processes SET until = ?, deadline = ? WHERE id = ?", (older(until), older(deadline), id))
        for id, expires in tx.rows("SELECT id, expires FROM approvals WHERE state = 'open'"):
            tx.run("UPDATE approvals SET expires = ? WHERE id = ?", (older(expires), id))


def sizes(store: Store) -> dict[str, int]:
    """Rows of every table."""
    with store.read() as tx:
        return {name: int((tx.one(f"SELECT count(*) FROM {name}") or (0,))[0]) for name in sorted(metadata.tables)}
