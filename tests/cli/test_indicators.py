"""`crosswalk indicators`: the figures of a workspace, for people and programs, without what is not theirs to see."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.compile.workspace import problems_of
from engine.spec.workspace import Workspace
from tests.cli.test_commands import call, told
from tests.conftest import Make
from tests.house.test_docs import ROOT, blocks
from tests.run.test_sync import FILES, World, person

OPEN = "indicator: open-people\ntitle: People who wait\nentity: person\nwhere: exceptions\nby: [state]\nlimit: 1\nowner: hr\n"
FAILED = "indicator: bad\nover: exceptions\nwhere: \"state == 'open'\"\nby: [code]\ndashboards: [care]\n"


@pytest.fixture
def world(make: Make) -> World:
    indicators = {"indicators/open-people.yaml": OPEN, "indicators/bad.yaml": FAILED}
    made = World(make({**FILES, **indicators}))
    made.edit("crosswalk.yaml", "name: t", "name: t\nqueues: { hr: {} }")
    rows = [person("1"), person("2", pay="x"), person("3", pay="y"), person("4", "")]
    made.put("people", rows)
    told(made.folder, "run", "teams", "people")
    return made


def test_figures_for_people_and_programs(world: World) -> None:
    code, out, _ = call(world.folder, "indicators", "bad", "--records", "2", "--history")
    assert code == 0 and "code E401: 2\n" in out and "code E420: 1" in out and "(3 rows)" in out
    code, found = told(world.folder, "indicators", "--dashboard", "care")
    assert [one["indicator"] for one in found["indicators"]] == ["bad"]
    bad = found["indicators"][0]
    assert (bad["value"], bad["unit"], bad["over"], bad["error"]) == (3, "number", False, None)
    assert [(one["by"], one["count"]) for one in bad["groups"]] == [({"code": "E401"}, 2), ({"code": "E420"}, 1)]


def test_what_the_workspace_has_flows_for_is_shown(world: World) -> None:
    names = [one["indicator"] for one in told(world.folder, "indicators")[1]["indicators"]]
    assert {"bad", "open-people", "exception-age", "throughput"} <= set(names)
    assert "time-not-invoiced" not in names, "no flow here brings time"
    read = next(one for one in told(world.folder, "indicators", "throughput")[1]["indicators"])
    assert read["value"] == 5, "a team and four people"


def test_what_cannot_be_computed_says_why_and_the_others_go_on(world: World) -> None:
    world.edit("indicators/open-people.yaml", "where: exceptions", "where: \"days_between(name, '2026-01-01') > `1`\"")
    code, out, _ = call(world.folder, "indicators", "open-people", "bad")
    assert code == 3 and "E381 indicators/open-people.yaml:4:8 open-people cannot be computed for" in out
    assert "code E401: 2" in out


def test_an_unknown_name_is_told_with_the_nearest(world: World) -> None:
    code, _, err = call(world.folder, "indicators", "bat")
    assert code == 2 and "E101" in err and "did you mean 'bad'?" in err


def test_the_guide_is_sound(make: Make) -> None:
    settings = "crosswalk: 1\nname: t\nqueues: { pmo: {} }\n"
    (indicator,) = blocks(ROOT / "docs/indicators.md")
    folder: Path = make({"crosswalk.yaml": settings, "indicators/stale-deals.yaml": indicator})
    assert problems_of(Workspace.open(folder)) == []
