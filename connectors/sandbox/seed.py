"""Seeded data for the fakes: a consulting firm's clients, projects, people and weeks of time, with the dirt of real ones.

The same seed gives the same data. Firms and people are made up from word lists.
"""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

from connectors.sandbox.store import Doc, Store

DAY = date(2026, 11, 20)
"""The day that the data is told on."""
FIRMS = (
    "Harbour",
    "Juniper",
    "Quartz",
    "Saffron",
    "Lantern",
    "Meridian",
    "Copper",
    "Willow",
    "Falcon",
    "Ember",
    "Cobalt",
    "Heron",
)
KINDS = ("Logistics", "Foods", "Energy", "Textiles", "Robotics", "Insurance", "Media", "Biotech", "Rail", "Paper")
PLACES = (
    ("United Kingdom", "London", "GBP", "EMEA"), ("Germany", "Hamburg", "EUR", "EMEA"), ("France", "Lyon", "EUR", "EMEA"),
    ("United States", "Denver", "USD", "AMER"), ("Japan", "Osaka", "JPY", "APAC"), ("Kuwait", "Kuwait City", "KWD", "EMEA"),
    ("Switzerland", "Basel", "CHF", "EMEA"), ("Norway", "Bergen", "NOK", "EMEA"), ("Australia", "Perth", "AUD", "APAC"),
)  # fmt: skip
FIRST = (
    "Aiko",
    "Bruno",
    "Chloé",
    "Dmitri",
    "Esra",
    "Farid",
    "Greta",
    "Hanna",
    "Ivo",
    "Jun",
    "Kofi",
    "Lena",
    "Maya",
    "Nils",
    "Olga",
)
LAST = (
    "Abara",
    "Berg",
    "Costa",
    "Dahl",
    "Eto",
    "Fischer",
    "García",
    "Haddad",
    "Ito",
    "Jansen",
    "Keller",
    "Lindqvist",
    "Moreau",
)
WORK = ("Discovery", "Build", "Rollout", "Support", "Audit", "Migration")


def _sf(number: int, at: str) -> Doc:
    return {"CreatedDate": at, "LastModifiedDate": at, "SystemModstamp": at, "IsDeleted": False, "Crosswalk_Id__c": None,
            "OwnerId": f"005{1 + number % 3:012d}AAA"}  # fmt: skip


def _moment(minutes: int) -> str:
    return (datetime(2026, 11, 1, 8, tzinfo=UTC) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%S.000+0000")


def seed_all(store: Store, seed: int, size: int) -> None:
    """Fill every system."""
    chance = random.Random(seed)  # noqa: S311 - made-up data, not a secret
    clients = _clients(store, chance)
    _opportunities(store, chance, clients)
    people = _people(store, chance)
    projects = _projects(store, chance, clients)
    _time(store, chance, people, projects, size)
    _expenses(store, chance, people, projects)
    _netsuite(store, chance)


def _clients(store: Store, chance: random.Random) -> list[Doc]:
    for number in range(1, 4):
        at = _moment(number)
        store.put("salesforce", "User", f"005{number:012d}AAA", {
            **_sf(number, at), "Id": f"005{number:012d}AAA", "Username": f"seller{number}@crosswalk.example", "Name": f"Seller {number}",
            "Email": f"seller{number}@crosswalk.example", "IsActive": True, "EmployeeNumber": f"S{number}", "CurrencyIsoCode": "GBP"})  # fmt: skip
    accounts = []
    for number in range(1, 41):
        country, city, currency, region = PLACES[number % len(PLACES)]
        at = _moment(number if number != 8 else 7)  # two records share one second
        accounts.append({
            **_sf(number, at), "Id": f"001{number:012d}AAA", "Name": f"{FIRMS[number % 12]} {KINDS[(number * 7) % 10]}",
            "AccountNumber": f"C-{number:04d}", "ParentId": None, "BillingStreet": f"{number} Market Street", "BillingCity": city,
            "BillingState": None, "BillingPostalCode": f"{10000 + number}", "BillingCountry": country, "Industry": KINDS[(number * 7) % 10],
            "Website": f"https://client{number}.example", "Phone": f"+44 20 5550 {number:04d}", "CurrencyIsoCode": currency,
            "ERP_Id__c": None, "Tax_Id__c": f"TAX{100000 + number}", "Payment_Terms__c": ("Net 30", "Net 60", "Due on receipt")[number % 3],
            "Region__c": region, "Status__c": ("Active", "Active", "Prospect", "Inactive")[number % 4],
            "Credit_Limit__c": None,
        })  # fmt: skip
    accounts[1]["Name"], accounts[1]["BillingCity"] = "  Été & Fils 🌿 ", "Lyon"
    accounts[4]["Tax_Id__c"] = None
    accounts[9]["Tax_Id__c"] = ""
    accounts[11]["BillingCountry"] = "Atlantis"
    accounts[14]["Name"], accounts[14]["Tax_Id__c"] = accounts[13]["Name"].upper(), accounts[13]["Tax_Id__c"]
    accounts[17]["Payment_Terms__c"] = "Whenever"
    accounts[20]["Status__c"] = None
    for account in accounts:
        store.put("salesforce", "Account", account["Id"], account)
    for number in range(1, 61):
        at, account = _moment(100 + number), accounts[number % 40]
        store.put("salesforce", "Contact", f"003{number:012d}AAA", {
            **_sf(number, at), "Id": f"003{number:012d}AAA", "AccountId": account["Id"] if number != 33 else None,
            "FirstName": FIRST[number % 15], "LastName": LAST[number % 13], "Email": f"contact{number}@client{1 + number % 40}.example",
            "Phone": None if number % 5 else f"+44 20 5551 {number:04d}", "Title": chance.choice(("CFO", "Controller", "PMO lead", "")),
            "CurrencyIsoCode": account["CurrencyIsoCode"]})  # fmt: skip
    return accounts


def _opportunities(store: Store, chance: random.Random, clients: list[Doc]) -> None:
    from decimal import Decimal

    amounts = [Decimal("0.3"), Decimal("1.005"), Decimal("90071992547409.93"), Decimal(1_200_000)]
    stages = ("Prospecting", "Qualification", "Proposal", "Negotiation", "Closed Won", "Closed Lost")
    for number in range(1, 31):
        account, stage = clients[(number * 3) % 40], stages[number % 6]
        amount = amounts[number - 1] if number <= 4 else Decimal(chance.randrange(10_000, 400_000))
        store.put("salesforce", "Opportunity", f"006{number:012d}AAA", {
            **_sf(number, _moment(300 + number)), "Id": f"006{number:012d}AAA", "Name": f"{account['Name'].strip()} {WORK[number % 6]}",
            "AccountId": account["Id"], "StageName": stage, "Amount": amount, "CloseDate": (DAY + timedelta(days=number)).isoformat(),
            "Probability": Decimal(10 * (number % 10)), "IsWon": stage == "Closed Won", "IsClosed": stage.startswith("Closed"),
            "Billing_Method__c": ("fixed", "time_and_materials", None)[number % 3], "Legal_Entity__c": ("UK", "DE", None)[number % 3],
            "Project_Code__c": None, "CurrencyIsoCode": account["CurrencyIsoCode"]})  # fmt: skip


def _people(store: Store, chance: random.Random) -> list[Doc]:
    people = []
    for number in range(1, 26):
        at = f"2026-10-{1 + number % 28:02d}T09:00:00+00:00"
        people.append({
            "id": str(number), "full_name": f"{FIRST[number % 15]} {LAST[(number * 5) % 13]}",
            "email_address": f"consultant{number}@crosswalk.example" if number != 9 else None, "headline": chance.choice(("Consultant", "Manager")),
            "disabled": number == 24, "generic": False, "created_at": at, "updated_at": at,
        })  # fmt: skip
        store.put("kantata", "users", str(number), people[-1])
    return people


def _projects(store: Store, chance: random.Random, clients: list[Doc]) -> list[Doc]:
    projects = []
    for number in range(1, 16):
        account = clients[(number * 2) % 40]
        at = f"2026-10-{1 + number:02d}T10:00:00+00:00"
        key = "completed" if number in (3, 8) else "active"
        group = {"id": str(number), "name": account["Name"].strip(), "company": True, "email": None, "website": account["Website"],
                 "phone_number": account["Phone"], "created_at": at, "updated_at": at}  # fmt: skip
        if number != 6:
            store.put("kantata", "workspace_groups", str(number), group)
        projects.append({
            "id": str(number), "title": f"{account['Name'].strip()} — {WORK[number % 6]}", "description": None,
            "start_date": "2026-09-01", "due_date": "2027-03-31", "status": {"color": "green", "key": key, "message": key.title()},
            "currency": account["CurrencyIsoCode"], "currency_base_unit": 100, "price_in_cents": chance.randrange(10**6, 10**8),
            "archived": number == 12, "workspace_group_ids": [str(number)] if number not in (5, 6) else [],
            "primary_maven_id": str(1 + number % 20), "created_at": at, "updated_at": at,
        })  # fmt: skip
        store.put("kantata", "workspaces", str(number), projects[-1])
        for part in range(1, 4):
            id = str(number * 10 + part)
            store.put("kantata", "stories", id, {"id": id, "title": WORK[part], "story_type": "task", "workspace_id": str(number),
                      "state": "started", "billable": part != 3, "created_at": at, "updated_at": at})  # fmt: skip
    return projects


def _time(store: Store, chance: random.Random, people: list[Doc], projects: list[Doc], size: int) -> None:
    number = 0
    for back in range(42 * size):
        day = DAY - timedelta(days=back % 42)
        if day.weekday() > 4:
            continue
        for person in chance.sample(people, 10 if size == 1 else 25):
            number += 1
            project = projects[chance.randrange(len(projects))]
            late = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(seconds=number * 37 % 1_600_000)
            minutes = chance.choice((30, 90, 240, 450, 475, 1))
            entry = {
                "id": str(number), "workspace_id": project["id"], "story_id": str(int(project["id"]) * 10 + 1 + number % 3),
                "user_id": person["id"], "role_id": None, "date_performed": day.isoformat(), "time_in_minutes": minutes,
                "billable": number % 7 != 0, "notes": f"{chance.choice(WORK)} work", "rate_in_cents": chance.choice((9550, 12500, 18033)),
                "currency": project["currency"], "approved": number % 4 != 0, "is_invoiced": False, "in_archived": project["archived"],
                "created_at": late.isoformat(), "updated_at": late.isoformat(),
            }  # fmt: skip
            if number == 40:
                entry["time_in_minutes"] = 1530
            if number == 41:
                entry["notes"] = "x" * 3000
            if number == 42:
                entry["notes"] = ""
            store.put("kantata", "time_entries", str(number), entry)


def _expenses(store: Store, chance: random.Random, people: list[Doc], projects: list[Doc]) -> None:
    for number in range(1, 61):
        at = f"2026-11-{1 + number % 19:02d}T12:00:00+00:00"
        project = projects[number % 15]
        store.put("kantata", "expenses", str(number), {
            "id": str(number), "workspace_id": project["id"], "user_id": people[number % 25]["id"], "date": at[:10],
            "category": chance.choice(("Travel", "Meals", "Lodging", "Mileage")), "notes": None, "currency": project["currency"],
            "amount_in_cents": chance.randrange(500, 90_000) if number != 7 else -1200, "is_billable": number % 3 != 0,
            "reimbursable": True, "approved": number % 5 != 0, "is_invoiced": False, "created_at": at, "updated_at": at})  # fmt: skip


def _netsuite(store: Store, chance: random.Random) -> None:
    from decimal import Decimal

    def put(kind: str, id: int, fields: dict[str, Any]) -> None:
        store.put("netsuite", kind, str(id), {"id": str(id), **fields, "lastModifiedDate": "2026-11-01T08:00:00Z"})

    for id, (name, country, currency) in enumerate((("UK", "GB", "1"), ("DE", "DE", "2"), ("US", "US", "3")), 1):
        put(
            "subsidiary",
            id,
            {"name": name, "country": {"id": country}, "currency": {"id": currency}, "isInactive": False},
        )
    symbols = ("GBP", "EUR", "USD", "JPY", "KWD", "CHF", "NOK", "AUD")
    for id, symbol in enumerate(symbols, 1):
        put("currency", id, {"name": symbol, "symbol": symbol})
    for id, (name, days) in enumerate((("Net 30", 30), ("Net 60", 60), ("Due on receipt", 0)), 1):
        put("term", id, {"name": name, "daysUntilNetDue": days})
    for id, name in enumerate(("Consulting", "Delivery", "Support"), 1):
        put("department", id, {"name": name, "subsidiary": {"id": "1"}, "isInactive": False})
    # one client is in the ERP already: the first run adopts it by its tax number
    put("customer", 900, {"entityId": "OLD-900", "companyName": "Juniper Biotech (legacy)", "vatRegNumber": "TAX100001",
                          "subsidiary": {"id": "1"}, "currency": {"id": "1"}, "isPerson": False, "isInactive": False})  # fmt: skip
    for number in range(1, 13):
        total = Decimal(chance.randrange(100_000, 9_000_000)) / 100
        left = (total, Decimal(0), (total / 2).quantize(Decimal("0.01")))[number % 3]
        put("invoice", 700 + number, {
            "tranId": f"INV-{number:04d}", "tranDate": f"2026-10-{number + 5:02d}", "dueDate": f"2026-11-{number + 5:02d}",
            "entity": {"id": "900"}, "currency": {"id": "1", "refName": "GBP"}, "subsidiary": {"id": "1"}, "total": total,
            "amountRemaining": left, "status": {"id": "paidInFull" if left == 0 else "open"}, "otherRefNum": f"PO-{number}"})  # fmt: skip
