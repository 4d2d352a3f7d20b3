"""`serve` measured: webhooks accepted a second, from a webhook to the write, a storm, and a thousand scheduled flows.

`python tests/bench/serve.py [postgresql URL]`; rows of the storm and the flows may be fewer: `--small`.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import urllib3

sys.path.insert(0, str(Path(__file__).parents[2]))

from engine.run.runner import quiet
from engine.serve.executor import LocalExecutor
from engine.state.store import moment_of
from tests.run.test_sync import FILES, person
from tests.serve.process import Process
from tests.serve.test_webhooks import Caller, event
from tests.serve.world import TRIGGER, Served, signed, taking_webhooks, until

SMALL = "--small" in sys.argv
CALLS = 2_000 if SMALL else 10_000
FLOWS = 100 if SMALL else 1_000


def world(url: str, **files: str) -> Served:
    folder = Path(tempfile.mkdtemp(prefix="bench-serve-"))
    for name, content in {**FILES, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(content).lstrip("\n"), "utf-8")
    found = Served(folder, url)
    if "flows/people.yaml" not in files:
        found.flow("people", TRIGGER)
    return found


def memory() -> float:
    """Megabytes resident."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def said(what: str, value: str) -> None:
    print(f"{what:<66} {value}", flush=True)


def accepted(name: str, url: str) -> None:
    """Calls of one event each, 64 at once, each acknowledged after its commit."""
    served = world(url)
    caller = Caller(served)
    bodies = [json.dumps({"events": [event(str(number % 100), f"e{number}")]}).encode() for number in range(CALLS)]

    async def all_of() -> None:
        waiting = iter(bodies)

        async def one() -> None:
            for body in waiting:
                assert (await caller.call(body))[0] == 202

        await asyncio.gather(*(one() for _ in range(64)))

    began = time.perf_counter()
    asyncio.run(all_of())
    took = time.perf_counter() - began
    caller.receiver.close()
    said(f"webhooks accepted and committed, in process, {name}", f"{CALLS / took:,.0f}/s")
    served.store.close()


def over_http(name: str, url: str) -> None:
    """The same over HTTP, by a client on the same machine."""
    served = world(url)
    process = Process(served.folder)
    pool = urllib3.HTTPConnectionPool("127.0.0.1", int(process.url.rsplit(":", 1)[1]), maxsize=32)
    count = CALLS // 4

    def call(number: int) -> int:
        body = json.dumps({"events": [event(str(number % 100), f"e{number}")]}).encode()
        return pool.request("POST", "/hooks/src/people", body=body, headers=signed(body)).status

    began = time.perf_counter()
    with ThreadPoolExecutor(32) as threads:
        answers = list(threads.map(call, range(count)))
    took = time.perf_counter() - began
    assert set(answers) == {202}
    process.stop()
    said(f"the same over HTTP while they are worked on, {name}", f"{count / took:,.0f}/s")
    served.store.close()


def to_the_write(name: str, url: str) -> None:
    """From the answer to a webhook until its record stands in the target."""
    served = world(url)
    executor = LocalExecutor(served.work())
    executor.serve()
    caller = Caller(served)
    caller.receiver._keeper._dispatch = executor.dispatch
    took = []
    for number in range(20):
        served.put("people", [person("1", name=f"n{number}")])
        began = time.perf_counter()
        caller.post(event("1", f"e{number}"))
        until(lambda number=number: served.names() == [f"n{number}"])  # type: ignore[misc]
        took.append(time.perf_counter() - began)
    executor.close()
    caller.receiver.close()
    took.sort()
    said(
        f"from a webhook to the write in its target, {name}",
        f"median {took[10] * 1000:,.0f} ms, worst {took[-1] * 1000:,.0f} ms",
    )
    served.store.close()


def storm(name: str, url: str) -> None:
    """Events of 100 records with duplicates and disorder; the end is the source's."""
    served = world(url)
    chance = random.Random(4)
    rows = {str(key): person(str(key)) for key in range(100)}
    told = []
    for number in range(CALLS):
        key = str(chance.randrange(100))
        rows[key] = person(key, name=f"v{number} {key}")
        told.append(event(key, f"e{number}"))
    told += chance.sample(told, CALLS // 5)
    chance.shuffle(told)
    caller = Caller(served)
    executor = LocalExecutor(served.work())
    executor.work.collects = True
    executor.serve()
    caller.receiver._keeper._dispatch = executor.dispatch
    half = len(told) // 2

    async def send(part: list[Any]) -> None:
        waiting = iter(part)

        async def one() -> None:
            for each in waiting:
                assert (await caller.call(json.dumps({"events": [each]}).encode()))[0] == 202

        await asyncio.gather(*(one() for _ in range(32)))

    began = time.perf_counter()
    asyncio.run(send(told[:half]))
    served.put("people", list(rows.values()))
    asyncio.run(send(told[half:]))
    until(lambda: served.rows("SELECT count(*) FROM inbox WHERE state <> 'done'") == [(0,)], 600)
    until(lambda: executor.idle)
    took = time.perf_counter() - began
    executor.close()
    caller.receiver.close()
    assert served.names() == sorted(row["name"] for row in rows.values())
    read = sum(run["read"] for run in executor.work.results)
    said(
        f"storm of {len(told):,} events of 100 records, {name}",
        f"{took:.1f} s, {read:,} records read in {len(executor.work.results)} runs",
    )
    served.store.close()


def thousand(name: str, url: str) -> None:
    """Scheduled flows that all come due in one minute: noting their ticks, running them, and what memory does."""
    flows = {f"flows/teams-{number}.yaml": FILES["flows/teams.yaml"].replace("flow: teams", f"flow: teams-{number}")
             + 'trigger: [{ schedule: "* * * * *" }]\n' for number in range(FLOWS)}  # fmt: skip
    served = world(url, **flows)
    began = time.perf_counter()
    scheduler = served.scheduler()
    scheduler.look()
    said(f"{FLOWS:,} scheduled flows read and first looked at, {name}", f"{time.perf_counter() - began:.2f} s")
    sizes = []
    for _ in range(3):
        served.looked(timedelta(minutes=1))
        scheduler.forget()
        began = time.perf_counter()
        scheduler.look()
        noted = time.perf_counter() - began
        executor = LocalExecutor(served.work())
        executor.serve()
        until(lambda: served.rows("SELECT count(*) FROM ticks WHERE state IN ('due', 'started')") == [(0,)], 600)
        took = time.perf_counter() - began
        executor.close()
        sizes.append(memory())
        with served.store.begin("age") as tx:
            tx.run("DELETE FROM ticks")
        said(f"  a tick of each: noted, all {FLOWS:,} run, memory", f"{noted:.2f} s, {took:.1f} s, {sizes[-1]:.0f} MB")
    served.store.close()


def on_time(name: str, url: str) -> None:
    """One process through a full minute: how late the ticks are noted."""
    flows = {f"flows/teams-{number}.yaml": FILES["flows/teams.yaml"].replace("flow: teams", f"flow: teams-{number}")
             + 'trigger: [{ schedule: "* * * * *" }]\n' for number in range(FLOWS)}  # fmt: skip
    served = world(url, **flows)
    process = Process(served.folder)
    until(lambda: served.rows("SELECT count(*) FROM ticks") == [(FLOWS,)], 300)
    late = [
        (moment_of(at) - moment_of(due)).total_seconds()
        for due, at in served.rows("SELECT scheduled_for, at FROM ticks")
    ]
    process.stop()
    said(
        f"{FLOWS:,} ticks of one minute, noted after their time, {name}",
        f"{min(late) * 1000:.0f} to {max(late) * 1000:.0f} ms",
    )
    served.store.close()


def main() -> None:
    states = [("SQLite", "sqlite:///.crosswalk/state.db")]
    given = [one for one in sys.argv[1:] if one.startswith("postgresql")]
    parts: list[Callable[[str, str], None]] = [accepted, over_http, to_the_write, storm, thousand, on_time]
    wanted = [part for part in parts if part.__name__ in sys.argv[1:]] or parts
    with taking_webhooks(), quiet:
        for part in wanted:
            for name, url in states:
                part(name, url)
            for url in given:
                part("PostgreSQL", _schema(url))


def _schema(url: str) -> str:
    """A schema of its own in that database."""
    from sqlalchemy import create_engine, text

    name = f"bench{time.time_ns()}"
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {name}"))
    engine.dispose()
    return f"{url}?options=-csearch_path%3D{name}"


if __name__ == "__main__":
    main()
