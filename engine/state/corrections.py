"""What people corrected in records: kept beside the original, for that version of the record, whenever it is read again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine.state.store import Tx, instant


class Correction(NamedTuple):
    """One correction. stage: raw (value is the whole record) or canonical (value holds the corrected fields).

    original: digest of the raw record that it is for. before: what `value` takes the place of. past: the source
    has given another version of the record since, or the record was given up.
    """

    exception: str
    flow: str
    key: str
    stage: str
    original: bytes
    value: bytes
    before: bytes
    person: str
    because: str
    at: str = ""
    past: bool = False


_COLUMNS = "exception, flow, key, stage, original, value, before, person, because, at, past"


def add(tx: Tx, one: Correction) -> None:
    """Keep a correction; earlier ones of the exception stay."""
    row = tx.one("SELECT count(*) FROM corrections WHERE exception = ?", (one.exception,))
    number = int(row[0]) + 1 if row else 1
    tx.run(
        f"INSERT INTO corrections ({_COLUMNS}, number) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?)",
        (*one[:9], instant(), number),
    )


def of_exception(tx: Tx, id: str) -> list[Correction]:
    """The corrections of an exception, oldest first."""
    return _read(tx, "exception = ?", id)


def of_flow(tx: Tx, flow: str) -> list[Correction]:
    """The corrections that hold in a flow, oldest first; few, for people make them."""
    return _read(tx, "past = 0 AND flow = ?", flow)


def people(tx: Tx, flow: str, canonical_id: str) -> set[str]:
    """Who corrected a record for a flow."""
    sql = (
        "SELECT DISTINCT c.person FROM corrections c JOIN links l ON l.native_id = c.key "
        "WHERE c.flow = ? AND l.canonical_id = ?"
    )
    return {str(row[0]) for row in tx.rows(sql, (flow, canonical_id))}


def _read(tx: Tx, test: str, value: str) -> list[Correction]:
    rows = tx.rows(f"SELECT {_COLUMNS} FROM corrections WHERE {test} ORDER BY at, exception, number", (value,))
    return [
        Correction(row[0], row[1], row[2], row[3], bytes(row[4]), bytes(row[5]), bytes(row[6]), row[7], row[8], row[9],
                   bool(row[10]))
        for row in rows
    ]  # fmt: skip


def pass_by(tx: Tx, ids: Sequence[str]) -> None:
    """The corrections of these exceptions no longer hold."""
    tx.many("UPDATE corrections SET past = 1 WHERE exception = ?", [(id,) for id in ids])
