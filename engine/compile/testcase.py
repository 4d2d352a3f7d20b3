"""What a flow's test says of a process or a reconciliation, against the flow: approvals, waits, steps, breaks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.sdk.errors import Problem, SpecError, nearest
from engine.sdk.event_types import fits, plain_type
from engine.spec.load import Document
from engine.spec.process import ProcessFlow
from engine.spec.reconcile import ReconcileFlow
from engine.spec.testcase import PROCESS_KEYS, ExpectedBreak, Step, TestFile, steps_of
from engine.spec.workspace import Workspace

Path = tuple[Any, ...]


def test_faults(document: Document, workspace: Workspace) -> Iterator[Problem]:
    """What the cases of a flow's test say that their flows have not."""
    test: TestFile = document.model
    for number, case in enumerate(test.every_case() if test.flow is not None else ()):
        place: Path = ("cases", number) if test.cases else ()
        for run, step in enumerate(steps_of(case)):
            yield from _faults(document, workspace, step, place if run == 0 else (*place, "then", run - 1))


def _faults(document: Document, workspace: Workspace, step: Step, place: Path) -> Iterator[Problem]:
    name = step.flow or str(document.model.flow)
    try:
        flow = workspace.document("flow", name).model
    except SpecError:
        return  # reported where it stands
    if step.expect_breaks is not None:
        yield from _breaks(document, step.expect_breaks, flow, name, place)
    given = [key for key in PROCESS_KEYS if getattr(step, key)]
    if not given:
        return
    if not isinstance(flow, ProcessFlow):
        yield Problem("E384", f"`{given[0]}` is for tests of process flows, and {name!r} is a {flow.kind} flow",
                      document.key_at(*place, given[0]), "write `expect_writes` or `expect_exceptions`")  # fmt: skip
        return
    kinds = {one.name: one.kind for one in flow.steps}
    asked = [one for one, kind in kinds.items() if kind == "approve"]
    for one in step.approvals:
        if one not in asked:
            yield _unknown("`approve` step", one, asked, name, document, (*place, "approvals", one), key=True)
    waits = [plain_type(str(one.event)) for one in flow.steps if one.kind == "wait"]
    for number, event in enumerate(step.events):
        if not any(fits(pattern, event.event) for pattern in waits):
            yield _unknown("`wait` step for", event.event, waits, name, document, (*place, "events", number), key=False)
    for number, wanted in enumerate(step.expect_state or ()):
        if wanted.step is not None and wanted.step not in kinds:
            several = (*place, "expect_state", number, "step")
            here = several if several in document.positions.values else (*place, "expect_state", "step")
            yield _unknown("step", wanted.step, list(kinds), name, document, here, key=False)


def _breaks(document: Document, wanted: list[ExpectedBreak], flow: Any, name: str, place: Path) -> Iterator[Problem]:
    """Breaks are of reconciliations; each has a value of every side of them."""
    if not isinstance(flow, ReconcileFlow):
        yield Problem("E398", f"`expect_breaks` is for tests of reconciliations, and {name!r} is a {flow.kind} flow",
                      document.key_at(*place, "expect_breaks"), "write `expect_writes` or `expect_exceptions`")  # fmt: skip
        return
    sides = list(flow.all_sides())
    classes = [*(f"missing_{side}" for side in sides), "duplicate", "mismatch", "stale", "wrong_owner", "in_flight"]
    for number, one in enumerate(wanted):
        at = (*place, "expect_breaks", number)
        if one.class_ is not None and one.class_ not in classes:
            yield _unknown("class of breaks", one.class_, classes, name, document, (*at, "class"), key=False)
        for path, values in (one.fields or {}).items():
            here = document.at(*at, "fields", path)
            if isinstance(values, list) and len(values) == len(sides):
                continue
            if isinstance(values, dict) and values and set(values) <= set(sides):
                continue
            yield Problem("E398", f"{path!r} needs a value of each side: {', '.join(sides)}", here,
                          f"write `{path}: [{', '.join('…' for _ in sides)}]`, or each value under its side")  # fmt: skip


def _unknown(
    what: str, given: str, known: list[str], flow: str, document: Document, path: Path, *, key: bool
) -> Problem:
    at = document.key_at(*path) if key else document.at(*path)
    return Problem("E385", f"{flow} has no {what} {given!r}", at, nearest(given, known))
