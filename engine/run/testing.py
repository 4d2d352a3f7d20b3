"""The workspace's own tests: `tests/*.yaml` against compiled mappings, with links and tables of the fixture."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from engine.compile.environment import StaticEnv
from engine.compile.mapping import compile_inbound, compile_outbound
from engine.compile.registry import Registry
from engine.compile.rules import LinkSlot, RefSlot
from engine.compile.tables import TableIndex
from engine.sdk.errors import Position, Problem, UsageError
from engine.sdk.record import JSON, Fields, encode_json, same
from engine.spec.load import Document
from engine.spec.testcase import Case, TestFile
from engine.spec.workspace import Workspace

Links = dict[str, list[dict[str, str]]]


def run_tests(workspace: Workspace, names: Iterable[str] = ()) -> list[Fields]:
    """`{test, case, problem}` for every case; problem is None where it holds."""
    results = []
    for name in tuple(names) or tuple(workspace.names("test", own=True)):
        document = workspace.document("test", name)
        test: TestFile = document.model
        for number, case in enumerate(test.every_case(), 1):
            title = case.name or (test.test if len(test.every_case()) == 1 else f"case {number}")
            results.append({"test": name, "case": title, "problem": _judge(workspace, document, test, case)})
    return results


class _Fixture:
    """Links of a case: each row says which native ids are one record; canonical ids are the first of them."""

    def __init__(self, links: Links) -> None:
        self.rows = [(entity, row) for entity, rows in links.items() for row in rows]

    def slots(self, slots: list[RefSlot], *, inward: bool) -> list[LinkSlot]:
        return [LinkSlot(lambda key, slot=slot: self._ask(slot, key)) for slot in slots]  # type: ignore[misc]

    def _ask(self, slot: RefSlot, key: str) -> str | None:
        for entity, row in self.rows:
            if entity in slot.entities and key in row.values():
                return key
        return None


def _judge(workspace: Workspace, document: Document, test: TestFile, case: Case) -> str | None:
    if test.mapping is None:
        raise UsageError(
            Problem("X910", "tests of whole flows are not there yet", document.at("flow"), "test the flow's mappings")
        )
    registry = Registry(workspace)
    env = StaticEnv(
        {entity: {str(row["id"]): row for row in rows} for entity, rows in (case.records or test.records or {}).items()},
        {name: registry.table(name) for name in workspace.names("table")}
        | {name: TableIndex(name, list(rows[0]) if rows else [], list(rows[0])[:1] if rows else [], rows)
           for name, rows in (case.tables or test.tables or {}).items()},
    )  # fmt: skip
    fixture = _Fixture({**(test.links or {}), **(case.links or {})})
    mapping = registry.document("mapping", test.mapping, document.at("mapping"))
    if test.direction == "outbound":
        return _outbound(registry, mapping, env, fixture, case)
    return _inbound(registry, mapping, env, fixture, case)


def _inbound(registry: Registry, mapping: Document, env: Any, fixture: _Fixture, case: Case) -> str | None:
    compiled = compile_inbound(mapping, registry)
    direction = compiled.inbound
    assert direction is not None
    found, faults = direction.inward(case.given, env, fixture.slots(direction.slots, inward=True))
    schema = registry.schema(mapping.model.entity)
    problems = [(direction.rules[fault[0]].path, direction.problem(fault)[0]) for fault in faults]
    if not problems:
        problems = [
            (path, Problem("E420", f"{path}: {what}", Position(mapping.file)))
            for path, what in schema.faults({"id": "test", **found})
        ]
    verdict = _verdict(case, found, problems)
    if verdict is None and case.round_trip:
        return _round_trip(registry, mapping, env, fixture, case, found)
    return verdict


def _outbound(registry: Registry, mapping: Document, env: Any, fixture: _Fixture, case: Case) -> str | None:
    direction = compile_outbound(mapping, registry, role="").outbound
    assert direction is not None
    payload, once, faults = direction.outward(
        {"id": "test", **case.given}, env, fixture.slots(direction.slots, inward=False)
    )
    return _verdict(case, {**payload, **once}, [(direction.rules[f[0]].path, direction.problem(f)[0]) for f in faults])


def _verdict(case: Case, found: Fields, problems: list[tuple[str, Problem]]) -> str | None:
    """Why the case does not hold; None where it does."""
    if case.rejects is not None:
        wanted = case.rejects
        for path, problem in problems:
            if wanted.field in (None, path) and wanted.code in (None, problem.code):
                return None
        return f"expected a refusal of {wanted.field or 'the record'}, got {[str(problem) for _, problem in problems] or found}"
    if problems:
        return f"refused: {problems[0][1]}"
    if case.exactly is not None and not same(found, case.exactly):
        return f"expected exactly {_text(case.exactly)}, got {_text(found)}"
    if case.expect is not None:
        return _subset(case.expect, found, "")
    return None


def _subset(wanted: JSON, found: JSON, path: str) -> str | None:
    if isinstance(wanted, dict) and isinstance(found, dict):
        for name, value in wanted.items():
            if name not in found and value is not None:
                return f"{path}{name}: expected {_text(value)}, got nothing"
            why = _subset(value, found.get(name), f"{path}{name}.")
            if why:
                return why
        return None
    return None if same(wanted, found) else f"{path.rstrip('.')}: expected {_text(wanted)}, got {_text(found)}"


def _round_trip(
    registry: Registry, mapping: Document, env: Any, fixture: _Fixture, case: Case, first: Fields
) -> str | None:
    """in(out(in(x))) = in(x), for every field that has a way back."""
    outward = compile_outbound(mapping, registry, role="").outbound
    inward = compile_inbound(mapping, registry).inbound
    assert outward is not None and inward is not None
    payload, once, faults = outward.outward({"id": "test", **first}, env, fixture.slots(outward.slots, inward=False))
    if faults:
        return f"on the way back: {outward.problem(faults[0])[0]}"
    again, faults = inward.inward({**case.given, **payload, **once}, env, fixture.slots(inward.slots, inward=True))
    if faults:
        return f"the second time: {inward.problem(faults[0])[0]}"
    for name, value in first.items():
        if not same(value, again.get(name)):
            return f"{name} does not come back: {_text(value)} became {_text(again.get(name))}"
    return None


def _text(value: JSON) -> str:
    return encode_json(value).decode()[:200]
