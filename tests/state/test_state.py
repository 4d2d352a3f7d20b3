"""The state on SQLite and PostgreSQL alike: links unique both ways, compare-and-set, leases, journal, audit."""

from __future__ import annotations

import threading
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.state import (
    audit,
    canonical,
    corrections,
    exceptions,
    inputs,
    leases,
    ledger,
    links,
    operations,
    queue,
    runs,
    tables,
)
from engine.state.care import backup, prune, sizes
from engine.state.ledger import Delivered
from engine.state.links import Link
from engine.state.migrations import migrate, versions
from engine.state.store import StaleState, StateError, Store, Tx, instant


def link(native: str, id: str, **more: Any) -> Link:
    return Link("client", "crm", "Account", native, id, **more)


def test_links_are_unique_both_ways(store: Store) -> None:
    with store.begin() as tx:
        assert links.put(tx, [link("1", "a"), link("2", "b"), link("1", "a")]) == []
        conflicts = links.put(tx, [link("1", "c"), link("3", "b"), link("4", "d")])
    assert [(one.wanted.native_id, one.standing.native_id) for one in conflicts] == [("1", "1"), ("3", "2")]
    with store.read() as tx:
        assert {key: rows[0].canonical_id for key, rows in links.by_native(tx, "crm", "client", ["1", "2", "4", "9"]).items()} == {
            "1": "a", "2": "b", "4": "d"}  # fmt: skip


def test_parts_and_tombstones(store: Store) -> None:
    with store.begin() as tx:
        assert links.put(tx, [link("1", "a", part="uk"), link("2", "a", part="de")]) == []
        links.set_state(tx, [link("1", "a")], "deleted")
        assert links.put(tx, [link("9", "a", part="uk")]) == []
        assert [one.native_id for one in links.of_record(tx, "a")] == ["2", "1", "9"] or len(
            links.of_record(tx, "a")
        ) == 3


def test_a_canonical_record_is_written_only_over_the_version_that_was_merged(store: Store) -> None:
    change = canonical.Change("a", 0, b'{"id":"a","n":1}', b"{}")
    with store.begin() as tx:
        assert canonical.put(tx, "client", [change], "r1") == set()
    with store.begin() as tx:
        assert canonical.put(tx, "client", [change._replace(expected=1, data=b"{}")], "r1") == set()
        assert canonical.put(tx, "client", [change._replace(expected=1)], "r2") == {"a"}
        assert canonical.put(tx, "client", [change], "r2") == {"a"}
    with store.read() as tx:
        assert canonical.get(tx, "client", ["a"])["a"].version == 2


def test_match_values_references_and_history(store: Store) -> None:
    with store.begin() as tx:
        canonical.put_matches(tx, "client", [("a", [(0, b"x" * 16)]), ("b", [(0, b"x" * 16), (1, b"y" * 16)])])
        canonical.put_references(tx, "project", [("p", [("client", "a"), ("client", "a")])])
        canonical.add_history(tx, [("client", "a", "status", 1, None, b'"on"', "crm", "r")])
    with store.read() as tx:
        found = canonical.match(tx, "client", [(0, b"x" * 16), (1, b"x" * 16)])
        assert {key: sorted(ids) for key, ids in found.items()} == {(0, b"x" * 16): ["a", "b"]}
        assert canonical.readers(tx, "project", "client", ["a"]) == ["p"]
        assert len(canonical.history_of(tx, "a")) == 1


def test_ledger_and_inputs_come_back_exactly(store: Store) -> None:
    row = Delivered("a", "", b"h" * 16, b'{"x":1.10}', "n1", None, 1, 0)
    seen = inputs.Seen("k", b"r" * 16, b"l" * 16, "a", "2026-01-01")
    with store.begin() as tx:
        ledger.put(tx, "erp", "customer", "m", [row])
        ledger.put(tx, "erp", "customer", "m", [row._replace(revision=2)])
        inputs.put(tx, "f", [seen], "r1")
    with store.read() as tx:
        assert ledger.get(tx, "erp", "customer", "m", ["a", "b"]) == {("a", ""): row._replace(revision=2)}
        assert inputs.get(tx, "f", ["k", "z"]) == {"k": seen}
        assert inputs.preload(tx, "f") == {"k": seen._replace(key="", canonical_id="")}


def intent(key: str, id: str = "a") -> operations.Intent:
    return operations.Intent(key, "r", "f", "erp", "erp", "customer", id, "", "create", "C", None, b"{}", 1, instant())


def test_one_open_operation_a_record(store: Store) -> None:
    with store.begin() as tx:
        assert operations.send(tx, [intent("o1")]) == {}
        again = operations.send(tx, [intent("o1"), intent("o2"), intent("o3", "b")])
        assert again == {"o1": "open", "o2": "open"}, "one that is sent is nobody else's to send"
        operations.settle(tx, [("o1", "confirmed", "n1", None)])
        assert operations.send(tx, [intent("o1"), intent("o2")]) == {"o1": "confirmed"}


@pytest.mark.parametrize("kind", ["update", "create"])
def test_only_what_changes_nothing_twice_may_be_taken_over_in_doubt_and_with_the_same_bytes(
    store: Store, kind: str
) -> None:
    one = intent("o1")._replace(kind=kind, body=b'{"a":1}')
    with store.begin() as tx:
        operations.send(tx, [one])
        operations.settle(tx, [("o1", "in_doubt", None, None)], "r")
        assert operations.send(tx, [one._replace(body=b'{"a":2}')]) == {"o1": "open"}
        assert operations.send(tx, [one._replace(run="r2")]) == ({} if kind == "update" else {"o1": "open"})


def test_outcomes_move_along_the_table_and_a_late_confirmation_always_counts(store: Store) -> None:
    def state(tx: Tx) -> str:
        return str(tx.rows("SELECT state FROM operations")[0][0])

    with store.begin() as tx:
        operations.send(tx, [intent("o1")])
        operations.settle(tx, [("o1", "in_doubt", None, None)], "another")
        assert state(tx) == "sent", "another run's thoughts about it do not count"
        operations.settle(tx, [("o1", "dropped", None, None)])
        assert state(tx) == "sent", "what is sent is in doubt before it is given up"
        operations.settle(tx, [("o1", "in_doubt", None, None)], "r")
        operations.settle(tx, [("o1", "dropped", None, None)])
        operations.settle(tx, [("o1", "confirmed", "n1", None)], "another")
        assert state(tx) == "confirmed"
        operations.settle(tx, [("o1", "refused", None, None)], "r")
        assert state(tx) == "confirmed"


def test_what_is_planned_makes_way_for_a_newer_write_of_its_record(store: Store) -> None:
    with store.begin() as tx:
        operations.send(tx, [intent("o1")])
        operations.settle(tx, [("o1", "planned", None, None)], "r")
        assert operations.send(tx, [intent("o2")]) == {}
        rows = tx.rows("SELECT op_key, state FROM operations ORDER BY op_key")
        assert [tuple(row) for row in rows] == [("o1", "dropped"), ("o2", "sent")]


def failure(key: str, **more: Any) -> exceptions.Failure:
    given = {"flow": "f", "run": "r", "entity": "client", "key": key, "canonical_id": None, "target": "", "part": "", "stage": "map",
             "exception_class": "mapping", "code": "E401", "message": "m", "hint": "h", "at": "a.yaml:1:1", "queue": None,
             "state": "open", "fingerprint": "x", "until": None, "modified": None, "logic": b"l", "raw": b"{}", "canonical": None,
             "payload": None}  # fmt: skip
    return exceptions.Failure(**{**given, **more})


def test_an_exception_is_kept_once_counted_woken_and_closed(store: Store) -> None:
    with store.begin() as tx:
        (first,) = exceptions.record(tx, [failure("1", reads=(("project", "p"),))])
        (again,) = exceptions.record(tx, [failure("1", message="other", reads=(("project", "p"),))])
        assert first == again
        assert exceptions.wake(tx, [("project", "q"), ("client", "p")]) == 0
        assert exceptions.wake(tx, [("project", "p")]) == 1
        assert exceptions.due(tx) == [("f", "1")]
        exceptions.close(tx, "f", [("1", "", "")], "succeeded")
        assert exceptions.listed(tx) == [] and exceptions.listed(tx, everything=True)[0].attempts == 2


def test_a_waiting_exception_is_due_when_its_time_is_over(store: Store) -> None:
    with store.begin() as tx:
        exceptions.record(
            tx, [failure("1", state="waiting", until="2020-01-01T00:00:00.000000Z"), failure("2", state="waiting")]
        )
        assert exceptions.due(tx, "f") == [("f", "1")]


def test_exceptions_have_owners_queues_and_tags(store: Store) -> None:
    with store.begin() as tx:
        one, two = exceptions.record(tx, [failure("1", queue="hr", fingerprint="ab12"), failure("2", queue="hr")])
        queue.take(tx, [one], "ada")
        queue.route(tx, [one], "pmo")
        queue.tag(tx, [one, two], ["new", "late"], [])
        queue.tag(tx, [one], ["new"], ["late"])
        exceptions.record(tx, [failure("1", queue="hr", fingerprint="ab12", revision=3)])
    with store.read() as tx:
        assert queue.tags_of(tx, [one, two]) == {one: ["new"], two: ["late", "new"]}
        chosen: list[dict[str, Any]] = [
            {"owner": "ada"}, {"queue": "pmo"}, {"fingerprint": "ab%"}, {"exception_class": "mapping", "key": "1"},
            {"canonical_id": None, "key": "1"}, {"tag": "new", "owner": "ada", "before": "9"},
        ]  # fmt: skip
        assert [[row.id for row in exceptions.listed(tx, **given)] for given in chosen] == [[one]] * 6
        assert [row.id for row in exceptions.listed(tx, owner="")] == [two]
        assert exceptions.count(tx, tag="late") == 1 and exceptions.count(tx, before="2000") == 0
        row = exceptions.get(tx, one)
        assert row is not None and (row.queue, row.owner, row.attempts) == ("pmo", "ada", 2)


def test_corrections_are_kept_in_order_until_they_are_past(store: Store) -> None:
    def correction(value: bytes) -> corrections.Correction:
        return corrections.Correction("x", "f", "1", "raw", b"o" * 16, value, b"{}", "ada", "typo")

    with store.begin() as tx:
        corrections.add(tx, correction(b'{"n":1}'))
        corrections.add(tx, correction(b'{"n":2}'))
        assert [one.value for one in corrections.of_flow(tx, "f")] == [b'{"n":1}', b'{"n":2}']
        corrections.pass_by(tx, ["x"])
        assert corrections.of_flow(tx, "f") == []
        assert [(one.past, one.original, one.person) for one in corrections.of_exception(tx, "x")] == [
            (True, b"o" * 16, "ada")
        ] * 2


def test_leases_have_one_holder_and_growing_fences(store: Store) -> None:
    with store.begin() as tx:
        lease = leases.claim(tx, "flow:x", "elsewhere:1")
        assert lease is not None and leases.claim(tx, "flow:x", "elsewhere:2") is None
        assert leases.renew(tx, lease) and leases.held(tx, lease)
        leases.release(tx, lease)
        other = leases.claim(tx, "flow:x", "elsewhere:2")
        assert other is not None and other.fence == lease.fence + 1 and not leases.held(tx, lease)
    with store.begin() as tx:
        assert leases.claim(tx, "short", "elsewhere:1", timedelta(seconds=-1)) is not None
        assert leases.claim(tx, "short", "elsewhere:2") is not None


def test_many_claim_one_lease_and_one_gets_it(store: Store) -> None:
    got: list[Any] = []

    def claim(number: int) -> None:
        with store.begin() as tx:
            got.append(leases.claim(tx, "one", f"elsewhere:{number}"))

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([one for one in got if one is not None]) == 1


def test_a_cursor_never_loses_an_update(store: Store) -> None:
    with store.begin() as tx:
        assert runs.save_cursor(tx, "f", {"modified": "1"}, 0) == 1
        assert runs.save_cursor(tx, "f", {"modified": "2"}, 1) == 2
    with pytest.raises(StaleState, match="S705"), store.begin() as tx:
        runs.save_cursor(tx, "f", {"modified": "3"}, 1)
    with store.read() as tx:
        assert runs.cursor(tx, "f") == ({"modified": "2"}, 2)


def test_the_audit_chain_names_the_first_bad_row(store: Store) -> None:
    with store.begin() as tx:
        for number in range(4):
            audit.append(tx, "me", "did", f"x{number}", {"n": number})
        assert audit.verify(tx) is None
        tx.run("UPDATE audit SET subject = 'y' WHERE seq = 3")
        assert audit.verify(tx) == 3
        tx.run("DELETE FROM audit WHERE seq = 2")
        assert audit.verify(tx) == 2


def test_pruning_keeps_what_is_open(store: Store) -> None:
    with store.begin() as tx:
        exceptions.record(tx, [failure("1"), failure("2")])
        exceptions.close(tx, "f", [("1", "", "")], "succeeded")
        tx.run("UPDATE exceptions SET closed_at = '2020-01-01' WHERE state = 'closed'")
        (still,) = [row.id for row in exceptions.listed(tx)]
        (over,) = [row.id for row in exceptions.listed(tx, everything=True) if row.id != still]
        queue.tag(tx, [still, over], ["new"], [])
        for id in (still, over):
            corrections.add(tx, corrections.Correction(id, "f", "1", "raw", b"o" * 16, b"{}", b"{}", "ada", "typo"))
        canonical.add_history(tx, [("client", "a", "status", 1, None, b'"on"', "crm", "r")])
        tx.run("UPDATE history SET at = '2015-01-01'")
    assert prune(store, {})["exceptions"] == 1
    left = sizes(store)
    assert (left["exceptions"], left["exception_tags"], left["history"]) == (1, 1, 1)
    assert left["corrections"] == 2  # it holds for a version that may be read again
    with store.begin() as tx:
        corrections.pass_by(tx, [over])
    assert prune(store, {"history": timedelta(days=7 * 366)})["history"] == 1
    assert sizes(store)["corrections"] == 1


def test_a_backup_is_a_state(tmp_path: Path) -> None:
    store = Store.open("sqlite:///a.db", tmp_path)
    with store.begin() as tx:
        links.put(tx, [link("1", "a")])
    backup(store, tmp_path / "b.db")
    store.close()
    copy = Store.open("sqlite:///b.db", tmp_path)
    assert sizes(copy)["links"] == 1
    copy.close()


def test_states_that_cannot_be_used_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="S700"):
        Store.open("postgresql://nobody:SEKRET@127.0.0.1:1/none", tmp_path)
    with pytest.raises(StateError, match="S700"):
        Store.open("no url", tmp_path)
    with pytest.raises(StateError, match="S701"):
        Store.open("oracle://x/y", tmp_path)
    store = Store.open("sqlite:///a.db", tmp_path)
    with store.begin() as tx:
        tx.run("UPDATE alembic_version SET version_num = '9999'")
    store.close()
    with pytest.raises(StateError, match="S702"):
        Store.open("sqlite:///a.db", tmp_path)


def test_the_migrations_make_the_tables_as_the_code_knows_them(address: str, tmp_path: Path) -> None:
    """A change of tables.py without a migration fails here."""
    store = Store.open(address, tmp_path, migrate_later=True)
    migrate(store)
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # indexes on expressions: see the next test
            found = compare_metadata(context, tables.metadata)
        assert [one for one in found if "index" not in one[0]] == []
    store.close()


def test_a_new_state_is_made_once_by_whoever_comes_first(address: str, tmp_path: Path) -> None:
    barrier, opened = threading.Barrier(4), list[Store]()

    def come() -> None:
        barrier.wait()
        opened.append(Store.open(address, tmp_path))

    threads = [threading.Thread(target=come) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [versions(one)[0] for one in opened] == [versions(opened[0])[1]] * 4
    for one in opened:
        one.close()


def test_on_sqlite_the_migrations_make_the_very_same_columns_and_indexes(tmp_path: Path) -> None:
    """A column that a migration adds stands last in SQLite's own text; what it is has to be the same."""
    migrated, direct = (
        Store.open("sqlite:///a.db", tmp_path, migrate_later=True),
        Store.open("sqlite:///b.db", tmp_path),
    )
    migrate(migrated)
    assert versions(migrated) == versions(direct)
    text = "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name"
    columns = 'SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_info(?) ORDER BY name'
    keyed = "SELECT sql LIKE '%WITHOUT ROWID%' FROM sqlite_master WHERE name = ?"
    with migrated.read() as one, direct.read() as other:
        assert one.rows(text) == other.rows(text)
        for name in tables.metadata.tables:
            assert one.rows(columns, (name,)) == other.rows(columns, (name,)) != [], name
            assert one.rows(keyed, (name,)) == other.rows(keyed, (name,)), name
    migrated.close()
    direct.close()
