"""Every commit and every call to a system passes a crash point, and the registry names them all."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from engine.state.crashpoints import BESIDE, CALLS, COMMANDS, LINE, POINTS, PROCESS, RECONCILE, SERVE, around

ROOT = Path(__file__).parents[2]
ROOMS = ("run", "serve", "cli", "state")
ASKED = {"write", "find", "get", "read", "outcomes"}
"""Methods of a connector that go to its system."""
AUTHORING = {"engine/cli/preview.py", "engine/cli/propose.py"}
"""Commands that only look at a system and write nothing anywhere."""


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for room in ROOMS:
        for path in sorted((ROOT / "engine" / room).rglob("*.py")):
            if "migrations" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.FunctionDef):
                    yield path.relative_to(ROOT).as_posix(), node


def calls(function: ast.FunctionDef, name: str) -> list[ast.Call]:
    found = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    return [one for one in found if isinstance(one.func, ast.Attribute) and one.func.attr == name]


def named(call: ast.Call) -> str | None:
    """The name that a call is given, where it is written out."""
    return call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None


def is_connector(node: ast.expr) -> bool:
    """`connectors[…]`, `session.connectors[…]` or a variable called connector."""
    if isinstance(node, ast.Subscript):
        node = node.value
        return (isinstance(node, ast.Attribute) and node.attr == "connectors") or (
            isinstance(node, ast.Name) and node.id == "connectors"
        )
    return isinstance(node, ast.Name) and node.id == "connector"


def test_every_commit_has_a_name_and_the_registry_knows_it() -> None:
    found = {}
    for file, function in functions():
        for call in calls(function, "begin"):
            target = call.func.value  # type: ignore[attr-defined]
            if "store" in ast.unparse(target):
                found[f"{file}:{call.lineno}"] = named(call)
    assert [place for place, name in found.items() if name is None] == [], "a commit without a name has no crash points"
    assert sorted(set(found.values())) == sorted({*LINE, *PROCESS, *RECONCILE, *BESIDE, *COMMANDS, *SERVE})  # type: ignore[type-var]


def test_no_commit_passes_by_the_store() -> None:
    for file, function in functions():
        if file not in ("engine/state/store.py",):
            assert calls(function, "commit") == [], file


def test_every_call_to_a_system_stands_between_its_two_points() -> None:
    seen, bare = set(), []
    for file, function in functions():
        points = {named(one): one.lineno for one in calls(function, "crashpoint")}
        seen |= {name for name in points if name and not name.startswith(("before commit", "after commit"))}
        for name in ASKED:
            for call in calls(function, name):
                if file in AUTHORING or not is_connector(call.func.value):  # type: ignore[attr-defined]
                    continue
                before = [
                    one for one, line in points.items() if one and one.startswith("before ") and line < call.lineno
                ]
                after = [
                    one for one, line in points.items() if one and one.startswith("after ") and line >= call.lineno
                ]
                if not {one.removeprefix("before ") for one in before} & {one.removeprefix("after ") for one in after}:
                    bare.append(f"{file}:{call.lineno}")
    assert bare == [], "these calls have no crash point before and after them"
    assert sorted(seen) == sorted(around(CALLS))


def test_points_are_told_once() -> None:
    assert len(POINTS) == len(set(POINTS))
