"""Schedules: a tick starts one run, whoever sees it and however often; what was missed is what `catch_up` says."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from engine.run.units import perform
from engine.serve.leader import Leader
from engine.state import leases, ticks, units
from engine.state.store import instant, moment_of
from tests.run.test_sync import person
from tests.serve.world import Served

EVERY_MINUTE = 'trigger: [{ schedule: "* * * * *" }]\n'


def states(world: Served, flow: str = "people") -> list[str]:
    return [one.state for one in world.ticks(flow)]


def test_a_new_schedule_has_missed_nothing(both: Served) -> None:
    both.flow("people", EVERY_MINUTE + "catch_up: all\n")
    assert 0 < both.scheduler().look() <= 60
    assert both.ticks() == []


def test_a_tick_starts_one_run_however_many_look(both: Served) -> None:
    both.put("people", [person("1")])
    both.flow("people", EVERY_MINUTE)
    scheduler = both.scheduler()
    scheduler.look()
    both.looked(timedelta(minutes=1))
    for _ in range(3):
        scheduler.forget()
        scheduler.look()
        both.looked(timedelta(minutes=1))
    (tick,) = both.ticks()
    assert tick.state == "due" and tick.scheduled_for.endswith(":00.000000Z")
    assert [run["state"] for run in both.once()] == ["succeeded"]
    (run,) = both.runs("people")
    (tick, *_) = both.ticks()
    assert (run.trigger, tick.state, tick.run) == (f"schedule {tick.scheduled_for}", "over", run.id)
    assert both.names() == ["Ada"]


def test_who_is_not_the_leader_any_more_notes_nothing(both: Served) -> None:
    both.flow("people", EVERY_MINUTE)
    late = both.scheduler()
    late.look()
    both.looked(timedelta(minutes=1))
    late.forget()
    with both.store.begin() as tx:
        tx.run("UPDATE leases SET expires_at = ''")
        assert leases.claim(tx, "serve:leader", owner="elsewhere:1") is not None
    late.look()
    assert both.ticks() == []
    assert not Leader(both.store).stand() and Leader(both.store).known()


@pytest.mark.parametrize(
    ("catch_up", "noted"), [("skip", ["dropped"]), ("one", ["dropped", "due"]), ("all", ["due"] * 5)]
)
def test_missed_ticks_are_caught_up_as_the_flow_says(served: Served, catch_up: str, noted: list[str]) -> None:
    served.flow("people", f'trigger: [{{ schedule: "0 * * * *" }}]\ncatch_up: {catch_up}\n')
    scheduler = served.scheduler()
    scheduler.look()
    with served.store.read() as tx:
        now = moment_of(tx.now())
    served.looked(timedelta(hours=5))
    scheduler.forget()
    scheduler.look()
    if now.minute == 0:  # at the full hour the last one is on time
        return
    assert states(served) == noted
    if catch_up != "all":
        why = served.ticks()[0].why
        count = 5 if catch_up == "skip" else 4
        assert why == f"{count} missed while nothing ran; catch_up is {catch_up}"
        assert [one["count"] for one in served.events() if one["event"] == "ticks dropped"] == [count]


def test_catching_up_is_bounded_and_says_what_was_dropped(served: Served) -> None:
    served.flow("people", EVERY_MINUTE + "catch_up: all\noverlap: queue\n")
    scheduler = served.scheduler()
    scheduler.look()
    served.looked(timedelta(days=1))
    scheduler.forget()
    scheduler.look()
    assert states(served).count("due") == 100
    (dropped,) = [one for one in served.ticks() if one.state == "dropped"]
    assert dropped.why is not None and dropped.why.startswith(("1340 missed", "1339 missed", "1341 missed"))


def test_all_missed_ticks_get_a_run_each_one_after_the_other(served: Served) -> None:
    served.flow("people", 'trigger: [{ schedule: "0 * * * *" }]\ncatch_up: all\n')
    scheduler = served.scheduler()
    scheduler.look()
    served.looked(timedelta(hours=3))
    scheduler.forget()
    scheduler.look()
    served.once()
    noted = [one.scheduled_for for one in served.ticks()]
    assert len(noted) >= 3 and states(served) == ["over"] * len(noted)
    assert [run.trigger for run in served.runs("people")] == [f"schedule {one}" for one in noted]


@pytest.mark.parametrize(("overlap", "state", "left"), [("skip", "skipped", 0), ("queue", "due", 1)])
def test_a_tick_while_the_flow_runs(served: Served, overlap: str, state: str, left: int) -> None:
    served.flow("people", EVERY_MINUTE + f"overlap: {overlap}\n")
    scheduler = served.scheduler()
    scheduler.look()
    with served.store.begin() as tx:
        ticks.note(tx, "people", "2026-01-01T00:00:00.000000Z", "started", tx.now())
        units.put(tx, "flow", "people", lane="bulk")
        (unit,) = units.claim(tx, "me", ["bulk"])
    served.looked(timedelta(minutes=1))
    scheduler.forget()
    scheduler.look()
    assert states(served) == ["started", state]
    with served.store.begin() as tx:
        ticks.move(tx, "people", "2026-01-01T00:00:00.000000Z", "over")
        units.done(tx, unit)
        assert len(units.claim(tx, "me", ["bulk"])) == left


def test_a_run_of_the_command_line_makes_a_tick_skip_or_wait(served: Served) -> None:
    served.put("people", [person("1")])
    served.flow("people", EVERY_MINUTE)
    for overlap, expected in (("skip", "skipped"), ("queue", "due")):
        if overlap == "queue":
            served.edit("flows/people.yaml", "trigger:", "overlap: queue\ntrigger:")
        with served.store.begin() as tx:
            assert leases.claim(tx, "flow:people", owner="elsewhere:1") is not None
            ticks.note(tx, "people", f"2026-01-01T00:00:0{len(overlap)}.000000Z", "due", tx.now())
            units.put(tx, "flow", "people", lane="bulk")
            (unit,) = units.claim(tx, "me", ["bulk"])
        perform(served.workspace(), served.store, unit)
        assert expected in states(served)
        with served.store.begin() as tx:
            tx.run("UPDATE leases SET expires_at = '' WHERE name = 'flow:people'")
    assert {one["state"] for one in served.once()} == {"succeeded"}
    assert sorted(states(served)) == ["over", "skipped"]


def test_a_flow_that_is_off_or_paused_has_no_ticks(served: Served) -> None:
    served.flow("people", EVERY_MINUTE + "catch_up: all\n")
    served.flow("teams", EVERY_MINUTE + "mode: off\n")
    scheduler = served.scheduler()
    assert [one.flow for one in scheduler.entries] == ["people"]
    with served.store.begin() as tx:
        ticks.pause(tx, "people", "ada", "month end")
    scheduler.look()
    served.looked(timedelta(minutes=5))
    scheduler.forget()
    scheduler.look()
    with served.store.begin() as tx:
        ticks.resume(tx, "people")
    scheduler.forget()
    scheduler.look()
    assert served.ticks() == [], "what came in the pause does not come after it"


def test_jitter_puts_the_start_off_and_not_the_tick(served: Served) -> None:
    served.flow("people", 'trigger: [{ schedule: "* * * * *", jitter: 1h }]\n')
    scheduler = served.scheduler()
    scheduler.look()
    served.looked(timedelta(minutes=1))
    scheduler.forget()
    scheduler.look()
    (tick,) = served.ticks()
    ((due,),) = served.rows("SELECT due FROM units")
    assert tick.scheduled_for < due <= instant(moment_of(tick.scheduled_for) + timedelta(hours=1))


def test_a_schedule_that_was_taken_away_and_comes_back_is_new(served: Served) -> None:
    path = served.folder / "flows/people.yaml"
    plain = path.read_text()
    served.flow("people", EVERY_MINUTE + "catch_up: all\n")
    scheduled = path.read_text()
    served.scheduler().look()
    served.looked(timedelta(hours=1))
    path.write_text(plain + 'trigger: [{ schedule: "0 0 1 1 *" }]\n')
    served.scheduler().look()
    path.write_text(scheduled)
    served.scheduler().look()
    assert served.ticks() == []


def test_flows_that_follow_run_when_the_earlier_one_has_ended(served: Served) -> None:
    served.put("people", [person("1", team="t1")])
    served.flow("teams", EVERY_MINUTE)
    served.flow("people", "trigger: [{ after: teams }]\n")
    scheduler = served.scheduler()
    scheduler.look()
    served.looked(timedelta(minutes=1))
    served.once()
    assert [(run.flow, run.trigger[:8]) for run in served.runs()] == [("teams", "schedule"), ("people", "after te")]
    served.edit("crosswalk.yaml", "path: data", "path: nowhere")
    served.looked(timedelta(minutes=1))
    with served.store.begin() as tx:
        tx.run("DELETE FROM ticks")
    served.once()
    assert [run.flow for run in served.runs()].count("people") == 1, "nothing follows a failed run"


def test_a_folder_of_ticks_ends(served: Served, tmp_path: Path) -> None:
    """Ticks and units that are over go after a while; those that wait stay."""
    from engine.state.care import prune

    with served.store.begin() as tx:
        for number, state in enumerate(("over", "due", "skipped", "started")):
            ticks.note(tx, "people", f"2026-01-0{number + 1}T00:00:00.000000Z", state, "2026-01-01T00:00:00.000000Z")
        units.put(tx, "flow", "people", lane="bulk", due="2026-01-01T00:00:00.000000Z")
        (unit,) = units.claim(tx, "me", ["bulk"])
        units.done(tx, unit)
    removed = prune(served.store, {})
    assert (removed["ticks"], removed["units"], states(served)) == (2, 1, ["due", "started"])
