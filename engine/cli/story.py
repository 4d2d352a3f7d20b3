"""The demo's story: every flow of the library for a night, then one deal from quote to cash."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

import click

from engine.cli.main import Context
from engine.cli.operate import options_of
from engine.sdk.record import Fields

CHAPTERS = {
    "reference data": (
        "legal-entities", "legal-entity-choices", "accounting-periods", "exchange-rates", "cost-centres", "practices", "locations",
        "services", "tax-codes", "vendors", "labour-categories", "rate-cards", "rate-card-versions",
    ),
    "people and clients": ("sellers", "clients", "contacts", "resources-to-erp", "people", "invitations"),
    "contracts and projects": ("contracts", "quote-to-project", "projects-to-erp", "project-facts", "tasks", "task-facts", "milestones",
                               "contract-terms", "change-requests"),
    "work done": ("time-to-erp", "expenses-to-erp", "usage", "vendor-bills"),
    "billing": (
        "billing-time", "billing-expenses", "billing-milestones", "milestone-billing", "billing-schedules", "billing-usage", "billing-changes",
        "billing-pass-through", "intercompany", "billing-to-invoices", "invoices-to-psa", "invoice-status-to-crm",
    ),
    "cash and books": ("payments", "payments-to-psa", "credit-status", "journals-to-erp", "revenue-schedules", "revenue-plans",
                       "revenue-journals", "milestone-revenue", "period-close"),
}  # fmt: skip
FLOWS = tuple(flow for flows in CHAPTERS.values() for flow in flows)
BILLING = ("billing-time", "billing-to-invoices", "invoices-to-psa", "invoice-status-to-crm")
NIGHTLY = ("clients-nightly", "projects-nightly", "time-nightly", "expenses-nightly", "billing-nightly", "invoices-nightly",
           "invoice-totals-nightly", "receivables-nightly", "people-nightly")  # fmt: skip
COUNTS = ("read", "created", "updated", "quarantined", "waiting")
DEAL, CLIENT, CLOSED = "006000000000002AAA", "001000000000009AAA", "3"
"""The deal that closes, who it is with, and the project that is closed."""
BILLED, SHOWN = "INV-0010", "INV-0003"
"""The invoice that is changed in the ERP, and the one that is changed in the CRM."""


class Story:
    """One deal's way. told: runs by chapter, for programs; good: what must have come true."""

    def __init__(self, context: Context) -> None:
        from engine.cli.sandboxes import running

        self.context, self.runner = context, context.runner()
        self.box = running(context.workspace.folder)
        self.told: dict[str, Any] = {}
        self.good: dict[str, bool] = {}
        self.deal_id = self.project = self.invoice_number = ""

    def say(self, text: str) -> None:
        if not self.context.json:
            click.echo(text)

    def run(self, *flows: str, **options: Any) -> list[Fields]:
        return [self.runner.run(name, options_of(**options)).run for name in flows]

    # ------------------------------------------------------------------ chapters
    def night(self) -> None:
        """Every flow once, and once more in full."""
        self.say(
            f"A workspace in {self.context.workspace.folder.name}/, a CRM, a PSA and an ERP on loopback, {len(FLOWS)} flows of the library.\n"
        )
        self.say("1. The first night: every flow runs once.")
        self.told["first"] = self.run(*FLOWS)
        self.summary(self.told["first"])
        self.queues()
        self.say("\n2. The same again, everything read anew: nothing may be written.")
        self.told["second"] = self.run(*FLOWS, full=True)
        writes = sum(one[name] for one in self.told["second"] for name in ("created", "updated", "deleted"))
        self.good["the second run wrote nothing"] = writes == 0
        read = sum(one["read"] for one in self.told["second"])
        self.say(f"   {read:,} records read, {writes} written.")

    def deal(self) -> None:
        """A deal closes in the CRM, and a project appears."""
        deal = next(one for one in self.box.all("salesforce", "Opportunity") if one["Id"] == DEAL)
        self.deal_id = deal["Id"]
        closed = {"StageName": "Closed Won", "Amount": Decimal(48_000), "Billing_Method__c": "time_and_materials", "Legal_Entity__c": "UK",
                  "Expected_Start__c": "2026-10-01", "AccountId": CLIENT, "CurrencyIsoCode": "GBP",
                  "Name": "Ember Textiles — data platform"}  # fmt: skip
        self.box.set("salesforce", "Opportunity", self.deal_id, closed)
        self.say(
            f"\n3. A deal closes in the CRM: {closed['Name']}, 48,000 GBP, time and materials. `crosswalk run quote-to-project`:"
        )
        self.told["deal"] = self.run("quote-to-project", "projects-to-erp", "tasks")
        made = [one for one in self.box.all("kantata", "workspaces") if one["title"] == closed["Name"]]
        jobs = [one for one in self.box.all("netsuite", "job") if one["companyName"] == closed["Name"]]
        self.good["one project and one job"] = len(made) == len(jobs) == 1
        if made and jobs:
            self.project = made[0]["id"]
            stories = [
                one["title"] for one in self.box.all("kantata", "stories") if one["workspace_id"] == self.project
            ]
            self.say(
                f"   the PSA has project {self.project} from its template ({', '.join(stories)}), the ERP job {jobs[0]['entityId']}."
            )
            first = next(one for one in self.told["first"] if one["flow"] == "quote-to-project")
            self.told_of()
            self.say(
                f"   Of the deals before it {first['waiting']} are large and wait for a second person: crosswalk approvals list"
            )

    def told_of(self) -> None:
        """The bus hears of the project."""
        from engine.run.relay import relay_all

        relay_all(self.context.workspace, self.runner.store)
        record = self.record("project", self.project)
        told = [one for one in self.box.all("bus", "events") if one["subject"] == record]
        self.good["the bus was told of the project"] = [one["type"] for one in told] == ["project.created.v1"]
        for one in told:
            self.say(
                f"   the bus has {one['type']} {one['id']}: {one['data']['code']}, {one['data']['name']} (crosswalk events relay)."
            )

    def work(self) -> None:
        """Time is booked and approved on the new project; one entry goes to a project that is closed."""
        entry = {"user_id": "4", "date_performed": "2026-10-29", "time_in_minutes": 450, "billable": True, "role_id": "5",
                 "rate_in_cents": 18033, "notes": "Workshops"}  # fmt: skip
        stories = [one for one in self.box.all("kantata", "stories") if one["workspace_id"] == self.project]
        for workspace, story, currency in ((self.project, stories[0]["id"], "GBP"), (CLOSED, f"{CLOSED}1", "NOK")):
            booked = {**entry, "workspace_id": workspace, "story_id": story, "currency": currency}
            id = self.box.add("kantata", "time_entries", booked)
            self.box.set("kantata", "time_entries", id, {"approved": True})
            self.late = id
        self.say(
            "\n4. Somebody books 7.5 hours on it, and 7.5 on a project that is closed. `crosswalk run time-to-erp`:"
        )
        self.told["work"] = self.run("time-to-erp")
        run, mine = self.told["work"][0], [one for one in self.exceptions("time-to-erp") if one.key == self.late]
        self.good["one entry posted, one set aside"] = run["created"] == 1 and len(mine) == 1
        self.say(f"   {run['created']} time bill in the ERP, {len(mine)} set aside:")
        for one in mine:
            self.say(f"   {one.code} {one.message}  (crosswalk exceptions show {one.id})")

    def closed_project(self) -> None:
        """The project is opened again; what waited for it goes by itself."""
        self.box.set(
            "kantata", "workspaces", CLOSED, {"status": {"color": "green", "key": "active", "message": "Active"}}
        )
        self.say("\n5. The project office opens that project again. `crosswalk run projects-to-erp time-to-erp`:")
        self.told["fixed"] = self.run("projects-to-erp", "time-to-erp")
        left = [one for one in self.exceptions("time-to-erp") if one.key == self.late]
        self.good["what was set aside is posted"] = not left and self.told["fixed"][1]["created"] >= 1
        self.say(f"   {self.told['fixed'][1]['created']} time bills that waited for it are posted; each of them once.")

    def invoice(self) -> None:
        """October is over: it is billed."""
        self.say(
            "\n6. October is over and is billed. `crosswalk run billing-time billing-to-invoices invoices-to-psa invoice-status-to-crm`:"
        )
        self.told["invoice"] = self.run(*BILLING)
        raised = [one for one in self.box.all("netsuite", "invoice") if (one.get("job") or {}).get("id") == self.job()]
        self.good["one invoice for the project"] = len(raised) == 1
        for one in raised:
            self.invoice_number = one["tranId"]
            self.say(
                f"   invoice {one['tranId']} of {one['total']} GBP is in the ERP, in the PSA and, for the seller, in the CRM."
            )

    def cash(self) -> None:
        """The client pays; the CRM shows it."""
        raised = [one for one in self.box.all("netsuite", "invoice") if one["tranId"] == self.invoice_number]
        for one in raised:
            self.box.add("netsuite", "customerPayment", {
                "tranId": "PAY-DEMO", "customer": one["entity"], "tranDate": "2026-11-20", "payment": one["total"], "currency": one["currency"],
                "subsidiary": one["subsidiary"], "status": {"id": "C"},
                "apply": {"items": [{"doc": {"id": one["id"]}, "apply": True, "amount": one["total"]}]},
            })  # fmt: skip
        self.say("\n7. The client pays. `crosswalk run invoice-status-to-crm payments payments-to-psa`:")
        self.told["cash"] = self.run("invoice-status-to-crm", "payments", "payments-to-psa")
        shown = [one for one in self.box.all("salesforce", "Invoice__c") if one["Number__c"] == self.invoice_number]
        self.good["the CRM shows the cash"] = [(one["Status__c"], one["Open__c"]) for one in shown] == [
            ("Paid", Decimal(0))
        ]
        for one in shown:
            self.say(
                f"   the CRM shows {one['Name']}: {one['Status__c'].lower()}, {one['Open__c']} open of {one['Total__c']} GBP."
            )

    def figures(self) -> None:
        """What the business indicators say of all this."""
        from engine.run.indicators import judge
        from engine.run.measures import shown

        names = (
            "deals-awaiting-a-project",
            "project-set-up-time",
            "time-not-invoiced",
            "receivables-overdue",
            "close-blockers",
        )
        values = judge(self.runner.store, self.context.workspace, list(names))
        self.told["figures"] = [one.told() for one in values]
        self.good["the indicators are computed"] = all(one.error is None and one.tally.count for one in values)
        self.say("\n8. How it stands. `crosswalk indicators`:")
        for one in values:
            unit = " hours" if one.plan.name == "time-not-invoiced" else ""
            mark = "  ! over its limit" if one.over else ""
            self.say(f"   {one.plan.indicator.title}: {shown(one.value, one.unit)}{unit}{mark}")

    def compare(self) -> None:
        """The systems are compared with one another; somebody changes two of them by hand, and they are compared again."""
        from engine.state import breaks

        self.say(
            "\n9. At night the systems are compared with one another, by what they hold. `crosswalk run clients-nightly …`:"
        )
        self.told["compared"] = self.run(*NIGHTLY)
        met, same, known, left = (
            sum(one["breaks"][name] for one in self.told["compared"])
            for name in ("compared", "equal", "in_flight", "remaining")
        )
        self.say(
            f"   {met:,} records of {len(NIGHTLY)} reconciliations, {same:,} of them equal; {known} differ and are explained by what waits,\n"
            f"   {left} are for people: the systems had them before."
        )
        billed = next(one for one in self.box.all("netsuite", "invoice") if one["tranId"] == BILLED)
        self.box.set("netsuite", "invoice", billed["id"], {"total": billed["total"] + 100})
        shown = next(one for one in self.box.all("salesforce", "Invoice__c") if one["Number__c"] == SHOWN)
        self.box.set("salesforce", "Invoice__c", shown["Id"], {"Status__c": "Paid"})
        self.say(
            f"   Then somebody adds 100 euros to {BILLED} in the ERP, and a seller marks {SHOWN} as paid in the CRM. Compared again:"
        )
        self.told["changed"] = self.run("invoice-totals-nightly", "receivables-nightly")
        with self.runner.store.read() as tx:
            found = breaks.listed(tx, "invoice-totals-nightly", states=("open",))
        mine = [one for one in found if one.label == BILLED]
        again = next(one for one in self.box.all("salesforce", "Invoice__c") if one["Number__c"] == SHOWN)
        self.good["a changed total is found"] = [(Decimal(one.amount or 0), one.currency) for one in mine] == [
            (Decimal(100), "EUR")
        ]
        self.good["a wrong status is mended"] = again["Status__c"] == shown["Status__c"]
        for one in mine:
            self.say(
                f"   {BILLED} differs by {one.amount} {one.currency}: no flow mends that by itself  (crosswalk reconcile show {one.id})"
            )
        self.say(f"   {SHOWN} is {again['Status__c'].lower()} in the CRM again, as the ERP says.")

    # ------------------------------------------------------------------ looking
    def job(self) -> str | None:
        """The ERP's id of the deal's project."""
        from engine.state import links

        with self.runner.store.read() as tx:
            for link in links.of_native(tx, "psa", self.project):
                found = links.by_canonical(tx, "erp", "project", [link.canonical_id], "job").get(link.canonical_id, [])
                if found:
                    return found[0].native_id
        return None

    def record(self, entity: str, native: str) -> str | None:
        """The canonical id of a record of the PSA."""
        from engine.state import links

        with self.runner.store.read() as tx:
            return next((one.canonical_id for one in links.of_native(tx, "psa", native) if one.entity == entity), None)

    def exceptions(self, flow: str | None = None) -> list[Any]:
        """Open exceptions."""
        from engine.state import exceptions

        with self.runner.store.read() as tx:
            return list(exceptions.listed(tx, flow=flow, limit=10_000))

    def summary(self, runs: list[Fields]) -> None:
        """A line a chapter: the sums of its flows."""
        if self.context.json:
            return
        from engine.cli.answer import table

        by_flow = {one["flow"]: one for one in runs}
        rows = []
        for name, flows in CHAPTERS.items():
            mine = [by_flow[flow] for flow in flows]
            rows.append([name, str(len(flows)), *(f"{sum(one[count] for one in mine):,}" for count in COUNTS)])
        table(("", "flows", *COUNTS), rows, right=("flows", *COUNTS))

    def queues(self) -> None:
        """Who has what to see to."""
        found = Counter(one.queue for one in self.exceptions() if one.state == "open")
        told = ", ".join(f"{count} for {queue}" for queue, count in found.most_common())
        self.say(
            f"   Seeded dirt, set aside for people: {told}.\n   crosswalk exceptions list --group says what each kind is."
        )
