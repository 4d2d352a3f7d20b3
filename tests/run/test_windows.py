"""Reads of the window only: what is found is what a full read finds."""

from __future__ import annotations

import json
import sqlite3
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine.run.runner import Runner
from engine.run.session import Options
from engine.spec.workspace import Workspace
from engine.state import breaks, canonical, links, reconciliations
from engine.state.links import Link
from engine.state.store import Store

TODAY = datetime.now(UTC).date()
FILES = {
    "crosswalk.yaml": """
        crosswalk: 1
        name: t
        state: sqlite:///.crosswalk/state.db
        connections:
          psa: { connector: sql, url: "sqlite:///psa.db", objects: { invoices: { key: id } } }
          erp: { connector: sql, url: "sqlite:///erp.db", objects: { bills: { key: id } } }
    """,
    "schemas/bill.yaml": """
        $schema: https://json-schema.org/draft/2020-12/schema
        type: object
        additionalProperties: false
        x-match: [[number]]
        properties:
          number: { type: string }
          issued: { type: string, format: date }
          status: { type: string }
          hours: { type: integer }
    """,
    "mappings/psa/invoices.yaml": """
        mapping: psa/invoices
        object: invoices
        entity: bill
        fields: { number: number, issued: { from: day, as: date }, status: status, hours: { from: hours, as: integer } }
    """,
    "mappings/erp/bills.yaml": """
        mapping: erp/bills
        object: bills
        entity: bill
        fields: { number: tranid, issued: { from: trandate, as: date }, status: state, hours: { from: hrs, as: integer } }
    """,
}  # fmt: skip
FLOW = """
flow: NAME
kind: reconcile
entity: bill
left: { connection: psa, mapping: psa/invoices }
right: { connection: erp, mapping: erp/bills }
key: KEY
window: { field: issued, last: 35d, read: READ }
totals: [{ sum: hours, by: [status] }, { count: true }]
guard: { empty_source: ignore }
"""
COLUMNS = {
    "psa": ("invoices", "number", "day", "status", "hours"),
    "erp": ("bills", "tranid", "trandate", "state", "hrs"),
}


class World:
    """Two databases, and two reconciliations of them that differ in how they read."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder, key
        (folder / ".crosswalk").mkdir(parents=True, exist_ok=True)
        flows = {f"flows/{read}.yaml": FLOW.replace("NAME", read).replace("KEY", key).replace("READ", read)
                 for read in ("all", "window")}  # fmt: skip
        for name, content in {**FILES, **flows}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(textwrap.dedent(content).lstrip("\n"))
        for name in COLUMNS:
            (folder / f"{name}.db").unlink(missing_ok=True)
        (folder / ".crosswalk/state.db").unlink(missing_ok=True)
        for name, (table, *columns) in COLUMNS.items():
            number, day, status, hours = columns
            with sqlite3.connect(folder / f"{name}.db") as db:
                db.execute(
                    f"CREATE TABLE {table} (id TEXT PRIMARY KEY, {number} TEXT, {day} DATE, {status} TEXT, {hours} INTEGER)"
                )
        self.workspace = Workspace.open(folder)
        self.store = Store.open(self.workspace.settings.state, folder)

    def put(self, name: str, rows: list[tuple[Any, ...]]) -> None:
        """(id, number, days ago or None, status, hours) of each record."""
        table = COLUMNS[name][0]
        told = [(id, number, None if ago is None else (TODAY - timedelta(days=ago)).isoformat(), status, hours)
                for id, number, ago, status, hours in rows]  # fmt: skip
        with sqlite3.connect(self.folder / f"{name}.db") as db:
            db.execute(f"DELETE FROM {table}")
            db.executemany(f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?)", told)

    def link(self, numbers: list[int]) -> None:
        """Records n of both systems are one, known to the state."""
        with self.store.begin() as tx:
            data = [json.dumps({"number": f"N{n}"}).encode() for n in numbers]
            changes = [canonical.Change(f"c{n}", 0, one, one) for n, one in zip(numbers, data, strict=True)]
            canonical.put(tx, "bill", changes, "r")
            links.put(tx, [Link("bill", place, object, f"{place[0]}{n}", f"c{n}", "", "live", "r")
                           for n in numbers for place, object in (("psa", "invoices"), ("erp", "bills"))])  # fmt: skip

    def run(self, name: str) -> dict[str, Any]:
        told: dict[str, Any] = Runner(self.workspace, self.store).run(name, Options()).run
        return told

    def found(self, name: str) -> tuple[Any, ...]:
        """All that a reconciliation says, but how much it read."""
        run = self.run(name)
        with self.store.read() as tx:
            kept = sorted((one.key, one.kind, one.side, one.name, one.cause, json.dumps(one.fields, default=str), one.why or "")
                          for one in breaks.listed(tx, name))  # fmt: skip
            result = next(one for one in reconciliations.listed(tx) if one.run == run["run"])
            cells = [(cell.name, cell.by, cell.sums, cell.records) for cell in reconciliations.cells(tx, run["run"])]
        told = {key: run["breaks"][key] for key in ("found", "remaining", "closed", "classes")}
        self.sides = result.told["sides"]
        return run["state"], told, kept, cells

    def close(self) -> None:
        self.store.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    it = World(tmp_path, "[number]")
    yield it
    it.close()


agos = st.sampled_from([0, 10, 33, 35, 36, 38, 60, 400, None])
record = st.tuples(agos, st.sampled_from(["open", "paid"]), st.integers(0, 3))
sides = st.lists(st.tuples(st.none() | record, st.none() | record), max_size=8)


def rows(prefix: str, given: list[Any]) -> list[tuple[Any, ...]]:
    return [(f"{prefix}{n}", f"N{n}", *one) for n, one in enumerate(given) if one is not None]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    nights=st.lists(sides, min_size=1, max_size=3),
    linked=st.sets(st.integers(0, 7)),
    key=st.sampled_from(["links", "[number]"]),
)
@example(
    nights=[[(None, (0, "open", 0))], [((38, "open", 0), None)]], linked=set(), key="links"
)  # a break changes its side
def test_a_window_finds_what_a_full_read_finds(tmp_path: Path, nights: list[Any], linked: set[int], key: str) -> None:
    world = World(tmp_path, key)
    try:
        world.link(sorted(linked))
        for pairs in nights:
            world.put("psa", rows("p", [left for left, _ in pairs]))
            world.put("erp", rows("e", [right for _, right in pairs]))
            full, cut = world.found("all"), world.found("window")
            assert cut == full
    finally:
        world.close()


def test_only_the_window_is_read_and_partners_are_looked_up(world: World) -> None:
    world.put("psa", [(f"p{n}", f"N{n}", 5 if n < 3 else 400, "open", 1) for n in range(50)])
    world.put("erp", [(f"e{n}", f"N{n}", 5 if 0 < n < 3 else 400, "open", 2) for n in range(50)])
    assert world.found("window")[1]["classes"] == {"mismatch": 3}
    left, right = world.sides["left"], world.sides["right"]
    assert (left["read"], left["pushed_down"]["looked_up"]) == (3, 0)
    assert (right["read"], right["pushed_down"]["looked_up"]) == (3, 1)
    assert right["pushed_down"]["from"] == (TODAY - timedelta(days=37)).isoformat()


def test_what_is_not_there_is_searched_for_and_not_read_in_full(world: World) -> None:
    world.put("psa", [("p1", "N1", 5, "open", 1), ("p2", "N2", 5, "open", 1)])
    world.put("erp", [("e1", "N1", 5, "open", 1), *[(f"e{n}", f"N{n}", 400, "open", 1) for n in range(10, 60)]])
    assert world.found("window")[1]["classes"] == {"missing_right": 1}
    assert world.sides["right"]["read"] == 1
    world.put("psa", [("p1", "N1", 5, "open", 1), ("p2", "N2", 300, "open", 1)])
    assert world.found("window")[1]["classes"] == {"missing_right": 1}, (
        "a live break is looked at again, wherever it is"
    )


def test_a_side_is_read_in_full_where_nothing_else_can_tell(tmp_path: Path) -> None:
    world = World(tmp_path, "links")
    world.put("psa", [("p1", "N1", 5, "open", 1)])
    world.put("erp", [("e1", "n1 ", 400, "open", 1)])
    try:
        assert world.found("window")[1]["classes"] == {"mismatch": 1}, "they match but for case and blanks"
        assert world.sides["right"]["pushed_down"] is None and world.sides["left"]["pushed_down"] is not None
    finally:
        world.close()


def test_amounts_are_not_touched_by_the_way_they_are_read(world: World) -> None:
    world.put("psa", [("p1", "N1", 5, "open", 3), ("p2", "N2", 90, "open", 4)])
    world.put("erp", [("e1", "N1", 90, "open", 3), ("e2", "N2", 90, "open", 4)])
    state, _, kept, cells = world.found("window")
    assert [one[2] for one in cells if one[0].startswith("sum")] == [{"left": Decimal(3), "right": Decimal(3)}]
    assert state == "partial" and len(kept) == 1


def test_a_record_that_is_in_both_slices_is_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.sql.reading.Reader._part", lambda self, part: [])
    world.put("psa", [("p1", "N1", 5, "open", 3), ("p2", "N2", None, "open", 4)])
    world.put("erp", [("e1", "N1", 5, "open", 3), ("e2", "N2", None, "open", 4)])
    state, told, kept, _ = world.found("window")
    assert (state, told["found"], kept) == ("succeeded", 0, [])


def test_a_day_that_may_be_unreadable_is_not_cut_by(world: World) -> None:
    with sqlite3.connect(world.folder / "psa.db") as db:
        db.execute("DROP TABLE invoices")
        db.execute("CREATE TABLE invoices (id TEXT PRIMARY KEY, number TEXT, day DATETIME, status TEXT, hours INTEGER)")
        db.execute("INSERT INTO invoices VALUES ('p1', 'N1', '2020-01-01 12:00:00', 'open', 1)")
    world.put("erp", [("e1", "N1", 400, "open", 1)])
    assert world.found("window") == world.found("all")
    assert world.sides["left"]["pushed_down"] is None
