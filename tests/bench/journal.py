"""The cost of the journal: the same run with it and without it (T1 and the settling of T2 left out), in turns, as a ratio.

python tests/bench/journal.py [records]
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from engine.run.runner import Runner
from engine.run.session import Options
from engine.spec.workspace import Workspace
from engine.state.store import Store

SCHEMA = "$schema: https://json-schema.org/draft/2020-12/schema\ntype: object\nadditionalProperties: false\n"
FILES = {
    "crosswalk.yaml": 'crosswalk: 1\nname: journal\nconnections:\n  src: { connector: files, path: data, format: ndjson }\n  dw: { connector: sql, url: "sqlite:///dw.db" }\n',
    "schemas/thing.yaml": SCHEMA + "properties: { name: { type: string }, hours: { type: number } }\n",
    "mappings/src/things.yaml": "mapping: src/things\nobject: things\nentity: thing\nfields: { name: name, hours: { from: hours, as: decimal } }\n",
    "mappings/dw/things.yaml": "mapping: dw/things\nobject: things\nentity: thing\nfields: { name: name, hours: hours }\noutbound: { id: id }\n",
}  # fmt: skip
FLOW = "flow: things\nkind: sync\nentity: thing\nsource: {{ connection: src, mapping: src/things }}\ntargets: [{{ connection: dw, mapping: dw/things, operation: {}, match: [[name]] }}]\n"
CLASSES = {"A (a marker a batch)": "upsert", "C (an operation a record)": "create"}


def workspace(operation: str, records: int) -> Path:
    folder = Path(tempfile.mkdtemp())
    for name, text in {**FILES, "flows/things.yaml": FLOW.format(operation)}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "data").mkdir()
    rows = (json.dumps({"id": str(n), "name": f"Thing {n}", "hours": f"{n % 900}.25"}) + "\n" for n in range(records))
    (folder / "data/things.ndjson").write_text("".join(rows))
    with sqlite3.connect(folder / "dw.db") as db:
        db.execute("create table things (id text primary key, name text, hours numeric)")
    db.close()
    return folder


def seconds(operation: str, records: int, *, journal: bool) -> float:
    """CPU of one first run."""
    folder = workspace(operation, records)
    store = Store.open("sqlite:///.crosswalk/state.db", folder)
    bare: Any = lambda session, plan, target, pairs, limit, first: pairs  # noqa: E731 - stands in for T1
    start = time.process_time()
    if journal:
        told = Runner(Workspace.open(folder), store).run("things", Options()).run
    else:
        settle = patch("engine.run.commit.settle_writes", lambda *given: None)
        with patch("engine.run.deliver.intend", bare), settle:
            told = Runner(Workspace.open(folder), store).run("things", Options()).run
    spent = time.process_time() - start
    assert told["created"] == records, told
    store.close()
    shutil.rmtree(folder)
    return spent


def main() -> None:
    records = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    for name, operation in CLASSES.items():
        seconds(operation, 500, journal=True)  # warm
        pairs = [
            (seconds(operation, records, journal=True), seconds(operation, records, journal=False)) for _ in range(3)
        ]
        ratio = statistics.median(one / other for one, other in pairs)
        print(f"journal, class {name}: {ratio:.2f}× the CPU of the same first run of {records:,} records without it")


if __name__ == "__main__":
    main()
