"""The fakes held to third-party clients: what works there works here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import urllib3
from requests_oauthlib import OAuth1Session
from simple_salesforce import Salesforce
from simple_salesforce.exceptions import SalesforceMalformedRequest, SalesforceResourceNotFound

from connectors.sandbox import Sandbox, start


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with start() as running:
        yield running


@pytest.fixture
def salesforce(sandbox: Sandbox) -> Iterator[Salesforce]:
    given = sandbox.credentials("salesforce")
    pool = urllib3.PoolManager()
    form = {"grant_type": "client_credentials", **given}
    reply = pool.request_encode_body(
        "POST", f"{sandbox.url('salesforce')}/services/oauth2/token", fields=form, encode_multipart=False
    )
    client = Salesforce(instance_url=sandbox.url("salesforce"), session_id=reply.json()["access_token"], version="66.0")
    client.base_url = f"{sandbox.url('salesforce')}/services/data/v66.0/"
    yield client
    client.session.close()
    pool.clear()


def test_soql_as_simple_salesforce_asks_it(salesforce: Salesforce) -> None:
    assert salesforce.query("SELECT COUNT() FROM Account")["totalSize"] == 40
    rows = salesforce.query_all(
        "SELECT Id, Name, Owner.Name FROM Account WHERE (Name LIKE 'H%' OR Industry = 'Foods') ORDER BY Name DESC LIMIT 3"
    )
    assert rows["done"] and [row["attributes"]["type"] for row in rows["records"]] == ["Account"] * 3
    assert rows["records"][0]["Owner"]["Name"].startswith("Seller")
    with pytest.raises(SalesforceMalformedRequest, match="INVALID_FIELD"):
        salesforce.query("SELECT Nope FROM Account")
    with pytest.raises(SalesforceMalformedRequest, match="MALFORMED_QUERY"):
        salesforce.query("SELECT Id FROM Account WHERE")


def test_rows_as_simple_salesforce_writes_them(sandbox: Sandbox, salesforce: Salesforce) -> None:
    contact = salesforce.__getattr__("Contact")
    contact.base_url = f"{salesforce.base_url}sobjects/Contact/"
    made = contact.create({"LastName": "Berg", "Crosswalk_Id__c": "x1"})
    assert made["success"]
    assert contact.upsert("Crosswalk_Id__c/x1", {"LastName": "Bergen"}) == 200
    assert contact.upsert("Crosswalk_Id__c/x2", {"LastName": "Costa"}) == 201
    assert contact.get(made["id"])["LastName"] == "Bergen"
    with pytest.raises(SalesforceMalformedRequest, match="REQUIRED_FIELD_MISSING"):
        contact.create({"FirstName": "x"})
    with pytest.raises(SalesforceMalformedRequest, match="DUPLICATE_VALUE"):
        contact.create({"LastName": "x", "Crosswalk_Id__c": "x1"})
    assert contact.delete(made["id"]) == 204
    with pytest.raises(SalesforceResourceNotFound, match="ENTITY_IS_DELETED"):
        contact.get(made["id"])
    assert [row[2] for row in sandbox.journal("salesforce")] == ["create", "update", "create", "delete"]


def session(sandbox: Sandbox, **other: str) -> OAuth1Session:
    given = {**sandbox.credentials("netsuite"), **other}
    return OAuth1Session(given["consumer_key"], given["consumer_secret"], given["token"], given["token_secret"],
                         signature_method="HMAC-SHA256", realm=given["account"])  # fmt: skip


def test_netsuite_takes_signatures_of_another_library_and_refuses_wrong_ones(sandbox: Sandbox) -> None:
    base = f"{sandbox.url('netsuite')}/services/rest"
    with session(sandbox) as client:
        made = client.post(
            f"{base}/record/v1/customer", json={"companyName": "Été", "subsidiary": {"id": "1"}, "externalId": "e1"}
        )
        assert made.status_code == 204 and made.headers["Location"].endswith("/5000")
        assert client.put(f"{base}/record/v1/customer/eid:e1", json={"phone": "1"}).status_code == 204
        assert client.get(f"{base}/record/v1/customer/eid:e1?fields=a&expandSubResources=true").json()["phone"] == "1"
        found = client.post(f"{base}/query/v1/suiteql?limit=5", json={"q": "SELECT id, companyname FROM customer WHERE id > ? ORDER BY id", "params": ["1"]},
                            headers={"Prefer": "transient"}).json()  # fmt: skip
        assert [row["id"] for row in found["items"]] == ["900", "5000"]
        assert client.post(f"{base}/query/v1/suiteql", json={"q": "SELECT id FROM customer"}).status_code == 400
        assert client.get(f"{base}/record/v1/customer/1").json()["o:errorDetails"][0]["o:errorCode"] == "NONEXISTENT_ID"
        late = client.post(f"{base}/record/v1/timeBill", json={"employee": {}, "hours": 1, "tranDate": "2026-01-01"})
        assert late.status_code == 400
    with session(sandbox, token_secret="other") as client:
        assert client.get(f"{base}/record/v1/customer/900").status_code == 401


def test_kantata_hides_pages_and_finds_by_reference(sandbox: Sandbox) -> None:
    pool = urllib3.PoolManager(headers={"Authorization": f"Bearer {sandbox.credentials('kantata')['token']}"})
    base = f"{sandbox.url('kantata')}/api/v1"
    shown = pool.request("GET", f"{base}/workspaces.json").json()
    everything = pool.request("GET", f"{base}/workspaces?include_archived=true").json()
    assert everything["count"] == shown["count"] + 1 and "12" not in shown["workspaces"]
    page = pool.request("GET", f"{base}/time_entries?per_page=50&page=2&order=id:asc").json()
    assert (
        page["meta"]["page_number"] == 2
        and len(page["results"]) == 50
        and "user_id" not in next(iter(page["time_entries"].values()))
    )
    reference = {"service_name": "s", "service_model": "m", "service_model_ref": "r1"}
    body = {"workspace_group": {"name": "New", "external_reference": reference}}
    made = pool.request("POST", f"{base}/workspace_groups", json=body)
    assert made.status == 200
    found = pool.request(
        "GET", f"{base}/workspace_groups?external_reference_service_name=s&external_reference_service_model_refs=r1,r2"
    ).json()
    assert [row["id"] for row in found["results"]] == [made.json()["results"][0]["id"]]
    assert (
        pool.request("POST", f"{base}/time_entries", json={"time_entry": {}}).json()["errors"][0]["field"]
        == "workspace_id"
    )
    assert pool.request("GET", f"{base}/users", headers={"Authorization": "Bearer x"}).status == 401
    locked = next(one["id"] for one in sandbox.all("kantata", "time_entries") if one["approved"])
    assert pool.request("PUT", f"{base}/time_entries/{locked}", json={"time_entry": {"notes": "x"}}).status == 422
    pool.clear()


def test_the_data_is_the_same_for_the_same_seed_and_stays_in_its_folder(tmp_path: object) -> None:
    with start(tmp_path) as first, start() as second:  # type: ignore[arg-type]
        assert first.all("kantata", "time_entries") == second.all("kantata", "time_entries")
        first.set("salesforce", "Account", "001000000000001AAA", {"Phone": "1"})
    with start(tmp_path) as again:  # type: ignore[arg-type]
        account = again.get("salesforce", "Account", "001000000000001AAA")
        assert account is not None and account["Phone"] == "1"
