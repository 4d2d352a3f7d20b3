"""Seeded NetSuite: rates of exchange, expense categories, and one project from before with its people, time, expenses and revenue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal

from connectors.sandbox.store import Doc

Put = Callable[[str, Iterator[Doc]], None]
CLIENT, PERSON, PROJECT, TASK, BILLED = "900", "960", "970", "975", "971"
CATEGORIES = ("Travel", "Meals", "Lodging", "Mileage", "Airfare", "Rail", "Taxi", "Car rental", "Parking and tolls", "Per diem",
              "Client entertainment", "Telephone and internet", "Supplies", "Software", "Training", "Postage", "Visa and passport",
              "Other")  # fmt: skip
RATES = (("1", "2", "0.861162"), ("1", "3", "0.762428"), ("1", "4", "0.00512"), ("1", "5", "2.483239"), ("1", "6", "0.895014"),
         ("1", "7", "0.0731"), ("1", "8", "0.498602"), ("2", "1", "1.161222"), ("2", "3", "0.885348"), ("3", "1", "1.311599"),
         ("3", "2", "1.129500"))  # fmt: skip
"""Base currency, other currency, units of the base for one of the other, in November 2026."""
DAYS = (("2026-10-01", Decimal("1.01")), ("2026-11-01", Decimal(1)))


def fill_work(put: Put) -> None:
    """Write it, by a function that takes a record type and rows."""
    put("expenseCategory", ({"id": str(n), "name": name, "expenseacct": {"id": "5"}, "isinactive": False}
                            for n, name in enumerate(CATEGORIES, 1)))  # fmt: skip
    put("currencyRate", _rates())
    put("employee", iter([{"id": PERSON, "entityId": "E-960", "firstName": "Ines", "lastName": "van der Berg", "email": "ines@crosswalk.example",
                           "subsidiary": {"id": "1"}, "department": {"id": "1"}, "hireDate": "2024-03-01", "isInactive": False}]))  # fmt: skip
    put("job", iter([{"id": PROJECT, "entityId": "OLD-1", "companyName": "Juniper ledger clean-up", "parent": {"id": CLIENT},
                      "startDate": "2026-09-01", "projectedEndDate": "2026-12-31", "subsidiary": {"id": "1"}, "currency": {"id": "1"},
                      "jobBillingType": {"id": "TM"}, "projectManager": {"id": PERSON}, "isInactive": False},
                     # the first run adopts this one by its code; it is billed already, in euros and, wrongly, in yen
                     {"id": BILLED, "entityId": "P-9", "companyName": "Juniper support", "parent": {"id": CLIENT}, "currency": {"id": "2"},
                      "subsidiary": {"id": "1"}, "jobBillingType": {"id": "TM"}, "isInactive": False}]))  # fmt: skip
    put("projectTask", iter([{"id": TASK, "title": "Clean-up", "company": {"id": PROJECT}, "startDate": "2026-09-01", "endDate": "2026-12-31",
                              "estimatedWork": Decimal("80.25"), "status": {"id": "PROGRESS"}, "isMilestone": False},
                             {"id": "976", "title": "Signed off", "company": {"id": PROJECT}, "endDate": "2026-12-15",
                              "status": {"id": "NOTSTART"}, "isMilestone": True}]))  # fmt: skip
    put("contact", iter([{"id": "980", "entityId": "Olga Haddad", "company": {"id": CLIENT}, "firstName": "Olga", "lastName": "Haddad",
                          "email": "olga@juniper.example", "title": "CFO", "subsidiary": {"id": "1"}, "isInactive": False}]))  # fmt: skip
    put("resourceAllocation", iter([{"id": "985", "allocationResource": {"id": PERSON}, "project": {"id": PROJECT},
                                     "startDate": "2026-09-01", "endDate": "2026-12-31", "allocationAmount": Decimal("37.5"),
                                     "allocationUnit": {"id": "P"}, "allocationType": {"id": "1"}}]))  # fmt: skip
    put("timeBill", iter([{"id": "990", "employee": {"id": PERSON}, "customer": {"id": PROJECT}, "caseTaskEvent": {"id": TASK},
                           "tranDate": "2026-11-02", "hours": "7:30", "isBillable": True, "rate": Decimal("120.5"), "memo": "Ledger",
                           "subsidiary": {"id": "1"}, "approvalStatus": {"id": "3"}, "timeType": {"id": "A"}}]))  # fmt: skip
    put("expenseReport", iter([_report()]))
    put("charge", iter([{"id": "994", "billTo": {"id": PROJECT}, "chargeDate": "2026-11-02", "quantity": Decimal("7.5"),
                         "rate": Decimal("120.5"), "amount": Decimal("903.75"), "currency": {"id": "1"}, "stage": {"id": "READY_FOR_BILLING"},
                         "use": {"id": "Actual"}, "chargeType": {"id": "-2"}, "timeRecord": {"id": "990"}}]))  # fmt: skip
    put("opportunity", iter([{"id": "785", "tranId": "OPP-1", "tranDate": "2026-09-15", "title": "Ledger phase two", "entity": {"id": CLIENT},
                              "subsidiary": {"id": "1"}, "currency": {"id": "1"}, "projectedTotal": Decimal("25000.10"),
                              "probability": Decimal(60), "expectedCloseDate": "2026-12-20", "entityStatus": {"id": "11"}}]))  # fmt: skip
    line = {
        "line": 1,
        "item": {"id": "2"},
        "quantity": 20,
        "rate": Decimal("1250.005"),
        "amount": Decimal("25000.10"),
        "description": "Build",
    }
    put("estimate", iter([{"id": "788", "tranId": "EST-1", "tranDate": "2026-09-20", "title": "Ledger phase two", "entity": {"id": CLIENT},
                           "subsidiary": {"id": "1"}, "currency": {"id": "1"}, "subtotal": Decimal("25000.10"), "taxTotal": Decimal(0),
                           "total": Decimal("25000.10"), "status": {"id": "A"}, "opportunity": {"id": "785"},
                           "item": {"items": [line]}}]))  # fmt: skip
    put("revRecSchedule", iter([_schedule()]))


def _rates() -> Iterator[Doc]:
    number = 0
    for day, factor in DAYS:
        for base, other, rate in RATES:
            number += 1
            yield {"id": str(number), "baseCurrency": {"id": base}, "transactionCurrency": {"id": other}, "effectiveDate": day,
                   "exchangeRate": (Decimal(rate) * factor).quantize(Decimal("0.000001"))}  # fmt: skip


def _report() -> Doc:
    lines = [
        {"line": 1, "expenseDate": "2026-11-02", "category": {"id": "1"}, "amount": Decimal("55.1"), "currency": {"id": "1"},
         "customer": {"id": PROJECT}, "isBillable": True, "memo": "Train"},
        {"line": 2, "expenseDate": "2026-11-03", "category": {"id": "2"}, "amount": Decimal("86.12"), "currency": {"id": "2"},
         "foreignAmount": Decimal("100"), "exchangeRate": Decimal("0.8612"), "isBillable": False, "memo": "Dinner in Lyon"},
    ]  # fmt: skip
    return {"id": "992", "tranId": "EXP-1", "tranDate": "2026-11-04", "entity": {"id": PERSON}, "expenseReportCurrency": {"id": "1"},
            "subsidiary": {"id": "1"}, "memo": "Lyon", "total": Decimal("141.22"), "status": {"id": "B"}, "expense": {"items": lines}}  # fmt: skip


def _schedule() -> Doc:
    periods = [
        {"postingPeriod": {"id": str(210 + n)}, "recAmount": amount, "isRecognized": n == 0, "defRevAccount": {"id": "4"},
         "incomeAccount": {"id": "3"}, "recurDate": f"2026-{10 + n}-28"}
        for n, amount in enumerate((Decimal("16000.01"), Decimal("16000.01"), Decimal("15999.98")))
    ]  # fmt: skip
    return {"id": "996", "name": "SO-1 straight line", "scheduleNumber": "RR-1", "job": {"id": PROJECT}, "sourceTran": {"id": "790"},
            "recurrenceType": {"id": "EVENPERIODSPRORATE"}, "amortizationType": {"id": "STANDARD"}, "status": {"id": "INPROGRESS"},
            "totalAmount": Decimal("48000.00"), "isRecognized": False, "isInactive": False, "recurrence": {"items": periods}}  # fmt: skip
