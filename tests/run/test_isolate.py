"""A record that ends its process: in hand at three deaths, twice alone, it is set aside, and the others go on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Make
from tests.run.folder import Folder
from tests.run.test_sync import SCHEMA

FILES = {
    "crosswalk.yaml": "crosswalk: 1\nname: deadly\nfunctions: functions.py\nconnections:\n"
    "  src: { connector: files, path: data, format: ndjson, objects: { things: { key: id, modified: at } } }\n"
    '  dw: { connector: files, path: out, format: ndjson }\n',
    "functions.py": 'import os\nfrom engine.compile.functions.function import function\n\n\n@function("string")\ndef fuse(text: str) -> str:\n'
    '    """Ends the process where the text is a bomb."""\n    if text == "bomb":\n        os._exit(9)\n    return text\n',
    "schemas/thing.yaml": SCHEMA + "properties: { name: { type: string } }\n",
    "mappings/src/things.yaml": 'mapping: src/things\nobject: things\nentity: thing\ninbound: { name: { from: "fuse(name)" } }\n',
    "mappings/dw/things.yaml": "mapping: dw/things\nobject: things\nentity: thing\nfields: { name: name }\noutbound: { id: id }\n",
    "flows/things.yaml": "flow: things\nkind: sync\nentity: thing\nsource: { connection: src, mapping: src/things }\n"
    "targets: [{ connection: dw, mapping: dw/things, match: [] }]\npolicy: { batch: 10 }\n",
}  # fmt: skip


class Line(Folder):
    def give(self, **names: str) -> None:
        rows = [{"id": f"n{n:02d}", "name": f"name {n}", "at": f"2026-01-{n + 1:02d}T00:00:00Z"} for n in range(25)]
        for row in rows:
            row["name"] = names.get(row["id"], row["name"])
        self.put(rows)

    def start(self) -> int:
        crosswalk = Path(sys.executable).parent / "crosswalk"
        done = subprocess.run([crosswalk, "run", "things", "--json"], cwd=self.folder, capture_output=True, timeout=60)
        return done.returncode

    def written(self) -> list[str]:
        text = "".join(one.read_text() for one in (self.folder / "out").glob("*.ndjson"))
        return sorted(json.loads(line)["name"] for line in text.splitlines())


@pytest.fixture
def line(make: Make) -> Line:
    return Line(make(FILES))


def test_a_record_in_hand_at_three_deaths_is_set_aside_and_the_others_go_on(line: Line) -> None:
    line.give(n13="bomb")
    assert [line.start() for _ in range(4)] == [9, 9, 9, 9]
    told = line.run()
    assert (told["state"], told["quarantined"]) == ("partial", 1), told
    assert line.written() == sorted(f"name {n}" for n in range(25) if n != 13)
    (row,) = line.open()
    assert (row.key, row.code, row.exception_class, row.state) == ("n13", "E470", "internal", "open")
    assert line.run(full=True)["quarantined"] == 1, "read again it stays out"
    line.give(n13="defused")
    assert line.run(full=True)["quarantined"] == 0
    assert line.open() == [] and "defused" in line.written()


def test_a_death_that_no_record_caused_leaves_nothing_behind(line: Line) -> None:
    line.give(n20="bomb")
    assert line.start() == 9
    line.give()
    told = line.run()
    assert (told["state"], told["read"]) == ("succeeded", 25)
    line.give(n20="bomb")
    (line.folder / "data/things.ndjson").write_text(
        (line.folder / "data/things.ndjson").read_text().replace("2026-01-21", "2026-02-21")
    )
    assert [line.start() for _ in range(2)] == [9, 9]
    line.give()
    assert line.run(full=True)["state"] == "succeeded" and line.open() == []
