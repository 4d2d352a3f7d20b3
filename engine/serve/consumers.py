"""Consumers: threads that read the events of buses into the inbox. A message is acknowledged once its row is committed.

Each connection with `consume` has a thread. A broker that goes away is asked again, later and later; a state that goes
away keeps the message at hand until it is back, for whoever acknowledges first and writes later loses it.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from typing import Any

from engine.run.events import Routes
from engine.run.work import Tell
from engine.sdk.cloudevents import CloudEvent, parse, structured
from engine.sdk.errors import ConnectorError, CrosswalkError
from engine.spec.workspace import Workspace
from engine.state import inbox
from engine.state.inbox import Arrival
from engine.state.store import StateError, Store

FIRST, LONGEST = 1.0, 60.0
"""Seconds before a broker, or the state, is asked again; doubled each time, with jitter."""


def consuming(workspace: Workspace) -> list[str]:
    """Connections whose events are read."""
    return [name for name, data in workspace.settings.connections.items() if data.get("consume")]


def start(workspace: Workspace, store: Store, tell: Tell, woken: Callable[[], None]) -> Callable[[], None]:
    """Begin to read; gives what ends it, and waits until the message at hand is kept. woken: there is something new."""
    stop, source = threading.Event(), Routes.of(workspace).source
    threads = []
    for name in consuming(workspace):
        reader = _Reader(workspace, store, name, source, tell, woken, stop)
        threads.append(threading.Thread(target=reader.run, name=f"events:{name}", daemon=True))
        threads[-1].start()

    def end() -> None:
        stop.set()
        for thread in threads:
            thread.join()

    return end


class _Reader:
    """Reads one connection."""

    def __init__(
        self, workspace: Workspace, store: Store, name: str, source: str, tell: Tell, woken: Callable[[], None],
        stop: threading.Event,
    ) -> None:  # fmt: skip
        self.workspace, self.store, self.name, self.source = workspace, store, name, source
        self.tell, self.woken, self.stop = tell, woken, stop
        self.failures = 0

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                with self.workspace.connector(self.name) as connector:
                    connector.consume(self.take, self.stop)
            except Exception as error:  # noqa: BLE001 - a reader outlives whatever a broker does
                code = error.problem.code if isinstance(error, CrosswalkError) else "X999"
                self.tell("events not read", connection=self.name, code=code, error=type(error).__name__)
                self._pause()

    def _pause(self) -> None:
        longest = min(LONGEST, FIRST * 2 ** min(self.failures, 10))
        self.failures += 1
        self.stop.wait(random.uniform(0, longest))  # noqa: S311 - jitter, not a secret

    def take(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Keep a message's events; False where it is none. Raises StateError where it cannot be kept before the stop."""
        try:
            found = parse(headers, body)
        except ConnectorError as error:
            self.tell("event refused", connection=self.name, code=error.problem.code)
            return False
        foreign = [one for one in found if one.source != self.source]  # what we sent ourselves is known here
        while foreign:
            try:
                with self.store.begin("inbox put", durable=True) as tx:
                    fresh = inbox.put_all(tx, [arrival(self.name, one) for one in foreign])
                break
            except StateError as error:
                if self.stop.is_set():
                    raise
                self.tell("event not kept", connection=self.name, code=error.problem.code)
                self._pause()
        self.failures = 0
        if foreign:
            self.tell("events", connection=self.name, events=len(foreign), kept=fresh)
            self.woken()
        return True


def arrival(connection: str, event: CloudEvent, **more: Any) -> Arrival:
    """An event's row: what it is about is its key, so that events of one subject are drained in order."""
    return Arrival(
        connection, event.identity, None, event.subject, type=event.type, at=event.time, body=structured(event), **more
    )
