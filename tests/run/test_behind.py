"""Where a target appends, versions of a record go one after the other, and none is passed."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from engine.state import exceptions
from tests.conftest import Make
from tests.run.folder import Folder
from tests.run.test_sync import SCHEMA

FILES = {
    "crosswalk.yaml": """
        crosswalk: 1
        name: events
        connections:
          src: { connector: files, path: data, format: ndjson, objects: { uses: { key: id, modified: at } } }
          dw: { connector: sql, url: "sqlite:///dw.db" }
    """,
    "schemas/use.yaml": SCHEMA + "required: [amount]\nproperties: { amount: { type: integer }, at: { type: string } }\n",
    "mappings/src/uses.yaml": "mapping: src/uses\nobject: uses\nentity: use\nfields: { amount: { from: amount, as: integer }, at: at }\n",
    "mappings/dw/uses.yaml": "mapping: dw/uses\nobject: uses\nentity: use\nfields: { amount: amount, at: at }\n",
    "flows/uses.yaml": """
        flow: uses
        kind: sync
        entity: use
        source: { connection: src, mapping: src/uses }
        checks: [{ name: small, that: "amount < `100`", otherwise: "{{ amount }} is too much" }]
        targets: [{ connection: dw, mapping: dw/uses, operation: append, match: [] }]
        guard: { errors: 100% }
    """,
}  # fmt: skip


class Uses(Folder):
    flow, rows = "uses", "data/uses.ndjson"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        with sqlite3.connect(folder / "dw.db") as db:
            db.execute("create table uses (n integer primary key autoincrement, amount integer, at text)")
        db.close()

    def give(self, at: int, amount: int, id: str = "1") -> dict[str, Any]:
        self.put([{"id": id, "amount": amount, "at": f"2026-01-01T00:00:{at:02}Z"}])
        return self.run()

    def written(self) -> list[int]:
        db = sqlite3.connect(self.folder / "dw.db")
        rows = [row[0] for row in db.execute("select amount from uses order by n")]
        db.close()
        return rows

    def decide(self, state: str) -> None:
        with self.store() as store, store.begin() as tx:
            exceptions.set_state(tx, [one.id for one in exceptions.listed(tx) if one.code == "E430"], state, "test")


@pytest.fixture
def uses(make: Make) -> Uses:
    return Uses(make(FILES))


def test_later_versions_wait_behind_one_in_trouble_and_follow_in_their_order(uses: Uses) -> None:
    uses.give(1, 10)
    assert uses.give(2, 500)["quarantined"] == 1
    for at, amount in ((3, 30), (4, 40), (5, 50)):
        told = uses.give(at, amount)
        assert (told["created"], told["waiting"]) == (0, 1), "nothing passes"
    assert uses.give(6, 7, id="2")["created"] == 1, "other records are not held up"
    assert uses.written() == [10, 7]
    assert sorted(one.code for one in uses.open()) == ["E418", "E418", "E418", "E430"]
    flow = uses.folder / "flows/uses.yaml"
    flow.write_text(flow.read_text().replace("`100`", "`1000`"))
    uses.decide("due")
    last = uses.run()
    assert uses.written() == [10, 7, 500, 30, 40, 50] and uses.open() == []
    assert (last["created"], last["waiting"], last["quarantined"]) == (4, 0, 0)
    uses.run(full=True)
    assert uses.written() == [10, 7, 500, 30, 40, 50]


def test_one_that_is_given_up_lets_the_next_go_and_a_second_trouble_holds_the_rest(uses: Uses) -> None:
    uses.give(1, 500)
    for at, amount in ((2, 20), (3, 600), (4, 40)):
        uses.give(at, amount)
    uses.decide("discarded")
    told = uses.run()
    assert uses.written() == [20] and told["quarantined"] == 1
    assert sorted(one.code for one in uses.open()) == ["E418", "E430"]
    uses.decide("discarded")
    uses.run()
    assert uses.written() == [20, 40] and uses.open() == []
