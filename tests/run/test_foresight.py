"""`plan` and `mode: shadow` of process flows: how far each instance would come and what it would write; nothing stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from engine.run.runner import Result, Runner
from engine.run.session import Options
from engine.state import runs
from engine.state.store import Store
from engine.state.tables import metadata
from tests.conftest import Make
from tests.run.process_world import STEPS, World, files

APPROVE = (
    "  - approve: large\n    when: 'amount > `100`'\n    queue: cfo\n    otherwise: '{{ name }} costs {{ amount }}'\n"
)
OWN = ("runs", "leases", "units", "logic")
"""Tables that every run writes to, a plan's too."""
New = Callable[..., World]


@pytest.fixture
def world(make: Make, address: str) -> Iterator[New]:
    opened: list[Store] = []

    def new(steps: str = STEPS, kind: str = "C", **more: str) -> World:
        folder = make(files(steps, **more))
        opened.append(Store.open(address, folder))
        found = World(folder, opened[-1], kind)
        found.run("clients")
        return found

    yield new
    for store in opened:
        store.close()


def rows(deals: World) -> dict[str, list[Any]]:
    """Everything in the state that a plan has no business with."""
    with deals.state.read() as tx:
        return {
            name: sorted(map(repr, tx.rows(f"SELECT * FROM {name}"))) for name in metadata.tables if name not in OWN
        }


def planned(deals: World, **options: Any) -> Result:
    before = rows(deals)
    sent = {name: list(system.sent) for name, system in deals.memory.items()}
    found = Runner(deals, deals.state).run("deals", Options(plan=True, trigger="plan", **options))
    after = rows(deals)
    assert {name: after[name] for name in after if after[name] != before[name]} == {}, "nothing stays"
    assert {name: list(system.sent) for name, system in deals.memory.items()} == sent, "nothing is written"
    return found


@pytest.mark.parametrize("kind", ["A", "C"])
def test_a_plan_says_which_steps_and_writes(world: New, kind: str) -> None:
    deals = world(kind=kind)
    found = planned(deals)
    (one,) = found.instances or []
    assert (one["instance"], one["state"], one["waiting"]) == (None, "done", None)
    assert [step["step"] for step in one["steps"]] == ["complete", "erp_customer", "customer", "project", "delivered"]
    assert [(change["step"], change["target"], change["operation"]) for change in found.changes] == [
        ("customer", "erp", "create"), ("delivered", "psa", "create"), ("delivered", "erp", "create")
    ]  # fmt: skip
    assert found.changes[1]["fields"] == {"title": [None, "Mill"], "state": [None, "open"]}
    assert (found.run["created"], found.run["processes"], found.run["targets"]["psa"]["created"]) == (1, {"done": 1}, 1)
    deals.run()
    assert deals.one.state == "done" and deals.made("erp", "jobs") == ["Mill"], "and so it comes"
    assert planned(deals, full=True).instances == []


def test_each_is_judged_by_itself_and_stops_where_it_would(world: New) -> None:
    deals = world(APPROVE + STEPS)
    deals.deal("d2", "Ox", amount=900)
    deals.deal("d3", "Dam", account=None)
    found = planned(deals)
    stands = {(one["state"], one["waiting"], one["step"], one["message"]) for one in found.instances or []}
    assert stands == {("done", None, None, None), ("waiting", "approval", "large", "Ox costs 900"),
                      ("waiting", "repair", "complete", "complete: Dam has no client")}  # fmt: skip
    assert (found.run["created"], found.run["waiting"], found.run["quarantined"]) == (3, 1, 1)
    assert {change["operation"] for change in found.changes} == {"create"} and len(found.changes) == 3


def test_an_instance_that_goes_on_is_foreseen_too(world: New) -> None:
    deals = world(APPROVE + STEPS)
    deals.deal("d1", "Mill", amount=900)
    deals.run()
    assert planned(deals, full=True).instances == []
    deals.decide("approve", "ann")
    (one,) = planned(deals, full=True).instances or []
    assert (one["instance"], one["state"]) == (deals.one.id, "done")
    assert deals.one.state == "waiting"
    deals.run()
    assert deals.one.state == "done"


def test_a_record_that_changes_moves_its_instance_in_the_plan(world: New) -> None:
    deals = world()
    deals.deal("d1", "Mill", account=None)
    deals.run()
    deals.deal("d1", "Mill", account="a1")
    (one,) = planned(deals).instances or []
    assert (one["instance"], one["state"]) == (deals.one.id, "done")


def test_the_systems_are_asked_for_real(world: New) -> None:
    deals = world()
    deals.memory["erp"].put(
        "customers", [{"id": "1", "name": "Acme", "tax": "T1"}, {"id": "2", "name": "A", "tax": "T1"}]
    )
    (one,) = planned(deals).instances or []
    assert (one["state"], one["step"]) == ("waiting", "erp_customer") and "has several customers" in one["message"]


def test_what_is_called_and_published_is_only_told(world: New) -> None:
    steps = "  - call: clients-out\n    record: client\n  - publish: deal.seen\n    connection: psa\n"
    deals = world(steps)
    (deals.folder / "flows/clients-out.yaml").write_text(
        "flow: clients-out\nkind: sync\nentity: client\nsource: { connection: crm, mapping: crm/account }\n"
        "targets: [{ connection: erp, mapping: erp/customer }]\n"
    )
    (one,) = planned(World(deals.folder, deals.state)).instances or []
    assert one["state"] == "done" and one["steps"][0]["what"].startswith("would run clients-out for ")


def test_in_the_shadow_runs_only_tell(world: New) -> None:
    deals = world(mode="shadow")
    for _ in range(2):
        told = deals.run("deals")
        assert (told["state"], told["created"], told["processes"]) == ("succeeded", 1, {"done": 1})
        with deals.state.read() as tx:
            kept = runs.get(tx, told["run"])
        assert kept is not None
        (one,) = kept.counts["instances"]
        assert [write["target"] for write in one["writes"]] == ["erp", "psa", "erp"]
    assert deals.instances() == [] and deals.made("erp", "customers") == []
    (deals.folder / "flows/deals.yaml").write_text(files()["flows/deals.yaml"])
    live = World(deals.folder, deals.state)
    live.run("deals")
    assert live.one.state == "done" and live.made("erp", "customers") == ["Acme"]
