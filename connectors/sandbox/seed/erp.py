"""Seeded NetSuite: reference data with closed periods, one client from before, its invoices and payments, purchases, journals."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal

from connectors.sandbox.seed.erp_work import BILLED, fill_work
from connectors.sandbox.store import Doc, Store

SUBSIDIARIES = (("UK", "GB", "1", "GB123456789"), ("DE", "DE", "2", "DE811907980"), ("US", "US", "3", "12-3456789"))
SYMBOLS = ("GBP", "EUR", "USD", "JPY", "KWD", "CHF", "NOK", "AUD")
TERMS = (("Net 30", 30), ("Net 60", 60), ("Due on receipt", 0), ("Net 7", 7), ("Net 10", 10), ("Net 14", 14), ("Net 15", 15),
         ("Net 21", 21), ("Net 45", 45), ("Net 75", 75), ("Net 90", 90), ("Net 120", 120))  # fmt: skip
ACCOUNTS = (("1100", "Accounts Receivable", "AcctRec"), ("1000", "Bank", "Bank"), ("4000", "Services Revenue", "Income"),
            ("2500", "Deferred Revenue", "DeferRevenue"), ("6000", "Travel", "Expense"), ("2000", "Accounts Payable", "AcctPay"))  # fmt: skip
TAXES = (("VAT 20%", "GB", 20), ("USt 19%", "DE", 19), ("Exempt", "GB", 0))
SERVICES = ("Discovery", "Build", "Rollout", "Support", "Audit", "Migration")
CLIENT = "900"
CLOSED_UNTIL = date(2026, 8, 31)


def fill_erp(store: Store, chance: random.Random, size: int) -> None:
    """Write all of NetSuite."""

    def put(kind: str, rows: Iterator[Doc]) -> None:
        at = "2026-11-01T08:00:00Z"
        store.put_many(
            "netsuite", kind, ((row["id"], {**row, "createdDate": at, "lastModifiedDate": at}) for row in rows)
        )

    put("subsidiary", ({"id": str(n), "name": name, "legalName": f"Crosswalk {name} Ltd", "country": {"id": country},
                        "currency": {"id": money}, "federalIdNumber": number, "isInactive": False, "isElimination": False,
                        **({"parent": {"id": "1"}} if n > 1 else {})}
                       for n, (name, country, money, number) in enumerate(SUBSIDIARIES, 1)))  # fmt: skip
    put("currency", ({"id": str(n), "name": one, "symbol": one, "isInactive": False, "exchangeRate": Decimal(1),
                      "currencyPrecision": {"JPY": 0, "KWD": 3}.get(one, 2)} for n, one in enumerate(SYMBOLS, 1)))  # fmt: skip
    put(
        "term",
        (
            {"id": str(n), "name": name, "daysUntilNetDue": days, "isInactive": False}
            for n, (name, days) in enumerate(TERMS, 1)
        ),
    )
    for kind, names in (("department", ("Consulting", "Delivery", "Support")), ("classification", ("Fixed price", "Time and materials")),
                        ("location", ("London", "Hamburg", "Denver"))):  # fmt: skip
        put(
            kind,
            (
                {"id": str(n), "name": name, "subsidiary": {"id": "1"}, "isInactive": False}
                for n, name in enumerate(names, 1)
            ),
        )
    put("account", ({"id": str(n), "acctNumber": number, "acctName": name, "acctType": {"id": kind}, "isInactive": False}
                    for n, (number, name, kind) in enumerate(ACCOUNTS, 1)))  # fmt: skip
    put("salesTaxItem", ({"id": str(n), "itemId": name, "rate": Decimal(rate), "nexusCountry": {"id": country}, "exempt": rate == 0,
                          "reverseCharge": False, "effectiveFrom": "2021-01-01", "isInactive": False}
                         for n, (name, country, rate) in enumerate(TAXES, 1)))  # fmt: skip
    put("serviceSaleItem", ({"id": str(n), "itemId": f"SV-{n:02d}", "displayName": name, "rate": Decimal(90 + 15 * n), "isInactive": n == 6,
                             "incomeAccount": {"id": "3"}} for n, name in enumerate(SERVICES, 1)))  # fmt: skip
    put("accountingPeriod", _periods())
    # one client is in the ERP already: the first run adopts it by its tax number
    put("customer", iter([{"id": CLIENT, "entityId": "OLD-900", "companyName": "Juniper Biotech (legacy)", "vatRegNumber": "TAX100001",
                           "subsidiary": {"id": "1"}, "currency": {"id": "1"}, "isPerson": False, "isInactive": False}]))  # fmt: skip
    put("vendor", ({"id": str(950 + n), "entityId": f"V-{n}", "companyName": f"Vendor {n}", "subsidiary": {"id": "1"},
                    "currency": {"id": "1"}, "terms": {"id": "1"}, "isInactive": False} for n in range(1, 5)))  # fmt: skip
    invoices = list(_invoices(chance))
    put("invoice", iter(invoices))
    put("customerPayment", _payments(invoices))
    put("creditMemo", iter([{"id": "780", "tranId": "CM-1", "tranDate": "2026-11-02", "entity": {"id": CLIENT}, "subsidiary": {"id": "1"},
                             "currency": {"id": "1"}, "subtotal": Decimal("12.34"), "taxTotal": Decimal(0), "total": Decimal("12.34"),
                             "amountRemaining": Decimal("12.34"), "memo": "Rounding",
                             "status": {"id": "open"}, "item": _lines("1", Decimal("12.34"))}]))  # fmt: skip
    put("salesOrder", iter([{"id": "790", "tranId": "SO-1", "tranDate": "2026-10-01", "entity": {"id": CLIENT}, "subsidiary": {"id": "1"},
                             "currency": {"id": "1"}, "total": Decimal(48_000), "status": {"id": "B"},
                             "item": _lines("2", Decimal(48_000))}]))  # fmt: skip
    put("purchaseOrder", _purchases("PO", 800))
    put("vendorBill", _purchases("VB", 820))
    put("journalEntry", iter([_journal()]))
    fill_work(put)


def _periods() -> Iterator[Doc]:
    """Months from January 2026; closed up to August."""
    first = date(2026, 1, 1)
    for number in range(1, 16):
        following = (first.replace(day=28) + timedelta(days=4)).replace(day=1)
        last = following - timedelta(days=1)
        closed = last <= CLOSED_UNTIL
        yield {"id": str(200 + number), "periodName": first.strftime("%b %Y"), "startDate": first.isoformat(), "endDate": last.isoformat(),
               "closed": closed, "arLocked": closed, "apLocked": closed, "allLocked": closed, "isYear": False, "isQuarter": False,
               "isAdjust": False}  # fmt: skip
        first = following


def _lines(item: str, amount: Decimal, **more: object) -> Doc:
    line = {
        "line": 1,
        "item": {"id": item},
        "quantity": 1,
        "rate": amount,
        "amount": amount,
        "description": "Services",
        **more,
    }
    return {"items": [line]}


ABROAD = {10: ("2", "EUR", "1.1612"), 11: ("4", "JPY", "195.31"), 12: ("5", "KWD", "0.4027")}
"""Invoices in other currencies: id, symbol, units of it for one pound."""


def _invoices(chance: random.Random) -> Iterator[Doc]:
    """A dozen of one client, taxed at home and exempt abroad: open, half paid and paid."""
    for number in range(1, 13):
        currency, symbol, course = ABROAD.get(number, ("1", "GBP", "1"))
        unit = {"JPY": Decimal(1), "KWD": Decimal("0.001")}.get(symbol, Decimal("0.01"))
        net = (Decimal(chance.randrange(100_000, 9_000_000)) / 100).quantize(unit)
        tax = (net / 5).quantize(unit, ROUND_HALF_UP) if number not in ABROAD else Decimal(0)
        total = net + tax
        left = (total, Decimal(0), (total / 2).quantize(unit))[number % 3]
        code = "1" if number not in ABROAD else "3"
        lines = _lines(
            str(1 + number % 6), net, taxCode={"id": code}, tax1Amt=tax, department={"id": "1"}, location={"id": "1"}
        )
        lines["items"][0]["class"] = {"id": str(1 + number % 2)}
        yield {
            "id": str(700 + number), "tranId": f"INV-{number:04d}", "tranDate": f"2026-10-{number + 5:02d}",
            "dueDate": f"2026-11-{number + 5:02d}", "entity": {"id": CLIENT}, "currency": {"id": currency},
            "exchangeRate": (1 / Decimal(course)).quantize(Decimal("0.000001")), "subsidiary": {"id": "1"}, "terms": {"id": "1"},
            "postingPeriod": {"id": "210"}, "subtotal": net, "taxTotal": tax, "total": total, "amountPaid": total - left,
            "amountRemaining": left, "status": {"id": "paidInFull" if left == 0 else "open"}, "otherRefNum": f"PO-{number}", "item": lines,
            **({"job": {"id": BILLED}} if number in (10, 11) else {}),
        }  # fmt: skip


def _payments(invoices: list[Doc]) -> Iterator[Doc]:
    for number, invoice in enumerate((one for one in invoices if one["amountPaid"]), 1):
        yield {
            "id": str(740 + number), "tranId": f"PAY-{number}", "tranDate": "2026-11-03", "customer": {"id": CLIENT},
            "payment": invoice["amountPaid"], "subsidiary": {"id": "1"}, "currency": invoice["currency"], "arAcct": {"id": "1"},
            "undepFunds": True, "status": {"id": "C"}, "total": invoice["amountPaid"],
            "apply": {"items": [{"line": 1, "doc": {"id": invoice["id"]}, "apply": True, "amount": invoice["amountPaid"]}]},
        }  # fmt: skip


def _purchases(prefix: str, start: int) -> Iterator[Doc]:
    for number in range(1, 4):
        amount = Decimal("0.1") + Decimal("0.2") + number * 100
        yield {
            "id": str(start + number), "tranId": f"{prefix}-{number}", "tranDate": f"2026-10-{number + 10}", "entity": {"id": "951"},
            "subsidiary": {"id": "1"}, "currency": {"id": "1"}, "total": amount, "status": {"id": "open" if prefix == "VB" else "B"},
            "item": {"items": [{"line": 1, "item": {"id": "1"}, "quantity": 1, "rate": amount, "amount": amount, "description": "Licences",
                                "isBillable": number == 2}]},
        }  # fmt: skip


def _journal() -> Doc:
    return {
        "id": "850", "tranId": "JE-1", "tranDate": "2026-10-31", "subsidiary": {"id": "1"}, "currency": {"id": "1"}, "approved": True,
        "postingPeriod": {"id": "210"}, "memo": "Revenue of October",
        "line": {"items": [{"line": 1, "account": {"id": "4"}, "debit": Decimal("1.005")}, {"line": 2, "account": {"id": "3"},
                                                                                        "credit": Decimal("1.005")}]},
    }  # fmt: skip
