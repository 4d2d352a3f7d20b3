"""Retries, waits that a system asks for, quotas, concurrency, and the breaker, against systems that keep count."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from connectors.sandbox.server import Reply, Request
from engine.sdk.budget import Budget, waiting_time
from engine.sdk.config import Breaker, Rate
from engine.sdk.connector import Operation, Read
from engine.sdk.errors import ConnectorError
from tests.connectors.rest.conftest import Connect, Serve

THINGS = """
connector: x
settings: { url: { required: true } }
base: "{url}"
limits: LIMITS
errors:
  - { when: "status == `403` && body.code == 'LIMIT'", do: rate_limited, wait: body.seconds }
objects:
  things:
    read: { get: /things, records: body }
    create: { post: /things, body: "@record", id: body.id }
"""


def limited(connect: Connect, url: str, own: str = "{}", **given: Any) -> Any:
    return connect(THINGS.replace("LIMITS", own), url=url, **{"backoff": "1ms..5s", **given})


def keys(connector: Any) -> list[str]:
    return [one.key for batch in connector.read(Read("things")) for one in batch.records]


def test_a_wait_is_read_in_each_dialect_and_bounded() -> None:
    minute = datetime.now(UTC) + timedelta(seconds=60)
    for given, dialect, least, most in [
        ("3", "seconds", 3, 3), (3, "seconds", 3, 3), ("-5", "seconds", 0, 0), ("1500", "ms", 1.5, 1.5), ("99999999", "seconds", 86400, 86400),
        (format_datetime(minute, usegmt=True), "seconds", 55, 60), ("Wed, 21 Oct 2015 07:28:00 GMT", "seconds", 0, 0),
        (str(int(minute.timestamp())), "epoch", 55, 60), (str(int(minute.timestamp() * 1000)), "epoch_ms", 55, 60),
        (minute.isoformat(), "instant", 55, 60), ("2015-10-21T07:28:00Z", "instant", 0, 0),
    ]:  # fmt: skip
        found = waiting_time(given, dialect)
        assert found is not None and least <= found <= most, (given, dialect, found)


@pytest.mark.parametrize("dialect", ["seconds", "epoch", "instant"])
@pytest.mark.parametrize("given", [None, "", "soon", "nan", "{}"])
def test_a_wait_that_says_nothing_is_none(given: Any, dialect: str) -> None:
    assert waiting_time(given, dialect) is None


def test_retry_after_is_waited_out_by_everybody(connect: Connect, serve: Serve) -> None:
    times: list[float] = []

    def handle(_: Request) -> Reply:
        times.append(time.monotonic())
        return Reply(429, {}, {"Retry-After": "1"}) if len(times) == 1 else Reply(200, [{"id": 1}])

    system = serve(handle)
    first, second = limited(connect, system.url), limited(connect, system.url)  # two flows, one account
    with ThreadPoolExecutor(2) as pool:
        early = pool.submit(keys, first)
        time.sleep(0.2)
        late = pool.submit(keys, second)
        assert early.result() == late.result() == ["1"]
    assert min(times[1:]) - times[0] >= 0.99


def test_a_limit_told_in_the_body_is_understood(connect: Connect, serve: Serve) -> None:
    replies = [Reply(403, {"code": "LIMIT", "seconds": 1}), Reply(200, [{"id": 1}])]
    begun = time.monotonic()
    assert keys(limited(connect, serve(lambda _: replies.pop(0)).url)) == ["1"]
    assert time.monotonic() - begun >= 0.99


def test_a_wait_of_hours_parks_the_run_and_says_so(connect: Connect, serve: Serve) -> None:
    system = serve(lambda _: Reply(429, {"message": "daily quota"}, {"Retry-After": "7200"}))
    with pytest.raises(ConnectorError, match="answered 429") as caught:
        keys(limited(connect, system.url, retries=5))
    assert caught.value.transient and caught.value.wait == 7200


def test_backoff_doubles_with_full_jitter_up_to_its_longest(
    connect: Connect, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    tops: list[float] = []
    monkeypatch.setattr("engine.sdk.http.random.uniform", lambda low, high: tops.append(high) or low)
    calls: list[int] = []
    system = serve(lambda _: calls.append(1) or Reply(500, {}))  # type: ignore[func-returns-value]
    with pytest.raises(ConnectorError, match="C531"):
        keys(limited(connect, system.url, retries=6, backoff="1ms..9ms"))
    assert tops == [0.001, 0.002, 0.004, 0.008, 0.009, 0.009] and len(calls) == 7


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
def test_what_will_not_pass_is_asked_once(connect: Connect, serve: Serve, status: int) -> None:
    calls: list[int] = []
    system = serve(lambda _: calls.append(1) or Reply(status, {}))  # type: ignore[func-returns-value]
    with pytest.raises(ConnectorError):
        keys(limited(connect, system.url, retries=5))
    assert len(calls) == 1


def test_the_quota_headers_stop_us_before_the_system_does(connect: Connect, serve: Serve) -> None:
    refused: list[float] = []
    left, until = [2], [0.0]

    def handle(_: Request) -> Reply:
        if time.time() >= until[0]:
            left[0], until[0] = 2, time.time() + 1
        if left[0] == 0:
            refused.append(time.time())
            return Reply(429, {})
        left[0] -= 1
        return Reply(200, [{"id": 1}], {"X-Left": str(left[0]), "X-Reset": str(int(until[0] * 1000) + 1)})

    connector = limited(connect, serve(handle).url, "{ remaining: X-Left, reset: X-Reset, reset_in: epoch_ms }")
    for _ in range(5):
        keys(connector)
    assert refused == []


def test_requests_at_once_and_in_a_time_are_bounded_over_all_connections(connect: Connect, serve: Serve) -> None:
    now, most, times, lock = [0], [0], list[float](), threading.Lock()

    def handle(_: Request) -> Reply:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
            times.append(time.monotonic())
        time.sleep(0.02)
        with lock:
            now[0] -= 1
        return Reply(201, {"id": "1"})

    limits = {"concurrency": 3, "requests": "10 per 1s"}
    system = serve(handle)
    both = [limited(connect, system.url, limits=limits) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        done = list(
            pool.map(lambda one: one.write("things", [Operation(str(n), "create", {}) for n in range(8)]), both)
        )
    assert {one.state for part in done for one in part} == {"created"} and len(times) == 16
    assert most[0] <= 3
    assert all(later - first >= 0.95 for first, later in zip(times, times[10:], strict=False))


def test_the_breaker_opens_on_half_of_the_last_calls_and_closes_on_a_good_one(connect: Connect, serve: Serve) -> None:
    calls, good = [0], [False]

    def handle(_: Request) -> Reply:
        calls[0] += 1
        return Reply(200, [{"id": 1}]) if good[0] or calls[0] % 2 else Reply(500, {"message": "x"})

    breaker = {"failures": "50%", "of": 6, "reset": "300ms"}
    connector = limited(connect, serve(handle).url, retries=0, breaker=breaker)
    for _ in range(6):
        try:
            keys(connector)
        except ConnectorError as error:
            assert "C531" in str(error)
    with pytest.raises(ConnectorError, match="C517.*3 of the last 6 calls failed") as caught:
        keys(connector)
    assert calls[0] == 6 and caught.value.transient and 0 < (caught.value.wait or 0) <= 0.3
    (parked,) = connector.write("things", [Operation("a", "create", {})])
    assert parked.state == "retry" and calls[0] == 6  # not sent, so it may be sent later
    good[0] = True
    time.sleep(0.31)
    assert keys(connector) == ["1"] == keys(connector)
    assert calls[0] == 8


def test_one_caller_tries_an_open_breaker_while_the_others_wait() -> None:
    budget = Budget(None, 20, Breaker(of=4, reset=timedelta(minutes=1)))
    for _ in range(4):
        budget.note(good=False)
    budget._open_until = time.monotonic()  # the minute is over
    passed: list[bool] = []

    def attempt(_: int) -> None:
        try:
            budget.admit("x")
            passed.append(True)
        except ConnectorError:
            passed.append(False)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(attempt, range(20)))
    assert passed.count(True) == 1


def test_refusals_of_records_never_open_the_breaker(connect: Connect, serve: Serve) -> None:
    system = serve(lambda _: Reply(422, {"message": "bad"}))
    connector = limited(connect, system.url, breaker={"of": 4})
    outcomes = connector.write("things", [Operation(str(n), "create", {}) for n in range(30)])
    assert {one.state for one in outcomes} == {"refused"}


def test_a_rate_is_a_sliding_window() -> None:
    budget, times = Budget(Rate(2, timedelta(seconds=0.2)), 1), []
    for _ in range(5):
        assert budget.take("x")
        times.append(time.monotonic())
        budget.give()
    assert all(later - first >= 0.2 for first, later in zip(times, times[2:], strict=False))
    assert times[1] - times[0] < 0.1 and times[-1] - times[0] < 0.6
