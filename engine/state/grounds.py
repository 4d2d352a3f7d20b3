"""What may explain a difference between systems: open exceptions, writes without a known outcome, links, deliveries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from engine.state.operations import OPEN
from engine.state.store import Tx


class Trouble(NamedTuple):
    """A live exception. target: the flow's, where it is about one."""

    id: str
    flow: str
    key: str
    canonical_id: str | None
    target: str
    code: str
    message: str


_COLUMNS = "id, flow, key, canonical_id, target, code, message"
_LIVE = "state IN ('open', 'waiting', 'due')"


def troubles(tx: Tx, entity: str, ids: Iterable[str], keys: Iterable[str]) -> list[Trouble]:
    """Live exceptions of an entity's records, by canonical id or by the key that their flow knows them by."""
    found: dict[str, Trouble] = {}
    for column, wanted in (("canonical_id", ids), ("key", keys)):
        sql = f"SELECT {_COLUMNS} FROM exceptions WHERE entity = ? AND {_LIVE} AND {column} IN (…)"
        for row in tx.by_keys(sql, (entity,), wanted):
            found[row[0]] = Trouble(*row)
    return list(found.values())


def unresolved(tx: Tx, ids: Iterable[str]) -> dict[str, list[tuple[str, str, str, str]]]:
    """Writes without a known outcome: canonical id → (connection, kind, state, since)."""
    sql = f"SELECT canonical_id, connection, kind, state, created_at FROM operations WHERE state IN {OPEN} AND canonical_id IN (…)"
    found: dict[str, list[tuple[str, str, str, str]]] = {}
    for row in tx.by_keys(sql, (), ids):
        found.setdefault(row[0], []).append((row[1], row[2], row[3], row[4]))
    return found


def standing(tx: Tx, entity: str, ids: Iterable[str]) -> dict[tuple[str, str], list[tuple[str, str, str]]]:
    """Links: (canonical id, connection) → (object, native id, state)."""
    sql = (
        "SELECT canonical_id, connection, object, native_id, state FROM links WHERE entity = ? AND canonical_id IN (…)"
    )
    found: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
    for row in tx.by_keys(sql, (entity,), ids):
        found.setdefault((row[0], row[1]), []).append((row[2], row[3], row[4]))
    return found


def delivered(tx: Tx, ids: Iterable[str]) -> set[tuple[str, str]]:
    """(canonical id, connection) to which a record was delivered, and is not ended there."""
    sql = "SELECT canonical_id, connection FROM ledger WHERE state IN ('delivered', 'stale') AND canonical_id IN (…)"
    return {(row[0], row[1]) for row in tx.by_keys(sql, (), ids)}
