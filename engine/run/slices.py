"""Reads in slices (`partition`): everything, one part of a field's range after the other, resumed where they stopped.

Together the slices hold every record, whatever stands in the field: one for those without a value, one for all that is
older than the first, one for each step, and the last one open at its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from engine.sdk.connector import Slice
from engine.sdk.record import Fields
from engine.spec.sync import Partition

MARK = "slice:"
"""Begins what a batch is told to have reached when a slice is over."""
NONE = "none"
"""The slice of records without a value; the first."""
OVER = f"{MARK}over"
"""The last slice is finished."""
YEARS = 5
MOST = 10_000
"""Steps at most; what is older than so many goes into the slice of the oldest."""


@dataclass(frozen=True, slots=True)
class Pass:
    """A read of everything that goes slice by slice. layout: what cut it; began: the source's clock then; done: the
    last slice that is finished, None before the first. Kept with the flow's cursor until it is over."""

    layout: str
    began: str
    done: str | None = None

    @classmethod
    def of(cls, saved: Any) -> Pass | None:
        """From the cursor's JSON."""
        return cls(saved["layout"], saved["began"], saved.get("done")) if isinstance(saved, dict) else None

    def as_json(self) -> Fields:
        return {"layout": self.layout, "began": self.began, "done": self.done}


def layout(given: Partition, today: date) -> str:
    """What decides where slices begin; a pass that was cut otherwise is not gone on with."""
    count, unit = given.every
    return f"{given.by} every {count} {unit} from {_first(given, today).isoformat()}"


def slices(given: Partition, today: date) -> Iterator[tuple[str, Slice]]:
    """(name, slice) in order; names sort as the slices do not change while days pass."""
    yield NONE, Slice(given.by)
    low = _first(given, today)
    yield "older", Slice(given.by, None, low.isoformat())
    while (high := step(low, given.every)) <= today:
        yield low.isoformat(), Slice(given.by, low.isoformat(), high.isoformat())
        low = high
    yield "newest", Slice(given.by, low.isoformat(), None)


def left(given: Partition, today: date, done: str | None) -> Iterator[tuple[str, Slice]]:
    """The slices after the one that is done; all of them where it is not known any more."""
    parts = list(slices(given, today))
    names = [name for name, _ in parts]
    yield from parts[names.index(done) + 1 :] if done in names else parts


def step(day: date, every: tuple[int, str]) -> date:
    """So many days, weeks, months, quarters or years later. Days that a month lacks become its last."""
    count, unit = every
    if unit in ("day", "week"):
        return day + timedelta(days=count * (7 if unit == "week" else 1))
    months = count * {"month": 1, "quarter": 3, "year": 12}[unit]
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    for last in (day.day, 30, 29, 28):
        try:
            return date(year, month + 1, min(day.day, last))
        except ValueError:
            continue
    raise AssertionError("every month has 28 days")


def _first(given: Partition, today: date) -> date:
    first: date = given.from_ or date(today.year - YEARS, 1, 1)
    count, unit = given.every
    days = {"day": 1, "week": 7, "month": 28, "quarter": 84, "year": 365}[unit] * count
    return max(first, today - timedelta(days=days * MOST)) if (today - first).days // days > MOST else first
