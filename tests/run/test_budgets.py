"""One budget an account for all processes, kept in the state; a slow-down that finds what a system bears. The system counts."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.sandbox.server import Reply, Request, Server
from engine.run.permits import SharedPermits
from engine.sdk.account import SECOND, Account, Ask
from engine.sdk.budget import Budget
from engine.sdk.config import Rate
from engine.sdk.errors import ConnectorError
from engine.state import budgets
from engine.state.store import Store

CALLER = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from engine.run.permits import SharedPermits
from engine.sdk.config import ConnectionConfig
from engine.sdk.http import HttpClient
from engine.state.store import Store

url, state, count, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
store = Store.open(state, Path("."))
config = ConnectionConfig.model_validate({"connector": "x", "limits": {"requests": "20 per 1s", "concurrency": 3}})
client = HttpClient("x", url, config, rate=None, concurrency=200, permits=SharedPermits(store))
def one(n):
    return client.send("GET", f"{url}/{n}", headers={}, body=None).status
with ThreadPoolExecutor(threads) as pool:
    print(sum(status == 200 for status in pool.map(one, range(count))))
client.close()
"""


class Counting:
    """A system that notes when it was called and how often at once."""

    def __init__(self, latency: float = 0.03) -> None:
        self.latency, self.times, self.now, self.most, self.lock = latency, list[float](), 0, 0, threading.Lock()

    def __call__(self, request: Request) -> Reply:
        with self.lock:
            self.times.append(time.monotonic())
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self.latency)
        with self.lock:
            self.now -= 1
        return Reply(200, {})


@pytest.fixture(params=["sqlite", "postgresql"])
def state(request: Any, tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/state.db" if request.param == "sqlite" else request.getfixturevalue("postgres")
    Store.open(url, tmp_path).close()
    return str(url)


@pytest.fixture
def system() -> Iterator[tuple[Counting, str]]:
    held = Counting()
    server = Server("counting", held)
    yield held, server.url
    server.close()


def caller(url: str, state: str, count: int, threads: int = 4) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", CALLER, url, state, str(count), str(threads)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def test_two_processes_never_exceed_the_account_together(system: tuple[Counting, str], state: str) -> None:
    held, url = system
    both = [caller(url, state, 30) for _ in range(2)]
    assert [one.communicate(timeout=60)[0].strip() for one in both] == ["30", "30"]
    assert held.most <= 3
    # what the system sees is later than the turn by what a busy machine adds
    assert all(later - first >= 0.97 for first, later in zip(held.times, held.times[20:], strict=False))
    assert held.times[-1] - held.times[0] < 6, "and they do use it"


def test_the_places_of_a_killed_process_come_back(system: tuple[Counting, str], state: str) -> None:
    held, url = system
    held.latency = 30
    first = caller(url, state, 3)
    while held.now < 3:
        time.sleep(0.02)
    held.latency = 0.0
    second = caller(url, state, 3)
    time.sleep(1.5)
    assert len(held.times) == 3, "all places are taken"
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert second.communicate(timeout=20)[0].strip() == "3"


def test_a_pause_that_one_hears_holds_the_others(state: str, tmp_path: Path) -> None:
    stores = [Store.open(state, tmp_path) for _ in range(2)]
    one, other = (Budget(None, 4, permits=SharedPermits(store), account="a") for store in stores)
    for budget in (one, other):
        assert budget.take("x")
        budget.give()
    one.pause(1.5)
    time.sleep(0.7)  # until it listens again
    begun = time.monotonic()
    assert other.take("x") and 0.5 < time.monotonic() - begun < 1.5
    one.pause(3600)
    time.sleep(0.7)
    with pytest.raises(ConnectorError, match="C519.*asks for a pause"):
        other.take("x", patience=60)
    for store in stores:
        store.close()


def test_places_are_shared_fairly_and_in_turns() -> None:
    account = Account()

    def claim(owner: str, now: float, used: int = 0, most: int = 3) -> int:
        return account.claim(round(now * SECOND), Ask(owner, None, most, slots=3, used=used)).slots

    assert claim("a", 0) == 3 and claim("b", 0) == 0
    assert claim("a", 1, used=3) == 3, "what is used stays"
    assert claim("a", 2, used=1) == 1 and claim("b", 2) == 2
    account = Account()
    assert (claim("a", 0, most=1), claim("b", 0, most=1), claim("c", 0.1, most=1)) == (1, 0, 0)
    assert claim("a", 2, most=1) == 0, "its turn is over"
    assert (claim("c", 2, most=1), claim("b", 2, most=1)) == (0, 1), "who waits longest comes first"
    assert claim("c", 60, most=1) == 1, "places are not held for ever"


def test_turns_never_exceed_the_rate_in_any_span(tmp_path: Path) -> None:
    rate, account, given = Rate(20, timedelta(seconds=1)), Account(), list[tuple[int, int]]()
    for moment in range(0, 5 * SECOND, 7_919):
        got = account.claim(moment, Ask(str(moment % 3), rate, 9, requests=3, within=50_000))
        given += [(moment, moment + 50_000)] * got.requests
    assert len(given) >= 90
    assert all(later[0] - first[1] >= SECOND for first, later in zip(given, given[20:], strict=False))


class Bounded:
    """Takes so many requests in a second, and refuses the others; it tells nobody how many."""

    def __init__(self, bears: int) -> None:
        self.bears, self.window, self.count, self.lock = bears, 0, 0, threading.Lock()
        self.answers: list[tuple[float, int]] = []

    def __call__(self, request: Request) -> Reply:
        with self.lock:
            now = time.monotonic()
            if int(now) != self.window:
                self.window, self.count = int(now), 0
            self.count += 1
            status = 200 if self.count <= self.bears else 429
            self.answers.append((now, status))
        return Reply(status, {})


def test_refusals_slow_us_down_to_what_the_system_bears(tmp_path: Path) -> None:
    from engine.sdk.config import ConnectionConfig
    from engine.sdk.http import HttpClient

    store, held = Store.open("sqlite:///state.db", tmp_path), Bounded(40)
    server = Server("bounded", held)
    config = ConnectionConfig.model_validate({"connector": "x", "backoff": "10ms..1s"})
    client = HttpClient("x", server.url, config, rate=None, concurrency=9, permits=SharedPermits(store))
    over = time.monotonic() + 9

    def work(_: int) -> None:
        while time.monotonic() < over:
            if client.send("GET", f"{server.url}/x", headers={}, body=None).status == 429:
                client.slow_down(None)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    client.close()
    server.close()
    store.close()
    settled = [status for at, status in held.answers if at > over - 6]
    assert settled.count(429) <= 0.04 * len(settled), (settled.count(429), len(settled))
    assert settled.count(200) >= 0.8 * 40 * 6, settled.count(200)


def test_a_request_costs_no_transaction_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, claims = Store.open("sqlite:///state.db", tmp_path), [0]
    claim = budgets.claim
    monkeypatch.setattr(budgets, "claim", lambda *given: (claims.__setitem__(0, claims[0] + 1), claim(*given))[1])
    for rate in (None, Rate(100_000, timedelta(seconds=10))):
        budget = Budget(rate, 4, permits=SharedPermits(store), account=str(rate))

        def work(_: int, budget: Budget = budget) -> None:
            for _ in range(500):
                assert budget.take("x")
                budget.give()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        budget.rest()
    store.close()
    assert claims[0] < 4000 / 20, claims[0]
