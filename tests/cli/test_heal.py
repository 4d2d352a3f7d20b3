"""Healing on the command line: looked at first, then done, and told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.state import audit
from tests.cli.test_commands import call, told
from tests.run.reconcile_world import Systems, invoice

HEAL = "heal: { missing_right: owner, mismatch: owner, limit: 1 }\n"


@pytest.fixture
def systems(tmp_path: Path, address: str) -> Iterator[Systems]:
    it = Systems(tmp_path, address)
    it.put([invoice(1), invoice(2)], [])
    it.sync()
    it.flow(HEAL)
    bills = [{**row, "amount": 90, "memo": "by hand"} if row["tranid"] == "INV-2" else row for row in rows(it)]
    it.put([invoice(1), invoice(2), invoice(3)], bills)
    yield it
    it.close()


def rows(systems: Systems, name: str = "erp/bills") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (systems.folder / f"{name}.ndjson").read_text("utf-8").splitlines()]


def test_a_controller_looks_at_it_then_heals_it(systems: Systems) -> None:
    code, out, _ = call(systems.folder, "run", "nightly")
    assert code == 3 and "2 records could be healed" in out and "reconcile heal nightly --plan" in out
    _, out, _ = call(systems.folder, "reconcile", "heal", "nightly", "--plan")
    assert "amount: 90 → 100.5" in out and "create erp" in out and "note has no owner" in out and "2 to heal" in out
    assert len(rows(systems)) == 2
    code, out, _ = call(systems.folder, "reconcile", "heal", "nightly")
    assert code == 4 and "--yes" in out and len(rows(systems)) == 2
    code, found = told(systems.folder, "reconcile", "heal", "nightly", "--class", "missing_right")
    assert [(one["label"], one["outcome"], one["how"]) for one in found["breaks"]] == [("INV-3", "healed", "flow push")]
    code, found = told(systems.folder, "reconcile", "heal", "nightly", "--yes")
    (one,) = found["breaks"]
    assert (code, one["label"], one["outcome"], one["why"]) == (3, "INV-2", "left", "note has no owner")
    by_number = {row["tranid"]: row for row in rows(systems)}
    assert (by_number["INV-2"]["amount"], by_number["INV-2"]["memo"]) == (100.5, "by hand") and len(by_number) == 3
    with systems.store.read() as tx:
        assert [each[2] for each in audit.of(tx, one["break"])] == ["reconcile heal"]
    code, shown = told(systems.folder, "reconcile", "show", one["break"])
    assert [each["path"] for each in shown["break"]["fields"]] == ["note"]
    assert any("not healed by flow push: note has no owner" in each["what"] for each in shown["break"]["history"])


def test_a_held_healing_goes_on_as_it_was_asked_for(systems: Systems) -> None:
    systems.run()
    code, found = told(
        systems.folder, "reconcile", "heal", "nightly", "--class", "missing_right", "--class", "mismatch"
    )
    assert code == 4
    code, found = told(systems.folder, "runs", "resume", found["run"]["run"], "--approve")
    assert (found["runs"][0]["breaks"]["healed"], found["runs"][0]["breaks"]["left"]) == (1, 1)


def test_breaks_that_cannot_be_meant_are_refused(systems: Systems) -> None:
    code, out, err = call(systems.folder, "reconcile", "heal", "nightly")
    assert code == 1 and "has compared nothing yet" in out + err
    systems.run()
    code, out, err = call(systems.folder, "reconcile", "heal", "nightly", "b-9")
    assert code == 1 and "X937" in out + err
    code, out, err = call(systems.folder, "reconcile", "heal", "push")
    assert code != 0 and "X935" in out + err


def test_sensitive_values_are_masked(systems: Systems) -> None:
    schema = (systems.folder / "schemas/bill.yaml").read_text("utf-8")
    masked = schema.replace(
        "total: { $ref: money, x-owner: psa }", "total: { $ref: money, x-owner: psa, x-sensitive: financial }"
    )
    assert masked != schema
    systems.write("schemas/bill.yaml", masked)
    call(systems.folder, "run", "nightly")
    _, out, _ = call(systems.folder, "reconcile", "heal", "nightly", "--plan")
    shown = [line.strip() for line in out.splitlines() if line.strip().startswith("amount: ")]
    assert shown == ["amount: '••••' → '••••'", "amount: '••••'"]
