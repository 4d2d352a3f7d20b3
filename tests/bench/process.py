"""What a step of a process costs: `python -m tests.bench.process [instances]`, on SQLite and, where it runs, PostgreSQL.

Systems are in memory, so what is measured is the engine and its state: checks only, and the whole way of a deal.
"""

from __future__ import annotations

import sys
import tempfile
import textwrap
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import create_engine, text

from engine.run.kept_plans import KeptPlans
from engine.run.process import advance
from engine.run.runner import Runner
from engine.state.store import Store
from tests.conftest import reachable
from tests.run.process_world import STEPS, World, files

SERVER = "postgresql+psycopg://postgres@127.0.0.1/test"
CHECKS = "".join(f"  - check: c{number}\n    that: client\n" for number in range(10))
KINDS = {"check": (CHECKS, 10), "deal (check, find, write, derive, write to two)": (STEPS, 5)}


def states() -> Iterator[tuple[str, str]]:
    yield "sqlite", "sqlite:///state.db"
    if reachable("postgresql"):
        name = f"bench{uuid.uuid4().hex[:8]}"
        engine = create_engine(SERVER)
        with engine.begin() as connection:
            connection.execute(text(f"CREATE SCHEMA {name}"))
        yield "postgresql", f"{SERVER}?options=-csearch_path%3D{name}"
        with engine.begin() as connection:
            connection.execute(text(f"DROP SCHEMA {name} CASCADE"))
        engine.dispose()


def measure(url: str, steps: str, count: int) -> float:
    """Seconds for so many instances, their start included."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, content in files(steps).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(textwrap.dedent(content).lstrip("\n"))
        store = Store.open(url, folder)
        world = World(folder, store)
        for number in range(count):
            world.deal(f"d{number}", f"Deal {number}")
        world.run("clients")
        began = time.perf_counter()
        told = world.run("deals")
        took = time.perf_counter() - began
        store.close()
    assert told["processes"].get("done", 0) >= count, told
    return took


def alone(count: int) -> tuple[float, float]:
    """Seconds that moving one waiting instance on takes, as `serve` does it: every plan compiled anew, and kept."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, content in files(STEPS + "  - approve: last\n    queue: cfo\n").items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(textwrap.dedent(content).lstrip("\n"))
        store = Store.open("sqlite:///state.db", folder)
        world, kept, took = World(folder, store), KeptPlans(), []
        for number in range(count):
            world.deal(f"d{number}", f"Deal {number}")
        world.run()
        for plans in (None, kept):
            began = time.perf_counter()
            for one in world.instances():
                advance(Runner(world, store, plans=plans), one.id)
            took.append((time.perf_counter() - began) / count)
        store.close()
    return took[0], took[1]


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    for kind, (steps, number) in KINDS.items():
        for name, url in states():
            took = measure(url, steps, count)
            print(
                f"{kind}, {name}: {took / count / number * 1000:.1f} ms a step, {count / took:.0f} instances a second"
            )
    anew, again = alone(40)
    print(
        f"one waiting instance alone: {anew * 1000:.1f} ms with its plan compiled anew, {again * 1000:.1f} ms with it kept"
    )


if __name__ == "__main__":
    main()
