"""A reconciliation that dies at every point of its healing: the next ones go on, and each system holds each record once.

The oracle is what the systems themselves took.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress

import pytest

from engine.run.arena import Died, Fuse
from engine.state import care
from engine.state.store import Store
from tests.chaos.conftest import States
from tests.conftest import Make
from tests.run.heal_world import World, exact, files
from tests.run.reconcile_world import invoice

HEAL = "heal: { missing_right: owner, mismatch: owner }\n"
SETTLED = 600


def spoilt(world: World) -> World:
    """People change what they should not: a total, a deleted bill; and what they may: a status, a new invoice."""
    world.bill(2)["amount"], world.bill(3)["state"] = 7, "paid"
    rows = world.erp.rows["bills"]
    del rows[next(key for key, row in rows.items() if row["tranid"] == "INV-4")]
    world.psa.put("invoices", [*world.psa.rows["invoices"].values(), exact(invoice(5))])
    return world


def judge(world: World) -> list[str]:
    """What is wrong with the systems."""
    bills = list(world.erp.rows["bills"].values())
    wrong = []
    numbers = Counter(row["tranid"] for row in bills)
    if numbers != Counter(f"INV-{n}" for n in range(1, 6)):
        wrong.append(f"bills {dict(numbers)}")
    if {float(row["amount"]) for row in bills} != {100.5}:
        wrong.append("an amount is not the owner's")
    if [row["status"] for row in world.psa.rows["invoices"].values()] != ["open", "open", "paid", "open", "open"]:
        wrong.append("a status is not the owner's")
    made = Counter(row.fields["tranid"] for row in world.erp.sent if row.kind == "create")
    if made != Counter({**{f"INV-{n}": 1 for n in range(1, 6)}, "INV-4": 2}):
        wrong.append(f"created {dict(made)}")
    return wrong + [f"{one.label} {one.name}: {one.why or one.cause}" for one in world.breaks()]


def to_the_end(world: World) -> list[str]:
    """Runs without faults until nothing is left; what is wrong then."""
    for _ in range(5):
        care.age(world.store, SETTLED)
        world.run("nightly")
        if not judge(world):
            break
    return judge(world)


def points(passed: int, states: States, first: int) -> range:
    """The points to die at: a part of them, all with CHAOS_POINTS=all."""
    if os.environ.get("CHAOS_POINTS") == "all":
        return range(1, passed + 1)
    return range(first, passed + 1, 5 if states.schemas is None else 23)


@pytest.mark.parametrize("way", ["flow", "sides"])
@pytest.mark.parametrize("kind", ["A", "C"])
def test_healing_that_dies_at_a_point_goes_on_and_doubles_nothing(
    make: Make, states: States, kind: str, way: str
) -> None:
    def ready() -> tuple[Store, World]:
        folder = make(files(HEAL))
        store = Store.open(states.fresh(), folder)
        return store, spoilt(World(folder, store, kind, way))

    store, world = ready()
    fuse = Fuse()
    store.crashpoint = fuse
    told = world.run("nightly")
    assert judge(world) == [], told
    assert world.run("nightly")["breaks"]["found"] == 0
    store.close()
    for point in points(fuse.passed, states, "AC".index(kind) + 1):
        store, world = ready()
        fuse = Fuse(point)
        store.crashpoint = fuse
        with suppress(Died):
            world.run("nightly")
        store.crashpoint = lambda name: None
        assert to_the_end(world) == [], f"died at point {point} ({fuse.name})"
        store.close()
