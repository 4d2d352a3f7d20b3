"""Processes killed at any moment while the target fails at a fifth of its writes: nothing doubled, lost, or out of order."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.chaos.conftest import NewLine, States
from tests.chaos.line import GOOD, Line

CROSSWALK = str(Path(sys.executable).parent / "crosswalk")
RATE = 0.22
SURE = ("before", "after", "broken", "half", "busy")
"""Faults that leave nothing behind that comes later."""
UNANSWERED = ("before", "after", "late", "broken", "half")
"""Faults that do not park the flow, as a target that is busy does."""


def killed(line: Line, seconds: float) -> bool:
    """Start the command itself and kill it so long after its first write; whether it was still running."""
    env = {**os.environ, "CROSSWALK_SECRET_BOX": "t", **line.env}
    words = [CROSSWALK, "run", "things", "--full", "--json"]
    before = line.oracle.control("look", line.world)["writes"]
    process = subprocess.Popen(words, cwd=line.folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and line.oracle.control("look", line.world)["writes"] == before:
        time.sleep(0.02)
    time.sleep(seconds)
    process.kill()
    return process.wait() == -9


@pytest.mark.parametrize("kind", ["A", "B", "C", "D"])
def test_kill_9_of_the_command_doubles_and_loses_nothing(line: NewLine, kind: str) -> None:
    it = line(kind, batch=5).open(rate=RATE, seed=ord(kind))
    it.give({f"n{number}": 1 for number in range(60)})
    draw = random.Random(kind)
    hit = killed(it, draw.random() * 0.6)
    for _ in range(4):  # at one record over and over, it would be held for the culprit
        hit += it.run(kill=0.05 + draw.random() * 0.6)["died"] == "kill -9"
    told = it.settle()
    verdict = it.verdict()
    if kind == "D":
        assert len(verdict["exceptions"]) < 60
        verdict["exceptions"] = []
    assert verdict == GOOD and told["waiting"] == 0
    assert hit and it.oracle.faults(it.world), "processes were killed in the middle, and the target did fail"


@pytest.mark.parametrize("kind", ["A", "B", "C", "D"])
def test_many_creates_through_a_target_that_fails_at_22_percent(line: NewLine, kind: str) -> None:
    it = line(kind, batch=250, batches=kind in "CD").open(rate=RATE, seed=5, kinds=UNANSWERED)
    it.give({f"n{number}": 1 for number in range(500)})
    for _ in range(2):
        it.run()
        it.wait()
    it.settle()
    verdict = it.verdict()
    if kind == "D":
        verdict["exceptions"] = []
    assert verdict == GOOD
    assert sum(it.oracle.faults(it.world).values()) > (2 if kind in "CD" else 50)


@pytest.mark.parametrize("kind", ["A", "C"])
def test_writes_of_a_record_keep_their_order_under_kills(line: NewLine, kind: str) -> None:
    it = line(kind, batch=50).open(rate=0.05, seed=7, kinds=SURE)
    draw = random.Random(kind)
    for version in range(1, 14):
        it.give({f"n{number}": version for number in range(200)})
        for _ in range(2):
            it.run(kill=0.05 + draw.random() * 0.4)
    it.settle()
    assert it.verdict() == GOOD
    assert it.oracle.inversions(it.world) == 0


@pytest.mark.parametrize("states", ["sqlite", "postgresql"], indirect=True)
def test_four_processes_at_once_on_one_state(line: NewLine, states: States) -> None:
    it = line("C", states.fresh(), batch=10).open(rate=RATE, seed=11)
    it.give({f"n{number}": 1 for number in range(80)})
    draw = random.Random(4)
    for _ in range(3):
        it.together(4, kill=0.1 + draw.random() / 2)
    it.settle()
    assert it.verdict() == GOOD


@pytest.mark.parametrize("kind", ["A", "B", "C", "D"])
def test_a_write_that_is_done_late_does_not_undo_a_newer_one(line: NewLine, kind: str) -> None:
    it = line(kind, late=60).open()
    it.give({"n0": 1, "n1": 1})
    it.run()
    it.open(late=60, lose={"n0": ["late", "late"]})
    it.give({"n0": 2, "n1": 1})
    it.run()
    it.open(late=60, lose={})
    it.give({"n0": 3, "n1": 1})
    it.run()
    it.wait(70)
    it.settle()
    verdict = it.verdict()
    if kind == "D":
        verdict["exceptions"] = []
    assert verdict == GOOD
    assert it.oracle.inversions(it.world) == 0
