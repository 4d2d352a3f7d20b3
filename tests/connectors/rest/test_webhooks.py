"""Webhooks: every kind of signature lets the right call in, no other, and says of a call only what is in it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors.rest.webhooks import answer
from engine.sdk.config import Secret
from engine.sdk.library import library_folder
from engine.sdk.manifest import Manifest
from engine.sdk.manifest_webhooks import Webhooks
from engine.sdk.webhook import WebhookAnswer, WebhookRequest

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECONDS = str(int(NOW.timestamp()))
BODY = b'{"id": "e1", "type": "project.changed", "data": {"id": 42, "at": "2026-01-01T00:00:00Z"}}'
SECRET, OTHER = "s3cr3t", "n3w"
STANDARD = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
SETTINGS: dict[str, Any] = {
    "secret": Secret(SECRET), "next": Secret(OTHER), "standard": Secret(STANDARD), "user": "crosswalk",
    "public": "https://hooks.example", "organization": "00D000000000001AAA",
}  # fmt: skip


def digest(text: bytes, secret: str = SECRET, encoding: str = "hex") -> str:
    found = hmac.new(secret.encode(), text, hashlib.sha256)
    return found.hexdigest() if encoding == "hex" else base64.b64encode(found.digest()).decode()


def rsa() -> tuple[str, Callable[[bytes], str]]:
    """A public key, and what signs for it."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

    key = generate_private_key(65537, 2048)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()  # fmt: skip
    return public, lambda body: base64.b64encode(key.sign(body, padding.PKCS1v15(), hashes.SHA256())).decode()


def ed25519() -> tuple[str, Callable[[bytes], str]]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    return f"whpk_{public}", lambda text: base64.b64encode(key.sign(text)).decode()


PEM, sign_rsa = rsa()
WHPK, sign_ed25519 = ed25519()
SETTINGS |= {"pem": Secret(PEM), "whpk": Secret(WHPK)}


def spec(verify: dict[str, Any], **more: Any) -> Webhooks:
    return Webhooks.model_validate({"verify": verify, **more})


def request(
    headers: dict[str, str], body: bytes = BODY, query: dict[str, str] | None = None, method: str = "POST"
) -> WebhookRequest:
    return WebhookRequest(
        method, "/hooks/acme", {name.lower(): one for name, one in headers.items()}, body, NOW, query or {}
    )


KINDS: dict[str, tuple[dict[str, Any], Callable[[bytes, str], dict[str, str]]]] = {
    "hex": ({"kind": "hmac_sha256", "header": "x-sign", "secret": "secret"}, lambda body, now: {"x-sign": digest(body)}),
    "prefix": ({"kind": "hmac_sha256", "header": "x-hub-signature-256", "secret": "secret", "prefix": "sha256="},
               lambda body, now: {"x-hub-signature-256": f"sha256={digest(body)}"}),
    "base64": ({"kind": "hmac_sha256", "header": "x-sign", "secret": "secret", "encoding": "base64"},
               lambda body, now: {"x-sign": digest(body, encoding="base64")}),
    "parts": ({"kind": "hmac_sha256", "header": "sign", "secret": "secret", "part": "v1", "timestamp": {"part": "t"}, "signed": "{timestamp}.{body}"},
              lambda body, now: {"sign": f"t={now},v1={digest(now.encode() + b'.' + body)}"}),
    "body first": ({"kind": "hmac_sha256", "header": "x-bamboohr-signature", "secret": "secret", "signed": "{body}{timestamp}",
                    "timestamp": {"header": "x-bamboohr-timestamp", "form": "any"}},
                   lambda body, now: {"x-bamboohr-timestamp": now, "x-bamboohr-signature": digest(body + now.encode())}),
    "standard": ({"kind": "standard_webhooks", "secret": "standard"}, lambda body, now: {
        "webhook-id": "msg_1", "webhook-timestamp": now, "webhook-signature": "v1," + base64.b64encode(hmac.new(
            base64.b64decode(STANDARD[6:]), b"msg_1." + now.encode() + b"." + body, hashlib.sha256).digest()).decode()}),
    "ed25519": ({"kind": "standard_webhooks", "secret": "whpk"}, lambda body, now: {
        "webhook-id": "msg_1", "webhook-timestamp": now, "webhook-signature": "v1a," + sign_ed25519(b"msg_1." + now.encode() + b"." + body)}),
    "hubspot": ({"kind": "hubspot_v3", "secret": "secret", "url": "public"}, lambda body, now: {
        "x-hubspot-request-timestamp": now + "000", "x-hubspot-signature-v3": digest(
            b"POSThttps://hooks.example/hooks/acme" + body + now.encode() + b"000", encoding="base64")}),
    "rsa": ({"kind": "rsa_sha256", "header": "concur-signature", "secret": "pem"}, lambda body, now: {"concur-signature": sign_rsa(body)}),
}  # fmt: skip
STAMPED = ("parts", "body first", "standard", "ed25519", "hubspot")


def taken(kind: str, headers: dict[str, str], body: bytes = BODY, **more: Any) -> WebhookAnswer:
    return answer("acme", spec(KINDS[kind][0]), SETTINGS, request(headers, body, **more))


@pytest.mark.parametrize("kind", KINDS)
def test_the_right_signature_is_let_in_and_a_missing_one_is_not(kind: str) -> None:
    assert taken(kind, KINDS[kind][1](BODY, SECONDS)).state == "accepted"
    none = taken(kind, {})
    assert (none.state, none.status) == ("refused", 401)
    assert none.problem is not None and none.problem.code == "C557"


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(sorted(KINDS)), where=st.integers(0, 10**6), bit=st.integers(0, 7), data=st.data())
def test_law_any_flipped_bit_of_body_timestamp_or_signature_refuses(kind: str, where: int, bit: int, data: Any) -> None:
    headers = KINDS[kind][1](BODY, SECONDS)
    name = data.draw(st.sampled_from(["body", *headers]))
    if name == "body":
        spoiled = bytearray(BODY)
        spoiled[where % len(spoiled)] ^= 1 << bit
        found = taken(kind, headers, bytes(spoiled))
    else:
        text = headers[name]
        at = where % len(text)
        found = taken(kind, {**headers, name: text[:at] + chr(ord(text[at]) ^ (1 << bit)) + text[at + 1 :]})
    assert found.state == "refused" and found.events == ()


@pytest.mark.parametrize("kind", STAMPED)
@pytest.mark.parametrize("ago", [timedelta(minutes=6), -timedelta(minutes=6)])
def test_an_old_call_and_one_of_the_future_are_refused_though_rightly_signed(kind: str, ago: timedelta) -> None:
    headers = KINDS[kind][1](BODY, str(int((NOW - ago).timestamp())))
    assert taken(kind, headers).state == "refused"
    assert taken(kind, KINDS[kind][1](BODY, str(int((NOW - ago / 2).timestamp())))).state == "accepted"


@pytest.mark.parametrize("kind", STAMPED)
@pytest.mark.parametrize("stamp", ["", "x", "-1", "1e9", " 1767225600", "١٧٦٧٢٢٥٦٠٠", "9" * 14, "NaN"])
def test_a_timestamp_that_is_none_is_refused_though_rightly_signed(kind: str, stamp: str) -> None:
    assert taken(kind, KINDS[kind][1](BODY, stamp)).state == "refused"


def test_the_published_example_of_standard_webhooks() -> None:
    headers = {"webhook-id": "msg_test_1", "webhook-timestamp": "1767225600",
               "webhook-signature": "v1,chJoM4ZbaJwQ0SWObmhKN5r4TvpYVjdMSswCGjwMt/8="}  # fmt: skip
    body = b'{"type":"invoice.paid","data":{"id":"42"}}'
    found = taken("standard", headers, body)
    assert found.state == "accepted" and found.events[0].id == "msg_test_1"
    several = "v2,x v1,AAAA " + headers["webhook-signature"]
    assert taken("standard", {**headers, "webhook-signature": several}, body).state == "accepted"
    assert taken("standard", {**headers, "webhook-id": "msg_test_2"}, body).state == "refused"


def test_while_secrets_change_both_count_and_without_any_nothing_does() -> None:
    verify = {"kind": "hmac_sha256", "header": "x-sign", "secret": ["secret", "next"]}
    for secret in (SECRET, OTHER):
        assert answer("acme", spec(verify), SETTINGS, request({"x-sign": digest(BODY, secret)})).state == "accepted"
    assert answer("acme", spec(verify), SETTINGS, request({"x-sign": digest(BODY, "third")})).state == "refused"
    for empty in ({}, {"secret": None}, {"secret": Secret("")}):
        assert answer("acme", spec(verify), empty, request({"x-sign": digest(BODY, "")})).state == "refused"


@pytest.mark.parametrize(
    ("verify", "headers", "query"),
    [
        ({"kind": "token", "header": "x-token", "secret": "secret"}, {"x-token": SECRET}, {}),
        ({"kind": "token", "header": "authorization", "prefix": "Bearer ", "secret": "secret"}, {"authorization": f"Bearer {SECRET}"}, {}),
        ({"kind": "token", "query": "code", "secret": "secret"}, {}, {"code": SECRET}),
        ({"kind": "basic", "user": "user", "secret": "secret"}, {"authorization": "Basic " + base64.b64encode(b"crosswalk:s3cr3t").decode()}, {}),
    ],
)  # fmt: skip
def test_tokens_and_passwords(verify: dict[str, Any], headers: dict[str, str], query: dict[str, str]) -> None:
    assert answer("acme", spec(verify), SETTINGS, request(headers, query=query)).state == "accepted"
    for wrong in ("", "s3cr3", "s3cr3t ", "S3CR3T"):
        swapped = {name: one.replace(SECRET, wrong) for name, one in headers.items()}
        if verify["kind"] == "basic":
            swapped = {"authorization": "Basic " + base64.b64encode(f"crosswalk:{wrong}".encode()).decode()}
        given = dict.fromkeys(query, wrong)
        assert answer("acme", spec(verify), SETTINGS, request(swapped, query=given)).state == "refused"


def test_a_token_in_the_body_has_to_stand_at_every_event() -> None:
    verify = {"kind": "body_token", "value": "body.value[].clientState", "secret": "secret"}

    def call(*states: Any) -> str:
        body = json.dumps({"value": [{"clientState": one} for one in states]}).encode()
        return answer("bc", spec(verify, events="body.value"), SETTINGS, request({}, body)).state

    assert call(SECRET, SECRET) == "accepted"
    assert call() == call(SECRET, "x") == call(SECRET, 7) == "refused"


def test_a_handshake_is_answered_and_tells_nothing() -> None:
    echo = spec(
        {"kind": "token", "query": "code", "secret": "secret"},
        handshake={"kind": "echo_query", "param": "validationToken"},
    )
    found = answer("bc", echo, SETTINGS, request({}, b"", {"validationToken": "opaque +/="}))
    assert (found.state, found.status, found.body, found.events) == ("handshake", 200, b"opaque +/=", ())
    assert found.headers["X-Content-Type-Options"] == "nosniff"
    for bad in ("a" * 3000, "a\r\nb", "é"):
        assert answer("bc", echo, SETTINGS, request({}, b"", {"validationToken": bad})).state == "refused"
    origin = spec({"kind": "token", "query": "code", "secret": "secret"}, handshake={"kind": "origin"})
    found = answer("sap", origin, SETTINGS, request({"WebHook-Request-Origin": "sap.example"}, b"", method="OPTIONS"))
    assert (found.state, found.headers["WebHook-Allowed-Origin"]) == ("handshake", "sap.example")
    assert answer("sap", origin, SETTINGS, request({}, b"", method="OPTIONS")).status == 405


UNSIGNED: dict[str, Any] = {"verify": {"kind": "none"}, "unsigned": "allow"}


def read(body: bytes, **more: Any) -> WebhookAnswer:
    return answer("acme", Webhooks.model_validate({**UNSIGNED, **more}), {}, request({}, body))


def test_a_call_says_which_records_and_its_payload_is_a_hint() -> None:
    hooks = {"event_id": "body.id", "key": "body.data.id", "at": "body.data.at", "record": "body.data",
             "object": {"from": "body.type", "values": {"project.changed": "projects"}}}  # fmt: skip
    (event,) = read(BODY, **hooks).events
    assert (event.id, event.object, event.key, event.at) == ("e1", "projects", "42", "2026-01-01T00:00:00Z")
    assert event.record is None and not event.deleted
    (event,) = read(BODY, **hooks, complete=True).events
    assert event.record == {"id": 42, "at": "2026-01-01T00:00:00Z"}
    (event,) = read(BODY.replace(b'"at"', b'"when"'), **hooks, complete=True).events
    assert event.record is None and event.at is None, "without its version it is read again"
    many = b'[{"objectId": 7, "occurredAt": 1767225600123, "type": "deletion"}, {"objectId": true}, {"objectId": 1.5}]'
    found = read(
        many,
        events="body",
        key="event.objectId",
        at="event.occurredAt",
        at_form="epoch_ms",
        deleted="event.type == 'deletion'",
    ).events
    assert [(one.key, one.at, one.deleted) for one in found] == [("7", "2026-01-01T00:00:00.123000Z", True), (None, None, False), (None, None, False)]  # fmt: skip
    (event,) = read(b"a=1&id=7", format="form", key="body.id").events
    assert event.key == "7"


@pytest.mark.parametrize(
    ("body", "more"),
    [
        (b"", {}), (b"{", {}), (b'{"a":1,"a":2}', {}), (b"\xff", {}), (b"[" * 10_000, {}), (b'{"a": NaN}', {}),
        (b'{"a": 1}', {"events": "body.items"}), (b"[" + b"1," * 1001 + b"1]", {"events": "body"}),
        (b"a=1&a=2", {"format": "form"}), (b"a", {"format": "form"}), (b"\xff=1", {"format": "form"}),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_words_that_quote_nothing(body: bytes, more: dict[str, Any]) -> None:
    found = read(body, **more)
    assert (found.state, found.status) == ("refused", 400)
    assert found.problem is not None and found.problem.code == "C558"


@settings(max_examples=100, deadline=None)
@given(body=st.binary(max_size=120), headers=st.dictionaries(st.sampled_from(
    ["x-sign", "sign", "webhook-id", "webhook-timestamp", "webhook-signature", "authorization", "x-hubspot-signature-v3",
     "x-hubspot-request-timestamp", "concur-signature"]), st.text(max_size=20)), kind=st.sampled_from(sorted(KINDS)))  # fmt: skip
def test_law_whatever_a_stranger_sends_is_refused_without_an_error(
    body: bytes, headers: dict[str, str], kind: str
) -> None:
    assert answer("acme", spec(KINDS[kind][0]), SETTINGS, request(headers, body)).state == "refused"


SOAP = b"""<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<soapenv:Body><notifications xmlns="http://soap.sforce.com/2005/09/outbound"><OrganizationId>00D000000000001AAA</OrganizationId>
<ActionId>04k0</ActionId><SessionId xsi:nil="true"/><Notification><Id>04l1</Id>
<sObject xsi:type="sf:Account" xmlns:sf="urn:sobject.enterprise.soap.sforce.com"><sf:Id>001A</sf:Id><sf:Name>A</sf:Name>
<sf:LastModifiedDate>2026-01-01T00:00:00.000Z</sf:LastModifiedDate></sObject></Notification>
<Notification><Id>04l2</Id><sObject xsi:type="sf:Opportunity" xmlns:sf="urn:sobject.enterprise.soap.sforce.com"><sf:Id>006A</sf:Id></sObject>
</Notification></notifications></soapenv:Body></soapenv:Envelope>"""
OUTBOUND = {"kind": "outbound_message", "secret": "organization"}


def test_an_outbound_message_is_acknowledged_in_its_own_words() -> None:
    found = answer("crm", spec(OUTBOUND), SETTINGS, request({}, SOAP))
    assert [(one.id, one.object, one.key, one.record) for one in found.events] == [
        ("04l1", "Account", "001A", None), ("04l2", "Opportunity", "006A", None),
    ]  # fmt: skip
    assert found.status == 200 and b"<Ack>true</Ack>" in found.body
    short = {**SETTINGS, "organization": "00D000000000001"}
    assert answer("crm", spec(OUTBOUND), short, request({}, SOAP)).state == "accepted"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (SOAP.replace(b"00D000000000001", b"00D000000000002"), 401),
        (SOAP.replace(b"00D000000000001AAA", b""), 401),
        (SOAP.replace(b"<?xml", b"<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><?xml", 1), 400),
        (b"<!DOCTYPE x [<!ENTITY a 'b'>]>" + SOAP.split(b"?>", 1)[1], 400),
        (SOAP[:-20], 400),
        (b"<a/>", 400),
        (b"", 400),
        (b"<a>" * 5000, 400),
    ],
)  # fmt: skip
def test_a_message_of_somebody_else_or_with_a_dtd_is_refused(body: bytes, status: int) -> None:
    found = answer("crm", spec(OUTBOUND), SETTINGS, request({}, body))
    assert (found.state, found.status, found.events) == ("refused", status, ())


@pytest.mark.parametrize(
    "hooks",
    [
        {"verify": {"kind": "none"}},
        {"verify": {"kind": "hmac_sha256", "header": "x"}},
        {"verify": {"kind": "hmac_sha256", "secret": "s"}},
        {"verify": {"kind": "hmac_sha256", "header": "x", "secret": "s", "signed": "{timestamp}"}},
        {"verify": {"kind": "hmac_sha256", "header": "x", "secret": "s", "timestamp": {"header": "t"}}},
        {"verify": {"kind": "hmac_sha256", "header": "x", "secret": "s", "signed": "{timestamp}{body}"}},
        {"verify": {"kind": "hmac_sha256", "header": "x", "secret": "s", "signed": "{url}{body}"}},
        {"verify": {"kind": "hmac_sha256", "header": "x", "secret": "s", "signed": "{bdy}"}},
        {"verify": {"kind": "hmac_sha1", "header": "x", "secret": "s"}},
        {"verify": {"kind": "token", "secret": "s"}},
        {"verify": {"kind": "basic", "secret": "s"}},
        {"verify": {"kind": "body_token", "secret": "s"}},
        {"verify": {"kind": "hubspot_v3", "secret": "s"}},
        {**UNSIGNED, "complete": True},
        {**UNSIGNED, "complete": True, "record": "body"},
        {**UNSIGNED, "handshake": {"kind": "echo_query"}},
    ],
)
def test_a_manifest_that_would_let_strangers_in_is_refused(hooks: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Webhooks.model_validate(hooks)


def test_a_manifest_names_its_secrets_among_its_settings() -> None:
    given = {"connector": "a", "base": "https://a.example", "objects": {},
             "webhooks": {"verify": {"kind": "token", "header": "x", "secret": "webhook_secret"}}}  # fmt: skip
    with pytest.raises(ValidationError, match="webhook_secret"):
        Manifest.model_validate(given)
    Manifest.model_validate({**given, "settings": {"webhook_secret": {"doc": "Secret of webhooks"}}})


def test_the_library_has_no_manifest_that_takes_unsigned_calls() -> None:
    for path in sorted((library_folder() / "connectors/manifests").glob("*.yaml")):
        assert "unsigned: allow" not in path.read_text(), path.name
