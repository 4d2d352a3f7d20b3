"""Each part of the protocol is needed: what holds with it fails without it, on the real engine and by the target's journal."""

from __future__ import annotations

from typing import Any

import pytest

from engine.state import leases
from tests.chaos.conftest import NewLine
from tests.chaos.line import GOOD, LATE, TIMEOUT, Line

LEASE = leases.LIFE.total_seconds()


def answer_lost(it: Line, mutate: dict[str, Any]) -> None:
    """The target made the record and its answer was lost; the next run comes at once."""
    it.open(lose={"n0": ["after"]})
    it.run(**mutate)
    it.open(lose={})
    it.run(**mutate)


def made_late(it: Line, mutate: dict[str, Any]) -> None:
    """The target makes the record after the next run asked for it."""
    it.open(lose={"n0": ["late"]}, late=60)
    it.run(**mutate)
    it.open(lose={}, late=60)
    it.run(**mutate)
    it.wait(70)


def frozen(it: Line, mutate: dict[str, Any]) -> None:
    """A worker freezes between intent and send; meanwhile its lease runs out and another one settles the doubt."""
    taken_over(it, mutate, "before send")


def overtaken(it: Line, mutate: dict[str, Any]) -> None:
    """A worker finds that the target does not have the record, and freezes; meanwhile another one makes it and has no answer."""
    it.open(lose={"n0": ["before"]})
    it.run(**mutate)
    it.wait()
    it.open(lose={"n0": ["after"]})
    taken_over(it, mutate, "after search")


def taken_over(it: Line, mutate: dict[str, Any], point: str) -> None:
    """A worker freezes at a point for longer than it may send, until another one that takes its lease is done."""
    frozen, done = (str(it.data / name) for name in ("frozen", "done"))
    it.race(
        {"freeze": [point, frozen, done], **mutate},
        {"begin": frozen, "delay": TIMEOUT + 0.1, "age": LEASE, "done": done, **mutate},
    )


SCENES = {"T1": answer_lost, "fence": overtaken, "settle": made_late, "send_by": frozen}


@pytest.mark.parametrize("part", SCENES)
@pytest.mark.parametrize("whole", [True, False], ids=["with", "without"])
def test_each_part_is_needed(line: NewLine, part: str, whole: bool) -> None:
    it = line("C", late=60 if part == "settle" else LATE).open()
    it.give({"n0": 1})
    SCENES[part](it, {} if whole else {"mutate": part})
    if whole:
        it.settle()
    assert it.verdict()["doubled"] == ([] if whole else ["n0"])
    assert not whole or it.verdict() == GOOD
