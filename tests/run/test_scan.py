"""A target that commits later than it promised: the look back at its marks finds what was made twice."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from connectors.sandbox.server import Reply, Request, Server
from tests.conftest import Make
from tests.run.folder import Folder
from tests.run.test_sync import SCHEMA

FILES = {
    "schemas/thing.yaml": SCHEMA + "properties: { name: { type: string } }\n",
    "mappings/src/things.yaml": "mapping: src/things\nobject: things\nentity: thing\nfields: { name: name }\n",
    "mappings/box/items.yaml": "mapping: box/items\nobject: items\nentity: thing\nfields: { name: name }\n",
    "flows/things.yaml": "flow: things\nkind: sync\nentity: thing\nsource: { connection: src, mapping: src/things }\n"
    "targets: [{ connection: box, mapping: box/items, match: [] }]\n",
    "connectors/box.yaml": """connector: box
settings: { url: { required: true } }
base: "{url}"
auth: { kinds: [none] }
objects:
  items:
    key: id
    class: C
    late: 100ms
    index: 100ms
    marker: ref
    modified: { field: at, type: instant }
    read: { get: /items, records: body.items, since: { param: since }, keys: { param: ids, join: "," } }
    find: { get: /items, records: body.items, by: { ref: { param: ref } } }
    create: { post: /items, body: "@record", id: body.id }
""",
}  # fmt: skip


class Box:
    """A target. late: names whose first create has no answer and is only kept for when `commit` is called."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.late: set[str] = set()
        self.waiting: list[dict[str, Any]] = []
        self.reads: list[dict[str, str]] = []

    def __call__(self, request: Request) -> Reply | None:
        if request.method == "GET":
            if "since" in request.query:
                self.reads.append(request.query)
            wanted, since, ids = (request.query.get(name) for name in ("ref", "since", "ids"))
            rows = [
                one for one in self.items.values()
                if (not wanted or one["ref"] == wanted) and (not since or one["at"] >= since)
                and (not ids or one["id"] in ids.split(","))
            ]  # fmt: skip
            return Reply(200, {"items": rows})
        record = request.json()
        if record["name"] in self.late:
            self.late.discard(record["name"])
            self.waiting.append(record)
            return None
        return Reply(201, {"id": self.put(record)})

    def put(self, record: dict[str, Any]) -> str:
        id = str(len(self.items) + 1)
        self.items[id] = {**record, "id": id, "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"}
        return id

    def commit(self) -> None:
        for record in self.waiting:
            self.put(record)


class Line(Folder):
    def give(self, *names: str) -> None:
        self.put({"id": name, "name": name} for name in names)


@pytest.fixture
def box() -> Iterator[tuple[Box, Server]]:
    held = Box()
    server = Server("box", held)  # type: ignore[arg-type]
    yield held, server
    server.close()


@pytest.fixture
def line(make: Make, box: tuple[Box, Server]) -> Line:
    settings = (
        "crosswalk: 1\nname: scan\nconnections:\n  src: { connector: files, path: data, format: ndjson }\n"
        f'  box: {{ connector: box, url: "{box[1].url}", timeout: 300ms, retries: 0, backoff: 1ms..5ms }}\n'
    )
    return Line(make({**FILES, "crosswalk.yaml": settings}))


def test_a_create_that_comes_later_than_late_allows_is_found_and_told_with_both_ids(
    box: tuple[Box, Server], line: Line
) -> None:
    held, _ = box
    line.give("a", "b", "c")
    held.late = {"b"}
    assert line.run()["waiting"] == 1
    time.sleep(1.1)
    line.run()
    assert sorted(one["name"] for one in held.items.values()) == ["a", "b", "c"] and line.open() == []
    held.commit()  # long after the search found nothing
    told = line.run()
    assert (told["state"], told["quarantined"], told["created"]) == ("partial", 1, 0)
    (row,) = line.open()
    first, second = (id for id, one in held.items.items() if one["name"] == "b")
    assert (row.code, row.exception_class, row.state, row.key) == ("E456", "conflict", "open", f"box:{second}")
    assert re.search(rf"twice: as {first} and as {second}$", row.message) and "merge the two in box" in row.hint
    assert line.run()["quarantined"] == 0 and len(line.open()) == 1, "told once"
    del held.items[second]
    line.run()
    assert line.open() == [], "it closes by itself"


def test_only_what_changed_since_the_last_look_is_read_and_only_when_there_is_a_reason(
    box: tuple[Box, Server], line: Line
) -> None:
    held, _ = box
    line.give("a")
    line.run()
    assert len(held.reads) == 1, "it created"
    line.run()
    assert len(held.reads) == 1, "nothing was created, and nothing was in doubt"
    line.give("a", "b")
    line.run()
    first, second = (one["since"] for one in held.reads)
    assert first < second
    assert line.open() == []
