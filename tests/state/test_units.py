"""Units: one open one a key, done once more where it was asked for meanwhile, and taken over from the dead."""

from __future__ import annotations

import threading
from datetime import timedelta

from engine.state import units
from engine.state.store import Store, instant, moment_of

LANES = ("bulk", "interactive")


def ask(store: Store, key: str = "a", **more: object) -> str:
    with store.begin() as tx:
        return units.put(tx, "flow", key, lane="bulk", **more)  # type: ignore[arg-type]


def take(store: Store, limit: int = 1, **more: object) -> list[units.Unit]:
    with store.begin() as tx:
        return units.claim(tx, "me", LANES, limit, **more)  # type: ignore[arg-type]


def test_asking_twice_is_one_unit_at_the_earlier_time(store: Store) -> None:
    with store.read() as tx:
        soon = instant(moment_of(tx.now()) + timedelta(hours=1))
    first = ask(store, due=soon, payload={"trigger": "schedule"})
    assert take(store) == []
    assert ask(store) == first
    (unit,) = take(store)
    assert (unit.id, unit.key, unit.payload, unit.attempts) == (first, "a", {"trigger": "schedule"}, 1)
    assert take(store) == [], "one worker has it"


def test_what_is_asked_for_meanwhile_is_done_once_more(store: Store) -> None:
    ask(store)
    (unit,) = take(store)
    ask(store)
    ask(store)
    with store.begin() as tx:
        assert units.done(tx, unit)
    (again,) = take(store)
    with store.begin() as tx:
        assert units.done(tx, again)
    assert take(store) == []
    assert ask(store) != unit.id, "what is done is over: the next one is a new unit"


def test_records_asked_for_twice_are_those_of_both_and_everything_where_one_names_none(store: Store) -> None:
    ask(store, payload={"trigger": "event", "records": ["1"]})
    ask(store, payload={"trigger": "event", "records": ["2", "1"]})
    (unit,) = take(store)
    assert unit.payload["records"] == ["1", "2"]
    ask(store, payload={"trigger": "event", "records": ["3"]})
    with store.begin() as tx:
        assert units.done(tx, unit)
    (again,) = take(store)
    assert again.payload["records"] == ["1", "2", "3"], "the worker might have died: once more does no harm"
    ask(store, payload={"trigger": "schedule"})
    with store.begin() as tx:
        assert units.done(tx, again)
    assert take(store)[0].payload == {"trigger": "event"}


def test_a_late_worker_can_neither_finish_nor_keep_what_its_heir_has(store: Store) -> None:
    ask(store)
    (late,) = take(store, life=timedelta(0))
    (heir,) = take(store)
    assert (heir.id, heir.attempts) == (late.id, 2)
    with store.begin() as tx:
        assert not units.renew(tx, late) and not units.done(tx, late) and not units.failed(tx, late, "no")
        assert not units.later(tx, late, tx.now())
        assert units.renew(tx, heir) and units.failed(tx, heir, "it never can")
    assert take(store) == []


def test_put_back_it_waits_for_its_time(store: Store) -> None:
    ask(store)
    (unit,) = take(store)
    with store.begin() as tx:
        due = instant(moment_of(tx.now()) + timedelta(hours=1))
        assert units.later(tx, unit, due, "the system is down")
        assert units.next_due(tx) == due and units.backlog(tx) == {}
    assert take(store) == []
    ask(store)
    with store.read() as tx:
        assert units.backlog(tx) == {"bulk": 1}
    assert len(take(store)) == 1, "asked for again, it begins at once"


def test_many_workers_take_each_unit_once(store: Store) -> None:
    for number in range(40):
        ask(store, f"k{number}")
    taken: list[str] = []

    def work() -> None:
        while got := take(store, limit=3):
            taken.extend(unit.key for unit in got)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    left = take(store, limit=99)  # a worker may have found the rest locked and gone home
    assert sorted(taken + [unit.key for unit in left]) == sorted(f"k{number}" for number in range(40))
