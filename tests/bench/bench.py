"""Speed and memory against the goals, each beside its reference in one run; prints ratios, asserts nothing.

python tests/bench/bench.py [records]
"""

from __future__ import annotations

import gc
import json
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import jmespath

from engine.compile.environment import StaticEnv
from engine.compile.mapping import compile_inbound
from engine.compile.registry import Registry
from engine.compile.rules import LinkSlot
from engine.sdk.record import decode_json, digest
from engine.spec.workspace import Workspace

CROSSWALK = str(Path(sys.executable).parent / "crosswalk")
FILES = {
    "crosswalk.yaml": """
crosswalk: 1
name: bench
connections:
  src: { connector: files, path: data, format: ndjson }
  dw: { connector: sql, url: "sqlite:///dw.db" }
""",
    "schemas/entry.yaml": """
$schema: https://json-schema.org/draft/2020-12/schema
type: object
additionalProperties: false
required: [person, date, hours]
properties:
  person: { type: string }
  project: { type: string }
  date: { type: string, format: date }
  hours: { type: number, minimum: 0 }
  amount: { type: object, required: [amount, currency], properties: { amount: { type: number }, currency: { type: string } } }
  status: { type: string, enum: [draft, approved] }
  note: { type: string }
  billable: { type: boolean }
""",
    "mappings/src/entries.yaml": """
mapping: src/entries
object: entries
entity: entry
fields:
  person: user.id
  project: workspace_id
  date: { from: date_performed, as: date }
  hours: { from: time_in_minutes, as: decimal, scale: 1/60, round: [4, 0] }
  amount: { from: rate_in_cents, as: money, scale: minor, currency: currency }
  status: { from: status.key, values: { open: draft, done: approved } }
  note: { from: notes, transform: [trim] }
  billable: billable
""",
    "mappings/dw/entries.yaml": """
mapping: dw/entries
object: entries
entity: entry
fields: { person: person, project: project, date: date, hours: hours, status: status, note: note, billable: billable }
outbound: { id: id, amount: amount.amount, currency: amount.currency }
""",
    "flows/entries.yaml": """
flow: entries
kind: sync
entity: entry
source: { connection: src, mapping: src/entries }
checks: [{ name: short, that: "hours <= `24`" }]
targets: [{ connection: dw, mapping: dw/entries }]
""",
}  # fmt: skip


def entry(number: int, minutes: int = 90) -> dict[str, Any]:
    return {"id": str(number), "user": {"id": str(number % 25)}, "workspace_id": str(number % 40), "date_performed": "2026-11-20",
            "time_in_minutes": minutes, "rate_in_cents": 9550, "currency": "EUR", "status": {"key": "done"}, "billable": True,
            "notes": f" work {number} " + "x" * 300, "tags": ["a", "b"], "created_at": "2026-11-20T10:00:00Z"}  # fmt: skip


def workspace(records: int) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    write(folder, records)
    with sqlite3.connect(folder / "dw.db") as db:
        db.execute("create table entries (id text primary key, person text, project text, date date, hours numeric, status text, "
                   "note text, billable boolean, amount numeric, currency text)")  # fmt: skip
    return folder


def write(folder: Path, records: int, changed: int = 0) -> None:
    (folder / "data").mkdir(exist_ok=True)
    with (folder / "data/entries.ndjson").open("w") as stream:
        for number in range(records):
            stream.write(json.dumps(entry(number, 120 if changed and number % changed == 0 else 90)) + "\n")


def by_hand(record: dict[str, Any]) -> dict[str, Any]:
    """What a careful person would write for the same mapping."""
    out: dict[str, Any] = {"person": record["user"]["id"], "project": record["workspace_id"]}
    day = record["date_performed"]
    if len(day) != 10 or day[4] != "-" or day[7] != "-":
        raise ValueError(day)
    out["date"] = day
    out["hours"] = (Decimal(record["time_in_minutes"]) / 60).quantize(Decimal("0.0001"))
    out["amount"] = {"amount": Decimal(record["rate_in_cents"]).scaleb(-2), "currency": record["currency"]}
    out["status"] = {"open": "draft", "done": "approved"}[record["status"]["key"]]
    out["note"] = record["notes"].strip()
    out["billable"] = record["billable"]
    return out


PATHS = [jmespath.compile(text) for text in (
    "user.id", "workspace_id", "date_performed", "time_in_minutes", "rate_in_cents", "currency", "status.key", "notes", "billable")]  # fmt: skip


def seconds(call: Callable[[], Any]) -> float:
    """CPU seconds of one call, the collector quiet."""
    gc.collect()
    gc.disable()
    start = time.process_time()
    call()
    used = time.process_time() - start
    gc.enable()
    return used


def mapping_speed() -> None:
    folder = workspace(1)
    registry = Registry(Workspace.open(folder))
    direction = compile_inbound(registry.document("mapping", "src/entries", None), registry).inbound
    assert direction is not None
    records = [decode_json(json.dumps(entry(number))) for number in range(20_000)]
    env, slots = StaticEnv(), [LinkSlot(lambda key: None) for _ in direction.slots]
    compiled, hand, library = [], [], []
    for _ in range(5):
        compiled.append(seconds(lambda: [direction.inward(record, env, slots) for record in records]))
        hand.append(seconds(lambda: [by_hand(record) for record in records]))
        library.append(seconds(lambda: [[path.search(record) for path in PATHS] for record in records]))
    ours, theirs, paths = (statistics.median(one) / len(records) * 1e6 for one in (compiled, hand, library))
    print(
        f"mapping: compiled {ours:.2f} µs, by hand {theirs:.2f} µs a record: {theirs / ours:.2f}× by hand (goal ≥ 0.95×)"
    )
    print(
        f"mapping: the same paths alone through the jmespath library {paths:.2f} µs: {paths / ours:.1f}× faster with the casts on top (goal ≥ 8×)"
    )


def usage(command: list[str], folder: Path) -> tuple[float, float]:
    """(CPU seconds, peak MB) of a process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = f"import resource,subprocess,sys; subprocess.run({command!r}, stdout=subprocess.DEVNULL, check=True); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, int(done.stdout) / 1024


def whole_runs(records: int) -> None:
    folder = workspace(records)
    idle, _ = usage([CROSSWALK, "--help"], folder)
    first, memory = usage([CROSSWALK, "run", "entries"], folder)
    write(folder, records, changed=100)
    second, _ = usage([CROSSWALK, "run", "entries"], folder)
    third, _ = usage([CROSSWALK, "run", "entries"], folder)
    raw = seconds(lambda: bare(folder))
    print(f"{records:,} records, first run: {first:.2f} s CPU, {records / first:,.0f} records/s, peak {memory:.0f} MB "
          f"(goal ≥ 45,000 records/s, ≤ 128 MB); {first / raw:.1f}× a bare decode, hash and insert ({raw:.2f} s)")  # fmt: skip
    print(
        f"{records:,} records, 1% changed: {second:.2f} s CPU as a whole process; nothing changed: {third:.2f} s (start-up alone {idle:.2f} s)"
    )


def bare(folder: Path) -> None:
    """The same input decoded, mapped by hand, hashed and inserted, with nothing remembered."""
    with sqlite3.connect(":memory:") as db:
        db.execute("create table t (id text primary key, body text, hash blob)")
        with (folder / "data/entries.ndjson").open("rb") as stream:
            rows = []
            for line in stream:
                record = decode_json(line)
                rows.append((record["id"], json.dumps(by_hand(record), default=str), digest(record)))
            db.executemany("insert into t values (?, ?, ?)", rows)


def main() -> None:
    records = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    mapping_speed()
    for count in (records, records * 5):
        whole_runs(count)


if __name__ == "__main__":
    main()
