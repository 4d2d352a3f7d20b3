"""Whole runs on files and SQLite: what users forgive least, one test each."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from engine.run.runner import Runner
from engine.run.session import Options
from engine.sdk.record import Record
from engine.spec.workspace import Workspace
from engine.state import exceptions as exceptions_state
from engine.state.store import Store
from tests.conftest import Make

SCHEMA = "$schema: https://json-schema.org/draft/2020-12/schema\ntype: object\nadditionalProperties: false\n"
FILES = {
    "crosswalk.yaml": """
        crosswalk: 1
        name: t
        connections:
          src: { connector: files, path: data, format: ndjson, objects: { people: { key: id, modified: at }, teams: { key: id } } }
          dw: { connector: sql, url: "sqlite:///dw.db" }
    """,
    "schemas/team.yaml": SCHEMA + "required: [name]\nproperties:\n  name: { type: string }\n  open: { type: boolean }\n",
    "schemas/person.yaml": SCHEMA + """
required: [name]
properties:
  name: { type: string, minLength: 1 }
  team: { type: string, x-ref: team }
  pay: { type: number }
  state: { type: string, enum: [new, on, off], x-transitions: { new: [on], on: [off] }, x-history: true }
""",
    "mappings/src/teams.yaml": "mapping: src/teams\nobject: teams\nentity: team\nfields: { name: name, open: open }\n",
    "mappings/src/people.yaml": """
        mapping: src/people
        object: people
        entity: person
        fields:
          name: { from: name, transform: [trim] }
          team: { from: team, ref: team, on_missing: wait }
          pay: { from: pay, as: decimal }
          state: state
    """,
    "mappings/dw/people.yaml": """
        mapping: dw/people
        object: people
        entity: person
        deleted: { set: { gone: true } }
        fields: { name: name, pay: pay, state: state }
        outbound: { id: id, team_name: team.name }
    """,
    "flows/teams.yaml": "flow: teams\nkind: sync\nentity: team\nsource: { connection: src, mapping: src/teams }\ntargets: []\n",
    "flows/people.yaml": """
        flow: people
        kind: sync
        entity: person
        source: { connection: src, mapping: src/people, lag: 10m }
        checks:
          - { name: open-team, that: "!team || team.open", otherwise: "{{ name }} is in closed team {{ team.name }}" }
        targets: [{ connection: dw, mapping: dw/people }]
        guard: { errors: 90% }
    """,
}  # fmt: skip
TABLE = "create table people (id text primary key, name text, pay numeric, state text, team_name text, gone boolean)"


class World:
    """A workspace, its state and its target, with what tests do to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sql(TABLE)
        self.put("teams", [{"id": "t1", "name": "Red", "open": True}])

    def sql(self, text: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.folder / "dw.db") as db:
            rows = db.execute(text).fetchall()
        db.close()
        return rows

    def put(self, name: str, rows: list[Any]) -> None:
        (self.folder / "data").mkdir(exist_ok=True)
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (self.folder / f"data/{name}.ndjson").write_text("".join(f"{line}\n" for line in lines))

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def run(self, flow: str = "people", **options: Any) -> dict[str, Any]:
        store = Store.open("sqlite:///.crosswalk/state.db", self.folder)
        try:
            result = Runner(Workspace.open(self.folder), store).run(flow, Options(**options))
            return {**result.run, "changes": result.changes, "moved": result.moved}
        finally:
            store.close()

    def exceptions(self) -> list[exceptions_state.Row]:
        store = Store.open("sqlite:///.crosswalk/state.db", self.folder)
        with store.read() as tx:
            rows = exceptions_state.listed(tx)
        store.close()
        return rows

    def names(self) -> list[str]:
        return [row[0] for row in self.sql("select name from people order by name")]


def person(id: str, name: str = "Ada", **more: Any) -> dict[str, Any]:
    return {"id": id, "name": name, "pay": 1, "state": "on", "at": "2026-01-01T00:00:00Z", **more}


@pytest.fixture
def world(make: Make) -> World:
    return World(make(FILES))


def test_a_second_run_writes_nothing_and_a_change_writes_one_field(world: World) -> None:
    world.put("people", [person("1"), person("2", "Bob")])
    first = world.run()
    assert (first["state"], first["created"]) == ("succeeded", 2)
    assert world.run(full=True)["unchanged"] == 2
    world.put("people", [person("1"), person("2", "Bob", pay=2, at="2026-01-02T00:00:00Z")])
    plan = world.run(plan=True)
    assert [(one["operation"], one["fields"]) for one in plan["changes"]] == [("update", {"pay": [1, 2]})]
    assert world.sql("select pay from people where name = 'Bob'") == [(1,)]
    assert world.run()["updated"] == 1
    assert world.sql("select pay from people where name = 'Bob'") == [(2,)]


def test_a_bad_record_is_kept_with_the_mapping_line_and_the_others_go_on(world: World) -> None:
    world.put("people", [person("1"), person("2", pay="much"), "not json", person("4", name=" ")])
    run = world.run()
    assert (run["state"], run["created"], run["quarantined"]) == ("partial", 1, 3)
    found = {row.key: (row.code, row.at) for row in world.exceptions()}
    assert found["2"] == ("E401", "mappings/src/people.yaml:7:8")
    assert found["4"] == ("E420", "mappings/src/people.yaml:5:9")
    assert found["people.ndjson:3"][0] == "E400"
    world.put(
        "people", [person("1"), person("2", at="2026-01-03T00:00:00Z"), person("4", "Dee", at="2026-01-03T00:00:00Z")]
    )
    assert world.run()["created"] == 2
    assert world.exceptions() == []


def test_a_record_that_is_again_as_it_was_before_it_went_wrong_is_no_exception_any_more(world: World) -> None:
    """Byte for byte, with its old stamp: nothing is to be written, and nobody has to look at it."""
    world.put("people", [person("1")])
    world.run("people")
    world.put("people", [person("1", pay="x")])
    assert world.run("people", full=True)["quarantined"] == 1 and len(world.exceptions()) == 1
    world.put("people", [person("1")])
    assert world.run("people", full=True)["unchanged"] == 1
    assert world.exceptions() == []


def test_a_waiting_record_goes_on_by_itself_once_its_reference_arrives(world: World) -> None:
    world.put("people", [person("1", team="t1")])
    run = world.run()
    assert (run["state"], run["waiting"], run["created"]) == ("succeeded", 1, 0)
    world.run("teams")
    run = world.run()
    assert run["created"] == 1 and world.exceptions() == []
    assert world.sql("select team_name from people") == [("Red",)]


def test_a_failed_check_is_tried_again_when_what_it_read_changes(world: World) -> None:
    world.put("teams", [{"id": "t1", "name": "Red", "open": False}])
    world.run("teams")
    world.put("people", [person("1", team="t1")])
    assert world.run()["quarantined"] == 1
    assert "Ada is in closed team Red" in world.exceptions()[0].message
    world.put("teams", [{"id": "t1", "name": "Red", "open": True}])
    world.run("teams")
    assert world.run()["created"] == 1 and world.exceptions() == []


def test_records_at_the_cursor_boundary_are_never_lost(world: World) -> None:
    world.put("people", [person("1", at="2026-01-01T10:00:00Z")])
    world.run()
    world.put("people", [person("1", at="2026-01-01T10:00:00Z"), person("2", "Bob", at="2026-01-01T10:00:00Z"),
                         person("3", "Late", at="2026-01-01T09:55:00Z"), person("4", "Old", at="2026-01-01T09:00:00Z")])  # fmt: skip
    run = world.run()
    assert run["created"] == 2 and run["read"] == 3
    assert world.names() == ["Ada", "Bob", "Late"]


def test_an_older_version_never_overwrites_a_newer_one(world: World) -> None:
    world.put("people", [person("1", at="2026-01-02T00:00:00Z")])
    world.run()
    world.put("people", [person("1", "Older", at="2026-01-01T00:00:00Z")])
    assert world.run(full=True)["skipped"] == 1
    assert world.names() == ["Ada"]


def test_two_records_with_one_key_neither_goes_on_unless_one_is_newer(world: World) -> None:
    world.put(
        "people", [person("1", "A"), person("1", "B"), person("2", "C"), person("2", "D", at="2026-01-02T00:00:00Z")]
    )
    run = world.run()
    assert (run["quarantined"], run["skipped"]) == (2, 1)
    assert world.names() == ["D"]


def test_lifecycles_are_kept_and_remembered(world: World) -> None:
    world.put("people", [person("1", state="off")])
    world.run()
    world.put("people", [person("1", state="new", at="2026-01-02T00:00:00Z")])
    assert world.run()["quarantined"] == 1
    assert world.exceptions()[0].code == "E421"


def test_a_sweep_deletes_within_its_guard_and_an_empty_source_holds(world: World) -> None:
    world.edit("flows/people.yaml", "lag: 10m", "lag: 10m, deletes: sweep, incremental: none")
    world.edit("flows/people.yaml", "mapping: dw/people }", "mapping: dw/people, on_delete: delete }")
    world.edit("flows/people.yaml", "errors: 90%", "errors: 90%, deletes: 20%")
    everybody = [person(str(n), f"P{n:02d}") for n in range(10)]
    world.put("people", everybody)
    world.run()
    world.put("people", everybody[:7])
    held = world.run()
    assert held["state"] == "held" and "deletes" in held["held_because"]
    assert len(world.names()) == 10
    world.put("people", everybody[:8])
    assert world.run()["deleted"] == 2
    assert len(world.names()) == 8
    world.put("people", [])
    empty = world.run()
    assert empty["state"] == "held" and "empty_source" in empty["held_because"]
    assert len(world.names()) == 8


def test_where_when_and_on_leave(world: World) -> None:
    world.edit("flows/people.yaml", "lag: 10m }", "lag: 10m, where: \"state != 'off'\" }")
    world.edit("flows/people.yaml", "mapping: dw/people }", "mapping: dw/people, on_leave: deactivate }")
    world.edit("flows/people.yaml", "errors: 90%", "errors: 90%, deletes: 100%")
    world.put("people", [person("1"), person("2", "Bob", state="off")])
    run = world.run()
    assert (run["created"], run["skipped"]) == (1, 1)
    world.put("people", [person("1", state="off", at="2026-01-02T00:00:00Z")])
    run = world.run()
    assert run["deleted"] == 1, run
    assert world.sql("select name, gone from people") == [("Ada", 1)]


def test_a_refused_record_is_quarantined_alone(world: World) -> None:
    world.sql("drop table people")
    world.sql(TABLE.replace("name text", "name text check (length(name) < 5)"))
    world.put("people", [person(str(n), "Longer" if n == 100 else "Ok") for n in range(200)])
    run = world.run()
    assert (run["created"], run["quarantined"]) == (199, 1)
    assert world.exceptions()[0].code == "E450"


def test_a_saved_plan_is_applied_only_where_nothing_moved(world: World) -> None:
    world.put("people", [person("1"), person("2", "Bob")])
    plan = world.run(plan=True)
    operations = dict(one["planned"] for one in plan["changes"])
    world.put("people", [person("1"), person("2", "Bobby")])
    run = world.run(only=operations)
    assert run["created"] == 1 and [one["key"] for one in run["moved"]] == ["2"]
    assert world.names() == ["Ada"]
    assert world.run()["created"] == 1


def test_a_missing_file_fails_the_run_and_the_next_one_goes_on(world: World) -> None:
    world.put("people", [person("1")])
    (world.folder / "data/people.ndjson").rename(world.folder / "data/away.ndjson")
    run = world.run()
    assert run["state"] == "failed" and run["error"]["code"] == "C584"
    (world.folder / "data/away.ndjson").rename(world.folder / "data/people.ndjson")
    assert world.run()["created"] == 1


def test_two_runs_of_one_flow_at_once_the_second_is_skipped(world: World) -> None:
    world.put("people", [person(str(n)) for n in range(3000)])
    states: list[str] = []
    threads = [threading.Thread(target=lambda: states.append(world.run()["state"])) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(states) in (["skipped", "succeeded"], ["succeeded", "succeeded"])
    assert world.sql("select count(*) from people") == [(3000,)]


def test_kill_in_the_middle_loses_and_doubles_nothing(world: World) -> None:
    world.put("people", [person(str(n), f"P{n}") for n in range(20_000)])
    command = [str(Path(sys.executable).parent / "crosswalk"), "run", "people", "--workspace", str(world.folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 20
    while time.monotonic() < end and (world.sql("select count(*) from people")[0][0] == 0):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert world.sql("select count(*) from people")[0][0] < 20_000
    assert world.run()["state"] == "succeeded"
    assert world.sql("select count(*), count(distinct name) from people") == [(20_000, 20_000)]


def test_an_older_version_that_comes_late_neither_passes_nor_closes_what_a_newer_one_is_in(world: World) -> None:
    world.put("people", [person("1", "", at="2026-01-05T00:00:00Z")])
    assert world.run()["quarantined"] == 1
    late = Record("1", person("1", "Old", at="2026-01-04T00:00:00Z"), modified="2026-01-04T00:00:00Z")
    run = world.run(records=("src:1",), given={"1": late}, trigger="webhook x")
    assert (run["skipped"], run["created"]) == (1, 0)
    assert len(world.exceptions()) == 1 and world.names() == []
    world.put("people", [person("1", "New", at="2026-01-06T00:00:00Z")])
    assert world.run()["created"] == 1 and world.exceptions() == []


def test_null_missing_and_blank_differ(world: World) -> None:
    world.put("people", [person("1", pay=None, state=None), {"id": "2", "name": "Bob", "at": "2026-01-01T00:00:00Z"}])
    world.run()
    world.put("people", [person("1", pay=5, state=None, at="2026-01-02T00:00:00Z")])
    world.run()
    world.put("people", [{"id": "1", "name": "Ada", "at": "2026-01-03T00:00:00Z"}])
    world.run()
    assert world.sql("select pay from people where name = 'Ada'") == [(5,)]
    world.put("people", [person("1", pay=None, at="2026-01-04T00:00:00Z")])
    assert world.run()["updated"] == 1
    assert world.sql("select pay from people where name = 'Ada'") == [(None,)]


def test_a_record_that_waits_and_comes_again_is_counted_once(world: World) -> None:
    world.put("people", [person("1", team="t9"), person("2", "")])
    assert (world.run()["waiting"], world.run()["quarantined"]) == (1, 1)
    store = Store.open("sqlite:///.crosswalk/state.db", world.folder)
    with store.begin() as tx:
        exceptions_state.set_state(tx, [row.id for row in world.exceptions()], "due")
    store.close()
    run = world.run(full=True)
    assert (run["read"], run["waiting"], run["quarantined"]) == (2, 1, 1)
    world.put("people", [person("1", team="t9"), person("2", "Bob")])
    assert world.run(full=True)["created"] == 1, "what the source gives anew goes on"
