"""Rounds at which a long run once failed hold now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.long import GOALS, SEEDS, Done, Long

LINES = [one.split() for one in SEEDS.read_text("utf-8").splitlines() if one and not one.startswith("#")]


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Long]:
    made = Long(tmp_path_factory.mktemp("long"))
    yield made
    made.close()


@pytest.mark.parametrize(("measure", "number"), LINES)
def test_a_round_that_failed_holds(long: Long, measure: str, number: str) -> None:
    assert long.play(measure, int(number), rounds=1).bad == 0


def test_a_measure_goes_on_to_its_figure_and_keeps_rounds_that_failed(
    long: Long, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert set(GOALS) <= set(dir(long))
    monkeypatch.setattr("tests.chaos.long.SEEDS", tmp_path / "seeds.txt")
    monkeypatch.setattr(Long, "kills", lambda self, number: Done(900, int(number == 8)))
    assert long.play("kills", 7) == Done(2700, 1)
    monkeypatch.setattr(Long, "pairs", lambda self, number: Done(int(number < 20), 0))
    assert long.play("pairs", 0) == Done(20, 0)
    assert (tmp_path / "seeds.txt").read_text() == "kills 8\n"


@pytest.mark.parametrize("number", [2, 5])
def test_two_deaths_one_after_the_other(long: Long, number: int) -> None:
    assert long.play("pairs", number, rounds=1) == Done(1, 0)
