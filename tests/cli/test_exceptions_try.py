"""A candidate mapping on stored failures: what would pass, why the others would not, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_commands import call, told
from tests.conftest import Make
from tests.run.test_sync import FILES, World, person


@pytest.fixture
def world(make: Make) -> World:
    made = World(make(FILES))
    rows = [
        person("1", pay="1.234,50"),
        person("2", "Bob", pay="7,00"),
        person("3", "", pay="8,10"),
        person("4", pay="much"),
    ]
    made.put("people", rows)
    made.run()
    return made


def candidate(world: World, name: str = "src/people") -> str:
    text = (world.folder / "mappings/src/people.yaml").read_text()
    text = text.replace("mapping: src/people", f"mapping: {name}").replace(
        "as: decimal }", 'as: decimal, decimal: "," }'
    )
    (world.folder / "new.yaml").write_text(text)
    return "new.yaml"


def dump(folder: Path) -> list[str]:
    import sqlite3

    with sqlite3.connect(folder / ".crosswalk/state.db") as db:
        return list(db.iterdump())


@pytest.mark.parametrize("name", ["src/people", "src/better"])
def test_a_candidate_is_proven_on_what_failed_and_writes_nothing(world: World, name: str) -> None:
    folder, before = world.folder, dump(world.folder)
    code, answer = told(folder, "exceptions", "try", "--flow", "people", "--mapping", candidate(world, name))
    (one,) = answer["tries"]
    assert code == 3 and (one["flow"], one["mapping"]) == ("people", "src/people")
    assert [one[what] for what in ("tried", "passes", "fails", "waits", "skipped")] == [4, 2, 2, 0, 0]
    assert [(reason["code"], reason["count"]) for reason in one["reasons"]] == [("E401", 1), ("E420", 1)]
    assert [(field["field"], field["count"], field["old"]) for field in one["fields"]] == [("pay", 2, None)]
    assert one["writes"] == {"create": 2} or one["writes"] == {"upsert": 2}
    assert dump(folder) == before and world.sql("select count(*) from people") == [(0,)]
    code, out, _ = call(folder, "exceptions", "try", "--flow", "people", "--mapping", "new.yaml")
    assert (
        "people with new.yaml as src/people: 2 of 4 would pass, 2 would fail" in out
        and "pay differs in 2: null → 1234.50" in out
    )


def test_single_exceptions_are_tried_and_the_release_then_heals_them(world: World) -> None:
    folder = world.folder
    ids = [told(folder, "exceptions", "list", "--key", key)[1]["exceptions"][0]["id"] for key in ("1", "2")]
    code, answer = told(folder, "exceptions", "try", *ids, "--mapping", candidate(world))
    assert code == 0 and answer["tries"][0]["passes"] == 2
    (folder / "mappings/src/people.yaml").write_text((folder / "new.yaml").read_text())
    assert told(folder, "exceptions", "replay", *ids)[0] == 0
    assert world.sql("select name, pay from people order by name") == [("Ada", 1234.5), ("Bob", 7)]


def test_sensitive_values_stay_hidden_and_mistakes_are_told(world: World) -> None:
    folder = world.folder
    world.edit("schemas/person.yaml", "pay: { type: number }", "pay: { type: number, x-sensitive: compensation }")
    _, out, _ = call(folder, "exceptions", "try", "--flow", "people", "--mapping", candidate(world), "--json")
    assert "1234.5" not in out and "••••" in out
    assert call(folder, "exceptions", "try", "--flow", "people", "--mapping", "none.yaml")[0] == 2
    (folder / "bad.yaml").write_text("mapping: src/people\nobject: people\nentity: person\nfields: { name: nmae.( }\n")
    code, _, err = call(folder, "exceptions", "try", "--flow", "people", "--mapping", "bad.yaml")
    assert code == 2 and "E201 bad.yaml:4:" in err
