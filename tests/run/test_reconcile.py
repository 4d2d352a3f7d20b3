"""Reconciliations: what is found, and that nothing else is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.run.reconcile_world import Systems, bill, invoice


@pytest.fixture
def systems(tmp_path: Path, address: str) -> Iterator[Systems]:
    it = Systems(tmp_path, address)
    yield it
    it.close()


def test_two_systems_that_agree_have_no_breaks(systems: Systems) -> None:
    systems.put([invoice(n) for n in range(20)], [bill(n) for n in range(20)])
    run = systems.run()
    assert (run["state"], run["read"], run["breaks"]["compared"], run["breaks"]["equal"]) == ("succeeded", 40, 20, 20)
    assert run["breaks"]["remaining"] == 0 and systems.breaks() == []


def test_each_class_is_found_and_nothing_else(systems: Systems) -> None:
    left = [invoice(n) for n in range(1, 7)]
    right = [bill(n) for n in range(1, 7)]
    left[1]["total"] = 101
    del right[2]
    systems.put([*left, invoice(7)], [*right, bill(8), bill(5, id="e55")])
    run = systems.run()
    assert run["state"] == "partial"
    assert systems.classes() == {
        "INV-2": "mismatch", "INV-3": "missing_right", "INV-7": "missing_right", "INV-8": "missing_left", "INV-5": "duplicate",
    }  # fmt: skip
    assert run["breaks"]["equal"] == 3


def test_breaks_keep_their_age_and_close_themselves(systems: Systems) -> None:
    systems.put([invoice(1), invoice(2)], [bill(1)])
    systems.run()
    (first,) = systems.breaks()
    systems.run()
    (again,) = systems.breaks()
    assert (again.id, again.first_seen, again.runs) == (first.id, first.first_seen, 2)
    systems.put([invoice(1), invoice(2)], [bill(1), bill(2)])
    assert systems.run()["breaks"]["closed"] == 1
    (closed,) = systems.breaks("nightly", "closed")
    assert (closed.id, closed.closed_how) == (first.id, "gone")


def test_a_side_that_fails_half_way_concludes_nothing(systems: Systems) -> None:
    systems.put([invoice(1), invoice(2)], [bill(1)])
    systems.run()
    (systems.folder / "erp/bills.ndjson").write_text('{"id": "e1"')
    (systems.folder / "erp/bills.ndjson").unlink()
    run = systems.run()
    assert run["state"] == "failed" and len(systems.breaks()) == 1
    assert systems.result().run != run["run"]


def test_an_empty_side_holds_the_run(systems: Systems) -> None:
    systems.put([invoice(1)], [])
    run = systems.run()
    assert run["state"] == "held" and "gave no record" in run["held_because"] and systems.breaks() == []


CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("total", {"amount": 100.51}), ("total", {"currency": "USD"}), ("due", {"duedate": "2026-01-06"}),
    ("sent", {"sentat": "2026-01-02T10:00:01Z"}), ("status", {"state": "paid"}), ("note", {"memo": "thanks"}),
    ("note", {"memo": ""}), ("note", {"memo": None}), ("tags", {"labels": ["b", "a"]}), ("client.name", {"customer": {"name": "Ada", "vat": "GB1"}}),
    ("client.vat", {"customer": {"name": "Ada Ltd", "vat": None}}),
    ("lines[0].amount", {"items": [{"line": 1, "amt": 100.49, "descr": "Work"}]}),
    ("lines[1]", {"items": [{"line": 1, "amt": 100.5, "descr": "Work"}, {"line": 2, "amt": 0, "descr": "More"}]}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "change"), CHANGES, ids=lambda one: str(one))
def test_every_single_change_is_found_and_no_other(systems: Systems, path: str, change: dict[str, Any]) -> None:
    systems.put([invoice(n) for n in range(5)], [bill(n, **(change if n == 3 else {})) for n in range(5)])
    systems.run()
    assert systems.fields() == {"INV-3": [path]}


def test_a_run_that_is_stopped_while_it_compares_closes_nothing(
    systems: Systems, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.run import reconcile

    systems.put([invoice(n) for n in range(6)], [bill(0)])
    systems.run()
    judge = reconcile.Judge.judge

    def stopped(self: Any, batch: Any) -> Any:
        self.session.cancelled.set()
        return judge(self, batch)

    monkeypatch.setattr(reconcile, "BATCH", 2)
    monkeypatch.setattr(reconcile.Judge, "judge", stopped)
    before = systems.result().run
    assert systems.run()["state"] == "cancelled"
    assert len(systems.breaks()) == 5 and systems.result().run == before
