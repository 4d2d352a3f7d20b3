"""The fake bus: CloudEvents are kept once each; what is none, or bears no right token, is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from connectors.sandbox import Sandbox, start

EVENT = {
    "specversion": "1.0",
    "id": "e1",
    "source": "/x",
    "type": "project.created.v1",
    "subject": "p",
    "data": {"code": "P-1"},
}
STRUCTURED = {"Content-Type": "application/cloudevents+json"}


@pytest.fixture
def box() -> Iterator[Sandbox]:
    with start(systems=("bus",)) as sandbox:
        yield sandbox


def post(box: Sandbox, body: object, headers: dict[str, str], path: str = "", token: str = "sandbox-bus-token") -> int:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {**headers, "Authorization": f"Bearer {token}"}
    try:
        with urlopen(Request(box.url("bus") + path, data, headers, method="POST")) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def test_an_event_is_kept_once_however_often_and_in_whatever_form_it_comes(box: Sandbox) -> None:
    binary = {
        "ce-specversion": "1.0",
        "ce-id": "e2",
        "ce-source": "/x",
        "ce-type": "a.b",
        "Content-Type": "application/json",
    }
    assert [post(box, EVENT, STRUCTURED), post(box, EVENT, STRUCTURED), post(box, {"n": 1}, binary, "/topic")] == [
        204
    ] * 3
    first, second = box.all("bus", "events")
    assert (first["type"], first["data"], first["topic"]) == ("project.created.v1", {"code": "P-1"}, "")
    assert (second["id"], second["data"], second["topic"]) == ("e2", {"n": 1}, "topic")


def test_what_is_no_event_or_bears_no_token_is_refused(box: Sandbox) -> None:
    assert post(box, b"{}", STRUCTURED) == 400
    assert post(box, EVENT, STRUCTURED, token="another") == 401
    box.fakes["bus"].down = True
    assert post(box, EVENT, STRUCTURED) == 503
    assert box.all("bus", "events") == []
