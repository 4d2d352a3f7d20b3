"""Records that wait, and runs that are stopped, as an operator handles them."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.test_commands import CROSSWALK, call, told
from tests.conftest import Make
from tests.run.test_sync import FILES, World, person


@pytest.fixture
def world(make: Make) -> World:
    made = World(make(FILES))
    made.edit("crosswalk.yaml", "name: t", "name: t\nqueues: { hr: {} }")
    made.edit("flows/people.yaml", "kind: sync", "kind: sync\nowner: hr")
    made.put(
        "people",
        [person("1"), person("2", pay="x"), person("3", pay="y"), person("4", team="nowhere"), person("5", "")],
    )
    return made


def test_exceptions_can_be_counted_found_noted_and_given_up(world: World) -> None:
    folder = world.folder
    told(folder, "run", "teams", "people")
    code, found = told(folder, "exceptions", "list", "--group", "code")
    assert code == 0
    assert [(one["code"], one["count"]) for one in found["groups"]] == [("E401", 2), ("E405", 1), ("E420", 1)]
    assert [one["key"] for one in told(folder, "exceptions", "list", "--code", "E420")[1]["exceptions"]] == ["5"]
    assert [one["code"] for one in told(folder, "exceptions", "list", "--key", "4")[1]["exceptions"]] == ["E405"]
    assert len(told(folder, "exceptions", "list", "--queue", "hr")[1]["exceptions"]) == 4
    assert "4 open exceptions, the newest 2 shown (--limit)" in call(folder, "exceptions", "list", "--limit", "2")[1]
    id = told(folder, "exceptions", "list", "--key", "2")[1]["exceptions"][0]["id"]
    assert told(folder, "exceptions", "note", id, "asked payroll")[0] == 0
    assert told(folder, "exceptions", "discard", id, "--because", "left the firm")[0] == 0
    shown = told(folder, "exceptions", "show", id)[1]["exception"]
    assert [(one["did"], one["detail"]) for one in shown["notes"]] == [
        ("exceptions note", {"note": "asked payroll"}),
        ("exceptions discard", {"because": "left the firm"}),
    ]
    code, _, err = call(folder, "exceptions", "replay", id)
    assert code == 2 and f"X907 {id} is discarded: left the firm — only open ones can be replayed" in err
    assert call(folder, "exceptions", "discard", id, "--because", "again")[0] == 2


def test_a_sensitive_value_is_masked_in_every_snapshot(world: World) -> None:
    folder = world.folder
    world.edit("schemas/person.yaml", "pay: { type: number }", "pay: { type: number, x-sensitive: compensation }")
    world.put("people", [person("1", "", pay=77123)])
    told(folder, "run", "teams", "people")
    id = told(folder, "exceptions", "list")[1]["exceptions"][0]["id"]
    shown = told(folder, "exceptions", "show", id)[1]["exception"]
    assert (shown["raw"]["pay"], shown["canonical"]["pay"], shown["raw"]["id"]) == ("••••", "••••", "1")
    _, out, _ = call(folder, "exceptions", "show", id)
    assert "77123" not in out and "pay: '••••'" in out


def _until_running(world: World) -> str:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        rows = told(world.folder, "runs", "list", "--state", "running")[1]["runs"]
        if rows:
            return str(rows[0]["run"])
    raise AssertionError("the run never began")


def test_a_run_of_another_process_can_be_cancelled_and_gone_on_with(make: Make) -> None:
    world = World(make(FILES))
    world.put("people", [person(str(n), f"P{n}") for n in range(50_000)])
    process = subprocess.Popen(
        [CROSSWALK, "run", "people", "--json"], cwd=world.folder, stdout=subprocess.PIPE, text=True
    )
    run = _until_running(world)
    code, found = told(world.folder, "runs", "cancel", run)
    assert code == 0 and found["run"]["state"] == "cancelled", found
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert 0 < world.sql("select count(*) from people")[0][0] < 50_000
    code, _, err = call(world.folder, "runs", "cancel", run)
    assert code == 2 and "X907 the run is over: cancelled — only a running one can be cancelled" in err
    code, found = told(world.folder, "runs", "resume", run)
    assert code == 0 and found["runs"][0]["state"] == "succeeded"
    assert world.sql("select count(*) from people")[0][0] == 50_000


def test_a_run_whose_process_was_killed_is_cancelled_at_once(make: Make) -> None:
    world = World(make(FILES))
    world.put("people", [person(str(n), f"P{n}") for n in range(60_000)])
    process = subprocess.Popen([CROSSWALK, "run", "people"], cwd=world.folder, stdout=subprocess.DEVNULL)
    run = _until_running(world)
    process.kill()
    process.wait()
    code, found = told(world.folder, "runs", "cancel", run)
    assert code == 0 and found["run"]["state"] == "cancelled" and found["run"]["error"]["code"] == "R603"
    assert told(world.folder, "run", "people", "--limit", "10")[0] == 0


def test_what_runs_show_says(world: World, tmp_path: Path) -> None:
    folder = world.folder
    assert call(folder, "runs", "list")[1] == "no run yet: crosswalk run FLOW\n"
    run = told(folder, "run", "people", "--full")[1]["runs"][0]["run"]
    code, out, _ = call(folder, "runs", "show", run)
    assert code == 0 and 'asked for: {"full":true}' in out and f"run: {run}" in out
    assert "see: crosswalk exceptions list --flow people" in out
    code, _, err = call(folder, "runs", "resume", run)
    assert (
        code == 2
        and "X907 there is nothing to resume: the run came to its end — run the flow anew: crosswalk run people" in err
    )
