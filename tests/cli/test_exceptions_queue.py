"""Exceptions as work: alike ones together, who has them, in which queue, with which words."""

from __future__ import annotations

import pytest

from engine.state.store import Store
from tests.cli.test_commands import call, told
from tests.conftest import Make
from tests.run.test_sync import FILES, World, person


@pytest.fixture
def world(make: Make) -> World:
    made = World(make(FILES))
    made.edit("crosswalk.yaml", "name: t", "name: t\nqueues: { hr: {}, pmo: {} }")
    made.edit("flows/people.yaml", "kind: sync", "kind: sync\nowner: hr")
    rows = [person("1"), person("2", pay="x"), person("3", pay="y"), person("4", team="nowhere"), person("5", "")]
    made.put("people", rows)
    told(made.folder, "run", "teams", "people")
    return made


def aged(world: World, key: str, opened: str) -> None:
    store = Store.open("sqlite:///.crosswalk/state.db", world.folder)
    with store.begin() as tx:
        tx.run("UPDATE exceptions SET opened_at = ? WHERE key = ?", (opened, key))
    store.close()


def keys(world: World, *words: str) -> list[str]:
    return sorted(one["key"] for one in told(world.folder, "exceptions", "list", *words)[1]["exceptions"])


def test_failures_alike_are_one_group_with_their_age_and_queue(world: World) -> None:
    aged(world, "3", "2026-01-02T00:00:00.000000Z")
    _, found = told(world.folder, "exceptions", "list", "--group")
    first = found["groups"][0]
    assert (first["count"], first["open"], first["waiting"], first["code"], first["queue"]) == (2, 2, 0, "E401", "hr")
    assert first["oldest"] == "2026-01-02T00:00:00.000000Z" < first["newest"]
    assert [one["waiting"] for one in found["groups"] if one["code"] == "E405"] == [1]
    assert keys(world, "--fingerprint", first["fingerprint"][:10]) == ["2", "3"]
    _, out, _ = call(world.folder, "exceptions", "list", "--group")
    assert (
        f"{first['fingerprint'][:12]}  2 (2 open, 0 waiting)  2026-01-02 to " in out
        and "4 exceptions in 3 groups" in out
    )


def test_lists_are_narrowed_by_whatever_tells_them_apart(world: World) -> None:
    aged(world, "3", "2026-01-02T00:00:00.000000Z")
    assert keys(world, "--older-than", "3d") == ["3"]
    assert keys(world, "--class", "validation") == ["5"]
    assert keys(world, "--class", "mapping", "--flow", "people") == ["2", "3"]
    assert keys(world, "--owner", "") == ["2", "3", "4", "5"]
    code, _, err = call(world.folder, "exceptions", "list", "--older-than", "3 moons")
    assert code == 2 and "X900" in err
    assert call(world.folder, "exceptions", "list", "--class", "odd")[0] == 2


def test_exceptions_are_taken_moved_and_let_go_again(world: World) -> None:
    folder = world.folder
    two = told(folder, "exceptions", "list", "--key", "2")[1]["exceptions"][0]["id"]
    assert told(folder, "exceptions", "assign", two, "--to", "ada", "--queue", "pmo") == (0, {"assigned": [two]})
    assert keys(world, "--owner", "ada") == ["2"] == keys(world, "--queue", "pmo")
    assert "[pmo @ada]" in call(folder, "exceptions", "list", "--key", "2")[1]
    told(folder, "run", "people", "--full")  # it fails again, and stays with whom it was given to
    shown = told(folder, "exceptions", "show", two)[1]["exception"]
    assert (shown["owner"], shown["queue"], shown["attempts"]) == ("ada", "pmo", 2)
    assert shown["notes"][0]["detail"] == {"to": "ada", "queue": "pmo"}
    told(folder, "exceptions", "assign", two, "--nobody")
    assert keys(world, "--owner", "ada") == [] and keys(world, "--queue", "pmo") == ["2"]
    code, _, err = call(folder, "exceptions", "assign", two, "--queue", "pmoo")
    assert code == 2 and "did you mean 'pmo'?" in err
    assert "X900 it is not said to whom" in call(folder, "exceptions", "assign", two)[2]


def test_many_are_handled_at_once_only_with_a_yes(world: World) -> None:
    folder = world.folder
    code, _, err = call(folder, "exceptions", "assign", "--class", "mapping", "--to", "ada")
    assert code == 2 and "X914 2 exceptions would be assigned" in err and keys(world, "--owner", "ada") == []
    assert len(told(folder, "exceptions", "assign", "--class", "mapping", "--to", "ada", "--yes")[1]["assigned"]) == 2
    assert keys(world, "--owner", "ada") == ["2", "3"]
    assert len(told(folder, "exceptions", "assign", "--owned-by", "ada", "--to", "bob", "--yes")[1]["assigned"]) == 2
    told(folder, "exceptions", "discard", "--owner", "bob", "--because", "test data", "--yes")
    assert keys(world) == ["4", "5"]
    assert "X900 nothing to be discarded" in call(folder, "exceptions", "discard", "--because", "x")[2]


def test_words_are_put_on_and_taken_off(world: World) -> None:
    folder = world.folder
    told(folder, "exceptions", "tag", "--in-queue", "hr", "--add", "month-end", "--add", "new", "--yes")
    two = told(folder, "exceptions", "list", "--key", "2")[1]["exceptions"][0]
    assert two["tags"] == ["month-end", "new"]
    told(folder, "exceptions", "tag", two["id"], "--remove", "new", "--add", "month-end")
    assert keys(world, "--tag", "new") == ["3", "4", "5"] and "2" in keys(world, "--tag", "month-end")
    assert "+month-end" in call(folder, "exceptions", "list", "--key", "2")[1]
    detail = told(folder, "exceptions", "show", two["id"])[1]["exception"]["notes"][-1]["detail"]
    assert detail == {"add": "+month-end", "remove": "-new"}
    assert "X900 no tag is given" in call(folder, "exceptions", "tag", two["id"])[2]
