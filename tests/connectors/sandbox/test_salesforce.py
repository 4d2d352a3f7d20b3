"""Salesforce as its sheet describes it: rows, collections, composite, feeds, bulk, sessions, limits; simple-salesforce on top."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from simple_salesforce import Salesforce

from connectors.sandbox import Sandbox
from connectors.sandbox.keys import rsa_key
from tests.connectors.sandbox.conftest import Call

ACCOUNT = "001000000000001AAA"


def code(body: Any) -> str:
    return str(body[0]["errorCode"])


@pytest.fixture
def client(sandbox: Sandbox, pool: urllib3.PoolManager) -> Iterator[Salesforce]:
    """simple-salesforce on the fake: its session only, the addresses moved from https to http."""
    form = {"grant_type": "client_credentials", **sandbox.credentials("salesforce")}
    base = sandbox.url("salesforce")
    token = pool.request("POST", f"{base}/services/oauth2/token", fields=form, encode_multipart=False).json()[
        "access_token"
    ]
    made = Salesforce(instance_url=base, session_id=token, version="66.0")
    for name in ("base_url", "bulk_url", "bulk2_url"):
        setattr(made, name, getattr(made, name).replace("https://", "http://"))
    yield made
    made.session.close()


# ---------------------------------------------------------------------- third-party client
def test_simple_salesforce_describes_queries_and_pages(client: Salesforce) -> None:
    described = client.describe()
    assert described is not None and {"Account", "Invoice__c"} <= {one["name"] for one in described["sobjects"]}
    rows = client.query_all("SELECT Id, Owner.Name FROM Account ORDER BY Id")["records"]
    assert len(rows) == 40 and rows[0]["Owner"]["attributes"]["type"] == "User"
    everything = client.query_all("SELECT Id FROM Contact", include_deleted=True)
    assert everything["done"] and everything["totalSize"] == 60
    assert client.limits()["DailyApiRequests"]["Max"] == 100_000


def test_simple_salesforce_loads_and_extracts_in_bulk(client: Salesforce, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simple_salesforce.bulk2.sleep", lambda seconds: None)  # it waits five seconds before it asks
    handler = client.bulk2.Account
    handler.bulk2_url = handler._client.bulk2_url = client.bulk2_url
    rows = [{"Name": f"Bulk {n}", "Crosswalk_Id__c": f"b{n}", "Phone": 'é,"x"\n2'} for n in range(5)]
    (told,) = handler.upsert(
        records=[*rows, {"Name": "", "Crosswalk_Id__c": "b9", "Phone": "1"}], external_id_field="Crosswalk_Id__c"
    )
    assert (told["numberRecordsProcessed"], told["numberRecordsFailed"]) == (6, 1)
    assert "REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name--" in handler.get_failed_records(
        told["job_id"]
    )
    assert handler.get_successful_records(told["job_id"]).count("true") == 5
    text = "".join(handler.query("SELECT Id, Phone FROM Account WHERE Crosswalk_Id__c LIKE 'b%'", max_records=2))
    assert text.count("é") == 5


# ---------------------------------------------------------------------- rows
def test_upsert_by_external_id_has_four_answers(salesforce: Call, sandbox: Sandbox) -> None:
    path = "/sobjects/Account/ERP_Id__c/E%2F1"
    assert salesforce("PATCH", path + "?updateOnly=true", {"Name": "A"})[0] == 404
    status, made = salesforce("PATCH", path, {"Name": "A"})
    assert (status, made["created"]) == (201, True)
    assert salesforce("PATCH", path, {"Name": "B"}) == (200, {**made, "created": False})
    assert salesforce("GET", path)[1]["Name"] == "B" and salesforce("GET", path)[1]["ERP_Id__c"] == "E/1"
    sandbox.set("salesforce", "Account", ACCOUNT, {"ERP_Id__c": "e/1"})  # not flagged unique; case does not matter
    status, several = salesforce("PATCH", path, {"Name": "C"})
    assert status == 300 and len(several) == 2 and all("/sobjects/Account/001" in one for one in several)
    assert code(salesforce("PATCH", path.replace("ERP", "Nope"), {"Name": "A"})[1]) == "NOT_FOUND"
    assert (
        code(salesforce("PATCH", "/sobjects/Account/Crosswalk_Id__c/x", {"Name": "A", "Crosswalk_Id__c": "x"})[1])
        == "INVALID_FIELD"
    )


@pytest.mark.parametrize(
    ("object", "body", "wanted", "field"),
    [
        ("Account", {}, "REQUIRED_FIELD_MISSING", "Name"),
        ("Account", {"Name": "x", "Nope": 1}, "INVALID_FIELD", "Nope"),
        (
            "Account",
            {"Name": "x", "CreatedDate": "2026-01-01T00:00:00Z"},
            "INVALID_FIELD_FOR_INSERT_UPDATE",
            "CreatedDate",
        ),
        ("Account", {"Name": "x" * 256}, "STRING_TOO_LONG", "Name"),
        ("Account", {"Name": "x", "Status__c": "Odd"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "Status__c"),
        ("Account", {"Name": "x", "Credit_Limit__c": "1"}, "JSON_PARSER_ERROR", "Credit_Limit__c"),
        ("Account", {"Name": "x", "ParentId": "001"}, "MALFORMED_ID", "ParentId"),
        ("Account", {"Name": "x", "ParentId": "001000000009999AAA"}, "INVALID_CROSS_REFERENCE_KEY", "ParentId"),
        ("Account", {"Name": "x", "ParentId": "003000000000001AAA"}, "FIELD_INTEGRITY_EXCEPTION", "ParentId"),
        ("Contact", {"LastName": "x", "Email": "nope"}, "INVALID_EMAIL_ADDRESS", "Email"),
        ("Contact", {"LastName": "x", "Account": {"Crosswalk_Id__c": "none"}}, "INVALID_FIELD", "Account"),
        ("Contact", {"LastName": "x", "Account": {}}, "INVALID_FIELD", "Account"),
        (
            "Opportunity",
            {"Name": "x", "StageName": "Proposal", "CloseDate": "31.1.2026"},
            "JSON_PARSER_ERROR",
            "CloseDate",
        ),
    ],
)
def test_a_refusal_names_code_and_field(
    salesforce: Call, sandbox: Sandbox, object: str, body: Any, wanted: str, field: str
) -> None:
    status, told = salesforce("POST", f"/sobjects/{object}", body)
    assert status == 400 and (code(told), told[0]["fields"]) == (wanted, [field])
    assert sandbox.journal("salesforce") == []


def test_parents_are_named_by_external_id_and_what_is_computed_is_computed(salesforce: Call, sandbox: Sandbox) -> None:
    sandbox.set("salesforce", "Account", ACCOUNT, {"Crosswalk_Id__c": "c1"})
    body = {
        "Name": "I",
        "Number__c": "1",
        "Account__r": {"Crosswalk_Id__c": "C1"},
        "Total__c": 1.005,
        "Due_Date__c": "2026-12-01",
    }
    id = salesforce("POST", "/sobjects/Invoice__c", body)[1]["id"]
    row = salesforce("GET", f"/sobjects/Invoice__c/{id[:15]}", fields="Account__c,Total__c,CreatedDate")[1]
    assert row["Account__c"] == ACCOUNT and row["CreatedDate"].endswith("+0000") and "Name" not in row
    deal = {"Name": "D", "StageName": "Closed Won", "CloseDate": "2026-12-01"}
    made = sandbox.get("salesforce", "Opportunity", salesforce("POST", "/sobjects/Opportunity", deal)[1]["id"])
    assert made and (made["IsWon"], made["IsClosed"], made["Probability"]) == (True, True, 100)
    line = {"OpportunityId": made["Id"], "PricebookEntryId": "01u000000000001AAA", "Quantity": 3}
    line_id = salesforce("POST", "/sobjects/OpportunityLineItem", line)[1]["id"]
    assert salesforce("GET", f"/sobjects/OpportunityLineItem/{line_id}")[1]["TotalPrice"] == 3 * 950


def test_conditional_update_and_deletion(salesforce: Call) -> None:
    path = f"/sobjects/Account/{ACCOUNT}"
    late = {"If-Unmodified-Since": "Sat, 31 Oct 2026 00:00:00 GMT"}
    assert salesforce("PATCH", path, {"Phone": "1"}, late)[0] == 412
    assert salesforce("PATCH", path, {"Phone": ""}) == (204, None)
    assert salesforce("GET", path)[1]["Phone"] is None
    assert salesforce("DELETE", path)[0] == 204
    for method in ("GET", "DELETE", "PATCH"):
        status, told = salesforce(method, path, {} if method == "PATCH" else None)
        assert status == 404 and code(told) == "ENTITY_IS_DELETED"
    _, found = salesforce(
        "GET", "/queryAll", q=f"SELECT Id, IsDeleted FROM Account WHERE Id = '{ACCOUNT}' AND IsDeleted = TRUE"
    )
    assert (
        found["totalSize"] == 1 and salesforce("GET", "/query", q="SELECT COUNT() FROM Account")[1]["totalSize"] == 39
    )


def test_feeds_cover_whole_minutes(salesforce: Call, sandbox: Sandbox) -> None:
    sandbox.delete("salesforce", "Account", ACCOUNT)
    sandbox.set("salesforce", "Account", "001000000000002AAA", {"Phone": "2"})
    sandbox.clock.move(60)
    end = sandbox.store.now()
    day = end[:10] + "T00:00:00+00:00"
    _, gone = salesforce("GET", "/sobjects/Account/deleted", start=day, end=end)
    assert [one["id"] for one in gone["deletedRecords"]] == [ACCOUNT] and gone["latestDateCovered"].endswith(
        ":00.000+0000"
    )
    assert "001000000000002AAA" in salesforce("GET", "/sobjects/Account/updated/", start=day, end=end)[1]["ids"]
    assert code(salesforce("GET", "/sobjects/Account/deleted", start=end, end=end)[1]) == "INVALID_REPLICATION_DATE"


# ---------------------------------------------------------------------- several at once
def test_collections_keep_order_and_answer_each(salesforce: Call, sandbox: Sandbox) -> None:
    kind = {"attributes": {"type": "Contact"}}
    records = [{**kind, "LastName": "a", "Crosswalk_Id__c": "1"}, {**kind, "Crosswalk_Id__c": "2"}, {**kind, "LastName": "c", "Crosswalk_Id__c": "3"},
               {**kind, "LastName": "d", "Crosswalk_Id__c": "3"}, {**kind, "LastName": "e"}]  # fmt: skip
    status, told = salesforce(
        "PATCH", "/composite/sobjects/Contact/Crosswalk_Id__c", {"allOrNone": False, "records": records}
    )
    assert status == 200 and [one["success"] for one in told] == [True, False, False, False, False]
    assert [one["errors"][0]["statusCode"] for one in told[1:]] == [
        "REQUIRED_FIELD_MISSING",
        "DUPLICATE_VALUE",
        "DUPLICATE_VALUE",
        "MISSING_ARGUMENT",
    ]
    before = len(sandbox.journal("salesforce"))
    status, told = salesforce(
        "POST", "/composite/sobjects", {"allOrNone": True, "records": [{**kind, "LastName": "x"}, kind]}
    )
    assert [one["errors"][0]["statusCode"] for one in told] == [
        "ALL_OR_NONE_OPERATION_ROLLED_BACK",
        "REQUIRED_FIELD_MISSING",
    ]
    assert len(sandbox.journal("salesforce")) == before
    ids = "003000000000001AAA,003000000009999AAA"
    told = salesforce("DELETE", f"/composite/sobjects?ids={ids}&allOrNone=false")[1]
    assert [one["success"] for one in told] == [True, False]
    assert code(salesforce("POST", "/composite/sobjects", {"records": [kind] * 201})[1]) == "EXCEEDED_MAX_SIZE_REQUEST"
    read = salesforce(
        "POST",
        "/composite/sobjects/Contact",
        {"ids": ["003000000000002AAA", "003000000000001AAA"], "fields": ["LastName"]},
    )[1]
    assert read[0]["LastName"] and read[1] is None


def test_composite_calls_refer_to_each_other(salesforce: Call, sandbox: Sandbox) -> None:
    base = "/services/data/v66.0/sobjects"
    calls = [
        {"method": "POST", "url": f"{base}/Account", "referenceId": "a", "body": {"Name": "Ref"}},
        {
            "method": "POST",
            "url": f"{base}/Contact",
            "referenceId": "c",
            "body": {"LastName": "L", "AccountId": "@{a.id}"},
        },
        {"method": "GET", "url": f"{base}/Contact/@{{c.id}}?fields=AccountId", "referenceId": "g"},
        {"method": "POST", "url": f"{base}/Contact", "referenceId": "bad", "body": {}},
        {"method": "PATCH", "url": f"{base}/Contact/@{{bad.id}}", "referenceId": "after", "body": {}},
    ]
    replies = {
        one["referenceId"]: one
        for one in salesforce("POST", "/composite", {"compositeRequest": calls})[1]["compositeResponse"]
    }
    assert [one["httpStatusCode"] for one in replies.values()] == [201, 201, 200, 400, 400]
    assert (
        replies["g"]["body"]["AccountId"] == replies["a"]["body"]["id"]
        and code(replies["after"]["body"]) == "PROCESSING_HALTED"
    )
    before = len(sandbox.journal("salesforce"))
    undone = salesforce("POST", "/composite", {"allOrNone": True, "compositeRequest": calls})[1]["compositeResponse"]
    assert [code(one["body"]) for one in undone] == ["PROCESSING_HALTED"] * 3 + [
        "REQUIRED_FIELD_MISSING",
        "PROCESSING_HALTED",
    ]
    assert len(sandbox.journal("salesforce")) == before
    batch = [
        {"method": "GET", "url": "v66.0/limits"},
        {"method": "GET", "url": "v66.0/nope"},
        {"method": "GET", "url": "v66.0/limits"},
    ]
    told = salesforce("POST", "/composite/batch", {"batchRequests": batch, "haltOnError": True})[1]
    assert told["hasErrors"] and [one["statusCode"] for one in told["results"]] == [200, 404, 412]


# ---------------------------------------------------------------------- bulk
def test_a_bulk_job_answers_row_by_row_in_its_own_dialect(salesforce: Call, sandbox: Sandbox) -> None:
    sandbox.fakes["salesforce"].bulk.polls = 1
    sandbox.set("salesforce", "Account", ACCOUNT, {"Crosswalk_Id__c": "p"})
    job = {
        "object": "Contact",
        "operation": "upsert",
        "externalIdFieldName": "Crosswalk_Id__c",
        "lineEnding": "CRLF",
        "columnDelimiter": "PIPE",
    }
    made = salesforce("POST", "/jobs/ingest", job)[1]
    assert made["state"] == "Open" and made["contentUrl"].endswith(f"/jobs/ingest/{made['id']}/batches")
    text = "Crosswalk_Id__c|LastName|Phone|Account.Crosswalk_Id__c\r\nx1|Berg|#N/A|p\r\nx2||1|\r\nx3|Costa||none\r\n"
    path = f"/jobs/ingest/{made['id']}"
    assert code(salesforce("PATCH", path, {"state": "UploadComplete"})[1]) == "INVALIDJOBSTATE"
    assert salesforce("PUT", f"{path}/batches", text.encode(), {"Content-Type": "text/csv"})[0] == 201
    assert salesforce("PATCH", path, {"state": "UploadComplete"})[1]["state"] == "UploadComplete"
    assert [salesforce("GET", path)[1]["state"] for _ in range(2)] == ["InProgress", "JobComplete"]
    good = salesforce("GET", f"{path}/successfulResults/")[1]
    bad = salesforce("GET", f"{path}/failedResults/")[1]
    assert (
        good.split("\r\n")[0] == '"sf__Id"|"sf__Created"|"Crosswalk_Id__c"|"LastName"|"Phone"|"Account.Crosswalk_Id__c"'
    )
    assert good.count("\r\n") == 2 and "REQUIRED_FIELD_MISSING" in bad and "INVALID_FIELD:Foreign key" in bad
    (row,) = sandbox.store.keyed("salesforce", "Contact", "Crosswalk_Id__c", "x1")
    assert row["AccountId"] == ACCOUNT and row["Phone"] is None
    assert salesforce("GET", f"/jobs/ingest/{made['id']}/unprocessedrecords/")[1].startswith("Crosswalk_Id__c|")


def test_a_bulk_query_comes_in_pieces(salesforce: Call) -> None:
    made = salesforce(
        "POST", "/jobs/query", {"operation": "query", "query": "SELECT Id, Amount, IsWon FROM Opportunity ORDER BY Id"}
    )[1]
    assert salesforce("GET", f"/jobs/query/{made['id']}")[1]["state"] == "JobComplete"
    first = salesforce("GET", f"/jobs/query/{made['id']}/results", maxRecords="20")[1].splitlines()
    rest = salesforce("GET", f"/jobs/query/{made['id']}/results", maxRecords="20", locator="20")[1].splitlines()
    assert len(first) == 21 and len(rest) == 11 and first[0] == rest[0] == '"Id","Amount","IsWon"'
    assert first[4].split(",")[1] == '"90071992547409.93"'
    for text in (
        "SELECT COUNT(Id) FROM Account GROUP BY Industry",
        "SELECT Id, (SELECT Id FROM Contacts) FROM Account",
    ):
        assert salesforce("POST", "/jobs/query", {"operation": "query", "query": text})[0] == 400


# ---------------------------------------------------------------------- sessions and limits
def bearer(sandbox: Sandbox, pool: urllib3.PoolManager, **claims: Any) -> tuple[int, Any]:
    given = sandbox.credentials("salesforce")
    body = {
        "iss": given["client_id"],
        "sub": given["username"],
        "aud": "https://login.salesforce.com",
        "exp": int(time.time()) + 120,
        **claims,
    }
    parts = [base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in ({"alg": "RS256"}, body)]
    signature = rsa_key().sign(b".".join(parts), padding.PKCS1v15(), hashes.SHA256())
    token = b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": token}
    reply = pool.request(
        "POST", f"{sandbox.url('salesforce')}/services/oauth2/token", fields=form, encode_multipart=False
    )
    return reply.status, reply.json()


def test_an_assertion_is_verified(sandbox: Sandbox, pool: urllib3.PoolManager) -> None:
    status, told = bearer(sandbox, pool)
    assert (
        status == 200
        and "expires_in" not in told
        and "refresh_token" not in told
        and told["instance_url"] == sandbox.url("salesforce")
    )
    for claims, why in (
        ({"exp": int(time.time()) - 5}, "expired"),
        ({"exp": int(time.time()) + 900}, "too long"),
        ({"sub": "other"}, "hasn't approved"),
        ({"aud": "https://x"}, "audience"),
    ):
        status, told = bearer(sandbox, pool, **claims)
        assert status == 400 and told["error"] == "invalid_grant" and why in told["error_description"]


def test_sessions_end_and_allocations_run_out(salesforce: Call, sandbox: Sandbox) -> None:
    fake = sandbox.fakes["salesforce"]
    used = salesforce("GET", "/limits")[1]["DailyApiRequests"]
    assert used["Remaining"] == used["Max"] - fake.calls
    fake.allocation = fake.calls
    status, told = salesforce("GET", "/limits")
    assert (status, code(told)) == (403, "REQUEST_LIMIT_EXCEEDED")
    fake.allocation = 100_000
    sandbox.expire_tokens("salesforce")
    status, told = salesforce("GET", "/limits")
    assert (status, code(told)) == (401, "INVALID_SESSION_ID")


def test_versions_are_listed_and_old_ones_refused(sandbox: Sandbox, pool: urllib3.PoolManager) -> None:
    base = sandbox.url("salesforce")
    assert pool.request("GET", f"{base}/services/data").json()[-1]["version"] == "68.0"
    assert code(pool.request("GET", f"{base}/services/data/v20.0/limits").json()) == "UNSUPPORTED_API_VERSION"
    assert pool.request("GET", f"{base}/nowhere").status == 404
