"""SOQL: what the parser takes and refuses, what the executor gives; the fake is asked over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.sandbox import Sandbox
from connectors.sandbox.salesforce.errors import Fault
from connectors.sandbox.salesforce.soql import Compare, Literal, parse
from tests.connectors.sandbox.conftest import Call


def names(salesforce: Call, text: str, field: str = "Id") -> list[Any]:
    status, body = salesforce("GET", "/query", q=text)
    assert status == 200, body
    return [row[field] for row in body["records"]]


def refusal(salesforce: Call, text: str) -> str:
    status, body = salesforce("GET", "/query", q=text)
    assert status == 400, body
    return str(body[0]["errorCode"])


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ("Name = 'HARBOUR ENERGY'", lambda row: row["Name"] == "Harbour Energy"),
        ("Name LIKE 'h%'", lambda row: row["Name"][0] in "Hh"),
        ("NOT Name LIKE 'h%'", lambda row: row["Name"][0] not in "Hh"),
        ("Tax_Id__c = null", lambda row: not row["Tax_Id__c"]),
        ("Tax_Id__c != null AND BillingCountry = 'Germany'", lambda row: row["Tax_Id__c"] and row["BillingCountry"] == "Germany"),
        ("(BillingCountry = 'Japan' OR BillingCountry = 'Kuwait') AND CurrencyIsoCode IN ('JPY', 'KWD')",
         lambda row: row["BillingCountry"] in ("Japan", "Kuwait")),
        ("CurrencyIsoCode NOT IN ('JPY', 'KWD', 'EUR')", lambda row: row["CurrencyIsoCode"] not in ("JPY", "KWD", "EUR")),
        ("Credit_Limit__c > 90071992547409.92", lambda row: row["Id"].startswith("001000000000037")),
        ("Owner.Name = 'Seller 1'", lambda row: row["OwnerId"] == "005000000000001AAA"),
        ("ParentId != null AND Parent.Name LIKE '_%'", lambda row: row["ParentId"]),
        ("Phone = null OR Region__c = 'AMER'", lambda row: row["Phone"] is None or row["Region__c"] == "AMER"),
        ("CreatedDate >= 2026-11-01T08:07:00Z AND CreatedDate < 2026-11-01T08:08:00+00:00",
         lambda row: row["CreatedDate"][:16] == "2026-11-01T08:07"),
        ("SystemModstamp > 2026-11-01T09:37:00+01:00", lambda row: row["SystemModstamp"][:19] > "2026-11-01T08:37:00"),
        ("SystemModstamp <= 2026-11-01T08:05:00Z", lambda row: row["SystemModstamp"][:19] <= "2026-11-01T08:05:00"),
        ("IsDeleted = FALSE", lambda row: True),
    ],
)  # fmt: skip
def test_where(salesforce: Call, sandbox: Sandbox, where: str, holds: Callable[[Any], bool]) -> None:
    wanted = [row["Id"] for row in sandbox.all("salesforce", "Account") if holds(row)]
    assert wanted and names(salesforce, f"SELECT Id FROM Account WHERE {where} ORDER BY Id") == wanted


def test_a_query_in_a_query(salesforce: Call, sandbox: Sandbox) -> None:
    won = {row["AccountId"] for row in sandbox.all("salesforce", "Opportunity") if row["IsWon"]}
    found = names(
        salesforce,
        "SELECT Id FROM Account WHERE Id IN (SELECT AccountId FROM Opportunity WHERE StageName = 'Closed Won')",
    )
    assert set(found) == won and len(won) > 2


def test_order_with_nulls_limit_and_offset(salesforce: Call) -> None:
    rows = names(
        salesforce, "SELECT Name, Phone FROM Contact ORDER BY Phone NULLS LAST, LastName DESC LIMIT 15", "Phone"
    )
    assert rows[:12] == sorted(one for one in rows if one) and rows[12:] == [None] * 3
    assert names(salesforce, "SELECT Phone FROM Contact ORDER BY Phone DESC LIMIT 1", "Phone") == [None]
    whole = names(salesforce, "SELECT Id FROM Account ORDER BY Id")
    assert names(salesforce, "SELECT Id FROM Account ORDER BY Id LIMIT 5 OFFSET 7") == whole[7:12]


def test_parents_children_and_every_field(salesforce: Call) -> None:
    _, body = salesforce("GET", "/query", q="SELECT Name, Account.Owner.Email, (SELECT Quantity FROM OpportunityLineItems ORDER BY Quantity) "
                         "FROM Opportunity WHERE Account.Name != null ORDER BY Id LIMIT 2")  # fmt: skip
    row = body["records"][0]
    assert row["Account"]["Owner"]["Email"].startswith("seller") and row["Account"]["attributes"]["type"] == "Account"
    assert row["OpportunityLineItems"]["totalSize"] == 2 and row["OpportunityLineItems"]["done"]
    alone = salesforce("GET", "/query", q="SELECT Account.Name FROM Contact WHERE AccountId = null")[1]["records"]
    assert [one["Account"] for one in alone] == [None]
    _, every = salesforce("GET", "/query", q="SELECT FIELDS(ALL) FROM Account LIMIT 1")
    assert {"Name", "Tax_Id__c", "SystemModstamp"} < set(every["records"][0])
    assert refusal(salesforce, "SELECT FIELDS(ALL) FROM Account") == "MALFORMED_QUERY"


def test_names_in_any_case_and_own_spelling_back(salesforce: Call) -> None:
    assert names(salesforce, "select NAME from ACCOUNT where id = '001000000000002AAA'", "Name") == ["  Été & Fils 🌿 "]
    assert len(names(salesforce, "SELECT Id FROM Account WHERE Id = '001000000000002'")) == 1


def test_totals(salesforce: Call, sandbox: Sandbox) -> None:
    _, body = salesforce(
        "GET", "/query", q="SELECT StageName, COUNT(Id) n, SUM(Amount) FROM Opportunity GROUP BY StageName"
    )
    assert (
        sum(row["n"] for row in body["records"]) == 30 and body["records"][0]["attributes"]["type"] == "AggregateResult"
    )
    total = salesforce("GET", "/query", q="SELECT MAX(Amount) m, COUNT_DISTINCT(StageName) s FROM Opportunity")[1][
        "records"
    ][0]
    assert total["s"] == 6
    assert max(one["Amount"] for one in sandbox.all("salesforce", "Opportunity") if one["Amount"]) == Decimal(
        "90071992547409.93"
    )


def test_dates_by_name(salesforce: Call, sandbox: Sandbox) -> None:
    sandbox.set("salesforce", "Account", "001000000000001AAA", {"Phone": "x"})
    assert len(names(salesforce, "SELECT Id FROM Account WHERE LastModifiedDate = TODAY AND Phone = 'x'")) == 1
    assert len(names(salesforce, "SELECT Id FROM Account WHERE Phone = 'x' AND LastModifiedDate = LAST_N_DAYS:3")) == 1
    assert names(salesforce, "SELECT Id FROM Account WHERE LastModifiedDate = NEXT_YEAR") == []
    assert (
        len(names(salesforce, "SELECT Id FROM Opportunity WHERE CloseDate > 2026-12-01 AND CloseDate <= 2027-01-31"))
        > 1
    )


def test_pages_keep_what_was_found(salesforce: Call, sandbox: Sandbox) -> None:
    for n in range(250):
        sandbox.add("salesforce", "Product2", {"Name": f"n{n:03d}", "ProductCode": "page"})
    ask = "SELECT Id, Name FROM Product2 WHERE ProductCode = 'page' ORDER BY Name"
    _, body = salesforce("GET", "/query", None, {"Sforce-Query-Options": "batchSize=10"}, q=ask)
    assert (len(body["records"]), body["totalSize"], body["done"]) == (200, 250, False)  # 200 is the smallest page
    sandbox.delete("salesforce", "Product2", sandbox.store.all("salesforce", "Product2")[-1]["Id"])
    path = body["nextRecordsUrl"].removeprefix("/services/data/v66.0")
    rest = salesforce("GET", path)[1]
    assert rest["done"] and len(rest["records"]) == 50 and rest["records"][0]["Name"] == "n200"
    assert salesforce("GET", "/query/01gnone-200")[1][0]["errorCode"] == "INVALID_QUERY_LOCATOR"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("SELECT Id FROM Account WHERE", "MALFORMED_QUERY"),
        ("SELECT FROM Account", "MALFORMED_QUERY"),
        ("SELECT Id, FROM Account", "MALFORMED_QUERY"),
        ("SELECT * FROM Account", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account WHERE Name = 'a' AND Phone = 'b' OR Phone = 'c'", "MALFORMED_QUERY"),
        ('SELECT Id FROM Account WHERE Name = "a"', "MALFORMED_QUERY"),
        ("SELECT Id FROM Account LIMIT x", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account extra stuff", "MALFORMED_QUERY"),
        ("SELECT Nope FROM Account", "INVALID_FIELD"),
        ("SELECT Id FROM Account ORDER BY Nope", "INVALID_FIELD"),
        ("SELECT Boss.Name FROM Account", "INVALID_FIELD"),
        ("SELECT Id FROM Nope", "INVALID_TYPE"),
        ("SELECT Id, (SELECT Id FROM Nopes) FROM Account", "INVALID_TYPE"),
        ("SELECT Id FROM Account WHERE CreatedDate > '2026-01-01T00:00:00Z'", "INVALID_FIELD"),
        ("SELECT Id FROM Account WHERE CreatedDate > 2026-01-01", "INVALID_FIELD"),
        ("SELECT Id FROM Account WHERE Name = 5", "INVALID_FIELD"),
        ("SELECT Id FROM Opportunity WHERE Amount > 'x'", "INVALID_FIELD"),
        ("SELECT Id FROM Account OFFSET 2001", "NUMBER_OUTSIDE_VALID_RANGE"),
        ("SELECT Name, COUNT(Id) FROM Account", "MALFORMED_QUERY"),
    ],
)
def test_refusals(salesforce: Call, text: str, wanted: str) -> None:
    assert refusal(salesforce, text) == wanted


@given(st.text(max_size=60))
def test_any_text_survives_its_literal(text: str) -> None:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    assert parse(f"SELECT Id FROM A WHERE Name = '{escaped}'").where == Compare("Name", "=", Literal("text", text))


@given(st.text(alphabet="SELECTFROMWHEREANDORNOTIN id,()'=<>1.2\\:-%", max_size=80))
def test_any_text_parses_or_is_malformed(text: str) -> None:
    try:
        parse("SELECT " + text)
    except Fault as fault:
        assert fault.code in ("MALFORMED_QUERY", "NUMBER_OUTSIDE_VALID_RANGE")
