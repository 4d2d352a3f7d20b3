"""The outbox: one delivery a destination, in order of key, and what is refused holds only its own key."""

from __future__ import annotations

from datetime import timedelta

from engine.state import correlation, outbox
from engine.state.store import Store, Tx, instant, moment_of

BUS, FLOW = "connection:bus", "flow:copy"


def fresh(key: str, type: str = "person.updated.v1", *wanted: str, id: str = "") -> outbox.Fresh:
    return outbox.Fresh(
        type, "person", key, key, b'{"n":1}', None, "/crosswalk/t", tuple((one, "") for one in wanted or (BUS,)), id
    )


def put(store: Store, *found: outbox.Fresh) -> None:
    with store.begin() as tx:
        outbox.put(tx, found)


def due(store: Store, destination: str = BUS, limit: int = 100) -> list[tuple[str, int]]:
    with store.read() as tx:
        return [(one.key, one.seq) for one in outbox.due(tx, destination, limit)]


def soon(tx: Tx) -> str:
    return instant(moment_of(tx.now()) + timedelta(hours=1))


def test_each_destination_has_a_delivery_of_its_own_and_order_is_that_of_the_commits(store: Store) -> None:
    put(store, fresh("a", "person.created.v1", BUS, FLOW), fresh("b"))
    put(store, fresh("a"))
    assert [key for key, _ in due(store)] == ["a", "b", "a"]
    assert [key for key, _ in due(store, FLOW)] == ["a"]
    numbers = [seq for _, seq in due(store)]
    assert numbers == sorted(numbers)
    with store.begin() as tx:
        outbox.delivered(tx, BUS, numbers)
    assert due(store) == [] and len(due(store, FLOW)) == 1
    with store.read() as tx:
        assert outbox.waiting(tx) == [FLOW]
        first = outbox.listed(tx, destination=BUS, everything=True)[-1]
        assert [one.state for one in outbox.deliveries(tx, first.id)] == ["delivered", "ready"]


def test_what_is_refused_or_put_back_holds_the_later_ones_of_its_key_only(store: Store) -> None:
    put(store, fresh("a"), fresh("b"), fresh("a"), fresh("b"), fresh("c"))
    numbers = dict(reversed([(key, seq) for key, seq in due(store)]))
    with store.begin() as tx:
        outbox.refused(tx, BUS, [(numbers["a"], "no such type")])
        outbox.put_back(tx, BUS, [(numbers["b"], soon(tx), "it is busy")])
    assert [key for key, _ in due(store)] == ["c"]
    with store.read() as tx:
        shown = {one.seq: one for one in outbox.listed(tx, destination=BUS)}
        id = shown[numbers["a"]].id
        assert (shown[numbers["a"]].state, shown[numbers["a"]].error) == ("refused", "no such type")
        assert (shown[numbers["b"]].state, shown[numbers["b"]].attempts) == ("ready", 1)
    with store.begin() as tx:
        assert outbox.decide(tx, id, BUS, "ready")
        assert not outbox.decide(tx, id, FLOW, "ready")
    assert [key for key, _ in due(store)] == ["a", "a", "c"]
    with store.begin() as tx:
        outbox.refused(tx, BUS, [(numbers["a"], "still not")])
        assert outbox.decide(tx, id, BUS, "dropped")
    assert [key for key, _ in due(store)] == ["a", "c"], "the later one goes on without it"


def test_when_a_destination_is_to_be_looked_at_next(store: Store) -> None:
    put(store, fresh("a"), fresh("a"))
    (first, second) = [seq for _, seq in due(store)]
    with store.begin() as tx:
        later = soon(tx)
        outbox.put_back(tx, BUS, [(first, later, "busy")], counted=False)
    with store.read() as tx:
        assert outbox.next_due(tx, BUS) == later, "the second one waits for the first"
        assert outbox.listed(tx)[-1].attempts == 0
    with store.begin() as tx:
        outbox.refused(tx, BUS, [(first, "no")])
    with store.read() as tx:
        assert outbox.next_due(tx, BUS) is None, "only a person can go on"
    assert second


def test_an_event_of_the_same_id_is_one(store: Store) -> None:
    put(store, fresh("a", id="x1"))
    put(store, fresh("a", id="x1"))
    assert len(due(store)) == 1


def test_what_is_over_everywhere_is_forgotten_and_nothing_else(store: Store) -> None:
    put(store, fresh("a", "person.created.v1", BUS, FLOW), fresh("b"))
    with store.begin() as tx:
        outbox.delivered(tx, BUS, [seq for _, seq in due(store)])
        assert outbox.prune(tx, soon(tx)) == 1
    assert [key for key, _ in due(store, FLOW)] == ["a"]
    with store.read() as tx:
        assert [one.destination for one in outbox.listed(tx, everything=True)] == [FLOW]


def test_a_record_without_a_correlation_is_its_own(store: Store) -> None:
    with store.begin() as tx:
        tx.many(
            "INSERT INTO canonical (entity, id, version, data, provenance, changed_at, run, correlation) "
            "VALUES ('deal', ?, 1, ?, ?, '', '', ?)",
            [("a", b"{}", b"{}", None), ("b", b"{}", b"{}", "a")],
        )
    with store.read() as tx:
        assert correlation.of(tx, "deal", ["a", "b", "new"]) == {"a": "a", "b": "a", "new": "new"}
        assert correlation.members(tx, "a", ["deal"]) == [("deal", "a"), ("deal", "b")]
