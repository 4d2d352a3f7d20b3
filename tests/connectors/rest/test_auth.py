"""Credentials by kind, against servers that check them with other people's libraries; tokens under many threads."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from oauthlib.oauth1 import RequestValidator, ResourceEndpoint

from connectors.rest.connector import RestConnector
from connectors.sandbox.server import Reply, Request
from engine.sdk.config import Secret
from engine.sdk.connector import Operation, Read
from engine.sdk.errors import ConnectorError
from tests.connectors.rest.conftest import Connect, Serve

THINGS = """
connector: x
settings: { url: { required: true }, tokens: {} }
base: "{url}/api"
auth: AUTH
message: body.error
errors: [{ when: "status == `401`", do: refresh_then_retry }]
page: { kind: next_url, next: body.next }
objects:
  things:
    read: { get: /things, records: body.items }
    create: { post: /things, body: "@record", id: body.id }
"""
CLIENT = {"client_id": "me", "client_secret": Secret("SEKRET")}


class Tokens:
    """A system with OAuth 2.0: gives tokens, counts what it is asked, knows which tokens are good."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.good: set[str] = set()
        self.replies: list[Reply] = []
        self.refresh = "r0"
        self.rotate = False
        self.pages = 1
        self.kill_before: str | None = None
        self.lock = threading.Lock()
        self.more: dict[str, Any] = {}

    def __call__(self, request: Request) -> Reply:
        if request.path == "/token":
            return self.token(request)
        if self.kill_before and request.query.get("page") == self.kill_before:
            self.kill_before = None
            self.good.clear()
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.good:
            return Reply(401, {"error": "expired"})
        page = int(request.query.get("page", 1))
        following = f"/api/things?page={page + 1}" if page < self.pages else None
        return Reply(200, {"items": [{"id": page}], "next": following, "id": "new"})

    def token(self, request: Request) -> Reply:
        with self.lock:
            self.asked.append(request)
            time.sleep(0.02)
            if self.replies:
                return self.replies.pop(0)
            form = request.form()
            if form["grant_type"] == "refresh_token":
                if form["refresh_token"] != self.refresh:
                    return Reply(400, {"error": "invalid_grant"})
                if self.rotate:
                    self.refresh = f"r{len(self.asked)}"
            token = f"t{len(self.asked)}"
            self.good = {token}
            also = {"refresh_token": self.refresh} if self.rotate else {}
            return Reply(200, {"access_token": token, "token_type": "bearer", **also, **self.more})


def opened(connect: Connect, url: str, how: str, **given: Any) -> RestConnector:
    credentials = {**CLIENT, **given.pop("auth", {})}
    return connect(THINGS.replace("AUTH", how), url=url, auth=credentials, **given)


def keys(connector: RestConnector) -> list[str]:
    return [one.key for batch in connector.read(Read("things")) for one in batch.records]


CREDENTIALS = '{ kinds: [oauth2_client_credentials], token_url: "{url}/token", scope: "a b" }'


@pytest.mark.parametrize("where", ["header", "body"])
def test_client_credentials_in_the_header_or_the_form(connect: Connect, serve: Serve, where: str) -> None:
    tokens = Tokens()
    auth = f"{CREDENTIALS[:-1]}, client: {where}, params: {{ tenant: t1 }} }}"
    assert keys(opened(connect, serve(tokens).url, auth)) == ["1"]
    (asked,) = tokens.asked
    form = asked.form()
    assert (form["grant_type"], form["scope"], form["tenant"]) == ("client_credentials", "a b", "t1")
    assert (form.get("client_secret") == "SEKRET") == (where == "body")
    assert asked.headers.get("authorization") == (None if where == "body" else "Basic bWU6U0VLUkVU")


def test_the_token_address_may_be_another_host(connect: Connect, serve: Serve) -> None:
    tokens = Tokens()
    login, system = serve(tokens), serve(tokens)
    auth = '{ kinds: [oauth2_client_credentials], token_url: "{tokens}/token" }'
    assert keys(opened(connect, system.url, auth, tokens=login.url)) == ["1"]
    assert tokens.asked[0].url.startswith(login.url)


def test_twenty_threads_with_a_dead_token_ask_for_one(connect: Connect, serve: Serve) -> None:
    tokens = Tokens()
    connector = opened(connect, serve(tokens).url, CREDENTIALS, limits={"concurrency": 20})
    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(lambda _: keys(connector), range(20))) == [["1"]] * 20
        assert len(tokens.asked) == 1
        tokens.good.clear()
        assert list(pool.map(lambda _: keys(connector), range(20))) == [["1"]] * 20
    assert len(tokens.asked) == 2


def test_a_token_that_dies_between_pages_loses_and_doubles_nothing(connect: Connect, serve: Serve) -> None:
    tokens = Tokens()
    tokens.pages, tokens.kill_before = 5, "3"
    assert keys(opened(connect, serve(tokens).url, CREDENTIALS)) == ["1", "2", "3", "4", "5"]
    assert len(tokens.asked) == 2


@pytest.mark.parametrize(("given", "asked"), [("1", 2), (1, 2), ("3600", 1), (None, 1), ("soon", 1)])
def test_a_token_is_renewed_before_it_ends(connect: Connect, serve: Serve, given: Any, asked: int) -> None:
    tokens = Tokens()
    tokens.more = {"expires_in": given}
    connector = opened(connect, serve(tokens).url, CREDENTIALS)
    keys(connector)
    time.sleep(0.95)
    keys(connector)
    assert len(tokens.asked) == asked


def test_a_refused_client_is_told_without_its_secret_and_not_tried_again(connect: Connect, serve: Serve) -> None:
    tokens = Tokens()
    tokens.replies = [Reply(401, {"error": "invalid_client", "error_description": "wrong secret SEKRET for me"})] * 9
    connector = opened(connect, serve(tokens).url, CREDENTIALS, retries=5)
    for _ in range(3):
        with pytest.raises(ConnectorError, match="C521.*no token: wrong secret •••• for me") as caught:
            keys(connector)
        assert caught.value.trouble == "auth" and "SEKRET" not in repr(caught.value)
    assert len(tokens.asked) == 1  # more tries would lock the user out


def test_a_write_without_a_token_blames_no_record(connect: Connect, serve: Serve) -> None:
    tokens = Tokens()
    tokens.replies = [Reply(400, {"error": "invalid_grant"})] * 9
    connector = opened(connect, serve(tokens).url, CREDENTIALS)
    with pytest.raises(ConnectorError, match="C521"):
        connector.write("things", [Operation(str(n), "create", {}) for n in range(9)])
    assert len(tokens.asked) == 1


def test_a_write_after_which_credentials_died_stops_and_keeps_what_was_done(connect: Connect, serve: Serve) -> None:
    tokens = Tokens()
    count = [0]

    def handle(request: Request) -> Reply:
        if request.path != "/token":
            count[0] += 1
            if count[0] > 2:
                tokens.good.clear()
                tokens.replies = [Reply(400, {"error": "invalid_grant"})]
        return tokens(request)

    connector = opened(connect, serve(handle).url, CREDENTIALS, limits={"concurrency": 1})
    outcomes = connector.write("things", [Operation(str(n), "create", {}) for n in range(6)])
    assert [one.state for one in outcomes] == ["created", "created", "retry", "retry", "retry", "retry"]
    assert count[0] == 3


def test_a_token_address_that_is_busy_is_asked_again_and_a_write_is_not_in_doubt_for_it(
    connect: Connect, serve: Serve
) -> None:
    tokens = Tokens()
    tokens.replies = [Reply(503, {})]
    assert keys(opened(connect, serve(tokens).url, CREDENTIALS)) == ["1"]
    tokens.replies = [Reply(503, {})] * 9
    (outcome,) = opened(connect, serve(tokens).url, CREDENTIALS).write("things", [Operation("a", "create", {})])
    assert outcome.state == "retry"


@pytest.mark.parametrize("kept", [True, False])
def test_a_refresh_token_that_changes_is_kept(connect: Connect, serve: Serve, tmp_path: Path, kept: bool) -> None:
    tokens = Tokens()
    tokens.rotate = True
    url = serve(tokens).url
    auth = '{ kinds: [oauth2_refresh_token], token_url: "{url}/token" }'
    file = tmp_path / "private" / "refresh"
    given = {"refresh_token": Secret("r0"), **({"refresh_token_file": str(file)} if kept else {})}
    connector = opened(connect, url, auth, auth=given)
    assert keys(connector) == ["1"]
    tokens.good.clear()
    assert keys(connector) == ["1"]  # with the new one, in this process at least
    again = opened(connect, url, auth, auth=given)
    if kept:
        assert keys(again) == ["1"] and file.read_text() == tokens.refresh
        assert file.stat().st_mode & 0o077 == 0
    else:
        with pytest.raises(ConnectorError, match="C521"):
            keys(again)


def pem(key: Any) -> str:
    form = serialization.PrivateFormat.PKCS8
    return str(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode())


@pytest.mark.parametrize("way", ["grant", "client"])
@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"])
def test_assertions_hold_by_another_library(connect: Connect, serve: Serve, algorithm: str, way: str) -> None:
    curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    key: Any = (
        ec.generate_private_key(curves[algorithm]) if algorithm in curves else rsa.generate_private_key(65537, 2048)
    )
    tokens = Tokens()
    url = serve(tokens).url
    kind = "oauth2_jwt_bearer" if way == "grant" else "oauth2_client_credentials"
    auth = f'{{ kinds: [{kind}], token_url: "{{url}}/token", scope: "a b", algorithm: {algorithm}, assertion: {way} }}'
    given = {"private_key": Secret(pem(key)), "username": "ada", "key_id": "k1"}
    assert keys(opened(connect, url, auth, auth=given)) == ["1"]
    form = tokens.asked[0].form()
    text = form["assertion" if way == "grant" else "client_assertion"]
    claims = jwt.decode(text, key.public_key(), algorithms=[algorithm], audience=f"{url}/token", issuer="me",
                        options={"require": ["exp", "iat", "jti"]})  # fmt: skip
    assert jwt.get_unverified_header(text)["kid"] == "k1" and claims["exp"] - claims["iat"] <= 180
    assert claims.get("sub") == ("ada" if way == "grant" else None)
    assert claims.get("scope") == (["a", "b"] if way == "client" else None)


@pytest.mark.parametrize(
    ("algorithm", "key", "why"),
    [("ES256", "no key", "not a PEM key"), ("ES256", "rsa", "does not fit ES256"), ("PS256", "ec", "does not fit PS256"), ("ES256", "p384", "secp256r1")],
)  # fmt: skip
def test_keys_that_do_not_fit_say_which_do(connect: Connect, serve: Serve, algorithm: str, key: str, why: str) -> None:
    made = {"rsa": lambda: pem(rsa.generate_private_key(65537, 2048)), "ec": lambda: pem(ec.generate_private_key(ec.SECP256R1())),
            "p384": lambda: pem(ec.generate_private_key(ec.SECP384R1()))}  # fmt: skip
    auth = f'{{ kinds: [oauth2_jwt_bearer], token_url: "{{url}}/token", algorithm: {algorithm} }}'
    text = made[key]() if key in made else key
    with pytest.raises(ConnectorError, match="C520") as caught:
        keys(opened(connect, serve(Tokens()).url, auth, auth={"private_key": Secret(text), "username": "a"}))
    assert why in str(caught.value) and (len(text) < 60 or text[30:60] not in str(caught.value))


def test_the_reply_may_name_the_address_to_call(connect: Connect, serve: Serve) -> None:
    tokens = Tokens()
    home, login = serve(tokens), serve(tokens)
    tokens.more = {"instance_url": home.url}
    auth = '{ kinds: [oauth2_client_credentials], token_url: "{tokens}/token", instance: body.instance_url }'
    connector = opened(connect, "http://127.0.0.1:1", auth, tokens=login.url)
    assert keys(connector) == ["1"] and connector.client.base == f"{home.url}/api"
    tokens.more = {"instance_url": "http://169.254.169.254"}
    with pytest.raises(ConnectorError, match="C518"):
        keys(opened(connect, "http://127.0.0.1:1", auth, tokens=login.url))


class Validator(RequestValidator):
    """What a server of OAuth 1.0a must know, for oauthlib's own verification."""

    enforce_ssl = False
    nonces: set[str] = set()

    @property
    def client_key_length(self) -> tuple[int, int]:
        return (2, 40)

    access_token_length = nonce_length = client_key_length

    def validate_client_key(self, client_key: str, request: Any) -> bool:
        return client_key == "ck1"

    def validate_access_token(self, client_key: str, token: str, request: Any) -> bool:
        return token == "tk1"

    def validate_timestamp_and_nonce(self, *given: Any, **_: Any) -> bool:
        fresh = given[2] not in self.nonces
        self.nonces.add(given[2])
        return fresh

    def validate_realms(self, *_: Any, **__: Any) -> bool:
        return True

    def get_client_secret(self, client_key: str, request: Any) -> str:
        return "cs &+/é"

    def get_access_token_secret(self, client_key: str, token: str, request: Any) -> str:
        return "ts=%20"


def test_signatures_of_oauth_1_hold_by_another_library(connect: Connect, serve: Serve) -> None:
    endpoint = ResourceEndpoint(Validator())
    refused: list[str] = []

    def handle(request: Request) -> Reply:
        good, _ = endpoint.validate_protected_resource_request(
            request.url,
            request.method,
            None if "json" in request.headers.get("content-type", "") else request.data,
            request.headers,
        )
        if not good:
            refused.append(request.url)
            return Reply(401, {"error": "bad signature"})
        assert 'realm="123_SB1"' in request.headers["authorization"]
        return Reply(200, {"items": [{"id": 1}], "next": None, "id": "1"})

    auth = "{ kinds: [oauth1_tba], realm: '123_SB1' }"
    secrets = {
        "consumer_key": "ck1",
        "consumer_secret": Secret("cs &+/é"),
        "token": "tk1",
        "token_secret": Secret("ts=%20"),
    }
    connector = opened(connect, serve(handle).url, auth, auth=secrets)
    read = Read("things", query={"q": "SELECT 'é & ü' FROM x WHERE a = ? -- +%20", "b": "~*()!'", "empty": ""})
    assert [one.key for batch in connector.read(read) for one in batch.records] == ["1"]
    (made,) = connector.write("things", [Operation("a", "create", {"name": "x & y"})])
    assert made.state == "created" and refused == []
    wrong = opened(connect, serve(handle).url, auth, auth={**secrets, "token_secret": Secret("other")})
    with pytest.raises(ConnectorError, match="C521.*bad signature"):
        keys(wrong)


@pytest.mark.parametrize(
    ("auth", "given", "header", "value"),
    [
        ("{ kinds: [bearer] }", {"token": Secret("abc")}, "authorization", "Bearer abc"),
        ("{ kinds: [bearer], header: X-Token, prefix: '' }", {"token": "abc"}, "x-token", "abc"),
        ("{ kinds: [api_key], header: APIKey }", {"api_key": "abc"}, "apikey", "abc"),
        ("{ kinds: [basic] }", {"username": "é", "password": "x:y"}, "authorization", "Basic w6k6eDp5"),
    ],
)  # fmt: skip
def test_plain_credentials(connect: Connect, serve: Serve, auth: str, given: Any, header: str, value: str) -> None:
    seen: list[Request] = []
    system = serve(lambda request: seen.append(request) or Reply(200, {"items": [], "next": None}))  # type: ignore[func-returns-value]
    assert keys(opened(connect, system.url, auth, auth=given)) == []
    assert seen[0].headers[header] == value


def test_fixed_credentials_that_are_refused_are_sent_once(connect: Connect, serve: Serve) -> None:
    calls: list[int] = []
    system = serve(lambda _: calls.append(1) or Reply(401, {"error": "locked"}))  # type: ignore[func-returns-value]
    with pytest.raises(ConnectorError, match="C521.*locked"):
        keys(opened(connect, system.url, "{ kinds: [basic] }", auth={"username": "a", "password": "b"}, retries=5))
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        ("bearer", "token"),
        ("basic", "username"),
        ("oauth1_tba", "consumer_key"),
        ("oauth2_refresh_token", "refresh_token"),
    ],
)
def test_a_missing_credential_is_named(connect: Connect, serve: Serve, kind: str, missing: str) -> None:
    auth = f'{{ kinds: [{kind}], token_url: "{{url}}/token" }}'
    with pytest.raises(ConnectorError, match=f"C520.*auth.{missing}"):
        keys(connect(THINGS.replace("AUTH", auth), url=serve(Tokens()).url))


def test_a_read_without_tokens_asks_as_often_as_it_may_and_a_check_once(connect: Connect, serve: Serve) -> None:
    tokens = Tokens()
    tokens.replies = [Reply(503, {"error": "busy"})] * 99
    text = THINGS.replace("AUTH", CREDENTIALS) + "check: { get: /me }\n"
    connector = connect(text, url=serve(tokens).url, auth=CLIENT, retries=3)
    with pytest.raises(ConnectorError, match="C521.*busy"):
        keys(connector)
    assert len(tokens.asked) == 4
    (finding,) = connector.check()
    assert not finding.ok and "busy" in finding.what and len(tokens.asked) == 5


def test_why_the_breaker_opened_is_told_by_the_call_that_opened_it(connect: Connect) -> None:
    manifest = (
        'connector: x\nbase: "http://127.0.0.1:9"\nobjects: { things: { read: { get: /things, records: body } } }\n'
    )
    connector = connect(manifest, retries=9, breaker={"of": 4})
    with pytest.raises(ConnectorError, match="C510"):
        keys(connector)
    with pytest.raises(ConnectorError, match="C517"):
        keys(connector)
