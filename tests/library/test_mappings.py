"""The library's mappings on given records: every case of `tests/library/workspace/tests/<system>`, and that nothing is left unproven."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from engine.compile.mapping import compile_inbound, compile_outbound
from engine.compile.registry import Registry
from engine.run.testing import Report, run_tests
from engine.spec.workspace import Workspace

FOLDER = Path(__file__).parent / "workspace"
SYSTEMS = sorted(path.name for path in (FOLDER / "tests").iterdir() if path.is_dir())
WORKSPACE = Workspace.open(FOLDER)
MAPPINGS = [name for name in WORKSPACE.names("mapping") if name.split("/")[0] in SYSTEMS]


@cache
def report(system: str) -> Report:
    return run_tests(WORKSPACE, [name for name in WORKSPACE.names("test", own=True) if name.startswith(f"{system}/")])


@cache
def written(mapping: str) -> tuple[set[str], set[str]]:
    """What the mapping's tests are: their directions, and the kinds of outcome that they expect."""
    directions, kinds = set(), set()
    for name in WORKSPACE.names("test", own=True):
        test = WORKSPACE.document("test", name).model
        if test.mapping == mapping:
            directions.add(test.direction)
            kinds |= {kind for case in test.every_case() for kind in ("rejects", "round_trip") if getattr(case, kind)}
    return directions, kinds


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_case_of_a_mapping_holds(system: str) -> None:
    assert [(case["test"], case["problem"]) for case in report(system).cases if case["problem"]] == []


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_every_mapping_has_cases_that_refuse_and_two_way_ones_a_round_trip(mapping: str) -> None:
    directions, kinds = written(mapping)
    registry, document = Registry(WORKSPACE), WORKSPACE.document("mapping", mapping)
    reads, writes = compile_inbound(document, registry).inbound, compile_outbound(document, registry, role="").outbound
    assert reads is not None and writes is not None
    there, back = {rule.path for rule in reads.rules}, {rule.path for rule in writes.rules}
    assert directions, "a mapping has a test"
    assert "rejects" in kinds, "of what it refuses"
    one_way = document.model.each is not None or directions == {"outbound"} or not there & back
    assert one_way or "round_trip" in kinds, "and of what comes back"


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_field_that_a_mapping_reads_is_proven(system: str) -> None:
    rows = [row for row in report(system).coverage.as_json() if row["direction"] == "inbound"]
    assert {row["mapping"]: row["missing"] for row in rows if row["missing"]} == {}
