"""Every mapping of Salesforce and Kantata on the running fakes, through the real connectors: read in whole, written, read back."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from engine.sdk.record import Fields, encode_json, same
from engine.spec.source import read_yaml
from tests.library.conftest import CONNECTIONS, FLOW, House

HERE = Path(__file__).parent
READS: dict[str, dict[str, Any]] = read_yaml((HERE / "reads.yaml").read_bytes(), "reads.yaml")[0]
WRITES: dict[str, Fields] = read_yaml((HERE / "writes.yaml").read_bytes(), "writes.yaml")[0]
WRITE_ONLY = {
    "kantata/account_invitation", "kantata/invoice_amount", "kantata/external_payment", "kantata/client_credit",
    "kantata/workspace_from_template", "kantata/workspace_controls", "salesforce/account_credit",
}  # fmt: skip


@pytest.fixture(scope="module")
def full(house: House) -> House:
    """Everything read in, in the order of the table."""
    for mapping in READS:
        house.read_in(mapping)
    return house


def test_every_mapping_of_the_two_systems_is_in_the_table(full: House) -> None:
    names = {one for one in full.workspace.names("mapping") if one.startswith(("salesforce/", "kantata/"))}
    assert names == {one for one in READS if not one.startswith("netsuite/")} | WRITE_ONLY


@pytest.mark.parametrize("mapping", READS)
def test_every_record_is_mapped_and_the_dirty_ones_are_refused_by_name(full: House, mapping: str) -> None:
    run, wanted = full.ran[mapping], READS[mapping]
    found: dict[str, list[str]] = defaultdict(list)
    for code, key in full.troubles(mapping):
        found[code].append(key)
    assert found == wanted.get("refused", {})
    assert (run["read"], run["skipped"]) == (wanted["read"], wanted.get("skipped", 0))
    assert run["error"] is None and run["state"] == ("partial" if {*found} - {"E405"} else "succeeded")


def one(house: House, entity: str, **wanted: Any) -> Fields:
    """The canonical record with those values."""
    (found,) = [row for row in house.records(entity) if all(row.get(name) == value for name, value in wanted.items())]
    return found


def test_a_client_comes_in_whole(full: House) -> None:
    client = one(full, "client", number="C-0002")
    assert client["name"] == "Été & Fils 🌿" and client["domain"] == "client2.example"
    assert client["addresses"] == [
        {"kind": "billing", "lines": ["2 Market Street"], "city": "Lyon", "region": None, "postal_code": "10002", "country": "FR"}]  # fmt: skip
    assert one(full, "resource", id=client["account_owner"])["name"] == "Seller 3"
    assert one(full, "client", number="C-0034")["parent"] == one(full, "client", number="C-0004")["id"]
    assert one(full, "client", number="C-0037")["credit_limit"]["amount"] == Decimal("90071992547409.93")


def test_a_deal_has_its_lines_and_its_owner(full: House) -> None:
    deal = one(full, "opportunity", id=full.id_of("opportunity", "crm", "006000000000004AAA"))
    assert len(deal["service_lines"]) == 2 and deal["packages"] == ["Assess", "Run"]
    line = deal["service_lines"][0]
    assert line["amount"]["amount"] == line["quantity"] * line["rate"]["amount"]
    assert one(full, "service", id=line["service"])["price"]["amount"] == line["rate"]["amount"]
    entity = one(full, "legal-entity", code="DE")["id"]
    assert deal["delivery_entities"] == [entity] and deal["status"] == "won" and deal["forecast_category"] == "closed"


def test_a_project_knows_its_contract_and_our_entity_that_two_systems_agree_on(full: House) -> None:
    project = one(full, "project", code="P-2")
    contract = one(full, "contract", id=project["contract"])
    assert contract["number"] == "00000002" and contract["client"] == one(full, "client", number="C-0005")["id"]
    assert project["legal_entity"] == contract["legal_entity"] == one(full, "legal-entity", code="US")["id"]
    assert one(full, "project", code="P-11").get("contract") is None
    assert one(full, "project", code="P-13").get("legal_entity") is None


def test_seats_become_assignments_with_their_days_or_requests(full: House) -> None:
    seats = [row for row in full.records("assignment") if row.get("percent") is not None]
    assert len(seats) == 15 and {row["status"] for row in seats} == {"confirmed", "proposed"}
    assert all(row["start"] == "2026-09-01" and row["project"] and row["resource"] for row in seats)
    assert len(full.records("resource-request")) == 15


def test_time_is_exact_and_knows_task_and_role(full: House) -> None:
    entries = full.records("time-entry")
    assert {row["hours"] for row in entries} >= {Decimal("0.0167"), Decimal("7.9167"), Decimal("25.5")}
    assert all(row["labour_category"] for row in entries) and sum(row.get("task") is None for row in entries) == 1
    assert {row["status"] for row in entries} == {"draft", "approved", "invoiced"}
    yen = next(row for row in entries if row["rate"]["currency"] == "JPY")
    dinar = next(row for row in entries if row["rate"]["currency"] == "KWD")
    assert yen["rate"]["amount"] == int(yen["rate"]["amount"]) and dinar["rate"]["amount"] < 200


def test_a_rate_card_has_the_prices_of_its_currency(full: House) -> None:
    card = one(full, "rate-card", name="Rate card 4")
    assert card["currency"] == "EUR" and len(card["lines"]) == 5
    assert {line["rate"]["currency"] for line in card["lines"]} == {"EUR"}


def test_a_person_has_skills_by_name_and_a_role(full: House) -> None:
    person = one(full, "resource", email="consultant3@crosswalk.example")
    assert person["skills"] == [{"skill": "Cloud"}]
    assert one(full, "labour-category", id=person["labour_category"])["name"] == "Architect"
    assert one(full, "resource", id=full.id_of("resource", "psa", "24"))["status"] == "left"
    assert one(full, "resource", id=full.id_of("resource", "psa", "9"))["email"] is None


def resolved(house: House, value: Any) -> Any:
    """A given value with the ids that its references stand for."""
    if isinstance(value, str) and value.startswith("@"):
        entity, connection, native = value[1:].split(" ")
        return house.id_of(entity, connection, native)
    return value


@pytest.mark.parametrize("mapping", WRITES)
def test_what_a_mapping_writes_reads_back_equal(full: House, mapping: str) -> None:
    given = {name: resolved(full, value) for name, value in WRITES[mapping].items()}
    model, connection = full.workspace.document("mapping", mapping).model, CONNECTIONS[mapping.split("/")[0]]
    name = mapping.replace("/", "_")
    (full.workspace.folder / f"given/{name}.ndjson").write_bytes(encode_json({"id": name, **given}) + b"\n")
    fields = "".join(f"  {one}: {one}\n" for one in given)
    full.write(
        f"mappings/given/{name}.yaml",
        f"mapping: given/{name}\nobject: {name}\nentity: {model.entity}\nfields:\n{fields}",
    )
    flow = FLOW.format(flow=f"out/{name}", entity=model.entity, connection="given", mapping=f"given/{name}")
    full.write(
        f"flows/out/{name}.yaml", f"{flow}targets: [{{ connection: {connection}, mapping: {mapping}, match: [] }}]\n"
    )
    run = full.run(f"out/{name}")
    assert (run["state"], run["created"], run["error"]) == ("succeeded", 1, None), full.told(f"out/{name}")
    again = full.run(f"out/{name}")
    assert (again["created"], again["updated"]) == (0, 0)
    if mapping not in WRITE_ONLY:
        (record,) = [one for one in full.records(model.entity) if same({**one, **given}, one)]
        found = full.mapped_back(mapping, full.native_of(model.entity, connection, record["id"], model.object))
        wrong = {one: (value, found.get(one)) for one, value in given.items() if not same(value, found.get(one))}
        assert wrong == {}


def test_an_invoice_reaches_the_psa_to_the_cent_and_its_payment_settles_it(full: House) -> None:
    project = full.id_of("project", "psa", "2")
    invoice = {"id": "i", "number": "INV-77", "project": project, "issue_date": "2026-11-10", "due_date": "2026-12-10",
               "currency": "EUR", "total": {"amount": Decimal("12345.67"), "currency": "EUR"}, "status": "issued"}  # fmt: skip
    for name, entity, record, targets in (
        ("invoices", "invoice", invoice, ("kantata/invoice_amount", "kantata/invoice")),
        ("payments", "payment", {"id": "p", "number": "PAY-1", "invoices": ["later"], "status": "received"}, ("kantata/external_payment",)),
    ):  # fmt: skip
        if name == "payments":
            record["invoices"] = [{"invoice": one(full, "invoice", number="INV-77")["id"]}]
        (full.workspace.folder / f"given/{name}.ndjson").write_bytes(encode_json(record) + b"\n")
        fields = "".join(f"  {field}: {field}\n" for field in record if field != "id")
        full.write(
            f"mappings/given/{name}.yaml", f"mapping: given/{name}\nobject: {name}\nentity: {entity}\nfields:\n{fields}"
        )
        flow = FLOW.format(flow=f"out/{name}", entity=entity, connection="given", mapping=f"given/{name}")
        where = "".join(
            f"  - {{ connection: psa, mapping: {target}, name: t{number}, match: [] }}\n"
            for number, target in enumerate(targets)
        )
        full.write(f"flows/out/{name}.yaml", f"{flow}targets:\n{where}")
        while (run := full.run(f"out/{name}"))["created"]:
            assert run["error"] is None and run["quarantined"] == 0
    (found,) = [row for row in full.sandbox.all("kantata", "invoices") if row["user_invoice_number"] == "INV-77"]
    assert found["total_in_cents"] == 1_234_567 and found["status"] == "paid" and found["balance_in_cents"] == 0
    (payment,) = full.sandbox.all("kantata", "external_payments")
    assert payment["amount_in_cents"] == 1_234_567 and payment["message"] == "Payment PAY-1"
