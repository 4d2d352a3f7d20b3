"""Promises of every connector, written once. Subclass `ConnectorContract`, provide `connector`, inherit the tests.

The `connector` fixture gives a connector whose object `things` has the fields id (text key), name (text), amount
(decimal), day (date), note (text) and at (instant, its modified field), and is empty. A class states in `keeps` which
of null, missing and blank its system tells apart.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any, ClassVar

from engine.sdk.clock import boot
from engine.sdk.connector import Connector, Operation, Outcome, Read, Slice
from engine.sdk.errors import ConnectorError
from engine.sdk.record import Fields, Record, same


class ConnectorContract:
    """What every writable connector promises."""

    things: ClassVar[str] = "things"
    missing_object: ClassVar[str] = "thngs"
    keeps: ClassVar[frozenset[str]] = frozenset({"null", "blank"})

    def rows(self, connector: Connector[Any], **request: Any) -> dict[str, Fields]:
        """Everything that a read gives, by key."""
        found = {}
        for batch in connector.read(Read(self.things, **request)):
            for record in batch.records:
                assert record.problem is None, record.problem
                found[record.key] = record.value
        return found

    def write(self, connector: Connector[Any], *operations: Operation) -> Sequence[Outcome]:
        return connector.write(self.things, list(operations))

    def put(self, connector: Connector[Any], id: str, **fields: Any) -> Outcome:
        record = {"id": id, "name": f"n{id}", **fields}
        (outcome,) = self.write(connector, Operation(f"op{id}{sorted(fields)}", "upsert", record))
        return outcome

    def records(self, connector: Connector[Any], **request: Any) -> list[Record]:
        """Everything that a read gives, in its order."""
        return [record for batch in connector.read(Read(self.things, **request)) for record in batch.records]

    def test_every_operation_has_its_outcome_in_the_order_given(self, connector: Connector[Any]) -> None:
        operations = [Operation(f"op-{n}", "upsert", {"id": str(n), "name": f"n{n}"}) for n in (3, 1, 2)]
        outcomes = self.write(connector, *operations)
        assert [one.id for one in outcomes] == ["op-3", "op-1", "op-2"]
        assert [one.key for one in outcomes] == ["3", "1", "2"]
        assert {one.state for one in outcomes} == {"created"}

    def test_writing_the_same_twice_is_writing_it_once(self, connector: Connector[Any]) -> None:
        self.put(connector, "1")
        self.put(connector, "1")
        assert list(self.rows(connector)) == ["1"]

    def test_a_create_of_what_is_there_is_matched_never_doubled(self, connector: Connector[Any]) -> None:
        self.put(connector, "1")
        (outcome,) = self.write(connector, Operation("again", "create", {"id": "1", "name": "other"}))
        assert (outcome.state, outcome.key) == ("matched", "1")
        assert len(self.rows(connector)) == 1

    def test_an_update_touches_only_what_it_names(self, connector: Connector[Any]) -> None:
        self.put(connector, "1", note="keep")
        (outcome,) = self.write(
            connector,
            Operation("u", "update", {"id": "1", "name": "new", "note": "x"}, key="1", changes={"name": "new"}),
        )
        assert outcome.state == "updated"
        row = self.rows(connector)["1"]
        assert (row["name"], row["note"]) == ("new", "keep")

    def test_updating_or_deleting_what_is_gone_says_so(self, connector: Connector[Any]) -> None:
        for kind in ("update", "delete"):
            (outcome,) = self.write(connector, Operation(kind, kind, {"name": "x"}, key="9", changes={"name": "x"}))
            assert outcome.state == "missing"

    def test_a_delete_removes_one_record(self, connector: Connector[Any]) -> None:
        self.put(connector, "1")
        self.put(connector, "2")
        (outcome,) = self.write(connector, Operation("d", "delete", {}, key="1"))
        assert outcome.state == "deleted"
        assert list(self.rows(connector)) == ["2"]

    def test_values_come_back_exactly(self, connector: Connector[Any]) -> None:
        given = {
            "name": "Été 🌿 \"quoted\", 'single'",
            "amount": Decimal("1234567.89"),
            "day": "2026-02-28",
            "note": "two\nlines",
        }
        self.put(connector, "1", **given)
        row = self.rows(connector)["1"]
        for name, value in given.items():
            found = Decimal(row[name]) if name == "amount" and isinstance(row[name], str) else row[name]
            assert same(found, value), name

    def test_records_are_read_by_key_and_found_by_field(self, connector: Connector[Any]) -> None:
        for number in range(5):
            self.put(connector, str(number))
        assert sorted(self.rows(connector, keys=("1", "3"))) == ["1", "3"]
        assert sorted(connector.get(self.things, ["4", "nobody"])) == ["4"]
        found = connector.find(self.things, [{"name": "n2"}, {"name": "nobody"}])
        assert [[record.key for record in rows] for rows in found] == [["2"], []]

    def test_pages_lose_and_double_nothing(self, connector: Connector[Any]) -> None:
        for number in range(23):
            self.put(connector, f"{number:02d}")
        keys = [record.key for batch in connector.read(Read(self.things, page=5)) for record in batch.records]
        assert sorted(keys) == [f"{number:02d}" for number in range(23)]

    def test_an_unknown_object_is_an_error_that_names_the_nearest(self, connector: Connector[Any]) -> None:
        self.put(connector, "1")
        try:
            list(connector.read(Read(self.missing_object)))
        except ConnectorError as error:
            assert error.problem.code.startswith("C5") and self.things in error.problem.hint
        else:
            raise AssertionError("a read of an unknown object must not just end")

    def test_it_describes_itself_and_closes_twice(self, connector: Connector[Any]) -> None:
        self.put(connector, "1")
        info = connector.describe(self.things)
        assert info.key == ("id",) and info.write_class in "ABCD" and {"read", "upsert"} <= info.operations
        assert all(finding.ok for finding in connector.check())
        assert self.things in connector.objects()
        connector.close()
        connector.close()

    # ------------------------------------------------------------------ batches
    def test_one_bad_record_of_many_is_refused_alone(self, connector: Connector[Any]) -> None:
        operations = [Operation(f"o{n}", "upsert", {"id": str(n), "name": f"n{n}"}) for n in range(9)]
        operations[4] = Operation("o4", "upsert", {"name": "nobody"})
        outcomes = self.write(connector, *operations)
        assert [one.state for one in outcomes] == ["created"] * 4 + ["refused"] + ["created"] * 4
        assert outcomes[4].problem is not None and "id" in outcomes[4].problem.message
        assert sorted(self.rows(connector)) == list("01235678")

    def test_operations_of_one_record_happen_in_their_order(self, connector: Connector[Any]) -> None:
        given = [("upsert", "a"), ("upsert", "b"), ("create", "c"), ("delete", ""), ("create", "d"), ("update", "e")]
        operations = [
            Operation(f"o{n}", kind, {"id": "1", "name": name}, key="1", changes={"name": name})  # type: ignore[arg-type]
            for n, (kind, name) in enumerate(given)
        ]
        states = [one.state for one in self.write(connector, *operations)]
        assert states == ["created", "updated", "matched", "deleted", "created", "updated"]
        assert {key: row["name"] for key, row in self.rows(connector).items()} == {"1": "e"}

    def test_nothing_is_sent_after_its_time(self, connector: Connector[Any]) -> None:
        late = Operation("a", "upsert", {"id": "1", "name": "x"}, send_by=boot() - 1)
        (outcome,) = self.write(connector, late)
        assert outcome.state == "retry"
        self.put(connector, "2")
        assert list(self.rows(connector)) == ["2"]

    def test_threads_write_side_by_side(self, connector: Connector[Any]) -> None:
        def some(start: int) -> set[str]:
            operations = [Operation(f"{start}.{n}", "upsert", {"id": f"{start}.{n}", "name": "x"}) for n in range(20)]
            outcomes = self.write(connector, *operations)
            again = [one for one, done in zip(operations, outcomes, strict=True) if done.state == "retry"]
            return {one.state for one in (self.write(connector, *again) if again else outcomes)}

        with ThreadPoolExecutor(4) as pool:
            assert set().union(*pool.map(some, range(4))) == {"created"}
        assert len(self.rows(connector)) == 80

    # ------------------------------------------------------------------ values
    def test_a_value_comes_back_the_same_or_is_refused(self, connector: Connector[Any]) -> None:
        amounts = ["0", "1.10", "-5", "90071992547409.93", "0.000001", "1E-6", "1E+3", "-0.01", "123456789012345678.12"]
        texts = ["=1+1", "+x", "-x", "@x", "'", "''", "'=x", " x ", "a,b;c", '"', "\\", "0012", "true", "null", "é", "e\u0301",
                 "🌿👩‍👩‍👧", "－1", "x\ny", "x\ty", "x\r\ny", "\u2028", "\x01", "x" * 80, "%s %(x)s :x", "#N/A", "1e5", "\0"]  # fmt: skip
        given: dict[str, tuple[str, Any]] = {f"a{n}": ("amount", Decimal(text)) for n, text in enumerate(amounts)}
        given |= {f"t{n}": ("name", text) for n, text in enumerate(texts)}
        operations = [Operation(id, "upsert", {"id": id, field: value}) for id, (field, value) in given.items()]
        outcomes = {one.id: one for one in self.write(connector, *operations)}
        rows = self.rows(connector)
        for id, (field, value) in given.items():
            if outcomes[id].state == "refused":
                assert id not in rows and outcomes[id].problem is not None
                continue
            found = rows[id][field]
            found = Decimal(found) if field == "amount" and isinstance(found, str) else found
            assert same(found, value), (value, found)
        assert sum(one.state == "created" for one in outcomes.values()) >= len(given) - 8

    def test_null_blank_and_missing_stay_what_the_system_can_tell_apart(self, connector: Connector[Any]) -> None:
        for id, note in (("1", {"note": None}), ("2", {"note": ""}), ("3", {})):
            self.put(connector, id, **note)
        rows = self.rows(connector)
        if "null" in self.keeps:
            assert rows["1"].get("note", "") is None
        if "blank" in self.keeps:
            assert rows["2"]["note"] == ""
        if "missing" in self.keeps:
            assert "note" not in rows["3"]
        assert rows["3"].get("note") in (None, "")

    def test_an_update_to_null_clears_and_others_stay(self, connector: Connector[Any]) -> None:
        self.put(connector, "1", note="old", day="2026-01-31")
        self.write(connector, Operation("u", "update", {}, key="1", changes={"note": None}))
        row = self.rows(connector)["1"]
        assert row.get("note") in (None, "") and row["day"] == "2026-01-31"

    def test_strange_keys_are_found_again(self, connector: Connector[Any]) -> None:
        keys = ["a'b", 'a"b', "a b", "a,b", "[1]", "é", "🌿", "%", "a\\b", "0", "00", "=x", "1.0", "a/b", "-"]
        for key in keys:
            assert self.put(connector, key).key == key
        assert sorted(self.rows(connector)) == sorted(keys)
        assert sorted(connector.get(self.things, keys)) == sorted(keys)
        operations = [Operation(f"d{key}", "delete", {}, key=key) for key in keys]
        assert {one.state for one in self.write(connector, *operations)} == {"deleted"}

    def test_unchanged_records_have_unchanged_bytes(self, connector: Connector[Any]) -> None:
        for number in range(3):
            self.put(connector, str(number), amount=Decimal("1.10"))
        before = {record.key: (record.raw, record.value) for record in self.records(connector)}
        assert before == {record.key: (record.raw, record.value) for record in self.records(connector)}
        self.write(connector, Operation("u", "update", {}, key="1", changes={"name": "other"}))
        after = {record.key: (record.raw, record.value) for record in self.records(connector)}
        assert {key for key in before if before[key] != after[key]} == {"1"}
        raws = [raw for raw, _ in after.values() if raw is not None]
        assert len(set(raws)) == len(raws)

    # ------------------------------------------------------------------ windows and searches
    def test_windows_are_half_open_and_together_lose_nothing(self, connector: Connector[Any]) -> None:
        chance = random.Random(7)  # noqa: S311
        times = {f"{n:02d}": f"2026-03-29T0{chance.randrange(4)}:00:00Z" for n in range(40)}
        operations = [Operation(key, "upsert", {"id": key, "name": key, "at": at}) for key, at in times.items()]
        operations.append(Operation("none", "upsert", {"id": "none", "name": "never changed"}))
        self.write(connector, *operations)
        edges = [f"2026-03-29T0{hour}:00:00Z" for hour in range(5)]
        for page in (1, 3, 500):
            for since, until in itertools.pairwise(edges):
                found = [record.key for record in self.records(connector, since=since, until=until, page=page)]
                wanted = sorted(key for key, at in times.items() if since <= at < until)
                assert sorted(found) == [*wanted, "none"]

    def test_slices_together_hold_every_record_and_each_only_its_own(self, connector: Connector[Any]) -> None:
        fields = connector.describe(self.things).slices
        for number, day in enumerate(("2025-12-31", "2026-01-01", "2026-01-31", "2026-02-01", "2027-01-01", None)):
            at = None if day is None else f"{day}T00:00:00Z"
            self.put(connector, str(number), **({} if day is None else {"day": day, "at": at}))
        edges = ["2026-01-01", "2026-02-01", "2026-03-01"]
        parts = [(None, None), (None, edges[0]), *itertools.pairwise(edges), (edges[-1], None)]
        for field in fields:
            found = [{record.key for record in self.records(connector, slice=Slice(field, *part))} for part in parts]
            assert set().union(*found) == {str(number) for number in range(6)}, field
            if field == "day":
                assert found == [{"5"}, {"0"}, {"1", "2"}, {"3"}, {"4"}]

    def test_batches_say_how_far_they_reach(self, connector: Connector[Any]) -> None:
        for number in range(12):
            self.put(connector, f"{number:02d}", at=f"2026-01-01T00:00:0{number % 3}Z")
        given: set[str] = set()
        everything = {record.key: record.modified or "" for record in self.records(connector)}
        for batch in connector.read(Read(self.things, page=5)):
            given |= {record.key for record in batch.records}
            if batch.reached is not None:
                assert {key for key, at in everything.items() if at < batch.reached} <= given
        assert given == set(everything)

    def test_many_conditions_are_answered_in_their_order(self, connector: Connector[Any]) -> None:
        for number in range(6):
            self.put(connector, str(number), note="even" if number % 2 == 0 else "odd")
        by: list[Fields] = [
            {"id": "3"},
            {"name": "n9"},
            {"note": "even"},
            {"name": "n1", "note": "odd"},
            {"name": "n1", "note": "even"},
        ]
        found = [sorted(record.key for record in rows) for rows in connector.find(self.things, by)]
        assert found == [["3"], [], ["0", "2", "4"], ["1"], []]
        assert connector.find(self.things, []) == []
