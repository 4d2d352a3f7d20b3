"""Seeds at which a long run once failed hold now."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.chaos.long import MEASURES, SEEDS, Long, Reached

LINES = [one.split() for one in SEEDS.read_text("utf-8").splitlines() if one and not one.startswith("#")]


@pytest.mark.parametrize(("measure", "kind", "seed"), LINES)
def test_a_seed_that_failed_holds(tmp_path: Path, measure: str, kind: str, seed: str) -> None:
    long = Long(tmp_path, int(seed))
    reached: Reached = getattr(long, measure)(time.monotonic())
    long.close()
    assert reached.bad == 0


def test_every_measure_does_something_however_short_it_is(tmp_path: Path) -> None:
    long = Long(tmp_path, 3)
    for name in MEASURES:
        assert callable(getattr(long, name))
    assert long.kills(time.monotonic()).bad == 0
    long.close()
