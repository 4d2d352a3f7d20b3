"""The protocol of one create on a target of class C as a state machine, explored to the end or to a number of states.

Two workers claim, note the intent, send, are answered or not, freeze (they take no step), die, and lose their lease at any
moment. The target commits a request late or never, says that it did not process or take it, and lists a row late. Time
passes in ticks; ages count from the event and stop where nothing depends on them any more. What the journal's row may
become is the engine's own table. Left out parts are named by DELIVERY's own words.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from engine.state.operations import AGAIN, FIRST, TRANSITIONS

NONE, PLANNED, SENT, DOUBT, DROPPED, REFUSED, CONFIRMED = (
    "",
    "planned",
    "sent",
    "in_doubt",
    "dropped",
    "refused",
    "confirmed",
)
MAY = {old: {new for new in to if (old, new) not in AGAIN} for old, to in TRANSITIONS.items()} | {NONE: {FIRST}}
"""What the row of a create may become: a write that comes to the same twice may do more."""
TRY, TIMEOUT, LATE, INDEX = 1, 1, 1, 1
"""Ticks: how long a write may be sent, how long an answer is waited for, how late a commit and a listing may be."""
SETTLE = TRY + TIMEOUT + LATE + INDEX
CAP = SETTLE + 1
GONE, READY, ASKED, TOLD, UNSURE, FOUND, ABSENT, CLAIMED, BUSY, BAD = range(10)
"""Where a worker stands: not there; noted its intent; waits for an answer; was told yes; does not know; searched and found,
or did not; holds the lease; was told that nothing was done, or that the record is not taken."""


class Op(NamedTuple):
    """The row of the intent journal. age: ticks since it was sent; fence: of the worker that sent it."""

    state: str
    age: int
    fence: int

    def to(self, state: str) -> Op:
        """Compare and set: what the table does not allow changes nothing."""
        return self._replace(state=state) if state in MAY[self.state] else self


class Worker(NamedTuple):
    """A process. age: ticks since its clock was read before the intent, or since it sent."""

    stands: int
    fence: int
    age: int


class State(NamedTuple):
    """Everything. holder: worker with the lease, -1 none. requests: (age, worker that waits or -1) on their way;
    rows: ages of records that the target made; left: claims that may still be made."""

    op: Op
    holder: int
    fence: int
    workers: tuple[Worker, Worker]
    requests: tuple[tuple[int, int], ...]
    rows: tuple[int, ...]
    left: int


IDLE = Worker(GONE, 0, 0)


def start(claims: int) -> State:
    return State(Op(NONE, 0, 0), -1, 0, (IDLE, IDLE), (), (), claims)


def put(state: State, who: int, worker: Worker, **more: object) -> State:
    workers = (worker, state.workers[1]) if who == 0 else (state.workers[0], worker)
    return state._replace(workers=workers, **more)  # type: ignore[arg-type]


def steps(state: State, without: frozenset[str]) -> Iterator[State]:
    """Every state that may come next."""
    yield _tick(state)
    if state.holder != -1:
        yield state._replace(holder=-1)  # the lease runs out
    for who in (0, 1):
        worker = state.workers[who]
        if worker.stands == GONE:
            if state.holder == -1 and state.left:
                fence = state.fence + 1
                yield put(state, who, Worker(CLAIMED, fence, 0), holder=who, fence=fence, left=state.left - 1)
            continue
        yield put(state, who, IDLE, requests=_nobody_waits(state.requests, who))  # it dies
        yield from _work(state, who, worker, without)
    for n, (age, waiting) in enumerate(state.requests):
        others = state.requests[:n] + state.requests[n + 1 :]
        yield _cut(state, waiting)._replace(requests=others)  # it never arrives
        done = state._replace(requests=others, rows=tuple(sorted((*state.rows, 0))))
        yield _cut(done, waiting)  # it is done, its answer is lost
        if waiting >= 0 and age <= TIMEOUT:
            yield put(done, waiting, state.workers[waiting]._replace(stands=TOLD))
            yield put(state, waiting, state.workers[waiting]._replace(stands=BUSY), requests=others)
            yield put(state, waiting, state.workers[waiting]._replace(stands=BAD), requests=others)


def _work(state: State, who: int, worker: Worker, without: frozenset[str]) -> Iterator[State]:
    op, mine = state.op, "fence" in without or worker.fence == state.fence
    sent_it = "fence" in without or op.fence == worker.fence
    over = put(state, who, IDLE, holder=-1 if state.holder == who else state.holder)
    match worker.stands:
        case 7:  # CLAIMED
            yield from _begin(state, who, worker, without)
        case 1:  # READY
            if worker.age <= TRY or "send_by" in without:
                asked = tuple(sorted((*state.requests, (0, who))))
                yield put(state, who, worker._replace(stands=ASKED, age=0), requests=asked)
            else:
                yield put(state, who, worker._replace(stands=BUSY))
        case 2:  # ASKED
            if worker.age > TIMEOUT:
                unsure = worker._replace(stands=UNSURE)
                yield put(state, who, unsure, requests=_nobody_waits(state.requests, who))
        case 3 | 5:  # TOLD, FOUND: a fact, recorded even where the lease was lost
            yield over._replace(op=op.to(CONFIRMED)._replace(age=0, fence=0))
        case 4:  # UNSURE
            yield over._replace(op=op.to(DOUBT) if sent_it else op)
        case 6:  # ABSENT
            if mine and op.state == DOUBT:
                dropped = state._replace(op=op.to(DROPPED))
                yield put(dropped, who, worker._replace(stands=CLAIMED))
            else:
                yield over
        case 8:  # BUSY: it tries again in the same run, or leaves it to the next
            if mine and sent_it and op.state == SENT:
                again = state._replace(op=Op(SENT, 0, worker.fence))
                yield put(again, who, worker._replace(stands=READY, age=0))
            yield over._replace(op=op.to(PLANNED) if sent_it else op)
        case 9:  # BAD
            yield over._replace(op=op.to(REFUSED) if sent_it else op)


def _begin(state: State, who: int, worker: Worker, without: frozenset[str]) -> Iterator[State]:
    """Holds the lease, or believes so: what was left is in doubt, and looked for when it is ripe; else T1. Nothing leaves
    before it; the clock for `send_by` is read before it."""
    op, mine = state.op, "fence" in without or worker.fence == state.fence
    if not mine or op.state == CONFIRMED:
        yield put(state, who, IDLE, holder=-1 if state.holder == who else state.holder)
    elif op.state == SENT:
        yield state._replace(op=op.to(DOUBT))
    elif op.state == DOUBT and op.age <= SETTLE and "settle" not in without:
        yield put(state, who, IDLE, holder=-1 if state.holder == who else state.holder)
    elif op.state == DOUBT:
        if state.rows:
            yield put(state, who, worker._replace(stands=FOUND))
        if not any(age >= INDEX for age in state.rows):
            yield put(state, who, worker._replace(stands=ABSENT))
    elif FIRST in MAY[op.state]:
        noted = op if "T1" in without else op.to(FIRST)._replace(age=0, fence=worker.fence)
        yield put(state, who, worker._replace(stands=READY, age=0), op=noted)


def _tick(state: State) -> State:
    """Time passes. What is on its way is done or lost before it is later than the target promises."""
    requests = tuple(sorted((age + 1, who) for age, who in state.requests if age < TIMEOUT + LATE))
    lost = {who for age, who in state.requests if age >= TIMEOUT + LATE and who >= 0}
    workers = tuple(
        one._replace(stands=UNSURE) if n in lost and one.stands == ASKED else one._replace(age=min(one.age + 1, CAP))
        for n, one in enumerate(state.workers)
    )
    rows = tuple(sorted(min(age + 1, INDEX) for age in state.rows))
    op = state.op._replace(age=min(state.op.age + 1, CAP))
    return state._replace(op=op, workers=workers, requests=requests, rows=rows)  # type: ignore[arg-type]


def _nobody_waits(requests: tuple[tuple[int, int], ...], who: int) -> tuple[tuple[int, int], ...]:
    return tuple(sorted((age, -1 if waiting == who else waiting) for age, waiting in requests))


def _cut(state: State, waiting: int) -> State:
    """The connection breaks off: who waits does not know."""
    return put(state, waiting, state.workers[waiting]._replace(stands=UNSURE)) if waiting >= 0 else state


class Found(NamedTuple):
    """What exploring found. broken: the first state that breaks the promise, and how; moves: changes of the journal's row."""

    states: int
    broken: tuple[str, State] | None
    moves: frozenset[tuple[str, str]]
    whole: bool


def explore(claims: int, most: int, without: frozenset[str] = frozenset()) -> Found:
    """Breadth first, so the first broken state is the nearest. Of states that were seen only the hash is kept (64 bits)."""
    first = start(claims)
    seen, queue, moves = {hash(first)}, deque([first]), set[tuple[str, str]]()
    while queue and len(seen) < most:
        state = queue.popleft()
        for after in steps(state, without):
            if after.op.state != state.op.state:
                moves.add((state.op.state, after.op.state))
            before = len(seen)
            seen.add(hash(after))
            if len(seen) == before:
                continue
            queue.append(after)
            if len(after.rows) > 1:
                return Found(len(seen), ("doubled", after), frozenset(moves), False)
            if after.op.state == CONFIRMED and not after.rows:
                return Found(len(seen), ("lost: confirmed, and not there", after), frozenset(moves), False)
            if after.op.state == DROPPED and after.rows and all(one.stands == GONE for one in after.workers):
                return Found(len(seen), ("lost: there, and taken to be absent", after), frozenset(moves), False)
    return Found(len(seen), None, frozenset(moves), not queue)
