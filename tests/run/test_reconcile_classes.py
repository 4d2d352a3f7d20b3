"""Why two systems differ: stale, changed by the wrong side, in flight; accepted differences; laws of comparing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.state import breaks, exceptions
from engine.state.care import prune
from tests.run.reconcile_world import Systems, bill, invoice


@pytest.fixture
def systems(tmp_path: Path, address: str) -> Iterator[Systems]:
    it = Systems(tmp_path, address)
    yield it
    it.close()


def rows(systems: Systems, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (systems.folder / name).read_text().splitlines()]


def edit(systems: Systems, name: str, place: int, **changed: Any) -> None:
    """Change a record behind the engine's back."""
    found = rows(systems, name)
    found[place] |= changed
    (systems.folder / name).write_text("".join(json.dumps(row) + "\n" for row in found))


def synced(systems: Systems, count: int = 3) -> None:
    systems.put([invoice(n) for n in range(count)], [])
    assert systems.sync().run["created"] == count
    assert systems.run()["breaks"]["remaining"] == 0


def kinds(systems: Systems) -> dict[str, tuple[str, str]]:
    return {str(one.label): (one.name, one.cause) for one in systems.breaks()}


def test_what_the_owner_changed_and_nobody_sent_yet_is_stale(systems: Systems) -> None:
    synced(systems)
    edit(systems, "psa/invoices.ndjson", 1, total=200, at="2026-01-02T00:00:00Z")
    systems.run()
    assert kinds(systems) == {"INV-1": ("stale", "total")}


def test_what_the_other_side_changed_that_does_not_own_it_is_wrong_owner(systems: Systems) -> None:
    synced(systems)
    edit(systems, "erp/bills.ndjson", 1, amount=7)
    systems.run()
    (found,) = systems.breaks()
    assert (found.name, found.fields[0]["owner"]) == ("wrong_owner", "left")
    assert (found.amount, found.currency) == ("93.5", "EUR")


def test_a_field_without_an_owner_is_a_mismatch(systems: Systems) -> None:
    synced(systems)
    edit(systems, "erp/bills.ndjson", 1, memo="Changed")
    systems.run()
    assert kinds(systems) == {"INV-1": ("mismatch", "note")}


def test_both_sides_changed_is_a_mismatch(systems: Systems) -> None:
    synced(systems)
    edit(systems, "erp/bills.ndjson", 1, amount=7)
    edit(systems, "psa/invoices.ndjson", 1, total=8, at="2026-01-02T00:00:00Z")
    systems.run()
    assert kinds(systems)["INV-1"][0] == "mismatch"


def test_a_change_after_the_reading_began_is_in_flight(systems: Systems) -> None:
    synced(systems)
    soon = (datetime.now(UTC) + timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    edit(systems, "psa/invoices.ndjson", 1, total=200, at=soon)
    run = systems.run()
    assert kinds(systems) == {"INV-1": ("in_flight", "newer change")}
    assert run["state"] == "succeeded" and run["breaks"]["in_flight"] == 1 and run["breaks"]["remaining"] == 0


def test_grace_takes_what_changed_shortly_before_for_in_flight(systems: Systems) -> None:
    synced(systems)
    just = (datetime.now(UTC) - timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    edit(systems, "psa/invoices.ndjson", 1, total=200, at=just)
    systems.run()
    assert kinds(systems)["INV-1"][0] == "stale"
    systems.flow("grace: 10m\n")
    systems.run()
    assert kinds(systems)["INV-1"][0] == "in_flight"


def test_an_open_exception_explains_what_is_missing(systems: Systems) -> None:
    text = (systems.folder / "flows/push.yaml").read_text()
    systems.write("flows/push.yaml", text + 'checks: [{ name: small, that: "total.amount < `1000`" }]\n')
    systems.put([invoice(1), invoice(2, total=5000)], [])
    assert systems.sync().run["quarantined"] == 1
    run = systems.run()
    (found,) = systems.breaks()
    assert (
        (found.name, found.cause) == ("in_flight", "E430") and "small" in str(found.why) and run["state"] == "succeeded"
    )
    with systems.store.read() as tx:
        (row,) = exceptions.listed(tx)
    with systems.store.begin() as tx:
        exceptions.set_state(tx, [row.id], "discarded", "by hand")
    assert systems.run()["state"] == "partial" and kinds(systems)["INV-2"][0] == "missing_right"


def test_a_write_without_an_outcome_explains_a_difference(systems: Systems) -> None:
    synced(systems)
    edit(systems, "erp/bills.ndjson", 1, amount=7)
    with systems.store.begin() as tx:
        tx.run(
            "INSERT INTO operations (op_key, run, flow, target, connection, object, canonical_id, kind, state, class, body, "
            "created_at, updated_at) SELECT 'k', 'r', 'push', 'erp', 'erp', 'bills', canonical_id, 'update', 'in_doubt', 'C', ?, ?, ? "
            "FROM links WHERE native_id = 'p1'",
            (b"{}", "2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:00.000000Z"),
        )
    systems.run()
    (found,) = systems.breaks()
    assert (found.name, found.cause) == ("in_flight", "unresolved write") and "erp" in str(found.why)


# ---------------------------------------------------------------------- people
def test_an_accepted_difference_holds_for_that_difference_alone_and_for_its_time(systems: Systems) -> None:
    synced(systems)
    edit(systems, "erp/bills.ndjson", 1, memo="Known")
    systems.run()
    (found,) = systems.breaks()
    with systems.store.begin() as tx:
        assert breaks.accept(tx, found.id, "ann", "the client asked for it", None)
    run = systems.run()
    assert run["state"] == "succeeded" and run["breaks"]["accepted"] == 1
    edit(systems, "erp/bills.ndjson", 1, memo="Another")
    assert systems.run()["state"] == "partial"
    with systems.store.begin() as tx:
        assert breaks.accept(tx, found.id, "ann", "until tomorrow", "2026-01-01T00:00:00.000000Z")
    assert systems.run()["state"] == "partial", "its time is over"
    with systems.store.read() as tx:
        told = [one["what"] for one in breaks.history(tx, found.id)]
    assert (
        told[0].startswith("found")
        and any("accepted" in one for one in told)
        and "open again: the acceptance is over" in told
    )
    edit(systems, "erp/bills.ndjson", 1, memo="Thanks")
    assert systems.run()["breaks"]["closed"] == 1


def test_a_plan_keeps_nothing(systems: Systems) -> None:
    systems.put([invoice(1)], [bill(1, memo="x")])
    run = systems.run(plan=True)
    assert run["breaks"]["remaining"] == 1 and systems.breaks() == []


# ---------------------------------------------------------------------- laws
TEXTS = st.text(alphabet="aB é\t\"'=", max_size=4)
MONEY = st.integers(-(10**9), 10**9).map(lambda cents: cents / 100)
BILLS = st.fixed_dictionaries({
    "total": MONEY, "cur": st.sampled_from(["EUR", "USD"]), "due": st.dates().map(str), "status": TEXTS, "note": st.none() | TEXTS,
    "tags": st.lists(TEXTS, max_size=3), "client_name": TEXTS,
})  # fmt: skip


def as_bill(n: int, row: dict[str, Any]) -> dict[str, Any]:
    return bill(n, amount=row["total"], currency=row["cur"], duedate=row["due"], state=row["status"], memo=row["note"], labels=row["tags"],
                customer={"name": row["client_name"], "vat": "GB1"})  # fmt: skip


OTHER: dict[str, tuple[str, Any]] = {
    "total": ("amount", 99_999_999_999.01), "due": ("duedate", "0001-01-01"), "status": ("state", "~"), "note": ("memo", "~"),
    "tags": ("labels", ["~"]),
}  # fmt: skip


@given(st.lists(BILLS, min_size=1, max_size=6), st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_system_agrees_with_itself_and_each_change_is_found_alone(
    tmp_path_factory: Any, found: list[dict[str, Any]], data: Any
) -> None:
    systems = Systems(tmp_path_factory.mktemp("law"))
    try:
        left = [invoice(n, **row) for n, row in enumerate(found)]
        right = [as_bill(n, row) for n, row in enumerate(found)]
        systems.put(left, right[::-1])
        assert systems.run()["breaks"]["found"] == 0
        changed = data.draw(st.dictionaries(st.integers(0, len(found) - 1), st.sampled_from(sorted(OTHER)), max_size=3))
        for place, field in changed.items():
            name, value = OTHER[field]
            right[place][name] = value
        systems.put(left, right)
        systems.run()
        assert systems.fields() == {f"INV-{place}": [field] for place, field in changed.items()}
    finally:
        systems.close()


# ---------------------------------------------------------------------- crashes and care
def test_a_run_that_dies_at_any_point_changes_nothing_and_the_next_one_finds_the_same(tmp_path_factory: Any) -> None:
    class Died(BaseException):
        """The process ends here."""

    def fresh() -> Systems:
        it = Systems(tmp_path_factory.mktemp("crash"))
        it.flow("totals: [{ sum: total.amount }]\n")
        it.put([invoice(1), invoice(2, note="x"), invoice(3)], [bill(1), bill(2)])
        return it

    seen: list[str] = []
    it = fresh()
    it.store.crashpoint = seen.append
    it.run()
    wanted = [one[3:7] for one in it.breaks()]
    it.close()
    assert "before commit:breaks" in seen and "after read" in seen
    for number in range(len(seen)):
        it = fresh()
        left = number

        def die(name: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Died(name)

        it.store.crashpoint = die
        with pytest.raises(Died):
            it.run()
        it.store.crashpoint = lambda name: None
        with it.store.begin() as tx:
            tx.run("DELETE FROM leases")
        it.run()
        assert [one[3:7] for one in it.breaks()] == wanted, seen[number]
        assert [one.runs for one in it.breaks()] in ([1, 1], [2, 2])
        it.close()


def test_old_results_and_closed_breaks_are_pruned_and_live_ones_stay(systems: Systems) -> None:
    systems.put([invoice(1), invoice(2, note="x")], [bill(1), bill(2)])
    systems.run()
    systems.put([invoice(1, note="y"), invoice(2)], [bill(1), bill(2)])
    systems.run()
    with systems.store.begin() as tx:
        tx.run("UPDATE breaks SET closed_at = '2020-01-01T00:00:00.000000Z' WHERE state = 'closed'")
        tx.run("UPDATE reconciliations SET at = '2020-01-01T00:00:00.000000Z' WHERE run <> ?", (systems.result().run,))
    removed = prune(systems.store, {})
    assert (removed["breaks"], removed["reconciliations"]) == (1, 1)
    assert [one.label for one in systems.breaks("nightly", "open", "closed")] == ["INV-1"]
