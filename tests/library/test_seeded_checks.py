"""Checks that the seeded systems put to the test: each stops what it is for, and lets it go once it is mended."""

from __future__ import annotations

import pytest

from tests.library.office import Office

SEEDED = {
    "phase": ("31", "is booked to closed phase Design phase of project P-2"),
    "contract line": ("33", "Task Favour is on line 2, which contract 00000002 does not bill"),
    "rate version": ("55", "Rate card 17 of project P-10 does not hold on 2026-11-19: it is for 2027-01-01 to —"),
}


@pytest.fixture(scope="module")
def worked(office: Office) -> Office:
    office.run("rate-card-versions", "services", "contract-terms", "tasks", "task-facts", "time-to-erp")
    return office


@pytest.mark.parametrize("what", SEEDED)
def test_each_stops_what_it_is_for(worked: Office, what: str) -> None:
    key, message = SEEDED[what]
    assert [text for text in worked.stopped("time-to-erp").get(key, []) if message in text]


def test_what_is_mended_goes(worked: Office) -> None:
    worked.box.set("kantata", "stories", "24", {"state": "started"})
    field = next(one for one in worked.box.all("kantata", "custom_field_values") if one["subject_type"] == "Story")
    worked.box.set("kantata", "custom_field_values", field["id"], {"value": "1"})
    worked.box.set("kantata", "workspaces", "10", {"rate_card_id": "6"})
    worked.run("projects-to-erp", "tasks", "task-facts", "time-to-erp")
    left = worked.stopped("time-to-erp")
    assert "31" not in left and "33" not in left
    assert [text for text in left.get("55", []) if "waits for the project" not in text] == [], (
        "its client is a prospect"
    )
