"""What a system allows and bears: requests in a time, requests at once, pauses it asks for, and a breaker for when it fails."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from weakref import WeakValueDictionary

from engine.sdk.config import Breaker, Rate
from engine.sdk.errors import ConnectorError, Problem
from engine.sdk.record import JSON

Sleep = Callable[[float], None]
LONGEST = 86_400.0
"""Seconds: no wait that a system names is believed beyond a day."""


class Budget:
    """At most so many requests in a time, and at once; shared by all who call one account."""

    def __init__(
        self, rate: Rate | None, concurrency: int, breaker: Breaker | None = None, sleep: Sleep = time.sleep
    ) -> None:
        self.rate, self.sleep, self.breaker = rate, sleep, breaker
        self._slots = threading.BoundedSemaphore(concurrency)
        self._lock = threading.Lock()
        self._times: deque[float] = deque()
        self._until = 0.0
        self._recent: deque[bool] = deque(maxlen=breaker.of if breaker else 1)
        self._open_until: float | None = None

    # ------------------------------------------------------------------ rate and concurrency
    def pause(self, seconds: float) -> None:
        """Nobody sends before so many seconds have passed."""
        with self._lock:
            self._until = max(self._until, time.monotonic() + min(seconds, LONGEST))

    def __enter__(self) -> None:
        self._slots.acquire()
        try:
            while (wait := self._wait()) > 0:
                self.sleep(wait)
        except BaseException:
            self._slots.release()
            raise

    def __exit__(self, *_: Any) -> None:
        self._slots.release()

    def paused(self) -> float:
        """Seconds that everybody waits because the system asked for it."""
        return max(0.0, self._until - time.monotonic())

    def _wait(self) -> float:
        now = time.monotonic()
        with self._lock:
            if self._until > now:
                return self._until - now
            if self.rate is not None:
                start = now - self.rate.per.total_seconds()
                while self._times and self._times[0] <= start:
                    self._times.popleft()
                if len(self._times) >= self.rate.count:
                    return self._times[0] - start
                self._times.append(now)
        return 0.0

    # ------------------------------------------------------------------ the breaker
    def admit(self, name: str) -> None:
        """Raises ConnectorError C517 while the breaker is open; once it may be tried, one caller is let through."""
        if self._open_until is None or self.breaker is None:
            return
        with self._lock:
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
        with self._lock:
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


def shared_budget(account: tuple[Any, ...], rate: Rate | None, concurrency: int, breaker: Breaker) -> Budget:
    """The budget of an account: the same object for every connection of this process that calls it with these limits."""
    key = (*account, rate, concurrency, breaker.failures, breaker.of, breaker.reset)
    with _sharing:
        found = _shared.get(key)
        if found is None:
            found = _shared[key] = Budget(rate, concurrency, breaker)
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
