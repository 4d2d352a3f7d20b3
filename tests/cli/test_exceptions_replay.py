"""Corrections and replays: from each stage, with today's logic or that of then, never over what is newer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.state import leases
from engine.state.store import Store
from tests.cli.test_commands import call, told
from tests.conftest import Make
from tests.run.test_sync import FILES, TABLE, World, person

T2, T3 = "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"


@pytest.fixture
def world(make: Make) -> World:
    return World(make(FILES))


def only(folder: Path, *words: str) -> dict[str, Any]:
    (one,) = told(folder, "exceptions", "list", *words)[1]["exceptions"]
    return dict(one)


def refusing(world: World) -> None:
    """The target takes nobody who is paid 100 or more."""
    world.sql("drop table people")
    world.sql(TABLE.replace("pay numeric", "pay numeric check (pay < 100)"))


def welcoming(world: World) -> None:
    world.sql("drop table people")
    world.sql(TABLE)


def paid(world: World) -> list[tuple[Any, ...]]:
    return world.sql("select name, pay from people order by name")


def test_a_corrected_record_goes_through_and_stays_corrected_until_the_source_changes(world: World) -> None:
    folder = world.folder
    world.put("people", [person("1", pay="x")])
    world.run()
    id = only(folder)["id"]
    code, answer = told(folder, "exceptions", "edit", id, "--set", "pay=12.50", "--because", "payroll confirmed")
    assert (code, answer) == (0, {"edited": id, "from": "raw", "fields": ["pay"]})
    shown = told(folder, "exceptions", "show", id)[1]["exception"]
    assert shown["raw"]["pay"] == "x" and shown["edits"][0]["fields"] == {"pay": ["x", 12.5]}
    assert "pay: 'x' → 12.50" in call(folder, "exceptions", "show", id)[1]
    assert told(folder, "exceptions", "replay", id)[1]["runs"][0]["state"] == "succeeded"
    assert paid(world) == [("Ada", 12.5)]
    world.edit("mappings/src/people.yaml", "transform: [trim]", "transform: [trim, upper]")
    assert world.run(full=True)["quarantined"] == 0  # other logic: everything is handled anew
    assert paid(world) == [("ADA", 12.5)]
    world.put("people", [person("1", pay=13, at=T2)])
    world.run()
    assert paid(world) == [("ADA", 13)]
    assert told(folder, "exceptions", "show", id)[1]["exception"]["edits"][0]["past"] is True
    world.put("people", [person("1", pay="y", at=T3)])
    assert world.run()["quarantined"] == 1 and paid(world) == [("ADA", 13)]


def test_a_canonical_correction_is_validated_and_may_take_the_place_of_what_a_rule_cannot_give(world: World) -> None:
    folder = world.folder
    world.put("people", [person("1", "", pay="x")])
    world.run()
    id = only(folder)["id"]
    words = ("exceptions", "edit", id, "--from", "canonical", "--because", "asked her")
    assert told(folder, *words, "--set", "pay=7")[0] == 0
    assert told(folder, "exceptions", "replay", id)[0] == 3 and only(folder)["code"] == "E420"
    assert told(folder, *words, "--set", 'name="Eve"')[0] == 0
    assert told(folder, "exceptions", "replay", id, "--from", "canonical")[0] == 0
    assert paid(world) == [("Eve", 7)]
    assert world.run(full=True)["quarantined"] == 0 and paid(world) == [("Eve", 7)]


def test_what_cannot_be_meant_is_refused(world: World) -> None:
    folder = world.folder
    world.put("people", [person("1", pay="x"), "no json"])
    world.run()
    one, line = only(folder, "--code", "E401")["id"], only(folder, "--code", "E400")["id"]
    edit = ("exceptions", "edit", one, "--because", "b")
    for words, said in (
        ((*edit, "--set", "pay=x"), "X900 --set pay: "),
        ((*edit, "--set", 'pay="x"'), "X900 nothing is changed"),
        ((*edit,), "X900 no correction is given"),
        (
            (*edit, "--from", "canonical", "--set", "payy=1"),
            "E101 there is no field called 'payy' — did you mean 'pay'?",
        ),
        (("exceptions", "edit", line, "--set", "pay=1", "--because", "b"), "X915 "),
        (("exceptions", "replay", line), "X915 "),
        (("exceptions", "replay", one, "--from", "canonical"), "X915 "),
        (("exceptions", "replay", one, "--from", "payload"), "X915 "),
    ):
        code, _, err = call(folder, *words)
        assert code == 2 and said in err, (words, err)
    assert told(folder, "exceptions", "replay", "--flow", "people", "--from", "payload") == (0, {"runs": []})


def test_sensitive_values_are_not_shown_in_corrections(world: World) -> None:
    folder = world.folder
    world.edit("schemas/person.yaml", "pay: { type: number }", "pay: { type: number, x-sensitive: compensation }")
    world.put("people", [person("1", "", pay=77123)])
    world.run()
    id = only(folder)["id"]
    _, out, err = call(folder, "exceptions", "edit", id, "--set", "pay=88456", "--set", 'name="Eve"', "--because", "b")
    _, shown, _ = call(folder, "exceptions", "show", id)
    _, json, _ = call(folder, "exceptions", "show", id, "--json")
    for text in (out, err, shown, json):
        assert "77123" not in text and "88456" not in text
    assert "pay: '••••' → '••••'" in shown and "name: '' → 'Eve'" in shown


def test_a_field_that_another_system_owns_is_not_corrected_in_silence(world: World) -> None:
    folder = world.folder
    world.edit("schemas/person.yaml", "pay: { type: number }", "pay: { type: number, x-owner: dw }")
    world.put("people", [person("1")])
    world.run()
    world.put("people", [person("1", "", at=T2)])
    world.run()
    id = only(folder)["id"]
    sets = ("--set", "pay=9", "--set", 'name="Eve"')
    told(folder, "exceptions", "edit", id, "--from", "canonical", *sets, "--because", "b")
    assert told(folder, "exceptions", "replay", id)[0] == 3
    assert only(folder)["code"] == "E417" and paid(world) == [("Ada", 1)]


@pytest.mark.parametrize("stage", ["raw", "canonical", "payload"])
def test_a_refused_record_is_replayed_from_each_stage_once(world: World, stage: str) -> None:
    folder = world.folder
    refusing(world)
    world.put("people", [person("1", pay=500), person("2", "Bob", pay=600)])
    world.run()
    first = only(folder, "--key", "1")
    assert (first["class"], first["target"]) == ("rejected", "dw")
    welcoming(world)
    code, answer = told(folder, "exceptions", "replay", first["id"], "--from", stage)
    assert code == 0 and answer["runs"][0]["created"] == 1
    assert paid(world) == [("Ada", 500)] and only(folder)["key"] == "2"  # the other one stays as it is
    world.run(full=True)
    assert paid(world) == [("Ada", 500), ("Bob", 600)] and told(folder, "exceptions", "list")[1]["exceptions"] == []
    assert "X907" in call(folder, "exceptions", "replay", first["id"], "--from", stage)[2]


def test_a_payload_is_not_sent_over_a_newer_one(world: World) -> None:
    folder = world.folder
    text = (folder / "flows/people.yaml").read_text()
    (folder / "flows/again.yaml").write_text(text.replace("flow: people", "flow: again"))
    refusing(world)
    world.put("people", [person("1", pay=500)])
    world.run()
    welcoming(world)
    world.put("people", [person("1", pay=50, at=T2)])
    world.run("again")
    id = only(folder)["id"]
    told(folder, "exceptions", "replay", id, "--from", "payload")
    assert paid(world) == [("Ada", 50)]
    shown = told(folder, "exceptions", "show", id)[1]["exception"]
    assert (shown["state"], shown["closed_how"]) == ("superseded", "its record was delivered in a newer version")


@pytest.mark.parametrize(("logic", "pay"), [("pinned", 500), ("current", 250)])
def test_a_replay_uses_the_logic_of_then_or_of_now(world: World, logic: str, pay: int) -> None:
    folder = world.folder
    world.edit("mappings/src/people.yaml", "state: state", "state: { from: state, values: { on: on, off: off } }")
    refusing(world)
    world.put("people", [person("1", pay=500)])
    world.run()
    welcoming(world)
    world.edit("mappings/src/people.yaml", "as: decimal }", "as: decimal, scale: 1/2 }")
    before = (folder / "mappings/src/people.yaml").read_text()
    assert told(folder, "exceptions", "replay", only(folder)["id"], "--logic", logic)[0] == 0
    assert paid(world) == [("Ada", pay)] and (folder / "mappings/src/people.yaml").read_text() == before


def test_older_exceptions_of_the_same_record_go_first(world: World) -> None:
    folder = world.folder
    text = (folder / "flows/people.yaml").read_text()
    (folder / "flows/again.yaml").write_text(text.replace("flow: people", "flow: again"))
    refusing(world)
    world.put("people", [person("1", pay=500)])
    world.run("again")
    world.run("people")
    welcoming(world)
    newer = only(folder, "--flow", "people")["id"]
    answer = told(folder, "exceptions", "replay", newer)[1]
    assert [one["flow"] for one in answer["runs"]] == ["again", "people"]
    assert [one["created"] for one in answer["runs"]] == [1, 0] and paid(world) == [("Ada", 500)]


def test_while_the_flow_runs_nothing_is_replayed(world: World) -> None:
    folder = world.folder
    world.put("people", [person("1", pay="x")])
    world.run()
    store = Store.open("sqlite:///.crosswalk/state.db", folder)
    with store.begin() as tx:
        assert leases.claim(tx, "flow:people", "elsewhere:1") is not None
    store.close()
    code, answer = told(folder, "exceptions", "replay", only(folder)["id"])
    assert code == 4 and answer["runs"][0]["held_because"] == "another run of it is going on"
    assert only(folder)["state"] == "open"


def test_an_older_version_in_the_same_read_does_not_close_the_newer_ones_exception(world: World) -> None:
    rows = [person("1", "Old"), person("1", "New", pay="x", at=T2)]
    world.put("people", rows)
    assert world.run()["quarantined"] == 1
    world.run(full=True)
    assert [(row.code, row.attempts) for row in world.exceptions()] == [("E401", 2)]


def test_a_record_that_fails_earlier_than_before_has_one_exception(world: World) -> None:
    refusing(world)
    world.put("people", [person("1", pay=500)])
    world.run()
    world.put("people", [person("1", pay="x", at=T2)])
    world.run()
    assert [row.code for row in world.exceptions()] == ["E401"]
    closed = told(world.folder, "exceptions", "list", "--all", "--code", "E450")[1]["exceptions"][0]["id"]
    shown = told(world.folder, "exceptions", "show", closed)[1]["exception"]
    assert shown["closed_how"].startswith("it fails before that since r-")


def test_a_line_that_was_mended_or_taken_out_is_closed(world: World) -> None:
    world.put("people", [person("1"), "no json", "nor this"])
    assert world.run()["quarantined"] == 2
    world.put("people", [person("1"), person("2", "Bob"), "nor this"])
    world.run(records=("src:1",))
    world.run(limit=1)
    assert len(world.exceptions()) == 2  # neither went over everything
    world.run()
    assert [row.key for row in world.exceptions()] == ["people.ndjson:3"] and world.names() == ["Ada", "Bob"]
    world.put("people", [person("1"), person("2", "Bob")])
    world.run()
    assert world.exceptions() == []
