"""Breaks: differences between systems, one row from the run that first finds one to the run that no longer does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple

from engine.sdk.record import Fields, decode_json, digest, encode_json
from engine.state.store import Tx, new_id

ENGINE = "crosswalk"
LIVE = ("open", "accepted")
MOVED = "moved to the queue "


class Found(NamedTuple):
    """A difference that a run found. key: what joins the sides, as JSON text. side: where the record is missing or
    double; '' for `differs`. fields: what differs, with the value of each side. amount: exact, as text."""

    key: str
    kind: str
    side: str
    name: str
    cause: str
    canonical_id: str | None
    label: str | None
    natives: Fields
    fields: list[Fields]
    why: str | None
    amount: str | None
    currency: str | None
    queue: str | None

    @property
    def mark(self) -> bytes:
        """Equal for the same difference: what an acceptance is for."""
        told = [[one["path"], one["values"]] for one in self.fields]
        return digest([self.kind, self.side, self.natives, told])

    @property
    def place(self) -> Place:
        return (key_digest(self.key), self.kind, self.side)


Place = tuple[str, str, str]
"""(digest of the key, kind, side): one live break at most."""


class Break(NamedTuple):
    """A break as lists show it. name: its class. natives, fields: decoded JSON."""

    id: str
    flow: str
    entity: str
    key: str
    kind: str
    side: str
    name: str
    cause: str
    state: str
    canonical_id: str | None
    label: str | None
    natives: Any
    fields: Any
    why: str | None
    amount: str | None
    currency: str | None
    queue: str | None
    owner: str | None
    first_seen: str
    last_seen: str
    first_run: str
    last_run: str
    runs: int
    accepted_by: str | None
    accepted_because: str | None
    accepted_until: str | None
    closed_at: str | None
    closed_how: str | None


_COLUMNS = ", ".join("class" if name == "name" else name for name in Break._fields)


def key_digest(key: str) -> str:
    """What a key is found by, however long it is."""
    return digest(key).hex()


def live(tx: Tx, flow: str) -> dict[Place, tuple[str, bytes, str, str | None]]:
    """Live breaks of a flow: place → (id, mark, state, accepted until)."""
    rows = tx.stream(
        "SELECT digest, kind, side, id, mark, state, accepted_until FROM breaks WHERE flow = ? AND state IN ('open', 'accepted')",
        (flow,),
    )
    return {(row[0], row[1], row[2]): (row[3], bytes(row[4]), row[5], row[6]) for row in rows}


def record(tx: Tx, flow: str, entity: str, run: str, found: Sequence[Found], *, anew: bool = True) -> tuple[int, int]:
    """Keep what a run found: (new breaks, accepted ones that are open again: changed, or their time is over).

    anew: False for a second look in the same run, which makes no break a run older.
    """
    now, known = tx.now(), live(tx, flow)
    routed = _routed(tx, flow)
    fresh, again, notes, reopened = [], [], [], 0
    for one in found:
        standing = known.get(one.place)
        values = (one.name, one.cause, one.canonical_id, one.label, encode_json(one.natives), encode_json(one.fields), one.why,
                  one.amount, one.currency, one.mark, one.queue)  # fmt: skip
        if standing is None:
            id = new_id("b")
            fresh.append(
                (id, flow, entity, one.key, one.place[0], one.kind, one.side, "open", *values, now, now, run, run, 1)
            )
            notes.append((id, run, ENGINE, f"found: {one.why or one.cause}", one.name))
            continue
        id, mark, state, until = standing
        opens = state == "accepted" and (mark != one.mark or (until is not None and until <= now))
        if opens:
            reopened += 1
            what = "the difference is another one than was accepted" if mark != one.mark else "the acceptance is over"
            notes.append((id, run, ENGINE, f"open again: {what}", one.name))
        elif mark != one.mark:
            notes.append((id, run, ENGINE, f"changed: {one.why or one.cause}", one.name))
        again.append((*values[:-1], int(id in routed), one.queue, "open" if opens else state, now, run, int(anew), id))
    tx.many(
        "INSERT INTO breaks (id, flow, entity, key, digest, kind, side, state, class, cause, canonical_id, label, natives, "
        "fields, why, amount, currency, mark, queue, first_seen, last_seen, first_run, last_run, runs) "
        f"VALUES ({', '.join('?' * 24)})",
        fresh,
    )
    tx.many(
        "UPDATE breaks SET class = ?, cause = ?, canonical_id = ?, label = ?, natives = ?, fields = ?, why = ?, amount = ?, "
        "currency = ?, mark = ?, queue = CASE WHEN ? = 1 THEN queue ELSE ? END, state = ?, last_seen = ?, last_run = ?, "
        "runs = runs + ? WHERE id = ?",
        again,
    )
    note(tx, notes)
    return len(fresh), reopened


def _routed(tx: Tx, flow: str) -> set[str]:
    """Live breaks that a person has moved to a queue: they stay there."""
    sql = (
        "SELECT h.break FROM break_history h JOIN breaks b ON b.id = h.break "
        "WHERE b.flow = ? AND b.state IN ('open', 'accepted') AND h.what LIKE ?"
    )
    return {row[0] for row in tx.rows(sql, (flow, f"{MOVED}%"))}


def close(tx: Tx, ids: Sequence[str], run: str, how: str) -> None:
    """What a run no longer finds is closed."""
    now = tx.now()
    tx.many(
        "UPDATE breaks SET state = 'closed', closed_at = ?, closed_how = ?, last_run = ? WHERE id = ? AND state <> 'closed'",
        [(now, how, run, id) for id in ids],
    )
    note(tx, [(id, run, ENGINE, f"closed: {how}", "") for id in ids])


def note(tx: Tx, rows: Sequence[tuple[str, str | None, str, str, str]]) -> None:
    """Add to the history: (break, run, person, what, class)."""
    now = tx.now()
    tx.many(
        "INSERT INTO break_history (break, number, at, run, person, what, class) SELECT ?, "
        "coalesce((SELECT max(number) FROM break_history WHERE break = ?), 0) + 1, ?, ?, ?, ?, ?",
        [(id, id, now, run, person, what, name) for id, run, person, what, name in rows],
    )


def history(tx: Tx, id: str) -> list[Fields]:
    """What became of a break, oldest first."""
    rows = tx.rows("SELECT at, run, person, what, class FROM break_history WHERE break = ? ORDER BY number", (id,))
    return [dict(zip(("at", "run", "person", "what", "class"), row, strict=True)) for row in rows]


def remaining(tx: Tx, flow: str) -> tuple[int, int, dict[str, Decimal]]:
    """(open breaks that nothing explains, accepted ones, amounts at stake in the former by currency)."""
    count, at_stake = 0, dict[str, Decimal]()
    sql = "SELECT amount, currency FROM breaks WHERE flow = ? AND state = 'open' AND class <> 'in_flight'"
    for amount, currency in tx.stream(sql, (flow,)):
        count += 1
        if amount is not None:
            at_stake[currency or ""] = at_stake.get(currency or "", Decimal(0)) + abs(Decimal(amount))
    row = tx.one("SELECT count(*) FROM breaks WHERE flow = ? AND state = 'accepted'", (flow,))
    return count, int(row[0]) if row else 0, at_stake


def get(tx: Tx, id: str) -> Break | None:
    """One break."""
    row = tx.one(f"SELECT {_COLUMNS} FROM breaks WHERE id = ?", (id,))
    return _break(row) if row else None


class Wanted(NamedTuple):
    """Which breaks are meant. name: their class. owner: '' is nobody. before: first seen earlier. run: that saw them last."""

    flow: str | None = None
    states: tuple[str, ...] = LIVE
    name: str | None = None
    queue: str | None = None
    owner: str | None = None
    record: str | None = None
    run: str | None = None
    before: str | None = None
    span: tuple[str, str | None] | None = None
    """(from, to): last seen at or after the one, first seen before the other."""

    def tests(self) -> tuple[str, list[Any]]:
        """The condition, and its values."""
        tests = [f"state IN ({', '.join('?' * len(self.states))})"]
        values: list[Any] = [*self.states]
        if self.owner == "":
            tests.append("(owner IS NULL OR owner = '')")
        for test, given in (
            ("flow = ?", self.flow), ("class = ?", self.name), ("queue = ?", self.queue), ("owner = ?", self.owner or None),
            ("canonical_id = ?", self.record), ("last_run = ?", self.run), ("first_seen < ?", self.before),
            ("last_seen >= ?", self.span[0] if self.span else None), ("first_seen < ?", self.span[1] if self.span else None),
        ):  # fmt: skip
            if given is not None:
                tests.append(test)
                values.append(given)
        return " AND ".join(tests), values


def each(tx: Tx, wanted: Wanted) -> Iterator[Break]:
    """Breaks one by one, the oldest first, however many there are."""
    tests, values = wanted.tests()
    for row in tx.stream(
        f"SELECT {_COLUMNS} FROM breaks WHERE {tests} ORDER BY first_seen, label, key, kind, side, id", values
    ):
        yield _break(row)


def labels(tx: Tx, flow: str, keys: Iterable[str]) -> dict[str, str]:
    """Key → what people know the record of a break by."""
    by_digest = {key_digest(key): key for key in keys}
    sql = "SELECT digest, label FROM breaks WHERE flow = ? AND label IS NOT NULL AND digest IN (…)"
    return {by_digest[row[0]]: row[1] for row in tx.by_keys(sql, (flow,), by_digest)}


def count(tx: Tx, wanted: Wanted) -> int:
    """How many there are."""
    tests, values = wanted.tests()
    row = tx.one(f"SELECT count(*) FROM breaks WHERE {tests}", values)
    return int(row[0]) if row else 0


def listed(
    tx: Tx, flow: str | None = None, *, states: Iterable[str] = LIVE, name: str | None = None, queue: str | None = None,
    record: str | None = None, run: str | None = None, limit: int | None = None,
) -> list[Break]:  # fmt: skip
    """Breaks, the oldest first. name: their class. run: those that this run saw last."""
    wanted = Wanted(flow, tuple(states), name, queue, None, record, run)
    return list(islice(each(tx, wanted), limit))


def _break(row: Sequence[Any]) -> Break:
    one = Break(*row)
    return one._replace(natives=decode_json(bytes(one.natives)), fields=decode_json(bytes(one.fields)))


def prune(tx: Tx, before: str) -> int:
    """Remove breaks that were closed before an instant, with their history; how many."""
    ids = [(row[0],) for row in tx.rows("SELECT id FROM breaks WHERE state = 'closed' AND closed_at < ?", (before,))]
    tx.many("DELETE FROM break_history WHERE break = ?", ids)
    tx.many("DELETE FROM breaks WHERE id = ?", ids)
    return len(ids)


# ---------------------------------------------------------------------- people
def accept(tx: Tx, id: str, person: str, because: str, until: str | None) -> bool:
    """A known difference, until a day or for good; False where the break is not open."""
    changed = tx.run(
        "UPDATE breaks SET state = 'accepted', accepted_by = ?, accepted_because = ?, accepted_until = ? "
        "WHERE id = ? AND state = 'open'",
        (person, because, until, id),
    )
    if changed:
        note(tx, [(id, None, person, f"accepted{f' until {until}' if until else ''}: {because}", "")])
    return changed == 1


def reopen(tx: Tx, id: str, person: str, because: str) -> bool:
    """An acceptance is taken back; False where there is none."""
    changed = tx.run("UPDATE breaks SET state = 'open' WHERE id = ? AND state = 'accepted'", (id,))
    if changed:
        note(tx, [(id, None, person, f"open again: {because}", "")])
    return changed == 1


def assign(tx: Tx, id: str, person: str, owner: str | None, queue: str | None) -> bool:
    """Give a live break to a person ('': to nobody), or to another queue, where later runs leave it; False where it is closed."""
    changed = tx.run(
        "UPDATE breaks SET owner = CASE WHEN ? = '' THEN NULL ELSE coalesce(?, owner) END, queue = coalesce(?, queue) "
        "WHERE id = ? AND state <> 'closed'",
        (owner, owner, queue, id),
    )
    if changed:
        said = [f"assigned to {owner or 'nobody'}"] * (owner is not None) + [f"{MOVED}{queue}"] * (queue is not None)
        for one in said:
            note(tx, [(id, None, person, one, "")])
    return changed == 1
