"""The library's processes on the fakes: a deal becomes a project once, changes and releases are agreed to by a second person."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from engine.cli.sandboxes import setting
from engine.run.relay import relay_all
from engine.spec.workspace import Workspace
from engine.state import units
from engine.state.care import age
from tests.library.office import GOOD, Office

SERVED = Path(__file__).with_name("served.py")
KILLS = 2
"""Points at which `serve` is killed here; every one with CHAOS_POINTS=all."""


@pytest.mark.parametrize(
    ("number", "method", "stories"),
    [
        (1, "fixed", {"Discovery", "Build", "Accepted"}),
        (2, "time_and_materials", {"Work", "Advice"}),
        (3, "milestone", {"Design", "Design agreed", "Build", "Live"}),
        (5, "managed_service", {"Service desk", "Reporting"}),
    ],
)
def test_a_deal_becomes_one_project_from_the_template_of_its_billing_method(
    office: Office, number: int, method: str, stories: set[str]
) -> None:
    name = office.win(number, Billing_Method__c=method)
    customers = len(office.box.all("netsuite", "customer"))
    (run,) = office.run("quote-to-project")
    assert (run["state"], run["created"]) == ("succeeded", 1), office.told("quote-to-project")
    office.run("quote-to-project")
    (project,) = office.named("kantata", "workspaces", "title", name)
    (job,) = office.named("netsuite", "job", "companyName", name)
    assert {
        one["title"] for one in office.box.all("kantata", "stories") if one["workspace_id"] == project["id"]
    } == stories
    assert len(office.box.all("netsuite", "customer")) == customers, "the client is a customer already"
    (customer,) = office.named("netsuite", "customer", "companyName", "Ember Textiles")
    assert project["workspace_group_ids"] and job["parent"] == {"id": customer["id"]}
    (record,) = office.records("project", name=name)
    relay_all(office.runner.workspace, office.runner.store)
    assert [one["type"] for one in office.box.all("bus", "events") if one["subject"] == record["id"]] == [
        "project.created.v1"
    ]
    (contract,) = office.records("contract", id=record["contract"])
    assert (contract["billing_method"], contract["status"], contract["version"]) == (method, "signed", 1)
    assert contract["value"] == {"amount": Decimal(48_000), "currency": "GBP"} and record["legal_entity"]


def test_what_invoices_need_is_asked_for_before_anything_is_made(office: Office) -> None:
    name = office.win(6, Billing_Method__c=None)
    office.run("quote-to-project")
    assert office.waiting("quote-to-project") == [("deal-complete", "repair", "data-stewards")]
    assert "Deal 6 says not how it is billed" in office.told("quote-to-project")[0]
    assert office.named("kantata", "workspaces", "title", name) == []
    office.win(6, Billing_Method__c="fixed")
    office.run("quote-to-project")
    assert office.waiting("quote-to-project") == [] and len(office.named("kantata", "workspaces", "title", name)) == 1


def test_a_large_deal_waits_for_a_second_person(office: Office) -> None:
    name = office.win(7, Billing_Method__c="fixed", Amount=Decimal(300_000))
    office.run("quote-to-project")
    assert office.waiting("quote-to-project") == [("large-deal", "approval", "pmo")]
    assert office.named("kantata", "workspaces", "title", name) == []
    office.decide("approved", "bo")
    office.run("quote-to-project")
    assert office.waiting("quote-to-project") == [] and len(office.named("netsuite", "job", "companyName", name)) == 1


def test_a_change_makes_a_version_of_the_contract_and_a_part_of_the_budget(office: Office) -> None:
    office.run("change-requests", "contract-amendment")
    assert office.waiting("contract-amendment") == [("agreed-by-somebody", "repair", "pmo")]
    (contract,) = office.records("contract", number="00000009/CR-1")
    (before,) = office.records("contract", number="00000009")
    assert (contract["amends"], contract["version"]) == (before["id"], 2)
    assert contract["value"] == {"amount": Decimal(230_000), "currency": "EUR"}
    (budget,) = office.records("budget")
    assert (budget["period"], budget["revenue"]) == ("2026-10", {"amount": Decimal(5000), "currency": "EUR"})


def test_a_credit_hold_is_released_by_a_second_person_and_everybody_sees_it(office: Office) -> None:
    (held,) = [one for one in office.box.all("netsuite", "customer") if one["companyName"] == "Ember Textiles"]
    office.box.set("netsuite", "customer", held["id"], {"creditHoldOverride": {"id": "ON"}})
    office.run("credit-status")
    account = office.box.get("salesforce", "Account", "001000000000009AAA")
    assert account["Credit_Status__c"] == "Hold"
    office.ask("9", contract="00000004", project="P-4", reason="They paid", status="submitted",
               changes=[{"field": "credit_status", "from": "hold", "to": "open"}])  # fmt: skip
    office.run("change-requests", "credit-release")
    assert office.waiting("credit-release") == [("release", "approval", "finance-ops")]
    office.decide("approved", "bo")
    office.run("credit-release", "credit-status")
    assert office.waiting("credit-release") == [], office.told("credit-release")
    assert office.box.get("netsuite", "customer", held["id"])["creditHoldOverride"] == {"id": "OFF"}
    assert office.box.get("salesforce", "Account", "001000000000009AAA")["Credit_Status__c"] == "Open"
    values = [
        one for one in office.box.all("kantata", "custom_field_values") if one["subject_type"] == "WorkspaceGroup"
    ]
    assert [one["value"] for one in values if one["value"] == "Hold"] == [] and values


def test_serve_is_killed_at_every_step_and_the_deal_is_one_project(office: Office) -> None:
    settings: dict[str, str] = {}
    workspace = Workspace.open(office.folder)
    workspace.sandbox = lambda name: settings.setdefault(name, setting(office.folder, name))
    for connection in workspace.settings.connections:
        workspace.config(connection)
    customers = len(office.box.all("netsuite", "customer"))

    def serve(point: int) -> int:
        """The exit code of a `serve` that dies at that point; of one that does not, the points that it came to."""
        with office.runner.store.begin("ask") as tx:
            units.put(tx, "flow", "quote-to-project", lane="bulk")
        command = [sys.executable, str(SERVED), str(office.folder), json.dumps(settings), str(point)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        return int(done.stdout) if done.returncode == 0 else done.returncode

    office.box.add(
        "salesforce",
        "Opportunity",
        {**GOOD, "Name": "Deal before", "CloseDate": "2026-11-01", "Billing_Method__c": "fixed"},
    )
    whole = serve(0)
    assert whole > 30, "each step is committed by itself"
    points = range(1, whole + 1) if os.environ.get("CHAOS_POINTS") == "all" else range(2, whole + 1, whole // KILLS)
    for point in points:
        name = f"Deal at point {point}"
        office.box.add(
            "salesforce", "Opportunity", {**GOOD, "Name": name, "CloseDate": "2026-11-01", "Billing_Method__c": "fixed"}
        )
        assert serve(point) == -signal.SIGKILL, f"point {point} of {whole}"
        for _ in range(3):
            age(office.runner.store, 900)
            serve(0)
            if office.named("netsuite", "job", "companyName", name) and not office.waiting("quote-to-project"):
                break
        assert len(office.named("kantata", "workspaces", "title", name)) == 1, f"killed at point {point}"
        assert len(office.named("netsuite", "job", "companyName", name)) == 1, f"killed at point {point}"
        assert office.told("quote-to-project") == [] and office.waiting("quote-to-project") == [], f"killed at {point}"
    assert len(office.box.all("netsuite", "customer")) == customers, "the customer exists once"
