"""SuiteQL: what it answers and what it refuses, and SQLite as an oracle for expressions."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.sandbox import Sandbox
from connectors.sandbox.netsuite.errors import Fault
from connectors.sandbox.netsuite.kinds import SHAPE
from connectors.sandbox.netsuite.select import Plan
from connectors.sandbox.netsuite.suiteql import parse
from connectors.sandbox.netsuite.tables import Tables
from connectors.sandbox.store import Store
from tests.connectors.sandbox.conftest import Call


def rows(netsuite: Call, q: str, *params: Any, **query: str) -> list[dict[str, str]]:
    path = "/query/v1/suiteql" + ("?" + "&".join(f"{name}={value}" for name, value in query.items()) if query else "")
    status, body = netsuite("POST", path, {"q": q, "params": list(params)}, {"Prefer": "transient"})
    assert status == 200, body
    return [{name: value for name, value in one.items() if name != "links"} for one in body["items"]]


def test_values_are_texts_nulls_are_left_out_names_are_small(netsuite: Call) -> None:
    (row,) = rows(
        netsuite,
        "SELECT c.ID, companyName AS Label, isInactive, phone, subsidiary, lastModifiedDate FROM Customer c WHERE id = 900",
    )
    assert row == {
        "id": "900",
        "label": "Juniper Biotech (legacy)",
        "isinactive": "F",
        "subsidiary": "1",
        "lastmodifieddate": "11/1/2026",
    }


def test_functions_and_display_texts(netsuite: Call) -> None:
    (row,) = rows(netsuite, "SELECT TO_CHAR(lastmodifieddate, 'YYYY-MM-DD\"T\"HH24:MI:SS') AS at, BUILTIN.DF(subsidiary) AS sub, UPPER(entityid) up, "
                  "NVL(phone, 'none') p, CASE WHEN isinactive = 'F' THEN 'on' ELSE 'off' END state, SUBSTR(entityid, 1, 3) || '!' s, ROUND(1.005, 2) r "
                  "FROM customer WHERE id = ?", "900")  # fmt: skip
    assert row == {
        "at": "2026-11-01T08:00:00",
        "sub": "UK",
        "up": "OLD-900",
        "p": "none",
        "state": "on",
        "s": "OLD!",
        "r": "1.01",
    }


def test_windows_of_change_in_the_account_zone(netsuite: Call, sandbox: Sandbox) -> None:
    sandbox.fakes["netsuite"].tables.zone = ZoneInfo("America/New_York")
    q = "SELECT id FROM transaction WHERE type = 'CustInvc' AND lastmodifieddate >= TO_TIMESTAMP(?, 'YYYY-MM-DD HH24:MI:SS') ORDER BY id"
    assert len(rows(netsuite, q, "2026-11-01 03:00:00")) == 12  # 08:00 in UTC, after the clocks went back
    assert rows(netsuite, q, "2026-11-01 03:00:01") == []
    sandbox.set("netsuite", "invoice", "705", {"memo": "x"})
    assert rows(netsuite, q, "2026-11-01 03:00:01") == [{"id": "705"}]
    (row,) = rows(
        netsuite,
        "SELECT TO_CHAR(lastmodifieddate, 'HH24:MI') AS at FROM transaction WHERE type = 'CustInvc' AND id = 701",
    )
    assert row["at"] == datetime(2026, 11, 1, 8, tzinfo=UTC).astimezone(ZoneInfo("America/New_York")).strftime("%H:%M")


def test_transactions_with_lines_and_joins(netsuite: Call, sandbox: Sandbox) -> None:
    found = rows(
        netsuite,
        "SELECT type, COUNT(*) AS n, SUM(foreigntotal) AS total FROM transaction GROUP BY type HAVING COUNT(*) > 2 ORDER BY n DESC, type",
    )
    assert [(one["type"], one["n"]) for one in found] == [
        ("CustInvc", "12"),
        ("CustPymt", "8"),
        ("PurchOrd", "3"),
        ("VendBill", "3"),
    ]
    assert Decimal(found[0]["total"]) == sum(one["total"] for one in sandbox.all("netsuite", "invoice"))
    lines = rows(netsuite, "SELECT t.tranid, l.netamount, BUILTIN.DF(l.item) item FROM transaction t JOIN transactionline l ON l.transaction = t.id "
                 "WHERE t.type = 'CustInvc' AND l.mainline = 'F' AND l.taxline = 'F' ORDER BY t.id")  # fmt: skip
    assert len(lines) == 12 and lines[0]["item"] == "SV-02"
    left = rows(
        netsuite,
        "SELECT v.entityid, t.tranid FROM vendor v LEFT JOIN transaction t ON t.type = 'VendBill' AND t.entity = v.id AND t.tranid = 'VB-1' ORDER BY v.id",
    )
    assert [one.get("tranid") for one in left] == ["VB-1", None, None, None]
    (balance,) = rows(netsuite, "SELECT SUM(amount) AS net, SUM(debit) d FROM transactionaccountingline")
    assert Decimal(balance["net"]) == 0 and balance["d"] == "1.005"


def test_pages_and_their_reach(netsuite: Call) -> None:
    whole = [row["id"] for row in rows(netsuite, "SELECT id FROM transaction WHERE type = 'CustInvc' ORDER BY id")]
    assert whole == [str(n) for n in range(701, 713)]
    assert [
        row["id"]
        for row in rows(
            netsuite, "SELECT id FROM transaction WHERE type = 'CustInvc' ORDER BY id", limit="5", offset="10"
        )
    ] == whole[10:]
    assert rows(netsuite, "SELECT id FROM transaction WHERE type = 'CustInvc' AND ROWNUM <= 2 ORDER BY id DESC") == [
        {"id": "702"},
        {"id": "701"},
    ]
    assert rows(
        netsuite, "SELECT id FROM transaction WHERE type = 'CustInvc' ORDER BY id DESC FETCH FIRST 1 ROWS ONLY"
    ) == [{"id": "712"}]
    assert rows(netsuite, "SELECT DISTINCT entity FROM transaction WHERE type = 'CustInvc'") == [{"entity": "900"}]
    status, body = netsuite(
        "POST",
        "/query/v1/suiteql?limit=1000&offset=100000",
        {"q": "SELECT id FROM transaction"},
        {"Prefer": "transient"},
    )
    assert status == 400 and body["o:errorDetails"][0]["o:errorCode"] == "INVALID_PARAMETER"
    assert netsuite("POST", "/query/v1/suiteql", {"q": "SELECT id FROM transaction"})[0] == 400


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("tranid LIKE 'inv-000%'", 9), ("tranid NOT LIKE '%1%'", 8), ("id IN (701, '702', 9)", 2), ("id NOT IN (701)", 11), ("memo IS NULL", 12),
        ("memo IS NOT NULL", 0), ("memo = ''", 0), ("NOT memo = 'x'", 0), ("trandate BETWEEN TO_DATE('2026-10-06','YYYY-MM-DD') AND TO_DATE('10/08/2026','MM/DD/YYYY')", 3),
        ("trandate = '10/6/2026'", 1), ("(id = 701 OR id = 702) AND id != 701", 1), ("id = 701 OR id = 702 AND id != 702", 1),
        ("foreigntotal - foreignamountunpaid = 0 AND foreigntotal > 0", 4), ("1 = 1 -- a comment", 12),
    ],
)  # fmt: skip
def test_where(netsuite: Call, where: str, count: int) -> None:
    assert len(rows(netsuite, f"SELECT id FROM transaction WHERE type = 'CustInvc' AND ({where}\n)")) == count


@pytest.mark.parametrize(
    ("q", "why"),
    [
        ("SELECT nope FROM customer", "Field 'nope' for record 'customer' was not found"),
        ("SELECT c.id FROM customer d", "Field 'id' for record 'c'"),
        ("SELECT id FROM nothing", "Record 'nothing' was not found"),
        ("SELECT id FROM customer WHERE", "ends early"),
        ("SELECT id customer", "expected FROM"),
        ("SELECT id FROM customer WHERE id = ?", "more parameters"),
        ("SELECT NOPE(id) FROM customer", "Function NOPE"),
        ("SELECT id FROM customer WHERE lastmodifieddate > TO_DATE('x', 'YYYY')", "does not fit"),
        ("SELECT id FROM customer; DROP TABLE x", "near ';"),
    ],
)
def test_refusals(netsuite: Call, q: str, why: str) -> None:
    status, body = netsuite("POST", "/query/v1/suiteql", {"q": q}, {"Prefer": "transient"})
    assert status == 400 and why in body["o:errorDetails"][0]["detail"]


def test_transactions_are_no_tables_of_their_own(netsuite: Call) -> None:
    test_refusals(netsuite, "SELECT id FROM invoice", "Record 'invoice' was not found")
    assert len(rows(netsuite, "SELECT id FROM transaction WHERE type = 'CustInvc'")) == 12


numbers = st.integers(-9, 9).map(lambda n: f"({n})")
sums = st.recursive(
    numbers | st.just("NULL"),
    lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
    max_leaves=4,
)
tests = st.recursive(
    st.tuples(sums, st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), sums).map(" ".join)
    | sums.map(lambda one: f"{one} IS NULL") | st.tuples(sums, numbers, numbers).map(lambda t: f"{t[0]} NOT BETWEEN {t[1]} AND {t[2]}")
    | st.tuples(sums, numbers, numbers).map(lambda t: f"{t[0]} IN ({t[1]}, {t[2]})"),
    lambda inner: st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(" ".join) | inner.map(lambda one: f"NOT ({one})") | inner.map(lambda one: f"({one})"),
    max_leaves=5,
)  # fmt: skip


@given(test=tests)
@settings(max_examples=150, deadline=None)
def test_tests_decide_as_sqlite_decides(test: str) -> None:
    store = Store(None, {"netsuite": SHAPE})
    store.put("netsuite", "term", "1", {"id": "1", "name": "x", "lastModifiedDate": "2026-11-01T08:00:00Z"})
    with sqlite3.connect(":memory:") as oracle:
        wanted = oracle.execute(f"SELECT 1 WHERE {test}").fetchall()
    oracle.close()
    found = Plan(Tables(store), parse(f"SELECT id FROM term WHERE {test}", [])).run()
    store.close()
    assert len(found) == len(wanted)


@given(st.text(alphabet="SELECTFROMcustomerWHEREANDORNOTINid (),'=<>?1.|-*", max_size=60))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        parse("SELECT " + text, [])
    except Fault as fault:
        assert fault.status == 400
