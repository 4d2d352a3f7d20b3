"""Running fakes for the tests of the sandbox, and plain clients on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import urllib3
from requests_oauthlib import OAuth1Session

from connectors.sandbox import Sandbox, start

Call = Callable[..., tuple[int, Any]]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with start() as running:
        yield running


@pytest.fixture
def pool() -> Iterator[urllib3.PoolManager]:
    made = urllib3.PoolManager(retries=False)
    yield made
    made.clear()


@pytest.fixture
def kantata(sandbox: Sandbox, pool: urllib3.PoolManager) -> Call:
    """call("GET", "/workspaces", **query_or_json) gives (status, body)."""
    base = f"{sandbox.url('kantata')}/api/v1"
    headers = {"Authorization": f"Bearer {sandbox.credentials('kantata')['token']}"}

    def call(method: str, path: str, body: Any = None, **query: str) -> tuple[int, Any]:
        more: dict[str, Any] = {"json": body} if body is not None else {"fields": query}
        reply = pool.request(method, base + path, headers=headers, **more)
        return reply.status, reply.json() if reply.data else None

    return call


@pytest.fixture
def salesforce(sandbox: Sandbox, pool: urllib3.PoolManager) -> Call:
    """The same for Salesforce, below /services/data/v66.0."""
    base = sandbox.url("salesforce")
    form = {"grant_type": "client_credentials", **sandbox.credentials("salesforce")}
    made = pool.request("POST", f"{base}/services/oauth2/token", fields=form, encode_multipart=False)
    headers = {"Authorization": f"Bearer {made.json()['access_token']}"}

    def call(
        method: str, path: str, body: Any = None, also: dict[str, str] | None = None, **query: str
    ) -> tuple[int, Any]:
        more: dict[str, Any] = {"body": body} if isinstance(body, bytes) else {"json": body} if body is not None else {}
        if query:
            more["fields"] = query
        reply = pool.request(method, f"{base}/services/data/v66.0{path}", headers={**headers, **(also or {})}, **more)
        text = reply.headers.get("Content-Type", "").startswith("text/")
        return reply.status, reply.data.decode() if text else reply.json() if reply.data else None

    return call


@pytest.fixture
def netsuite(sandbox: Sandbox) -> Iterator[Call]:
    """The same for NetSuite, below /services/rest, signed by requests-oauthlib; (status, body or Location)."""
    given = sandbox.credentials("netsuite")
    session = OAuth1Session(
        given["consumer_key"], given["consumer_secret"], given["token"], given["token_secret"], realm=given["account"],
        signature_method="HMAC-SHA256",
    )  # fmt: skip

    def call(
        method: str, path: str, body: Any = None, also: dict[str, str] | None = None, **query: str
    ) -> tuple[int, Any]:
        url = f"{sandbox.url('netsuite')}/services/rest{path}"
        reply = session.request(method, url, params=query or None, json=body, headers=also)
        where = reply.headers.get("Location")
        return reply.status_code, reply.json() if reply.content else where

    yield call
    session.close()
