"""Webhooks: kept before they are acknowledged, told once, done in the end; what strangers send is refused without a word."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest

from engine.run.runner import Runner
from engine.sdk.errors import ConnectorError, Problem
from engine.serve import webhooks
from engine.serve.app import app_of
from engine.serve.log import Log
from engine.serve.webhooks import Receiver
from engine.state import inbox, ticks, units
from engine.state.care import prune
from tests.run.test_sync import person
from tests.serve.world import TRIGGER, Served, signed

PATH = "/hooks/src/people"
Answer = tuple[int, dict[str, str], bytes]


class Caller:
    """Calls the application as an HTTP server would, without one."""

    def __init__(self, world: Served) -> None:
        self.world = world
        self.receiver = Receiver(world.workspace(), world.store, Log(world.said), lambda: None)
        self.app = app_of(world.server(), self.receiver)

    async def call(self, body: bytes | AsyncIterator[bytes], path: str = PATH, headers: dict[str, str] | None = None,
                   method: str = "POST", query: str = "") -> Answer:  # fmt: skip
        given = signed(body) if headers is None and isinstance(body, bytes) else headers or {}
        parts = [body] if isinstance(body, bytes) else body
        source = _parts(parts)

        async def receive() -> dict[str, Any]:
            try:
                return {"type": "http.request", "body": await anext(source), "more_body": True}
            except StopAsyncIteration:
                return {"type": "http.request", "body": b"", "more_body": False}

        sent: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": query.encode(),
                 "headers": [(name.encode(), value.encode()) for name, value in given.items()], "http_version": "1.1",
                 "scheme": "http", "server": ("127.0.0.1", 1), "client": ("127.0.0.1", 2), "root_path": ""}  # fmt: skip
        await self.app(scope, receive, send)
        start = next(one for one in sent if one["type"] == "http.response.start")
        told = b"".join(one.get("body", b"") for one in sent if one["type"] == "http.response.body")
        return start["status"], {key.decode(): value.decode() for key, value in start["headers"]}, told

    def post(self, *events: dict[str, Any], **more: Any) -> Answer:
        """One signed call with these events."""
        return asyncio.run(self.call(json.dumps({"events": events}).encode(), **more))


async def _parts(parts: Any) -> AsyncIterator[bytes]:
    if isinstance(parts, list):
        for one in parts:
            yield one
    else:
        async for one in parts:
            yield one


@contextmanager
def calling(world: Served) -> Iterator[Caller]:
    caller = Caller(world)
    try:
        yield caller
    finally:
        caller.receiver.close()


@pytest.fixture
def caller(served: Served) -> Iterator[Caller]:
    served.flow("people", TRIGGER)
    with calling(served) as found:
        yield found


def event(key: str | None, id: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": key, "event": id, **more}


def waiting(world: Served) -> int:
    return int(world.rows("SELECT count(*) FROM inbox WHERE state <> 'done'")[0][0])


def test_what_is_acknowledged_is_committed_and_ends_in_the_target(both: Served) -> None:
    both.flow("people", TRIGGER)
    both.put("people", [person("1"), person("2", name="Bea")])
    with calling(both) as caller:
        assert caller.post(event("1", "e1"), event("2", "e2"))[0] == 202
    assert waiting(both) == 2 and both.names() == []
    (run,) = both.once()
    assert (run["state"], run["read"], run["created"], both.names()) == ("succeeded", 2, 2, ["Ada", "Bea"])
    assert both.runs()[0].trigger == "webhook src/people"
    assert waiting(both) == 0 and both.rows("SELECT body IS NULL FROM inbox ORDER BY seq") in (
        [(False,), (True,)],
        [(0,), (1,)],
    )


def test_a_duplicate_is_acknowledged_and_does_nothing(caller: Caller) -> None:
    world = caller.world
    world.put("people", [person("1")])
    assert [caller.post(event("1", "e1"))[0] for _ in range(3)] == [202, 202, 202]
    assert waiting(world) == 1
    world.once()
    assert caller.post(event("1", "e1"))[0] == 202
    assert waiting(world) == 0 and world.once() == [], "known for as long as its row is kept"
    with world.store.begin() as tx:
        tx.run("UPDATE inbox SET done_at = '2026-01-01T00:00:00.000000Z'")
    assert prune(world.store, {})["inbox"] == 1


def test_events_without_an_id_are_told_by_body_and_time(caller: Caller) -> None:
    world = caller.world
    for _ in range(2):
        caller.post(event("1", at="2026-11-21T10:00:00Z"))
    assert waiting(world) == 1
    caller.post(event("1", at="2026-11-21T10:00:01Z"))
    assert waiting(world) == 2
    for _ in range(2):
        caller.post(event("1"))
    assert waiting(world) == 4, "two changes may be told in the same words: none is taken for the other"


@pytest.mark.parametrize(
    ("headers", "status"), [({}, 401), ({"x-signature": "0" * 64}, 401), ({"x-signature": "é"}, 400)]
)
def test_a_wrong_signature_is_told_nothing_and_keeps_nothing(
    caller: Caller, headers: dict[str, str], status: int
) -> None:
    body = json.dumps({"events": [event("1", "e1", secret="canary-4711")]}).encode()
    told, answered, content = asyncio.run(caller.call(body, headers=headers))
    assert (told, content) == (status, b"") and set(answered) == {"content-length"}
    assert waiting(caller.world) == 0
    assert "canary" not in caller.world.said.getvalue() and "0000" not in caller.world.said.getvalue()
    assert caller.world.events()[-1]["event"] == "webhook refused"


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/hooks/src/other", "POST", 404), ("/hooks/", "POST", 404), ("/hooks/../src/people", "POST", 404), ("/", "GET", 404),
     ("/hooks/src/people", "DELETE", 405), ("/hooks/SRC/people", "POST", 404), ("/docs", "GET", 404)],
)  # fmt: skip
def test_an_unknown_path_is_told_nothing(caller: Caller, path: str, method: str, status: int) -> None:
    told, _, content = asyncio.run(caller.call(b"{}", path=path, method=method))
    assert (told, content) == (status, b"")


def test_a_large_body_is_refused_before_it_is_read(caller: Caller) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 65_536
            yield b"x" * 65_536

    assert asyncio.run(caller.call(endless(), headers={}))[0] == 413
    assert read <= 2**20 + 2 * 65_536
    read = 0
    assert asyncio.run(caller.call(endless(), headers={"content-length": str(50 * 2**20)}))[0] == 413
    assert read == 0, "a length that is told is believed"
    largest = b'{"events": []}'.ljust(2**20)
    assert asyncio.run(caller.call(largest))[0] == 202
    assert asyncio.run(caller.call(largest + b" "))[0] == 413


def test_a_slow_body_is_refused(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "DEADLINE", 0.05)

    async def dripping() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.01)

    assert asyncio.run(caller.call(dripping(), headers={}))[0] == 408


def test_over_its_quota_a_connection_is_told_when_to_come_again(served: Served) -> None:
    served.flow("people", TRIGGER)
    served.edit("crosswalk.yaml", "connections:", "serve: { webhooks: 2 per 1m }\nconnections:")
    with calling(served) as caller:
        answers = [caller.post(event("1", f"e{number}"), headers=None) for number in range(3)]
    assert [status for status, _, _ in answers] == [202, 202, 429]
    assert answers[2][1]["retry-after"] in ("30", "31") and waiting(served) == 2


def test_a_handshake_is_answered(caller: Caller) -> None:
    assert asyncio.run(caller.call(b"", method="GET", query="challenge=abc"))[::2] == (200, b"abc")
    assert waiting(caller.world) == 0


@pytest.mark.parametrize(
    "body", [b"", b"[", b"\xff\xfe", b'{"events": 7}', b'{"events": [7]}', b"null", b"[" * 100_000]
)
def test_what_cannot_be_read_is_a_plain_400(caller: Caller, body: bytes) -> None:
    status, _, content = asyncio.run(caller.call(body))
    assert (status, content) == (400, b"") and waiting(caller.world) == 0
    assert "Traceback" not in caller.world.said.getvalue()


def test_words_that_no_column_takes_do_no_harm(both: Served) -> None:
    both.flow("people", TRIGGER)
    both.put("people", [person("1")])
    with calling(both) as caller:
        odd = [
            event("1\0", "a"),
            event("x" * 600, "b"),
            event("1", "i\0d"),
            event("1", "y" * 900),
            event("1", "\ud800"),
        ]
        assert caller.post(*odd, event("1", "good"))[0] == 202
        assert caller.post(*odd)[0] == 202
    assert waiting(both) == 6
    both.once()
    assert waiting(both) == 0 and both.names() == ["Ada"]


def test_while_the_state_fails_the_caller_has_to_come_again(caller: Caller) -> None:
    with patch("engine.serve.webhooks.inbox.put_all", side_effect=RuntimeError("canary")):
        status, headers, content = caller.post(event("1", "e1"))
    assert (status, headers["retry-after"], content) == (503, "10", b"")
    assert "canary" not in caller.world.said.getvalue()
    assert caller.post(event("1", "e1"))[0] == 202 and waiting(caller.world) == 1


def test_many_events_of_a_record_are_one_read_of_it(caller: Caller) -> None:
    world = caller.world
    world.put("people", [person(str(number)) for number in range(20)])
    for number in range(10):
        caller.post(*(event(str(key), f"e{number}-{key}") for key in range(20)))
    assert waiting(world) == 200
    runs = world.once()
    assert sum(run["read"] for run in runs) == 20 and len(runs) == 1
    assert waiting(world) == 0


def test_a_delete_is_believed_where_the_source_no_longer_has_the_record(served: Served) -> None:
    served.edit("flows/people.yaml", "lag: 10m", "lag: 10m, deletes: tombstones")
    served.edit("flows/people.yaml", "mapping: dw/people }", "mapping: dw/people, on_delete: delete }")
    served.edit("flows/people.yaml", "errors: 90%", "errors: 90%, deletes: 100%")
    served.flow("people", TRIGGER)
    served.put("people", [person("1"), person("2", name="Bea")])
    served.run()
    served.put("people", [person("2", name="Bea")])
    with calling(served) as caller:
        caller.post(event("1", "e1", deleted=True), event("2", "e2", deleted=True))
        served.once()
    assert served.names() == ["Bea"], "2 is there: its delete was told late"


def test_an_event_for_another_object_starts_nothing(caller: Caller) -> None:
    caller.post(event("1", "e1", object="teams"))
    assert caller.world.once() == [] and waiting(caller.world) == 0


def test_an_event_that_names_no_record_runs_the_flow(caller: Caller) -> None:
    caller.world.put("people", [person("1")])
    caller.post(event(None, "e1"))
    caller.world.once()
    assert [run.trigger for run in caller.world.runs()] == ["webhook"] and caller.world.names() == ["Ada"]


def test_whole_records_with_a_version_are_not_read_again_and_older_ones_are_passed_by(caller: Caller) -> None:
    world = caller.world
    world.put("people", [])

    def whole(name: str, second: int) -> dict[str, Any]:
        at = f"2026-11-21T10:00:{second:02}Z"
        return event("1", f"e{second}", at=at, record={**person("1", name=name), "at": at})

    caller.post(whole("new", 20), whole("old", 10))
    world.once()
    assert world.names() == ["new"]
    caller.post(whole("older", 5))
    world.once()
    assert world.names() == ["new"]
    caller.post(whole("newest", 30))
    world.once()
    assert world.names() == ["newest"]
    world.put("people", [{**person("1", name="read"), "at": "2026-11-21T10:00:40Z"}])
    other = {**whole("other", 40), "at": "2026-11-21T10:00:40.000+00:00"}
    caller.post(other)
    world.once()
    assert world.names() == ["read"], "a version in another form cannot be compared: the record is read again"


def test_a_paused_flow_lets_its_events_wait(served: Served) -> None:
    served.flow("people", TRIGGER)
    served.put("people", [person("1")])
    with served.store.begin() as tx:
        ticks.pause(tx, "people", "ada", "month end")
    with calling(served) as caller:
        caller.post(event("1", "e1"))
    assert served.once() == [] and served.rows("SELECT state, flows FROM inbox") == [("held", '["people"]')]
    with served.store.begin() as tx:
        ticks.resume(tx, "people")
        assert inbox.release(tx, "people") == 1
    served.once()
    assert served.names() == ["Ada"] and waiting(served) == 0


def test_a_system_that_does_not_answer_is_asked_again_and_nothing_is_lost(caller: Caller) -> None:
    world = caller.world
    world.put("people", [person("1")])
    caller.post(event("1", "e1"))
    down = ConnectorError("unreachable", Problem("C510", "the system cannot be reached", None, "wait"))
    with patch("connectors.files.FilesConnector.read", side_effect=down):
        world.once()
    assert waiting(world) == 1
    ((state, attempts, error),) = world.rows("SELECT state, attempts, error FROM units WHERE kind = 'inbox'")
    assert state == "ready" and attempts >= 1 and error.startswith("C510")
    world.older(700)
    world.once()
    assert world.names() == ["Ada"] and waiting(world) == 0


def test_what_never_succeeds_is_given_up_stays_visible_and_is_tried_anew_later(caller: Caller) -> None:
    world = caller.world
    world.put("people", [person("1")])
    caller.post(event("1", "e1"))
    refused = ConnectorError("refused", Problem("C531", "the system refused a request", None, "see it"))
    with patch("connectors.files.FilesConnector.read", side_effect=refused):
        server = world.server()
        world.leaderless()
        server.once()
    assert server.work.gave_up == 1 and waiting(world) == 1
    with world.store.read() as tx:
        assert units.given_up(tx) == [("inbox", "src:people:1", "C531 the system refused a request — see it")]
    assert world.once() == [], "not at once"
    world.older(3700)
    world.once()
    assert world.names() == ["Ada"] and waiting(world) == 0
    with world.store.read() as tx:
        assert units.given_up(tx) == []


def test_one_record_that_the_system_chokes_on_does_not_hold_up_the_others(caller: Caller) -> None:
    world = caller.world
    world.put("people", [person(str(number), name=f"n{number}") for number in range(8)])
    caller.post(*(event(str(key), f"e{key}") for key in range(8)))
    from connectors.files import FilesConnector

    usual: Callable[..., Any] = FilesConnector.read

    def choking(self: Any, request: Any) -> Any:
        if request.keys and "5" in request.keys:
            raise ConnectorError("refused", Problem("C531", "the system refused a request", None, "see it"))
        return usual(self, request)

    with patch.object(FilesConnector, "read", choking):
        world.once()
    assert world.names() == [f"n{number}" for number in range(8) if number != 5] and waiting(world) == 1


def test_a_storm_with_duplicates_and_disorder_ends_in_the_state_of_the_source(served: Served) -> None:
    """A small one; the large one is in tests/bench/serve.py."""
    served.flow("people", TRIGGER)
    chance = random.Random(4)
    rows = {str(key): person(str(key), name=f"v0 {key}") for key in range(30)}
    served.put("people", list(rows.values()))
    told = []
    for number in range(600):
        key = str(chance.randrange(30))
        rows[key] = person(key, name=f"v{number} {key}")
        told.append(event(key, f"e{number}"))
    told += chance.sample(told, 200)
    chance.shuffle(told)
    with calling(served) as caller:

        async def storm() -> None:
            calls: list[Awaitable[Answer]] = [
                caller.call(json.dumps({"events": told[at : at + 4]}).encode()) for at in range(0, len(told), 4)
            ]
            assert {answer[0] for answer in await asyncio.gather(*calls)} == {202}

        asyncio.run(storm())
        served.put("people", list(rows.values()))
        runs = served.once()
        served.once()
    assert waiting(served) == 0 and served.rows("SELECT count(*) FROM inbox") == [(600,)]
    expected = sorted(row["name"] for row in rows.values() if any(one["id"] == row["id"] for one in told))
    assert served.names() == expected
    assert sum(run["read"] for run in runs) <= 60


def test_a_webhook_run_does_not_count_as_a_fresh_read(caller: Caller) -> None:
    from engine.state import runs

    caller.world.put("people", [person("1")])
    caller.post(event("1", "e1"))
    caller.world.once()
    with caller.world.store.read() as tx:
        assert runs.last_finished(tx, "people") is None
    Runner(caller.world.workspace(), caller.world.store)
