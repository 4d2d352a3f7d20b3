"""Flow tests: a whole flow on systems in memory and a state of its own, judged by what the systems got."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from engine.compile.sync import SyncPlan, compile_sync
from engine.run.fixture import Fixture
from engine.run.memory import Sent
from engine.run.runner import Runner
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
WRITES = ("created", "updated", "deleted")
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
        plan = compile_sync(self.stage.document("flow", name), self.fixture.registry, None)
        before = {one: len(system.sent) for one, system in self.stage.systems.items()}
        runner = Runner(self.stage, store)
        run = runner.run(name, Options(trigger="test", now=_instant(step.now))).run
        sent = {
            target.name: [one for one in self.stage.connector(target.connection).sent[before.get(target.connection, 0) :]
                          if one.object == target.mapping.model.object]
            for target in plan.targets
        }  # fmt: skip
        told = self._ended(step, run, place)
        told += self._writes(plan, step, sent, place) + self._exceptions(store, step, place)
        told += self._records(store, plan, step, place)
        if not told and step.again == "nothing" and run["state"] in ("succeeded", "partial"):
            told = self._again(runner, name, step, place)
        return told

    def _ended(self, step: Step, run: Fields, place: Path) -> list[Difference]:
        if step.expect_run is not None:
            return subset(step.expect_run, run, Places(self.document.at), (*place, "expect_run"))
        if run["state"] in ("succeeded", "partial"):
            return []
        why = run["held_because"] or (run["error"] or {}).get("message") or ""
        return [Difference("state", "succeeded or partial", f"{run['state']}: {why}", self.document.at(*place))]

    def _again(self, runner: Runner, name: str, step: Step, place: Path) -> list[Difference]:
        """What was read again and has not changed must not be written again."""
        second = runner.run(name, Options(full=True, trigger="test", now=_instant(step.now))).run
        written = {one: second[one] for one in WRITES if second[one]}
        if not written:
            return []
        return [Difference("a second run", "no write", shown(written), self.document.at(*place))]

    def _writes(self, plan: SyncPlan, step: Step, sent: dict[str, list[Sent]], place: Path) -> list[Difference]:
        if step.expect_writes is None:
            return []
        unknown = next((one for one in step.expect_writes if one not in sent), None)
        if unknown is not None:
            at = self.document.key_at(*place, "expect_writes", unknown)
            raise SpecError(unknown_name("target", unknown, sent, at))
        told, seen = list[Difference](), set[tuple[str, str]]()
        for target in plan.targets:
            wanted, where = step.expect_writes.get(target.name, []), (target.connection, target.mapping.model.object or "")
            if where not in seen:  # of targets that write one object all writes are looked at together
                alike = [one for one in plan.targets if (one.connection, one.mapping.model.object or "") == where]
                pooled = [one for other in alike for one in step.expect_writes.get(other.name, [])]
                told += self._target(plan, target, pooled, sent[target.name], (*place, "expect_writes", target.name))
                seen.add(where)
            proven = {field for one in wanted for field in (one.create or one.update or {})}
            self.coverage.add(target.mapping.name, "outbound", outward_rules(target.mapping.document), proven)
        return told

    def _target(
        self, plan: SyncPlan, target: Any, wanted: list[Write], found: list[Sent], at: Path
    ) -> list[Difference]:
        places = Places(self.document.at, outward_rules(target.mapping.document))

        def compare(one: int, other: int) -> list[Difference] | None:
            expected, got, path = wanted[one], found[other], (*at, one)
            title = f"{target.name} {expected.kind}"
            if expected.kind != got.kind:
                return None
            key = expected.delete or expected.key
            told = []
            if key is not None and key != got.key:
                name = "delete" if expected.delete else "key"
                told.append(Difference(f"{title} key", key, got.key, self.document.at(*path, name)))
            fields: Fields = getattr(expected, expected.kind) if expected.kind != "delete" else {}
            return told + subset(fields, got.fields, places, (*path, expected.kind))

        def missing(one: int) -> Difference:
            expected = wanted[one]
            what = getattr(expected, expected.kind)
            return Difference(f"{target.name} {expected.kind}", shown(what), NOTHING, self.document.at(*at, one))

        def extra(other: int) -> Difference:
            got = found[other]
            return Difference(f"{target.name} {got.kind}", NOTHING, _told(got), self.document.at(*at))

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

    def _records(self, store: Store, plan: SyncPlan, step: Step, place: Path) -> list[Difference]:
        told = []
        inbound = plan.source.mapping.inbound
        assert inbound is not None
        rules = inward_rules(inbound)
        for entity, given in (step.expect_records or {}).items():
            at = (*place, "expect_records", entity)
            self.fixture.registry.schema(entity, self.document.key_at(*at))
            wanted = [self.fixture.renamed(entity, one) for one in given]
            with store.read() as tx:
                found = [decode_json(one.data) for one in canonical.scan(tx, entity) if not one.deleted]
            places = Places(self.document.at, rules if entity == plan.schema.entity else {})
            told += each_of(
                wanted, found,
                lambda one, other, w=wanted, f=found, a=at, p=places: subset(w[one], f[other], p, (*a, one)),  # type: ignore[misc]
                lambda one, w=wanted, a=at, e=entity: Difference(e, shown(w[one]), NOTHING, self.document.at(*a, one)),  # type: ignore[misc]
                lambda other, f=found, a=at, e=entity: Difference(e, NOTHING, shown(f[other]), self.document.at(*a)),  # type: ignore[misc]
            )  # fmt: skip
            if entity == plan.schema.entity:
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
