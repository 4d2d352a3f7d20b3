"""The library's reconciliations on the running fakes: clean as far as the seed is, and finding exactly what somebody changed by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.cli.story import FLOWS
from engine.run.indicators import judge
from engine.run.runner import Runner
from engine.run.session import Options
from engine.sdk.record import Fields
from engine.spec.workspace import Workspace
from engine.state import breaks, links
from engine.state.breaks import Break
from tests.library.office import Office, opened

NIGHTLY = (
    "clients",
    "projects",
    "time",
    "expenses",
    "invoices",
    "invoice-totals",
    "tax",
    "billing",
    "receivables",
    "people",
)
BEFORE = {
    ("clients-nightly", "mismatch", "Juniper Biotech"),  # the ERP had it before, in pounds and without terms
    ("projects-nightly", "missing_left", "Juniper ledger clean-up"),  # a job from before, with its time and expenses
    ("time-nightly", "missing_left", "990"), ("expenses-nightly", "missing_left", "992"),
    *(("invoices-nightly", "missing_right", f"{1000 + n}") for n in range(1, 6)),  # the PSA billed these itself
    ("people-nightly", "missing_left", "Jun García"),  # a seat of nobody who works here
}  # fmt: skip
Told = set[tuple[str, str, str]]


class Night:
    """The office after its flows have run, and what the reconciliations say of it."""

    def __init__(self, office: Office) -> None:
        self.office, self.box = office, office.box
        self.runner = office.runner

    def lay(self, heal: str, grace: str = "0s") -> None:
        """The library's flows for today: nothing is waited for."""
        for name in NIGHTLY:
            path = self.office.folder / f"flows/{name}-nightly.yaml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(
                f"flow: {name}-nightly\nextends: {name}-nightly\ngrace: {grace}\nreport: []\n{heal}", "utf-8"
            )
        workspace = Workspace.open(self.office.folder)
        workspace.sandbox = self.office.runner.workspace.sandbox
        self.runner = Runner(workspace, self.office.runner.store)

    def compare(self) -> dict[str, Fields]:
        return {name: self.runner.run(f"{name}-nightly", Options()).run for name in NIGHTLY}

    def breaks(self) -> list[Break]:
        with self.runner.store.read() as tx:
            return [
                one for name in NIGHTLY for one in breaks.listed(tx, f"{name}-nightly", states=("open",), limit=5000)
            ]

    def told(self) -> Told:
        """(flow, class, label) of everything that nothing explains."""
        return {(one.flow, one.name, str(one.label)) for one in self.breaks() if one.name != "in_flight"}

    def of(self, flow: str, label: str) -> Break:
        (found,) = [one for one in self.breaks() if (one.flow, one.label) == (flow, label)]
        return found

    def native(self, system: str, object: str, field: str, value: str) -> str:
        (found,) = [one["id"] for one in self.box.all(system, object) if one.get(field) == value]
        return str(found)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    with opened(tmp_path_factory.mktemp("night") / "quote_to_cash") as office:
        office.run(*FLOWS)
        found = Night(office)
        found.lay("heal: { limit: 0 }\n")
        yield found


def test_what_the_seed_is_clean_of_is_clean(night: Night) -> None:
    runs = night.compare()
    assert night.told() == BEFORE
    assert {name for name, run in runs.items() if run["state"] == "succeeded"} == {
        "invoice-totals",
        "tax",
        "billing",
        "receivables",
    }
    assert runs["time"]["breaks"]["compared"] > 1000 and runs["billing"]["breaks"]["compared"] > 3
    explained = [one for one in night.breaks() if one.name == "in_flight"]
    assert len(explained) > 20 and all("exception x-" in str(one.why) for one in explained)
    again = night.compare()
    assert all(run["breaks"]["closed"] == 0 for run in again.values()) and night.told() == BEFORE


def by_hand(night: Night) -> None:
    """What somebody does to the systems, behind everybody's back."""
    box = night.box
    box.set("netsuite", "invoice", "710", {"total": box.get("netsuite", "invoice", "710")["total"] + 1})
    box.delete("netsuite", "invoice", "701")
    shown = next(one for one in box.all("salesforce", "Invoice__c") if one["Number__c"] == "INV-0003")
    box.set("salesforce", "Invoice__c", shown["Id"], {"Status__c": "Paid"})
    customers = {one["companyName"]: one for one in box.all("netsuite", "customer")}
    box.set("netsuite", "customer", customers["Saffron Foods"]["id"], {"companyName": "SAFFRON FOODS"})
    box.set("netsuite", "customer", customers["Willow Paper"]["id"], {"currency": None})
    twin = {name: customers["Heron Biotech"][name] for name in ("vatRegNumber", "subsidiary", "currency")}
    box.add(
        "netsuite", "customer", {**twin, "companyName": "Heron Biotech Ltd", "entityId": "TWIN", "isInactive": False}
    )
    job = night.native("netsuite", "job", "companyName", "Saffron Foods — Build")
    box.set("netsuite", "job", job, {"projectedEndDate": "2030-01-01"})
    with night.runner.store.read() as tx:
        (entry,) = links.by_native(tx, "psa", "time-entry", ["1"], "time_entries")["1"]
        (bill,) = links.by_canonical(tx, "erp", "time-entry", [entry.canonical_id], "timeBill")[entry.canonical_id]
    box.delete("netsuite", "timeBill", bill.native_id)
    people = night.office.folder / "hr/people.csv"
    people.write_text(people.read_text("utf-8").replace(",active\n", ",left\n", 1), "utf-8")


LEFT: Told = {
    ("clients-nightly", "stale", "Willow Paper"),  # an empty currency is nothing to bring over
    ("clients-nightly", "duplicate", "Heron Biotech"),
    ("invoice-totals-nightly", "stale", "INV-0010"),
    ("tax-nightly", "mismatch", "INV-0010"),  # its total is no longer that of its lines
    ("receivables-nightly", "missing_left", "INV-0001"),
    ("people-nightly", "stale", "Bruno Fischer"),
}
MENDED: Told = {
    ("clients-nightly", "wrong_owner", "Saffron Foods"),
    ("projects-nightly", "wrong_owner", "Saffron Foods — Build"),
    ("time-nightly", "missing_right", "1"),
    ("receivables-nightly", "stale", "INV-0010"),
    ("receivables-nightly", "wrong_owner", "INV-0003"),
}


def test_exactly_what_was_changed_by_hand_is_found(night: Night) -> None:
    by_hand(night)
    runs = night.compare()
    assert night.told() - BEFORE == LEFT | MENDED and night.told() >= BEFORE
    assert night.of("invoice-totals-nightly", "INV-0010").amount == "1.00"
    assert night.of("clients-nightly", "Willow Paper").fields[0]["values"] == {"left": "NOK", "right": None}
    assert "only case or blanks differ" in str(night.of("clients-nightly", "Saffron Foods").why)
    assert night.of("receivables-nightly", "INV-0001").cause == "gone"
    assert night.of("people-nightly", "Bruno Fischer").queue == "pmo", "who has a seat is the PSA's to say"
    assert runs["receivables"]["breaks"]["over_limit"] == 2, "with a limit of none nothing is mended"


def places(told: Told) -> set[tuple[str, str]]:
    """Which record of which flow: what a break is called changes once the state has learnt of it."""
    return {(flow, label) for flow, _, label in told}


def test_what_the_policy_allows_is_mended_and_nothing_else(night: Night) -> None:
    night.lay("")
    runs = night.compare()
    assert places(night.told() - BEFORE) == places(LEFT)
    assert {name: run["breaks"]["healed"] for name, run in runs.items() if run["breaks"]["healed"]} == {
        "clients": 1, "projects": 1, "time": 1, "receivables": 2,
    }  # fmt: skip
    shown = {one["Number__c"]: one for one in night.box.all("salesforce", "Invoice__c")}
    assert shown["INV-0003"]["Status__c"] == "Issued" and str(shown["INV-0010"]["Total__c"]).startswith("75244.93")
    night.native("netsuite", "customer", "companyName", "Saffron Foods")
    assert night.native("netsuite", "customer", "companyName", "Heron Biotech Ltd"), "doubles are for people"
    assert len(night.box.all("netsuite", "timeBill")) == len(
        {one["id"] for one in night.box.all("netsuite", "timeBill")}
    )
    again = night.compare()
    assert places(night.told() - BEFORE) == places(LEFT)
    assert not any(run["breaks"]["healed"] for run in again.values())


def test_a_record_that_changes_while_it_is_read_is_in_flight(night: Night) -> None:
    night.lay("", grace="1m")
    customer = night.native("netsuite", "customer", "companyName", "Willow Biotech")
    edits = iter([customer])

    def meanwhile(*_: object) -> None:
        for one in edits:  # the CRM has been read, the ERP has not
            night.box.set("netsuite", "customer", one, {"companyName": "Willow Biotechnology"})

    Runner(night.runner.workspace, night.runner.store, meanwhile).run("clients-nightly", Options())
    found = night.of("clients-nightly", "Willow Biotech")
    assert (found.name, found.cause) == ("in_flight", "newer change")
    night.lay("")
    night.runner.run("clients-nightly", Options())
    assert "Willow Biotech" not in {str(one.label) for one in night.breaks()}, "the next night mends it"


def test_the_backlog_is_counted_with_its_age(night: Night) -> None:
    backlog, age = judge(night.runner.store, night.runner.workspace, ["reconciliation-backlog", "reconciliation-age"])
    assert backlog.value == len(BEFORE | LEFT) and backlog.error is None and age.error is None
    causes = {one["cause"]: one["count"] for one in backlog.told()["causes"]}
    assert (causes["missing"], causes["double"]) == (10, 1) and sum(causes.values()) == backlog.value
