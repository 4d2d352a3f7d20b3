"""A workspace on the running fakes, and connectors made of a manifest's text."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import yaml

from connectors.rest.connector import RestConfig, RestConnector
from connectors.sandbox import Sandbox, start
from connectors.sandbox.server import Reply, Request, Server
from engine.sdk.config import ConnectionContext
from engine.sdk.manifest import Manifest
from engine.spec.workspace import Workspace
from tests.conftest import Make
from tests.contract.test_rest import SYSTEMS

Connect = Callable[..., RestConnector]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with start() as running:
        yield running


@pytest.fixture
def workspace(sandbox: Sandbox, make: Make, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    for name, value in {**sandbox.credentials("salesforce"), **sandbox.credentials("netsuite")}.items():
        monkeypatch.setenv(f"CROSSWALK_SECRET_{name.upper()}", value)
    monkeypatch.setenv("KANTATA_TOKEN", sandbox.credentials("kantata")["token"])
    monkeypatch.setenv("NS_TOKEN", sandbox.credentials("netsuite")["token"])
    monkeypatch.delenv("CROSSWALK_SECRET_TOKEN", raising=False)
    folder = make({"crosswalk.yaml": SYSTEMS.format(**{name: sandbox.url(name) for name in sandbox.servers})})
    return Workspace.open(folder)


@pytest.fixture
def connect() -> Iterator[Connect]:
    """connect(manifest text, **settings of the connection) gives an open connector."""
    opened: list[RestConnector] = []

    def open_one(manifest: str, **given: Any) -> RestConnector:
        model = Manifest.model_validate(yaml.safe_load(manifest))
        data = {"connector": model.connector, "retries": 1, "backoff": "1ms..2ms", "timeout": "5s", **given}
        config = RestConfig.model_validate(RestConfig.settings_of(data, model))
        opened.append(RestConnector(config, ConnectionContext(model.connector)))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


Serve = Callable[[Callable[[Request], Reply | None]], Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """serve(request → Reply) gives a running throw-away system."""
    running: list[Server] = []

    def start_one(handle: Callable[[Request], Reply | None]) -> Server:
        running.append(Server("throw-away", lambda request: handle(request) or Reply(404, {})))
        return running[-1]

    yield start_one
    for one in running:
        one.close()


class Raw:
    """A socket that answers every request with bytes in pieces, `pause` seconds apart; what came in is kept."""

    def __init__(self, pieces: Iterable[bytes], pause: float = 0.0) -> None:
        self.pieces, self.pause, self.requests = pieces, pause, list[bytes]()
        self.open = True
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while self.open:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._answer, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _answer(self, client: socket.socket) -> None:
        with client:
            try:
                self.requests.append(client.recv(65536))
                for piece in self.pieces:
                    client.sendall(piece)
                    if self.pause:
                        time.sleep(self.pause)
                    if not self.open:
                        return
            except OSError:
                return

    def close(self) -> None:
        self.open = False
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(2)


@pytest.fixture
def raw() -> Iterator[Callable[..., Raw]]:
    running: list[Raw] = []

    def start_one(pieces: Iterable[bytes], pause: float = 0.0) -> Raw:
        running.append(Raw(pieces, pause))
        return running[-1]

    yield start_one
    for one in running:
        one.close()
