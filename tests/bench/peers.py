"""The same job by dlt and by a Singer pipeline: NDJSON → typed, keyed table, then again with 1% changed.

They do less: no canonical copy, no ledger, no journal, no checks. Each is installed into a place of its own, outside
the project's environment. Prints CPU seconds, peak memory and ratios; asserts nothing.

python tests/bench/peers.py [records]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import bench

PLACE = Path(tempfile.gettempdir()) / "crosswalk-bench-peers"
TYPES = {
    "id": "string", "person": "string", "project": "string", "date": "string", "hours": "number", "status": "string", "note": "string",
    "billable": "boolean", "amount": "number", "currency": "string",
}  # fmt: skip
ROW = '''
import decimal, json, sys

def rows(path):
    """The mapping by hand, flat."""
    for line in open(path):
        r = json.loads(line, parse_float=decimal.Decimal)
        yield {"id": r["id"], "person": r["user"]["id"], "project": r["workspace_id"], "date": r["date_performed"],
               "hours": (decimal.Decimal(r["time_in_minutes"]) / 60).quantize(decimal.Decimal("0.0001")),
               "status": {"open": "draft", "done": "approved"}[r["status"]["key"]], "note": r["notes"].strip(),
               "billable": r["billable"], "amount": decimal.Decimal(r["rate_in_cents"]) / 100, "currency": r["currency"]}
'''
DLT = (
    ROW
    + """
import dlt

resource = dlt.resource(rows(sys.argv[1]), name="entries", primary_key="id", write_disposition="merge")
pipeline = dlt.pipeline("bench", destination=dlt.destinations.sqlalchemy("sqlite:///dlt.db"), dataset_name="main", pipelines_dir=".dlt")
pipeline.run(resource)
"""
)
TAP = (
    ROW
    + """
fields = {name: {"type": [kind, "null"]} for name, kind in json.loads(sys.argv[2]).items()}
print(json.dumps({"type": "SCHEMA", "stream": "entries", "key_properties": ["id"], "schema": {"properties": fields}}))
for row in rows(sys.argv[1]):
    print(json.dumps({"type": "RECORD", "stream": "entries", "record": row}, default=float))
"""
)


def tool(name: str, *packages: str) -> Path:
    """The Python of a peer's own environment, made when first asked for."""
    place = PLACE / name
    if not (place / "made").exists():
        venv.create(place, with_pip=True)
        subprocess.run([place / "bin/pip", "install", "--quiet", "--disable-pip-version-check", *packages], check=True)
        (place / "made").touch()
    return place / "bin/python"


def twice(command: list[str], folder: Path, records: int) -> tuple[float, float, float]:
    """CPU seconds of the first run and of one with 1% changed, and the higher peak in MB."""
    bench.write(folder, records)
    first, high = bench.usage(command, folder)
    bench.write(folder, records, changed=100)
    second, higher = bench.usage(command, folder)
    return first, second, max(high, higher)


def dlt(folder: Path) -> list[str]:
    (folder / "dlt_job.py").write_text(DLT)
    return [str(tool("dlt", "dlt[sqlalchemy]>=1.4", "sqlalchemy<2.1")), "dlt_job.py", "data/entries.ndjson"]


def singer(folder: Path, url: str) -> list[str]:
    """A tap of our own, and the target that Meltano keeps."""
    python = tool("singer", "meltanolabs-target-postgres>=0.4")
    (folder / "tap.py").write_text(TAP)
    (folder / "types.json").write_text(json.dumps(TYPES))
    (folder / "target.json").write_text(json.dumps({"sqlalchemy_url": url, "default_target_schema": "bench_singer"}))
    target = python.parent / "target-postgres"
    text = f"{python} tap.py data/entries.ndjson '{json.dumps(TYPES)}' | {target} --config target.json"
    return ["sh", "-c", text]


def main() -> None:
    records = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    os.environ["SINGER_SDK_LOG_LEVEL"] = "ERROR"
    folder = bench.workspace(records)
    ours = twice([bench.CROSSWALK, "run", "entries"], folder, records)
    print(f"{records:,} records, CPU seconds: first run, 1% changed; peak memory")
    print(f"crosswalk → SQLite   {ours[0]:6.2f} {ours[1]:6.2f} {ours[2]:5.0f} MB")
    peers = {"dlt → SQLite": dlt(folder)}
    url = os.environ.get("CROSSWALK_TEST_POSTGRES")
    if url:
        peers["Singer → PostgreSQL"] = singer(folder, url)
    else:
        print("Singer: set CROSSWALK_TEST_POSTGRES to a database to compare with it")
    for name, command in peers.items():
        theirs = twice(command, folder, records)
        print(f"{name:20} {theirs[0]:6.2f} {theirs[1]:6.2f} {theirs[2]:5.0f} MB: {theirs[0] / ours[0]:.1f}× and "
              f"{theirs[1] / ours[1]:.1f}× of ours (goals: dlt 5× and 20×, Singer 10×)")  # fmt: skip


if __name__ == "__main__":
    main()
