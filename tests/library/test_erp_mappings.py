"""Every NetSuite mapping against the fake, over HTTP: each record of the seed comes in whole, dirty ones are refused with their code,
and what a mapping writes reads back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from connectors.sandbox import Sandbox, start
from engine.run.runner import Runner
from engine.run.session import Options
from engine.sdk.record import decode_json
from engine.spec.workspace import Workspace
from engine.state import canonical, links
from engine.state import exceptions as exceptions_state
from engine.state.store import Store

ROOT = Path(__file__).parents[2]
CONNECTION = """crosswalk: 1
name: erp
connections:
  erp: {{ connector: netsuite, url: "{url}", account: SANDBOX_SB1, timezone: UTC, auth: {{ kind: oauth1_tba, consumer_key: "${{secret:ns_ck}}",
         consumer_secret: "${{secret:ns_cs}}", token: "${{secret:ns_t}}", token_secret: "${{secret:ns_ts}}" }} }}
  copy: {{ connector: netsuite, url: "{copy}", account: SANDBOX_SB1, timezone: UTC, auth: {{ kind: oauth1_tba, consumer_key: "${{secret:ns_ck}}",
          consumer_secret: "${{secret:ns_cs}}", token: "${{secret:ns_t}}", token_secret: "${{secret:ns_ts}}" }} }}
"""
ORDER = {
    "subsidiary": "legal-entity", "department": "cost-centre", "classification": "cost-centre", "location": "cost-centre",
    "currency_rate": "exchange-rate", "accounting_period": "accounting-period", "sales_tax_item": "tax-code",
    "service_sale_item": "service", "customer": "client", "contact": "contact", "vendor": "vendor", "employee": "resource",
    "job": "project", "project_task": "task", "milestone": "milestone", "resource_allocation": "assignment", "time_bill": "time-entry",
    "expense_report": "expense-report", "expense_line": "expense", "opportunity": "opportunity", "sales_order": "contract",
    "estimate": "contract", "charge": "billing-event", "purchase_order": "purchase-order", "vendor_bill": "vendor-bill",
    "invoice": "invoice", "credit_memo": "credit-note", "customer_payment": "payment", "journal_entry": "journal-entry",
    "rev_rec_schedule": "revenue-schedule",
}  # fmt: skip
"""Mapping → entity, what is referred to before what refers to it."""
SHARED = {"customer_per_entity": "client", "expense": "expense"}
WRITE_ONLY = {"customer_release"}
"""Mappings of objects that another one reads here."""


class World:
    """A workspace with a flow for each mapping, its state, and the fake behind it."""

    first: dict[str, dict[str, Any]]

    def __init__(self, folder: Path, sandbox: Sandbox, copy: Sandbox) -> None:
        self.folder, self.sandbox, self.copy = folder, sandbox, copy
        (folder / "flows").mkdir()
        (folder / "crosswalk.yaml").write_text(
            CONNECTION.format(url=sandbox.url("netsuite"), copy=copy.url("netsuite"))
        )
        self._opened: Workspace | None = None
        for mapping, entity in ORDER.items():
            self.flow(mapping, entity, f"{{ connection: erp, mapping: netsuite/{mapping} }}", "[]")

    def flow(self, name: str, entity: str, source: str, targets: str, more: str = "") -> None:
        text = f"flow: {name}\nkind: sync\nentity: {entity}\nsource: {source}\ntargets: {targets}\nguard: {{ errors: 100% }}\n{more}\n"
        (self.folder / f"flows/{name}.yaml").write_text(text)
        self._opened = None

    @property
    def workspace(self) -> Workspace:
        """Its documents are read once, until there is a new flow."""
        self._opened = self._opened or Workspace.open(self.folder)
        return self._opened

    @contextmanager
    def store(self) -> Iterator[Store]:
        store = Store.open("sqlite:///state.db", self.folder)
        try:
            yield store
        finally:
            store.close()

    def run(self, name: str, **options: Any) -> dict[str, Any]:
        with self.store() as store:
            found: dict[str, Any] = Runner(self.workspace, store).run(name, Options(**options)).run
        return found

    def records(self, entity: str) -> list[dict[str, Any]]:
        with self.store() as store, store.read() as tx:
            return [decode_json(one.data) for one in canonical.scan(tx, entity)]

    def problems(self, flow: str) -> list[tuple[str, str]]:
        with self.store() as store, store.read() as tx:
            return [(row.code, row.message) for row in exceptions_state.listed(tx) if row.flow == flow]

    def linked(self, native: str, entity: str) -> dict[str, Any]:
        """The canonical record of a native id of the ERP."""
        with self.store() as store, store.read() as tx:
            (link,) = links.by_native(tx, "erp", entity, [native])[native]
            (stored,) = canonical.get(tx, entity, [link.canonical_id]).values()
        found: dict[str, Any] = decode_json(stored.data)
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with start() as sandbox, start() as copy, pytest.MonkeyPatch.context() as patch:
        given = sandbox.credentials("netsuite")
        for name, key in {
            "NS_CK": "consumer_key",
            "NS_CS": "consumer_secret",
            "NS_T": "token",
            "NS_TS": "token_secret",
        }.items():
            patch.setenv(name, given[key])
        world = World(tmp_path_factory.mktemp("erp"), sandbox, copy)
        world.first = {name: world.run(name) for name in ORDER}
        yield world


def test_every_mapping_of_the_library_is_here() -> None:
    found = {path.stem for path in (ROOT / "mappings/netsuite").glob("*.yaml")}
    assert found == set(ORDER) | set(SHARED) | WRITE_ONLY


@pytest.mark.parametrize("mapping", ORDER)
def test_every_record_of_the_seed_comes_in(world: World, mapping: str) -> None:
    run = world.first[mapping]
    assert run["state"] == "succeeded", (run, world.problems(mapping))
    assert run["read"] > 0 and run["quarantined"] == run["waiting"] == 0
    again = world.run(mapping, full=True)
    assert again["quarantined"] == again["waiting"] == 0


def test_invoices_are_exact_in_every_currency(world: World) -> None:
    invoices = world.records("invoice")
    assert {one["currency"] for one in invoices} == {"GBP", "EUR", "JPY", "KWD"}
    raw = {one["tranId"]: one for one in world.sandbox.all("netsuite", "invoice")}
    for one in invoices:
        assert {one[name]["currency"] for name in ("net", "tax", "total", "paid", "open")} == {one["currency"]}
        amounts = {name: Decimal(one[name]["amount"]) for name in ("net", "tax", "total", "paid", "open")}
        assert sum(Decimal(line["amount"]["amount"]) for line in one["lines"]) == amounts["net"]
        assert sum(Decimal(line["tax"]["amount"]) for line in one["lines"]) == amounts["tax"]
        assert amounts["net"] + amounts["tax"] == amounts["total"] == amounts["paid"] + amounts["open"]
        assert amounts["total"] == raw[one["number"]]["total"]
        assert one["status"] == (
            "paid" if not amounts["open"] else "issued" if amounts["open"] == amounts["total"] else "partly_paid"
        )
        dimensions = one["lines"][0]["dimensions"]
        assert [name for name, id in dimensions.items() if id] == ["department", "practice", "location"]
    assert {len(str(one["total"]["amount"]).partition(".")[2]) for one in invoices if one["currency"] == "JPY"} == {0}


def test_rates_are_dated_and_convert_money_of_several_currencies(world: World) -> None:
    rates = world.records("exchange-rate")
    assert len(rates) == 22 and {one["date"] for one in rates} == {"2026-10-01", "2026-11-01"}
    pound = {one["date"]: Decimal(one["rate"]) for one in rates if (one["from"], one["to"]) == ("EUR", "GBP")}
    assert pound == {"2026-10-01": Decimal("0.869774"), "2026-11-01": Decimal("0.861162")}
    check = (
        "checks: [{ name: worth, that: \"money_convert(total, 'GBP', issue_date).amount > `0` || total.amount == `0`\", "
        'otherwise: "{{ number }} cannot be converted" }]'
    )
    world.flow("converted", "invoice", "{ connection: erp, mapping: netsuite/invoice }", "[]", check)
    run = world.run("converted")
    assert run["read"] == 12 and run["quarantined"] == 0, world.problems("converted")


def test_references_of_every_kind_are_resolved(world: World) -> None:
    entity = world.linked("1", "legal-entity")
    assert (entity["code"], entity["country"], entity["currency"], entity["region"]) == ("UK", "GB", "GBP", "EMEA")
    job, person = world.linked("970", "project"), world.linked("960", "resource")
    assert job["client"] == world.linked("900", "client")["id"] and job["manager"] == person["id"]
    assert person["name"] == "Ines van der Berg" and person["department"]
    schedule = world.records("revenue-schedule")[0]
    assert sum(Decimal(one["amount"]["amount"]) for one in schedule["periods"]) == Decimal("48000.00")
    assert [one["recognised"] for one in schedule["periods"]] == [True, False, False] and schedule[
        "deferred_account"
    ] == "2500"
    spent = sorted(
        (one["category"], str(one["amount"]["amount"]), one["amount_local"]["currency"])
        for one in world.records("expense")
    )
    assert spent == [("meals", "86.12", "EUR"), ("travel", "55.1", "GBP")]
    paid = {one["invoices"][0]["invoice"]: one["invoices"][0]["amount"] for one in world.records("payment")}
    assert paid == {one["id"]: one["paid"] for one in world.records("invoice") if one["paid"]["amount"]}


@pytest.mark.parametrize(
    ("mapping", "kind", "change", "code"),
    [("invoice", "invoice", {"currency": {"id": "99"}}, "E403"), ("invoice", "invoice", {"tranId": None}, "E420"),
     ("subsidiary", "subsidiary", {"country": {"id": "XK"}}, "E403"), ("journal_entry", "journalEntry", {"subsidiary": {"id": "77"}}, "E405"),
     ("vendor", "vendor", {"terms": {"id": "404"}}, "E403"), ("customer", "customer", {"terms": {"id": "404"}}, "E403"),
     ("currency_rate", "currencyRate", {"exchangeRate": 0}, "E420"), ("time_bill", "timeBill", {"approvalStatus": {"id": "9"}}, "E402"),
     ("purchase_order", "purchaseOrder", {"status": {"id": "Z"}}, "E402"), ("employee", "employee", {"laborCost": "much"}, "E401"),
     ("sales_tax_item", "salesTaxItem", {"rate": "twenty"}, "E401"), ("accounting_period", "accountingPeriod", {"startDate": None}, "E420")],
)  # fmt: skip
def test_a_dirty_record_is_refused_with_its_reason_and_goes_on_once_it_is_clean(
    world: World, mapping: str, kind: str, change: dict[str, Any], code: str
) -> None:
    first = world.sandbox.all("netsuite", kind)[0]
    world.sandbox.set("netsuite", kind, first["id"], change)
    run = world.run(mapping, full=True)
    assert run["quarantined"] + run["waiting"] == 1, run
    assert code in {found for found, _ in world.problems(mapping)}, world.problems(mapping)
    world.sandbox.set("netsuite", kind, first["id"], {name: first.get(name) for name in change})
    again = world.run(mapping, full=True)
    assert again["state"] == "succeeded" and not world.problems(mapping)


COPIED = {
    "customer": ["companyName", "url", "vatRegNumber", "isInactive"], "vendor": ["entityId", "companyName", "terms.id", "currency.id"],
    "employee": ["firstName", "lastName", "email", "hireDate"], "job": ["entityId", "companyName", "startDate", "projectedEndDate"],
    "contact": ["firstName", "lastName", "email", "title"], "project_task": ["title", "startDate", "endDate", "estimatedWork", "status.id"],
    "milestone": ["title", "endDate", "isMilestone", "status.id"],
    "resource_allocation": ["startDate", "endDate", "allocationAmount", "allocationUnit.id", "allocationType.id"],
    "service_sale_item": ["itemId", "displayName", "rate", "incomeAccount.id", "isInactive"],
    "time_bill": ["tranDate", "hours", "isBillable", "memo"], "opportunity": ["title", "projectedTotal", "probability", "expectedCloseDate"],
    "sales_order": ["tranId", "currency.id", "total"], "estimate": ["tranId", "currency.id", "total"],
    "charge": ["chargeDate", "amount", "quantity", "currency.id", "stage.id", "use.id"],
    "purchase_order": ["tranId", "currency.id", "total"], "invoice": ["tranId", "tranDate", "dueDate", "currency.id", "subtotal", "otherRefNum"],
    "journal_entry": ["tranId", "tranDate", "currency.id", "approved"],
}  # fmt: skip
"""Mappings that write, in order, and what must arrive as it was."""
OBJECTS = {
    "customer": "customer", "vendor": "vendor", "employee": "employee", "job": "job", "contact": "contact", "project_task": "projectTask",
    "milestone": "projectTask", "resource_allocation": "resourceAllocation", "service_sale_item": "serviceSaleItem",
    "time_bill": "timeBill", "opportunity": "opportunity", "sales_order": "salesOrder", "estimate": "estimate", "charge": "charge",
    "purchase_order": "purchaseOrder", "invoice": "invoice", "journal_entry": "journalEntry",
}  # fmt: skip


def at(record: dict[str, Any], path: str) -> Any:
    for name in path.split("."):
        record = (record or {}).get(name)  # type: ignore[assignment]
    return Decimal(record) if isinstance(record, (int, float)) and not isinstance(record, bool) else record


@pytest.fixture(scope="module")
def copied(world: World) -> dict[str, dict[str, Any]]:
    """Everything written to a second account that has nothing but its lists, in order; the runs by mapping."""
    for kind in (
        "customerPayment",
        "creditMemo",
        "vendorBill",
        "expenseReport",
        "revRecSchedule",
        *reversed(OBJECTS.values()),
    ):
        for row in world.copy.all("netsuite", kind):
            if (kind, row["id"]) != ("serviceSaleItem", "1"):  # what invoices are posted on
                world.copy.delete("netsuite", kind, row["id"])
    for mapping in ("subsidiary", "department", "classification", "location"):
        world.flow(f"know-{mapping}", ORDER[mapping], f"{{ connection: copy, mapping: netsuite/{mapping} }}", "[]")
    for mapping in ("subsidiary", "department", "classification", "location"):
        assert world.run(f"know-{mapping}")["state"] == "succeeded"
    with world.store() as store, store.begin("link") as tx:  # periods are the account's: people link them
        known = links.by_native(
            tx, "erp", "accounting-period", [row["id"] for row in world.copy.all("netsuite", "accountingPeriod")]
        )
        links.put(tx, [one._replace(connection="copy") for found in known.values() for one in found])
    for mapping in COPIED:
        source = f"{{ connection: erp, mapping: netsuite/{mapping} }}"
        world.flow(f"copy-{mapping}", ORDER[mapping], source, f"[{{ connection: copy, mapping: netsuite/{mapping} }}]")
    return {mapping: world.run(f"copy-{mapping}", full=True) for mapping in COPIED}


@pytest.mark.parametrize("mapping", COPIED)
def test_what_is_written_reads_back_as_it_was(world: World, copied: dict[str, dict[str, Any]], mapping: str) -> None:
    run = copied[mapping]
    assert world.problems(f"copy-{mapping}") == [] and run["state"] == "succeeded" and run["created"] > 0, run
    kind = OBJECTS[mapping]

    def seen(sandbox: Sandbox) -> list[list[Any]]:
        rows = [[at(row, path) for path in COPIED[mapping]] for row in sandbox.all("netsuite", kind)
                if kind != "projectTask" or bool(row.get("isMilestone")) == (mapping == "milestone")]  # fmt: skip
        return sorted(rows, key=str)

    assert seen(world.copy) == seen(world.sandbox)
    again = world.run(f"copy-{mapping}", full=True)
    assert (again["created"], again["updated"], again["deleted"]) == (0, 0, 0), "a second run must write nothing"
