"""Breaks on the command line: looked at, accepted, opened again, assigned."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.state import audit
from tests.cli.test_commands import call, told
from tests.run.reconcile_world import Systems, bill, invoice


@pytest.fixture
def systems(tmp_path: Path, address: str) -> Iterator[Systems]:
    it = Systems(tmp_path, address)
    it.flow("owner: finance\n")
    it.put([invoice(n) for n in range(1, 6)], [bill(n, **({"amount": 90} if n == 2 else {})) for n in range(2, 7)])
    it.run()
    yield it
    it.close()


def listed(systems: Systems, *words: str) -> dict[str, dict[str, Any]]:
    code, found = told(systems.folder, "reconcile", "breaks", *words)
    assert code == 0
    return {one["label"]: one for one in found["breaks"]}


def test_breaks_are_told_with_all_that_a_program_needs(systems: Systems) -> None:
    found = listed(systems, "nightly")
    assert set(found) == {"INV-1", "INV-2", "INV-6"}
    one = found["INV-2"]
    assert (one["flow"], one["entity"], one["class"], one["state"], one["queue"]) == (
        "nightly", "bill", "mismatch", "open", "finance",
    )  # fmt: skip
    assert one["fields"][0]["values"] == {
        "left": {"amount": 100.5, "currency": "EUR"}, "right": {"amount": 90, "currency": "EUR"},
    }  # fmt: skip
    assert (one["amount"], one["currency"], one["natives"]) == (10.5, "EUR", {"left": ["p2"], "right": ["e2"]})
    assert (one["age"], one["runs"], one["owner"], one["accepted_by"]) == (0, 1, None, None)
    code, out, _ = call(systems.folder, "reconcile", "breaks")
    assert code == 0 and "10.50 EUR" in out and "3 live breaks" in out


def test_lists_are_narrowed(systems: Systems) -> None:
    with systems.store.begin() as tx:
        tx.run("UPDATE breaks SET first_seen = '2026-01-02T00:00:00.000000Z' WHERE label = 'INV-1'")
    assert set(listed(systems, "--older-than", "7d")) == {"INV-1"}
    assert listed(systems)["INV-1"]["age"] >= 7
    assert set(listed(systems, "--class", "missing_left")) == {"INV-6"}
    assert set(listed(systems, "--record", "erp:e2")) == set(listed(systems, "--record", "INV-2")) == {"INV-2"}
    assert set(listed(systems, "--queue", "finance", "--owner", "")) == {"INV-1", "INV-2", "INV-6"}
    assert listed(systems, "--queue", "projects") == {}
    code, out = told(systems.folder, "reconcile", "breaks", "--limit", "1")
    assert (len(out["breaks"]), out["total"]) == (1, 3)
    code, _, err = call(systems.folder, "reconcile", "breaks", "push")
    assert code == 2 and "X935" in err
    code, _, err = call(systems.folder, "reconcile", "breaks", "--class", "missmatch")
    assert code == 2 and "mismatch" in err, "a typing error is no empty list"
    code, _, err = call(systems.folder, "reconcile", "breaks", "nightli")
    assert code == 2 and "nightly" in err


def test_an_accepted_break_leaves_the_figures_until_its_day_and_says_who_and_why(systems: Systems) -> None:
    ids = {label: one["id"] for label, one in listed(systems).items()}
    day = (datetime.now(UTC) + timedelta(days=9)).date().isoformat()
    code, out = told(
        systems.folder, "reconcile", "accept", ids["INV-1"], ids["INV-2"], "--reason", "agreed", "--until", day
    )
    assert (code, out["accepted"]) == (0, [ids["INV-1"], ids["INV-2"]])
    one = listed(systems)["INV-1"]
    assert (one["state"], one["accepted_because"], one["accepted_until"][:10]) == ("accepted", "agreed", day)
    run = systems.run()
    assert (run["breaks"]["remaining"], run["breaks"]["accepted"]) == (1, 2)
    with systems.store.read() as tx:
        assert [(row[2], row[3]["because"]) for row in audit.of(tx, ids["INV-1"])] == [("reconcile accept", "agreed")]
    code, out = told(systems.folder, "reconcile", "show", ids["INV-1"])
    assert any("accepted until" in one["what"] and "agreed" in one["what"] for one in out["break"]["history"])
    code, out = told(systems.folder, "reconcile", "reopen", ids["INV-1"], "--reason", "it was wrong")
    assert code == 0 and listed(systems)["INV-1"]["state"] == "open"
    assert systems.run()["breaks"]["remaining"] == 2


def test_what_cannot_be_accepted_is_refused_and_nothing_is_done_by_halves(systems: Systems) -> None:
    ids = {label: one["id"] for label, one in listed(systems).items()}
    with systems.store.begin() as tx:
        tx.run("UPDATE breaks SET class = 'in_flight' WHERE label = 'INV-6'")
        tx.run("UPDATE breaks SET state = 'closed', closed_how = 'gone' WHERE label = 'INV-2'")
    for id, said in ((ids["INV-6"], "in flight"), (ids["INV-2"], "closed (gone)"), ("b-none", "no break")):
        code, _, err = call(systems.folder, "reconcile", "accept", ids["INV-1"], id, "--reason", "x")
        assert code == 2 and said in err and listed(systems)["INV-1"]["state"] == "open"
    for words in (
        ["--reason", " "],
        ["--reason", "x", "--until", "2020-01-01"],
        ["--reason", "x", "--until", "soon"],
        [],
    ):
        code, _, err = call(systems.folder, "reconcile", "accept", ids["INV-1"], *words)
        assert code == 2 and "X900" in err
    assert call(systems.folder, "reconcile", "reopen", ids["INV-1"], "--reason", "x")[0] == 2


def test_many_are_chosen_only_with_a_yes(systems: Systems) -> None:
    words = (
        "reconcile",
        "accept",
        "--flow",
        "nightly",
        "--class",
        "missing_left",
        "--reason",
        "known",
        "--until",
        "30d",
    )
    code, _, err = call(systems.folder, *words)
    assert code == 2 and "X914" in err and "1 break would" in err
    assert call(systems.folder, *words, "--yes")[0] == 0
    assert [label for label, one in listed(systems).items() if one["state"] == "accepted"] == ["INV-6"]


def test_whom_a_break_is_given_to_stays_from_run_to_run(systems: Systems) -> None:
    ids = {label: one["id"] for label, one in listed(systems).items()}
    told(systems.folder, "reconcile", "assign", ids["INV-1"], "--to", "ada", "--queue", "projects")
    systems.run()
    one = listed(systems)["INV-1"]
    assert (one["owner"], one["queue"], one["runs"]) == ("ada", "projects", 2)
    assert listed(systems)["INV-2"]["queue"] == "finance"
    assert set(listed(systems, "--owner", "ada", "--queue", "projects")) == {"INV-1"}
    told(systems.folder, "reconcile", "assign", "--owned-by", "ada", "--nobody", "--yes")
    assert listed(systems)["INV-1"]["owner"] is None
    assert call(systems.folder, "reconcile", "assign", ids["INV-1"], "--queue", "nowhere")[0] == 2
    assert call(systems.folder, "reconcile", "assign", ids["INV-1"])[0] == 2


def test_show_puts_the_values_side_by_side_and_says_what_to_do(systems: Systems) -> None:
    one = listed(systems)["INV-2"]
    code, out, _ = call(systems.folder, "reconcile", "show", one["id"])
    assert code == 0 and "left   100.50 EUR" in out and "right  90.00 EUR" in out
    assert "in right: e2" in out and f"crosswalk reconcile accept {one['id']}" in out


def test_sensitive_values_are_masked_everywhere(systems: Systems) -> None:
    path = systems.folder / "schemas/bill.yaml"
    text = path.read_text().replace("total: { $ref: money,", "total: { $ref: money, x-sensitive: financial,")
    path.write_text(text.replace("number: { type: string,", "number: { type: string, x-sensitive: personal,"))
    code, out, _ = call(systems.folder, "reconcile", "breaks")
    assert code == 0 and "100.5" not in out and "INV-" not in out and "••••" in out
    code, out = told(systems.folder, "reconcile", "breaks", "--class", "mismatch")
    assert out["breaks"][0]["fields"][0]["values"] == {"left": "••••", "right": "••••"}
    assert out["breaks"][0]["amount"] is None
    code, shown, _ = call(systems.folder, "reconcile", "show", out["breaks"][0]["id"])
    assert code == 0 and "100.5" not in shown and "INV-" not in shown
