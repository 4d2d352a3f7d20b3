"""A process that dies at every point of its way: one customer, one project, one job, whatever the state is kept in.

The oracle is what the systems themselves took. Time is the test's own: leases and writes in doubt grow older at once.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from pathlib import Path

import pytest

from engine.run import deliver
from engine.run.arena import Died, Fuse
from engine.run.process import advance
from engine.run.runner import Runner
from engine.sdk import clock
from engine.state import processes
from engine.state.crashpoints import PROCESS
from engine.state.store import Store
from tests.chaos.conftest import States
from tests.conftest import Make
from tests.run.process_world import STEPS, World, files

ONCE = Counter({("customers", "Acme"): 1, ("projects", "Mill"): 1, ("jobs", "Mill"): 1})
SETTLED = 600
CANCELLED = STEPS + '  - check: late\n    that: "amount > `50`"\n'


def points(passed: int, states: States, kind: str) -> range:
    """The points to die at: a part of them, another one for each class and database; all of them with CHAOS_POINTS=all."""
    if os.environ.get("CHAOS_POINTS") == "all":
        return range(1, passed + 1)
    first, step = ("AC".index(kind) + 1, 9) if states.schemas is None else ("AC".index(kind) * 7 + 3, 24)
    return range(first, passed + 1, step)


def made(world: World) -> Counter[tuple[str, str]]:
    return world.memory["erp"].creates + world.memory["psa"].creates


def to_the_end(world: World, *, state: str = "done") -> None:
    """Runs without faults until the instance is over."""
    for _ in range(6):
        world.age(SETTLED)
        world.run("deals")
        if world.instances() and world.one.state == state:
            return
    raise AssertionError(world.story())


@pytest.mark.parametrize("kind", ["A", "C"])
def test_a_process_dies_once_at_every_point(make: Make, states: States, kind: str) -> None:
    folder, seen = make(files()), set()
    whole = Store.open(states.fresh(), Path(folder))
    fuse = Fuse()
    first = World(folder, whole, kind)
    first.run("clients")
    whole.crashpoint = lambda name: (seen.add(name), fuse(name))[1]
    first.run("deals")
    whole.close()
    assert made(first) == ONCE
    assert {f"before commit:{name}" for name in PROCESS} - seen == {"before commit:approval"}
    for point in points(fuse.passed, states, kind):
        store = Store.open(states.fresh(), Path(folder))
        world = World(folder, store, kind)
        world.run("clients")
        store.crashpoint = Fuse(point)
        with pytest.raises(Died):
            world.run("deals")
        store.crashpoint = lambda name: None
        to_the_end(world)
        assert made(world) == ONCE, f"died at point {point}"
        assert len(world.instances()) == 1 and world.exceptions() == [], f"died at point {point}"
        store.close()


def test_taking_back_dies_at_every_point(make: Make, states: States) -> None:
    folder = make(files(CANCELLED))

    def ready() -> tuple[Store, World]:
        store = Store.open(states.fresh(), Path(folder))
        world = World(folder, store)
        world.run("clients", "deals")
        world.cancel("ann")
        return store, world

    store, world = ready()
    fuse = Fuse()
    store.crashpoint = fuse
    world.run("deals")
    store.close()
    assert world.row("psa", "projects")["state"] == world.row("erp", "jobs")["status"] == "cancelled"
    for point in points(fuse.passed, states, "C"):
        store, world = ready()
        store.crashpoint = Fuse(point)
        with pytest.raises(Died):
            world.run("deals")
        store.crashpoint = lambda name: None
        to_the_end(world, state="cancelled")
        sent = [one for name in ("erp", "psa") for one in world.memory[name].sent if one.kind == "update"]
        assert world.row("psa", "projects")["state"] == world.row("erp", "jobs")["status"] == "cancelled"
        assert made(world) == ONCE and len(sent) <= 4, f"died at point {point}"
        store.close()


def test_two_runners_on_one_instance_write_once(make: Make, states: States) -> None:
    folder = make(files())
    store = Store.open(states.fresh(), Path(folder))
    world = World(folder, store)
    world.run("clients")
    started = threading.Barrier(3)
    dues: list[str | None] = []

    def move() -> None:
        started.wait()
        for one in world.instances():
            dues.append(advance(Runner(world, store), one.id))

    _begin(world)
    threads = [threading.Thread(target=move) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    to_the_end(world)
    assert made(world) == ONCE
    store.close()


def _begin(world: World) -> None:
    """An instance that nobody has moved on yet: its run died right after it began."""
    world.state.crashpoint = lambda name: _die(name, "before commit:take")
    with pytest.raises(Died):
        world.run("deals")
    world.state.crashpoint = lambda name: None
    world.age(SETTLED)


def _die(name: str, at: str) -> None:
    if name == at:
        raise Died(name)


def test_a_frozen_worker_neither_sends_nor_commits_once_another_took_over(
    make: Make, states: States, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = [0.0]
    monkeypatch.setattr(deliver, "boot", lambda: clock.boot() + slept[0])
    folder = make(files())
    store = Store.open(states.fresh(), Path(folder))
    world = World(folder, store)
    world.run("clients")
    _begin(world)
    taken: list[str] = []

    def freeze(name: str) -> None:
        if name == "before send" and not taken:  # it stands still; its lease runs out; another one does it all
            taken.append(name)
            world.age(SETTLED)
            slept[0] += SETTLED
            other = Store.open(store_url(store, states), Path(folder))
            advance(Runner(world, other), world.one.id)
            other.close()

    store.crashpoint = freeze
    advance(Runner(world, store), world.one.id)
    store.crashpoint = lambda name: None
    assert taken and world.one.state == "done" and made(world) == ONCE
    with store.read() as tx:
        story = processes.timeline(tx, world.one.id)
    assert len({one.version for one in story}) == len(story), "each transition was made once"
    store.close()


def store_url(store: Store, states: States) -> str:
    """The same state once more, as another process opens it."""
    return store.engine.url.render_as_string(hide_password=False)
