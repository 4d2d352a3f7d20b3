"""`expect_breaks`: a test of a reconciliation passes for exactly the breaks that it finds, and tells every other."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from engine.compile.workspace import problems_of
from engine.run.testing import run_tests
from engine.spec.workspace import Workspace

ROOT = Path(__file__).parents[2]
FLOW = """
flow: people-nightly
kind: reconcile
entity: person
left: { connection: drop, mapping: drop/person }
right: { connection: warehouse, mapping: warehouse/person }
only: [name]
"""
TEST = """
test: t
flow: people-nightly
links: { person: [{ id: ada, drop: "1", warehouse: "11" }] }
given: { drop: { people: [{ number: "1", name: Ada }] }, warehouse: { people: [{ id: "11", name: Ida }] } }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "examples/quickstart", tmp_path / "w", ignore=shutil.ignore_patterns(".crosswalk", "*.db"))
    (tmp_path / "w/flows/people-nightly.yaml").write_text(FLOW.lstrip(), "utf-8")
    return tmp_path / "w"


def told(folder: Path, test: str) -> list[str]:
    (folder / "tests/t.yaml").write_text(test.lstrip(), "utf-8")
    cases = run_tests(Workspace.open(folder), ["t"]).cases
    return [line for case in cases for line in str(case["problem"] or "").splitlines()]


def test_the_reconciliation_of_the_guide_holds(folder: Path) -> None:
    page = (ROOT / "docs/testing.md").read_text("utf-8")
    (block,) = (one for one in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "expect_breaks" in one)
    assert told(folder, block) == []
    assert problems_of(Workspace.open(folder)) == []


@pytest.mark.parametrize("wanted", [
    "{ class: mismatch, label: Ada }", "{ key: ada }", '{ key: "11" }', "{ fields: { name: [Ada, Ida] }, state: open }",
    "{ fields: { name: { right: Ida } } }", "{ cause: name }",
])  # fmt: skip
def test_what_is_said_holds(folder: Path, wanted: str) -> None:
    assert told(folder, f"{TEST}expect_breaks: [{wanted}]\n") == []


@pytest.mark.parametrize(("wanted", "line"), [
    ("", "break: expected nothing, got mismatch Ada: name"),
    ("{ class: stale }", 'break class: expected "stale", got "mismatch'),
    ("{ key: bo }", 'break key: expected "bo"'),
    ("{ fields: { name: [Ida, Ada] } }", 'name: expected {"left":"Ida","right":"Ada"}'),
    ("{ fields: {} }", "name: expected nothing"),
    ("{ why: because }", 'break why: expected "because"'),
    ("{ amount: 1 EUR }", 'break amount: expected "1 EUR", got null'),
    ("{ key: ada }, { label: Bo }", 'break: expected {"label":"Bo"}, got nothing'),
])  # fmt: skip
def test_what_is_not_so_is_told(folder: Path, wanted: str, line: str) -> None:
    found = told(folder, f"{TEST}expect_breaks: [{wanted}]\n")
    assert len(found) == 1 and line in found[0] and "tests/t.yaml:5:" in found[0], found


@pytest.mark.parametrize(("wanted", "code"), [
    ("{ class: mismacht }", "E385"), ("{ fields: { name: Ada } }", "E398"), ("{ fields: { name: [Ada] } }", "E398"),
    ("{ fields: { name: { both: Ada } } }", "E398"),
])  # fmt: skip
def test_what_no_break_can_be_is_found_before(folder: Path, wanted: str, code: str) -> None:
    (folder / "tests/t.yaml").write_text(f"{TEST}expect_breaks: [{wanted}]\n".lstrip(), "utf-8")
    assert [one.code for one in problems_of(Workspace.open(folder))] == [code]
