"""What all who call one account share: turns in a time, turns at once, pauses, and a pace that gives way to refusals.

Pure arithmetic on a moment that the caller gives: one process counts in memory, several count in one row of the state.
Moments and spans are whole microseconds. A turn that was granted counts against the limit from the last moment at
which it may be used, so that no span of time ever holds more than the limit, whoever took them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from engine.sdk.config import Rate
from engine.sdk.record import JSON

SECOND = 1_000_000
COOL = SECOND
"""Refusals within this time are one refusal: they answer requests of one moment."""
BACK, SLOWEST = 600 * SECOND, 1_000
"""A pace without a refusal for so long is forgotten. The slowest pace, in thousandths of a request a second."""
ROTATE = SECOND
"""Where more processes call than may at once, a place is kept for so long."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a caller needs. owner: who. requests: turns, each used `within` µs. slots: places at once, of which `used`
    are; they are its own for `life` µs. rate, most: what the account bears in a time and at once, by its settings."""

    owner: str
    rate: Rate | None
    most: int
    requests: int = 1
    within: int = 0
    slots: int = 1
    used: int = 0
    life: int = 40 * SECOND


@dataclass(frozen=True, slots=True)
class Grant:
    """What it got. wait: µs until asking for turns may help. first, apart: when the first turn may be used, from now,
    and the least time between two. pause: whether the wait is one that the system asked for."""

    requests: int
    slots: int
    wait: int = 0
    first: int = 0
    apart: int = 0
    pause: bool = False


class Permits(Protocol):
    """An account's budget, wherever it is kept."""

    def claim(self, account: str, ask: Ask) -> Grant:
        """Turns and places, as far as there are any now."""

    def hold(self, account: str, wait: float, seen: int | None) -> None:
        """Nobody calls for `wait` seconds. seen: thousandths of a request a second that were taken when one was refused."""

    def release(self, account: str, owner: str) -> None:
        """The owner calls no more."""


@dataclass(slots=True)
class Account:
    """The figures of one account. holders: owner → [places, wanted, since when, until when]."""

    until: int = 0
    pace: int = 0
    refused_at: int = 0
    slowed: int = 0
    next: int = 0
    taken: list[list[int]] = field(default_factory=list)
    holders: dict[str, list[int]] = field(default_factory=dict)

    def claim(self, now: int, ask: Ask, gone: Callable[[str], bool] = lambda owner: False) -> Grant:
        """The claim of one owner. gone: whether an owner's process is known to have ended."""
        for owner in [one for one, row in self.holders.items() if row[3] <= now or (one != ask.owner and gone(one))]:
            del self.holders[owner]
        slots = self._places(now, ask)
        if self.until > now:
            return Grant(0, slots, self.until - now, pause=True)
        if ask.requests == 0:
            return Grant(0, slots)
        turns, wait = self._left(now, ask)
        if turns == 0:
            return Grant(0, slots, wait)
        first, apart, turns = self._paced(now, ask, turns)
        if turns == 0:
            return Grant(0, slots, first)
        if ask.rate is not None:
            self.taken.append([now + ask.within, turns])
        return Grant(turns, slots, 0, first, apart)

    def _places(self, now: int, ask: Ask) -> int:
        """Places at once: what is free, shared fairly while others want, in turns where there are more callers than places."""
        others = {owner: row for owner, row in self.holders.items() if owner != ask.owner}
        mine = self.holders.get(ask.owner, [0, 0, now, 0])
        free = ask.most - sum(row[0] for row in others.values())
        fair = max(1, ask.most // (1 + len(others)))
        hungry = any(row[0] < min(row[1], fair) for row in others.values())
        granted = max(0, min(ask.slots, free, fair if hungry else ask.most))
        since = mine[2]
        if mine[0] == 0 and granted:
            before = sum(1 for row in others.values() if row[0] == 0 and row[1] and row[2] < since)
            granted = granted if before < free else 0
        elif mine[0] and hungry and len(others) >= ask.most and now - since > ROTATE:
            granted = 0
        granted = max(granted, ask.used)
        if (mine[0] == 0) != (granted == 0):
            since = now
        self.holders[ask.owner] = [granted, ask.slots, since, now + ask.life]
        return granted

    def _left(self, now: int, ask: Ask) -> tuple[int, int]:
        """(turns that the rate leaves, µs until there is one)."""
        if ask.rate is None:
            return ask.requests, 0
        start = now - round(ask.rate.per.total_seconds() * SECOND)
        self.taken = [one for one in self.taken if one[0] > start]
        left = ask.rate.count - sum(count for _, count in self.taken)
        if left <= 0:
            return 0, max(1, min(at for at, _ in self.taken) - start)
        return min(ask.requests, left), 0

    def _paced(self, now: int, ask: Ask, turns: int) -> tuple[int, int, int]:
        """(µs until the first turn, µs between two, turns): even steps while the system has lately refused some."""
        pace = self.speed(now)
        if pace == 0:
            return 0, 0, turns
        apart = SECOND * 1000 // pace
        start = max(now, self.next)
        if start - now > ask.within:
            return start - now, apart, 0
        turns = min(turns, 1 + (now + ask.within - start) // apart)
        self.next = start + turns * apart
        return start - now, apart, turns

    def speed(self, now: int) -> int:
        """The pace by now: 85% of the one that was refused, and 1.5% more each second; 0 where there is none."""
        if self.pace and now - self.slowed > BACK:
            self.pace = 0
        if self.pace == 0:
            return 0
        return self.pace + max(self.refused_at * 3 // 200, 500) * max(0, now - self.slowed) // SECOND

    def hold(self, now: int, wait: int, seen: int | None) -> None:
        """A pause, and where a request was refused for its rate, a slower pace."""
        self.until = max(self.until, now + wait)
        if seen is None or now - self.slowed < max(COOL, wait):
            return
        seen = max(seen * max(1, len(self.holders)), SLOWEST)  # the others do about as much
        self.refused_at = min(self.speed(now) or seen, seen * 2)
        self.pace = max(self.refused_at * 85 // 100, SLOWEST)
        self.slowed = max(now, self.until)
        self.next = self.until

    def as_json(self) -> JSON:
        return [self.until, self.pace, self.refused_at, self.slowed, self.next, self.taken, self.holders]

    @classmethod
    def of(cls, given: Any) -> Account:
        return cls(*given)


class OwnPermits:
    """The budget of one process, in memory."""

    def __init__(self) -> None:
        self._account, self._lock = Account(), threading.Lock()

    def claim(self, account: str, ask: Ask) -> Grant:
        with self._lock:
            return self._account.claim(_now(), ask)

    def hold(self, account: str, wait: float, seen: int | None) -> None:
        with self._lock:
            self._account.hold(_now(), round(wait * SECOND), seen)

    def release(self, account: str, owner: str) -> None:
        with self._lock:
            self._account.holders.pop(owner, None)


def _now() -> int:
    return time.monotonic_ns() // 1000
