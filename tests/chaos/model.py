"""The protocol of one create on a target of class C as a state machine, explored to the end or to a number of states.

Two or more workers claim, note the intent, send, are answered or not, freeze (they take no step), die, and lose their lease at any
moment. The target commits a request late or never, says that it did not process or take it, and lists a row late. Time
passes in ticks; ages count from the event and stop where nothing depends on them any more. What the journal's row may
become is the engine's own table. Left out parts are named by DELIVERY's own words.

A state is one integer. What a worker's step sees and changes is a small part of it (`Part`), so each kind of step is
worked out once, as differences of integers, and looked up from then on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from engine.state.operations import AGAIN, FIRST, TRANSITIONS

NONE, CONFIRMED, DOUBT, DROPPED, PLANNED, REFUSED, SENT = (
    "",
    "confirmed",
    "in_doubt",
    "dropped",
    "planned",
    "refused",
    "sent",
)
MAY = {old: {new for new in to if (old, new) not in AGAIN} for old, to in TRANSITIONS.items()} | {NONE: {FIRST}}
"""What the row of a create may become: a write that comes to the same twice may do more."""
STATES = sorted(MAY)
GONE, READY, ASKED, TOLD, UNSURE, FOUND, ABSENT, CLAIMED, BUSY, BAD = range(10)
"""Where a worker stands: not there; noted its intent; waits for an answer; was told yes; does not know; searched and found,
or did not; holds the lease; was told that nothing was done, or that the record is not taken."""
NOBODY = 0
DOUBLED = 15
"""What the target holds: 0 nothing, 1 + the age of one record, or two."""


class Times(NamedTuple):
    """Ticks: how long a write may be sent, how long an answer is waited for, how late a commit and a listing may be."""

    send: int = 1
    answer: int = 1
    late: int = 1
    index: int = 1

    @property
    def settle(self) -> int:
        return sum(self)


TICK = Times()


class Part(NamedTuple):
    """What one worker's step sees and changes.

    me: number of the worker from 1. op, age: state of the journal's row, ticks since it was sent. by: who sent it. newest:
    whose fence is the newest. held: whether somebody has the lease. row: what the target holds. stands, since: the worker,
    and ticks since its intent or its request. left: claims that may still be made. loose: age of a request that nobody waits
    for any more, -1 none.
    """

    me: int
    op: str
    age: int
    by: int
    newest: int
    held: int
    row: int
    stands: int
    since: int
    left: int
    loose: int = -1

    def to(self, state: str) -> Part:
        """Compare and set: what the table does not allow changes nothing."""
        if state not in MAY[self.op]:
            return self
        known = state in (SENT, DOUBT)
        return self._replace(op=state, age=self.age if known else 0, by=self.by if known else NOBODY)

    def at(self, stands: int, since: int = 0) -> Part:
        return self._replace(stands=stands, since=since)

    def over(self) -> Part:
        """The run ends; its lease is given back where it still has it. A request on its way is nobody's."""
        mine = self.newest == self.me
        return self.dead()._replace(held=0 if mine else self.held)

    def dead(self) -> Part:
        loose = self.since if self.stands == ASKED else -1
        by, newest = (NOBODY if one == self.me else one for one in (self.by, self.newest))
        return self.at(GONE)._replace(by=by, newest=newest, loose=loose)

    def made(self) -> Part:
        """The target makes the record."""
        return self._replace(row=DOUBLED if self.row else 1)


def steps(part: Part, times: Times, without: frozenset[str]) -> Iterator[Part]:
    """What a worker may do next, and what may happen to it and to its request."""
    mine = "fence" in without or part.newest == part.me
    sent_it = "fence" in without or part.by == part.me
    if part.stands == GONE:
        if not part.held and part.left:
            yield part.at(CLAIMED)._replace(held=1, newest=part.me, left=part.left - (part.left != ENDLESS))
        return
    yield part.dead()
    match part.stands:
        case 7:  # CLAIMED
            yield from begin(part, mine, times, without)
        case 1:  # READY
            yield part.at(ASKED) if part.since <= times.send or "send_by" in without else part.at(BUSY)
        case 2:  # ASKED: no answer; it never arrives; it is done, and the answer is lost or not
            if part.since > times.answer:
                yield part.at(UNSURE)._replace(loose=part.since)
            yield part.at(UNSURE)
            yield part.made().at(UNSURE)
            if part.since <= times.answer:
                yield from (part.made().at(TOLD), part.at(BUSY), part.at(BAD))
        case 3 | 5:  # TOLD, FOUND: a fact, recorded even where the lease was lost
            yield part.to(CONFIRMED).over()
        case 4:  # UNSURE
            yield (part.to(DOUBT) if sent_it else part).over()
        case 6:  # ABSENT
            yield part.to(DROPPED).at(CLAIMED) if mine and part.op == DOUBT else part.over()
        case 8:  # BUSY: it tries again in the same run, or leaves it to the next
            if mine and sent_it and part.op == SENT:
                yield part._replace(age=0).at(READY)
            yield (part.to(PLANNED) if sent_it else part).over()
        case 9:  # BAD
            yield (part.to(REFUSED) if sent_it else part).over()


def begin(part: Part, mine: bool, times: Times, without: frozenset[str]) -> Iterator[Part]:
    """Holds the lease, or believes so: what was left is in doubt, and looked for when it is ripe; else T1. Nothing leaves
    before it; the clock for `send_by` is read before it."""
    if not mine or part.op == CONFIRMED:
        yield part.over()
    elif part.op == SENT:
        yield part.to(DOUBT)
    elif part.op == DOUBT and part.age <= times.settle and "settle" not in without:
        yield part.over()
    elif part.op == DOUBT:
        if part.row:
            yield part.at(FOUND)
        if not part.row > times.index:
            yield part.at(ABSENT)
    elif FIRST in MAY[part.op]:
        noted = part if "T1" in without else part.to(FIRST)._replace(age=0, by=part.me)
        yield noted.at(READY)


ENDLESS = 31
"""Claims, where they are not counted."""
_OP, _AGE, _BY, _NEWEST, _HELD, _ROW, _LEFT, _LOOSE, _WORKERS = 0, 3, 8, 11, 14, 15, 19, 24, 64
"""Where a part begins in the integer: 3, 5, 3, 3, 1, 4 and 5 bits, 4 for each age of a request that nobody waits for, and 9
for each worker: 4 where it stands, 5 since when."""
_SHARED = (1 << _LOOSE) - 1
_ROW_BITS = 15 << _ROW
_LOOSE_BITS = (1 << _WORKERS) - (1 << _LOOSE)


def _place(worker: int) -> int:
    return _WORKERS + 9 * (worker - 1)


def _unpacked(state: int, me: int) -> Part:
    """A state as a worker sees it."""
    worker = state >> _place(me)
    return Part(me, STATES[state & 7], state >> _AGE & 31, state >> _BY & 7, state >> _NEWEST & 7, state >> _HELD & 1,
                state >> _ROW & 15, worker & 15, worker >> 4 & 31, state >> _LEFT & 31)  # fmt: skip


def _packed(part: Part) -> int:
    loose = 1 << (_LOOSE + 4 * part.loose) if part.loose >= 0 else 0
    worker = (part.stands | part.since << 4) << _place(part.me)
    return (STATES.index(part.op) | part.age << _AGE | part.by << _BY | part.newest << _NEWEST | part.held << _HELD
            | part.row << _ROW | part.left << _LEFT | worker) + loose  # fmt: skip


class Found(NamedTuple):
    """What exploring found. broken: how the promise breaks, and the state; moves: changes of the journal's row."""

    states: int
    broken: tuple[str, Part] | None
    moves: frozenset[tuple[str, str]]
    whole: bool


Deltas = tuple[int, tuple[int, ...]]
"""What a tick adds to a state, and what each step adds."""
Lane = tuple[int, dict[int, Deltas], Callable[[int], Deltas]]
"""The bits that a part looks at, what is known of it, and how it is worked out."""


@dataclass
class Machine:
    """What may come next, worked out for each part of a state when it is first met."""

    times: Times
    without: frozenset[str]
    moves: set[tuple[str, str]] = field(default_factory=set)

    def lanes(self, workers: int) -> list[Lane]:
        found: list[Lane] = [
            (_SHARED, {}, self.standing),
            (_LOOSE_BITS | _ROW_BITS, {}, self.on_their_way),
        ]
        for me in range(1, workers + 1):
            found.append((_SHARED | 511 << _place(me), {}, partial(self.worked, me=me)))
        return found

    def standing(self, state: int) -> Deltas:
        """The journal's row, the target's record and the lease."""
        part = _unpacked(state, 1)
        aged = part._replace(age=min(part.age + 1, self.times.settle + 1)) if part.op in (SENT, DOUBT) else part
        if 0 < part.row <= self.times.index:
            aged = aged._replace(row=part.row + 1)
        runs_out = (-1 << _HELD,) if part.held else ()
        return _packed(aged) - state, runs_out

    def on_their_way(self, state: int) -> Deltas:
        """Requests that nobody waits for: each is done or lost before it is later than the target promises."""
        row, counts, found = state >> _ROW & 15, state >> _LOOSE, list[int]()
        for age in range(self.times.answer + self.times.late + 1):
            if counts >> 4 * age & 15:
                lost = -1 << (_LOOSE + 4 * age)
                found += [lost, lost + (((DOUBLED if row else 1) - row) << _ROW)]
        kept = counts & ((1 << 4 * (self.times.answer + self.times.late)) - 1)
        return ((kept << 4) - counts) << _LOOSE, tuple(found)

    def worked(self, state: int, me: int) -> Deltas:
        """A worker."""
        part = _unpacked(state, me)
        found = dict.fromkeys(steps(part, self.times, self.without))
        self.moves |= {(part.op, one.op) for one in found if one.op != part.op}
        aged = part
        if part.stands == READY:
            aged = part.at(READY, min(part.since + 1, self.times.send + 1))
        elif part.stands == ASKED:
            last = part.since == self.times.answer + self.times.late
            aged = part.at(UNSURE) if last else part.at(ASKED, part.since + 1)
        return _packed(aged) - state, tuple(_packed(one) - state for one in found)


def broken(state: int) -> str | None:
    """How a state breaks the promise."""
    op, row = STATES[state & 7], state >> _ROW & 15
    if row == DOUBLED:
        return "doubled"
    if op == CONFIRMED and not row:
        return "lost: confirmed, and not there"
    if op == DROPPED and row and not state >> _WORKERS:
        return "lost: there, and taken to be absent"
    return None


def explore(
    most: int,
    *,
    workers: int = 2,
    claims: int = ENDLESS,
    times: Times = TICK,
    without: frozenset[str] = frozenset(),
    until: float = float("inf"),
) -> Found:
    """Breadth first, so the first broken state is among the nearest; to so many states, or a moment on the monotonic clock."""
    machine = Machine(times, without)
    lanes = machine.lanes(workers)
    layer = {STATES.index(NONE) | claims << _LEFT}
    seen = set(layer)
    while layer and len(seen) < most and time.monotonic() < until:
        layer = {after for state in layer for after in nexts(state, lanes)} - seen
        seen |= layer
        for state in layer:
            how = broken(state)
            if how:
                return Found(len(seen), (how, _unpacked(state, 1)), frozenset(machine.moves), False)
    return Found(len(seen), None, frozenset(machine.moves), not layer)


def nexts(state: int, lanes: list[Lane]) -> list[int]:
    """The states that may come next, the one a tick later last."""
    later, found = state, []
    for mask, known, work_out in lanes:
        key = state & mask
        deltas = known.get(key)
        if deltas is None:
            deltas = known[key] = work_out(key)
        later += deltas[0]
        found += [state + delta for delta in deltas[1]]
    found.append(later)
    return found


def stuck(workers: int) -> int:
    """States from which no way leads to a record that is there and known to be."""
    lanes = Machine(TICK, frozenset()).lanes(workers)
    begin = STATES.index(NONE) | ENDLESS << _LEFT
    before: dict[int, list[int]] = {begin: []}
    left = [begin]
    while left:
        state = left.pop()
        for after in nexts(state, lanes):
            if after not in before:
                before[after] = []
                left.append(after)
            before[after].append(state)
    left = [state for state in before if STATES[state & 7] == CONFIRMED]
    good = set(left)
    while left:
        fresh = [one for one in before[left.pop()] if one not in good]
        good.update(fresh)
        left += fresh
    return len(before) - len(good)
