"""NetSuite as its sheet describes it: access, records, lists, rules, asynchronous jobs; two third-party clients sign the calls."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
import warnings
from decimal import Decimal
from functools import cached_property
from typing import Any

import pytest
import urllib3
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from connectors.sandbox import Sandbox, start
from connectors.sandbox.keys import ec_key, pem, rsa_key
from connectors.sandbox.netsuite.auth import signed
from tests.connectors.sandbox.conftest import Call

NEW = {"companyName": "Été", "subsidiary": {"id": "1"}}
LINES = {"items": [{"item": {"id": "1"}, "quantity": 2, "rate": 1.005}, {"item": {"id": "2"}, "amount": 0.1}]}


def fault(body: Any) -> str:
    return str(body["o:errorDetails"][0]["o:errorCode"])


def made(reply: tuple[int, Any]) -> str:
    """The id of what was made."""
    assert reply[0] == 204, reply
    return str(reply[1]).rsplit("/", 1)[1]


# ---------------------------------------------------------------------- access
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the httpx that the client uses
def test_the_netsuite_client_signs_reads_and_queries(sandbox: Sandbox) -> None:
    with warnings.catch_warnings(record=True):  # a library that it uses warns of its own future
        from netsuite.config import Config, TokenAuth
        from netsuite.rest_api import NetSuiteRestApi

    given = sandbox.credentials("netsuite")
    auth = TokenAuth(consumer_key=given["consumer_key"], consumer_secret=given["consumer_secret"], token_id=given["token"],
                     token_secret=given["token_secret"])  # fmt: skip

    class Loopback(NetSuiteRestApi):
        @cached_property
        def hostname(self) -> str:
            return sandbox.url("netsuite")

        def _make_url(self, subpath: str) -> str:
            return f"{self.hostname}/services/rest{subpath}"

    async def talk() -> tuple[Any, Any, Any]:
        client = Loopback(Config(account=given["account"], auth=auth))
        await client.post("/record/v1/customer", json={**NEW, "externalId": "a-1"})
        rows = await client.suiteql("SELECT id, companyname FROM customer ORDER BY id", limit=10)
        return rows, await client.get("/record/v1/customer/eid:a-1"), await client.jsonschema("customer")

    rows, one, schema = asyncio.run(talk())
    assert [row["companyname"] for row in rows["items"]] == ["Juniper Biotech (legacy)", "Été"]
    assert one["companyName"] == "Été" and schema["properties"]["subsidiary"]["x-ns-references"] == ["subsidiary"]


def test_a_signature_counts_once_and_in_time(sandbox: Sandbox, pool: urllib3.PoolManager) -> None:
    given = sandbox.credentials("netsuite")
    url = f"{sandbox.url('netsuite')}/services/rest/system/v1/serverTime?b=2&a=%2Fx"

    def ask(realm: str = given["account"], **changed: str) -> int:
        oauth = {"oauth_consumer_key": given["consumer_key"], "oauth_token": given["token"], "oauth_signature_method": "HMAC-SHA256",
                 "oauth_timestamp": str(int(time.time())), "oauth_nonce": f"nonce{time.time_ns()}", "oauth_version": "1.0", **changed}  # fmt: skip
        signature = urllib3.util.url._encode_invalid_chars(signed("GET", url, oauth), set()) or ""
        parts = ", ".join(
            f'{name}="{value}"' for name, value in {"realm": realm, **oauth, "oauth_signature": signature}.items()
        )
        return pool.request("GET", url, headers={"Authorization": f"OAuth {parts}"}).status

    assert ask() == 200
    assert ask(oauth_nonce="the-same-nonce") == 200
    assert ask(oauth_nonce="the-same-nonce") == 401
    assert ask(oauth_nonce="short") == 401
    assert ask(oauth_timestamp=str(int(time.time()) - 3600)) == 401
    assert ask(oauth_signature_method="HMAC-SHA1") == 401
    assert ask(oauth_token="other") == 401
    assert ask(realm="sandbox-sb1") == 401
    assert pool.request("GET", url).status == 401


def assertion(sandbox: Sandbox, pool: urllib3.PoolManager, algorithm: str, **claims: Any) -> tuple[int, Any]:
    given, url = sandbox.credentials("netsuite"), f"{sandbox.url('netsuite')}/services/rest/auth/oauth2/v1/token"
    now = int(time.time())
    head = {"typ": "JWT", "alg": algorithm, "kid": claims.pop("kid", given["certificate_id"])}
    body = {
        "iss": given["oauth2_client_id"],
        "scope": ["rest_webservices"],
        "aud": url,
        "iat": now,
        "exp": now + 300,
        **claims,
    }
    parts = [base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in (head, body)]
    data = b".".join(parts)
    if algorithm == "ES256":
        r, s = decode_dss_signature(ec_key().sign(data, ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(32) + s.to_bytes(32)
    else:
        signature = rsa_key().sign(data, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    token = b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()
    kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    form = {"grant_type": "client_credentials", "client_assertion_type": kind, "client_assertion": token}
    reply = pool.request("POST", url, fields=form, encode_multipart=False)
    return reply.status, reply.json()


@pytest.mark.parametrize("algorithm", ["PS256", "ES256"])
def test_a_client_assertion_is_verified(sandbox: Sandbox, pool: urllib3.PoolManager, algorithm: str) -> None:
    status, told = assertion(sandbox, pool, algorithm)
    assert status == 200 and told["expires_in"] == "3600" and pem(algorithm).startswith("-----BEGIN PRIVATE KEY")
    headers = {"Authorization": f"Bearer {told['access_token']}"}
    url = f"{sandbox.url('netsuite')}/services/rest/record/v1/customer/900"
    assert pool.request("GET", url, headers=headers).status == 200
    sandbox.expire_tokens("netsuite")
    assert fault(pool.request("GET", url, headers=headers).json()) == "INVALID_LOGIN"
    for claims, wanted in (
        ({"exp": int(time.time()) + 7200}, "invalid_grant"), ({"aud": "https://x"}, "invalid_grant"), ({"iss": "x"}, "invalid_client"),
        ({"kid": "x"}, "invalid_client"), ({"scope": "all"}, "invalid_scope"), ({"scope": "restlets,rest_webservices"}, None),
    ):  # fmt: skip
        assert assertion(sandbox, pool, algorithm, **claims)[1].get("error") == wanted


def test_more_requests_at_once_than_the_account_has_are_refused() -> None:
    with start(systems=("netsuite",), latency_ms=150) as box:
        box.fakes["netsuite"].concurrency = 2
        url, codes = f"{box.url('netsuite')}/services/rest/system/v1/serverTime", []
        threads = [
            threading.Thread(target=lambda: codes.append(urllib3.request("GET", url, retries=False).status))
            for _ in range(5)
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert sorted(codes) == [401, 401, 429, 429, 429]


# ---------------------------------------------------------------------- records
def test_a_record_is_made_merged_read_and_deleted(netsuite: Call, sandbox: Sandbox) -> None:
    id = made(netsuite("POST", "/record/v1/customer", {**NEW, "terms": {"id": "1"}, "externalId": "x-1", "phone": "1"}))
    path = f"/record/v1/customer/{id}"
    assert made(netsuite("PATCH", "/record/v1/customer/eid:x-1", {"phone": None, "comments": "é"})) == id
    status, body = netsuite("GET", path, simpleEnumFormat="true")
    assert status == 200 and "phone" not in body and body["comments"] == "é"
    assert body["terms"]["refName"] == "Net 30" and body["subsidiary"]["links"][0]["href"].endswith("/subsidiary/1")
    assert set(netsuite("GET", path, fields="comments")[1]) == {"links", "id", "comments"}
    assert fault(netsuite("POST", "/record/v1/customer", {**NEW, "externalId": "x-1"})[1]) == "DUP_RCRD"
    assert made(netsuite("PUT", "/record/v1/customer/eid:x-1", {"comments": "2"})) == id
    other = made(netsuite("PUT", "/record/v1/customer/eid:x-2", NEW))
    assert other != id
    assert fault(netsuite("PUT", "/record/v1/customer/eid:x%7C2", NEW)[1]) == "INVALID_PARAMETER"
    assert netsuite("DELETE", path) == (204, None) and fault(netsuite("GET", path)[1]) == "NONEXISTENT_ID"
    found = netsuite(
        "POST", "/query/v1/suiteql", {"q": "SELECT recordid, recordtypeid FROM deletedrecord"}, {"Prefer": "transient"}
    )[1]["items"]
    assert found == [{"links": [], "recordid": id, "recordtypeid": "customer"}]
    assert [entry.op for entry in sandbox.journal("netsuite")] == ["create", "update", "update", "create", "delete"]


def test_unknown_names_are_dropped_in_silence_unless_asked(netsuite: Call) -> None:
    strict = {"X-NetSuite-PropertyNameValidation": "error"}
    id = made(netsuite("POST", "/record/v1/customer", {**NEW, "phoen": "1", "custentity_a": {"x": 1}}))
    body = netsuite("GET", f"/record/v1/customer/{id}")[1]
    assert "phoen" not in body and body["custentity_a"] == {"x": 1}
    told = netsuite("POST", "/record/v1/customer", {**NEW, "phoen": "1"}, strict)[1]
    assert (fault(told), told["o:errorDetails"][0]["o:errorPath"]) == ("INVALID_CONTENT", "phoen")
    invoice = {
        "entity": {"id": "900"},
        "tranDate": "2026-11-02",
        "item": {"items": [{"item": {"id": "1"}, "amount": 1, "nope": 1}]},
    }
    assert (
        netsuite("POST", "/record/v1/invoice", invoice, strict)[1]["o:errorDetails"][0]["o:errorPath"]
        == "item.items[0].nope"
    )


@pytest.mark.parametrize(
    ("kind", "body", "wanted", "path"),
    [
        ("customer", {"companyName": "x"}, "USER_ERROR", "subsidiary"),
        ("customer", {"subsidiary": {"id": "1"}}, "USER_ERROR", "companyName"),
        ("customer", {**NEW, "subsidiary": {"id": "99"}}, "INVALID_CONTENT", "subsidiary"),
        ("customer", {**NEW, "subsidiary": "1"}, "INVALID_CONTENT", "subsidiary"),
        ("customer", {**NEW, "isInactive": "T"}, "INVALID_CONTENT", "isInactive"),
        ("customer", {**NEW, "entityId": "OLD-900"}, "UNIQUE_CUST_ID_REQD", "entityId"),
        ("job", {"companyName": "x", "parent": {"id": "900"}, "startDate": "1.9.2026"}, "INVALID_CONTENT", "startDate"),
        ("invoice", {"entity": {"id": "900"}, "tranDate": "2026-11-02"}, "USER_ERROR", "item"),
        ("invoice", {"entity": {"id": "900"}, "tranDate": "2026-08-31", "item": LINES}, "USER_ERROR", "tranDate"),
        ("invoice", {"entity": {"id": "900"}, "tranDate": "2026-11-02", "postingPeriod": {"id": "205"}, "item": LINES}, "USER_ERROR", "tranDate"),
        ("journalEntry", {"subsidiary": {"id": "1"}, "tranDate": "2026-11-02", "line": {"items": [{"account": {"id": "1"}, "debit": 1}]}},
         "USER_ERROR", "line"),
    ],
)  # fmt: skip
def test_a_refusal_names_code_and_path(netsuite: Call, kind: str, body: Any, wanted: str, path: str) -> None:
    status, told = netsuite("POST", f"/record/v1/{kind}", body)
    assert status == 400 and (fault(told), told["o:errorDetails"][0]["o:errorPath"]) == (wanted, path)


def test_the_subsidiary_of_an_entity_stays(netsuite: Call) -> None:
    assert fault(netsuite("PATCH", "/record/v1/customer/900", {"subsidiary": {"id": "2"}})[1]) == "USER_ERROR"
    assert netsuite("PATCH", "/record/v1/customer/900", {"subsidiary": {"id": "1"}, "phone": "2"})[0] == 204


def test_sublists_merge_by_line_or_are_replaced(netsuite: Call, sandbox: Sandbox) -> None:
    invoice = {"entity": {"externalId": "none"}, "tranDate": "2026-11-02", "item": LINES}
    assert fault(netsuite("POST", "/record/v1/invoice", invoice)[1]) == "INVALID_CONTENT"
    id = made(netsuite("POST", "/record/v1/invoice", {**invoice, "entity": {"id": "900"}}))
    path = f"/record/v1/invoice/{id}"
    doc = sandbox.get("netsuite", "invoice", id)
    assert doc and doc["total"] == doc["amountRemaining"] == Decimal("2.110")
    assert netsuite("GET", path)[1]["item"] == {
        "links": [{"rel": "self", "href": f"{sandbox.url('netsuite')}/services/rest{path}/item"}]
    }
    netsuite("PATCH", path, {"item": {"items": [{"line": 1, "quantity": 4}, {"item": {"id": "3"}, "amount": 5}]}})
    items = netsuite("GET", path, expandSubResources="true")[1]["item"]["items"]
    assert [(one["line"], one["amount"]) for one in items] == [(1, 4.02), (2, 0.1), (3, 5)] and items[0]["item"][
        "refName"
    ] == "SV-01"
    assert netsuite("GET", f"{path}/item")[1]["totalResults"] == 3
    netsuite("PATCH", f"{path}?replace=item", {"item": {"items": [{"item": {"id": "3"}, "amount": 7}]}})
    assert netsuite("GET", path)[1]["total"] == 7


def test_payments_pay_invoices_and_transforms_make_them(netsuite: Call, sandbox: Sandbox) -> None:
    open_one = next(one for one in sandbox.all("netsuite", "invoice") if one["amountRemaining"] == one["total"])
    apply = {"items": [{"doc": {"id": open_one["id"]}, "apply": True, "amount": 10}]}
    payment = {"customer": {"id": "900"}, "tranDate": "2026-11-02", "payment": 10, "apply": apply}
    id = made(netsuite("POST", "/record/v1/customerPayment", payment))
    after = sandbox.get("netsuite", "invoice", open_one["id"])
    assert after and after["amountRemaining"] == open_one["total"] - 10 and after["status"] == {"id": "open"}
    assert fault(netsuite("POST", "/record/v1/customerPayment", {**payment, "payment": 5})[1]) == "USER_ERROR"
    netsuite("DELETE", f"/record/v1/customerPayment/{id}")
    paid = made(
        netsuite("POST", f"/record/v1/invoice/{open_one['id']}/!transform/customerPayment", {"tranDate": "2026-11-02"})
    )
    assert netsuite("GET", f"/record/v1/customerPayment/{paid}")[1]["payment"] == pytest.approx(
        float(open_one["total"])
    )
    after = sandbox.get("netsuite", "invoice", open_one["id"])
    assert after and after["status"] == {"id": "paidInFull"} and after["amountRemaining"] == 0
    order = made(netsuite("POST", "/record/v1/salesOrder/790/!transform/invoice", {"tranDate": "2026-11-02"}))
    assert netsuite("GET", f"/record/v1/invoice/{order}")[1]["total"] == 48000


def test_lists_are_ids_and_batch_reads_whole_records(netsuite: Call) -> None:
    status, body = netsuite("GET", "/record/v1/invoice", limit="5", offset="5")
    assert status == 200 and (body["count"], body["hasMore"], body["totalResults"]) == (5, True, 12)
    assert set(body["items"][0]) == {"links", "id"} and {one["rel"] for one in body["links"]} == {
        "self",
        "next",
        "prev",
    }
    assert fault(netsuite("GET", "/record/v1/invoice", limit="5", offset="7")[1]) == "INVALID_PARAMETER"
    assert fault(netsuite("GET", "/record/v1/invoice", limit="1001")[1]) == "INVALID_PARAMETER"
    whole = netsuite("GET", "/record/v1/invoice", expandRecords="true", ids="702,701")[1]["items"]
    assert [one["tranId"] for one in whole] == ["INV-0002", "INV-0001"]
    names = {one["name"] for one in netsuite("GET", "/record/v1/metadata-catalog")[1]["items"]}
    assert len(names) == 32 and {"charge", "projectTask", "salesTaxItem"} < names
    accept = {"Accept": "application/schema+json"}
    assert set(
        netsuite("GET", "/record/v1/metadata-catalog", None, accept, select="job,term")[1]["components"]["schemas"]
    ) == {"job", "term"}
    assert netsuite("GET", "/record/v1/nothing")[0] == 404


@pytest.mark.parametrize(
    ("q", "holds"),
    [
        ('tranId IS "inv-0003"', lambda one: one["tranId"] == "INV-0003"),
        ('tranId END_WITH "2" OR tranId START_WITH_NOT "INV"', lambda one: one["tranId"].endswith("2")),
        ("amountRemaining GREATER 0 AND amountRemaining LESS_OR_EQUAL 20000.5", lambda one: 0 < one["amountRemaining"] <= Decimal("20000.5")),
        ('tranDate ON_OR_AFTER "10/10/2026" AND (tranDate BEFORE "10/15/2026" OR id ANY_OF [712])',
         lambda one: "2026-10-10" <= one["tranDate"] < "2026-10-15" or one["id"] == "712"),
        ("total BETWEEN [1000, 30000]", lambda one: 1000 <= one["total"] <= 30000),
        ("status ANY_OF [paidInFull]", lambda one: one["amountRemaining"] == 0),
        ("memo EMPTY AND entity ANY_OF [900]", lambda one: True),
        ("memo EMPTY_NOT", None),
    ],
)  # fmt: skip
def test_the_filter_of_lists(netsuite: Call, sandbox: Sandbox, q: str, holds: Any) -> None:
    wanted = [one["id"] for one in sandbox.all("netsuite", "invoice") if holds and holds(one)]
    assert [one["id"] for one in netsuite("GET", "/record/v1/invoice", q=q)[1]["items"]] == wanted
    assert bool(wanted) == (holds is not None)


@pytest.mark.parametrize(
    "q",
    [
        "nope IS 1",
        "total IS",
        'tranDate AFTER "2026-10-10"',
        "total GREATER x",
        'tranDate GREATER "1/1/2026"',
        "(total EMPTY",
        "total EMPTY x",
    ],
)
def test_filters_that_cannot_be_read(netsuite: Call, q: str) -> None:
    assert fault(netsuite("GET", "/record/v1/invoice", q=q)[1]) == "INVALID_PARAMETER"


# ---------------------------------------------------------------------- asynchronous
def test_a_batch_answers_task_by_task(netsuite: Call, sandbox: Sandbox) -> None:
    fake = sandbox.fakes["netsuite"]
    fake.jobs.polls = 1
    headers = {
        "Prefer": "respond-async",
        "Content-Type": "application/vnd.oracle.resource+json; type=collection",
        "X-NetSuite-Idempotency-Key": "k1",
    }
    items = [
        {**NEW, "externalId": "b-1"},
        {"companyName": "no subsidiary", "externalId": "b-2"},
        {**NEW, "externalId": "b-3"},
    ]
    status, where = netsuite("PUT", "/record/v1/customer", {"items": items}, headers)
    assert status == 202 and "/async/v1/job/" in where
    path = where.partition("/services/rest")[2]
    assert [netsuite("GET", path)[1]["progress"] for _ in range(2)] == ["processing", "succeeded"]
    tasks = netsuite("GET", f"{path}/task")[1]["items"]
    results = [netsuite("GET", f"{path}/task/{one['id']}/result") for one in tasks]
    assert [one[0] for one in results] == [204, 400, 204] and fault(results[1][1]) == "USER_ERROR"
    assert netsuite("GET", f"{path}/task/2")[1]["progress"] == "failed"
    assert fault(netsuite("PUT", "/record/v1/customer", {"items": items}, headers)[1]) == "IDEMPOTENCY_ERROR"
    changed = [{"id": "900", "phone": "7"}, {"externalId": "b-1", "phone": "8"}, {"phone": "9"}]
    netsuite("PATCH", "/record/v1/customer", {"items": changed}, {**headers, "X-NetSuite-Idempotency-Key": "k2"})
    assert [one.get("phone") for one in sandbox.all("netsuite", "customer")] == ["7", "8", None]
    assert netsuite("DELETE", "/record/v1/customer?ids=eid:b-1,eid:b-3", None, {"Prefer": "respond-async"})[0] == 202
    assert len(sandbox.all("netsuite", "customer")) == 1
    assert (
        fault(
            netsuite(
                "POST", "/record/v1/customer", {"items": items * 40}, {**headers, "X-NetSuite-Idempotency-Key": "k3"}
            )[1]
        )
        == "INVALID_PARAMETER"
    )
    assert netsuite("GET", "/async/v1/job/99")[0] == 404
    assert sandbox.journal("netsuite")[0].headers is not None


def test_one_call_may_be_asynchronous_too(netsuite: Call, sandbox: Sandbox) -> None:
    status, where = netsuite("POST", "/record/v1/customer", NEW, {"Prefer": "respond-async"})
    result = netsuite("GET", f"{where.partition('/services/rest')[2]}/task/1/result")
    assert status == 202 and made(result) == sandbox.all("netsuite", "customer")[-1]["id"]


def test_durations_as_written_or_by_the_clock(netsuite: Call, sandbox: Sandbox) -> None:
    employee = sandbox.add("netsuite", "employee", {"firstName": "A", "lastName": "B", "subsidiary": {"id": "1"}})
    bill = {"employee": {"id": employee}, "customer": {"id": "900"}, "tranDate": "2026-11-02", "hours": "7:30"}
    path = f"/record/v1/timeBill/{made(netsuite('POST', '/record/v1/timeBill', bill))}"
    assert netsuite("GET", path)[1]["hours"] == "7:30"
    netsuite("PATCH", path, {"hours": 1.25})
    assert netsuite("GET", path)[1]["hours"] == 1.25
    sandbox.fakes["netsuite"].shown.durations = "clock"
    assert netsuite("GET", path)[1]["hours"] == "1:15"
    assert fault(netsuite("PATCH", path, {"hours": "soon"})[1]) == "INVALID_CONTENT"
