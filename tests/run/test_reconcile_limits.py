"""What a reconciliation is expected to keep: alerts open, close, and are told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.sdk.record import decode_json
from engine.state import breaks
from tests.cli.test_commands import told
from tests.run.reconcile_world import Systems, bill, invoice
from tests.run.report_world import FLOW, reporting


@pytest.fixture
def systems(tmp_path: Path, address: str) -> Iterator[Systems]:
    it = reporting(tmp_path, address)
    yield it
    it.close()


def alerts(systems: Systems) -> dict[str, str]:
    with systems.store.read() as tx:
        from engine.state import alerts

        return {one.expectation: one.reached for one in alerts.listed(tx, "nightly")}


def test_limits_that_are_missed_open_alerts_and_close_them_when_kept(systems: Systems) -> None:
    run = told(systems.folder, "run", "nightly")[1]
    assert {one["expectation"] for one in run["alerts"]} == {"breaks_below", "amount_below"} == set(alerts(systems))
    assert alerts(systems)["breaks_below"] == "6 breaks"
    _, looked = told(systems.folder, "doctor")
    assert "breaks_below" in json.dumps(looked)
    systems.put([invoice(1)], [bill(1)])
    assert told(systems.folder, "run", "nightly")[1]["alerts"] == [] and alerts(systems) == {}


def test_alerts_are_told_as_events(systems: Systems) -> None:
    path = systems.folder / "crosswalk.yaml"
    path.write_text(path.read_text() + "events: [{ to: erp, types: [alert.*] }]\n")
    systems.flow(FLOW)
    systems.run()
    systems.put([invoice(1)], [bill(1)])
    systems.run()
    with systems.store.read() as tx:
        rows = tx.rows("SELECT type, data FROM events ORDER BY seq")
    told = [(type, decode_json(bytes(data))) for type, data in rows]
    assert sorted((type, data["expectation"]) for type, data in told) == [
        ("alert.closed.v1", "amount_below"), ("alert.closed.v1", "breaks_below"),
        ("alert.opened.v1", "amount_below"), ("alert.opened.v1", "breaks_below"),
    ]  # fmt: skip
    assert told[0][1]["flow"] == "nightly" and told[0][1]["reached"] == "6 breaks"


def test_a_reconciliation_that_nobody_runs_is_not_fresh(systems: Systems) -> None:
    systems.put([invoice(1)], [bill(1)])
    systems.run()
    assert alerts(systems) == {}
    with systems.store.begin() as tx:
        tx.run(
            "UPDATE runs SET finished_at = '2026-01-01T00:00:00.000000Z', started_at = '2026-01-01T00:00:00.000000Z'"
        )
    told(systems.folder, "doctor")
    assert set(alerts(systems)) == {"fresh_within"}
    systems.run()
    assert alerts(systems) == {}


def test_accepted_breaks_count_for_no_limit(systems: Systems) -> None:
    systems.run()
    with systems.store.begin() as tx:
        for one in breaks.listed(tx, "nightly"):
            breaks.accept(tx, one.id, "ada", "known", None)
    systems.run()
    assert alerts(systems) == {}
