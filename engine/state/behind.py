"""Versions that wait for earlier ones of their record: exceptions whose `part` names the version."""

from __future__ import annotations

from typing import NamedTuple

from engine.state.exceptions import BEHIND, LIVE
from engine.state.store import Tx


class Behind(NamedTuple):
    """A version that waits for earlier ones of its record."""

    key: str
    part: str
    raw: bytes | None
    modified: str | None


def next_behind(tx: Tx, flow: str) -> list[Behind]:
    """Of each record that has no other trouble, the first version that waits behind it."""
    rows = tx.rows(
        f"SELECT key, part, raw, modified FROM exceptions AS one WHERE flow = ? AND state IN {LIVE} AND part LIKE ? "
        f"AND NOT EXISTS (SELECT 1 FROM exceptions AS other WHERE other.flow = one.flow AND other.key = one.key "
        f"AND other.state IN {LIVE} AND other.part NOT LIKE ?) ORDER BY key, modified, opened_at, part",
        (flow, f"{BEHIND}%", f"{BEHIND}%"),
    )
    first: dict[str, Behind] = {}
    for row in rows:
        first.setdefault(row[0], Behind(*row))
    return list(first.values())
