"""Billing in Kantata: invoices made of time, expenses and items, payments against them, and timesheets' approval."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from connectors.sandbox.kantata.errors import invalid
from connectors.sandbox.kantata.rows import Rows
from connectors.sandbox.kantata.things import SYSTEM, base_unit
from connectors.sandbox.store import Doc

LINES = {"time_entry_ids": "time_entries", "expense_ids": "expenses", "billing_milestone_ids": "billing_milestones"}
ITEMS = {"fixed_fee_items": "fixed_fee_item_ids", "additional_items": "additional_item_ids"}
VERDICTS = {"approve": "approved", "reject": "rejected", "cancel": "cancelled"}


class Billing:
    """What happens beyond plain rows."""

    def __init__(self, rows: Rows) -> None:
        self.rows, self.store = rows, rows.store

    def invoice(self, fields: Doc) -> Doc:
        """A new invoice: its lines are marked as invoiced, its balance is theirs. Raises Fault."""
        values = dict(fields)
        if values.get("payment_schedule") in (None, ""):
            raise invalid("Payment schedule can't be blank", "payment_schedule")
        one = values.pop("workspace_id", None)
        values["workspace_ids"] = [str(id) for id in values.get("workspace_ids") or ([one] if one else [])]
        if not values["workspace_ids"]:
            raise invalid("Workspace can't be blank", "workspace_ids")
        if not any(values.get(name) for name in (*LINES, *ITEMS)):
            raise invalid("Invoice must have at least one line item")
        values.pop("suppress_emails", None)
        items = {name: values.pop(name, None) or [] for name in ITEMS}
        currency = values.get("currency") or self.rows.found("workspaces", values["workspace_ids"][0])["currency"]
        lines = {name: [self._open(LINES[name], str(id)) for id in values.get(name) or []] for name in LINES}
        total = sum((_cents(row) for rows in lines.values() for row in rows), Decimal(0))
        total += sum(
            (Decimal(item["amount"]) * base_unit(currency) for rows in items.values() for item in rows), Decimal(0)
        )
        balance = int(total.quantize(Decimal(1), ROUND_HALF_EVEN))
        values.setdefault("user_invoice_number", str(self.next_number()))
        doc = self.rows.make("invoices", {
            "draft": False, "status": "new" if values.get("draft") else "issued", **values, "currency": currency,
            "currency_base_unit": base_unit(currency), "balance_in_cents": balance, "total_in_cents": balance,
        })  # fmt: skip
        made = {
            ITEMS[name]: [self._item(name, doc, item, currency) for item in rows]
            for name, rows in items.items()
            if rows
        }
        if made:
            doc = {**doc, **made}
            self.store.put(SYSTEM, "invoices", doc["id"], doc)
        for name, rows in lines.items():
            self._mark(LINES[name], rows, doc["id"])
        return doc

    def _open(self, plural: str, id: str) -> Doc:
        row = self.store.get(SYSTEM, plural, id)
        if row is None:
            raise invalid(f"{plural.replace('_', ' ').capitalize()} {id} must exist", plural)
        if row.get("is_invoiced") or row.get("invoice_ids"):
            raise invalid(f"{plural.replace('_', ' ').capitalize()} {id} is on an invoice already", plural)
        return row

    def _item(self, name: str, invoice: Doc, item: Doc, currency: str) -> str:
        """An amount arrives in the main unit and is shown in sub-units."""
        if isinstance(item.get("amount"), bool) or not isinstance(item.get("amount"), int):
            raise invalid("Amount is not an integer", "amount")
        id = self.rows.new_id(name)
        kept: Doc = {key: value for key, value in item.items() if key != "amount"}
        at = self.rows.stamp()
        self.store.put(SYSTEM, name, id, {"id": id, **kept, "amount_in_cents": item["amount"] * base_unit(currency),
                       "currency": currency, "invoice_id": invoice["id"], "created_at": at, "updated_at": at})  # fmt: skip
        return id

    def _mark(self, plural: str, rows: list[Doc], invoice: str | None) -> None:
        for row in rows:
            if plural == "billing_milestones":
                mark: Doc = {"invoice_ids": [invoice] if invoice else []}
            else:
                mark = {"is_invoiced": invoice is not None, "invoice_id": invoice}
            self.rows.save(plural, {**row, **mark, "updated_at": self.rows.stamp()}, "updated", row)

    def cancel(self, id: str) -> Doc:
        """A cancelled invoice sets its lines free."""
        invoice = self.rows.found("invoices", id)
        if invoice["status"] in ("paid", "cancelled"):
            raise invalid(f"Invoice is {invoice['status']} and cannot be cancelled", "status")
        for name, plural in LINES.items():
            self._mark(plural, self.store.many(SYSTEM, plural, invoice.get(name) or []), None)
        doc = {**invoice, "status": "cancelled", "balance_in_cents": 0, "updated_at": self.rows.stamp()}
        self.rows.save("invoices", doc, "updated", invoice)
        self.store.note(SYSTEM, "invoices", "update", id, {"status": "cancelled"})
        return doc

    def next_number(self) -> int:
        """One more than the greatest number in use."""
        numbers = [str(row.get("user_invoice_number") or "") for row in self.store.scan(SYSTEM, "invoices")]
        return max((int(one) for one in numbers if one.isdigit()), default=0) + 1

    def payment(self, fields: Doc) -> Doc:
        """A payment; one for an invoice is always of the invoice's amount. Raises Fault."""
        values = dict(fields)
        if len(str(values.get("message") or "")) > 255:
            raise invalid("Message is too long (maximum is 255 characters)", "message")
        if values.get("invoice_id"):
            invoice = self.rows.found("invoices", str(values["invoice_id"]))
            if invoice["status"] != "issued" or invoice.get("draft") or len(invoice["workspace_ids"]) != 1:
                raise invalid("Invoice must be a pending invoice of a single project", "invoice_id")
            values["amount_in_cents"] = invoice["balance_in_cents"]
            paid = {**invoice, "status": "paid", "balance_in_cents": 0, "updated_at": self.rows.stamp()}
            self.rows.save("invoices", paid, "updated", invoice)
        return self.rows.make("external_payments", values)

    # ------------------------------------------------------------------ timesheets
    def submit(self, fields: Doc) -> Doc:
        """A timesheet of one project and its entries of these days."""
        values = self.rows.checked("timesheet_submissions", fields)
        first, last = str(values.get("start_date") or ""), str(values.get("end_date") or "")
        user = str(values.get("user_id") or self.rows.me)
        rows = [row for row in self.store.scan(SYSTEM, "time_entries") if row["workspace_id"] == values.get("workspace_id")
                and row["user_id"] == user and first <= row["date_performed"] <= last and not row["approved"]]  # fmt: skip
        if not rows:
            raise invalid("There are no time entries to submit")
        doc = self.rows.make("timesheet_submissions", {**values, "user_id": user, "status": "pending",
                                                       "time_entry_ids": [row["id"] for row in rows]})  # fmt: skip
        for row in rows:
            self.store.put(SYSTEM, "time_entries", row["id"], {**row, "active_submission_id": doc["id"],
                                                               "updated_at": self.rows.stamp()})  # fmt: skip
        return doc

    def judge(self, id: str, verdict: str) -> Doc:
        """Approve, reject or cancel a timesheet; approved time is locked."""
        sheet = self.rows.found("timesheet_submissions", id)
        if sheet["status"] != "pending" and not (verdict == "cancel" and sheet["status"] == "approved"):
            raise invalid(f"Timesheet submission is {sheet['status']}", "status")
        for row in self.store.many(SYSTEM, "time_entries", sheet["time_entry_ids"]):
            mark: dict[str, Any] = {"approved": verdict == "approve"}
            if verdict != "approve":
                mark["active_submission_id"] = None
            self.rows.save("time_entries", {**row, **mark, "updated_at": self.rows.stamp()}, "updated", row)
        doc = {**sheet, "status": VERDICTS[verdict], "updated_at": self.rows.stamp()}
        self.rows.save("timesheet_submissions", doc, "updated", sheet)
        self.store.note(SYSTEM, "timesheet_submissions", "update", id, {"status": doc["status"]})
        return doc


def _cents(row: Doc) -> Decimal:
    """What a line bills, in sub-units."""
    if "time_in_minutes" in row:
        return (
            Decimal(row["time_in_minutes"]) * Decimal(row.get("rate_in_cents") or 0) / 60
            if row["billable"]
            else Decimal(0)
        )
    return Decimal(row["amount_in_cents"])
