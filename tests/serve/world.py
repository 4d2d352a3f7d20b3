"""A workspace that is served in the test's own process: people in a file, rows in a database, signed webhooks."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from connectors.files import FilesConnector
from engine.run.work import Work
from engine.sdk.errors import Problem
from engine.sdk.webhook import WebhookAnswer, WebhookEvent, WebhookRequest
from engine.serve.leader import Leader
from engine.serve.log import Log
from engine.serve.scheduler import Scheduler
from engine.serve.server import Server
from engine.spec.workspace import Workspace
from engine.state import runs, ticks
from engine.state.care import age
from engine.state.store import Store, instant, moment_of
from tests.run.test_sync import World

KEY = b"shared with the source"
TRIGGER = "trigger: [{ webhook: { connection: src, path: src/people } }]\n"


def signed(body: bytes) -> dict[str, str]:
    return {"x-signature": hmac.new(KEY, body, hashlib.sha256).hexdigest()}


def verify(self: Any, request: WebhookRequest) -> WebhookAnswer:
    """What a connector with signed webhooks does; `files` has none of its own."""
    if request.query.get("challenge"):
        return WebhookAnswer("handshake", status=200, body=request.query["challenge"].encode())
    expected = hmac.new(KEY, request.body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, request.headers.get("x-signature", "")):
        return WebhookAnswer("refused", status=401, problem=Problem("C550", "the signature is wrong"))
    told = json.loads(request.body)
    events = tuple(WebhookEvent(one.get("event"), one.get("object", "people"), one.get("id"), one.get("deleted", False),
                                one.get("at"), one.get("record")) for one in told["events"])  # fmt: skip
    return WebhookAnswer("accepted", events, status=202)


@contextmanager
def taking_webhooks() -> Iterator[None]:
    with patch.object(FilesConnector, "webhook", verify):
        yield


class Served(World):
    """A world, with a store of its own and everything of `serve` in hand."""

    def __init__(self, folder: Path, url: str = "sqlite:///.crosswalk/state.db") -> None:
        super().__init__(folder)
        self.url = url
        if not url.startswith("sqlite"):
            self.edit("crosswalk.yaml", "connections:", f'state: "{url}"\nconnections:')
        self.store = Store.open(url, folder)
        self.said = io.StringIO()

    def flow(self, name: str, text: str) -> None:
        """Add keys to a flow."""
        path = self.folder / f"flows/{name}.yaml"
        path.write_text(path.read_text() + text)

    def workspace(self) -> Workspace:
        return Workspace.open(self.folder)

    def server(self) -> Server:
        return Server(self.workspace(), self.store, Log(self.said))

    def scheduler(self) -> Scheduler:
        self.leaderless()
        leader = Leader(self.store)
        assert leader.stand()
        return Scheduler(self.workspace(), self.store, leader, Log(self.said))

    def work(self) -> Work:
        return Work(self.workspace(), self.store, Log(self.said))

    def once(self) -> list[dict[str, Any]]:
        """`serve --once`: the runs."""
        self.leaderless()
        return self.server().once()

    def leaderless(self) -> None:
        """As if the leader had gone."""
        with self.store.begin("age") as tx:
            tx.run("UPDATE leases SET expires_at = '' WHERE name = 'serve:leader'")

    def events(self) -> list[dict[str, Any]]:
        """What the log says."""
        return [json.loads(line) for line in self.said.getvalue().splitlines()]

    def runs(self, flow: str | None = None) -> list[runs.Run]:
        """In order."""
        with self.store.read() as tx:
            return runs.listed(tx, flow, 10_000)[::-1]

    def ticks(self, flow: str = "people") -> list[ticks.Tick]:
        with self.store.read() as tx:
            return ticks.of_flow(tx, flow)

    def looked(self, ago: timedelta) -> None:
        """As if schedules had been looked at last so long ago."""
        with self.store.begin("age") as tx:
            then = instant(moment_of(tx.now()) - ago)
            tx.run("UPDATE schedules SET upto = ?", (then,))

    def rows(self, sql: str) -> list[Any]:
        with self.store.read() as tx:
            return tx.rows(sql)

    def older(self, seconds: float) -> None:
        """Leases, units and events as if so much time had gone by."""
        age(self.store, seconds)
        with self.store.begin("age") as tx:
            for table, columns in (("units", ("due", "expires_at")), ("inbox", ("received_at",))):
                for column in columns:
                    for key, at in tx.rows(f"SELECT {'id' if table == 'units' else 'seq'}, {column} FROM {table}"):
                        if at:
                            then = instant(moment_of(at) - timedelta(seconds=seconds))
                            tx.run(
                                f"UPDATE {table} SET {column} = ? WHERE {'id' if table == 'units' else 'seq'} = ?",
                                (then, key),
                            )


def until(done: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for something that another thread does."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)
