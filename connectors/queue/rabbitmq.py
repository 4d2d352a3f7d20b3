"""The `rabbitmq` connector: events through a topic exchange, persistent, confirmed by the broker; consumed from quorum
queues, acknowledged once kept, with a dead-letter queue for what is no event."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field

from connectors.queue.carrier import Carrier, first_line, topic_of
from engine.sdk.cloudevents import STRUCTURED, CloudEvent, structured
from engine.sdk.config import ConnectionConfig, ConnectionContext, SecretText
from engine.sdk.connector import Finding, Outcome, Take
from engine.sdk.errors import ConnectorError

PREFETCH, PATIENCE = 50, 0.5
"""Messages that wait here for their turn, and seconds after which the consumer looks whether it is to stop."""
HEARTBEAT = 30
MISSING = 404


class RabbitConfig(ConnectionConfig):
    """A RabbitMQ broker."""

    url: str = Field(repr=False)
    """AMQP address with its virtual host, such as amqps://crosswalk@mq.example/events."""
    password: SecretText | None = None
    """Password, kept out of the address."""
    exchange: str = "crosswalk.events"
    """Topic exchange that events go to; made where there is none. The routing key is the event's type, or the topic."""
    consume: list[str] = []
    """Queues that events are read from; made as quorum queues where there are none, each with QUEUE.dead."""


class RabbitConnector(Carrier[RabbitConfig]):
    """AMQP 0-9-1. One connection for publishing, one for each queue that is read; drivers' connections share no threads."""

    name, config_model = "rabbitmq", RabbitConfig

    def __init__(self, config: RabbitConfig, context: ConnectionContext) -> None:
        super().__init__(config, context)
        self._lock = threading.Lock()
        self._connection: Any = None
        self._channel: Any = None

    # ------------------------------------------------------------------ connections
    def _open(self) -> Any:
        """A new connection. Raises ConnectorError C554, C555."""
        try:
            import pika
            from pika.exceptions import AMQPError, ProbableAccessDeniedError, ProbableAuthenticationError
        except ImportError:
            self.driver_missing("pika", "rabbitmq")
        try:
            given = pika.URLParameters(self._address())
        except (ValueError, TypeError, IndexError):
            raise self.unreachable("`url` is no AMQP address", "config") from None
        if self.config.password is not None:
            given.credentials = pika.PlainCredentials(given.credentials.username, self.config.password.reveal())
        seconds = self.config.timeout.total_seconds()
        given.socket_timeout, given.stack_timeout, given.blocked_connection_timeout = min(10, seconds), seconds, seconds
        given.heartbeat, given.connection_attempts = HEARTBEAT, 1
        try:
            return pika.BlockingConnection(given)
        except (ProbableAuthenticationError, ProbableAccessDeniedError):
            raise self.unreachable("it refuses the user", "auth") from None
        except (AMQPError, OSError) as error:
            raise self.unreachable(first_line(error) or type(error).__name__) from None

    def _address(self) -> str:
        """The address as the driver reads it: it takes no user without a password, and that one is kept apart."""
        parts = urlsplit(self.config.url)
        if parts.username is None or parts.password is not None:
            return self.config.url
        user, _, place = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{user}:-@{place}").geturl()

    def _publisher(self) -> Any:
        """The channel that publishes: confirmed, its exchange there."""
        from pika.exceptions import AMQPError

        if self._channel is None or not self._channel.is_open:
            self._hang_up()
            self._connection = self._open()
            try:
                channel = self._connection.channel()
                channel.exchange_declare(self.config.exchange, exchange_type="topic", durable=True)
                channel.confirm_delivery()
            except AMQPError as error:
                self._hang_up()
                raise self.unreachable(f"exchange {self.config.exchange!r}: {first_line(error)}") from None
            self._channel = channel
        return self._channel

    def _hang_up(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        _closed(connection)

    def close(self) -> None:
        with self._lock:
            self._hang_up()

    # ------------------------------------------------------------------ the contract
    def check(self) -> list[Finding]:
        try:
            with self._lock:
                self._publisher()
        except ConnectorError as error:
            return [Finding(False, str(error.problem), error.problem.hint)]
        return [Finding(True, f"the broker answers; events go to {self.config.exchange}")]

    def publish(self, topic: str, events: Sequence[CloudEvent]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        down: ConnectorError | None = None
        with self._lock:
            for event in events:
                try:
                    outcome = self._sent(topic, event) if down is None else self.kept_back(event, down)
                except ConnectorError as error:
                    down = error
                    outcome = self.kept_back(event, error)
                outcomes.append(outcome)
        return outcomes

    def _sent(self, topic: str, event: CloudEvent) -> Outcome:
        """One event, and the broker's word that a queue holds it."""
        channel = self._publisher()
        from pika import BasicProperties
        from pika.exceptions import AMQPError, NackError, UnroutableError

        key = topic or topic_of(event.type)
        facts = BasicProperties(content_type=STRUCTURED, delivery_mode=2, message_id=event.id, type=event.type)
        try:
            channel.basic_publish(self.config.exchange, key, structured(event), facts, mandatory=True)
        except UnroutableError:
            return self.not_taken(
                event, f"no queue is bound for {key}", f"bind one to {self.config.exchange}", definite=False
            )
        except NackError:
            return self.not_taken(event, "a queue had no room for it", "it is tried again", definite=False)
        except (AMQPError, OSError) as error:
            self._hang_up()
            raise self.unreachable(first_line(error) or type(error).__name__) from None
        return Outcome(event.id, "created")

    def consume(self, take: Take, stop: threading.Event) -> None:
        faults: list[BaseException] = []
        over = threading.Event()

        def read(queue: str) -> None:
            try:
                self._queue(queue, take, lambda: stop.is_set() or over.is_set())
            except BaseException as error:  # noqa: BLE001 - told to the caller
                faults.append(error)
                over.set()

        threads = [
            threading.Thread(target=read, args=(one,), name=f"rabbitmq:{one}", daemon=True)
            for one in self.config.consume
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if faults:
            raise faults[0]

    def _queue(self, queue: str, take: Take, stopped: Callable[[], bool]) -> None:
        connection = self._open()
        from pika.exceptions import AMQPError

        try:
            channel = self._declared(connection, queue)
            channel.basic_qos(prefetch_count=PREFETCH)
            for method, facts, body in channel.consume(queue, inactivity_timeout=PATIENCE):
                if method is not None:
                    if take(_headers(facts), body):
                        channel.basic_ack(method.delivery_tag)
                    else:
                        channel.basic_nack(method.delivery_tag, requeue=False)
                if stopped():
                    return
        except (AMQPError, OSError) as error:
            raise self.unreachable(f"queue {queue!r}: {first_line(error) or type(error).__name__}") from None
        finally:
            _closed(connection)

    def _declared(self, connection: Any, queue: str) -> Any:
        """A channel, and the queue: as it stands, or made."""
        from pika.exceptions import ChannelClosedByBroker

        channel = connection.channel()
        try:
            channel.queue_declare(queue, passive=True)
            return channel
        except ChannelClosedByBroker as error:
            if error.reply_code != MISSING:
                raise
        channel, dead = connection.channel(), f"{queue}.dead"
        channel.queue_declare(dead, durable=True, arguments={"x-queue-type": "quorum"})
        channel.queue_declare(queue, durable=True, arguments={
            "x-queue-type": "quorum", "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead,
        })  # fmt: skip
        return channel


def _headers(facts: Any) -> dict[str, str]:
    """A message's properties as headers; attributes of the AMQP binding as those of HTTP."""
    found = {str(name).lower(): str(value) for name, value in (facts.headers or {}).items()}
    for prefix in ("cloudevents:", "cloudevents_"):
        found.update({f"ce-{name[len(prefix) :]}": value for name, value in found.items() if name.startswith(prefix)})
    if facts.content_type:
        found["content-type"] = str(facts.content_type)
    return found


def _closed(connection: Any) -> None:
    if connection is not None:
        try:
            connection.close()
        except Exception:  # noqa: BLE001 - it is over anyway
            return
