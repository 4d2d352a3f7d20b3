"""Writes whose answer is lost, by what the target offers: upsert (A), a key (B), a search (C), nothing (D).

The target's own list of accepted creates is the oracle, never our tables.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.sandbox.server import Reply, Request, Server
from tests.chaos.line import CLASSES
from tests.conftest import Make
from tests.run.folder import Folder
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

    def handle(self, request: Request) -> Reply | None:
        with self.lock:
            if request.method == "GET":
                ref = request.query.get("ref")
                return Reply(200, {"items": [one for one in self.items.values() if not ref or one.get("ref") == ref]})
            self.calls += 1
            lost = self.lose(self.calls)
            if lost == "before":
                return None
            status, body = self.write(request.method, request.path, request.headers, request.data)
            return None if lost == "after" else Reply(status, body)

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
        key = headers.get("idempotency-key")
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

    server = Server("box", lambda request: held.handle(request))
    yield held, server.url
    server.close()


class Line(Folder):
    """A workspace that writes to the box."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        super().__init__(folder)
        self.give(names)

    def give(self, names: list[str]) -> None:
        self.put({"id": str(n), "name": name} for n, name in enumerate(names))

    def run(self, flow: str | None = None, **options: Any) -> dict[str, Any]:
        """Over everything that the source has."""
        return super().run(flow, **{"full": True, **options})

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
