"""What records belong together under: one id from the first of them to the last, whatever system holds which."""

from __future__ import annotations

from collections.abc import Iterable

from engine.state import canonical
from engine.state.store import Tx


def of(tx: Tx, entity: str, ids: Iterable[str]) -> dict[str, str]:
    """Canonical id → the correlation of that record; its own id where it has no other, or is not there yet."""
    wanted = list(dict.fromkeys(ids))
    sql = "SELECT id, correlation FROM canonical WHERE entity = ? AND correlation IS NOT NULL AND id IN (…)"
    found = {str(row[0]): str(row[1]) for row in tx.by_keys(sql, (entity,), wanted)}
    return {id: found.get(id, id) for id in wanted}


def members(tx: Tx, correlation: str, entities: Iterable[str]) -> list[tuple[str, str]]:
    """(entity, canonical id) of all records that belong together under it, the first one included."""
    rows = tx.rows("SELECT entity, id FROM canonical WHERE correlation = ? ORDER BY entity, id", (correlation,))
    first = canonical.entity_of(tx, correlation, entities)
    found = [(str(row[0]), str(row[1])) for row in rows]
    return found if first is None or (first, correlation) in found else [(first, correlation), *found]
