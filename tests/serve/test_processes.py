"""`serve` as real processes: started, asked how it is, stopped, killed; two on one state, one of them killed."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from engine.state import leases
from engine.state.store import instant, moment_of
from tests.conftest import Make
from tests.run.test_sync import FILES, person
from tests.serve.process import Process
from tests.serve.world import TRIGGER, Served, until


def fifty_megabytes(process: Process) -> int:
    """The status that a call is answered with which would send so much; read before much of it was sent."""
    host, port = process.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as call:
        call.sendall(f"POST /hooks/src/people HTTP/1.1\r\nHost: x\r\nContent-Length: {50 * 2**20}\r\n\r\n".encode())
        return int(call.recv(1000).split()[1])


Start = Callable[..., Process]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts processes; those that still run in the end are killed."""
    begun: list[Process] = []

    def begin(world: Served, *words: str) -> Process:
        begun.append(Process(world.folder, *words))
        return begun[-1]

    yield begin
    for one in begun:
        if one.process.poll() is None:
            one.kill()


def test_a_webhook_goes_through_a_process_that_tells_how_it_is_and_stops_gently(served: Served, start: Start) -> None:
    served.flow("people", TRIGGER)
    served.put("people", [person("1", name="Canary")])
    process = start(served)
    assert process.get("/health") == (200, {"status": "alive"})
    ready = {"ready": True, "state": True, "leader": True, "workers": True, "backlog": {}, "inbox": {}}
    until(lambda: process.get("/ready") == (200, ready))  # the first computation of the indicators may still wait
    assert process.post({"id": "1", "event": "e1"}) == 202
    assert process.post({"id": "1", "event": "e1"}, path="/hooks/other") == 404
    assert fifty_megabytes(process) == 413
    until(lambda: served.names() == ["Canary"])
    until(lambda: process.told("run over") != [])
    assert process.stop() == 0
    assert process.told("stopped") == [{**process.told("stopped")[0], "parked": False}]
    text = process.log.read_text()
    assert "Canary" not in text and "x-signature" not in text and "Traceback" not in text
    with served.store.read() as tx:
        assert not leases.taken(tx, "serve:leader"), "another one may lead at once"


def test_what_was_acknowledged_outlives_a_kill(served: Served, start: Start) -> None:
    served.flow("people", TRIGGER)
    served.put("people", [person(str(number), name=f"n{number}") for number in range(10)])
    with served.store.begin() as tx:  # somebody runs the flow just now, so nothing is done about what comes
        lease = leases.claim(tx, "flow:people", owner="elsewhere:1")
        assert lease is not None
    first = start(served)
    for number in range(10):
        assert first.post({"id": str(number), "event": f"e{number}"}) == 202
    first.kill()
    assert served.names() == []
    with served.store.begin() as tx:
        leases.release(tx, lease)
    second = start(served)
    until(lambda: len(served.names()) == 10)
    assert second.stop() == 0
    assert served.names() == [f"n{number}" for number in range(10)]
    assert served.rows("SELECT DISTINCT state FROM inbox") == [("done",)]


@pytest.mark.service("postgresql")
def test_two_replicas_one_is_killed_and_no_tick_is_lost_or_doubled(make: Make, postgres: str, start: Start) -> None:
    world = Served(make(FILES), postgres)
    try:
        world.put("people", [person("1")])
        world.flow("people", 'trigger: [{ schedule: "* * * * *" }]\ncatch_up: all\noverlap: queue\n')
        one, other = start(world), start(world)
        until(lambda: one.told("leader") != [] or other.told("leader") != [])
        leading, following = (one, other) if one.told("leader") else (other, one)
        until(lambda: world.rows("SELECT count(*) FROM schedules") == [(1,)])
        assert following.told("leader") == []

        def back(minutes: int) -> list[str]:
            """As if nobody had looked for so long; the ticks of that time."""
            with world.store.begin("age") as tx:
                now = moment_of(tx.now())
                tx.run("UPDATE schedules SET upto = ?", (instant(now - timedelta(minutes=minutes)),))
            full = now.replace(second=0, microsecond=0)
            return [instant(full - timedelta(minutes=number)) for number in range(minutes)]

        wanted = set(back(6))
        leading.kill()
        until(lambda: len([tick for tick in world.ticks() if tick.state == "over"]) >= 2)
        following.kill()
        third = start(world)
        until(lambda: world.rows("SELECT count(*) FROM ticks WHERE state IN ('due', 'started')") == [(0,)])
        assert third.stop() == 0
        ticks = world.ticks()
        assert wanted <= {tick.scheduled_for for tick in ticks} and {tick.state for tick in ticks} == {"over"}
        ended: dict[str, list[Any]] = {}
        for run in world.runs("people"):
            ended.setdefault(run.trigger, []).append(run)
        assert set(ended) == {f"schedule {tick.scheduled_for}" for tick in ticks}
        for runs in ended.values():
            assert [run.state for run in runs].count("succeeded") == 1, "one run to its end, whatever was killed"
            assert {run.error["code"] for run in runs if run.state == "failed"} <= {"R602"}
        assert world.names() == ["Ada"]
    finally:
        world.store.close()
