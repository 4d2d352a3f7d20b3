"""The `nats` connector: events through JetStream. Published with the event's id, so that the broker drops what it has
already; consumed by durable pull consumers, acknowledged once kept."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from connectors.queue.carrier import Carrier, first_line, topic_of
from engine.sdk.cloudevents import STRUCTURED, CloudEvent, structured
from engine.sdk.config import ConnectionConfig, ConnectionContext, Duration, SecretText
from engine.sdk.connector import Finding, Outcome, Take
from engine.sdk.errors import ConnectorError, Trouble

T = TypeVar("T")
FETCH, PATIENCE = 50, 0.5
"""Messages that are fetched at once, and seconds after which the consumer looks whether it is to stop."""
ACK_WAIT = 120.0
"""Seconds after which the broker gives a message again that was not acknowledged."""


class NatsConfig(ConnectionConfig):
    """A NATS server with JetStream."""

    url: str | list[str]
    """Servers, such as nats://127.0.0.1:4222 or tls://nats.example:4222."""
    user: str | None = None
    password: SecretText | None = None
    token: SecretText | None = None
    credentials: str | None = None
    """Credentials file (`.creds`), relative to the workspace."""
    prefix: str = "crosswalk"
    """Subject of an event that has no topic: PREFIX.TYPE, such as crosswalk.project.created.v1."""
    stream: str | None = None
    """Stream that is made for `PREFIX.>` where there is none; without it one has to be there."""
    duplicates: Duration = timedelta(minutes=10)
    """How long a stream made here remembers ids, to drop what is sent twice."""
    consume: list[str] = []
    """Subjects that events are read from."""
    durable: str = "crosswalk"
    """Name of the consumer, which the broker remembers how far it has read under."""


class NatsConnector(Carrier[NatsConfig]):
    """JetStream. The driver is asynchronous: it runs on a loop of its own, in a thread that ends with the connector."""

    name, config_model = "nats", NatsConfig

    def __init__(self, config: NatsConfig, context: ConnectionContext) -> None:
        super().__init__(config, context)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._client: Any = None
        self._ready = False
        self._lock = threading.Lock()

    # ------------------------------------------------------------------ the driver's loop
    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something on the loop and wait for it."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name=f"nats:{self.context.name}", daemon=True
                )
                self._thread.start()
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._hang_up(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    async def _hang_up(self) -> None:
        client, self._client, self._ready = self._client, None, False
        if client is not None:
            try:
                await client.close()
            except Exception:  # noqa: BLE001 - it is over anyway
                return

    async def _jetstream(self) -> Any:
        """A connection, made anew where it broke. Raises ConnectorError C554, C555."""
        try:
            import nats
            from nats.errors import AuthorizationError, Error
        except ImportError:
            self.driver_missing("nats-py", "nats")
        if self._client is None or not self._client.is_connected:
            await self._hang_up()
            config = self.config
            given = {"user": config.user, "password": config.password and config.password.reveal(),
                     "token": config.token and config.token.reveal(),
                     "user_credentials": str(self.context.path(config.credentials)) if config.credentials else None}  # fmt: skip
            try:
                self._client = await nats.connect(
                    config.url, allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0, name="crosswalk",
                    connect_timeout=min(10, config.timeout.total_seconds()), error_cb=_quietly, **{name: one for name, one in given.items() if one},
                )  # fmt: skip
            except (Error, OSError, ValueError) as error:
                text = first_line(error)
                refused = isinstance(error, AuthorizationError) or "uthorization" in text
                trouble: Trouble = "auth" if refused else "config" if isinstance(error, ValueError) else "unreachable"
                raise self.unreachable(text, trouble) from None
        return self._client.jetstream(timeout=self.config.timeout.total_seconds())

    async def _prepared(self, publishing: bool) -> Any:
        """JetStream, with the stream that the settings ask for."""
        stream = await self._jetstream()
        from nats.errors import Error
        from nats.js.errors import NotFoundError

        if publishing and self.config.stream is not None and not self._ready:
            try:
                try:
                    await stream.stream_info(self.config.stream)
                except NotFoundError:
                    await stream.add_stream(
                        name=self.config.stream, subjects=[f"{self.config.prefix}.>"],
                        duplicate_window=self.config.duplicates.total_seconds(),
                    )  # fmt: skip
            except (Error, OSError) as error:
                raise self.unreachable(f"stream {self.config.stream!r}: {first_line(error)}") from None
            self._ready = True
        return stream

    # ------------------------------------------------------------------ the contract
    def check(self) -> list[Finding]:
        try:
            self._run(self._prepared(publishing=bool(self.config.stream)))
        except ConnectorError as error:
            return [Finding(False, str(error.problem), error.problem.hint)]
        return [Finding(True, "the broker answers")]

    def publish(self, topic: str, events: Sequence[CloudEvent]) -> list[Outcome]:
        return self._run(self._published(topic, events))

    async def _published(self, topic: str, events: Sequence[CloudEvent]) -> list[Outcome]:
        stream = await self._prepared(publishing=True)
        return list(await asyncio.gather(*(self._sent(stream, topic, event) for event in events)))

    async def _sent(self, stream: Any, topic: str, event: CloudEvent) -> Outcome:
        """One event, and the broker's word that it is stored."""
        from nats.errors import Error, MaxPayloadError
        from nats.js.errors import APIError, NoStreamResponseError

        subject = topic or f"{self.config.prefix}.{topic_of(event.type)}"
        headers = {"Nats-Msg-Id": event.id, "Content-Type": STRUCTURED}
        try:
            await stream.publish(subject, structured(event), headers=headers)
        except NoStreamResponseError:
            return self.not_taken(
                event, f"no stream takes {subject}", "make one, or name it under `stream`", definite=False
            )
        except (MaxPayloadError, ValueError) as error:
            return self.not_taken(event, first_line(error), "see what the broker is set to take", definite=True)
        except APIError as error:
            return self.not_taken(event, first_line(error), "see the stream's limits", definite=False)
        except (TimeoutError, Error, OSError) as error:
            await self._hang_up()
            return self.kept_back(event, self.unreachable(first_line(error)))
        return Outcome(event.id, "created")

    def consume(self, take: Take, stop: threading.Event) -> None:
        self._run(self._consumed(take, stop))

    async def _consumed(self, take: Take, stop: threading.Event) -> None:
        await asyncio.gather(*(self._subject(subject, take, stop) for subject in self.config.consume))

    async def _subject(self, subject: str, take: Take, stop: threading.Event) -> None:
        stream = await self._prepared(publishing=False)
        from nats.errors import Error, TimeoutError
        from nats.js.api import ConsumerConfig

        durable = f"{self.config.durable}-{topic_of(subject).replace('.', '-')}"
        try:
            reader = await stream.pull_subscribe(
                subject, durable=durable, config=ConsumerConfig(ack_wait=ACK_WAIT, max_deliver=-1)
            )
            while not stop.is_set():
                try:
                    found = await reader.fetch(FETCH, timeout=PATIENCE)
                except TimeoutError:
                    continue
                for message in found:
                    headers = {name.lower(): value for name, value in (message.headers or {}).items()}
                    kept = await asyncio.to_thread(take, headers, message.data)
                    wait = self.config.timeout.total_seconds()  # the driver's second is short for a broker that is busy
                    await (message.ack_sync(timeout=wait) if kept else message.term())
        except (Error, OSError) as error:
            await self._hang_up()
            raise self.unreachable(f"{subject}: {first_line(error)}") from None


async def _quietly(error: Exception) -> None:
    """Errors reach us where something is sent or read."""
