"""Amendments go through: the contract in force, the PSA's project, the ERP's job, what is billed and what is checked."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from engine.sdk.record import Fields
from tests.library.office import Office

TERMS: dict[str, Any] = {"reason": "More to do", "effective": "2026-11-10", "approved_by": "Seller 1",
                         "approved_at": "2026-11-09T09:00:00Z", "status": "approved"}  # fmt: skip
UNSAID = ("agreed-by-somebody", "repair", "pmo")
"""The example's own change that nobody agreed to."""


def contract(office: Office, number: str) -> Fields:
    (found,) = office.records("contract", number=number)
    return found


def amend(office: Office, id: str, **change: Any) -> list[str]:
    """A change is written down and carried out; what is said of those that are not."""
    office.ask(id, **{**TERMS, **change})
    office.run("change-requests", "contract-amendment")
    return [
        text for text in office.told("contract-amendment") if f"CR-{id}" in text or "onto" in text or "schedule" in text
    ]


def over_the_ceiling(office: Office) -> list[str]:
    office.run("time-to-erp")
    return [one for one in office.told("time-to-erp") if "over the ceiling" in one]


def test_a_raised_ceiling_lets_time_go_that_it_stopped_and_a_lowered_one_stops_it(office: Office) -> None:
    office.run("tasks")
    assert all("over the ceiling of 99.99 of contract 00000012" in one for one in over_the_ceiling(office))
    assert over_the_ceiling(office)
    raised = [{"field": "ceiling", "from": "99.99", "to": "5000000.00"}]
    assert amend(office, "20", contract="00000012", project="P-12", changes=raised) == []
    assert contract(office, "00000012")["ceiling"]["amount"] == Decimal("5000000.00")
    assert over_the_ceiling(office) == []
    lowered = [{"field": "ceiling", "from": 899999.99, "to": 10}]
    assert amend(office, "21", contract="00000004", project="P-4", changes=lowered) == []
    time = next(
        one for one in office.box.all("kantata", "time_entries") if one["workspace_id"] == "4" and not one["approved"]
    )
    office.box.set("kantata", "time_entries", time["id"], {"approved": True, "billable": True})
    assert [one for one in over_the_ceiling(office) if "over the ceiling of 10 of contract 00000004" in one]


def test_the_project_and_its_job_get_the_new_budget_and_end(office: Office) -> None:
    before, kept = office.box.get("kantata", "workspaces", "9"), contract(office, "00000009")
    changes = [
        {"field": "value", "from": 230000, "to": "245000.00"},
        {"field": "end", "from": kept["end"], "to": "2027-12-31"},
    ]
    assert (
        amend(office, "22", contract="00000009", project="P-9", amount="15000.00", currency="EUR", changes=changes)
        == []
    )
    after = office.box.get("kantata", "workspaces", "9")
    assert after["price_in_cents"] - before["price_in_cents"] == 1_500_000 and after["due_date"] == "2027-12-31"
    assert {name for name in after if after[name] != before[name]} <= {"price_in_cents", "due_date", "updated_at"}
    (job,) = office.named("netsuite", "job", "entityId", "P-9")
    assert job["projectedEndDate"] == "2027-12-31"
    now, version = contract(office, "00000009"), contract(office, "00000009/CR-22")
    assert (now["value"]["amount"], now["end"], now["version"]) == (
        Decimal("245000.00"),
        "2027-12-31",
        kept.get("version", 1) + 1,
    )
    assert (version["amends"], version["version"], version["value"]) == (now["id"], now["version"], now["value"])
    office.run("projects-to-erp", "contract-amendment")
    assert office.box.get("kantata", "workspaces", "9")["price_in_cents"] == after["price_in_cents"], "it is done once"


def test_what_a_project_manager_moved_meanwhile_is_moved_again_by_the_next_change(office: Office) -> None:
    office.box.set("kantata", "workspaces", "9", {"due_date": "2027-06-30"})
    office.run("projects-to-erp")
    changes = [{"field": "end", "from": "2027-12-31", "to": "2027-12-31"}]
    assert amend(office, "23", contract="00000009", project="P-9", changes=changes) == []
    assert office.box.get("kantata", "workspaces", "9")["due_date"] == "2027-12-31"


def test_billing_goes_by_the_new_schedule_and_what_was_due_already_stays(office: Office) -> None:
    office.run("services", "contract-terms", "billing-schedules")
    value = contract(office, "00000009")["value"]["amount"]
    known = [{"date": "2026-10-15", "amount": "112500.00"}]
    schedule = [
        *known,
        {"date": "2026-11-12", "amount": "50000.00"},
        {"date": "2027-02-01", "amount": str(value + 1000 - 162500)},
    ]

    def asked(id: str, to: list[dict[str, str]]) -> list[str]:
        changes = [{"field": "billing_schedule", "to": to}]
        return amend(office, id, contract="00000009", project="P-9", amount="1000.00", currency="EUR", changes=changes)

    assert "does not sum to" in asked("24", schedule[:2])[0]
    assert (
        "alters what was due already"
        in asked(
            "24",
            [
                {**known[0], "amount": "112499.00"},
                *schedule[1:2],
                {**schedule[2], "amount": str(value + 1001 - 162500)},
            ],
        )[0]
    )
    assert asked("24", schedule) == []
    office.run("billing-schedules", "billing-changes")
    mine = contract(office, "00000009")["id"]
    events = office.records("billing-event", contract=mine, kind="fixed")
    assert sorted((one["date"], one["amount"]["amount"]) for one in events if one["sources"] == [mine]) == [
        ("2026-10-15", Decimal("112500.00")), ("2026-11-12", Decimal("50000.00"))]  # fmt: skip
    assert not [one for one in events if one["amount"]["amount"] == 1000], (
        "the schedule bills it, and nothing else does"
    )


def test_figures_that_were_agreed_on_something_else_are_not_applied(office: Office) -> None:
    changes = [{"field": "ceiling", "from": 77, "to": 88}]
    (told,) = amend(office, "25", contract="00000004", project="P-4", changes=changes)
    assert "agreed on other figures than contract 00000004 has by now" in told
    (told,) = amend(office, "26", contract="00000004", project="P-4", changes=[{"field": "colour", "to": "red"}])
    assert "CR-26 changes what nothing here carries out" in told
    assert contract(office, "00000004")["ceiling"]["amount"] == 10


def test_a_contract_signed_in_the_crm_amends_the_one_in_force(office: Office) -> None:
    base = office.box.get("salesforce", "Contract", "800000000000004AAA")
    id = office.box.add("salesforce", "Contract", {
        **{name: base[name] for name in ("AccountId", "StartDate", "CurrencyIsoCode", "Billing_Method__c", "Legal_Entity__c")},
        "Amends__c": "800000000000004AAA", "Status": "Draft", "EndDate": "2028-08-31",
        "Value__c": Decimal(120_000), "Ceiling__c": Decimal(950_000),
    })  # fmt: skip
    office.run("contracts", "amending-contracts")
    assert contract(office, "00000004")["ceiling"]["amount"] == 10, "it is not signed yet"
    office.box.set("salesforce", "Contract", id, {"Status": "Activated"})
    office.run("contracts", "amending-contracts")
    assert office.told("amending-contracts") == []
    now = contract(office, "00000004")
    assert (now["value"]["amount"], now["ceiling"]["amount"], now["end"]) == (120_000, 950_000, "2028-08-31")
    assert office.box.get("kantata", "workspaces", "4")["price_in_cents"] == 12_000_000
    assert office.named("netsuite", "job", "entityId", "P-4")[0]["projectedEndDate"] == "2028-08-31"
    assert over_the_ceiling(office) == []
