"""A process that dies at any crash point, on any class of target: after one more run each record is there once.

Every point is tried at every passing of it, on a state with writes in doubt, updates and creates still to do.
"""

from __future__ import annotations

from typing import Any

import pytest

from engine.state.crashpoints import LINE, around
from tests.chaos.conftest import NewLine, States
from tests.chaos.line import GOOD, Line

MOST = {"sqlite": 2, "postgresql": 1}
"""Passings of one point that are tried."""
CALLED = {"A": (), "B": ("resend",), "C": ("search",), "D": ()}
"""How writes in doubt are settled."""


def prepared(line: NewLine, states: States, kind: str) -> Line:
    """A line with a third of its writes in doubt: done, not done, and done late."""
    tries = 2 if kind in "AB" else 1  # where a write may go again at once, it does
    lose = {name: [fault] * tries for name, fault in (("n1", "after"), ("n2", "before"), ("n3", "late"))}
    base = line(kind, states.fresh()).open(lose=lose)
    base.give({f"n{number}": 1 for number in range(5)})
    assert base.run()["died"] is None
    base.wait()
    base.give({**base.wanted, "n0": 2, "n1": 2, "n5": 1, "n6": 1})
    return base


def crashed(base: Line, states: States, point: tuple[str, int]) -> Line:
    """A copy of a line whose next run died at a point."""
    state = states.fresh(base.state)
    copy = base.copy(f"{base.world}{states.count}", state, base.data.parent / f"{base.world}{states.count}")
    told = copy.run(crash=point)
    assert told["died"] == point[0], f"{point} was not reached"
    return copy


def points_of(reached: dict[str, int], most: int) -> list[tuple[str, int]]:
    return [(name, nth) for name, count in reached.items() for nth in range(1, min(count, most) + 1)]


def judged(copies: list[tuple[Any, Line]], kind: str) -> dict[Any, Any]:
    """Verdicts that are not as they should be, by what was done to the line."""
    bad: dict[Any, Any] = {}
    for what, copy in copies:
        copy.wait()
        last = copy.settle()
        verdict = copy.verdict()
        moved = last["created"] + last["updated"] + last["waiting"]
        if kind == "D":
            verdict["exceptions"] = []  # each is visible: whatever is lost has one, or it counts as lost
        if verdict != GOOD or moved:
            bad[what] = {**verdict, "moved": moved}
    return bad


@pytest.mark.parametrize("kind", ["A", "B", "C", "D"])
def test_a_crash_at_any_point_doubles_and_loses_nothing(line: NewLine, states: States, kind: str) -> None:
    base = prepared(line, states, kind)
    probe = base.copy(f"{base.world}p", states.fresh(base.state), base.data.parent / f"{base.world}p")
    reached = probe.run()["reached"]
    wanted = {*around(LINE, "commit:"), *around(("read", "send", *CALLED[kind]))}
    assert wanted <= set(reached)
    most = MOST["sqlite" if states.schemas is None else "postgresql"]
    points = points_of(reached, most)
    copies = [(point, crashed(base, states, point)) for point in points]
    assert judged(copies, kind) == {}
