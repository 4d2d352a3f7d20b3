"""Flow tests: a whole flow on systems in memory and a state of its own, judged by what the systems got."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from engine.compile.process import ProcessPlan
from engine.compile.reconcile import ReconcilePlan
from engine.compile.sync import SyncPlan, TargetPlan
from engine.compile.testcase import test_faults
from engine.run.expected_breaks import judge_breaks
from engine.run.fixture import Fixture
from engine.run.instances import Instances
from engine.run.memory import Sent
from engine.run.runner import Plan, Runner, compile_flow
from engine.run.session import Options
from engine.run.stage import Stage, passing_state
from engine.run.verdict import (
    NOTHING,
    Coverage,
    Difference,
    Places,
    each_of,
    inward_rules,
    outward_rules,
    shown,
    subset,
)
from engine.sdk.errors import Position, Problem, SpecError, unknown_name
from engine.sdk.record import Fields, decode_json, encode_json
from engine.spec.load import Document
from engine.spec.testcase import Case, Step, TestFile, Write, steps_of
from engine.spec.workspace import Workspace
from engine.state import canonical, exceptions, links
from engine.state.canonical import Change
from engine.state.links import Link
from engine.state.store import Store

START = datetime(2026, 1, 15, 12, tzinfo=UTC)
"""When the runs of a test start, unless it says `now`."""
Path = tuple[Any, ...]


class Rehearsal:
    """One case of a flow test."""

    def __init__(self, workspace: Workspace, document: Document, case: Case, place: Path, coverage: Coverage) -> None:
        self.document, self.case, self.place, self.coverage = document, case, place, coverage
        self.test: TestFile = document.model
        self.stage = Stage(workspace, self.test)
        self.fixture = Fixture(self.stage, document, case, place)

    def judge(self) -> list[Difference]:
        """Run the case's steps until one is not as expected; its differences."""
        faults = list(test_faults(self.document, self.stage))
        if faults:
            raise SpecError(faults)
        with passing_state() as store:
            self._seed(store)
            for number, step in enumerate(steps_of(self.case)):
                told = self._step(store, step, self.place if number == 0 else (*self.place, "then", number - 1))
                if told:
                    return told
        return []

    # ------------------------------------------------------------------ what is there before
    def _seed(self, store: Store) -> None:
        with store.begin("seed") as tx:
            for entity, rows in self.fixture.records.items():
                schema = self.fixture.registry.schema(entity)
                changes = [Change(str(one["id"]), 0, encode_json(one), b"{}") for one in rows]
                canonical.put(tx, entity, changes, "test")
                canonical.put_matches(tx, entity, [(str(one["id"]), schema.match_keys(one)) for one in rows])
            for entity, connection, native, id in self.fixture.native_links():
                for object in self._objects(connection, entity):
                    links.put(tx, [Link(entity, connection, object, native, id, "", "live", "test")])

    def _objects(self, connection: str, entity: str) -> list[str]:
        """The objects under which a system keeps an entity, by the mappings for it and the references to it."""
        folders = {connection, self.stage.connection(connection).connector}
        found: dict[str, None] = {}
        for name in self.stage.names("mapping"):
            if name.split("/")[0] not in folders:
                continue
            model = self.stage.document("mapping", name).model
            if model.entity == entity and model.object:
                found[model.object] = None
            rules = [*model.fields.values(), *(model.inbound or {}).values(), *(model.outbound or {}).values()]
            asked = [rule.ref for rule in rules if rule.ref]
            found |= {one.object: None for one in asked if one.object and entity in one.entities}
        return list(found) or [entity]

    def _put(self, step: Step, place: Path) -> None:
        for connection, objects in (step.given or {}).items():
            self.stage.connection(connection, self.document.key_at(*place, "given", connection))
            system = self.stage.connector(connection)
            for name, rows in objects.items():
                at = self.document.key_at(*place, "given", connection, name)
                info = self.stage.describe(connection, name)
                if info is None:
                    known = self.stage.document("connector", self.stage.connection(connection).connector).model.objects
                    raise SpecError(unknown_name("object", name, known, at))
                for number, row in enumerate(rows):
                    missing = next((one for one in info.key if row.get(one) is None), None)
                    if missing is not None:
                        place_of = self.document.at(*place, "given", connection, name, number)
                        hint = f"add it, or say `keys: {{ {connection}: {{ {name}: FIELD }} }}` in the test"
                        raise SpecError(
                            Problem("E141", f"a record of {name} has no {missing!r}, its key", place_of, hint)
                        )
                system.put(name, rows)

    # ------------------------------------------------------------------ one run
    def _step(self, store: Store, step: Step, place: Path) -> list[Difference]:
        self._put(step, place)
        name = step.flow or str(self.test.flow)
        at = self.document.at(*place, "flow") if step.flow else self.document.at("flow")
        self.stage.document("flow", name, at)
        plan = compile_flow(self.stage.document("flow", name), self.fixture.registry, None)
        targets, before = self._targets(plan), self._sent()
        runner, instances = Runner(self.stage, store), None
        if isinstance(plan, ProcessPlan):
            instances = Instances(runner, plan, step, self.document, place, self.fixture)
            run = instances.run(_instant(step.now))
        else:
            run = runner.run(name, Options(trigger="test", now=_instant(step.now))).run
        told = self._ended(step, run, place)
        told += list(instances.judge()) if instances is not None else []
        told += self._writes(targets, step, before, place) + self._exceptions(store, step, place)
        intake = plan.intake if isinstance(plan, ProcessPlan) else plan if isinstance(plan, SyncPlan) else None
        told += self._records(store, intake, step, place)
        if step.expect_breaks is not None and isinstance(plan, ReconcilePlan):
            told += judge_breaks(
                store, plan, self.fixture, step.expect_breaks, self.document, (*place, "expect_breaks")
            )
        if not told and step.again == "nothing" and run["state"] in ("succeeded", "partial"):
            told = self._again(runner, name, step, place)
        return told

    def _targets(self, plan: Plan, passed: tuple[str, ...] = ()) -> dict[str, list[TargetPlan]]:
        """Name → the targets that have it: those of every step of a process, and of the flows that it calls."""
        found: dict[str, list[TargetPlan]] = {}
        for one in () if isinstance(plan, ReconcilePlan) else plan.targets:
            found.setdefault(one.name, []).append(one)
        called = [one.name for one in plan.steps if one.kind == "call"] if isinstance(plan, ProcessPlan) else []
        for name in [one for one in called if one not in passed]:
            inner = compile_flow(self.stage.document("flow", name), self.fixture.registry, None)
            for target, several in self._targets(inner, (*passed, name)).items():
                found.setdefault(target, []).extend(several)
        return found

    def _sent(self) -> dict[str, int]:
        """Connection → writes that its system took so far."""
        return {one: len(system.sent) for one, system in self.stage.systems.items()}

    def _ended(self, step: Step, run: Fields, place: Path) -> list[Difference]:
        if step.expect_run is not None:
            return subset(step.expect_run, run, Places(self.document.at), (*place, "expect_run"))
        if run["state"] in ("succeeded", "partial"):
            return []
        why = run["held_because"] or (run["error"] or {}).get("message") or ""
        return [Difference("state", "succeeded or partial", f"{run['state']}: {why}", self.document.at(*place))]

    def _again(self, runner: Runner, name: str, step: Step, place: Path) -> list[Difference]:
        """What was read again and has not changed must not be written again."""
        before = self._sent()
        runner.run(name, Options(full=True, trigger="test", now=_instant(step.now)))
        systems = self.stage.systems.values()
        fresh = (sent for one in systems for sent in one.sent[before.get(one.context.name, 0) :])
        written = dict(Counter(f"{one.kind}d" for one in fresh))
        if not written:
            return []
        return [Difference("a second run", "no write", shown(written), self.document.at(*place))]

    def _writes(
        self, targets: dict[str, list[TargetPlan]], step: Step, before: dict[str, int], place: Path
    ) -> list[Difference]:
        if step.expect_writes is None:
            return []
        unknown = next((one for one in step.expect_writes if one not in targets), None)
        if unknown is not None:
            at = self.document.key_at(*place, "expect_writes", unknown)
            raise SpecError(unknown_name("target", unknown, targets, at))
        told, seen = list[Difference](), set[tuple[str, str | None]]()
        for name, several in targets.items():
            wanted = step.expect_writes.get(name, [])
            places = {(one.connection, one.mapping.model.object) for one in several}
            if not places <= seen:  # of targets that write one object all writes are looked at together
                alike = [other for other, them in targets.items()
                         if any((one.connection, one.mapping.model.object) in places for one in them)]  # fmt: skip
                pooled = [one for other in alike for one in step.expect_writes.get(other, [])]
                told += self._target(
                    name, several, pooled, self._written(places, before), (*place, "expect_writes", name)
                )
                seen |= places
            for target in several:
                objects = (None, target.mapping.model.object)
                proven = {
                    field for one in wanted if one.object in objects for field in (one.create or one.update or {})
                }
                self.coverage.add(target.mapping.name, "outbound", outward_rules(target.mapping.document), proven)
        return told

    def _written(self, places: set[tuple[str, str | None]], before: dict[str, int]) -> list[Sent]:
        """What was written to these objects of connections in the run."""
        return [
            one for connection in sorted({one for one, _ in places})
            for one in self.stage.connector(connection).sent[before.get(connection, 0) :]
            if (connection, one.object) in places
        ]  # fmt: skip

    def _target(
        self, name: str, several: list[TargetPlan], wanted: list[Write], found: list[Sent], at: Path
    ) -> list[Difference]:
        rules = {one.mapping.model.object: outward_rules(one.mapping.document) for one in several}

        def compare(one: int, other: int) -> list[Difference] | None:
            expected, got, path = wanted[one], found[other], (*at, one)
            title = f"{name} {expected.kind}"
            if expected.kind != got.kind or expected.object not in (None, got.object):
                return None
            places = Places(self.document.at, rules[got.object])
            key = expected.delete or expected.key
            told = []
            if key is not None and key != got.key:
                said = "delete" if expected.delete else "key"
                told.append(Difference(f"{title} key", key, got.key, self.document.at(*path, said)))
            fields: Fields = getattr(expected, expected.kind) if expected.kind != "delete" else {}
            return told + subset(fields, got.fields, places, (*path, expected.kind))

        def missing(one: int) -> Difference:
            expected = wanted[one]
            what = getattr(expected, expected.kind)
            return Difference(f"{name} {expected.kind}", shown(what), NOTHING, self.document.at(*at, one))

        def extra(other: int) -> Difference:
            got = found[other]
            return Difference(f"{name} {got.kind}", NOTHING, _told(got), self.document.at(*at))

        return each_of(wanted, found, compare, missing, extra)

    def _exceptions(self, store: Store, step: Step, place: Path) -> list[Difference]:
        with store.read() as tx:
            found = exceptions.listed(tx)
        at = (*place, "expect_exceptions")

        def compare(one: int, other: int) -> list[Difference]:
            expected, got, told = step.expect_exceptions[one], found[other], []
            for name in ("key", "code", "queue", "target", "stage", "state", "message"):
                wanted, value = getattr(expected, name), _exception_value(got, name)
                fits = wanted is None or wanted == value or (name == "message" and wanted in str(value))
                if not fits:
                    told.append(Difference(f"exception {name}", wanted, f"{value} ({got.message})",
                                           self.document.at(*at, one, name)))  # fmt: skip
            return told

        def missing(one: int) -> Difference:
            wanted = step.expect_exceptions[one].model_dump(exclude_none=True)
            return Difference("exception", shown(wanted), NOTHING, self.document.at(*at, one))

        def extra(other: int) -> Difference:
            got = found[other]
            text = f"{got.state} {got.key}: {got.code} {got.message}"
            return Difference("exception", NOTHING, text, self.document.at(*at), _position(got.at))

        return each_of(step.expect_exceptions, found, compare, missing, extra)

    def _records(self, store: Store, plan: SyncPlan | None, step: Step, place: Path) -> list[Difference]:
        told: list[Difference] = []
        inbound = plan.source.mapping.inbound if plan is not None else None
        rules = inward_rules(inbound) if inbound is not None else {}
        for entity, given in (step.expect_records or {}).items():
            at = (*place, "expect_records", entity)
            self.fixture.registry.schema(entity, self.document.key_at(*at))
            wanted = [self.fixture.renamed(entity, one) for one in given]
            with store.read() as tx:
                found = [decode_json(one.data) for one in canonical.scan(tx, entity) if not one.deleted]
            own = plan is not None and entity == plan.schema.entity
            places = Places(self.document.at, rules if own else {})
            told += each_of(
                wanted, found,
                lambda one, other, w=wanted, f=found, a=at, p=places: subset(w[one], f[other], p, (*a, one)),  # type: ignore[misc]
                lambda one, w=wanted, a=at, e=entity: Difference(e, shown(w[one]), NOTHING, self.document.at(*a, one)),  # type: ignore[misc]
                lambda other, f=found, a=at, e=entity: Difference(e, NOTHING, shown(f[other]), self.document.at(*a)),  # type: ignore[misc]
            )  # fmt: skip
            if own and plan is not None:
                self.coverage.add(plan.source.mapping.name, "inbound", rules, {name for one in wanted for name in one})
        return told


def _exception_value(row: exceptions.Row, name: str) -> Any:
    value = getattr(row, name)
    return "waiting" if name == "state" and value == "due" else value or None


def _told(sent: Sent) -> str:
    return f"{sent.kind} {sent.object} {sent.key} {shown(sent.fields) if sent.fields else ''}".strip()


def _position(text: str | None) -> Position | None:
    file, _, rest = (text or "").partition(".yaml:")
    line, _, column = rest.partition(":")
    return Position(f"{file}.yaml", int(line), int(column)) if line.isdigit() and column.isdigit() else None


def _instant(text: str | None) -> datetime:
    return datetime.fromisoformat(text) if text else START
