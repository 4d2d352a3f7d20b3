"""The protocol as a state machine: nothing is doubled or lost in any order of events, and every part of it is needed.

The machine is held to the engine: what the journal's rows really do under kills and faults is what they may do there.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from engine.state import operations
from tests.chaos import model
from tests.chaos.conftest import NewLine

STATES = int(os.environ.get("CHAOS_STATES", "1000000"))
ELSEWHERE = {("planned", "dropped"), ("dropped", "confirmed"), ("refused", "confirmed")}
"""Not of one create on a target that keeps its promise: another write of the record came, or an answer later than `late`."""
TRIGGERS = """
CREATE TABLE moves (old TEXT, new TEXT);
CREATE TRIGGER made AFTER INSERT ON operations BEGIN INSERT INTO moves VALUES ('', new.state); END;
CREATE TRIGGER moved AFTER UPDATE OF state ON operations WHEN old.state <> new.state
  BEGIN INSERT INTO moves VALUES (old.state, new.state); END;
"""


def test_nothing_is_doubled_or_lost_in_any_order_of_events() -> None:
    """Four workers, however often they claim, every wait two ticks long."""
    found = model.explore(2 * STATES, workers=4, times=model.Times(2, 2, 2, 2))
    assert found.broken is None and found.whole, "there is nothing more to explore"
    assert found.states >= STATES


def test_the_machine_does_what_the_engine_s_table_allows() -> None:
    """What it does with a create's row is all of the table, and nothing else; and from everywhere the record gets there."""
    table = {("", operations.FIRST)} | {
        (old, new) for old, to in operations.TRANSITIONS.items() for new in to if old != new
    }
    assert model.explore(STATES).moves == table - operations.AGAIN - ELSEWHERE
    assert model.stuck(2) == 0


@pytest.mark.parametrize("part", ["T1", "fence", "settle", "send_by"])
def test_without_a_part_the_promise_breaks(part: str) -> None:
    assert model.explore(STATES, without=frozenset({part})).broken is not None


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
    it.wait()
    it.settle()
    seen = set(db.execute("SELECT DISTINCT old, new FROM moves").fetchall())
    db.close()
    may = {(old, new) for old, to in model.MAY.items() for new in to}
    assert seen <= may, seen - may
    assert {("", "sent"), ("sent", "confirmed"), ("sent", "in_doubt"), ("dropped", "sent")} <= seen
