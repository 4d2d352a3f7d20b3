"""`crosswalk trace`: where a deal is in its life, and what has come of it, across systems."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from engine.sdk.record import encode_json
from engine.state import canonical, links
from engine.state.links import Link
from engine.state.store import Store
from tests.cli.test_commands import call, told
from tests.conftest import Make

SETTINGS = """
    crosswalk: 1
    name: t
    connections: { crm: { connector: files, path: d, format: json }, psa: { connector: files, path: d, format: json } }
    """


@pytest.fixture
def deal(make: Make) -> Path:
    folder = make({"crosswalk.yaml": SETTINGS})
    store = Store.open("sqlite:///.crosswalk/state.db", folder)
    records: list[tuple[str, str, dict[str, Any], str]] = [
        ("opportunity", "o", {"name": "Fleet", "status": "won", "amount": _money("1000.10")}, "2026-01-01"),
        ("project", "p", {"name": "Fleet roll-out", "status": "active"}, "2026-01-02"),
        *(("time-entry", f"t{n}", {"hours": Decimal(1), "status": "approved"}, f"2026-01-1{n}") for n in range(7)),
        ("invoice", "i", {"number": "INV-1", "status": "paid", "total": _money("0.20")}, "2026-02-01"),
    ]
    with store.begin() as tx:
        for entity, id, data, at in records:
            whole = None if entity == "opportunity" else "o"
            canonical.put(tx, entity, [canonical.Change(id, 0, encode_json(data), b"{}", correlation=whole)], "r")
            canonical.add_history(tx, [(entity, id, "status", 1, b"null", encode_json(data["status"]), "crm", "r")])
            tx.run("UPDATE history SET at = ? WHERE id = ?", (f"{at}T00:00:00.000000Z", id))
        canonical.put(tx, "opportunity", [canonical.Change("other", 0, encode_json({"name": "X"}), b"{}")], "r")
        links.put(
            tx, [Link("opportunity", "crm", "Opportunity", "006", "o"), Link("project", "psa", "workspaces", "7", "p")]
        )
    store.close()
    return folder


def _money(amount: str) -> dict[str, Any]:
    return {"amount": Decimal(amount), "currency": "EUR"}


@pytest.mark.parametrize("record", ["crm:006", "o"])
def test_a_deal_tells_what_has_come_of_it_in_the_order_of_its_life(deal: Path, record: str) -> None:
    trace = told(deal, "trace", record)[1]["trace"]
    assert [(one["entity"], one["count"], one["states"]) for one in trace["stages"]] == [
        ("opportunity", 1, {"won": 1}),
        ("project", 1, {"active": 1}),
        ("time-entry", 7, {"approved": 7}),
        ("invoice", 1, {"paid": 1}),
    ]
    assert trace["lifecycle"] == {
        "field": "status",
        "state": "won",
        "states": ["open", "committed", "won", "lost"],
        "next": [],
    }
    assert trace["stages"][1]["records"] == [
        {"id": "p", "label": "Fleet roll-out", "state": "active", "held_in": ["psa:7"]}
    ]
    assert trace["stages"][3]["amount"] == {"EUR": 0.20}


def test_people_read_it_as_a_story(deal: Path) -> None:
    _, out, _ = call(deal, "trace", "i")
    lines = out.splitlines()
    assert lines[1] == "  status: draft · issued · partly_paid · [paid] · void · disputed"
    assert "  belongs together under o:" in lines
    assert "    opportunity: 1 (1 won; 1,000.10 EUR)" in lines and "      Fleet, won  in crm:006" in lines
    assert "      … and 2 more" in lines


def test_a_record_on_its_own_says_nothing_of_others(deal: Path) -> None:
    _, out, _ = call(deal, "trace", "other")
    assert "belongs together" not in out
