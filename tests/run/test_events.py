"""What runs tell: events in the transaction that makes them true, to those who listen, and under which correlation."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from engine.run.events import Event, Routes, arrived, emit
from engine.run.indicators import judge
from engine.run.runner import Runner
from engine.run.session import Options
from engine.sdk.event_types import TYPES, fits, versioned
from engine.sdk.record import decode_json
from engine.spec.workspace import Workspace
from engine.state import outbox
from engine.state.crashpoints import around
from engine.state.store import Store
from tests.conftest import Make
from tests.run.test_sync import FILES, SCHEMA, World, person

EVENTS = 'events: [{ to: dw, types: ["person.*", team.created] }]\n'


class Telling(World):
    """A world that tells a connection what happens."""

    def store(self) -> Store:
        return Store.open("sqlite:///.crosswalk/state.db", self.folder)

    def told(self) -> list[tuple[str, dict[str, Any]]]:
        """(type, data) of every event so far, in order."""
        store = self.store()
        with store.read() as tx:
            rows = tx.rows("SELECT type, data FROM events ORDER BY seq")
        store.close()
        return [(type, decode_json(bytes(data))) for type, data in rows]

    def types(self) -> list[str]:
        return [type for type, _ in self.told()]

    def listen(self, text: str = EVENTS) -> None:
        path = self.folder / "crosswalk.yaml"
        path.write_text(path.read_text() + text)


@pytest.fixture
def world(make: Make) -> Telling:
    world = Telling(make(FILES))
    world.run("teams")
    return world


def test_records_made_changed_at_a_new_stage_and_deleted_are_told(world: Telling) -> None:
    world.listen()
    world.put("people", [person("1", state="new"), person("2", state=None)])
    world.run()
    assert world.types() == ["person.created.v1", "person.new.v1", "person.created.v1"]
    world.put("people", [person("1", state="on", at="2026-02-01T00:00:00Z"), person("2", state=None)])
    world.run()
    assert world.types()[3:] == ["person.updated.v1", "person.on.v1"]
    assert world.told()[-1][1]["state"] == "on"
    world.run()
    assert len(world.types()) == 5, "nothing changed"
    world.edit("flows/people.yaml", "lag: 10m", "lag: 10m, deletes: sweep")
    world.edit("flows/people.yaml", "errors: 90%", "errors: 90%, deletes: 90%")
    world.put("people", [person("1", state="on", at="2026-02-01T00:00:00Z")])
    world.run(full=True)
    assert world.types()[5:] == ["person.deleted.v1"]


def test_every_type_that_is_told_stands_in_the_manual(world: Telling) -> None:
    world.listen("events: [{ to: dw, types: ['*'] }]\n")
    world.edit("flows/people.yaml", "mapping: dw/people }", "mapping: dw/people, emit: person.posted }")
    world.edit("flows/people.yaml", "guard:", "expect: { errors_below: 1% }\nguard:")
    (world.folder / "indicators").mkdir()
    (world.folder / "indicators/people.yaml").write_text("indicator: people\ntitle: People\nentity: person\nlimit: 0\n")
    world.put("people", [person("1", state="new"), person("2", "")])
    world.run()
    store = world.store()
    judge(store, Workspace.open(world.folder), ["people"])
    store.close()
    told = set(world.types())
    assert told == {"person.created.v1", "person.new.v1", "person.posted.v1", "alert.opened.v1"}
    flows = [data["flow"] for type, data in world.told() if type == "alert.opened.v1"]
    assert flows == ["people", "indicator/people"]
    kinds = [re.sub("<[a-z]+>", "[a-z0-9.-]+", one.type) for one in TYPES]
    assert all(any(re.fullmatch(kind, type) for kind in kinds) for type in told)


def test_where_nobody_listens_nothing_is_written(world: Telling) -> None:
    world.listen("events: [{ to: dw, types: [invoice.*] }]\n")
    world.put("people", [person("1")])
    world.run()
    assert world.types() == []


def test_a_target_that_has_the_record_is_told_of_once(world: Telling) -> None:
    world.listen("events: [{ to: dw, types: [person.posted] }]\n")
    world.edit("flows/people.yaml", "mapping: dw/people }", "mapping: dw/people, emit: person.posted }")
    world.put("people", [person("1"), person("2", "")])
    world.run()
    assert world.types() == ["person.posted.v1"], "the second one is quarantined"
    world.run(full=True)
    assert world.types() == ["person.posted.v1"]
    world.put("people", [person("1", "Eve", at="2026-02-01T00:00:00Z")])
    world.run()
    assert [data["name"] for _, data in world.told()] == ["Ada", "Eve"]


def test_flows_and_processes_listen_too_and_a_unit_wakes_whoever_sends(world: Telling) -> None:
    copy = (world.folder / "flows/people.yaml").read_text().replace("flow: people", "flow: copy")
    (world.folder / "flows/copy.yaml").write_text(copy.replace("entity:", "trigger: [{ event: person.new }]\nentity:"))
    (world.folder / "flows/staffing.yaml").write_text(
        "flow: staffing\nkind: process\nentity: person\nsource: { connection: src, mapping: src/people }\n"
        "steps: [{ wait: on, event: person.on }]\n"
    )
    world.put("people", [person("1", state="new")])
    world.run()
    store = world.store()
    with store.read() as tx:
        assert outbox.waiting(tx) == ["flow:copy"]
        assert tx.rows("SELECT kind, key, state FROM units WHERE kind = 'relay'") == [("relay", "flow:copy", "ready")]
    routes = Routes.of(Workspace.open(world.folder))
    assert routes.to("person.on.v1") == (("process:staffing", ""),)
    store.close()


def test_an_event_from_outside_starts_flows_once_and_is_not_sent_on(world: Telling) -> None:
    world.listen()
    flow = (world.folder / "flows/teams.yaml").read_text()
    (world.folder / "flows/teams.yaml").write_text(flow.replace("entity:", "trigger: [{ event: person.* }]\nentity:"))
    routes, store = Routes.of(Workspace.open(world.folder)), world.store()
    event = Event("person.hired.v2", "person", "p1", {"a": 1}, source="//hr", id="1")
    with store.begin() as tx:
        assert arrived(tx, routes, event) and arrived(tx, routes, event)
        assert not arrived(tx, routes, Event("car.sold.v1", "car", "c", {}, source="//x", id="2"))
        assert outbox.waiting(tx) == ["flow:teams"]
        assert len(outbox.listed(tx)) == 1
        assert emit(tx, routes, [Event("car.sold.v1", "car", "c", {})], to="dw") == 1
        assert outbox.waiting(tx) == ["connection:dw", "flow:teams"]
    store.close()


@pytest.mark.parametrize("point", around(("T2",), "commit:"))
def test_an_event_stands_or_falls_with_what_it_tells_of(world: Telling, point: str) -> None:
    world.listen()
    world.put("people", [person("1")])
    store = world.store()

    def die(name: str) -> None:
        if name == point:
            raise KeyboardInterrupt

    store.crashpoint = die
    with pytest.raises(KeyboardInterrupt):
        Runner(Workspace.open(world.folder), store).run("people", Options())
    store.close()
    assert bool(world.types()) == (point == "after commit:T2")
    world.run()
    assert world.types() == ["person.created.v1", "person.on.v1"]
    assert world.names() == ["Ada"]


@pytest.mark.parametrize(
    ("pattern", "type", "yes"),
    [
        ("person.created", "person.created.v1", True),
        ("person.created.v1", "person.created.v1", True),
        ("person.created.v1", "person.created.v2", False),
        ("person.*", "person.created.v3", True),
        ("person.*", "persona.created.v3", False),
        ("*", "person.created.v3", True),
        ("person.create", "person.created.v1", False),
    ],
)
def test_which_types_a_pattern_means(pattern: str, type: str, yes: bool) -> None:
    assert fits(pattern, type) is yes
    assert Routes("/", ()).wants("x") is False


def test_a_type_gets_the_major_version_of_its_schema_once() -> None:
    assert versioned("a.b", "2.1.0") == "a.b.v2"
    assert versioned("a.b.v7", "2.1.0") == "a.b.v7"


CHAIN = {
    "crosswalk.yaml": "crosswalk: 1\nname: c\nconnections: { crm: { connector: files, path: crm, format: ndjson } }\n",
    "schemas/deal.yaml": SCHEMA + "properties: { name: { type: string } }\n",
    "schemas/job.yaml": SCHEMA + "properties: { name: { type: string } }\n",
    "schemas/bill.yaml": SCHEMA + "x-correlates: [job]\nproperties: { job: { type: string, x-ref: job } }\n",
    "mappings/crm/deal.yaml": "mapping: crm/deal\nobject: deals\nentity: deal\nfields: { name: name }\n",
    "mappings/canonical/job.yaml": "mapping: canonical/job\nof: deal\nentity: job\nfields: { name: name }\n",
    "mappings/crm/job.yaml": "mapping: crm/job\nobject: jobs\nentity: job\nfields: { name: name }\noutbound: { id: id }\n",
    "mappings/crm/bill.yaml": "mapping: crm/bill\nobject: bills\nentity: bill\nfields: { job: { from: job, ref: job } }\n",
    "flows/deals.yaml": "flow: deals\nkind: sync\nentity: deal\nsource: { connection: crm, mapping: crm/deal }\ntargets: []\n",
    "flows/jobs.yaml": "flow: jobs\nkind: sync\nentity: job\nsource: { connection: canonical, mapping: canonical/job }\n"
    "targets: [{ connection: crm, mapping: crm/job }]\n",
    "flows/bills.yaml": "flow: bills\nkind: sync\nentity: bill\nsource: { connection: crm, mapping: crm/bill }\ntargets: []\n",
}  # fmt: skip


def test_a_derived_record_and_one_that_names_it_belong_to_the_first(make: Make) -> None:
    folder: Path = make(CHAIN)
    (folder / "crm").mkdir()
    (folder / "crm/deals.ndjson").write_text('{"id": "d1", "name": "Roof"}\n')

    def run(flow: str, **options: Any) -> None:
        store = Store.open("sqlite:///.crosswalk/state.db", folder)
        assert Runner(Workspace.open(folder), store).run(flow, Options(**options)).run["quarantined"] == 0
        store.close()

    run("deals", correlation="order-7")
    run("jobs")
    job = json.loads((folder / "crm/jobs.ndjson").read_text())["id"]
    (folder / "crm/bills.ndjson").write_text(json.dumps({"id": "b1", "job": job}) + "\n")
    run("bills", correlation="another")
    store = Store.open("sqlite:///.crosswalk/state.db", folder)
    with store.read() as tx:
        rows = tx.rows("SELECT entity, correlation FROM canonical ORDER BY entity")
    store.close()
    assert rows == [("bill", "order-7"), ("deal", "order-7"), ("job", "order-7")]
