"""Healing: what the policy allows is mended through the ordinary line, and nothing else is touched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
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
    rows = [json.loads(line, parse_float=Decimal) for line in lines]
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
    systems.put(list(held(systems, "psa/invoices").values()), [])
    write(systems, "erp/bills", right)
    run = systems.run()
    left, right = held(systems, "psa/invoices"), held(systems, "erp/bills")
    assert right[one["id"]]["amount"] == Decimal("100.5"), run
    assert left["p2"]["status"] == "paid" and right[one["id"]]["state"] == "paid"
    assert (left["p2"]["note"], right[one["id"]]["memo"]) == ("Thanks", "by hand")
    (still,) = systems.breaks()
    assert [each["path"] for each in still.fields] == ["note"]
    assert run["state"] == "partial" and run["breaks"]["left"] == 1


def write(systems: Systems, name: str, rows: dict[str, dict[str, Any]]) -> None:
    text = "".join(json.dumps(row, default=float) + "\n" for row in rows.values())
    (systems.folder / f"{name}.ndjson").write_text(text, "utf-8")
