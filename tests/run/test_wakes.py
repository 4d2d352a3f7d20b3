"""A record that waits for another one is tried again however that one became known: made, adopted, or found after a doubt."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from engine.run.runner import Runner
from engine.run.session import Options
from engine.spec.workspace import Workspace
from engine.state.store import Store
from tests.conftest import Make
from tests.run.test_classes import CLASSES, FILES, MANIFEST, Box, Line, box
from tests.run.test_sync import SCHEMA

__all__ = ["box"]
NOTES = """
  notes:
    key: id
    read: { get: /items, records: body.items }
"""
MORE = {
    "schemas/note.yaml": SCHEMA + "properties: { thing: { type: string, x-ref: thing } }\n",
    "mappings/box/notes.yaml": "mapping: box/notes\nobject: notes\nentity: note\n"
    "fields: { thing: { from: id, ref: { entity: thing, object: items }, on_missing: wait } }\n",
    "flows/notes.yaml": "flow: notes\nkind: sync\nentity: note\nsource: { connection: box, mapping: box/notes }\ntargets: []\n",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSWALK_SECRET_BOX", "t")


def line(make: Make, url: str, match: str) -> Line:
    settings = (
        "crosswalk: 1\nname: wakes\nconnections:\n  src: { connector: files, path: data, format: ndjson }\n"
        f'  box: {{ connector: box, url: "{url}", auth: {{ token: "${{secret:box}}" }}, timeout: 300ms, retries: 0 }}\n'
    )
    find = MANIFEST.replace("by: { ref: { param: ref } }", "by: { ref: { param: ref }, name: { param: name } }")
    flow = FILES["flows/things.yaml"].replace("match: []", f"match: {match}")
    files = {**FILES, **MORE, "flows/things.yaml": flow, "connectors/box.yaml": find + CLASSES["C"] + NOTES}
    return Line(make({**files, "crosswalk.yaml": settings}), ["n0"])


def run(folder: Path, flow: str) -> None:
    store = Store.open("sqlite:///.crosswalk/state.db", folder)
    try:
        Runner(Workspace.open(folder), store).run(flow, Options())
    finally:
        store.close()


def states(world: Line) -> list[str]:
    return [row.state for row in world.open() if row.flow == "notes"]


def test_an_adopted_record_wakes_what_waits_for_it(make: Make, box: tuple[Box, str]) -> None:
    held, url = box
    held.create({"name": "n0"})
    world = line(make, url, "[[name]]")
    run(world.folder, "notes")
    assert states(world) == ["waiting"]
    world.run()
    assert sum(held.creates.values()) == 1, "it was adopted"
    assert states(world) == ["due"]
    run(world.folder, "notes")
    assert states(world) == []


def test_a_record_found_after_a_doubt_wakes_what_waits_for_it(make: Make, box: tuple[Box, str]) -> None:
    held, url = box
    world = line(make, url, "[]")
    held.lose = lambda call: "after"
    world.run()
    held.lose = lambda call: None
    run(world.folder, "notes")
    assert states(world) == ["waiting"]
    time.sleep(1.8)
    world.run()
    assert sum(held.creates.values()) == 1 and json.dumps(held.items)
    assert states(world) == ["due"]
    run(world.folder, "notes")
    assert states(world) == []
