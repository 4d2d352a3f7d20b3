"""Mappings that add to a record that another mapping made, and values of which several mean one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.sdk.errors import SpecError
from tests.conftest import Make
from tests.run.test_between import Two
from tests.run.test_sync import SCHEMA

FILES = {
    "crosswalk.yaml": """
        crosswalk: 1
        name: onto
        connections:
          crm: { connector: files, path: crm, format: ndjson }
          erp: { connector: files, path: erp, format: ndjson }
          copy: { connector: files, path: copy, format: ndjson }
    """,
    "schemas/deal.yaml": SCHEMA + "properties: { name: { type: string } }\n",
    "schemas/project.yaml": SCHEMA + "properties:\n  name: { type: string }\n  deal: { type: string, x-ref: deal }\n",
    "schemas/bill.yaml": SCHEMA + """
properties:
  number: { type: string }
  project: { type: string, x-ref: project }
  status: { type: string, enum: [open, paid] }
  region: { type: string }
""",
    "mappings/any/deal.yaml": "mapping: any/deal\nobject: deals\nentity: deal\nfields: { name: name }\n",
    "mappings/any/project.yaml": "mapping: any/project\nobject: projects\nentity: project\nfields: { name: name, deal: { from: deal, ref: deal, on_missing: clear, blank: missing } }\n",
    "mappings/any/bill.yaml": """
        mapping: any/bill
        object: bills
        entity: bill
        fields:
          number: number
          project: { from: project, ref: project }
          status: { from: status, values: { open: open, sent: open, paid: paid } }
          region: region
    """,
    "mappings/any/deal_bill.yaml": """
        mapping: any/deal_bill
        object: deals
        entity: bill
        onto: project.deal
        outbound: { bill_number: number, bill_status: status }
    """,
    "flows/deals.yaml": "flow: deals\nkind: sync\nentity: deal\nsource: { connection: crm, mapping: any/deal }\ntargets: []\n",
    "flows/projects.yaml": "flow: projects\nkind: sync\nentity: project\nsource: { connection: crm, mapping: any/project }\ntargets: []\n",
    "flows/bills.yaml": """
        flow: bills
        kind: sync
        entity: bill
        source: { connection: crm, mapping: any/bill }
        targets:
          - { connection: crm, mapping: any/deal_bill }
          - { connection: copy, mapping: any/bill_copy }
        guard: { errors: 100% }
    """,
    "mappings/any/bill_copy.yaml": "mapping: any/bill_copy\nobject: bills\nentity: bill\nfields: { number: number }\noutbound: { id: id }\n",
}  # fmt: skip


@pytest.fixture
def world(make: Make) -> Two:
    two = Two(make(FILES))
    two.give("crm", "deals", {"id": "d1", "name": "Alpha"}, {"id": "d2", "name": "Beta"})
    two.run("deals")
    two.run("projects") if (two.folder / "erp/projects.ndjson").exists() else None
    return two


def projects(two: Two, system: str = "crm", **deals: str) -> None:
    two.give(system, "projects", *({"id": name, "name": name, "deal": deal} for name, deal in deals.items()))
    assert two.run("projects")["quarantined"] == 0


def bill(id: str, project: str, status: str = "open", **more: Any) -> dict[str, Any]:
    return {"id": id, "number": f"B{id}", "project": project, "status": status, **more}


def deals(two: Two) -> dict[str, Any]:
    rows = map(json.loads, (two.folder / "crm/deals.ndjson").read_text().splitlines())
    return {row["id"]: (row.get("bill_number"), row.get("bill_status")) for row in rows}


def test_an_onto_mapping_writes_on_the_record_that_the_reference_names_and_never_creates(world: Two) -> None:
    projects(world, p1="d1")
    world.give("crm", "bills", bill("1", "p1"))
    first = world.run("bills")
    assert first["targets"]["crm"]["updated"] == 1 and first["targets"]["crm"]["created"] == 0, world.exceptions()
    assert deals(world) == {"d1": ("B1", "open"), "d2": (None, None)}
    assert world.run("bills")["targets"]["crm"]["updated"] == 0
    world.give("crm", "bills", bill("1", "p1", "paid"))
    assert world.run("bills")["targets"]["crm"]["updated"] == 1
    assert deals(world)["d1"] == ("B1", "paid")
    assert len((world.folder / "crm/deals.ndjson").read_text().splitlines()) == 2


def test_what_it_adds_to_may_change(world: Two) -> None:
    projects(world, p1="d1", p2="d2")
    world.give("crm", "bills", bill("1", "p1"))
    world.run("bills")
    world.give("crm", "bills", bill("1", "p2"))
    assert world.run("bills")["targets"]["crm"]["updated"] == 1
    assert deals(world)["d2"] == ("B1", "open")


def test_without_the_record_only_that_target_waits_and_goes_on_by_itself(world: Two) -> None:
    projects(world, p1="d9", p2="")
    world.give("crm", "bills", bill("1", "p1"), bill("2", "p2"))
    run = world.run("bills")
    assert run["targets"]["copy"]["created"] == 2, "a problem from map out on belongs to one target"
    assert (run["targets"]["crm"]["waiting"], run["targets"]["crm"]["quarantined"]) == (0, 2)
    assert {one.code for one in world.exceptions()} == {"E404"}
    assert all("onto: project.deal names no record" in one.message for one in world.exceptions()), world.exceptions()
    projects(world, p1="d1", p2="d2")
    assert world.run("bills")["targets"]["crm"]["updated"] == 2
    assert world.exceptions() == []


def test_a_record_that_the_target_does_not_have_yet_is_waited_for(world: Two) -> None:
    world.give("erp", "deals", {"id": "e1", "name": "Only in the ERP"})
    (world.folder / "flows/own.yaml").write_text(
        "flow: own\nkind: sync\nentity: deal\nsource: { connection: erp, mapping: any/deal }\n"
        "targets: [{ connection: crm, mapping: any/deal }]\n"
    )
    (world.folder / "flows/known.yaml").write_text(
        "flow: known\nkind: sync\nentity: deal\nsource: { connection: erp, mapping: any/deal }\ntargets: []\n"
    )
    world.run("known")
    world.edit("flows/projects.yaml", "connection: crm", "connection: erp")
    world.edit("flows/bills.yaml", "source: { connection: crm", "source: { connection: erp")
    projects(world, "erp", p1="e1")
    world.give("erp", "bills", bill("1", "p1"))
    assert world.run("bills")["targets"]["crm"]["waiting"] == 1
    (world.folder / "mappings/any/deal.yaml").write_text(
        "mapping: any/deal\nobject: deals\nentity: deal\nfields: { name: name }\noutbound: { id: name }\n"
    )
    assert world.run("own", full=True)["created"] == 1, world.exceptions()
    assert world.run("bills")["targets"]["crm"]["updated"] == 1
    assert deals(world)["Only in the ERP"] == ("B1", "open")


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("any/deal_bill }", "any/deal_bill, on_delete: delete }", "takes no `on_delete`"),
        ("any/deal_bill }", "any/deal_bill, operation: create }", "takes no `operation`"),
        ("connection: crm, mapping: any/bill }", "connection: crm, mapping: any/deal_bill }", "cannot be read through"),
    ],
)
def test_an_onto_mapping_used_the_other_way_is_refused(world: Two, old: str, new: str, what: str) -> None:
    world.edit("flows/bills.yaml", old, new)
    with pytest.raises(SpecError, match="E357.*" + what):
        world.run("bills")


def test_an_update_leaves_alone_a_value_that_means_the_same(make: Make) -> None:
    """CRM knows `open` and `sent` for one canonical `open`; somebody set `sent` there after our delivery."""
    two = Two(make(FILES))
    (two.folder / "mappings/any/bill_copy.yaml").write_text(
        "mapping: any/bill_copy\nobject: bills\nentity: bill\nfields:\n  number: number\n  region: region\n"
        "  status: { from: state, values: { open: open, sent: open, paid: paid } }\noutbound: { id: id }\n"
    )
    flow = (
        (two.folder / "flows/bills.yaml")
        .read_text()
        .replace("          - { connection: crm, mapping: any/deal_bill }\n", "")
    )
    (two.folder / "flows/bills.yaml").write_text(
        "\n".join(line for line in flow.splitlines() if "deal_bill" not in line)
    )
    projects(two, p1="")
    two.give("crm", "bills", bill("1", "p1", "paid", region="a"))
    assert two.run("bills")["created"] == 1
    path = two.folder / "copy/bills.ndjson"

    def held() -> dict[str, Any]:
        return dict(json.loads(path.read_text()))

    path.write_text(path.read_text().replace('"paid"', '"sent"'))
    two.give("crm", "bills", bill("1", "p1", "open", region="b"))
    assert two.run("bills")["updated"] == 1
    assert (held()["state"], held()["region"]) == ("sent", "b"), "sent means open already"
    two.give("crm", "bills", bill("1", "p1", "sent", region="b"))
    assert two.run("bills")["updated"] == 0
    two.give("crm", "bills", bill("1", "p1", "paid", region="b"))
    assert two.run("bills")["updated"] == 1 and held()["state"] == "paid"
    two.give("crm", "bills", bill("1", "p1", "open", region="b"))
    assert two.run("bills")["updated"] == 1 and held()["state"] == "open", "the first listed goes back"
