"""A line from a file to the simulated target, run in processes that may die, and the oracle that judges it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import urllib.request
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TIMEOUT, LATE, INDEX = 0.4, 0.1, 0.1
SETTLE = 2 * TIMEOUT + LATE + INDEX + 0.2
"""Seconds after which a write without an answer may be judged (DELIVERY: send_by + timeout + late + index)."""
SCHEMA = (
    "$schema: https://json-schema.org/draft/2020-12/schema\ntype: object\nadditionalProperties: false\n"
    "properties: { name: { type: string }, n: { type: integer } }\n"
)
MANIFEST = """connector: box
settings: { url: { required: true } }
base: "{url}"
auth: { kinds: [bearer] }
objects:
  items:
    key: id
    late: %(late)dms
    index: %(index)dms
    marker: ref
    read: { get: /items, records: body.items, keys: { param: ids, join: "," } }
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
BATCH = (
    '    batch: { create: { post: /items/batch, body: { items: "@records" }, size: 50, results: body.items, by: position, '
    'ok: "status < `300`", id: id } }\n'
)
SETTINGS = """crosswalk: 1
name: chaos
state: "${env:CHAOS_STATE}"
connections:
  src: { connector: files, path: "${env:CHAOS_DATA}", format: ndjson }
  box: { connector: box, url: "${env:CHAOS_URL}", auth: { token: "${secret:box}" }, timeout: %(timeout)dms, retries: 1,
         backoff: 1ms..5ms, limits: { concurrency: 4 }, breaker: { failures: 100%%, of: 100000, reset: 1s } }
"""
FILES = {
    "schemas/thing.yaml": SCHEMA,
    "mappings/src/things.yaml": "mapping: src/things\nobject: things\nentity: thing\nfields: { name: name, n: n }\n",
    "mappings/box/items.yaml": "mapping: box/items\nobject: items\nentity: thing\nfields: { name: name, n: n }\n",
}
FLOW = (
    "flow: things\nkind: sync\nentity: thing\nsource: { connection: src, mapping: src/things }\n"
    "targets: [{ connection: box, mapping: box/items, match: [] }]\nguard: { errors: 100%% }\npolicy: { batch: %d }\n"
)


class Oracle:
    """The simulated target's process: its control, and its journal."""

    def __init__(self, folder: Path) -> None:
        self.journal = folder / "journal.db"
        words = [sys.executable, str(HERE / "target.py"), str(self.journal)]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def control(self, what: str, world: str, **given: Any) -> Any:
        request = urllib.request.Request(
            f"{self.url}/control/{what}/{world}", json.dumps(given).encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=20) as reply:
            return json.load(reply)

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        db = sqlite3.connect(self.journal)
        try:
            return db.execute(sql, values).fetchall()
        finally:
            db.close()

    def creates(self, world: str) -> Counter[str]:
        """How often the target made a record of each name."""
        sql = "SELECT name, count(*) FROM journal WHERE world = ? AND op = 'create' GROUP BY name"
        return Counter(dict(self.rows(sql, world)))

    def faults(self, world: str) -> dict[str, int]:
        return dict(self.rows("SELECT kind, count FROM faults WHERE world = ?", world))

    def inversions(self, world: str) -> int:
        """Writes of a record that came after a newer one of the same record."""
        greatest: dict[str, int] = {}
        count = 0
        for name, n in self.rows("SELECT name, n FROM journal WHERE world = ? ORDER BY seq", world):
            count += n < greatest.get(name, n)
            greatest[name] = max(n, greatest.get(name, n))
        return count

    def close(self) -> None:
        self.process.terminate()
        self.process.communicate()


class Forge:
    """The process that runs are forked from."""

    def __init__(self) -> None:
        env = {**os.environ, "CROSSWALK_SECRET_BOX": "t", "PYTHONPATH": str(ROOT)}
        words = [sys.executable, "-m", "tests.chaos.forge"]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=env
        )
        self._answer()

    def _answer(self) -> list[dict[str, Any]]:
        assert self.process.stdout is not None
        told: list[dict[str, Any]] = json.loads(self.process.stdout.readline())
        return told

    def run(self, *orders: dict[str, Any]) -> list[dict[str, Any]]:
        """Order runs at the same time; what became of each. A child that failed otherwise than by its death is an error."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(orders) + "\n")
        self.process.stdin.flush()
        told = self._answer()
        assert [one["error"] for one in told if "error" in one] == []
        return told

    def close(self) -> None:
        self.process.communicate("")


def workspace(folder: Path, kind: str, *, batch: int = 3, batches: bool = False, late: float = LATE) -> Path:
    """The workspace of a class; state, data and address come from the environment."""
    times = {"late": late * 1000, "index": INDEX * 1000, "timeout": TIMEOUT * 1000}
    files = {
        **FILES, "crosswalk.yaml": SETTINGS % times, "flows/things.yaml": FLOW % batch,
        "connectors/box.yaml": MANIFEST % times + CLASSES[kind] + (BATCH if batches else ""),
    }  # fmt: skip
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


class Line:
    """One state, one source, one world of the target."""

    def __init__(
        self, forge: Forge, oracle: Oracle, folder: Path, kind: str, world: str, state: str, data: Path
    ) -> None:
        self.forge, self.oracle, self.folder, self.kind = forge, oracle, folder, kind
        self.world, self.state, self.data = world, state, data
        self.wanted: dict[str, int] = {}
        data.mkdir(parents=True, exist_ok=True)

    @property
    def env(self) -> dict[str, str]:
        return {"CHAOS_STATE": self.state, "CHAOS_DATA": str(self.data), "CHAOS_URL": f"{self.oracle.url}/{self.world}"}

    def open(self, **settings: Any) -> Line:
        self.oracle.control("set", self.world, **{"kind": self.kind, "late": LATE, "index": INDEX, **settings})
        return self

    def give(self, rows: dict[str, int]) -> None:
        """Make these the source's records: name → n."""
        self.wanted = dict(rows)
        text = "".join(json.dumps({"id": name, "name": name, "n": n}) + "\n" for name, n in rows.items())
        fresh = self.data / "things.new"
        fresh.write_text(text)
        fresh.replace(self.data / "things.ndjson")

    def run(self, **how: Any) -> dict[str, Any]:
        """One process runs the flow; how it dies or stops: see forge."""
        return self.together(1, **how)[0]

    def race(self, *hows: dict[str, Any]) -> list[dict[str, Any]]:
        """Processes that run the flow at the same time, each in its way."""
        return self.forge.run(*({"folder": str(self.folder), "env": self.env, **how} for how in hows))

    def together(self, count: int, **how: Any) -> list[dict[str, Any]]:
        """So many processes run the flow at the same time."""
        return self.forge.run(*[{"folder": str(self.folder), "env": self.env, **how}] * count)

    def copy(self, world: str, state: str, data: Path) -> Line:
        """The same line once more, with everything as it is now; the caller copies the state."""
        other = Line(self.forge, self.oracle, self.folder, self.kind, world, state, data)
        self.oracle.control("copy", world, of=self.world)
        other.give(self.wanted)
        return other

    def exceptions(self) -> set[str]:
        """Records of exceptions that a person can see."""
        return set(self.together(1, ask="exceptions")[0]["exceptions"])

    def wait(self, seconds: float = SETTLE) -> None:
        """So much time passes for the target and in the state, without anybody waiting for it."""
        self.oracle.control("age", self.world, seconds=seconds)
        self.together(1, ask="age", age=seconds)

    def settle(self, runs: int = 8) -> dict[str, Any]:
        """Run without faults until nothing is left to do; the last run."""
        self.open(rate=0.0, lose={})
        for _ in range(runs):
            told = self.run()["run"]
            moved = told["created"] + told["updated"]
            if not moved and not told["waiting"]:
                break
            if told["waiting"]:
                self.wait()
        return told

    def verdict(self) -> dict[str, Any]:
        """What the target's journal says: doubled, lost (and not told), changed otherwise than by the source."""
        held = {one["name"]: one["n"] for one in self.oracle.control("settle", self.world)["items"]}
        creates = self.oracle.creates(self.world)
        wrong = {name for name, n in self.wanted.items() if held.get(name) != n}
        told = self.exceptions() if wrong else set()
        return {
            "doubled": sorted(name for name, count in creates.items() if count > 1),
            "lost": sorted(name for name in wrong - told),
            "exceptions": sorted(told),
            "strangers": sorted(creates.keys() - self.wanted.keys()),
        }


GOOD = {"doubled": [], "lost": [], "exceptions": [], "strangers": []}


def copy_sqlite(old: Path, new: Path) -> None:
    """A state's file with what its log still holds."""
    new.parent.mkdir(parents=True, exist_ok=True)
    for ending in ("", "-wal"):
        with suppress(FileNotFoundError):
            shutil.copyfile(f"{old}{ending}", f"{new}{ending}")
