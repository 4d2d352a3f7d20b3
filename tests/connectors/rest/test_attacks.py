"""Answers and addresses that mean harm, or are merely broken: each ends in time, with a clear error, and leaks nothing."""

from __future__ import annotations

import gzip
import ipaddress
import itertools
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from connectors.rest.connector import RestConnector
from connectors.sandbox.server import Reply, Request
from engine.sdk import http
from engine.sdk.addresses import ForbiddenAddress, allowed, host_of, inner
from engine.sdk.connector import Operation, Read
from engine.sdk.errors import ConnectorError
from tests.connectors.rest.conftest import Connect, Raw, Serve

THINGS = """
connector: x
settings: { url: { required: true } }
base: "{url}"
auth: { kinds: [api_key], header: X-API-Key }
message: body.error
page: PAGE
objects:
  things:
    read: { get: /things, records: "not_null(body.items, body)" }
    create: { post: /things, body: "@record", id: body.id }
"""
KEY = {"auth": {"api_key": "SEKRET"}}


def things(connect: Connect, url: str, page: str = "{ kind: none }", **given: Any) -> RestConnector:
    return connect(THINGS.replace("PAGE", page), url=url, **KEY, **given)


def keys(connector: RestConnector) -> list[str]:
    return [one.key for batch in connector.read(Read("things")) for one in batch.records]


def head(*lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Content-Type: application/json", *lines, "", ""]).encode()


# ---------------------------------------------------------------------- addresses
@pytest.mark.parametrize(
    "url",
    [
        "http://127.1", "http://2130706433", "http://0x7f000001", "http://0177.0.0.1", "http://0", "http://0x7f.1", "http://[::ffff:127.0.0.1]",
        "http://[64:ff9b::7f00:1]", "http://[2002:7f00:1::]", "http://169.254.169.254", "http://[fd00:ec2::254]", "http://[fe80::1]", "http://0.0.0.0",
        "http://224.0.0.1", "http://user:SEKRET@example.com", "ftp://example.com", "file:///etc/passwd", "http://", "http://a b", "http://x:99999",
        "http://exa\tmple.com", "http://%31%32%37.0.0.1", "http://-x.example",
    ],
)  # fmt: skip
def test_odd_link_local_and_metadata_addresses_are_never_called(
    connect: Connect, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it was called"))
    with pytest.raises(ConnectorError, match="C518|C524") as caught:
        keys(things(connect, url))
    assert "SEKRET" not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "127.0.0.1", "169.254.169.254", "::1", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1"]
)
def test_a_name_that_leads_to_a_private_address_is_not_called_unless_listed(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    where = (address, 80, 0, 0) if ":" in address else (address, 80)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(family, socket.SOCK_STREAM, 6, "", where)])
    called: list[Any] = []

    def connecting(_: Any, at: Any) -> None:
        called.append(at)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", connecting)
    with pytest.raises(ConnectorError, match="C518") as caught:
        keys(things(connect, "http://rebound.example"))
    assert (
        called == [] and "hosts" in caught.value.problem.message
    ) or "no connection may call" in caught.value.problem.message
    with pytest.raises(ConnectorError, match="C510"):
        keys(things(connect, "http://rebound.example", hosts=["rebound.example"], retries=0))
    assert called == [where]


def test_public_addresses_are_called_as_resolved() -> None:
    found = [ipaddress.ip_address("93.184.216.34"), ipaddress.ip_address("2606:2800:220:1::1")]
    assert allowed("example.com", found, ()) == found
    with pytest.raises(ForbiddenAddress):  # one bad address among good ones is enough
        allowed("example.com", [*found, ipaddress.ip_address("10.1.1.1")], ())
    assert str(inner(ipaddress.ip_address("2002:a00:1::"))) == "10.0.0.1"
    assert host_of("https://BÜcher.example/a") == ("xn--bcher-kva.example", 443, True)


# ---------------------------------------------------------------------- redirects and links
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed_and_credentials_stay(connect: Connect, serve: Serve, status: int) -> None:
    seen: list[Request] = []
    thief = serve(lambda request: seen.append(request) or Reply(200, [{"id": "stolen"}]))  # type: ignore[func-returns-value]
    system = serve(lambda request: Reply(status, None, {"Location": f"{thief.url}/x?token=SEKRET"}))
    connector = things(connect, system.url)
    with pytest.raises(ConnectorError, match="redirects are not followed") as caught:
        keys(connector)
    assert thief.url in caught.value.problem.message and "SEKRET" not in str(caught.value)
    (outcome,) = connector.write("things", [Operation("a", "create", {"name": "x"})])
    assert outcome.state == "refused" and seen == []


@pytest.mark.parametrize(
    "link",
    ["http://127.0.0.1:{other}/things", "//evil.example/things", "https://127.0.0.1:{port}/things", "http://127.0.0.1:{port}@evil.example/",
     "http://evil.example\\@127.0.0.1:{port}/", "http://localhost:{port}/things", "file:///etc/passwd", "http://169.254.169.254/latest"],
)  # fmt: skip
def test_next_links_to_other_places_are_refused(connect: Connect, serve: Serve, link: str) -> None:
    seen: list[Request] = []
    other = serve(lambda request: seen.append(request) or Reply(200, []))  # type: ignore[func-returns-value]
    system = serve(
        lambda _: Reply(200, {"items": [{"id": 1}], "next": link.format(other=other.port, port=system.port)})
    )
    with pytest.raises(ConnectorError, match="C511"):
        keys(things(connect, system.url, "{ kind: next_url, next: body.next }"))
    assert seen == []


def test_relative_links_start_from_the_page_and_absolute_paths_from_the_host(connect: Connect, serve: Serve) -> None:
    pages = {"/v1/things": "?after=1", "/v1/things?after=1": "/v1/more", "/v1/more": "last", "/v1/last": None}

    def handle(request: Request) -> Reply:
        path = request.url.split("/", 3)[3]
        return Reply(200, {"items": [{"id": path}], "next": pages[f"/{path}"]})

    system = serve(handle)
    read = keys(things(connect, f"{system.url}/v1", "{ kind: next_url, next: body.next }"))
    assert read == [one[1:] for one in pages]


def test_cycles_of_links_and_empty_pages_end(connect: Connect, serve: Serve) -> None:
    def cycle(request: Request) -> Reply:
        here = request.query.get("p", "a")
        return Reply(200, {"items": [{"id": here}], "next": f"/things?p={'b' if here == 'a' else 'a'}"})

    with pytest.raises(ConnectorError, match="a second time"):
        keys(things(connect, serve(cycle).url, "{ kind: next_url, next: body.next }"))
    numbers = itertools.count()
    endless = serve(lambda _: Reply(200, {"items": [], "next": f"/things?p={next(numbers)}"}))
    with pytest.raises(ConnectorError, match="three empty pages"):
        keys(things(connect, endless.url, "{ kind: next_url, next: body.next }"))
    assert next(numbers) == 3


# ---------------------------------------------------------------------- bodies
def big(n: int) -> bytes:
    return b"[" + b" " * n + b"]"


@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        ([head("Content-Length: 3221225472"), b"["], "C514"),
        ([head("Connection: close"), b"[", *[b" " * 2**20] * 70], "C514"),
        ([head("Content-Length: 9"), b"["], "C513"),
        ([head("Transfer-Encoding: chunked"), b"5\r\n[{\"i"], "C513"),
        ([head("Transfer-Encoding: chunked"), b"zz\r\n[]"], "C513"),
        ([head("Content-Length: -1"), b"[]"], "C513"),
        ([head("Content-Length: 2", "X: " + "a" * 70_000), b"[]"], "C513"),
        ([b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"], "C513"),
        ([b"SSH-2.0-OpenSSH_9.6\r\n"], "C513"),
        ([b""], "C513"),
        ([head(f"Content-Length: {len(gzip.compress(big(9)))}", "Content-Encoding: gzip"), gzip.compress(big(9))[:-6]], "C513"),
        ([head("Content-Length: 3", "Content-Encoding: gzip"), b"abc"], "C513"),
        ([head("Content-Length: 2", "Content-Encoding: br"), b"[]"], "C514"),
        ([head("Content-Length: 0")], "C530"),
        ([head("Content-Length: 6").replace(b"application/json", b"text/html"), b"<html>"], "C516"),
        ([head("Content-Length: 4").replace(b"/json", b"/json; charset=klingon"), b'["a"'], "C516"),
        ([head("Content-Length: 6"), b'["\xe9"]1'], "C516"),
    ],
)  # fmt: skip
def test_broken_and_bloated_answers_end_in_an_error(
    connect: Connect, raw: Callable[..., Raw], pieces: list[bytes], code: str
) -> None:
    server = raw(pieces)
    begun = time.monotonic()
    with pytest.raises(ConnectorError, match=code) as caught:
        keys(things(connect, server.url, retries=0, timeout="2s"))
    assert "SEKRET" not in str(caught.value) and time.monotonic() - begun < 4


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("application/json", "\ufeff".encode() + '[{"id": "é"}]'.encode()),
        ("application/json; charset=ISO-8859-1", '[{"id": "é"}]'.encode("latin-1")),
        ('application/json; charset="utf-16"', '[{"id": "é"}]'.encode("utf-16")),
        ("text/plain", '[{"id": "é"}]'.encode()),
        ("application/problem+json", '[{"id": "é"}]'.encode()),
    ],
)  # fmt: skip
def test_text_is_read_in_the_charset_that_it_names(connect: Connect, serve: Serve, kind: str, data: bytes) -> None:
    assert keys(things(connect, serve(lambda _: Reply(200, data, {"Content-Type": kind})).url)) == ["é"]


@pytest.mark.parametrize("part", ["head", "body"])
def test_bytes_that_drip_in_end_with_the_deadline(connect: Connect, raw: Callable[..., Raw], part: str) -> None:
    whole = head("Content-Length: 2000")
    drip = [whole[at : at + 1] for at in range(len(whole))] if part == "head" else [whole, *[b"["] * 2000]
    server = raw(drip, 0.05)
    begun = time.monotonic()
    with pytest.raises(ConnectorError, match="C513.*(longer|too long|too slowly)"):
        keys(things(connect, server.url, retries=0, timeout="1s"))
    assert time.monotonic() - begun < 2


def test_a_connection_with_unread_bytes_is_not_used_again(
    connect: Connect, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MAX_BODY", 1000)
    bodies = [[{"id": "x" * 5000}], [{"id": "good"}]]
    system = serve(lambda _: Reply(200, bodies.pop(0)))
    connector = things(connect, system.url, retries=0)
    with pytest.raises(ConnectorError, match="C514"):
        keys(connector)
    assert keys(connector) == ["good"]


def test_an_idle_connection_that_the_system_closed_is_replaced(connect: Connect, raw: Callable[..., Raw]) -> None:
    server = raw([head("Content-Length: 11"), b'[{"id": 1}]'])  # closes after each answer without saying so
    connector = things(connect, server.url, retries=0)
    assert keys(connector) == ["1"]
    time.sleep(0.05)
    (outcome,) = connector.write("things", [Operation("a", "create", {"name": "x"})])
    assert (outcome.state, len(server.requests)) == ("in_doubt", 2), "its answer names no id"
    assert outcome.problem is not None and "names no id" in outcome.problem.message


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\x00b", "☃"])
def test_nothing_breaks_out_of_a_header(connect: Connect, serve: Serve, value: str) -> None:
    seen: list[Request] = []
    system = serve(lambda request: seen.append(request) or Reply(200, []))  # type: ignore[func-returns-value]
    connector = connect(THINGS.replace("PAGE", "{ kind: none }"), url=system.url, auth={"api_key": value})
    with pytest.raises(ConnectorError, match="C518"):
        keys(connector)
    (outcome,) = connector.write("things", [Operation("a", "create", {"name": "x"})])
    assert outcome.state in ("retry", "refused") and seen == []
