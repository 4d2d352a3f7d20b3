"""Seeded Salesforce: sellers, clients with their dirt, contacts, products, opportunities with lines, contracts, tasks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

from connectors.sandbox.seed.words import DAY, FIRMS, FIRST, KINDS, LAST, PLACES, WORK, moment, sf_id
from connectors.sandbox.store import Doc, Store

CLIENTS, CONTACTS, DEALS, CONTRACTS, ORDERS = 40, 60, 30, 16, 4
SELLERS = 3
STAGES = ("Prospecting", "Qualification", "Proposal", "Negotiation", "Closed Won", "Closed Lost")
CHANCES = {
    "Prospecting": 10,
    "Qualification": 20,
    "Proposal": 50,
    "Negotiation": 75,
    "Closed Won": 100,
    "Closed Lost": 0,
}
FORECAST = dict(zip(STAGES, ("Pipeline", "Pipeline", "Best Case", "Commit", "Closed", "Omitted"), strict=True))
METHODS = {14: "usage", 15: "retainer", 16: "barter"}
"""Contracts that are billed in another way than by turns."""
AMOUNTS = (Decimal("0.1"), Decimal("0.2"), Decimal("1.005"), Decimal("90071992547409.93"), Decimal("0.3"))


def fill_crm(store: Store, chance: random.Random, size: int) -> None:
    """Write all of Salesforce."""
    store.put_many("salesforce", "User", _sellers())
    store.put_many("salesforce", "Account", ((client["Id"], client) for client in clients(size)))
    store.put_many("salesforce", "Contact", _contacts(chance, size))
    store.put_many("salesforce", "Product2", _products())
    store.put_many("salesforce", "PricebookEntry", _prices())
    store.put_many("salesforce", "Opportunity", _deals(chance, size))
    store.put_many("salesforce", "OpportunityLineItem", _lines(size))
    store.put_many("salesforce", "Contract", _contracts(size))
    store.put_many("salesforce", "Order", _orders())
    store.put_many("salesforce", "OrderItem", _items())
    store.put_many("salesforce", "Task", _tasks())


def _row(prefix: str, number: int, at: str) -> Doc:
    return {"Id": sf_id(prefix, number), "CreatedDate": at, "LastModifiedDate": at, "SystemModstamp": at, "IsDeleted": False,
            "Crosswalk_Id__c": None, "OwnerId": sf_id("005", 1 + number % SELLERS)}  # fmt: skip


def _sellers() -> Iterator[tuple[str, Doc]]:
    for number in range(1, SELLERS + 1):
        yield sf_id("005", number), {
            **_row("005", number, moment(number)), "Username": f"seller{number}@crosswalk.example", "Name": f"Seller {number}",
            "FirstName": "Seller", "LastName": str(number), "Email": f"seller{number}@crosswalk.example", "IsActive": number != 3,
            "EmployeeNumber": f"S{number}", "CurrencyIsoCode": "GBP",
        }  # fmt: skip


def client(number: int) -> Doc:
    """The client of a number, 1 and up; the first forty hold the dirty cases."""
    country, city, currency, region = PLACES[number % len(PLACES)]
    more = f" {number}" if number > CLIENTS else ""
    at = moment(number if number != 8 else 7)  # two records share one second
    kind = KINDS[(number * 7) % 10]
    row: Doc = {
        **_row("001", number, at), "Name": f"{FIRMS[number % 12]} {kind}{more}", "AccountNumber": f"C-{number:04d}", "ParentId": None,
        "BillingStreet": f"{number} Market Street", "BillingCity": city, "BillingState": None,
        "BillingPostalCode": f"{10000 + number}", "BillingCountry": country, "Industry": kind,
        "Website": f"https://client{number}.example", "Phone": f"+44 20 5550 {number:04d}", "CurrencyIsoCode": currency,
        "ERP_Id__c": None, "Tax_Id__c": f"TAX{100000 + number}", "Payment_Terms__c": ("Net 30", "Net 60", "Due on receipt")[number % 3],
        "Region__c": region, "Status__c": ("Active", "Active", "Prospect", "Inactive")[number % 4], "Credit_Limit__c": None,
        "Description": None, "Legal_Entities__c": "UK;DE" if number == 33 else None,
    }  # fmt: skip
    return {**row, **_DIRT.get(number, {})}


_DIRT: dict[int, Doc] = {
    2: {"Name": "  Été & Fils 🌿 ", "BillingCity": "Lyon"},
    5: {"Tax_Id__c": None},
    10: {"Tax_Id__c": ""},
    12: {"BillingCountry": "Atlantis"},
    15: {
        "Name": f"{FIRMS[14 % 12]} {KINDS[(14 * 7) % 10]}".upper(),
        "Tax_Id__c": "TAX100014",
    },  # number 14 again, in capitals
    18: {"Payment_Terms__c": "Whenever"},
    21: {"Status__c": None},
    23: {"Name": "Ete & Fils", "BillingCity": "Lyon"},  # number 2 again, without accents
    27: {"Industry": "", "Phone": None},
    31: {"BillingCity": "  Denver ", "Description": "Long note. " * 2_900},
    34: {"Name": "山田コンサルティング 株式会社", "ParentId": sf_id("001", 4)},
    37: {"Credit_Limit__c": Decimal("90071992547409.93")},
}


def client_of(project: int, size: int) -> int:
    """The client of a project and its contract; number 9 is for the one that the ERP knows from before."""
    return 1 if project == 9 else 1 + project * 2 % (CLIENTS * size)


def clients(size: int) -> Iterator[Doc]:
    """All clients."""
    return (client(number) for number in range(1, CLIENTS * size + 1))


def _contacts(chance: random.Random, size: int) -> Iterator[tuple[str, Doc]]:
    for number in range(1, CONTACTS * size + 1):
        owner = 1 + number % (CLIENTS * size)
        first, last = FIRST[number % 15], LAST[number % 13]
        yield sf_id("003", number), {
            **_row("003", number, moment(100 + number)), "AccountId": sf_id("001", owner) if number != 33 else None,
            "FirstName": first, "LastName": last, "Name": f"{first} {last}", "Email": f"contact{number}@client{owner}.example",
            "Phone": None if number % 5 else f"+44 20 5551 {number:04d}", "Title": chance.choice(("CFO", "Controller", "PMO lead", "")),
            "HasOptedOutOfEmail": number % 10 == 0, "Role__c": None,
            "CurrencyIsoCode": client(owner)["CurrencyIsoCode"],
        }  # fmt: skip


def _products() -> Iterator[tuple[str, Doc]]:
    for number, name in enumerate(WORK, 1):
        yield sf_id("01t", number), {**_row("01t", number, moment(200 + number)), "Name": name, "ProductCode": f"SV-{number:02d}",
                                     "IsActive": number != 6, "Family": "Services", "Description": None, "CurrencyIsoCode": "GBP"}  # fmt: skip


def _prices() -> Iterator[tuple[str, Doc]]:
    for number, name in enumerate(WORK, 1):
        yield sf_id("01u", number), {
            **_row("01u", number, moment(220 + number)), "Name": name, "Product2Id": sf_id("01t", number), "Pricebook2Id": sf_id("01s", 1),
            "UnitPrice": Decimal(800 + 150 * number), "IsActive": True, "UseStandardPrice": False, "ProductCode": f"SV-{number:02d}",
            "CurrencyIsoCode": "GBP",
        }  # fmt: skip


def _deals(chance: random.Random, size: int) -> Iterator[tuple[str, Doc]]:
    for number in range(1, DEALS * size + 1):
        account, stage = client(1 + (number * 3) % (CLIENTS * size)), STAGES[number % 6]
        amount = AMOUNTS[number - 1] if number <= len(AMOUNTS) else Decimal(chance.randrange(10_000, 400_000))
        yield sf_id("006", number), {
            **_row("006", number, moment(300 + number)), "Name": f"{account['Name'].strip()} {WORK[number % 6]}",
            "AccountId": account["Id"], "StageName": stage, "Amount": amount if number != 11 else None,
            "CloseDate": (DAY + timedelta(days=number * 3 % 120 - 20)).isoformat(), "Probability": Decimal(CHANCES[stage]),
            "IsWon": stage == "Closed Won", "IsClosed": stage.startswith("Closed"), "Description": None,
            "Billing_Method__c": ("fixed", "time_and_materials", None)[number % 3], "Legal_Entity__c": ("UK", "DE", None)[number % 3],
            "ForecastCategoryName": FORECAST[stage], "Expected_Start__c": "2027-01-04" if number % 2 else None,
            "Packages__c": "Assess;Run" if number % 4 == 0 else None, "Discount__c": Decimal("12.5") if number % 5 == 0 else None,
            "Project_Code__c": f"P-{number // 2}" if stage == "Closed Won" and number % 4 else None,
            "CurrencyIsoCode": account["CurrencyIsoCode"],
        }  # fmt: skip


def _lines(size: int) -> Iterator[tuple[str, Doc]]:
    for number in range(1, DEALS * size * 2 + 1):
        deal, product = 1 + (number - 1) // 2, 1 + number % len(WORK)
        quantity, price = Decimal(1 + number % 40), Decimal(800 + 150 * product)
        yield sf_id("00k", number), {
            **_row("00k", number, moment(400 + number)), "OpportunityId": sf_id("006", deal), "PricebookEntryId": sf_id("01u", product),
            "Product2Id": sf_id("01t", product), "Name": WORK[product - 1], "Quantity": quantity, "UnitPrice": price,
            "TotalPrice": quantity * price, "ServiceDate": None, "Description": None, "CurrencyIsoCode": "GBP",
        }  # fmt: skip


def _contracts(size: int) -> Iterator[tuple[str, Doc]]:
    for number in range(1, CONTRACTS * size + 1):
        yield sf_id("800", number), {
            **_row("800", number, moment(500 + number)), "AccountId": sf_id("001", client_of(number, size)),
            "StartDate": "2026-09-01", "EndDate": "2027-08-31" if number != 4 else None, "ContractTerm": 12,
            "Status": "In Approval Process" if number == 7 else "Draft" if number == 13 else "Activated", "ContractNumber": f"{number:08d}",
            "CurrencyIsoCode": client(client_of(number, size))["CurrencyIsoCode"], "Opportunity__c": None, "Amends__c": None,
            "Billing_Method__c": METHODS.get(number, ("fixed", "time_and_materials", "milestone")[number % 3]),
            "Legal_Entity__c": ("UK", "DE", "US")[number % 3] if number != 5 else None, "Value__c": Decimal(number * 25_000),
            "Ceiling__c": {4: Decimal("899999.99"), 12: Decimal("99.99")}.get(number), "SOW_Reference__c": f"SOW-{number}",
        }  # fmt: skip


def _orders() -> Iterator[tuple[str, Doc]]:
    for number in range(1, ORDERS + 1):
        yield sf_id("801", number), {
            **_row("801", number, moment(540 + number)), "AccountId": sf_id("001", number), "OrderNumber": f"{100 + number:08d}",
            "ContractId": sf_id("800", number), "OpportunityId": sf_id("006", number) if number % 2 else None,
            "EffectiveDate": "2026-09-01", "EndDate": None if number == 2 else "2027-08-31", "PoNumber": f"PO-{number}" if number != 3 else "",
            "Status": "Activated" if number != 4 else "Draft", "TotalAmount": Decimal("2001.10") * number, "CurrencyIsoCode": "GBP",
        }  # fmt: skip


def _items() -> Iterator[tuple[str, Doc]]:
    for number in range(1, ORDERS * 2 + 1):
        product = 1 + number % len(WORK)
        yield sf_id("802", number), {
            **_row("802", number, moment(560 + number)), "OrderId": sf_id("801", 1 + number % ORDERS), "PricebookEntryId": sf_id("01u", product),
            "Product2Id": sf_id("01t", product), "Quantity": Decimal("1.5"), "UnitPrice": Decimal("667.0333"),
            "TotalPrice": Decimal("1000.55"), "ServiceDate": None, "Description": None, "CurrencyIsoCode": "GBP",
        }  # fmt: skip


def _tasks() -> Iterator[tuple[str, Doc]]:
    for number in range(1, 21):
        yield sf_id("00T", number), {
            **_row("00T", number, moment(600 + number)), "Subject": f"Call {number}", "Status": ("Not Started", "Completed")[number % 2],
            "Priority": "Normal", "ActivityDate": (DAY + timedelta(days=number)).isoformat() if number % 6 else None,
            "WhatId": sf_id("001", number), "WhoId": sf_id("003", number), "Description": None, "CurrencyIsoCode": "GBP",
        }  # fmt: skip
