"""What a system allows and bears: requests in a time, requests at once, pauses it asks for, and a breaker for when it fails."""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from weakref import WeakValueDictionary

from engine.sdk.account import SECOND, Ask, OwnPermits, Permits
from engine.sdk.clock import boot
from engine.sdk.config import Breaker, Rate
from engine.sdk.errors import ConnectorError, Problem
from engine.sdk.record import JSON

Sleep = Callable[[float], None]
LONGEST = 86_400.0
"""Seconds: no wait that a system names is believed beyond a day."""
LISTEN, AGAIN = 0.5, 0.1
"""Seconds between two looks at what other processes say of the account; after one that gave too little."""
PATIENCE = 60.0
"""Seconds that our own limits may make a request wait, whatever the connection's backoff."""
CHUNK, LIFE, MANY = 0.25, 10.0, 10_000
"""Seconds for which turns are taken in advance; that places outlive a request; turns in advance without a rate."""
_numbers = itertools.count(1)


class Budget:
    """One process's part of an account: at most so many requests in a time, and at once; shared by all its threads.

    permits: where the account's figures are kept, if other processes call it, too. hold: seconds that a request may take.
    """

    def __init__(
        self, rate: Rate | None, concurrency: int, breaker: Breaker | None = None, sleep: Sleep = time.sleep,
        permits: Permits | None = None, account: str = "", hold: float = 30.0,
    ) -> None:  # fmt: skip
        self.rate, self.concurrency, self.sleep, self.breaker = rate, concurrency, sleep, breaker
        self._shared, self._permits, self._account = permits is not None, permits or OwnPermits(), account
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{next(_numbers)}"
        self._hold = hold
        self._changed, self._judging = threading.Condition(threading.Lock()), threading.Lock()
        self._used = self._waiting = self._wanted = 0
        self._slots, self._slots_until, self._ask_again, self._told = 0, 0.0, 0.0, 0.0
        self._turns, self._turns_until, self._turn_at, self._apart, self._spent = 0, 0.0, 0.0, 0.0, 0
        self._no_turn_until, self._asked_to_pause = 0.0, False
        self._lately = [0, 0]  # requests taken by the system in this second, and in the one before
        self._second = time.monotonic()
        self._slowed = 0.0
        self._recent: deque[bool] = deque(maxlen=breaker.of if breaker else 1)
        self._open_until: float | None = None

    # ------------------------------------------------------------------ rate and concurrency
    def take(self, name: str, patience: float = LONGEST, send_by: float | None = None) -> bool:
        """Wait for a turn, which `give` ends; False where it would come after `send_by` (boot clock).

        Raises ConnectorError C519 where it is further away than `patience` seconds.
        """
        with self._changed:
            self._waiting += 1
            self._wanted = max(self._wanted, self._used + self._waiting)
            try:
                while (wait := self._wait()) > 0:
                    now = time.monotonic()
                    if self._no_turn_until - now > (patience if self._asked_to_pause else max(patience, PATIENCE)):
                        raise _not_yet(name, self._no_turn_until - now, asked=self._asked_to_pause)
                    if send_by is not None and (boot() > send_by or boot() + self._no_turn_until - now > send_by):
                        return False
                    self._changed.wait(wait)
            finally:
                self._waiting -= 1
            self._used += 1
            self._count(time.monotonic(), 1)
            return True

    def give(self) -> None:
        """The turn is over."""
        with self._changed:
            self._used -= 1
            self._changed.notify()

    def rest(self) -> None:
        """Nobody here needs the account for now: its places are for others."""
        with self._changed:
            if self._shared and self._used == 0 and self._waiting == 0 and self._told > 0:
                self._slots = self._wanted = self._turns = 0
                self._told = 0.0
                self._permits.release(self._account, self._owner)

    def pause(self, seconds: float, *, refused: bool = False) -> None:
        """Nobody calls the account before so many seconds have passed. refused: it was called too often, so go slower."""
        seconds = min(seconds, LONGEST)
        with self._changed:
            now = time.monotonic()
            self._count(now, -1 if refused else 0)
            told = self._asked_to_pause and now + seconds <= self._no_turn_until + 0.05
            slower = refused and now - self._slowed > 1.0
            if told and not slower:
                return
            self._slowed = now if slower else self._slowed
            seen = self._lately[0] + self._lately[1] * max(0.0, 1.0 - (now - self._second))
            self._permits.hold(self._account, seconds, round(seen * 1000) if slower else None)
            self._asked_to_pause, self._no_turn_until = True, max(self._no_turn_until, now + seconds)
            self._turns = 0

    def _count(self, now: float, change: int) -> None:
        age = now - self._second
        if age >= 1.0:
            self._lately, self._second = [0, self._lately[0] if age < 2.0 else 0], now
        self._lately[0] = max(0, self._lately[0] + change)

    def _wait(self) -> float:
        """0 where the turn is ours; else seconds until looking again makes sense."""
        now = time.monotonic()
        if self._no_turn_until > now:
            return self._no_turn_until - now
        full = self._used >= self._slots and self._slots < self.concurrency and now >= self._ask_again
        none = self._used < self._slots and (self._turns == 0 or now > self._turns_until)
        stale = self._shared and now - self._told > LISTEN
        if full or none or stale or now + self._hold > self._slots_until:
            self._claim(now)
            now = time.monotonic()
            if self._no_turn_until > now:
                return self._no_turn_until - now
        if self._used >= self._slots:
            return AGAIN if self._shared else LISTEN
        if self._turns == 0 or now > self._turns_until:
            return AGAIN / 100
        if self._turn_at > now:
            return self._turn_at - now
        self._turns -= 1
        self._spent += 1
        self._turn_at = max(self._turn_at + self._apart, now) if self._apart else 0.0
        return 0.0

    def _claim(self, now: float) -> None:
        """Ask for places, and for as many turns as were used lately: one look at the account for many requests."""
        within = 0.0 if not self._shared else min(CHUNK, self.rate.per.total_seconds() / 10) if self.rate else CHUNK
        fresh = self._turns > 0 and now <= self._turns_until
        places = max(self._wanted, self._used + self._waiting) if self._shared else self.concurrency
        got = self._permits.claim(self._account, Ask(
            self._owner, self.rate, self.concurrency, requests=0 if fresh else self._turns_wanted(),
            within=round(within * SECOND), slots=min(places, self.concurrency), used=self._used,
            life=round((self._hold + LIFE) * SECOND),
        ))  # fmt: skip
        self._told, self._wanted = now, self._used + self._waiting
        self._ask_again = now + AGAIN * (got.slots < places)
        self._slots, self._slots_until = got.slots, now + self._hold + LIFE
        if got.wait:
            self._no_turn_until, self._turns, self._asked_to_pause = now + got.wait / SECOND, 0, got.pause
        elif not fresh:
            free = self.rate is None and got.apart == 0
            self._turns, self._spent, self._asked_to_pause = got.requests, 0, False
            self._turns_until = now + LISTEN + AGAIN if free else now + within if self._shared else time.monotonic() + 1
            self._turn_at, self._apart = now + got.first / SECOND, got.apart / SECOND

    def _turns_wanted(self) -> int:
        """As many as were used of the last ones and are waited for; where nothing bounds them, any number."""
        if self.rate is None and self._apart == 0:
            return MANY
        if not self._shared:
            return 1
        most = max(1, self.rate.count // 10) if self.rate else MANY
        return max(1, min(most, self._spent + self._waiting))

    # ------------------------------------------------------------------ the breaker
    def admit(self, name: str) -> None:
        """Raises ConnectorError C517 while the breaker is open; once it may be tried, one caller is let through."""
        if self._open_until is None or self.breaker is None:
            return
        with self._judging:
            if self._open_until is None:
                return
            left = self._open_until - time.monotonic()
            if left <= 0:
                self._open_until = time.monotonic() + self.breaker.reset.total_seconds()  # the others keep waiting
                return
            share = f"{self._recent.count(False)} of the last {len(self._recent)}"
        raise ConnectorError("server", Problem(
            "C517", f"connection {name!r} is not called for {left:.0f} s: {share} calls failed", None,
            "see why the system fails; it is tried again by itself (`breaker` of the connection)",
        ), wait=left)  # fmt: skip

    def note(self, good: bool) -> None:
        """How a call ended. A good one closes the breaker; too many bad ones open it."""
        if self.breaker is None:
            return
        with self._judging:
            if good and self._open_until is not None:
                self._open_until = None
                self._recent.clear()
            self._recent.append(good)
            full = len(self._recent) == self.breaker.of
            if (
                full
                and self._open_until is None
                and self._recent.count(False) >= self.breaker.failures * self.breaker.of
            ):
                self._open_until = time.monotonic() + self.breaker.reset.total_seconds()


def _not_yet(name: str, wait: float, *, asked: bool) -> ConnectorError:
    why = "the system asks for a pause" if asked else "the account's `limits` are used up"
    return ConnectorError("rate_limited", Problem(
        "C519", f"connection {name!r} is not called for {wait:.0f} s: {why}", None,
        "the next run goes on from here; a `backoff` that reaches so far waits instead",
    ), wait=wait)  # fmt: skip


class SystemClock:
    """A system's clock, as its answers tell it (the header Date, whole seconds)."""

    def __init__(self) -> None:
        self._told: tuple[str, float] | None = None

    def heard(self, date: str | None) -> None:
        if date is not None:
            self._told = (date, time.monotonic())

    def now(self) -> datetime:
        """The moment there, in UTC; our own where nothing was told that can be read."""
        if self._told is not None:
            date, at = self._told
            try:
                moment = parsedate_to_datetime(date)
            except (TypeError, ValueError):
                return datetime.now(UTC)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return moment.astimezone(UTC) + timedelta(seconds=time.monotonic() - at)
        return datetime.now(UTC)


_shared: WeakValueDictionary[tuple[Any, ...], Budget] = WeakValueDictionary()
_sharing = threading.Lock()


def shared_budget(
    host: str, port: int, rate: Rate | None, concurrency: int, breaker: Breaker, permits: Permits | None, hold: float
) -> Budget:
    """The budget of an account: the same object for every connection of this process that calls it with these limits,
    and through `permits` the same figures for every process."""
    key = (host, port, rate, concurrency, breaker.failures, breaker.of, breaker.reset, permits, hold)
    with _sharing:
        found = _shared.get(key)
        if found is None:
            found = Budget(rate, concurrency, breaker, permits=permits, account=f"{host}:{port}", hold=hold)
            _shared[key] = found
        return found


def waiting_time(given: JSON, dialect: str = "seconds") -> float | None:
    """Seconds to wait, out of what a header or body says; None where it says nothing that can be read.

    dialect: `seconds` (or an HTTP date, as Retry-After has it), `epoch`, `epoch_ms`, `ms`, `instant` (RFC 3339).
    """
    if given is None:
        return None
    text = str(given).strip()
    try:
        if dialect == "instant":
            until = datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
            return _bounded(until - time.time())
        number = float(text)
    except ValueError:
        return _until_date(text) if dialect == "seconds" else None
    if dialect in ("epoch", "epoch_ms"):
        number = (number / 1000 if dialect == "epoch_ms" else number) - time.time()
    return _bounded(number / 1000 if dialect == "ms" else number)


def _until_date(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return _bounded(moment.timestamp() - time.time())


def _bounded(seconds: float) -> float | None:
    return min(max(0.0, seconds), LONGEST) if seconds == seconds else None


def pause_of(headers: Mapping[str, str], remaining: str | None, reset: str | None, dialect: str) -> float | None:
    """Seconds to stop for where the answer's headers say that nothing is left of a quota; None where something is."""
    left = headers.get(remaining.lower()) if remaining else None
    if left is None or not left.strip().lstrip("-").isdigit() or int(left) > 0:
        return None
    return waiting_time(headers.get(reset.lower()), dialect) if reset else None
