"""Healing: what the policy allows is mended through the ordinary line, and nothing else is touched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.run.errand import Asked
from engine.run.runner import Result, Runner
from engine.run.session import Options
from tests.run.reconcile_world import Systems, bill, invoice

OWNER = "heal: { missing_right: owner, missing_left: report, mismatch: owner }\n"


@pytest.fixture
def systems(tmp_path: Path, address: str) -> Iterator[Systems]:
    it = Systems(tmp_path, address)
    yield it
    it.close()


def held(systems: Systems, name: str) -> dict[str, dict[str, Any]]:
    """What a system has, by id."""
    lines = (systems.folder / f"{name}.ndjson").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row for row in rows}


def heal(systems: Systems, *ids: str, plan: bool = False, name: str = "nightly", **asked: Any) -> Result:
    options = Options(plan=plan, heal=Asked(ids, **asked), actor="ada", trigger="heal")
    return Runner(systems.workspace, systems.store).run(name, options)


def alone(systems: Systems, more: str) -> None:
    """No flow goes from side to side: the mappings themselves are the way."""
    (systems.folder / "flows/push.yaml").unlink(missing_ok=True)
    systems.flow(more)


def in_step(systems: Systems, count: int = 3) -> None:
    """Both systems hold the same bills, linked."""
    systems.put([invoice(n) for n in range(1, count + 1)], [])
    run = systems.sync().run
    assert run["state"] == "succeeded", run


@pytest.mark.parametrize("way", ["flow", "sides"])
def test_a_missing_record_is_sent_by_the_side_that_owns_it(systems: Systems, way: str) -> None:
    systems.flow(OWNER) if way == "flow" else alone(systems, OWNER)
    systems.put([invoice(1), invoice(2)], [bill(1)])
    run = systems.run()
    assert run["state"] == "succeeded", (run, systems.breaks())
    assert (run["breaks"]["healed"], run["breaks"]["left"], run["breaks"]["remaining"]) == (1, 0, 0)
    assert sorted(row["tranid"] for row in held(systems, "erp/bills").values()) == ["INV-1", "INV-2"]
    (closed,) = systems.breaks("nightly", "closed")
    assert closed.closed_how is not None and closed.closed_how.startswith("healed by")
    assert systems.run()["breaks"]["found"] == 0


@pytest.mark.parametrize("way", ["flow", "sides"])
def test_each_field_goes_from_its_owner_and_no_other_field_moves(systems: Systems, way: str) -> None:
    in_step(systems)
    systems.flow(OWNER) if way == "flow" else alone(systems, OWNER)
    right = held(systems, "erp/bills")
    one = next(row for row in right.values() if row["tranid"] == "INV-2")
    one |= {"amount": 7, "state": "paid", "memo": "by hand"}
    write(systems, "erp/bills", right)
    run = systems.run()
    left, right = held(systems, "psa/invoices"), held(systems, "erp/bills")
    assert right[one["id"]]["amount"] == 100.5, run
    assert left["p2"]["status"] == "paid" and right[one["id"]]["state"] == "paid"
    assert (left["p2"]["note"], right[one["id"]]["memo"]) == ("Thanks", "by hand")
    (still,) = systems.breaks()
    assert [each["path"] for each in still.fields] == ["note"]
    assert run["state"] == "partial" and run["breaks"]["left"] == 1


def write(systems: Systems, name: str, rows: dict[str, dict[str, Any]]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows.values())
    (systems.folder / f"{name}.ndjson").write_text(text, "utf-8")


def test_a_plan_says_what_would_be_written_and_writes_nothing(systems: Systems) -> None:
    in_step(systems)
    systems.flow(OWNER.replace("}", ", limit: 0 }"))
    right = held(systems, "erp/bills")
    one = next(row for row in right.values() if row["tranid"] == "INV-2")
    one |= {"amount": 7, "memo": "by hand"}
    write(systems, "erp/bills", right)
    before = (systems.folder / "erp/bills.ndjson").read_bytes()
    run = systems.run()
    assert run["breaks"]["over_limit"] == 1 and run["breaks"]["remaining"] == 1
    (row,) = heal(systems, plan=True).changes
    assert (row["outcome"], row["label"], row["why"]) == ("planned", "INV-2", "note has no owner")
    (change,) = row["writes"]
    assert change["operation"] == "update" and {
        name: [str(one) for one in pair] for name, pair in change["fields"].items()
    } == {"amount": ["7", "100.5"]}
    assert (systems.folder / "erp/bills.ndjson").read_bytes() == before
    (still,) = systems.breaks()
    assert still.runs == 1


def test_over_the_limit_nothing_is_healed_before_a_person_says_so(systems: Systems) -> None:
    systems.flow(OWNER.replace("}", ", limit: 1 }"))
    systems.put([invoice(n) for n in range(1, 5)], [bill(1)])
    run = systems.run()
    assert (run["breaks"]["over_limit"], run["breaks"]["healed"], len(held(systems, "erp/bills"))) == (3, 0, 1)
    assert systems.result().told["healing"] == [{"run": run["run"], "over_limit": 3, "limit": 1}]
    held_run = heal(systems)
    assert held_run.run["state"] == "held" and "--yes" in held_run.run["held_because"]
    assert len(held(systems, "erp/bills")) == 1
    some = heal(systems, limit=1)
    assert [row["outcome"] for row in some.changes] == ["healed", "forbidden", "forbidden"]
    rest = heal(systems, approved=True)
    assert rest.run["state"] == "succeeded" and len(held(systems, "erp/bills")) == 4
    assert heal(systems, approved=True).changes == []


def test_a_record_that_was_deleted_by_hand_is_made_again_once(systems: Systems) -> None:
    in_step(systems)
    systems.flow(OWNER)
    right = {id: row for id, row in held(systems, "erp/bills").items() if row["tranid"] != "INV-2"}
    write(systems, "erp/bills", right)
    run = systems.run()
    assert run["breaks"]["healed"] == 1, systems.breaks()
    assert sorted(row["tranid"] for row in held(systems, "erp/bills").values()) == ["INV-1", "INV-2", "INV-3"]
    assert systems.run()["breaks"]["found"] == 0 and systems.sync().run["created"] == 0


def test_accepted_double_and_unexplained_by_this_run_are_never_healed(systems: Systems) -> None:
    from engine.state import breaks as state

    systems.put([invoice(1), invoice(2), invoice(3)], [bill(1), bill(1, id="e11"), bill(3)])
    systems.run()
    known = {one.name: one for one in systems.breaks()}
    with systems.store.begin("t") as tx:
        state.accept(tx, known["missing_right"].id, "ada", "known", None)
    systems.flow(OWNER)
    before = held(systems, "erp/bills")
    rows = {row["class"]: row for row in heal(systems, known["missing_right"].id, known["duplicate"].id).changes}
    assert {row["outcome"] for row in rows.values()} == {"forbidden"} and held(systems, "erp/bills") == before
    assert rows["missing_right"]["why"] == "it is accepted"


def test_a_named_flow_mends_what_it_sends(systems: Systems) -> None:
    systems.flow("heal: { missing_right: { flow: push }, mismatch: { flow: push } }\n")
    systems.put([invoice(1), invoice(2)], [])
    systems.sync()
    right = held(systems, "erp/bills")
    next(row for row in right.values() if row["tranid"] == "INV-1")["amount"] = 1
    write(systems, "erp/bills", right)
    write(systems, "psa/invoices", {row["id"]: row for row in (invoice(1), invoice(2), invoice(3))})
    run = systems.run()
    assert (run["breaks"]["healed"], run["breaks"]["remaining"], run["state"]) == (2, 0, "succeeded"), systems.breaks()
    assert [row["amount"] for row in held(systems, "erp/bills").values()] == [100.5] * 3


@pytest.mark.parametrize("linked", [True, False])
def test_an_extra_is_ended_as_its_mapping_says(systems: Systems, linked: bool) -> None:
    systems.put([invoice(1), invoice(2)], [])
    if linked:
        systems.sync()
    systems.flow("heal: { missing_right: deactivate }\n")
    write(systems, "erp/bills", {"e1": bill(1)})
    run = systems.run()
    left = held(systems, "psa/invoices")
    assert left["p2"].get("archived") is True and "archived" not in left["p1"], (run, systems.breaks())
    assert run["breaks"]["healed"] == 1
    assert systems.run()["breaks"]["found"] == 0


def test_healing_is_in_the_history_and_the_audit_trail(systems: Systems) -> None:
    from engine.state import audit, breaks

    systems.put([invoice(1), invoice(2)], [bill(1)])
    systems.run()
    (one,) = systems.breaks()
    systems.flow(OWNER)
    heal(systems, one.id)
    with systems.store.read() as tx:
        told = [each["what"] for each in breaks.history(tx, one.id)]
        trail = audit.of(tx, one.id)
    assert any(what.startswith("healed by") for what in told)
    assert [(each[1], each[2]) for each in trail] == [("ada", "reconcile heal")]
