"""Speed and memory of reconciliations, each beside its reference in one run; prints ratios, asserts nothing.

python tests/bench/reconcile.py [records a side]

The join alone: rows of two sides, sorted and unsorted, into files and met; beside DuckDB and pandas on the same rows in
Parquet, and reladiff on two tables of one PostgreSQL. Then the whole engine on files. Every figure is a process of its own.
"""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

POSTGRES = "postgresql://postgres@127.0.0.1/test"
EVERY = 1000
"""One row in so many differs."""


def rows(count: int, side: int, order: str) -> Iterator[tuple[str, str, str]]:
    """(key, digest, the rest) of each record of a side."""
    import xxhash

    step = next(one for one in range(7919, count + 7919) if math.gcd(one, count) == 1)
    for place in range(count):
        number = place if order == "sorted" else place * step % count
        seen = -1 - number if side and number % EVERY == 0 else number
        rest = f'[["{side}-{number}"],null,"","2026-01-01T00:00:00Z","in",["open","2026-01-05",100.50]]'
        yield f'"INV-{number:09d}"', xxhash.xxh3_128_hexdigest(b"%d" % seen), rest


def join(count: int, order: str) -> tuple[float, int]:
    """Rows into two spills, then met: (CPU seconds without the making of the rows, keys that differ)."""
    from engine.run.join import Join
    from engine.run.spill import Spill

    spills, took = [Spill(), Spill()], 0.0
    for side, spill in enumerate(spills):
        chunk: list[bytes] = []
        for one in rows(count, side, order):
            chunk.append("\t".join(one).encode() + b"\n")
            if len(chunk) == 10_000:
                began = time.process_time()
                for line in chunk:
                    spill.add(line)
                took += time.process_time() - began
                chunk = []
        for line in chunk:
            spill.add(line)
    began = time.process_time()
    found = sum(1 for _ in Join([spill.pieces() for spill in spills]))
    took += time.process_time() - began
    for spill in spills:
        spill.close()
    return took, found


def parquet(count: int, folder: Path) -> list[str]:
    """The unsorted rows of both sides as Parquet; made once."""
    import pyarrow
    from pyarrow import parquet as files

    schema = pyarrow.schema([("key", pyarrow.string()), ("digest", pyarrow.string()), ("rest", pyarrow.string())])
    names = [str(folder / f"{count}-{side}.parquet") for side in (0, 1)]
    for side, name in enumerate(names):
        if Path(name).exists():
            continue
        with files.ParquetWriter(name, schema) as writer:
            columns: list[list[str]] = [[], [], []]
            for one in rows(count, side, "unsorted"):
                for column, value in zip(columns, one, strict=True):
                    column.append(value)
                if len(columns[0]) == 100_000:
                    writer.write_table(pyarrow.table(columns, schema=schema))
                    columns = [[], [], []]
            if columns[0]:
                writer.write_table(pyarrow.table(columns, schema=schema))
    return names


def duckdb(count: int, folder: Path) -> tuple[float, int]:
    import duckdb

    left, right = parquet(count, folder)
    connection = duckdb.connect(config={"threads": 1})
    began = time.process_time()
    found = connection.execute(
        f"SELECT count(*), max(l.rest), max(r.rest) FROM '{left}' l FULL JOIN '{right}' r ON l.key = r.key "
        "WHERE l.digest IS DISTINCT FROM r.digest"
    ).fetchone()
    return time.process_time() - began, found[0]


def pandas(count: int, folder: Path) -> tuple[float, int]:
    import pandas

    left, right = parquet(count, folder)
    began = time.process_time()
    met = pandas.read_parquet(left).merge(pandas.read_parquet(right), on="key", how="outer", suffixes=("_l", "_r"))
    return time.process_time() - began, int((met["digest_l"] != met["digest_r"]).sum())


def tables(count: int) -> None:
    """The rows of both sides as two tables of one PostgreSQL."""
    import psycopg

    with psycopg.connect(POSTGRES) as connection:
        for side in (0, 1):
            connection.execute(f"DROP TABLE IF EXISTS bench_reconcile_{side}")
            connection.execute(f"CREATE TABLE bench_reconcile_{side} (id bigint PRIMARY KEY, digest text, rest text)")
            with connection.cursor().copy(f"COPY bench_reconcile_{side} FROM STDIN") as copy:
                for key, digest, rest in rows(count, side, "sorted"):
                    copy.write_row((int(key[5:-1]), digest, rest))
        connection.commit()
        connection.autocommit = True
        connection.execute("VACUUM ANALYZE bench_reconcile_0, bench_reconcile_1")


def reladiff(count: int) -> tuple[float, int]:
    """Wall seconds: most of it is the database's work."""
    from reladiff import connect_to_table, diff_tables

    tables(count)
    sides = [connect_to_table(POSTGRES, f"bench_reconcile_{side}", "id", extra_columns=("digest",)) for side in (0, 1)]
    began = time.perf_counter()
    found = {row[1][0] for row in diff_tables(*sides)}
    return time.perf_counter() - began, len(found)


def read_and_join(count: int) -> tuple[float, int]:
    """The same two tables read in the order of their keys and met here. Wall seconds, as for reladiff."""
    import psycopg

    from engine.run.join import Join
    from engine.run.spill import Spill

    tables(count)
    began = time.perf_counter()
    spills = [Spill(), Spill()]
    with psycopg.connect(POSTGRES) as connection:
        for side, spill in enumerate(spills):
            query = f"COPY (SELECT lpad(id::text, 12, '0'), digest, rest FROM bench_reconcile_{side}) TO STDOUT"
            with connection.cursor().copy(query) as copy:
                for block in copy:
                    for line in bytes(block).splitlines(True):
                        spill.add(line)
    found = sum(1 for _ in Join([spill.pieces() for spill in spills]))
    for spill in spills:
        spill.close()
    return time.perf_counter() - began, found


def engine(count: int, missing: bool = False) -> tuple[float, int]:
    """A whole run on files. missing: no record of a side is at the other one, and each is a break."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from tests.run.reconcile_world import Systems, bill, invoice

    with tempfile.TemporaryDirectory() as place:
        systems = Systems(Path(place))
        systems.flow("keep_breaks: 1000\ntotals: [{ sum: total, by: [status] }]\n")
        with (Path(place) / "psa/invoices.ndjson").open("w") as left:
            left.writelines(json.dumps(invoice(number)) + "\n" for number in range(count))
        with (Path(place) / "erp/bills.ndjson").open("w") as right:
            for number in range(count):
                other = bill(number + count * missing, **({"amount": 7} if number % EVERY == 0 else {}))
                right.write(json.dumps(other) + "\n")
        began = time.process_time()
        told = systems.run()
        took = time.process_time() - began
        systems.close()
    assert told["breaks"]["compared"] == count * (2 if missing else 1), told
    return took, told["breaks"]["found"]


KINDS: dict[str, Callable[[int, Path], tuple[float, int]]] = {
    "join, sorted": lambda count, folder: join(count, "sorted"),
    "join, unsorted": lambda count, folder: join(count, "unsorted"),
    "duckdb": duckdb,
    "pandas": pandas,
    "reladiff": lambda count, folder: reladiff(count),
    "read and join": lambda count, folder: read_and_join(count),
    "engine": lambda count, folder: engine(count),
    "engine, all breaks": lambda count, folder: engine(count, missing=True),
}


def measured(kind: str, count: int, folder: Path) -> dict[str, Any]:
    """A kind in a process of its own: seconds, what it found, and the peak of its memory in MB."""
    words = [sys.executable, __file__, "--one", kind, str(count), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def one(kind: str, count: int, folder: Path) -> None:
    seconds, found = KINDS[kind](count, folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"seconds": seconds, "found": found, "peak": peak}))


def table(title: str, kinds: list[str], count: int, folder: Path) -> None:
    """A line for each kind; ratios to the first one."""
    print(f"\n{title}, {count:,} records a side")
    first = None
    for kind in kinds:
        told = measured(kind, count, folder)
        if "error" in told:
            print(f"  {kind:20} not measured: {told['error']}")
            continue
        first = first or told["seconds"]
        rate = 2 * count / told["seconds"]
        print(f"  {kind:20} {told['seconds']:7.2f} s  {told['seconds'] / first:5.1f}×  {rate:12,.0f} records/s"
              f"  {told['peak']:5} MB  {told['found']:,} differ")  # fmt: skip


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    peers = [name for name in ("duckdb", "pandas") if find_spec(name)]
    with tempfile.TemporaryDirectory() as place:
        table("CPU seconds", ["join, sorted", "join, unsorted", *peers], count, Path(place))
        if find_spec("reladiff"):
            table("Two tables of one PostgreSQL, wall seconds", ["read and join", "reladiff"], count, Path(place))
        table("The whole engine on files, CPU seconds", ["engine", "engine, all breaks"], count // 10, Path(place))


if __name__ == "__main__":
    main()
