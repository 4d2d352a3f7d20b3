"""The rules of the house: sizes, names, layers, and Markdown whose paths resolve."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for room in ("engine", "connectors") for path in (ROOT / room).rglob("*.py"))
DOCUMENTS = [path for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "engine").glob("*.md"),
                               *(ROOT / "examples").rglob("*.md")]]  # fmt: skip


def test_rooms_import_only_the_rooms_below() -> None:
    done = subprocess.run([str(Path(sys.executable).parent / "lint-imports")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_files_are_small_and_functions_short() -> None:
    long_files = [str(path) for path in SOURCES if len(path.read_text().splitlines()) > 400]
    assert long_files == []
    long_functions = [
        f"{path}:{node.name}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= 60
    ]
    assert long_functions == []


def test_no_room_or_file_is_called_by_what_says_nothing() -> None:
    names = {part for path in SOURCES for part in (*path.relative_to(ROOT).parts[:-1], path.stem)}
    assert not names & {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path)
        for path in SOURCES
        if path.name != "__init__.py" and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_paths_and_links_in_markdown_resolve(path: Path) -> None:
    text = path.read_text()
    named = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    if path.name != "onboard.md":  # its files are written by the test that follows the guide
        named += re.findall(r"`((?:engine|connectors|schemas|mappings|flows|docs|examples|tests)/[\w./-]+\.\w+)`", text)
    missing = [one for one in named if not (path.parent / one).exists() and not (ROOT / one).exists()]
    assert missing == []


def test_help_is_quick_to_import() -> None:
    code = "import sys, engine.cli.main; print([m for m in ('sqlalchemy', 'jsonschema', 'jinja2', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_error_code_is_registered_and_every_registered_one_is_used() -> None:
    from engine.sdk.codes import CODES

    used = {
        code
        for path in SOURCES
        if path.name != "codes.py"
        for code in re.findall(r'"([ECRSX]\d{3})"', path.read_text())
    }
    assert used == set(CODES)
