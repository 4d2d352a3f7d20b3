"""Swings: fields that two systems overwrite in turn, with the times at which one undid the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from engine.sdk.record import decode_json, encode_json
from engine.state.store import Tx


class Swing(NamedTuple):
    """A field of a record that one system set over another's value.

    connection: who wrote last; of a held one, who is kept from writing. was: digest of the value that was replaced; of a
    held one, of the value that waits. times: of the writes that undid the one before, in database time.
    """

    canonical_id: str
    field: str
    connection: str
    was: bytes
    times: tuple[str, ...]
    held: bool


def get(tx: Tx, ids: Iterable[str]) -> dict[str, dict[str, Swing]]:
    """Swings by canonical id and field."""
    sql = "SELECT canonical_id, field, connection, was, times, held FROM swings WHERE canonical_id IN (…)"
    found: dict[str, dict[str, Swing]] = {}
    for id, field, connection, was, times, held in tx.by_keys(sql, (), ids):
        one = Swing(id, field, connection, bytes(was), tuple(decode_json(bytes(times))), bool(held))
        found.setdefault(id, {})[field] = one
    return found


def put(tx: Tx, rows: Sequence[Swing]) -> None:
    """Remember swings over what stands there."""
    tx.many(
        "INSERT INTO swings (canonical_id, field, connection, was, times, held) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (canonical_id, field) DO UPDATE SET connection = excluded.connection, was = excluded.was, "
        "times = excluded.times, held = excluded.held",
        [
            (one.canonical_id, one.field, one.connection, one.was, encode_json(one.times), int(one.held))
            for one in sorted(rows)
        ],
    )


def forget(tx: Tx, rows: Sequence[Swing]) -> None:
    """The two agree again, or a person has decided: counting starts anew."""
    keys = [(one.canonical_id, one.field) for one in sorted(rows)]
    tx.many("DELETE FROM swings WHERE canonical_id = ? AND field = ?", keys)
