"""`links merge|split|remap`: said once, and the next runs agree with it; what is not safe is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from engine.sdk.record import decode_json
from engine.state import audit, canonical, leases, operations
from engine.state.operations import Intent
from engine.state.store import Store, Tx
from tests.cli.test_commands import call, told
from tests.conftest import Make
from tests.run.test_sync import FILES, World, person

OLD = "  old: { connector: files, path: old, format: ndjson, objects: { people: { key: id, modified: at }, teams: { key: id } } }\n  dw:"


@pytest.fixture
def world(make: Make) -> World:
    """People and teams of two systems; those of the old one go nowhere."""
    files = dict(FILES)
    for name in ("people", "teams"):
        files[f"mappings/old/{name}.yaml"] = FILES[f"mappings/src/{name}.yaml"].replace("src/", "old/")
        entity = name.replace("people", "person").removesuffix("s")
        files[f"flows/old_{name}.yaml"] = (
            f"flow: old_{name}\nkind: sync\nentity: {entity}\nsource: {{ connection: old, mapping: old/{name} }}\ntargets: []\n"
        )
    made = World(make(files))
    made.edit("crosswalk.yaml", "  dw:", OLD)
    (made.folder / "old").mkdir()
    (made.folder / "old/people.ndjson").write_text(
        json.dumps({**person("9", "Ada L.", pay=7, team="x"), "state": None}) + "\n"
    )
    (made.folder / "old/teams.ndjson").write_text('{"id": "x", "name": "Rot", "open": true}\n')
    made.put("people", [{name: value for name, value in person("1").items() if name != "pay"}, person("2", "Bob")])
    assert told(made.folder, "run", "teams", "people", "old_teams", "old_people")[0] == 0
    return made


@contextmanager
def state(world: World) -> Iterator[Tx]:
    store = Store.open("sqlite:///.crosswalk/state.db", world.folder)
    with store.begin() as tx:
        yield tx
    store.close()


def id_of(world: World, record: str) -> str:
    return str(told(world.folder, "links", "find", record)[1]["links"][0]["canonical_id"])


def natives(world: World, record: str) -> set[str]:
    found = told(world.folder, "links", "find", record)[1]["links"]
    return {f"{one['connection']}:{one['native_id']}" for one in found if one["state"] == "live"}


def in_dw(world: World, record: str) -> str:
    return next(one for one in natives(world, record) if one.startswith("dw:"))


def test_two_records_become_one_and_stay_one(world: World) -> None:
    folder, double, there = world.folder, id_of(world, "old:9"), in_dw(world, "src:1")
    code, answer = told(folder, "links", "merge", "old:9", "src:1", "--plan")
    assert code == 0 and answer["merged"] == {
        "record": id_of(world, "src:1"), "double": double, "entity": "person", "links": 1, "deliveries": 0, "references": 0, "plan": True,
    }  # fmt: skip
    assert natives(world, "old:9") == {"old:9"}, "a plan changes nothing"
    _, text, _ = call(folder, "links", "merge", "old:9", "src:1")
    assert text.strip() == f"person {double} is now {id_of(world, 'src:1')}: 1 links, 0 deliveries, 0 references"
    assert natives(world, "src:1") == {"src:1", "old:9", there} and id_of(world, double) == id_of(world, "src:1")
    with state(world) as tx:
        stored = canonical.get(tx, "person", [id_of(world, "src:1")])
        assert decode_json(next(iter(stored.values())).data)["pay"] == 7, "what it lacked comes from the other"
        assert [one[2] for one in audit.of(tx, id_of(world, "src:1"))] == ["links merge"]
    assert told(folder, "run", "people", "old_people", "--full")[0] == 0
    assert world.sql("select pay from people order by pay") == [(1,), (7,)], "nothing was made again"
    told(folder, "links", "remove", "old:9")
    told(folder, "run", "old_people", "--full")
    assert natives(world, "src:1") == {"src:1", "old:9", there}, "its id still means the other record"


def test_references_follow(world: World) -> None:
    folder = world.folder
    code, answer = told(folder, "links", "merge", "old:x", "src:t1")
    assert code == 0 and answer["merged"]["references"] == 1
    with state(world) as tx:
        (stored,) = canonical.get(tx, "person", [id_of(world, "old:9")]).values()
    assert decode_json(stored.data)["team"] == id_of(world, "src:t1")


def test_a_record_is_split_off_and_the_place_is_filled_again(world: World) -> None:
    folder, kept, there, other = world.folder, id_of(world, "src:1"), in_dw(world, "src:1"), in_dw(world, "src:2")
    told(folder, "links", "merge", "old:9", "src:1")
    code, answer = told(folder, "links", "split", "old:9")
    assert code == 0 and answer["split"][0]["was"] == kept != answer["split"][0]["canonical_id"] == id_of(
        world, "old:9"
    )
    told(folder, "run", "old_people", "--full")
    assert natives(world, "old:9") == {"old:9"} and natives(world, "src:1") == {"src:1", there}
    _, text, _ = call(folder, "links", "split", there, "--plan")
    assert f"{there} would become person " in text and natives(world, "src:1") == {"src:1", there}
    told(folder, "links", "split", "src:1")
    assert id_of(world, "src:1") != kept == id_of(world, there), "the record that its id was made from may go too"
    world.sql("update people set id = 'else' where name = 'Bob'")
    (folder / "ids.csv").write_text(f"old,new\n{other.removeprefix('dw:')},else\n")
    told(folder, "links", "remap", "dw", "people", "ids.csv")
    told(folder, "links", "split", "dw:else")
    run = world.run(full=True)
    assert run["created"] == 2, "src:1 is another record now, and src:2 has none in dw"
    assert in_dw(world, "src:2") not in ("dw:else", there) and len(natives(world, "src:2")) == 2


def test_a_system_gets_new_ids(world: World) -> None:
    folder, ids = world.folder, [in_dw(world, f"src:{one}").removeprefix("dw:") for one in (1, 2)]
    (folder / "ids.csv").write_text(f"old,new\n{ids[0]},A\n{ids[1]},B\n")
    assert told(folder, "links", "remap", "dw", "people", "ids.csv", "--plan")[1]["remapped"]["links"] == 2
    assert in_dw(world, "src:1") == f"dw:{ids[0]}"
    _, text, _ = call(folder, "links", "remap", "dw", "people", "ids.csv")
    assert text.strip() == "dw people: 2 links, 2 deliveries have new ids" and in_dw(world, "src:1") == "dw:A"
    world.sql(f"update people set id = case id when '{ids[0]}' then 'A' else 'B' end")
    (folder / "ids.csv").write_text("old,new\n1,s-1\n2,s-2\n")
    told(folder, "links", "remap", "src", "people", "ids.csv")
    world.edit("mappings/dw/people.yaml", "outbound: { id: id, ", "outbound: { id: { from: id, on: create }, ")
    world.put("people", [person("s-1", "Ada", pay=5), person("s-2", "Bob")])
    run = world.run(full=True)
    assert (run["created"], run["updated"], run["deleted"]) == (0, 1, 0)
    assert world.sql("select id, name, pay from people order by id") == [("A", "Ada", 5), ("B", "Bob", 1)]


def test_what_is_not_safe_is_refused(world: World) -> None:
    folder, there = world.folder, in_dw(world, "src:1")
    for words, code, text in (
        (("merge", "src:2", "src:1"), "X909", "has both: "),
        (("merge", "src:1", "src:t1"), "X908", "src:1 is a person, src:t1 is a team"),
        (("merge", "src:1", there), "X907", f"src:1 is {there} already"),
        (("split", "old:9"), "X907", "old:9 is all that its person is linked to"),
        (("split", "old:77"), "X908", "'old:77' is not linked"),
    ):
        ended, _, err = call(folder, "links", *words)
        assert ended == 2 and code in err and text in err, err
    (folder / "ids.csv").write_text("old,new\n1,2\n1,3\n7,8\n2,\n9,4\n")
    ended, answer = told(folder, "links", "remap", "src", "people", "ids.csv")
    assert ended == 2 and [(one["code"], one["line"]) for one in answer["errors"]] == [
        ("X912", 3), ("X908", 4), ("X912", 5), ("X908", 6),
    ]  # fmt: skip
    (folder / "ids.csv").write_text("old,new\n1,2\n")
    assert "X909 ids.csv:2:1 src:2 is linked to" in call(folder, "links", "remap", "src", "people", "ids.csv")[2]
    with state(world) as tx:
        held = leases.claim(tx, "flow:people")
    assert held is not None
    for words in (("merge", "old:9", "src:1"), ("split", there), ("remap", "src", "people", "ids.csv")):
        ended, _, err = call(folder, "links", *words)
        assert ended == 2 and "R606 a run of people is going on" in err
    with state(world) as tx:
        leases.release(tx, held)
        open_ = Intent(
            "k", "r", "people", "dw", "dw", "people", id_of(world, "src:1"), "", "update", "C", None, b"{}", 0, "2026"
        )
        operations.send(tx, [open_])
    for words in (("merge", "old:9", "src:1"), ("split", there)):
        ended, _, err = call(folder, "links", *words)
        assert ended == 2 and "R606 1 of its writes have no known outcome yet" in err
