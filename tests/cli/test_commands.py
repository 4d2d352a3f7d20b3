"""The command line as a contract: JSON objects, exit codes, messages; a real process each time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Make
from tests.forks import forks
from tests.run.test_sync import FILES, World, person

CROSSWALK = str(Path(sys.executable).parent / "crosswalk")


def call(folder: Path, *words: str, timeout: float = 120) -> tuple[int, str, str]:
    code, out, err = forks().run(folder, words, timeout)
    assert "Traceback" not in out + err
    return code, out, err


def told(folder: Path, *words: str) -> tuple[int, Any]:
    code, out, _err = call(folder, *words, "--json")
    return code, json.loads(out)


@pytest.fixture
def world(make: Make) -> World:
    made = World(make(FILES))
    made.put(
        "people",
        [
            person("1"),
            person("2", "Bob", team="t1"),
            person("3", pay="x"),
            *[person(str(n), f"P{n}") for n in range(4, 12)],
        ],
    )
    return made


def test_plan_run_exceptions_links_trace_explain(world: World) -> None:
    folder = world.folder
    code, plan = told(folder, "plan", "people")
    assert code == 0 and plan["plans"][0]["created"] == 9 and plan["plans"][0]["quarantined"] == 1
    change = plan["plans"][0]["changes"][0]
    assert set(change) == {"target", "key", "operation", "fields"} and change["operation"] == "create"
    code, run = told(folder, "run", "teams", "people")
    assert code == 3
    assert set(run["runs"][1]) == {"run", "flow", "state", "read", "created", "updated", "unchanged", "deleted", "quarantined", "waiting",
                                   "skipped", "held_because", "error", "started_at", "finished_at", "targets"}  # fmt: skip
    assert [one["state"] for one in run["runs"]] == ["succeeded", "partial"]
    assert run["runs"][1]["targets"]["dw"]["created"] == 10
    code, found = told(folder, "exceptions", "list")
    assert code == 0 and set(found["exceptions"][0]) == {
        "id", "flow", "entity", "record", "key", "target", "stage", "class", "code", "message", "at", "queue", "state", "opened_at",
        "owner", "tags", "fingerprint"}  # fmt: skip
    id = found["exceptions"][0]["id"]
    assert told(folder, "exceptions", "show", id)[1]["exception"]["raw"]["pay"] == "x"
    assert told(folder, "exceptions", "replay", id)[0] == 3
    assert told(folder, "links", "find", "src:1")[1]["links"][0]["native_id"] in (
        "1",
        told(folder, "links", "find", "src:1")[1]["links"][0]["canonical_id"],
    )
    trace = told(folder, "trace", "src:2")[1]["trace"]
    assert trace["history"][0]["new"] == "on" and len(trace["links"]) == 2
    explained = told(folder, "explain", "src:2.name")[1]["explain"]
    assert explained["value"] == "Bob" and explained["rules"][0]["at"].startswith("mappings/src/people.yaml:5")
    assert told(folder, "exceptions", "discard", id, "--because", "test")[0] == 0
    assert told(folder, "exceptions", "list")[1] == {"exceptions": []}
    assert told(folder, "runs", "list")[1]["runs"][0]["flow"] == "people"


def test_records_limits_and_saved_plans(world: World) -> None:
    folder = world.folder
    told(folder, "run", "teams")
    assert told(folder, "run", "people", "--record", "src:2")[1]["runs"][0]["created"] == 1
    assert told(folder, "run", "people", "--limit", "4")[1]["runs"][0]["read"] == 4
    assert call(folder, "plan", "people", "--save", "p.plan")[0] == 0
    assert "Bob" not in (folder / "p.plan").read_text()
    world.put("people", [person("4", "Moved"), *[person(str(n), f"P{n}") for n in range(5, 12)]])
    code, run = told(folder, "run", "--plan", "p.plan")
    assert code == 4 and len(run["moved"]) >= 1


def test_exit_codes_of_what_cannot_be_meant(world: World) -> None:
    folder = world.folder
    for words, code, text in [
        (("run", "peeple"), 2, "E101 there is no flow called 'peeple' — did you mean 'people'?"),
        (("run",), 2, "no flow is named"), (("rum",), 2, "there is no command 'rum'"), (("run", "people", "--nope"), 2, "--nope"),
        (("exceptions", "show", "x"), 2, "X906"), (("links", "find", "src:9"), 2, "X908"), (("run", "people", "--plan", "crosswalk.yaml"), 2, "X903"),
        (("validate", "--env", "nowhere"), 2, "X902"), (("init",), 2, "X911"), (("explain", "src:1.x"), 2, "X908"),
        (("connectors", "describe", "dw", "peple"), 1, "C504"), (("runs", "resume", "r-1"), 2, "X906"),
    ]:  # fmt: skip
        found, out, err = call(folder, *words)
        assert found == code and text in out + err, (words, found, out, err)
    assert told(folder, "run", "peeple")[1]["errors"][0]["code"] == "E101"


def test_outside_a_workspace(tmp_path: Path) -> None:
    code, _, err = call(tmp_path, "validate")
    assert code == 2 and err.startswith("X901 there is no crosswalk.yaml here or above")


def test_held_runs_resume_with_approval(world: World) -> None:
    world.edit("flows/people.yaml", "errors: 90%", "errors: 1%")
    code, run = told(world.folder, "run", "people")
    assert code == 4 and run["runs"][0]["state"] == "held"
    assert told(world.folder, "runs", "resume", run["runs"][0]["run"])[0] == 2
    code, run = told(world.folder, "runs", "resume", run["runs"][0]["run"], "--approve")
    assert code == 3 and run["runs"][0]["state"] == "partial"


def test_init_new_validate_and_tests(tmp_path: Path) -> None:
    assert call(tmp_path, "init", "w")[0] == 0
    folder = tmp_path / "w"
    for words in (
        ("schema", "thing"),
        ("mapping", "files/clients"),
        ("connector", "acme"),
        ("test", "clients"),
        ("table", "codes"),
    ):
        assert call(folder, "new", *words)[0] == 0
    assert call(folder, "new", "schema", "../x")[0] == 2
    (folder / "mappings/files/clients.yaml").write_text(
        "mapping: files/clients\nobject: clients\nentity: client\nfields:\n  name: { from: name, transform: [trim] }\n"
        "  credit_limit: { from: Limit__c, as: money, currency: Cur, blank: missing }\n"
        "  parent: { from: parent, ref: client }\n"
    )
    (folder / "tests/clients.yaml").write_text(
        'test: clients\nmapping: files/clients\nlinks: { client: [{ files: "001" }] }\ncases:\n'
        '  - { name: trims, given: { name: " A ", Limit__c: 10.50, Cur: EUR, parent: "001" }, round_trip: true,\n'
        '      expect: { name: A, credit_limit: { amount: 10.50, currency: EUR }, parent: "001" } }\n'
        "  - { name: refuses, given: { name: A, Limit__c: much, Cur: EUR }, rejects: { field: credit_limit, code: E401 } }\n"
    )
    code, out, err = call(folder, "validate")
    assert code == 0, out + err
    assert call(folder, "test")[0] == 0
    (folder / "tests/clients.yaml").write_text(
        "test: c\nmapping: files/clients\ngiven: { name: a }\nexpect: { name: b }\n"
    )
    code, out, _ = call(folder, "test")
    assert code == 1 and 'name: expected "b", got "a"' in out
    assert told(folder, "mapping", "coverage", "files/clients")[1]["coverage"][0]["covered"][0] == "name"
    (folder / "sample.json").write_text('{"name": " x ", "Limit__c": 1.10, "Cur": "EUR"}')
    code, out, _ = call(folder, "mapping", "preview", "files/clients", "--file", "sample.json", "--to", "files/clients")
    assert code == 0 and "mappings/files/clients.yaml:5:9" in out and "1.10" not in out, "credit limits are sensitive"


def test_care_of_the_state(world: World) -> None:
    folder = world.folder
    told(folder, "run", "people")
    for words in (("doctor",), ("state", "upgrade"), ("state", "prune"), ("state", "backup", "b.db"), ("connectors", "list"),
                  ("connectors", "check"), ("connectors", "describe", "dw", "people"), ("show", "people"), ("show", "mapping/dw/people", "--resolved")):  # fmt: skip
        code, out, err = call(folder, *words)
        assert code == 0, (words, out, err)
    assert (folder / "b.db").exists()


def test_a_secret_never_shows(make: Make) -> None:
    folder = make(
        {
            "crosswalk.yaml": 'crosswalk: 1\nname: s\nconnections:\n  dw: { connector: sql, url: "postgresql://u:${secret:pw}@127.0.0.1:1/x" }\n'
        }
    )
    import os

    done = subprocess.run(
        [CROSSWALK, "connectors", "check", "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PW": "SEKRET99"},
    )
    assert done.returncode == 1 and "SEKRET99" not in done.stdout + done.stderr
    (folder / "crosswalk.yaml").write_text(
        'crosswalk: 1\nname: s\nconnections:\n  dw: { connector: sql, url: "postgresql://u:SEKRET99@h/x" }\n'
    )
    code, out, err = call(folder, "validate")
    assert code == 2 and "E131" in out + err and "SEKRET99" not in out + err
