"""The library's flows on systems in memory: every case of `tests/library/workspace`, one item each."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from engine.compile.workspace import problems_of
from engine.run.testing import Report, run_tests
from engine.spec.workspace import Workspace

FOLDER = Path(__file__).parent / "workspace"
NAMES = sorted(path.stem for path in (FOLDER / "tests").glob("*.yaml"))


@cache
def report(name: str) -> Report:
    return run_tests(Workspace.open(FOLDER), [name])


@pytest.mark.parametrize("name", NAMES)
def test_every_case_of_a_flow_holds(name: str) -> None:
    assert [case["problem"] for case in report(name).cases if case["problem"]] == []


def test_the_tests_themselves_are_sound() -> None:
    assert problems_of(Workspace.open(FOLDER)) == []


def test_every_flow_of_the_library_has_a_test() -> None:
    workspace = Workspace.open(FOLDER)
    assert [name for name in workspace.names("flow") if name not in NAMES] == []
