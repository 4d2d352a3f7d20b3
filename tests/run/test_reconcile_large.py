"""Reconciliations of many records: stopped half-way, capped, and in little memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.run import reconcile
from engine.run.runner import Runner
from engine.run.session import Options
from engine.state import reconciliations
from tests.run.reconcile_world import Systems, bill, invoice


@pytest.fixture
def systems(tmp_path: Path, address: str) -> Iterator[Systems]:
    it = Systems(tmp_path, address)
    yield it
    it.close()


def test_a_run_that_is_stopped_while_it_compares_closes_nothing(
    systems: Systems, monkeypatch: pytest.MonkeyPatch
) -> None:
    systems.put([invoice(n) for n in range(5)], [bill(9)])
    systems.run()
    known = {one.id for one in systems.breaks()}
    assert len(known) == 6
    runner = Runner(systems.workspace, systems.store)
    compare = reconcile.compare

    def stopped(*given: Any) -> Any:
        runner.cancelled.set()
        return compare(*given)

    monkeypatch.setattr(reconcile, "BATCH", 1)
    monkeypatch.setattr(reconcile, "compare", stopped)
    run = runner.run("nightly", Options()).run
    assert run["state"] == "cancelled" and {one.id for one in systems.breaks()} == known
    assert systems.result().run != run["run"]


def test_rows_leave_no_files_behind_where_a_side_fails(
    systems: Systems, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(room))
    monkeypatch.setattr("engine.run.spill.Spill.__init__.__defaults__", (100,))
    systems.put([invoice(n) for n in range(5)], [bill(n) for n in range(5)])
    assert systems.run()["state"] == "succeeded" and list(room.iterdir()) == []
    (systems.folder / "erp/bills.ndjson").unlink()
    assert systems.run()["state"] == "failed" and list(room.iterdir()) == []


def test_of_many_breaks_some_are_kept_and_all_are_counted(systems: Systems) -> None:
    systems.flow("key: [number]\nkeep_breaks: 20\ntotals: [{ sum: total, by: [status] }]\n")
    systems.put([invoice(n) for n in range(600)], [bill(n) for n in range(1000, 1400)])
    run = systems.run()["breaks"]
    assert run["classes"] == {"missing_left": 400, "missing_right": 600}
    assert (run["found"], run["left_out"], run["remaining"]) == (1000, 980, 1000)
    assert len(systems.breaks()) == 20
    with systems.store.read() as tx:
        (cell,) = reconciliations.cells(tx, systems.result().run)
    assert {side: str(amount) for side, amount in cell.sums.items()} == {"left": "60300.0", "right": "40200.0"}
    again = systems.run()["breaks"]
    assert again["found"] == 1000 and len(systems.breaks()) == 40, "the next run keeps the next ones"


def test_keys_that_differ_by_case_only_are_told_however_many_there_are(systems: Systems) -> None:
    systems.flow("key: [number]\n")
    systems.put([invoice(n) for n in range(300)], [bill(n, tranid=f"inv-{n}") for n in range(300)])
    assert systems.run()["breaks"]["classes"] == {"missing_left": 300, "missing_right": 300}
    assert {one.cause for one in systems.breaks()} == {"key differs"}
