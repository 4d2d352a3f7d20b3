"""A client that several of our entities bill is one customer of the ERP for each of them, and never one too many."""

from __future__ import annotations

from decimal import Decimal

from engine.sdk.record import Fields
from tests.library.office import Office

EMBER = "001000000000009AAA"


def customers(office: Office, name: str = "Ember Textiles") -> dict[str, Fields]:
    """Customers of that name by subsidiary; two of one subsidiary fail."""
    found = office.named("netsuite", "customer", "companyName", name)
    assert len({one["subsidiary"]["id"] for one in found}) == len(found), "one customer for each entity"
    return {one["subsidiary"]["id"]: one for one in found}


def billed_by(office: Office, codes: str) -> dict[str, Fields]:
    office.box.set("salesforce", "Account", EMBER, {"Legal_Entities__c": codes})
    (run,) = office.run("clients")
    assert run["state"] in ("succeeded", "partial")
    assert [one for one in office.told("clients") if EMBER in one or "legal entity" in one] == []
    return customers(office)


def test_the_seeded_client_of_two_entities_has_two_customers(office: Office) -> None:
    found = customers(office, office.box.get("salesforce", "Account", "001000000000033AAA")["Name"].strip())
    assert set(found) == {"1", "2"} and found["1"]["id"] != found["2"]["id"]


def test_a_second_entity_is_one_more_customer_and_the_first_stays_who_it_was(office: Office) -> None:
    (before,) = customers(office).values()
    assert before["subsidiary"] == {"id": "1"}
    found = billed_by(office, "UK;DE")
    assert set(found) == {"1", "2"} and found["1"]["id"] == before["id"], "it is adopted for its own entity"
    assert billed_by(office, "UK;DE") == found
    run = office.anew("clients")
    assert (run["created"], run["updated"], run["deleted"]) == (0, 0, 0)


def test_jobs_and_invoices_take_the_customer_of_the_contracts_entity(office: Office) -> None:
    found, name = customers(office), office.win(1, Billing_Method__c="fixed", Legal_Entity__c="DE")
    (run,) = office.run("quote-to-project")
    assert run["created"] == 1 and office.told("quote-to-project") == [], office.told("quote-to-project")
    (job,) = office.named("netsuite", "job", "companyName", name)
    assert job["parent"] == {"id": found["2"]["id"]}
    assert customers(office).keys() == found.keys(), "the deal makes no third one"
    office.run("billing-schedules", "billing-to-invoices")
    (contract,) = [one for one in office.records("contract") if one["number"].startswith("D-")]
    assert contract["value"]["amount"] == Decimal(48_000)
    (invoice,) = office.named("netsuite", "invoice", "tranId", f"B-{contract['number']}-2026-10-GBP")
    assert invoice["entity"] == {"id": found["2"]["id"]} and invoice["subsidiary"] == {"id": "2"}


def test_a_deal_of_an_entity_that_does_not_bill_the_client_waits(office: Office) -> None:
    name = office.win(2, Billing_Method__c="fixed", Legal_Entity__c="US")
    office.run("quote-to-project")
    assert office.waiting("quote-to-project") == [("entity-bills-the-client", "repair", "data-stewards")]
    assert (
        f"{name} is delivered by an entity of ours that does not bill Ember Textiles"
        in office.told("quote-to-project")[0]
    )
    found = billed_by(office, "UK;DE;US")
    assert len(found) == 3
    office.run("quote-to-project")
    (job,) = office.named("netsuite", "job", "companyName", name)
    assert job["parent"] == {"id": found["3"]["id"]}


def test_an_entity_that_stops_billing_leaves_an_inactive_customer_and_may_come_back(office: Office) -> None:
    found = billed_by(office, "UK;DE")
    assert {entity: one["isInactive"] for entity, one in found.items()} == {"1": False, "2": False, "3": True}
    again = billed_by(office, "UK;DE;US")
    assert {one["id"] for one in again.values()} == {one["id"] for one in found.values()}
    assert [one["isInactive"] for one in again.values()] == [False, False, False]


def test_a_code_that_nobody_has_sets_the_client_aside(office: Office) -> None:
    office.box.set("salesforce", "Account", EMBER, {"Legal_Entities__c": "UK;ES"})
    office.run("clients")
    assert sum("there is no legal entity with the code ES" in one for one in office.told("clients")) == 1
    assert len(customers(office)) == 3
