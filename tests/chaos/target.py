"""A simulated target in a process of its own: what it accepts stands in its own journal, the oracle of every test here.

It loses answers, hangs up, answers late, commits late, lists late and is busy, all decided by a seed. A world is one
account of it, of one class: A upserts by `ref`, B knows idempotency keys, C can be searched by `ref`, D only creates.
Run as a program it takes the journal's path and prints its port.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import random
import re
import sqlite3
import sys
import threading
import time
from copy import deepcopy
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any]
KINDS = ("before", "after", "late", "broken", "half", "busy")
SCHEMA = """
CREATE TABLE IF NOT EXISTS journal (seq INTEGER PRIMARY KEY, world TEXT, op TEXT, id TEXT, name TEXT, n INTEGER);
CREATE TABLE IF NOT EXISTS faults (world TEXT, kind TEXT, count INTEGER, PRIMARY KEY (world, kind));
"""


@dataclass
class World:
    """An account. rate: share of writes with a fault. late, index: seconds within which it commits and lists."""

    name: str
    kind: str
    rate: float = 0.0
    seed: int = 1
    late: float = 0.0
    index: float = 0.0
    lose: dict[str, list[str]] = field(default_factory=dict)
    """Name of a record → the faults of its next writes."""
    kinds: tuple[str, ...] = KINDS
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    keys: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    listed: dict[str, float] = field(default_factory=dict)
    pending: list[tuple[float, int, Any]] = field(default_factory=list)
    seen: dict[bytes, int] = field(default_factory=dict)
    writes: int = 0
    now: float | None = None
    """When a late write was committed; it is noticed with the next request."""


class Target:
    """All worlds, one lock, one journal."""

    def __init__(self, journal: str) -> None:
        self.db = sqlite3.connect(journal, check_same_thread=False, isolation_level=None)
        self.db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;" + SCHEMA)
        self.worlds: dict[str, World] = {}
        self.lock = threading.Lock()
        self.open = 0
        """Connections: those of clients that were killed are read to their end first."""

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> Answer | None:
        """The answer, None to hang up."""
        name, _, rest = path.lstrip("/").partition("/")
        with self.lock:
            if name != "control":
                return self.of_client(self.worlds[name], method, rest, headers, body)
        if rest.startswith("age/"):
            self.quiet()
        with self.lock:
            return 200, self.control(rest, json.loads(body or b"{}"))

    def quiet(self) -> None:
        """Wait until no client is left but the one that asks: time passes only after what is on its way."""
        until = time.monotonic() + 30
        while self.open > 1 and time.monotonic() < until:
            time.sleep(0.002)

    def of_client(self, world: World, method: str, rest: str, headers: Any, body: bytes) -> Answer | None:
        self.commit_late(world)
        if method == "GET":
            return 200, {"items": self.listed(world, rest)}
        kind = self.fault(world, method, rest, body)
        if kind == "busy":
            return 429, {"error": "busy"}
        if kind == "before":
            return None
        if kind == "broken":
            return 502, {"error": "bad gateway"}
        if kind == "late":
            share = random.Random(world.seed + world.writes).random() if world.rate else 1.0
            due = time.monotonic() + share * world.late
            heapq.heappush(world.pending, (due, world.writes, (method, rest, dict(headers), body)))
            return None
        given = self.write(world, method, rest, headers, body, half=kind == "half")
        return None if kind in ("after", "half") else given

    def control(self, rest: str, given: dict[str, Any]) -> Any:
        """Open or change a world (`set`), copy one (`copy`), make it older (`age`), commit what is late (`settle`), tell of
        it (`look`)."""
        what, _, name = rest.partition("/")
        if what == "set":
            world = self.worlds.setdefault(name, World(name, given.get("kind", "C")))
            for key, value in given.items():
                setattr(world, key, tuple(value) if key == "kinds" else value)
        elif what == "copy":
            old = self.worlds[given["of"]]
            self.commit_late(old, all_of_it=True)
            self.worlds[name] = replace(deepcopy(old), name=name)
            self.db.execute("INSERT INTO journal (world, op, id, name, n) SELECT ?, op, id, name, n FROM journal "
                            "WHERE world = ? ORDER BY seq", (name, old.name))  # fmt: skip
        elif what == "age":
            world = self.worlds[name]
            world.pending = [(due - given["seconds"], *rest) for due, *rest in world.pending]  # the same order
            world.listed = {id: at - given["seconds"] for id, at in world.listed.items()}
            self.commit_late(world)
        elif what == "look":
            return {"writes": self.worlds[name].writes}
        elif what == "settle":
            self.commit_late(self.worlds[name], all_of_it=True)
            return {"items": list(self.worlds[name].items.values())}
        return {}

    def fault(self, world: World, method: str, path: str, body: bytes) -> str | None:
        """What befalls a write: asked for by its record's name, else decided by seed, bytes and how often they came."""
        world.writes += 1
        kind = None
        item = world.items.get(path.rsplit("/", 1)[1], {}) if method == "PATCH" else {}
        for name, faults in world.lose.items():
            if faults and (item.get("name") == name or f'"name":"{name}"'.encode() in body):
                kind = faults.pop(0)
        if kind is None and world.rate:
            print_ = hashlib.blake2b(path.encode() + body, digest_size=8).digest()
            world.seen[print_] = world.seen.get(print_, 0) + 1
            draw = random.Random(print_ + f"{world.seed} {world.seen[print_]}".encode())
            kind = draw.choice(world.kinds) if draw.random() < world.rate else None
        if kind is not None:
            self.db.execute("INSERT INTO faults VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET count = count + 1",
                            (world.name, kind))  # fmt: skip
        return kind

    def commit_late(self, world: World, *, all_of_it: bool = False) -> None:
        while world.pending and (all_of_it or world.pending[0][0] <= time.monotonic()):
            due, _, (method, rest, headers, body) = heapq.heappop(world.pending)
            world.now = due
            self.write(world, method, rest, headers, body)
            world.now = None

    def listed(self, world: World, query: str) -> list[dict[str, Any]]:
        """What a search finds: not what is too young for the index. By id everything is found."""
        ref, ids = re.search(r"ref=([^&]+)", query), re.search(r"ids=([^&]+)", query)
        if ids:
            return [world.items[id] for id in ids[1].replace("%2C", ",").split(",") if id in world.items]
        now = time.monotonic()
        found = [one for id, one in world.items.items() if world.listed.get(id, 0) <= now]
        return [one for one in found if not ref or one.get("ref") == ref[1]]

    # ------------------------------------------------------------------ writes
    def write(
        self, world: World, method: str, path: str, headers: Any, body: bytes, *, half: bool = False
    ) -> Answer:  # fmt: skip
        record = json.loads(body)
        if path == "items/batch":
            rows = record["items"][: len(record["items"]) // 2] if half else record["items"]
            return 200, {"items": [{"status": 201, "id": self.create(world, one)} for one in rows]}
        if method == "PATCH":
            id = path.rsplit("/", 1)[1]
            if id not in world.items:
                return 404, {"error": "no such item"}
            self.change(world, id, record)
            return 200, {}
        if method == "PUT":
            ref = path.rsplit("/", 1)[1]
            if ref in world.refs:
                self.change(world, world.refs[ref], record)
                return 200, {"id": world.refs[ref]}
            return 201, {"id": self.create(world, {**record, "ref": ref})}
        key = headers.get("Idempotency-Key")
        if world.kind == "B" and key in world.keys:
            known, id = world.keys[key]
            return (200, {"id": id}) if known == body else (422, {"error": "other bytes under a known key"})
        id = self.create(world, record)
        if world.kind == "B" and key:
            world.keys[key] = (body, id)
        return 201, {"id": id}

    def create(self, world: World, record: dict[str, Any]) -> str:
        id = str(len(world.items) + 1)
        world.items[id] = {**record, "id": id}
        if "ref" in record:
            world.refs.setdefault(record["ref"], id)
        if world.index:
            lag = random.Random(world.seed + len(world.items)).random() * world.index
            world.listed[id] = (world.now or time.monotonic()) + lag
        self.note(world, "create", id)
        return id

    def change(self, world: World, id: str, fields: dict[str, Any]) -> None:
        world.items[id] |= fields
        self.note(world, "update", id)

    def note(self, world: World, op: str, id: str) -> None:
        row = world.items[id]
        self.db.execute("INSERT INTO journal (world, op, id, name, n) VALUES (?, ?, ?, ?, ?)",
                        (world.name, op, id, row.get("name"), row.get("n")))  # fmt: skip


def serve(target: Target) -> ThreadingHTTPServer:
    """A server on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            given = target.answer(self.command, self.path, self.headers, body)
            if given is None:
                self.close_connection = True
                return
            data = json.dumps(given[1]).encode()
            head = f"HTTP/1.1 {given[0]} X\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
            self.wfile.write(head.encode() + data)

        do_GET = do_POST = do_PATCH = do_PUT = reply

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    class Listener(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

        def process_request(self, request: Any, client_address: Any) -> None:
            with target.lock:
                target.open += 1
            super().process_request(request, client_address)

        def process_request_thread(self, request: Any, client_address: Any) -> None:
            try:
                super().process_request_thread(request, client_address)
            finally:
                with target.lock:
                    target.open -= 1

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Clients are killed here; that is no fault."""
            if not isinstance(sys.exception(), ConnectionError):
                super().handle_error(request, client_address)

    return Listener(("127.0.0.1", 0), Handler)


if __name__ == "__main__":
    running = serve(Target(sys.argv[1]))
    print(running.server_address[1], flush=True)
    running.serve_forever(0.05)
