"""What healing leaves alone, and why: each of these would alter or double a record."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from engine.state import audit, breaks, links, operations
from engine.state.links import Link
from engine.state.store import Store
from tests.conftest import Make
from tests.run.heal_world import World, exact, files
from tests.run.reconcile_world import FILES, SCHEMA, bill, invoice

OWNER = "heal: { missing_right: owner, missing_left: owner, mismatch: owner }\n"
New = Callable[..., World]


@pytest.fixture
def world(make: Make, address: str) -> New:
    """world(heal, way): the systems with three linked bills."""

    def new(heal: str = OWNER, way: str = "sides", more: dict[str, str] | None = None, kind: str = "C") -> World:
        folder = make({**files(heal), **(more or {})})
        return World(folder, Store.open(address, folder), kind, way, count=3)

    return new


def outcomes(world: World) -> dict[str, tuple[str, str | None]]:
    """Label → (outcome, why) of what a person asks to be healed."""
    return {row["label"]: (row["outcome"], row["why"]) for row in world.heal().changes}


def test_a_record_that_its_query_leaves_out_is_not_made_twice(world: New) -> None:
    mapping = FILES["mappings/erp/bills.yaml"].replace(
        "entity: bill\n", "entity: bill\n        where: \"state != 'void'\"\n"
    )
    it = world(more={"mappings/erp/bills.yaml": mapping})
    it.bill(2)["state"] = "void"
    it.run("nightly")
    assert len(it.erp.rows["bills"]) == 3
    ((outcome, why),) = outcomes(it).values()
    assert outcome in ("left", "forbidden") and why is not None and "leaves out" in why
    assert len(it.erp.rows["bills"]) == 3


def test_a_pair_whose_link_goes_elsewhere_is_not_written(world: New) -> None:
    it = world("key: [number]\n" + OWNER)
    with it.store.begin("t") as tx:
        first = links.by_native(tx, "erp", "bill", [it.key_of(1)], "bills")[it.key_of(1)][0]
        second = links.by_native(tx, "erp", "bill", [it.key_of(2)], "bills")[it.key_of(2)][0]
        links.remove(tx, first)
        links.remove(tx, second)
        links.put(tx, [Link("bill", "erp", "bills", it.key_of(2), first.canonical_id)])
    it.invoice(1)["total"] = Decimal(7)
    before = {key: dict(row) for key, row in it.erp.rows["bills"].items()}
    run = it.run("nightly")
    assert it.erp.rows["bills"] == before, run
    ((outcome, why),) = outcomes(it).values()
    assert outcome == "left" and why is not None and "it is linked to" in why


def test_a_flow_that_refuses_a_record_keeps_it_as_an_exception_and_the_break_says_why(world: New) -> None:
    check = 'checks: [{ name: small, that: "total.amount < `1000`", otherwise: too large, severity: quarantine }]\n'
    push = textwrap.dedent(FILES["flows/push.yaml"]) + check
    it = world(way="flow", more={"flows/push.yaml": push})
    it.invoice(1)["total"] = Decimal(5000)
    run = it.run("nightly")
    (one,) = it.breaks()
    with it.store.read() as tx:
        told = breaks.history(tx, one.id)[-1]["what"]
    assert "too large" in told
    assert run["breaks"]["healed"] == 0 and it.bill(1)["amount"] == Decimal("100.5")


def test_a_side_that_owns_nothing_of_it_does_not_make_it_elsewhere(world: New) -> None:
    it = world()
    it.erp.rows["bills"]["x9"] = exact(bill(9, id="x9"))
    it.run("nightly")
    assert outcomes(it)["INV-9"] == ("forbidden", "right owns nothing that tells the record apart: name a flow")
    assert sorted(it.psa.rows["invoices"]) == ["p1", "p2", "p3"]


def test_a_create_that_nobody_could_look_for_is_left_to_a_flow(world: New) -> None:
    it = world(kind="D")
    it.psa.put("invoices", [*it.psa.rows["invoices"].values(), exact(invoice(4))])
    it.run("nightly")
    outcome, why = outcomes(it)["INV-4"]
    assert outcome == "left" and why is not None and "name a flow" in why and len(it.erp.rows["bills"]) == 3


def test_a_record_that_was_ended_on_purpose_is_not_brought_back(world: New) -> None:
    it = world(way="flow")
    it.psa.rows["invoices"]["p2"]["archived"] = True
    assert it.run("push")["deleted"] == 1
    it.psa.rows["invoices"]["p2"].pop("archived")
    it.run("nightly")
    assert len(it.erp.rows["bills"]) == 2
    ((outcome, why),) = outcomes(it).values()
    assert (outcome, why) == ("forbidden", "it was deleted: it is not brought back")


def test_a_write_without_an_answer_is_in_flight_and_comes_to_its_end(world: New) -> None:
    from engine.state import care

    it = world()
    it.psa.put("invoices", [*it.psa.rows["invoices"].values(), exact(invoice(4))])
    it.erp.faults["bills"] = ["after"]
    run = it.run("nightly")
    assert (run["breaks"]["left"], len(it.erp.rows["bills"])) == (1, 4)
    (one,) = it.breaks()
    assert one.name == "missing_right" or one.name == "in_flight"
    care.age(it.store, 600)
    it.run("nightly")
    it.run("nightly")
    assert it.breaks() == [] and len(it.erp.rows["bills"]) == 4
    with it.store.read() as tx:
        assert operations.in_doubt(tx, "erp", "bills") == []


def test_a_system_that_fails_while_it_is_mended_leaves_the_break_and_says_so(world: New) -> None:
    it = world()
    it.invoice(1)["total"] = Decimal(7)
    it.erp.faults["bills"] = ["refuse"]
    run = it.run("nightly")
    (one,) = it.breaks()
    assert run["state"] == "partial" and run["breaks"]["left"] == 1 and one.state == "open"
    with it.store.read() as tx:
        assert "not today" in breaks.history(tx, one.id)[-1]["what"]
        assert [row[3]["outcome"] for row in audit.of(tx, one.id)] == ["left"]
    it.run("nightly")
    assert it.breaks() == [] and it.bill(1)["amount"] == Decimal(7)


@pytest.mark.parametrize("stands", [True, False])
def test_the_canonical_store_stands_for_owners_that_are_no_side(world: New, stands: bool) -> None:
    more = "left: { connection: canonical }\nright: { connection: erp, mapping: erp/bills }\n"
    flow = "flow: nightly\nkind: reconcile\nentity: bill\n" + more + OWNER
    it = world(more={"flows/nightly.yaml": flow})
    if stands:
        it.bill(1)["amount"] = Decimal(7)  # the PSA's, and the PSA is no side here
    else:
        it.bill(1)["state"] = "paid"  # the ERP's own
    run = it.run("nightly")
    assert run["breaks"]["healed"] == 1 and it.breaks() == []
    assert it.bill(1)["amount"] == Decimal("100.5") and it.bill(1)["state"] == ("open" if stands else "paid")


def test_a_missing_record_is_made_from_the_canonical_store(world: New) -> None:
    flow = "flow: nightly\nkind: reconcile\nentity: bill\nleft: { connection: canonical }\nright: { connection: erp, mapping: erp/bills }\n"
    it = world(more={"flows/nightly.yaml": flow + OWNER})
    del it.erp.rows["bills"][it.key_of(2)]
    run = it.run("nightly")
    assert run["breaks"]["healed"] == 1 and it.breaks() == [], run
    assert it.bill(2)["amount"] == Decimal("100.5") and len(it.erp.rows["bills"]) == 3


def test_of_three_sides_only_the_one_that_differs_is_written(world: New) -> None:
    flow = (
        "flow: nightly\nkind: reconcile\nentity: bill\nsides:\n  psa: { connection: psa, mapping: psa/invoices }\n"
        "  erp: { connection: erp, mapping: erp/bills }\n  canonical: { connection: canonical }\n"
        "heal: { missing: { erp: owner }, mismatch: owner }\n"
    )
    it = world(more={"flows/nightly.yaml": flow})
    it.bill(1)["amount"] = Decimal(7)
    it.bill(2)["state"] = "paid"
    del it.erp.rows["bills"][it.key_of(3)]
    run = it.run("nightly")
    assert it.breaks() == [], [(one.label, one.fields, one.why) for one in it.breaks()]
    assert (it.bill(1)["amount"], it.invoice(2)["status"], it.bill(3)["tranid"]) == (Decimal("100.5"), "paid", "INV-3")
    assert run["state"] == "succeeded"


def test_an_extra_that_the_other_side_only_leaves_out_is_not_ended(world: New) -> None:
    mapping = FILES["mappings/erp/bills.yaml"].replace(
        "entity: bill\n", "entity: bill\n        where: \"state != 'void'\"\n"
    )
    it = world("heal: { missing_right: deactivate }\n", more={"mappings/erp/bills.yaml": mapping})
    it.bill(2)["state"] = "void"
    it.run("nightly")
    ((outcome, why),) = outcomes(it).values()
    assert outcome == "left" and why is not None and "leaves out" in why
    assert "archived" not in it.invoice(2)


def test_an_extra_that_cannot_be_ended_stays_as_it_is(world: New) -> None:
    it = world("heal: { missing_right: deactivate }\n")
    del it.erp.rows["bills"][it.key_of(2)]
    it.psa.faults["invoices"] = ["refuse"]
    assert it.run("nightly")["breaks"]["left"] == 1
    assert "archived" not in it.invoice(2) and len(it.breaks()) == 1
    assert it.run("nightly")["breaks"]["healed"] == 1
    assert it.invoice(2)["archived"] is True and it.run("nightly")["breaks"]["found"] == 0


def test_in_shadow_nothing_is_healed_by_nobody(world: New) -> None:
    it = world(OWNER + "mode: shadow\n")
    it.invoice(1)["total"] = Decimal(7)
    it.run("nightly")
    assert [row["outcome"] for row in it.heal().changes] == ["planned"]
    assert it.bill(1)["amount"] == Decimal("100.5")


def test_a_record_that_the_canonical_store_lacks_is_taken_in(world: New) -> None:
    flow = "flow: nightly\nkind: reconcile\nentity: bill\nleft: { connection: canonical }\nright: { connection: psa, mapping: psa/invoices }\n"
    it = world(more={"flows/nightly.yaml": flow + "heal: { missing_left: owner, mismatch: owner }\n"})
    it.psa.put("invoices", [*it.psa.rows["invoices"].values(), exact(invoice(4))])
    it.invoice(1)["total"] = Decimal(7)
    sent = len(it.psa.sent)
    run = it.run("nightly")
    assert (run["breaks"]["healed"], it.breaks(), len(it.psa.sent)) == (2, [], sent)


GROUPED = {
    "schemas/hour.yaml": SCHEMA + "properties: { number: { type: string }, amount: { type: number } }\n",
    "mappings/psa/hours.yaml": "mapping: psa/hours\nobject: hours\nentity: hour\nfields: { number: number, amount: { from: amount, as: decimal } }\n",
    "mappings/canonical/bills.yaml": "mapping: canonical/bills\nof: hour\nentity: bill\ngroup: [number]\nsum: { amount: amount }\n"
    "inbound:\n  number: number\n  total: { from: amount, as: money, currency: \"'EUR'\" }\n",
    "flows/hours.yaml": "flow: hours\nkind: sync\nentity: hour\nsource: { connection: psa, mapping: psa/hours }\ntargets: []\n",
    "flows/bill.yaml": "flow: bill\nkind: sync\nentity: bill\nsource: { connection: canonical, mapping: canonical/bills }\n"
    "targets: [{ connection: erp, mapping: erp/bills }]\n",
    "flows/nightly.yaml": "flow: nightly\nkind: reconcile\nentity: bill\nkey: [number]\nonly: [total]\nleft: { connection: canonical, mapping: canonical/bills }\n"
    "right: { connection: erp, mapping: erp/bills, where: \"starts_with(number, 'H-')\" }\nheal: { missing_right: { flow: bill } }\n",
}


def test_a_flow_that_makes_groups_runs_for_the_missing_one_alone(world: New) -> None:
    it = world(way="flow", more=GROUPED)
    it.psa.put("hours", [{"id": n, "number": f"H-{n % 2}", "amount": Decimal(n)} for n in range(1, 5)])
    it.run("hours")
    it.run("bill")
    bills = {row["tranid"]: key for key, row in it.erp.rows["bills"].items()}
    del it.erp.rows["bills"][bills["H-0"]]
    it.psa.put("hours", [*it.psa.rows["hours"].values(), {"id": 9, "number": "H-1", "amount": Decimal(9)}])
    it.run("hours")
    run = it.run("nightly")
    assert run["breaks"]["healed"] == 1, run
    found = {row["tranid"]: row["amount"] for row in it.erp.rows["bills"].values() if row["tranid"].startswith("H-")}
    assert found == {"H-0": Decimal(6), "H-1": Decimal(4)}, "the other group was not asked for"


def test_what_cannot_be_read_again_is_not_taken_for_healed(world: New, monkeypatch: pytest.MonkeyPatch) -> None:
    it = world()
    it.invoice(1)["total"] = Decimal(7)
    read, lost = it.erp.read, [False]

    def reads(request: Any) -> Any:
        yield from () if lost[0] and request.keys is not None else read(request)

    def writes(name: str, operations: Any) -> Any:
        lost[0] = True
        return write(name, operations)

    write = it.erp.write
    monkeypatch.setattr(it.erp, "read", reads)
    monkeypatch.setattr(it.erp, "write", writes)
    run = it.run("nightly")
    assert (run["breaks"]["healed"], run["breaks"]["left"]) == (0, 1) and it.bill(1)["amount"] == Decimal(7)
    (one,) = it.breaks()
    assert one.kind == "differs"
    assert it.run("nightly")["breaks"]["closed"] == 1 and it.breaks() == []


def test_elements_of_one_record_are_told_and_not_healed(world: New) -> None:
    mapping = (
        "mapping: psa/invoices\nobject: invoices\nentity: bill\neach: lines\nkey: [root().number, line]\n"
        "fields: { number: root().number, note: text }\n"
    )
    flow = FILES["flows/push.yaml"].replace("psa/invoices", "psa/whole")
    whole = FILES["mappings/psa/invoices.yaml"].replace("psa/invoices", "psa/whole")
    it = world(
        "key: [number]\n" + OWNER,
        more={"mappings/psa/invoices.yaml": mapping, "mappings/psa/whole.yaml": whole, "flows/push.yaml": flow},
    )
    it.bill(1)["memo"] = "x"
    it.run("nightly")
    assert {outcome for outcome, _ in outcomes(it).values()} == {"forbidden"}
    assert all("each" in str(why) for _, why in outcomes(it).values())
