"""The workspace's own tests, `tests/*.yaml`: mappings one by one here, whole flows in `rehearsal.py`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from engine.compile.functions import FunctionFault
from engine.compile.mapping import Direction, compile_inbound, compile_outbound
from engine.compile.operators import true
from engine.compile.rules import Fault as RuleFault
from engine.run.fixture import Fixture
from engine.run.items import merge_fields
from engine.run.rehearsal import START, Rehearsal
from engine.run.stage import Stage
from engine.run.verdict import (
    NOTHING,
    Coverage,
    Difference,
    Places,
    exactly,
    inward_rules,
    outward_rules,
    shown,
    subset,
)
from engine.sdk.errors import CrosswalkError, Position, Problem
from engine.sdk.record import Fields, same
from engine.spec.load import Document
from engine.spec.testcase import Case, TestFile
from engine.spec.workspace import Workspace

Path = tuple[Any, ...]
Fault = tuple[str, Problem]
"""(canonical or system path, problem)."""


@dataclass(slots=True)
class Report:
    """What the tests said: `{test, case, at, problem, differences}` a case, and the coverage of each mapping."""

    cases: list[Fields] = field(default_factory=list)
    coverage: Coverage = field(default_factory=Coverage)


def run_tests(workspace: Workspace, names: Iterable[str] = ()) -> Report:
    """Run every case of the tests named, else of all; problem is None where a case holds.

    A case whose documents are wrong fails with their faults; the others still run.
    """
    report = Report()
    for name in tuple(names) or tuple(workspace.names("test", own=True)):
        document = workspace.document("test", name)
        test: TestFile = document.model
        cases = test.every_case()
        for number, case in enumerate(cases):
            place: Path = ("cases", number) if test.cases else ()
            title = case.name or (test.test if len(cases) == 1 else f"case {number + 1}")
            told, problem = _judged(workspace, document, case, place, report.coverage)
            problem = problem or ("\n".join(map(str, told)) or None)
            report.cases.append({"test": name, "case": title, "at": str(document.at(*place)), "problem": problem,
                                 "differences": [one.as_json() for one in told]})  # fmt: skip
    return report


def _judged(
    workspace: Workspace, document: Document, case: Case, place: Path, coverage: Coverage
) -> tuple[list[Difference], str | None]:
    try:
        if document.model.flow is not None:
            return Rehearsal(workspace, document, case, place, coverage).judge(), None
        return MappingCase(workspace, document, case, place, coverage).judge(), None
    except CrosswalkError as error:
        return [], "\n".join(map(str, error.problems))


def told_of(direction: Direction, faults: Iterable[RuleFault]) -> list[Fault]:
    """Faults with their fields; what `on_missing: later` goes on without is none."""
    return [(direction.rules[one[0]].path, direction.problem(one)[0]) for one in faults if one[1] != "later"]


class MappingCase:
    """One case of a mapping's test."""

    def __init__(self, workspace: Workspace, document: Document, case: Case, place: Path, coverage: Coverage) -> None:
        self.document, self.case, self.place, self.coverage = document, case, place, coverage
        self.test: TestFile = document.model
        stage = Stage(workspace, self.test)
        self.fixture = Fixture(stage, document, case, place)
        self.registry = self.fixture.registry
        self.mapping = self.registry.document("mapping", str(self.test.mapping), document.at("mapping"))
        self.system = self.mapping.name.split("/")[0]
        self.env = self.fixture.env(datetime.fromisoformat(case.now) if case.now else START)

    def judge(self) -> list[Difference]:
        """What is not as expected."""
        return self._outbound() if self.test.direction == "outbound" else self._inbound()

    # ------------------------------------------------------------------ system → canonical
    def _inbound(self) -> list[Difference]:
        compiled = compile_inbound(self.mapping, self.registry)
        direction = compiled.inbound
        assert direction is not None
        given: Fields = self.case.given
        if compiled.model.of is not None and not compiled.model.group:
            given = self.fixture.renamed(compiled.model.of, given)
        try:
            out = compiled.where is not None and not true(compiled.where.evaluate(given, self.env))
        except FunctionFault as fault:
            at = self.mapping.at("where")
            return self._verdict({}, [("where", Problem("E406", f"where: {fault}", at))], direction)
        if out or self.case.skipped:
            return self._left_out(out, self.mapping.at("where"))
        elements: list[Any] = [given]
        if compiled.each is not None:
            self.env.root = given
            elements = compiled.each.evaluate(given, self.env) or []
        found: list[Fields] = []
        faults: list[Fault] = []
        for element in elements:
            record, wrong = self._one_inward(direction, element)
            found.append(record)
            faults += wrong
        if compiled.each is not None:
            return self._verdict(found, faults, direction)
        told = self._verdict(found[0], faults, direction)
        return told or (self._round_trip(direction, found[0]) if self.case.round_trip else [])

    def _one_inward(self, direction: Direction, element: Fields) -> tuple[Fields, list[Fault]]:
        found, faults = direction.inward(element, self.env, self._slots(direction, inward=True))
        told = told_of(direction, faults)
        if not told:
            schema = self.registry.schema(self.mapping.model.entity)
            rules = inward_rules(direction)
            told = [
                (path, Problem("E420", f"{path}: {what}", rules.get(path, self.mapping.at())))
                for path, what in schema.faults({"id": "test", **found})
                if not (
                    self.mapping.model.onto and what.startswith("is required")
                )  # the record that it is put onto has them
            ]
        return found, told

    def _left_out(self, out: bool, rule: Position) -> list[Difference]:
        if out and self.case.skipped:
            return []
        expected, got = ("a record", "left out by `where`") if out else ("left out by `where`", "a record")
        return [Difference("the record", expected, got, self.document.at(*self.place), rule)]

    def _round_trip(self, inward: Direction, first: Fields) -> list[Difference]:
        """in(out(in(x))) = in(x), for every field that has a way back."""
        outward = compile_outbound(self.mapping, self.registry, role="").outbound
        assert outward is not None
        at = self.document.at(*self.place, "round_trip")
        slots = self._slots(outward, inward=False)
        payload, once, faults = outward.outward({"id": "test", **first}, self.env, slots)
        back = merge_fields(merge_fields(self.case.given, payload), once)
        again, more = inward.inward(back, self.env, self._slots(inward, inward=True))
        for _, problem in [*told_of(outward, faults), *told_of(inward, more)]:
            return [Difference("the way back", "no fault", problem.message, at, problem.at)]
        rules = inward_rules(inward)
        self._prove("inbound", inward, first)
        return [
            Difference(name, shown(value), f"{shown(again.get(name))} after the way back", at, rules.get(name))
            for name, value in first.items()
            if not same(value, again.get(name))
        ]

    # ------------------------------------------------------------------ canonical → system
    def _outbound(self) -> list[Difference]:
        direction = compile_outbound(self.mapping, self.registry, role="").outbound
        assert direction is not None
        given = self.fixture.renamed(self.mapping.model.entity, {"id": "test", **self.case.given})
        payload, once, faults = direction.outward(given, self.env, self._slots(direction, inward=False))
        told = told_of(direction, faults)
        return self._verdict(merge_fields(payload, once), told, direction)

    # ------------------------------------------------------------------ what was expected
    def _slots(self, direction: Direction, *, inward: bool) -> Any:
        return self.fixture.slots(direction.slots, self.system, inward=inward)

    def _verdict(self, found: Fields | list[Fields], faults: list[Fault], direction: Direction) -> list[Difference]:
        case = self.case
        if case.rejects is not None:
            return self._rejected(found, faults, direction)
        if faults:
            at = self.document.at(*self.place)
            return [Difference(path, "no fault", f"{one.code} {one.message}", at, one.at) for path, one in faults]
        places = Places(self.document.at, self._rules(direction))
        told: list[Difference] = []
        for name, compare in (("exactly", exactly), ("expect", subset)):
            wanted = self._wanted(getattr(case, name))
            if wanted is not None:
                told += self._compared(wanted, found, compare, places, (*self.place, name))
                for one in wanted if isinstance(wanted, list) else [wanted]:
                    self._prove(self.test.direction, direction, one)
        return told

    def _compared(self, wanted: Any, found: Any, compare: Any, places: Places, path: Path) -> list[Difference]:
        if isinstance(wanted, list) != isinstance(found, list):
            what = "a list, as the mapping makes several records of one" if isinstance(found, list) else "one record"
            return [Difference("the result", what, shown(found), self.document.at(*path))]
        if not isinstance(wanted, list):
            return list(compare(wanted, found, places, path))
        if len(wanted) != len(found):
            return [Difference("records", str(len(wanted)), f"{len(found)}: {shown(found)}", self.document.at(*path))]
        pairs = enumerate(zip(wanted, found, strict=True))
        return [told for n, (one, other) in pairs for told in compare(one, other, places, (*path, n))]

    def _wanted(self, given: Any) -> Any:
        """The expectation with references in canonical ids, where a canonical record is expected."""
        if given is None or self.test.direction == "outbound":
            return given
        entity = self.mapping.model.entity
        if isinstance(given, list):
            return [self.fixture.renamed(entity, one) for one in given]
        return self.fixture.renamed(entity, given)

    def _rejected(self, found: Any, faults: list[Fault], direction: Direction) -> list[Difference]:
        wanted = self.case.rejects
        assert wanted is not None
        for path, problem in faults:
            if wanted.field in (None, path) and wanted.code in (None, problem.code):
                self._prove(self.test.direction, direction, [path])
                return []
        expected = f"a refusal{f' with {wanted.code}' if wanted.code else ''}"
        got = "; ".join(f"{one.code} {one.message}" for _, one in faults) or shown(found) or NOTHING
        rule = faults[0][1].at if faults else None
        return [Difference(wanted.field or "the record", expected, got, self.document.at(*self.place, "rejects"), rule)]

    def _prove(self, name: str, direction: Direction, fields: Iterable[str]) -> None:
        self.coverage.add(self.mapping.name, name, self._rules(direction), fields)

    def _rules(self, direction: Direction) -> dict[str, Position]:
        return outward_rules(self.mapping) if self.test.direction == "outbound" else inward_rules(direction)
