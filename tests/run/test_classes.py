"""Writes whose answer is lost, by what the target offers: upsert (A), a key (B), a search (C), nothing (D).

The target's own list of accepted creates is the oracle, never our tables.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from engine.run.runner import Runner
from engine.run.session import Options
from engine.spec.workspace import Workspace
from engine.state import exceptions
from engine.state.store import Store
from tests.conftest import Make
from tests.run.test_sync import SCHEMA

MANIFEST = """
connector: box
settings: { url: { required: true } }
base: "{url}"
auth: { kinds: [bearer] }
objects:
  items:
    key: id
    late: 500ms
    index: 500ms
    marker: ref
    read: { get: /items, records: body.items }
    find: { get: /items, records: body.items, by: { ref: { param: ref } } }
    create: { post: /items, body: "@record", id: body.id }
    update: { patch: "/items/{id}", body: "@changes" }
"""
CLASSES = {
    "A": '    class: A\n    upsert: { put: "/items/by-ref/{ref}", body: "@record", id: body.id }\n',
    "B": "    class: B\n    idempotency: { header: Idempotency-Key, life: 24h }\n",
    "C": "    class: C\n",
    "D": "    class: D\n",
}
FILES = {
    "schemas/thing.yaml": SCHEMA + "properties: { name: { type: string } }\n",
    "mappings/src/things.yaml": "mapping: src/things\nobject: things\nentity: thing\nfields: { name: name }\n",
    "mappings/box/items.yaml": "mapping: box/items\nobject: items\nentity: thing\nfields: { name: name }\n",
    "flows/things.yaml": "flow: things\nkind: sync\nentity: thing\nsource: { connection: src, mapping: src/things }\n"
    "targets: [{ connection: box, mapping: box/items, match: [] }]\nguard: { errors: 100% }\n",
}  # fmt: skip


class Box:
    """The target: keeps what it accepts, and loses answers on purpose."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, tuple[bytes, str]] = {}
        self.creates: Counter[str] = Counter()
        self.lock, self.calls = threading.Lock(), 0
        self.lose: Any = lambda call: None

    def handle(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any] | None:
        with self.lock:
            if method == "GET":
                ref = re.search(r"ref=([^&]+)", path)
                return 200, {"items": [one for one in self.items.values() if not ref or one.get("ref") == ref.group(1)]}
            self.calls += 1
            lost = self.lose(self.calls)
            if lost == "before":
                return None
            answer = self.write(method, path, headers, body)
            return None if lost == "after" else answer

    def write(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any]:
        record = json.loads(body)
        if method == "PATCH":
            self.items[path.rsplit("/", 1)[1]] |= record
            return 200, {}
        if method == "PUT":
            ref = path.rsplit("/", 1)[1]
            standing = next((one for one in self.items.values() if one.get("ref") == ref), None)
            if standing is not None:
                standing |= record
                return 200, {"id": standing["id"]}
            return 201, {"id": self.create({**record, "ref": ref})}
        key = headers.get("Idempotency-Key")
        if key and key in self.keys:
            known, id = self.keys[key]
            return (200, {"id": id}) if known == body else (422, {"error": "other bytes under a known key"})
        id = self.create(record)
        if key:
            self.keys[key] = (body, id)
        return 201, {"id": id}

    def create(self, record: dict[str, Any]) -> str:
        id = str(len(self.items) + 1)
        self.items[id] = {**record, "id": id}
        self.creates[record["name"]] += 1
        return id


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSWALK_SECRET_BOX", "t")


@pytest.fixture
def box() -> Iterator[tuple[Box, str]]:
    held = Box()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            given = held.handle(self.command, self.path, self.headers, body)
            if given is None:
                self.close_connection = True
                return
            data = json.dumps(given[1]).encode()
            self.send_response(given[0])
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = reply

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield held, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


class Line:
    """A workspace that writes to the box."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.folder = folder
        self.give(names)

    def give(self, names: list[str]) -> None:
        (self.folder / "data").mkdir(exist_ok=True)
        rows = [{"id": str(n), "name": name} for n, name in enumerate(names)]
        (self.folder / "data/things.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(self) -> dict[str, Any]:
        store = Store.open("sqlite:///.crosswalk/state.db", self.folder)
        try:
            return Runner(Workspace.open(self.folder), store).run("things", Options(full=True)).run
        finally:
            store.close()

    def open(self) -> list[exceptions.Row]:
        store = Store.open("sqlite:///.crosswalk/state.db", self.folder)
        with store.read() as tx:
            rows = exceptions.listed(tx)
        store.close()
        return rows

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        crosswalk = Path(sys.executable).parent / "crosswalk"
        return subprocess.run([crosswalk, *words], cwd=self.folder, capture_output=True, text=True, timeout=60)


def line(make: Make, url: str, kind: str, retries: int = 0) -> Line:
    settings = (
        "crosswalk: 1\nname: classes\nconnections:\n  src: { connector: files, path: data, format: ndjson }\n"
        f'  box: {{ connector: box, url: "{url}", auth: {{ token: "${{secret:box}}" }}, timeout: 500ms, retries: {retries}, backoff: 1ms..5ms, '
        "breaker: { failures: 100%, of: 1000, reset: 1s } }\n"
    )
    manifest = MANIFEST + CLASSES[kind]
    folder = make({**FILES, "crosswalk.yaml": settings, "connectors/box.yaml": manifest})
    return Line(folder, [f"n{n}" for n in range(30)])


NAMES = {f"n{n}" for n in range(30)}


@pytest.mark.parametrize("kind", ["A", "B", "C"])
@pytest.mark.parametrize("when", ["after", "before"])
def test_a_lost_answer_ends_as_one_record(make: Make, box: tuple[Box, str], kind: str, when: str) -> None:
    held, url = box
    world = line(make, url, kind)
    held.lose = lambda call: when if call % 3 == 0 else None
    world.run()
    held.lose = lambda call: None
    for _ in range(4):
        if world.run()["waiting"] == 0 and set(held.creates) == NAMES:
            break
        time.sleep(2.2 if kind == "C" else 0)
    assert held.creates == Counter(dict.fromkeys(NAMES, 1))
    assert world.open() == []
    calls = held.calls
    world.run()
    assert held.calls == calls, "nothing is left to send"


def test_under_a_key_the_same_bytes_go_again_and_what_is_newer_follows_as_an_update(
    make: Make, box: tuple[Box, str]
) -> None:
    held, url = box
    world = line(make, url, "B")
    world.give(["old"])
    held.lose = lambda call: "after"
    assert world.run()["waiting"] == 1
    held.lose = lambda call: None
    world.give(["new"])
    world.run()
    assert [one["name"] for one in held.items.values()] == ["new"] and held.creates == Counter({"old": 1})
    assert world.open() == []


def test_where_nothing_can_be_asked_a_person_decides_and_nothing_is_sent_twice_by_itself(
    make: Make, box: tuple[Box, str]
) -> None:
    held, url = box
    world = line(make, url, "D", retries=3)
    held.lose = lambda call: {5: "after", 9: "before", 12: "after"}.get(call)
    first = world.run()
    assert (first["created"], first["quarantined"], first["state"]) == (27, 3, "partial")
    held.lose = lambda call: None
    for _ in range(3):
        assert world.run()["created"] == 0, "never sent again by itself"
    assert max(held.creates.values()) == 1 and sum(held.creates.values()) == 29
    rows = {row.canonical_id: row for row in world.open()}
    assert {(row.code, row.exception_class, row.state) for row in rows.values()} == {("E455", "in_doubt", "open")}
    assert all(f"look for {id} in items of box" in row.hint for id, row in rows.items())
    marks = {one["ref"]: one["id"] for one in held.items.values()}
    there = [id for id in rows if id in marks]
    (absent,) = [id for id in rows if id not in marks]
    assert len(there) == 2
    assert world.command("exceptions", "replay", "--flow", "things").returncode == 3
    assert sum(held.creates.values()) == 29, "a replay of everything is no decision on one record"
    for id in there:
        added = world.command("links", "add", "thing", "items", f"box:{marks[str(id)]}", str(id))
        assert added.returncode == 0, added.stderr
    replayed = world.command("exceptions", "replay", rows[absent].id)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    world.run()
    assert held.creates == Counter(dict.fromkeys(NAMES, 1)) and world.open() == []
