"""What each run of a reconciliation compared: its figures, control totals, and the records that make a total differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from engine.sdk.record import Fields, decode_json, encode_json
from engine.state.store import Tx


class Reconciliation(NamedTuple):
    """A run of a reconciliation. told: sides, window, counts, amounts, causes."""

    run: str
    flow: str
    entity: str
    at: str
    told: Fields


class Cell(NamedTuple):
    """One line of a control total. by: dimension → value. sums: side → exact sum or count. parts: records behind it."""

    total: int
    cell: int
    name: str
    by: Fields
    sums: Fields
    records: Fields
    differs: bool
    parts: int


class Part(NamedTuple):
    """A record that makes a cell differ. sums: side → what it adds there."""

    total: int
    cell: int
    key: str
    sums: Fields
    natives: Fields


def keep(tx: Tx, one: Reconciliation, cells: Sequence[Cell], parts: Sequence[Part]) -> None:
    """Keep a run's result."""
    tx.run(
        "INSERT INTO reconciliations (run, flow, entity, at, told) VALUES (?, ?, ?, ?, ?)",
        (one.run, one.flow, one.entity, one.at, encode_json(one.told)),
    )
    tx.many(
        "INSERT INTO reconcile_totals (run, total, cell, name, by, sums, records, differs, parts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (one.run, each.total, each.cell, each.name, encode_json(each.by), encode_json(each.sums),
             encode_json(each.records), int(each.differs), each.parts)
            for each in cells
        ],
    )  # fmt: skip
    tx.many(
        "INSERT INTO reconcile_parts (run, total, cell, number, key, sums, natives) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (one.run, each.total, each.cell, number, each.key, encode_json(each.sums), encode_json(each.natives))
            for number, each in enumerate(parts)
        ],
    )


def amend(tx: Tx, run: str, told: Fields) -> None:
    """What became of a run's breaks after it (healing, and the second look) changes its figures."""
    tx.run("UPDATE reconciliations SET told = ? WHERE run = ?", (encode_json(told), run))


def get(tx: Tx, run: str) -> Reconciliation | None:
    """The result of one run."""
    row = tx.one("SELECT run, flow, entity, at, told FROM reconciliations WHERE run = ?", (run,))
    return _one(row) if row else None


def listed(tx: Tx, flow: str | None = None, limit: int = 30, until: str | None = None) -> list[Reconciliation]:
    """Results, newest first. until: those that began then at the latest."""
    tests, values = [], []
    for test, given in (("flow = ?", flow), ("at <= ?", until)):
        if given is not None:
            tests.append(test)
            values.append(given)
    which = f" WHERE {' AND '.join(tests)}" if tests else ""
    sql = (
        f"SELECT run, flow, entity, at, told FROM reconciliations{which} ORDER BY at DESC, run DESC LIMIT {int(limit)}"
    )
    return [_one(row) for row in tx.rows(sql, values)]


def following(tx: Tx, one: Reconciliation) -> str | None:
    """When the next run of the flow began; None for the latest."""
    row = tx.one("SELECT min(at) FROM reconciliations WHERE flow = ? AND at > ?", (one.flow, one.at))
    return str(row[0]) if row and row[0] is not None else None


def _one(row: Sequence[Any]) -> Reconciliation:
    return Reconciliation(row[0], row[1], row[2], row[3], decode_json(bytes(row[4])))


def cells(tx: Tx, run: str) -> list[Cell]:
    """Control totals of a run."""
    sql = "SELECT total, cell, name, by, sums, records, differs, parts FROM reconcile_totals WHERE run = ? ORDER BY total, cell"
    return [
        Cell(row[0], row[1], row[2], _decoded(row[3]), _decoded(row[4]), _decoded(row[5]), bool(row[6]), row[7])
        for row in tx.rows(sql, (run,))
    ]


def _decoded(data: Any) -> Fields:
    value: Fields = decode_json(bytes(data))
    return value


def parts(tx: Tx, run: str, total: int | None = None, cell: int | None = None, limit: int = 1000) -> list[Part]:
    """The records behind a total that differs."""
    tests, values = ["run = ?"], [run]
    for column, given in (("total", total), ("cell", cell)):
        if given is not None:
            tests.append(f"{column} = ?")
            values.append(given)  # type: ignore[arg-type]
    sql = f"SELECT total, cell, key, sums, natives FROM reconcile_parts WHERE {' AND '.join(tests)} ORDER BY total, cell, number LIMIT {int(limit)}"
    return [
        Part(row[0], row[1], row[2], decode_json(bytes(row[3])), decode_json(bytes(row[4])))
        for row in tx.rows(sql, values)
    ]


def prune(tx: Tx, before: str) -> int:
    """Remove results of runs before an instant; how many. The newest of each flow stays."""
    newest = "SELECT max(at) FROM reconciliations AS other WHERE other.flow = reconciliations.flow"
    runs = [row[0] for row in tx.rows(f"SELECT run FROM reconciliations WHERE at < ? AND at < ({newest})", (before,))]
    for table in ("reconcile_totals", "reconcile_parts", "reconciliations"):
        tx.many(f"DELETE FROM {table} WHERE run = ?", [(run,) for run in runs])
    return len(runs)
