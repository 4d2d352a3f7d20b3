"""Every word that a manifest may give an answer, on a read, a search, a single write, an item of a batch."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from connectors.sandbox.server import Reply, Request
from engine.sdk.connector import Operation, Outcome, Read
from engine.sdk.errors import ConnectorError
from engine.sdk.manifest import Do
from tests.connectors.rest.conftest import Connect, Serve

WORDS = [word for word in get_args(Do) if word != "success"]
RULES = "".join(
    f"  - {{ when: \"body.do == '{word}'\", do: {word}, id: body.id, wait: body.wait }}\n" for word in WORDS
)
MANIFEST = f"""
connector: x
settings: {{ url: {{ required: true }} }}
base: "{{url}}"
message: body.do
errors:
{RULES}
objects:
  things:
    read: {{ get: /things, records: "body.items || `[]`" }}
    find: {{ get: /find, records: "body.items || `[]`", by: {{ name: {{ param: name }} }} }}
    create: {{ post: /things, body: "@record", id: body.id }}
    update: {{ patch: "/things/{{key}}", body: "@changes" }}
    batch: {{ create: {{ post: /many, body: {{ rows: "@records" }}, results: body, status: "`400`", ok: "do == 'success'", id: id }} }}
"""
ENDS = "ends"
READS: dict[str, tuple[Any, int]] = {
    "success": (["1"], 1), "ignore": ([], 1), "empty": ([], 1), "retry": (["1"], 2), "rate_limited": (["1"], 2),
    "in_doubt": (["1"], 2), "refresh_then_retry": (ENDS, 1), "matched": (ENDS, 1), "missing": (ENDS, 1), "refused": (ENDS, 1),
    "fatal": (ENDS, 1),
}  # fmt: skip
WRITES: dict[str, tuple[str, str]] = {
    "success": ("created", "updated"), "ignore": ("created", "updated"), "empty": ("created", "updated"), "retry": ("retry", "retry"),
    "rate_limited": ("retry", "retry"), "in_doubt": ("in_doubt", "in_doubt"), "matched": ("matched", "matched"),
    "missing": ("refused", "missing"), "refused": ("refused", "refused"), "refresh_then_retry": (ENDS, ENDS), "fatal": (ENDS, ENDS),
}  # fmt: skip


def told(word: str, status: int = 400) -> Reply:
    return Reply(
        200 if word == "success" else status,
        {"do": word, "id": "7", "items": [{"id": 1, "name": "a"}] if word == "success" else None},
    )


def test_the_tables_hold_every_word() -> None:
    assert set(READS) == set(WRITES) == set(get_args(Do))


@pytest.mark.parametrize("how", ["read", "find"])
@pytest.mark.parametrize("word", READS)
def test_a_reading_request(connect: Connect, serve: Serve, word: str, how: str) -> None:
    calls: list[Request] = []

    def handle(request: Request) -> Reply:
        calls.append(request)
        return told(word if len(calls) == 1 else "success")

    connector = connect(MANIFEST, url=serve(handle).url)
    expected, count = READS[word]
    try:
        if how == "read":
            got: Any = [one.key for batch in connector.read(Read("things")) for one in batch.records]
        else:
            got = [one.key for one in connector.find("things", [{"name": "a"}])[0]]
    except ConnectorError as error:
        got = ENDS
        assert (error.problem.code == "C521") == (word == "refresh_then_retry")
    if how == "find" and word == "missing" and got == []:
        expected = []  # a search that finds nothing
    assert (got, len(calls)) == (expected, count)


@pytest.mark.parametrize("word", WRITES)
@pytest.mark.parametrize("kind", ["create", "update"])
def test_a_single_write(connect: Connect, serve: Serve, word: str, kind: str) -> None:
    calls: list[Request] = []
    connector = connect(MANIFEST, url=serve(lambda request: calls.append(request) or told(word)).url)  # type: ignore[func-returns-value]
    key = "7" if kind == "update" else None
    operation = Operation("o", kind, {"name": "a"}, key=key, changes={"name": "a"})  # type: ignore[arg-type]
    expected = WRITES[word][kind == "update"]
    try:
        (outcome,) = connector.write("things", [operation])
        assert outcome.state == expected and len(calls) == 1, "a write is never sent again by the connector"
        assert (outcome.trouble == "rate_limited") == (word == "rate_limited")
        if expected in ("created", "matched"):
            assert outcome.key == "7"
    except ConnectorError as error:
        assert expected == ENDS and not error.transient


def test_items_of_a_batch_have_words_of_their_own(connect: Connect, serve: Serve) -> None:
    order = [word for word in WRITES if word not in ("ignore", "empty")]
    items = [{"do": word, "id": str(number)} for number, word in enumerate(order)]
    connector = connect(MANIFEST, url=serve(lambda _: Reply(200, items)).url)
    outcomes = connector.write("things", [Operation(word, "create", {"name": word}) for word in order])
    states = {one.id: one.state for one in outcomes}
    assert states == {word: "retry" if WRITES[word][0] == ENDS else WRITES[word][0] for word in order}
    troubles = {one.id: one.trouble for one in outcomes if one.trouble}
    assert troubles == {"rate_limited": "rate_limited", "refresh_then_retry": "refused", "fatal": "refused"}


@pytest.mark.parametrize(("reply", "state"), [({"do": "matched"}, "refused"), ({"name": "a"}, "in_doubt")])
def test_a_create_without_an_id_is_no_success(connect: Connect, serve: Serve, reply: Any, state: str) -> None:
    connector = connect(MANIFEST, url=serve(lambda _: Reply(409 if "do" in reply else 201, reply)).url)
    outcomes: list[Outcome] = connector.write("things", [Operation("o", "create", {"name": "a"})])
    assert [one.state for one in outcomes] == [state]
    items = [{**reply, "do": reply.get("do", "success")}, {"do": "success", "id": "8"}]
    connector = connect(MANIFEST, url=serve(lambda _: Reply(200, items)).url)
    outcomes = connector.write("things", [Operation(n, "create", {"name": n}) for n in "ab"])
    assert [one.state for one in outcomes] == [state, "created"]


def test_there_is_no_fail(connect: Connect) -> None:
    with pytest.raises(ValidationError, match="'refused', 'fatal'"):
        connect(MANIFEST.replace("do: fatal", "do: fail"), url="http://127.0.0.1:1")


SOON = datetime.now(UTC) + timedelta(hours=2)
WAITS: dict[str, tuple[str, Any, str | None, float]] = {
    "seconds": ("seconds", "120", None, 120), "header": ("seconds", None, "90", 90), "unreadable": ("seconds", "soon", "90", 90),
    "ms": ("ms", 45000, None, 45), "date": ("seconds", format_datetime(SOON, usegmt=True), None, 6000),
    "epoch": ("epoch", int(SOON.timestamp()), None, 6000), "epoch_ms": ("epoch_ms", int(SOON.timestamp() * 1000), None, 6000),
    "instant": ("instant", SOON.isoformat(), None, 6000), "header date": ("seconds", None, format_datetime(SOON, usegmt=True), 6000),
}  # fmt: skip


@pytest.mark.parametrize("case", WAITS)
def test_the_wait_of_a_rule_in_each_dialect_and_retry_after_where_it_says_nothing(
    connect: Connect, serve: Serve, case: str
) -> None:
    dialect, wait, header, least = WAITS[case]
    reply = Reply(400, {"do": "rate_limited", "wait": wait}, {"Retry-After": header} if header else {})
    text = MANIFEST.replace("wait: body.wait }", f"wait: body.wait, wait_in: {dialect} }}")
    connector = connect(text, url=serve(lambda _: reply).url)
    begun = time.monotonic()
    (outcome,) = connector.write("things", [Operation("o", "create", {"name": "a"})])
    assert outcome.wait is not None and least - 60 < outcome.wait <= least * 1.2 + 1
    with pytest.raises(ConnectorError, match="C519"):
        list(connector.read(Read("things")))
    assert time.monotonic() - begun < 2, "nobody sleeps that long"
