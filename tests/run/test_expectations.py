"""`expect`: what a flow is to keep, judged when a run is over, and by `doctor` and `runs list` where none comes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from engine.cli.main import main
from engine.run.expectations import spoken
from engine.state import alerts
from engine.state.store import Store, instant
from tests.conftest import Make
from tests.run.test_sync import FILES, World, person

CUT = timedelta(days=2)


class Watched(World):
    """A world whose flow is to keep something; commands are run in it."""

    def expect(self, text: str) -> None:
        self.edit("flows/people.yaml", "guard:", f"expect: {{ {text} }}\nguard:")

    def store(self) -> Store:
        return Store.open("sqlite:///.crosswalk/state.db", self.folder)

    def alerts(self, *, everything: bool = False) -> list[tuple[str, str, str, str]]:
        """(expectation, limit, reached, state)"""
        store = self.store()
        with store.read() as tx:
            found = [
                (one.expectation, one.bound, one.reached, one.state) for one in alerts.listed(tx, everything=everything)
            ]
        store.close()
        return found

    def longer_ago(self) -> None:
        """As if everything so far had happened two days earlier."""
        store, then = self.store(), instant(datetime.now(UTC) - CUT)
        with store.begin() as tx:
            tx.run("UPDATE runs SET started_at = ?, finished_at = ?", (then, then))
        store.close()

    def command(self, *words: str) -> Any:
        return CliRunner().invoke(main, [*words, "--workspace", str(self.folder)], standalone_mode=False)


@pytest.fixture
def world(make: Make) -> Watched:
    return Watched(make(FILES))


def modified(ago: timedelta = timedelta()) -> str:
    return (datetime.now(UTC) - ago).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_too_many_errors_open_an_alert_that_closes_itself_once_they_are_few(world: Watched) -> None:
    world.expect("errors_below: 25%")
    world.put("people", [person("1"), person("2", pay="x"), person("3", "C"), person("4", "D")])
    assert world.run()["state"] == "partial"
    assert world.alerts() == [("errors_below", "25%", "25.00% (1 of 4)", "open")], "25% is not below 25%"
    world.put(
        "people", [person("1"), person("2", pay=1, at="2026-02-01T00:00:00Z"), person("3", "C"), person("4", "D")]
    )
    world.run(full=True)
    assert world.alerts() == []
    assert [state for *_, state in world.alerts(everything=True)] == ["closed"]


def test_an_alert_that_stays_keeps_its_beginning_and_tells_the_newest_figures(world: Watched) -> None:
    world.expect("errors_below: 10%")
    world.put("people", [person("1", pay="x"), person("2", "B")])
    world.run()
    world.put("people", [person("1", pay="x"), person("2", "B", pay="y")])
    world.run(full=True)
    assert world.alerts(everything=True) == [("errors_below", "10%", "100.00% (2 of 2)", "open")]


def test_a_run_that_never_starts_is_missed_by_doctor_and_by_the_list_of_runs(world: Watched) -> None:
    world.expect("fresh_within: 26h")
    world.put("people", [person("1")])
    told = world.command("doctor")
    assert told.return_value == 1 and "LOOK people: `fresh_within: 26h` is missed: never ran" in told.output
    world.run()
    assert world.alerts() == []
    assert world.command("doctor").return_value == 0
    world.longer_ago()
    told = world.command("runs", "list", "--json")
    (alert,) = json.loads(told.output)["alerts"]
    assert (alert["flow"], alert["limit"], alert["reached"], alert["state"]) == ("people", "26h", "2d", "open")
    assert "ALERT people: `fresh_within: 26h` is missed: 2d" in world.command("runs", "list").output
    world.run()
    assert json.loads(world.command("runs", "list", "--json").output)["alerts"] == []


def test_a_failed_run_is_not_fresh_and_a_plan_or_a_replay_does_not_count(world: Watched) -> None:
    world.expect("fresh_within: 1d")
    world.put("people", [person("1")])
    world.run()
    world.longer_ago()
    world.run(plan=True, trigger="plan")
    world.run(replay=True, trigger="replay")
    world.put("people", [])
    assert world.run(full=True)["state"] == "held"
    assert [one[:2] for one in world.alerts()] == [("fresh_within", "1d")]


@pytest.mark.parametrize(("limit", "missed"), [("15m p95", True), ("15m p50", False), ("3h max", False)])
def test_deliveries_are_timed_from_the_change_to_the_confirmed_write(world: Watched, limit: str, missed: bool) -> None:
    world.expect(f"delivered_within: {limit}")
    old = timedelta(days=30)
    world.put("people", [person(str(n), f"P{n}", at=modified(old)) for n in range(10)])
    assert world.run()["created"] == 10
    assert world.alerts() == [], "a first load of old records is no measure"
    late = [person("0", "Late", at=modified(timedelta(hours=2)))]
    world.put("people", late + [person(str(n), f"Q{n}", at=modified()) for n in range(1, 10)])
    assert world.run()["updated"] == 10
    assert [one[:2] for one in world.alerts()] == ([("delivered_within", limit)] if missed else [])
    if missed:
        assert world.alerts()[0][2].startswith("2h")


def test_what_is_expected_no_more_is_missed_no_more(world: Watched) -> None:
    world.expect("errors_below: 10%")
    world.put("people", [person("1", pay="x")])
    world.run()
    assert len(world.alerts()) == 1
    world.edit("flows/people.yaml", "expect: { errors_below: 10% }\n", "")
    world.run()
    assert world.alerts() == []


def test_a_run_tells_its_alerts_in_words_and_in_json(world: Watched, tmp_path: Path) -> None:
    world.expect("errors_below: 2%")
    world.put("people", [person("1", pay="x")])
    told = world.command("run", "people")
    assert "ALERT people: `errors_below: 2%` is missed: 100.00% (1 of 1), since 20" in told.output
    answer = json.loads(world.command("run", "people", "--json").output)
    assert [one["expectation"] for one in answer["alerts"]] == ["errors_below"] and set(answer) == {"runs", "alerts"}


def test_times_are_told_in_their_two_largest_units() -> None:
    spans = {
        timedelta(): "0s",
        timedelta(minutes=15, seconds=20): "15m 20s",
        timedelta(days=2, hours=1, minutes=4): "2d 1h",
    }
    assert {span: spoken(span) for span in spans} == spans
