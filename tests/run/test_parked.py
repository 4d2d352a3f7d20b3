"""A target that takes nothing at all parks the flow: no record is blamed, none is passed by, the next run goes on."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from connectors.sandbox.server import Reply, Request, Server
from engine.state import exceptions, runs
from tests.conftest import Make
from tests.run.folder import Folder
from tests.run.test_sync import SCHEMA

MANIFEST = """
connector: box
settings: { url: { required: true } }
base: "{url}"
auth: { kinds: [none] }
errors: [{ when: "status == `503`", do: retry }]
objects:
  items:
    key: id
    class: D
    marker: ref
    create: { post: /items, body: "@record", id: body.id }
    update: { patch: "/items/{id}", body: "@changes" }
    delete: { delete: "/items/{id}" }
"""
FILES = {
    "schemas/thing.yaml": SCHEMA + "properties: { name: { type: string } }\n",
    "mappings/src/things.yaml": "mapping: src/things\nobject: things\nentity: thing\nfields: { name: name }\n",
    "mappings/box/items.yaml": "mapping: box/items\nobject: items\nentity: thing\nfields: { name: name }\n",
    "flows/things.yaml": "flow: things\nkind: sync\nentity: thing\nsource: { connection: src, mapping: src/things, deletes: sweep }\n"
    "targets: [{ connection: box, mapping: box/items, match: [], on_delete: delete }]\nguard: { deletes: 100% }\npolicy: { batch: 25 }\n",
}  # fmt: skip


class Box:
    """A target that keeps what it takes. fault: the reply to give instead, by (call, request)."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.creates: Counter[str] = Counter()
        self.calls, self.lock = 0, threading.Lock()
        self.fault: Callable[[int, Request], Reply | None] = lambda call, request: None

    def __call__(self, request: Request) -> Reply:
        with self.lock:
            self.calls += 1
            fault = self.fault(self.calls, request)
            if fault is not None:
                return fault
            id = request.path.rsplit("/", 1)[1]
            if request.method == "DELETE":
                return Reply(204 if self.items.pop(id, None) else 404, None)
            record = request.json()
            if request.method == "PATCH":
                self.items[id] |= record
                return Reply(200, {})
            id = str(len(self.creates) + 1)
            self.items[id] = record
            self.creates[record["name"]] += 1
            return Reply(201, {"id": id})


class World(Folder):
    """A workspace that sends things to the box."""

    def give(self, *names: str) -> None:
        rows = [{"id": name, "name": name, "at": f"2026-01-{n + 1:02d}T00:00:00Z"} for n, name in enumerate(names)]
        self.put(rows)

    def through(self) -> dict[str, Any]:
        """Runs until the breaker lets a call through."""
        for _ in range(40):
            told = self.run()
            if told["state"] != "failed":
                return told
            time.sleep(0.05)
        return told

    def state(self) -> tuple[list[exceptions.Row], Any]:
        """(exceptions that were ever opened, the cursor's position)."""
        with self.store() as store, store.read() as tx:
            return exceptions.listed(tx, everything=True), runs.cursor(tx, "things")[0]


@pytest.fixture
def box() -> Iterator[tuple[Box, Server]]:
    held = Box()
    server = Server("box", held)
    yield held, server
    server.close()


@pytest.fixture
def world(make: Make) -> Callable[..., World]:
    def build(url: str, *, modified: bool = False, **settings: Any) -> World:
        given = {
            "retries": 2,
            "backoff": "1ms..20ms",
            "breaker": {"failures": "50%", "of": 20, "reset": "50ms"},
        } | settings
        source = {"connector": "files", "path": "data", "format": "ndjson"}
        if modified:
            source["objects"] = {"things": {"key": "id", "modified": "at"}}  # type: ignore[assignment]
        connections = {"src": source, "box": {"connector": "box", "url": url, **given}}
        settings_ = f"crosswalk: 1\nname: parked\nconnections: {json.dumps(connections)}\n"
        files = {**FILES, "crosswalk.yaml": settings_, "connectors/box.yaml": MANIFEST}
        if modified:
            files["flows/things.yaml"] = FILES["flows/things.yaml"].replace(", deletes: sweep", "")
        return World(make(files))

    return build


NAMES = [f"n{n:02d}" for n in range(28)]


@pytest.mark.parametrize("modified", [False, True], ids=["sweep", "incremental"])
def test_an_open_breaker_parks_the_flow_and_blames_no_record(
    box: tuple[Box, Server], world: Callable[..., World], modified: bool
) -> None:
    held, server = box
    line = world(server.url, modified=modified, limits={"concurrency": 1})
    line.give(*NAMES)
    held.fault = lambda call, request: Reply(503, {}) if call > 5 else None
    first = line.run()
    assert first["state"] == "failed" and first["error"]["code"] == "C517", first
    assert (first["created"], first["quarantined"], first["waiting"]) == (5, 0, 0)
    assert line.state()[0] == [] and held.calls < 50
    held.fault = lambda call, request: None
    assert line.through()["state"] == "succeeded"
    assert held.creates == Counter(NAMES) and line.state()[0] == []
    assert line.run()["created"] == 0


def test_a_target_out_of_reach_fails_the_run_with_its_own_error(world: Callable[..., World]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    line = world(f"http://127.0.0.1:{port}", modified=True)
    line.give(*NAMES)
    told = line.run()
    assert (
        told["state"] == "failed"
        and told["error"]["code"] == "C510"
        and "cannot be reached" in told["error"]["message"]
    )
    assert line.state() == ([], None), "no exception, and the cursor passes nothing"
    held = Box()
    server = Server("box", held, port=port)
    try:
        assert line.through()["state"] == "succeeded" and held.creates == Counter(NAMES)
    finally:
        server.close()


def test_a_pause_of_hours_ends_the_run_instead_of_holding_it(
    box: tuple[Box, Server], world: Callable[..., World]
) -> None:
    held, server = box
    line = world(server.url, modified=True, limits={"concurrency": 1})
    line.give(*NAMES)
    held.fault = lambda call, request: (
        Reply(429, {"message": "daily quota"}, {"Retry-After": "7200"}) if call == 4 else None
    )
    told = line.run()
    assert told["state"] == "failed" and told["created"] == 3 and line.state()[0] == []


def test_one_record_that_is_never_taken_parks_nothing(box: tuple[Box, Server], world: Callable[..., World]) -> None:
    held, server = box
    line = world(server.url, modified=True)
    line.give(*NAMES)
    held.fault = lambda call, request: Reply(503, {}) if b"n07" in request.data else None
    told = line.run()
    assert (told["state"], told["created"], told["waiting"]) == ("succeeded", 27, 1)
    ((row,), position) = line.state()
    assert (row.key, row.code, row.state) == ("n07", "E454", "waiting") and position is not None


def test_a_delete_that_a_sweep_saw_is_not_forgotten(box: tuple[Box, Server], world: Callable[..., World]) -> None:
    held, server = box
    line = world(server.url, limits={"concurrency": 1})
    line.give(*NAMES[:10])
    assert line.run()["created"] == 10
    line.give(*NAMES[:8])
    held.fault = lambda call, request: Reply(429, {}, {"Retry-After": "1"})
    assert line.run()["state"] == "failed"
    held.fault = lambda call, request: None
    line.through()
    assert set(held.items) == {str(n + 1) for n in range(8)}


@pytest.mark.parametrize("wanted", ["rate_limit", "connection"])
@pytest.mark.parametrize("waits", [False, True], ids=["fresh", "from an exception"])
def test_tries_that_are_used_up_lose_no_record(
    box: tuple[Box, Server], world: Callable[..., World], wanted: str, waits: bool
) -> None:
    """A fresh record is read again by the next run; one that waits in the state already waits on."""
    held, server = box
    line = world(server.url, modified=True, limits={"concurrency": 1})
    line.give(*NAMES[:5])
    if waits:
        held.fault = lambda call, request: Reply(503, {}) if b"n03" in request.data else None
        assert line.run()["waiting"] == 1
        assert [(row.key, row.exception_class) for row in line.state()[0]] == [("n03", "intermittent")]
    busy = Reply(429, {"message": "slow down"}, {"Retry-After": "0"})
    held.fault = (lambda call, request: busy) if wanted == "rate_limit" else (lambda call, request: None)
    if wanted == "connection":
        server.close()
    for _ in range(2):
        told = line.run()
        assert told["state"] == "failed" and told["error"]["code"] in ("C510", "C517", "C541"), told
        found, position = line.state()
        if waits:
            assert [(row.key, row.state) for row in found] == [("n03", "waiting")]
        else:
            assert (found, position) == ([], None), "no record is blamed, and the cursor passes nothing"
    held.fault = lambda call, request: None
    again = Server("box", held, port=int(server.url.rsplit(":", 1)[1])) if wanted == "connection" else None
    try:
        assert line.through()["state"] == "succeeded"
    finally:
        if again is not None:
            again.close()
    assert held.creates == Counter(NAMES[:5]), "each is there, once"
    assert [row.state for row in line.state()[0]] in ([], ["closed"])
