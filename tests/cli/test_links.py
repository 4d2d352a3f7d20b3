"""The crosswalk by hand: imports are whole or nothing, ambiguous matches are decided and go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_commands import call, told
from tests.conftest import Make
from tests.run.test_sync import FILES, World, person


@pytest.fixture
def world(make: Make) -> World:
    made = World(make(FILES))
    made.edit("schemas/person.yaml", "required: [name]", "required: [name]\nx-label: name\nx-match: [[name]]")
    return made


def review(folder: Path) -> dict[str, Any]:
    (one,) = told(folder, "links", "review")[1]["reviews"]
    return dict(one)


def written(world: World, text: str) -> str:
    (world.folder / "links.csv").write_text(text)
    return "links.csv"


HEAD = "entity,connection,object,native_id,record\n"


def test_links_are_imported_whole_or_not_at_all(world: World) -> None:
    folder = world.folder
    file = written(world, HEAD + "person,src,people,1,\nperson,dw,people,a-1,src:1\nperson,src,people,2,\n")
    assert told(folder, "links", "import", file) == (0, {"imported": 3})
    found = told(folder, "links", "find", "dw:a-1")[1]["links"]
    assert [(one["connection"], one["native_id"]) for one in found] == [("dw", "a-1"), ("src", "1")]
    assert told(folder, "links", "import", file) == (0, {"imported": 3})  # the same again changes nothing
    bad = (
        HEAD + "person,src,people,3,\nperson,dw,people,a-1,src:2\nperson,dw,people,b,src:9\nperson,nix,people,c,src:1\n"
    )
    code, answer = told(folder, "links", "import", written(world, bad))
    assert code == 2 and [(one["code"], one["line"]) for one in answer["errors"]] == [
        ("X909", 3),
        ("X908", 4),
        ("X908", 5),
    ]
    assert call(folder, "links", "find", "src:3")[0] == 2
    code, _, err = call(folder, "links", "import", written(world, "a,b\n1,2\n"))
    assert code == 2 and "X912 links.csv:1:1 links.csv cannot be read: it has no column entity" in err


def test_imported_links_keep_records_from_being_made_again(world: World) -> None:
    folder = world.folder
    world.sql("insert into people (id, name) values ('a-1', 'Ada')")
    world.edit("mappings/dw/people.yaml", "outbound: { id: id, ", "outbound: { ")
    told(folder, "links", "import", written(world, HEAD + "person,src,people,1,\nperson,dw,people,a-1,src:1\n"))
    world.put("people", [person("1", pay=5)])
    assert world.run()["updated"] == 1
    assert world.sql("select id, pay from people") == [("a-1", 5)]


def test_a_suspected_duplicate_is_listed_with_its_candidate_and_made_a_record_of_its_own(world: World) -> None:
    folder = world.folder
    world.put("people", [person("1"), person("2")])
    world.run()
    one = review(folder)
    (other,) = one["candidates"]
    assert one["key"] == "2" and other["label"] == "Ada" and "src:1" in other["links"]
    code, _, err = call(folder, "links", "review", one["id"], "--link", "src:1")
    assert code == 2 and "X909 src:1 is linked to" in err
    assert told(folder, "links", "review", one["id"], "--new")[0] == 0
    assert world.names() == ["Ada", "Ada"] and told(folder, "links", "review")[1] == {"reviews": []}
    assert "X907" in call(folder, "links", "review", one["id"], "--new")[2]


def test_a_record_that_matches_several_is_linked_to_the_one_that_a_person_names(world: World) -> None:
    folder = world.folder
    (folder / "mappings/old").mkdir()
    text = (folder / "mappings/src/people.yaml").read_text()
    (folder / "mappings/old/people.yaml").write_text(text.replace("mapping: src/people", "mapping: old/people"))
    flow = (folder / "flows/people.yaml").read_text()
    (folder / "flows/old.yaml").write_text(
        flow.replace("flow: people", "flow: old").replace(
            "connection: src, mapping: src/people", "connection: old, mapping: old/people"
        )
    )
    world.edit(
        "crosswalk.yaml",
        "  dw:",
        "  old: { connector: files, path: old, format: ndjson, objects: { people: { key: id, modified: at } } }\n  dw:",
    )
    world.put("people", [person("1"), person("2")])
    world.run()
    told(folder, "links", "review", review(folder)["id"], "--new")
    (folder / "old").mkdir()
    (folder / "old/people.ndjson").write_text(
        '{"id": "9", "name": "Ada", "pay": 9, "state": "on", "at": "2026-05-01T00:00:00Z"}\n'
    )
    told(folder, "run", "old")
    one = review(folder)
    assert len(one["candidates"]) == 2 and one["flow"] == "old"
    assert told(folder, "links", "review", one["id"], "--link", "src:2")[0] == 0
    found = told(folder, "links", "find", "old:9")[1]["links"]
    assert {"src:2", "old:9"} <= {f"{one['connection']}:{one['native_id']}" for one in found}
    assert world.sql("select pay from people order by pay") == [(1,), (9,)]


@pytest.mark.parametrize("decision", ["--link", "--new"])
def test_several_records_of_a_target_are_decided(world: World, decision: str) -> None:
    folder = world.folder
    world.edit("mappings/dw/people.yaml", "{ id: id, ", "{ id: { from: id, on: create }, ")
    world.sql("insert into people (id, name) values ('1', 'Ada'), ('2', 'Ada')")
    world.put("people", [person("1", pay=5)])
    world.run()
    one = review(folder)
    assert one["target"] == "dw" and [each["native"] for each in one["candidates"]] == ["dw:1", "dw:2"]
    words = ("--link", "dw:2") if decision == "--link" else ("--new",)
    code, answer = told(folder, "links", "review", one["id"], *words)
    assert code == 0, (answer, world.exceptions())
    wanted = [("1", None), ("2", 5)] if decision == "--link" else [("1", None), ("2", None)]
    assert world.sql("select id, pay from people where length(id) = 1 order by id") == wanted
    assert world.sql("select count(*), sum(pay) from people") == [(2 if decision == "--link" else 3, 5)]
