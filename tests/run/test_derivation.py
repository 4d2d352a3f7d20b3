"""Derivations between entities: they follow references, change with their source, and give way to the owner."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Make
from tests.run.test_between import TWO, Two
from tests.run.test_sync import SCHEMA

BILL = (
    SCHEMA
    + "properties:\n  firm: { type: string, x-ref: firm, x-owner: erp }\n  label: { type: string, x-owner: erp }\n"
    + "  amount: { type: number, x-owner: erp }\n  number: { type: string }\nx-match: [[number]]\n"
)
FILES = {
    **TWO,
    "schemas/bill.yaml": BILL,
    "schemas/work.yaml": SCHEMA + "properties:\n  firm: { type: string, x-ref: firm }\n  hours: { type: number }\n",
    "mappings/any/work.yaml": "mapping: any/work\nobject: work\nentity: work\nfields: { hours: hours }\n"
    "inbound: { firm: { from: firm, ref: { entity: firm, object: firms } } }\n",
    "mappings/any/bill.yaml": "mapping: any/bill\nobject: bills\nentity: bill\nfields: { number: number, label: label, amount: amount }\noutbound: { id: number }\n",
    "mappings/canonical/bill.yaml": """
        mapping: canonical/bill
        of: work
        entity: bill
        group: [firm]
        sum: { hours: hours }
        where: "firm.terms != 'none'"
        inbound:
          firm: firm
          number: { from: "join_text(['B', firm.tax], '-')" }
          label: { from: firm.name }
          amount: { from: "multiply(hours, `10`)" }
    """,
    "flows/work.yaml": "flow: work\nkind: sync\nentity: work\nsource: { connection: crm, mapping: any/work }\ntargets: []\n",
    "flows/bills.yaml": "flow: bills\nkind: sync\nentity: bill\nsource: { connection: canonical, mapping: canonical/bill }\n"
    "targets: [{ connection: erp, mapping: any/bill, match: [[number]] }]\n",
    "flows/billed.yaml": "flow: billed\nkind: sync\nentity: bill\nsource: { connection: erp, mapping: any/bill }\ntargets: []\n",
}  # fmt: skip


@pytest.fixture
def two(make: Make) -> Two:
    found = Two(make(FILES))
    found.give(
        "crm",
        "firms",
        {"id": "1", "name": "Acme", "tax": "T1"},
        {"id": "2", "name": "Bolt", "tax": "T2", "terms": "none"},
    )
    found.give(
        "crm",
        "work",
        {"id": "1", "firm": "1", "hours": 2},
        {"id": "2", "firm": "1", "hours": 3},
        {"id": "3", "firm": "2", "hours": 9},
    )
    found.run("crm"), found.run("work")
    return found


def bills(two: Two) -> list[tuple[object, ...]]:
    return sorted((one["number"], one["label"], one["amount"]) for one in two.stored("bill"))


def test_a_group_follows_its_references_and_changes_with_what_they_name(two: Two) -> None:
    assert two.run("bills")["created"] == 1
    assert bills(two) == [("B-T1", "Acme", 50)]
    two.give("crm", "firms", {"id": "1", "name": "Acme Ltd", "tax": "T1"})
    two.run("crm"), two.run("bills")
    assert bills(two) == [("B-T1", "Acme Ltd", 50)], "the derivation follows the firm's name"


def test_once_the_owner_has_spoken_the_derivation_gives_way(two: Two) -> None:
    two.run("bills")
    two.give("erp", "bills", {"id": "B-T1", "number": "B-T1", "label": "As posted", "amount": 49})
    two.run("billed")
    two.give("crm", "work", {"id": "4", "firm": "1", "hours": 1})
    two.run("work"), two.run("bills")
    assert bills(two) == [("B-T1", "As posted", 49)]


def test_names_that_a_group_does_not_hold_are_told(two: Two, tmp_path: Path) -> None:
    from engine.compile.workspace import problems_of
    from engine.spec.workspace import Workspace

    two.edit("mappings/canonical/bill.yaml", "label: { from: firm.name }", "label: { from: firm.nam }")
    found = [str(one) for one in problems_of(Workspace.open(two.folder))]
    assert len(found) == 1 and "E210" in found[0] and "nam" in found[0]
