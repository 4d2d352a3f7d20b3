"""NATS JetStream and RabbitMQ on real brokers: confirmed, found once, read until kept, set aside where it is no event."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from connectors.queue.nats import NatsConfig, NatsConnector
from connectors.queue.rabbitmq import RabbitConfig, RabbitConnector
from engine.sdk.cloudevents import STRUCTURED, CloudEvent, parse
from engine.sdk.config import ConnectionContext
from engine.sdk.connector import Connector
from engine.sdk.errors import ConnectorError
from tests.conftest import need

Opened = Callable[..., Connector[Any]]


@pytest.fixture
def own() -> str:
    """A name of the test's own."""
    return f"t{uuid.uuid4().hex[:10]}"


@pytest.fixture
def nats(own: str) -> Iterator[Opened]:
    need("nats")
    opened: list[NatsConnector] = []

    def open(**more: Any) -> NatsConnector:
        settings = {"stream": own, "prefix": own, "consume": [f"{own}.>"], "backoff": "1ms..1ms", **more}
        config = NatsConfig.model_validate({"connector": "nats", "url": "nats://127.0.0.1:4222", **settings})
        opened.append(NatsConnector(config, ConnectionContext("bus")))
        return opened[-1]

    yield open
    for one in opened:
        one.close()
    last = open()

    async def remove() -> None:
        await (await last._jetstream()).delete_stream(own)

    last._run(remove())
    last.close()


@pytest.fixture
def rabbitmq(own: str) -> Iterator[Opened]:
    need("rabbitmq")
    opened: list[RabbitConnector] = []

    def open(**more: Any) -> RabbitConnector:
        settings = {"exchange": own, "consume": [own], **more}
        config = RabbitConfig.model_validate(
            {"connector": "rabbitmq", "url": "amqp://guest:guest@127.0.0.1:5672/%2F", **settings}
        )
        opened.append(RabbitConnector(config, ConnectionContext("bus")))
        return opened[-1]

    yield open
    for one in opened:
        one.close()
    last = open()
    connection = last._open()
    channel = connection.channel()
    for queue in (own, f"{own}.dead"):
        channel.queue_delete(queue)
    channel.exchange_delete(own)
    connection.close()


@pytest.fixture(params=[pytest.param("nats", marks=pytest.mark.service("nats")),
                        pytest.param("rabbitmq", marks=pytest.mark.service("rabbitmq"))])  # fmt: skip
def broker(request: Any, own: str) -> Opened:
    """Opens connections to a broker on which somebody listens."""
    opened: Opened = request.getfixturevalue(request.param)
    if request.param == "rabbitmq":
        bind(opened(), own)
    return opened


def bind(connector: Any, own: str) -> None:
    connection = connector._open()
    channel = connector._declared(connection, own)
    channel.exchange_declare(own, exchange_type="topic", durable=True)
    channel.queue_bind(own, own, "#")
    connection.close()


def event(number: int, **more: Any) -> CloudEvent:
    return CloudEvent(f"e{number}", "/crosswalk/t", "person.created.v1", f"p{number}", data={"n": number}, **more)


def read(connector: Connector[Any], count: int, refuse: tuple[str, ...] = ()) -> list[CloudEvent]:
    """The next events, each kept but those that are refused."""
    found: list[CloudEvent] = []
    stop = threading.Event()

    def take(headers: Mapping[str, str], body: bytes) -> bool:
        (one,) = parse(headers, body)
        found.append(one)
        if len(found) >= count:
            stop.set()
        return one.id not in refuse

    timer = threading.Timer(30, stop.set)
    timer.start()
    connector.consume(take, stop)
    timer.cancel()
    return found


def test_what_is_published_is_read_once_in_order(broker: Opened) -> None:
    connector = broker()
    assert [one.state for one in connector.publish("", [event(1), event(2, extensions={"correlationid": "d1"})])] == [
        "created",
        "created",
    ]
    found = read(connector, 2)
    assert [one.id for one in found] == ["e1", "e2"]
    assert found[1] == event(2, extensions={"correlationid": "d1"})
    assert all(one.ok for one in connector.check())


@pytest.mark.service("nats")
def test_nats_keeps_an_event_that_is_sent_twice_once(nats: Opened) -> None:
    connector = nats()
    for _ in range(3):
        assert [one.state for one in connector.publish("", [event(1)])] == ["created"]
    connector.publish("", [event(2)])
    assert [one.id for one in read(connector, 2)] == ["e1", "e2"]


def test_what_was_not_kept_comes_again(broker: Opened) -> None:
    """The inbox's commit failed: the message stays with the broker, and another connection gets it."""
    first = broker(**({"durable": "d"} if isinstance(broker(), NatsConnector) else {}))
    first.publish("", [event(1)])

    def fail(headers: Mapping[str, str], body: bytes) -> bool:
        raise RuntimeError("the state is away")

    with pytest.raises(RuntimeError):
        first.consume(fail, threading.Event())
    if isinstance(first, NatsConnector):
        return  # the broker waits for its acknowledgement first: see the next test
    assert [one.id for one in read(broker(), 1)] == ["e1"]


@pytest.mark.service("nats")
def test_nats_gives_a_message_again_that_was_not_acknowledged(nats: Opened, monkeypatch: Any) -> None:
    monkeypatch.setattr("connectors.queue.nats.ACK_WAIT", 0.3)
    connector = nats()
    connector.publish("", [event(1)])
    with pytest.raises(RuntimeError):
        connector.consume(lambda *_: (_ for _ in ()).throw(RuntimeError("away")), threading.Event())
    assert [one.id for one in read(nats(), 1)] == ["e1"]


@pytest.mark.service("rabbitmq")
def test_rabbitmq_sets_aside_what_is_refused(rabbitmq: Opened, own: str) -> None:
    connector = rabbitmq()
    bind(connector, own)
    connector.publish("", [event(1), event(2)])
    read(connector, 2, refuse=("e1",))
    assert [one.id for one in read(rabbitmq(consume=[f"{own}.dead"]), 1)] == ["e1"]


@pytest.mark.service("rabbitmq")
def test_rabbitmq_says_of_an_event_that_no_queue_takes_that_it_was_not_taken(rabbitmq: Opened) -> None:
    (outcome,) = rabbitmq().publish("", [event(1)])
    assert (outcome.state, outcome.trouble) == ("retry", None) and "no queue is bound" in str(outcome.problem)


@pytest.mark.service("nats")
def test_nats_says_of_an_event_that_no_stream_takes_that_it_was_not_taken(nats: Opened) -> None:
    nats().publish("", [event(1)])
    (outcome,) = nats(stream=None).publish("nowhere.at.all", [event(1)])
    assert (outcome.state, outcome.trouble) == ("retry", None) and "no stream takes" in str(outcome.problem)


def test_a_connection_that_broke_is_made_anew(broker: Opened) -> None:
    connector: Any = broker()
    connector.publish("", [event(1)])
    if isinstance(connector, NatsConnector):

        async def cut() -> None:
            connector._client._transport.close()

        connector._run(cut())
    else:
        connector._connection._impl._transport._sock.shutdown(2)
    states = [connector.publish("", [event(2)])[0] for _ in range(3)]
    assert states[-1].state == "created"
    assert {one.trouble for one in states if one.state != "created"} <= {"unreachable"}
    assert [one.id for one in read(broker(), 2)] == ["e1", "e2"]


@pytest.mark.parametrize(
    "connector",
    [
        NatsConnector(NatsConfig.model_validate({"connector": "nats", "url": "nats://127.0.0.1:9", "timeout": "1s"}), ConnectionContext("bus")),
        RabbitConnector(RabbitConfig.model_validate({"connector": "rabbitmq", "url": "amqp://127.0.0.1:9", "timeout": "1s"}), ConnectionContext("bus")),
    ],
)  # fmt: skip
def test_a_broker_that_is_away_is_told_as_one_trouble(connector: Connector[Any]) -> None:
    assert not any(one.ok for one in connector.check())
    try:
        outcomes = connector.publish("", [event(1), event(2)])
        assert [(one.state, one.trouble) for one in outcomes] == [("retry", "unreachable")] * 2
    except ConnectorError as error:
        assert error.trouble == "unreachable" and error.problem.code == "C555"
    connector.close()


@pytest.mark.service("rabbitmq")
def test_rabbitmq_refuses_a_wrong_password_without_telling_it() -> None:
    need("rabbitmq")
    config = RabbitConfig.model_validate(
        {"connector": "rabbitmq", "url": "amqp://guest@127.0.0.1:5672/%2F", "password": "SEKRET"}
    )
    (finding,) = RabbitConnector(config, ConnectionContext("bus")).check()
    assert not finding.ok and "C555" in finding.what and "it refuses the user" in finding.what
    assert "SEKRET" not in finding.what + finding.hint + repr(config)


@pytest.mark.service("rabbitmq")
@pytest.mark.parametrize(
    "url", ["amqp://guest@127.0.0.1:5672/%2F", "amqp://127.0.0.1:5672/%2F", "amqp://guest:guest@127.0.0.1:5672"]
)
def test_rabbitmq_takes_a_password_that_stands_beside_its_address(url: str) -> None:
    need("rabbitmq")
    config = RabbitConfig.model_validate(
        {"connector": "rabbitmq", "url": url, "password": "guest", "exchange": "amq.topic"}
    )
    connector = RabbitConnector(config, ConnectionContext("bus"))
    (finding,) = connector.check()
    connector.close()
    assert finding.ok, finding


@pytest.mark.service("rabbitmq")
def test_rabbitmq_reads_attributes_of_the_amqp_binding(rabbitmq: Opened, own: str) -> None:
    import pika

    connector: Any = rabbitmq()
    bind(connector, own)
    connection = connector._open()
    facts = pika.BasicProperties(content_type="application/json", headers={
        "cloudEvents:specversion": "1.0", "cloudEvents:id": "x", "cloudEvents:source": "/hr", "cloudEvents:type": "hired",
    })  # fmt: skip
    connection.channel().basic_publish(own, "any", b'{"a": 1}', facts)
    connection.close()
    (found,) = read(connector, 1)
    assert (found.id, found.source, found.data) == ("x", "/hr", {"a": 1})
    assert STRUCTURED
