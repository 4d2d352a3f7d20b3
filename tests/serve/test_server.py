"""One process: lanes, stopping, cancelling, and a death at every commit."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest

from connectors.files import FilesConnector
from engine.run.units import perform_all
from engine.serve.executor import LocalExecutor
from engine.state import alerts, inbox, runs, ticks, units
from engine.state.crashpoints import around
from tests.run.test_sync import person
from tests.serve.world import TRIGGER, Served, until


class Gate:
    """Holds reads of the source until it is opened."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()

    def wait(self) -> None:
        self.reached.set()
        assert self.open.wait(60)


@pytest.fixture
def gate() -> Iterator[Gate]:
    usual, found = FilesConnector.read, Gate()

    def slow(self: Any, request: Any) -> Any:
        if request.object == "people":
            found.wait()
        yield from usual(self, request)

    with patch.object(FilesConnector, "read", slow):
        yield found
        found.open.set()


def ask(world: Served, flow: str, lane: str = "bulk", **payload: Any) -> None:
    with world.store.begin() as tx:
        units.put(tx, "flow", flow, lane=lane, payload={"trigger": "event test", **payload})


def test_a_lane_that_is_full_keeps_no_other_lane_waiting(served: Served, gate: Gate) -> None:
    served.put("people", [person("1")])
    executor = LocalExecutor(served.work())
    executor.serve(("bulk", "webhook"), {"bulk": 1, "webhook": 1})
    ask(served, "people")
    assert gate.reached.wait(60)
    ask(served, "teams", "webhook")
    executor.dispatch()
    until(lambda: [run.state for run in served.runs("teams")] == ["succeeded"])
    until(lambda: executor.health() == {"taking": True, "in_hand": {"bulk": 1, "webhook": 0}})
    gate.open.set()
    until(lambda: executor.idle)
    executor.close()
    assert served.names() == ["Ada"] and executor.health()["taking"] is False


def test_a_gentle_stop_lets_what_is_in_hand_end(served: Served, gate: Gate) -> None:
    served.put("people", [person("1")])
    ask(served, "people")
    server = served.server()
    server.start()
    assert gate.reached.wait(60)
    ask(served, "teams")
    threading.Timer(0.2, gate.open.set).start()
    server.stop(grace=60)
    assert [run.state for run in served.runs("people")] == ["succeeded"]
    assert served.names() == ["Ada"]


def test_a_stop_in_the_middle_of_a_tick_comes_to_its_end(served: Served) -> None:
    server = served.server()
    looking, stopping = threading.Event(), threading.Event()

    def slow(patient: bool = False) -> float:
        looking.set()
        assert stopping.wait(60)
        threading.Event().wait(0.3)  # the stop has the clock in hand by now
        return 1.0

    with patch.object(server.scheduler, "look", slow):
        server.start()
        assert looking.wait(60)
        thread = threading.Thread(target=server.stop, args=(5.0,), daemon=True)
        thread.start()
        stopping.set()
        thread.join(30)
    assert not thread.is_alive(), "the tick waits for the clock, and the clock for the tick"


def test_what_does_not_end_in_time_is_parked_and_goes_on_at_the_next_start(served: Served, gate: Gate) -> None:
    served.put("people", [person("1")])
    ask(served, "people")
    server = served.server()
    server.start()
    assert gate.reached.wait(60)
    threading.Timer(0.3, gate.open.set).start()
    server.stop(grace=0.05)
    assert [run.state for run in served.runs("people")] == ["cancelled"]
    assert served.rows("SELECT state, attempts FROM units WHERE kind = 'flow'") == [("ready", 0)]
    assert served.events()[-1]["parked"] is True
    served.once()
    assert served.names() == ["Ada"]
    assert [run.state for run in served.runs("people")] == ["cancelled", "succeeded"]


def test_a_run_of_serve_can_be_cancelled_and_does_not_begin_again(served: Served, gate: Gate) -> None:
    served.put("people", [person("1")])
    ask(served, "people")
    executor = LocalExecutor(served.work())
    executor.serve()
    assert gate.reached.wait(60)
    (run,) = served.runs("people")
    with served.store.begin() as tx:
        runs.ask_to_stop(tx, run.id)
    threading.Timer(1.5, gate.open.set).start()  # it listens every second
    until(lambda: [one.state for one in served.runs("people")] == ["cancelled"])
    until(lambda: executor.idle)
    executor.close()
    assert served.rows("SELECT state FROM units WHERE kind = 'flow'") == [("done",)]


def test_a_worker_that_is_gone_leaves_its_units_to_others(served: Served) -> None:
    served.put("people", [person("1")])
    ask(served, "people")
    with served.store.begin() as tx:
        import socket

        assert units.claim(tx, f"{socket.gethostname()}:999999999", ["bulk"]) != []
    assert [run["state"] for run in served.once()] == ["succeeded"]
    assert [one["units"] for one in served.events() if one["event"] == "worker gone"] == [1]


def test_a_tick_without_a_unit_gets_one(served: Served) -> None:
    served.flow("people", 'trigger: [{ schedule: "0 0 1 1 *" }]\n')
    served.put("people", [person("1")])
    with served.store.begin() as tx:
        ticks.note(tx, "people", "2026-01-01T00:00:00.000000Z", "due", tx.now())
    served.once()
    assert [run.trigger for run in served.runs()] == ["schedule 2026-01-01T00:00:00.000000Z"]


def test_a_flow_that_cannot_run_is_given_up_and_its_next_tick_counts(served: Served) -> None:
    served.flow("people", 'trigger: [{ schedule: "* * * * *" }]\n')
    served.put("people", [person("1")])
    path = served.folder / "flows/people.yaml"
    text = path.read_text()
    path.write_text(text.replace("mapping: dw/people", "mapping: dw/peeple"))
    server = served.server()
    served.scheduler().look()
    served.looked(timedelta(minutes=1))
    served.leaderless()
    server.once()
    assert [tick.state for tick in served.ticks()] == ["over"] and server.work.gave_up == 1
    with served.store.read() as tx:
        ((kind, key, why),) = units.given_up(tx)
    assert (kind, key) == ("flow", "people") and why.startswith("E101 flows/people.yaml:")
    path.write_text(text)
    served.looked(timedelta(minutes=1))
    with served.store.begin() as tx:
        tx.run("DELETE FROM ticks")
    served.once()
    assert [tick.state for tick in served.ticks()] == ["over"] and served.names() == ["Ada"]


class Died(BaseException):
    """The process is killed here."""


POINTS = [*around(("inbox", "lease", "pin", "T1", "T2", "finish", "release"), "commit:"), *around(("read",))]


@pytest.mark.parametrize("point", POINTS)
def test_a_death_at_any_commit_of_a_drain_loses_and_doubles_nothing(served: Served, point: str) -> None:
    served.flow("people", TRIGGER)
    served.put("people", [person("1"), person("2", name="Bea")])
    with served.store.begin() as tx:
        for number in (1, 2):
            inbox.put(tx, "src", f"e{number}", "people", str(number), None, path="src/people")

    def die(name: str) -> None:
        if name == point:
            raise Died

    with served.store.begin() as tx:
        held = units.claim(tx, "gone:1", ["webhook"], 10)
    served.store.crashpoint = die
    with contextlib.suppress(Died):
        perform_all(served.work(), held)
    served.store.crashpoint = lambda name: None
    served.older(400)
    served.once()
    assert served.names() == ["Ada", "Bea"]
    assert served.rows("SELECT DISTINCT state FROM inbox") == [("done",)]
    assert served.rows("SELECT count(*) FROM operations WHERE state IN ('sent', 'in_doubt', 'planned')") == [(0,)]


@pytest.mark.parametrize("point", [*around(("unit", "lease", "finish", "release"), "commit:"), "after read"])
def test_a_death_at_any_commit_of_a_tick_gives_it_one_run_to_its_end(served: Served, point: str) -> None:
    served.flow("people", 'trigger: [{ schedule: "0 0 1 1 *" }]\n')
    served.put("people", [person("1")])
    with served.store.begin() as tx:
        ticks.note(tx, "people", "2026-01-01T00:00:00.000000Z", "due", tx.now())
        units.put(tx, "flow", "people", lane="bulk")
        held = units.claim(tx, "gone:1", ["bulk"])

    def die(name: str) -> None:
        if name == point:
            raise Died

    served.store.crashpoint = die
    with contextlib.suppress(Died):
        perform_all(served.work(), held)
    served.store.crashpoint = lambda name: None
    served.older(400)
    served.once()
    mine = [run.state for run in served.runs("people") if run.trigger.startswith("schedule")]
    assert mine.count("succeeded") == 1 and set(mine) <= {"succeeded", "failed", "cancelled"}
    assert [tick.state for tick in served.ticks()] == ["over"] and served.names() == ["Ada"]


def test_indicators_are_computed_now_and_then_and_over_their_limit_open_an_alert(served: Served) -> None:
    (served.folder / "indicators").mkdir()
    text = "indicator: broken\nover: exceptions\nwhere: \"state == 'open'\"\nlimit: 0\n"
    (served.folder / "indicators/broken.yaml").write_text(text)
    bad = "indicator: bad\nentity: person\nwhere: \"is_before(name, '2026-01-01')\"\n"
    (served.folder / "indicators/bad.yaml").write_text(bad)
    served.put("people", [person("1"), person("2", pay="x")])
    served.run()
    served.once()
    with served.store.read() as tx:
        opened = [(one.flow, one.reached) for one in alerts.listed(tx)]
    assert opened == [("indicator/broken", "1")]
    said = [one["indicator"] for one in served.events() if one["event"] == "indicator failed"]
    assert said == ["bad"], "one that cannot be computed is told, and the others go on"


def test_a_process_is_looked_at_again_when_its_timer_says_so(served: Served) -> None:
    with served.store.begin() as tx:
        units.put(tx, "process", "p-1", lane="interactive")
    due: list[str | None] = ["2999-01-01T00:00:00.000000Z", None]
    seen = []

    def advance(runner: Any, instance: str) -> str | None:
        seen.append(instance)
        return due.pop(0)

    with patch("engine.run.units.advance", advance):
        served.once()
        assert served.rows("SELECT state, due, attempts FROM units WHERE kind = 'process'") == [
            ("ready", "2999-01-01T00:00:00.000000Z", 0)
        ]
        with served.store.begin() as tx:
            units.put(tx, "process", "p-1", lane="interactive")  # an event wakes it before its time
        served.once()
    assert seen == ["p-1", "p-1"] and served.rows("SELECT state FROM units WHERE kind = 'process'") == [("done",)]


def test_writes_in_doubt_that_no_run_settles_are_settled(served: Served) -> None:
    served.put("people", [person("1")])
    served.once()
    doubts = patch("engine.state.operations.doubts", lambda tx: {"dw": "2026-01-01T00:00:00.000000Z"})
    with doubts, patch("engine.state.operations.flows_in_doubt", lambda tx, connection: ["people"]):
        assert [(run["flow"], run["state"]) for run in served.once()] == [("people", "succeeded")]
    assert [run.trigger for run in served.runs()] == ["replay"] and served.names() == [], "it reads nothing new"
