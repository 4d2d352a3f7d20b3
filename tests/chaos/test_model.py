"""The protocol as a state machine: nothing is doubled or lost in any order of events, and every part of it is needed.

The machine is held to the engine: what the journal's rows really do under kills and faults is what they may do there.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

import pytest

from engine.state import operations
from tests.chaos import model
from tests.chaos.conftest import NewLine
from tests.chaos.line import SETTLE

STATES = int(os.environ.get("CHAOS_STATES", "300000"))
ELSEWHERE = {("planned", "dropped"), ("dropped", "confirmed"), ("refused", "confirmed")}
"""Not of one create on a target that keeps its promise: another write of the record came, or an answer later than `late`."""
TRIGGERS = """
CREATE TABLE moves (old TEXT, new TEXT);
CREATE TRIGGER made AFTER INSERT ON operations BEGIN INSERT INTO moves VALUES ('', new.state); END;
CREATE TRIGGER moved AFTER UPDATE OF state ON operations WHEN old.state <> new.state
  BEGIN INSERT INTO moves VALUES (old.state, new.state); END;
"""


def test_nothing_is_doubled_or_lost_in_any_order_of_events() -> None:
    few = model.explore(3, STATES)
    assert few.broken is None and few.whole, "with three claims of the lease there is nothing more to explore"
    many = model.explore(9, STATES)
    assert many.broken is None and many.states >= STATES


@pytest.mark.parametrize("part", ["T1", "fence", "settle", "send_by"])
def test_without_a_part_the_promise_breaks(part: str) -> None:
    assert model.explore(3, 200_000, frozenset({part})).broken is not None


def test_the_machine_is_the_engine_s_table() -> None:
    """What the machine does with a create's row is all that the engine's table allows, and nothing else."""
    table = {("", operations.FIRST)} | {
        (old, new) for old, to in operations.TRANSITIONS.items() for new in to if old != new
    }
    explored = model.explore(4, STATES).moves
    assert explored <= table - operations.AGAIN
    assert table - operations.AGAIN - explored == ELSEWHERE


def test_the_journal_moves_as_the_machine_may(line: NewLine, tmp_path: Path) -> None:
    it = line("C", f"sqlite:///{tmp_path}/moves.db", batch=5).open()
    it.give({})
    it.run()
    db = sqlite3.connect(tmp_path / "moves.db")
    db.executescript(TRIGGERS)
    it.open(rate=0.4, seed=3)
    it.give({f"n{number}": 1 for number in range(40)})
    it.run(crash=("after send", 2))
    it.run(crash=("before send", 1))
    it.run()
    time.sleep(SETTLE)
    it.settle()
    seen = set(db.execute("SELECT DISTINCT old, new FROM moves").fetchall())
    db.close()
    may = {(old, new) for old, to in model.MAY.items() for new in to}
    assert seen <= may, seen - may
    assert {("", "sent"), ("sent", "confirmed"), ("sent", "in_doubt"), ("dropped", "sent")} <= seen
