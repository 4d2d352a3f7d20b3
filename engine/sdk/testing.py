"""Promises of every connector, written once. Subclass `ConnectorContract`, provide `connector`, inherit the tests.

The `connector` fixture gives a connector whose object `things` has the fields id (text key), name (text), amount
(decimal), day (date) and note (text), and is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar

from engine.sdk.connector import Connector, Operation, Outcome, Read
from engine.sdk.errors import ConnectorError
from engine.sdk.record import Fields, same


class ConnectorContract:
    """What every writable connector promises."""

    things: ClassVar[str] = "things"
    missing_object: ClassVar[str] = "thngs"

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
