"""The second look: what was merely being written while the sides were read is no break."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.run import reconcile
from tests.run.reconcile_world import Systems, bill, invoice


@pytest.fixture
def systems(tmp_path: Path, address: str) -> Iterator[Systems]:
    it = Systems(tmp_path, address)
    yield it
    it.close()


def meanwhile(patch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Do something once the sides were read and compared."""
    compare = reconcile.compare

    def compared(*given: Any) -> Any:
        found = compare(*given)
        act()
        return found

    patch.setattr(reconcile, "compare", compared)


def test_what_was_being_written_is_no_break(systems: Systems, monkeypatch: pytest.MonkeyPatch) -> None:
    left = [invoice(1), invoice(2, total=7, at="2999-01-01T00:00:00Z")]
    systems.put(left, [bill(1), bill(2)])
    meanwhile(monkeypatch, lambda: systems.put(left, [bill(1), bill(2, amount=7)]))
    run = systems.run()
    assert (run["state"], run["breaks"]["found"], run["breaks"]["equal"]) == ("succeeded", 0, 2)
    assert systems.breaks() == [] and systems.breaks("nightly", "closed") == []


def test_what_still_differs_after_the_change_is_told_as_what_it_is(
    systems: Systems, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    systems.put([invoice(1), invoice(2, total=7, at=soon.isoformat())], [bill(1), bill(2)])
    meanwhile(monkeypatch, lambda: time.sleep(max((soon - datetime.now(UTC)).total_seconds(), 0) + 0.01))
    run = systems.run()
    assert systems.classes() == {"INV-2": "mismatch"} and run["state"] == "partial"


def test_a_break_that_was_there_before_closes_after_the_second_look(
    systems: Systems, monkeypatch: pytest.MonkeyPatch
) -> None:
    systems.put([invoice(1), invoice(2, total=7)], [bill(1), bill(2)])
    systems.run()
    left = [invoice(1), invoice(2, total=8, at="2999-01-01T00:00:00Z")]
    systems.put(left, [bill(1), bill(2)])
    meanwhile(monkeypatch, lambda: systems.put(left, [bill(1), bill(2, amount=8)]))
    run = systems.run()
    assert run["breaks"]["closed"] == 1 and systems.breaks() == []


def test_what_goes_on_changing_stays_in_flight(systems: Systems) -> None:
    systems.put([invoice(1), invoice(2, total=7, at="2999-01-01T00:00:00Z")], [bill(1), bill(2)])
    run = systems.run()
    assert systems.classes() == {"INV-2": "in_flight"} and run["state"] == "succeeded"
