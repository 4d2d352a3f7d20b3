"""HTTP answers that nobody wants: each gets a clear error, and what was sent is never mistaken for what was not."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from connectors.rest.connector import RestConfig, RestConnector
from engine.sdk.config import ConnectionContext
from engine.sdk.connector import Operation, Read
from engine.sdk.errors import ConnectorError
from engine.sdk.manifest import Manifest


class Scripted:
    """A server that answers each request with the next bytes of a script; None cuts the connection."""

    def __init__(self) -> None:
        self.script: list[bytes | None] = []
        self.requests: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            with closing(client):
                data = client.recv(65536)
                while (
                    b"content-length" in data.lower()
                    and b"\r\n\r\n" in data
                    and len(data.split(b"\r\n\r\n", 1)[1])
                    < int(data.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                ):
                    data += client.recv(65536)
                self.requests.append(data)
                answer = self.script.pop(0) if self.script else None
                if answer is not None:
                    client.sendall(answer)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


def answer(body: bytes = b"[]", status: str = "200 OK", kind: str = "application/json", more: str = "") -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{more}\r\n".encode()
        + body
    )


@pytest.fixture
def server() -> Iterator[Scripted]:
    running = Scripted()
    yield running
    running.close()


def connect(server: Scripted, **page: Any) -> RestConnector:
    manifest = Manifest.model_validate({
        "connector": "x", "base": f"http://127.0.0.1:{server.port}", "page": page or {"kind": "none"},
        "message": "body.error",
        "errors": [{"when": "status == `409`", "do": "matched", "id": "body.id"}],
        "objects": {"things": {
            "read": {"get": "/things", "records": "not_null(body.items, body)"}, "create": {"post": "/things", "body": "@record", "id": "body.id"},
            "batch": {"create": {"post": "/batch", "body": {"items": "@records"}, "results": "body.items", "ok": "ok", "id": "id"}}}},
    })  # fmt: skip
    config = RestConfig.model_validate(
        {"connector": "x", "manifest": manifest, "retries": 1, "backoff": "1ms..2ms", "timeout": "2s"}
    )
    return RestConnector(config, ConnectionContext("x"))


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ([answer(b"<html>hello", kind="text/html")], "C516"), ([answer(b'{"items": [{"id": 1')] * 2, "C516"), ([answer(b'"text"')], "C530"),
        ([answer(b'{"items": 3}')], "C530"), ([answer(b"no", "403 Forbidden", "text/plain")], "C531"),
        ([answer(b"{}", "500 Oops")] * 2, "C531"), ([None, None], "C513"),
        ([answer(gzip.compress(b"[" + b" " * 70_000_000 + b"]"), more="Content-Encoding: gzip\r\n")], "C514"),
        ([answer(b"x", more="Content-Encoding: gzip, gzip\r\n")], "C514"),
        ([answer(b"[]", "302 Found", more="Location: http://127.0.0.1:1/\r\n")], "C531"),
    ],
)  # fmt: skip
def test_unusable_answers_are_errors_and_never_an_empty_read(server: Scripted, script: list[Any], code: str) -> None:
    server.script = list(script)
    with connect(server) as connector, pytest.raises(ConnectorError, match=code):
        list(connector.read(Read("things")))


def test_a_read_is_tried_again_where_that_may_help(server: Scripted) -> None:
    server.script = [answer(b"{}", "503 Busy"), answer(b'[{"id": 7}]')]
    with connect(server) as connector:
        assert [record.key for batch in connector.read(Read("things")) for record in batch.records] == ["7"]


@pytest.mark.parametrize("following", ["http://127.0.0.1:1/things", "//evil.example/things"])
def test_links_to_other_hosts_are_refused(server: Scripted, following: str) -> None:
    server.script = [answer(f'{{"items": [{{"id": 1}}], "next": "{following}"}}'.encode())]
    with connect(server, kind="next_url", next="body.next") as connector, pytest.raises(ConnectorError, match="C511"):
        list(connector.read(Read("things")))


def test_pages_that_never_end_are_stopped(server: Scripted) -> None:
    page = answer(b'{"items": [{"id": 1}], "next": "/things"}')
    server.script = [page] * 5
    with connect(server, kind="next_url", next="body.next") as connector, pytest.raises(ConnectorError, match="C533"):
        list(connector.read(Read("things")))
    server.script = [answer(b'{"items": [], "next": "%d"}' % n) for n in range(9)]
    with (
        connect(server, kind="cursor", next="body.next", param="c") as connector,
        pytest.raises(ConnectorError, match="C533"),
    ):
        list(connector.read(Read("things")))


def test_a_truncated_list_is_an_error(server: Scripted) -> None:
    server.script = [answer(b'{"items": [{"id": 1}], "total": 5}')]
    with connect(server, kind="none", total="body.total") as connector, pytest.raises(ConnectorError, match="C534"):
        list(connector.read(Read("things")))


@pytest.mark.parametrize(
    ("script", "state", "key"),
    [
        (answer(b'{"id": 7}', "201 Created"), "created", "7"), (answer(b'{"id": 8}', "409 Conflict"), "matched", "8"),
        (answer(b'{"error": "name is short"}', "422 No"), "refused", None), (answer(b"{}", "429 Slow", more="Retry-After: 3\r\n"), "retry", None),
        (answer(b"{}", "500 Oops"), "in_doubt", None), (answer(b"{}", "408 Late"), "in_doubt", None), (None, "in_doubt", None),
        (answer(b"<html>", kind="text/html"), "in_doubt", None), (answer(b'{"id": 7'), "in_doubt", None),
    ],
)  # fmt: skip
def test_a_write_is_sent_once_and_its_outcome_is_what_is_known(
    server: Scripted, script: Any, state: str, key: str | None
) -> None:
    server.script = [script]
    with connect(server) as connector:
        (outcome,) = connector.write("things", [Operation("a", "create", {"name": "x"})])
    assert (outcome.state, outcome.key) == (state, key)
    assert len(server.requests) == 1
    if state == "refused":
        assert outcome.problem is not None and outcome.problem.message == "name is short"
    if state == "retry":
        assert outcome.wait == 3


def test_a_refused_connection_is_not_processed_and_a_late_one_is_not_sent(server: Scripted) -> None:
    with connect(server) as connector:
        (late,) = connector.write("things", [Operation("a", "create", {}, send_by=0.0)])
        assert late.state == "retry" and server.requests == []
        server.close()
        (refused,) = connector.write("things", [Operation("a", "create", {})])
        assert refused.state == "retry"
    server.__init__()  # type: ignore[misc]


def test_items_without_an_outcome_are_in_doubt_and_a_refused_batch_is_told_as_such(server: Scripted) -> None:
    operations = [Operation(str(n), "create", {"name": "x"}) for n in range(3)]
    server.script = [
        answer(b'{"items": [{"ok": true, "id": 1}, {"ok": false}]}'),
        answer(b'{"error": "bad envelope"}', "400 No"),
    ]
    with connect(server) as connector:
        assert [one.state for one in connector.write("things", operations)] == ["created", "refused", "in_doubt"]
        assert {one.problem.code for one in connector.write("things", operations) if one.problem} == {"C560"}
