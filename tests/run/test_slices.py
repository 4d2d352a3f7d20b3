"""Reads in slices: nothing is left out whatever the field holds, and a read that was stopped goes on where it was."""

from __future__ import annotations

import itertools
import sqlite3
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.sql.reading import Reader
from engine.run.runner import Runner
from engine.run.session import Options
from engine.run.slices import NONE, left, slices, step
from engine.sdk.connector import Read
from engine.sdk.errors import SpecError
from engine.spec.sync import Partition
from engine.spec.workspace import Workspace
from engine.state import runs
from engine.state.store import Store
from tests.conftest import Make

SCHEMA = "$schema: https://json-schema.org/draft/2020-12/schema\ntype: object\nadditionalProperties: false\n"
FILES = {
    "crosswalk.yaml": """
        crosswalk: 1
        name: t
        connections:
          src: { connector: sql, url: "sqlite:///src.db", objects: { entries: { modified: at } } }
          dw: { connector: sql, url: "sqlite:///dw.db" }
    """,
    "schemas/entry.yaml": SCHEMA + "properties: { day: { type: string }, hours: { type: number } }\n",
    "mappings/src/entries.yaml": "mapping: src/entries\nobject: entries\nentity: entry\nfields: { day: day, hours: hours }\n",
    "mappings/dw/entries.yaml": "mapping: dw/entries\nobject: entries\nentity: entry\nfields: { day: day, hours: hours }\noutbound: { id: id }\n",
    "flows/entries.yaml": """
        flow: entries
        kind: sync
        entity: entry
        source:
          connection: src
          mapping: src/entries
          deletes: sweep
          partition: { by: day, every: 1 month, from: 2026-01-01 }
        targets: [{ connection: dw, mapping: dw/entries, on_delete: delete }]
        guard: { deletes: 100% }
        policy: { batch: 2 }
    """,
}
DAYS = ["2025-03-05", "2026-01-01", "2026-01-31", "2026-02-01", "2026-02-28", "2999-01-01", None, "soon"]


class Stop(BaseException):
    """The process goes away."""


class World:
    """A source table with days in every slice, and a target."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source("create table entries (id text primary key, day date, hours numeric, at timestamp)")
        for number, day in enumerate(DAYS):
            self.put(str(number), day)
        self.sql("dw", "create table entries (id text primary key, day text, hours numeric)")
        self.asked: list[Any] = []

    def sql(self, name: str, text: str, *values: Any) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.folder / f"{name}.db") as db:
            rows = db.execute(text, values).fetchall()
        db.close()
        return rows

    def source(self, text: str, *values: Any) -> None:
        self.sql("src", text, *values)

    def put(self, id: str, day: str | None, at: str = "2026-03-01 00:00:00") -> None:
        self.source("insert or replace into entries values (?, ?, 1, ?)", id, day, at)

    def run(self, stop: int | None = None, **options: Any) -> dict[str, Any]:
        """A run; `stop`: the process goes away before that read."""
        store = Store.open("sqlite:///.crosswalk/state.db", self.folder)
        reads = iter(range(1, 1000))

        def crash(name: str) -> None:
            if stop is not None and name == "before read" and next(reads) == stop:
                raise Stop

        store.crashpoint = crash  # type: ignore[method-assign]
        try:
            return Runner(Workspace.open(self.folder), store).run("entries", Options(**options)).run
        finally:
            store.close()

    def position(self) -> Any:
        store = Store.open("sqlite:///.crosswalk/state.db", self.folder)
        with store.read() as tx:
            position, _ = runs.cursor(tx, "entries")
        store.close()
        return position

    def delivered(self) -> int:
        return int(self.sql("dw", "select count(*) from entries")[0][0])


@pytest.fixture
def world(make: Make, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(make(FILES))
    read = Reader.read

    def noted(reader: Reader, request: Read) -> Any:
        made.asked.append(request.slice)
        return read(reader, request)

    monkeypatch.setattr(Reader, "read", noted)
    return made


def test_every_record_is_read_whatever_its_day(world: World) -> None:
    told = world.run()
    assert (told["read"], told["created"], world.delivered()) == (len(DAYS), len(DAYS), len(DAYS))
    assert len(world.asked) > 4 and world.asked[0].low is world.asked[0].high is None
    assert world.position() == {"modified": "2026-03-01T00:00:00.000000Z"}, "the pass is over"
    world.asked.clear()
    assert world.run()["created"] == 0 and world.asked == [None], "what changed since is read in one go"


def test_what_was_stopped_goes_on_with_the_next_slice(world: World) -> None:
    with pytest.raises(Stop):
        world.run(stop=4)
    done = world.position()["pass"]["done"]
    world.asked.clear()
    told = world.run()
    assert told["state"] == "succeeded" and world.delivered() == len(DAYS)
    assert done == "older" and world.asked[0].low == "2026-01-01", "slices that are done are not read again"
    assert world.run(full=True)["unchanged"] == len(DAYS)


def test_what_changed_in_a_slice_that_was_read_comes_with_the_next_run(world: World) -> None:
    with pytest.raises(Stop):
        world.run(stop=4)
    world.source("update entries set hours = 2, at = '2999-01-01 00:00:00' where id = '1'")
    world.put("5", "2999-01-01", at="2999-01-02 00:00:00")
    world.run()
    assert world.position()["modified"] < "2999", "the cursor stays before the beginning of the pass"
    world.run()
    assert world.sql(
        "dw", "select hours from entries where id = (select id from entries where day = '2026-01-01')"
    ) == [(2,)]


def test_a_resumed_read_is_not_whole_and_deletes_nothing(world: World) -> None:
    world.run()
    world.source("delete from entries where id = '0'")
    with pytest.raises(Stop):
        world.run(full=True, stop=4)
    assert world.delivered() == len(DAYS)
    assert world.run(full=True)["deleted"] == 1 and world.delivered() == len(DAYS) - 1


def test_sources_that_cannot_be_cut_say_so(world: World) -> None:
    path = world.folder / "flows/entries.yaml"
    path.write_text(path.read_text().replace("by: day", "by: hours"))
    with pytest.raises(SpecError) as caught:
        world.run()
    assert (
        str(caught.value)
        == "E382 flows/entries.yaml:8:14 entries cannot be read in slices of 'hours' — it can by day, at"
    )


EVERY = st.tuples(st.integers(1, 40), st.sampled_from(["day", "week", "month", "quarter", "year"]))
DATES = st.dates(date(2024, 1, 1), date(2027, 12, 31))


@given(EVERY, DATES, DATES)
def test_slices_meet_and_leave_nothing_between_them(every: tuple[int, str], first: date, today: date) -> None:
    given_ = Partition.model_validate({"by": "d", "every": f"{every[0]} {every[1]}", "from": first.isoformat()})
    (none, empty), *parts = slices(given_, today)
    assert none == NONE and empty.low is empty.high is None
    assert parts[0][1].low is None and parts[-1][1].high is None
    assert all(one[1].high == after[1].low for one, after in itertools.pairwise(parts))
    lows = [part.low for _, part in parts[1:]]
    assert lows == sorted(lows, key=str) and len({name for name, _ in parts}) == len(parts)
    for number, (name, _) in list(enumerate(parts))[:: max(1, len(parts) // 5)]:
        assert [one for one, _ in left(given_, today, name)] == [one for one, _ in parts[number + 1 :]]


@given(EVERY, DATES)
def test_a_step_goes_forward(every: tuple[int, str], day: date) -> None:
    after = step(day, every)
    assert after > day
    assert step(date(2026, 1, 31), (1, "month")) == date(2026, 2, 28)
    assert every[1] != "week" or after - day == timedelta(weeks=every[0])
