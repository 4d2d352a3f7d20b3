"""`kill -9` of the relay in the middle: every event arrives, under one id, in order per record; HTTP, NATS and RabbitMQ."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from engine.sdk.cloudevents import CloudEvent, parse
from engine.state import outbox
from engine.state.store import Store
from tests.conftest import Make
from tests.connectors.queue import test_brokers as brokers
from tests.run.test_relay import Receiver

nats, rabbitmq, own = brokers.nats, brokers.rabbitmq, brokers.own
EVENTS, RECORDS, KILLS = 800, 12, 2
QUIET = 2.0
"""Seconds without an event after which a broker has no more."""
BUS = "connection:bus"
CROSSWALK = str(Path(sys.executable).parent / "crosswalk")
Arrived = list[tuple[str, str, int]]
"""(id, record, number) of everything that arrived, in order."""


class Line:
    """A workspace with events to send, and a destination that is asked what it got."""

    def __init__(self, folder: Path, arrived: Callable[[], Arrived], once: bool) -> None:
        self.folder, self.arrived, self.once = folder, arrived, once
        self.store = Store.open("sqlite:///state.db", folder)
        rows = [
            outbox.Fresh("thing.changed.v1", "thing", f"t{n % RECORDS}", f"thing:t{n % RECORDS}",
                         json.dumps({"n": n}).encode(), None, "/crosswalk/t", ((BUS, ""),))
            for n in range(EVENTS)
        ]  # fmt: skip
        with self.store.begin("test") as tx:
            outbox.put(tx, rows)

    def delivered(self) -> int:
        with self.store.read() as tx:
            return int((tx.one("SELECT count(*) FROM event_deliveries WHERE state = 'delivered'") or (0,))[0])

    def ids(self) -> dict[int, str]:
        """Number → id, as the state has them."""
        with self.store.read() as tx:
            return {json.loads(bytes(data))["n"]: str(id) for id, data in tx.rows("SELECT id, data FROM events")}

    def relay(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([CROSSWALK, "events", "relay"], cwd=self.folder, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL, env={**os.environ, "CROSSWALK_SECRET_MQ": "guest"})  # fmt: skip


def workspace(make: Make, bus: dict[str, Any]) -> Path:
    text = f"crosswalk: 1\nname: t\nstate: sqlite:///state.db\nconnections: {{ bus: {json.dumps(bus)} }}\nevents: [{{ to: bus, types: ['thing.*'] }}]\n"
    return make({"crosswalk.yaml": text})


def everything(connector: Any) -> list[CloudEvent]:
    """What a broker has, until nothing more comes for a while."""
    found: list[CloudEvent] = []
    stop, last = threading.Event(), [time.monotonic()]

    def take(headers: Mapping[str, str], body: bytes) -> bool:
        found.extend(parse(headers, body))
        last[0] = time.monotonic()
        return True

    def watch() -> None:
        while time.monotonic() - last[0] < QUIET:
            time.sleep(0.05)
        stop.set()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    connector.consume(take, stop)
    watcher.join()
    return found


def told(event: Any) -> tuple[str, str, int]:
    return event.id, str(event.subject), int(event.data["n"])


@pytest.fixture(params=["http", pytest.param("nats", marks=pytest.mark.service("nats")),
                        pytest.param("rabbitmq", marks=pytest.mark.service("rabbitmq"))])  # fmt: skip
def line(request: pytest.FixtureRequest, make: Make) -> Iterator[Line]:
    if request.param == "http":
        receiver = Receiver()
        bus = {"connector": "cloudevents", "url": receiver.url, "hosts": ["127.0.0.1"], "backoff": "1ms..1ms"}
        found = Line(workspace(make, bus), lambda: [told(one) for one in receiver.got], once=False)
    else:
        name, opened = request.getfixturevalue("own"), request.getfixturevalue(request.param)
        connector = opened()
        if request.param == "nats":
            bus = {"connector": "nats", "url": "nats://127.0.0.1:4222", "stream": name, "prefix": name}
        else:
            brokers.bind(connector, name)
            bus = {
                "connector": "rabbitmq",
                "url": "amqp://guest@127.0.0.1:5672/%2F",
                "password": "${secret:mq}",
                "exchange": name,
            }
        found = Line(workspace(make, bus), lambda: [told(one) for one in everything(connector)],
                     once=request.param == "nats")  # fmt: skip
    yield found
    found.store.close()
    if request.param == "http":
        receiver.close()


def test_every_event_arrives_in_order_whenever_the_relay_is_killed(line: Line) -> None:
    draw, killed = Random(7), 0
    for _ in range(KILLS):
        before, process = line.delivered(), line.relay()
        wanted = before + draw.randrange(1, EVENTS // (KILLS + 1))
        until = time.monotonic() + 60
        while process.poll() is None and line.delivered() < wanted and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(draw.random() * 0.01)  # somewhere inside of the next batch
        killed += process.poll() is None and line.delivered() < EVENTS
        process.kill()
        process.wait()
    assert killed == KILLS, "each time it was in the middle"
    last = line.relay()
    assert last.wait(120) == 0 and line.delivered() == EVENTS
    known = line.ids()
    found = line.arrived()
    if line.once:
        assert len(found) == EVENTS, "the broker drops what it has by its id"
    assert {id for id, _, _ in found} == set(known.values()), "none is lost, none is made up"
    assert all(known[number] == id for id, _, number in found), "one id each"
    seen: set[str] = set()
    first: dict[str, list[int]] = {}
    for id, record, number in found:
        if id not in seen:
            seen.add(id)
            first.setdefault(record, []).append(number)
    assert all(numbers == sorted(numbers) for numbers in first.values()), "in order per record"
    assert len(found) - EVENTS <= KILLS * 200, "only the batch at hand is sent again"
