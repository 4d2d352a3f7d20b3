"""Each part of the protocol is needed: what holds with it fails without it, on the real engine and by the target's journal."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.chaos.conftest import NewLine
from tests.chaos.line import GOOD, SETTLE, Line

FROZEN = 2 * SETTLE


def answer_lost(it: Line, mutate: dict[str, Any]) -> None:
    """The target made the record and its answer was lost; the next run comes at once."""
    it.open(lose={"n0": ["after"]})
    it.run(**mutate)
    it.open(lose={})
    it.run(**mutate)


def made_late(it: Line, mutate: dict[str, Any]) -> None:
    """The target makes the record after the next run asked for it."""
    it.open(lose={"n0": ["late"]}, late=0.6)
    it.run(**mutate)
    it.open(lose={}, late=0.6)
    it.run(**mutate)
    time.sleep(0.7)


def frozen(it: Line, mutate: dict[str, Any]) -> None:
    """A worker freezes between intent and send; meanwhile its lease runs out and another one settles the doubt."""
    it.race({"freeze": ["before send", FROZEN], **mutate}, {"delay": SETTLE * 1.4, "steal": True, **mutate})


SCENES = {"T1": answer_lost, "settle": made_late, "send_by": frozen}


@pytest.mark.parametrize("part", SCENES)
@pytest.mark.parametrize("whole", [True, False], ids=["with", "without"])
def test_each_part_is_needed(line: NewLine, part: str, whole: bool) -> None:
    it = line("C", late=0.8 if part == "settle" else 0.1).open()
    it.give({"n0": 1})
    SCENES[part](it, {} if whole else {"mutate": part})
    if whole:
        it.settle()
    assert it.verdict()["doubled"] == ([] if whole else ["n0"])
    assert not whole or it.verdict() == GOOD
