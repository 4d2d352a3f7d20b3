"""Events while serving: they start flows, come in over HTTP and buses into the inbox, and go out by the relay."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import pytest

from connectors.queue.nats import NatsConfig, NatsConnector
from engine.run.events import Routes
from engine.sdk.cloudevents import STRUCTURED, CloudEvent, structured
from engine.sdk.config import ConnectionContext
from engine.sdk.connector import Take
from engine.sdk.errors import ConnectorError, Problem
from engine.serve import consumers
from engine.serve.log import Log
from engine.state.store import StateError
from tests.conftest import need
from tests.run.test_sync import person
from tests.serve.test_webhooks import Caller
from tests.serve.world import Served, until

DOOR = '  door: { connector: cloudevents, url: "https://hr.example/in", accept: "${env:DOOR_TOKEN:-let-me-in}" }\n'
HIRED = CloudEvent("e1", "//hr", "person.hired.v1", "7", "2026-01-01T00:00:00Z", {"n": 7})


def opened(served: Served, text: str = DOOR) -> Served:
    """With a connection that takes events, and a flow that one of them starts."""
    served.edit("crosswalk.yaml", "connections:\n", f"connections:\n{text}")
    served.flow("people", "trigger: [{ event: person.hired }]\n")
    return served


def post(served: Served, body: bytes, path: str = "/events", token: str = "let-me-in", **more: Any) -> Any:
    headers = {"content-type": STRUCTURED, "authorization": f"Bearer {token}"}
    return asyncio.run(Caller(served).call(body, path, headers, **more))


def test_an_event_of_somebody_else_starts_a_flow_once(served: Served) -> None:
    opened(served).put("people", [person("1")])
    served.run("teams")
    for _ in range(2):
        assert post(served, structured(HIRED))[0] == 202
    assert post(served, structured(HIRED), "/events/door")[0] == 202
    assert served.rows("SELECT count(*) FROM inbox") == [(1,)]
    served.once()
    assert [one.trigger for one in served.runs("people")] == ["event person.hired.v1"]
    assert served.names() == ["Ada"]
    served.once()
    assert len(served.runs("people")) == 1
    assert served.rows("SELECT state FROM inbox") == [("done",)]


@pytest.mark.parametrize(
    ("token", "body", "path", "status"),
    [
        ("", structured(HIRED), "/events", 401),
        ("wrong", structured(HIRED), "/events", 401),
        ("wrong", b"x", "/events", 401),
        ("let-me-in", b"{", "/events", 400),
        ("let-me-in", b"x" * (2**20 + 1), "/events", 413),
        ("let-me-in", structured(HIRED), "/events/src", 404),
    ],
)
def test_what_is_no_event_or_bears_no_token_is_refused_in_silence(
    served: Served, token: str, body: bytes, path: str, status: int
) -> None:
    opened(served)
    answer = post(served, body, path, token)
    assert answer[0] == status and answer[2] == b""
    assert served.rows("SELECT count(*) FROM inbox") == [(0,)]
    assert "let-me-in" not in served.said.getvalue()


def test_a_sender_may_ask_whether_it_may_send(served: Served) -> None:
    call = Caller(opened(served)).call
    status, headers, _ = asyncio.run(call(b"", "/events", {"webhook-request-origin": "hr.example"}, method="OPTIONS"))
    assert status == 200 and headers["webhook-allowed-origin"] == "hr.example"


def test_what_a_run_makes_starts_the_next_flow_for_its_records(served: Served) -> None:
    text = (served.folder / "flows/people.yaml").read_text()
    follow = text.replace("flow: people", "flow: follow")
    (served.folder / "flows/follow.yaml").write_text(follow + "trigger: [{ event: person.created }]\n")
    served.run("teams")
    served.put("people", [person("1"), person("2")])
    served.run("people")
    served.once()
    (run,) = served.runs("follow")
    assert run.trigger == "event person.created.v1" and run.counts["read"] == 2
    assert served.rows("SELECT DISTINCT state FROM event_deliveries") == [("delivered",)]


class Bus:
    """A bus in memory: what is not acknowledged is given again."""

    def __init__(self, *bodies: bytes) -> None:
        self.waiting, self.dead, self.broken = list(bodies), list[bytes](), 0

    def consume(self, connector: Any, take: Take, stop: threading.Event) -> None:
        while not stop.is_set():
            if self.broken:
                self.broken -= 1
                raise ConnectorError("unreachable", Problem("C555", "the broker is away"))
            if not self.waiting:
                stop.wait(0.01)
                continue
            body = self.waiting[0]
            kept = take({"content-type": STRUCTURED}, body)
            self.waiting.pop(0)
            if not kept:
                self.dead.append(body)


@pytest.fixture
def reading(served: Served) -> Iterator[Callable[[Bus], None]]:
    """Starts the consumers of a world with a bus."""
    bus = '  bus: { connector: nats, url: "nats://127.0.0.1:9", consume: [x] }\n'
    served.edit("crosswalk.yaml", "connections:\n", f"connections:\n{bus}")
    ends, patches = [], []

    def start(bus: Bus) -> None:
        patches.append(patch.object(NatsConnector, "consume", lambda self, take, stop: bus.consume(self, take, stop)))
        patches[-1].start()
        with patch.object(consumers, "FIRST", 0.01):
            ends.append(consumers.start(served.workspace(), served.store, Log(served.said), lambda: None))

    yield start
    for end in ends:
        end()
    for one in patches:
        one.stop()


def test_a_bus_is_read_into_the_inbox_and_what_is_no_event_is_set_aside(served: Served, reading: Any) -> None:
    ours = CloudEvent("e2", Routes.of(served.workspace()).source, "person.created.v1")
    bus = Bus(structured(HIRED), b"no event", structured(ours), structured(HIRED))
    bus.broken = 2
    reading(bus)
    until(lambda: not bus.waiting)
    assert bus.dead == [b"no event"]
    assert served.rows("SELECT connection, key, type, state FROM inbox") == [("bus", "7", "person.hired.v1", "new")]
    assert [one["event"] for one in served.events()].count("events not read") == 2


def test_a_message_waits_while_the_state_is_away(served: Served, reading: Any) -> None:
    from engine.state import inbox

    real, failures = inbox.put_all, [StateError(Problem("S704", "the disk is full"))] * 3

    def put(tx: Any, arrivals: Any) -> int:
        if failures:
            raise failures.pop()
        return real(tx, arrivals)

    bus = Bus(structured(HIRED))
    with patch.object(inbox, "put_all", put):
        reading(bus)
        until(lambda: not bus.waiting)
    assert served.rows("SELECT count(*) FROM inbox") == [(1,)]
    assert json.dumps(served.events()).count("S704") == 3


@pytest.mark.service("nats")
def test_from_a_real_bus_to_a_run(served: Served) -> None:
    need("nats")
    own = f"t{uuid.uuid4().hex[:10]}"
    given = {"connector": "nats", "url": "nats://127.0.0.1:4222", "stream": own, "prefix": own}
    bus = NatsConnector(NatsConfig.model_validate(given), ConnectionContext("bus"))
    opened(
        served, f'  bus: {{ connector: nats, url: "nats://127.0.0.1:4222", consume: ["{own}.>"], durable: {own} }}\n'
    )
    served.run("teams")
    served.put("people", [person("1")])
    server = served.server()
    try:
        assert bus.publish("", [HIRED])[0].state == "created"
        server.start()
        until(lambda: bool(served.names()))
    finally:
        server.stop(5)

        async def remove() -> None:
            await (await bus._jetstream()).delete_stream(own)

        bus._run(remove())
        bus.close()
    assert served.rows("SELECT type, state FROM inbox") == [("person.hired.v1", "done")]
