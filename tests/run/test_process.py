"""Process flows: a deal becomes a customer, a project and a job, once; whatever waits, fails, changes or dies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.state.store import Store
from tests.conftest import Make
from tests.run.process_world import STEPS, World, files

New = Callable[..., World]


@pytest.fixture
def world(make: Make, tmp_path: Path) -> Iterator[New]:
    opened: list[Store] = []

    def new(steps: str = STEPS, kind: str = "C", **more: str) -> World:
        folder = make(files(steps, **more))
        opened.append(Store.open("sqlite:///.crosswalk/state.db", folder))
        return World(folder, opened[-1], kind)

    yield new
    for store in opened:
        store.close()


@pytest.mark.parametrize("kind", ["A", "C"])
def test_a_won_deal_becomes_customer_project_and_job(world: New, kind: str) -> None:
    deals = world(kind=kind)
    told = deals.run()
    assert (told["state"], told["read"], told["created"], told["waiting"], told["quarantined"]) == (
        "succeeded",
        1,
        1,
        0,
        0,
    )
    assert told["targets"]["psa"]["created"] == 1 and told["targets"]["erp"]["created"] == 2
    assert deals.one.state == "done"
    assert (deals.made("erp", "customers"), deals.made("psa", "projects"), deals.made("erp", "jobs")) == (
        ["Acme"],
        ["Mill"],
        ["Mill"],
    )
    assert deals.row("erp", "jobs")["customer"] == deals.row("erp", "customers")["id"]
    again = deals.run()
    assert (again["created"], again["updated"]) == (0, 0) and len(deals.instances()) == 1
