"""Functions of days and instants: ISO text in, ISO text out; `now` is the run's start."""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, timedelta
from typing import Any

from engine.compile.functions.function import FunctionFault, function


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        raise FunctionFault(f"expected a date as YYYY-MM-DD, got {text!r}") from None


def _instant(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise FunctionFault(f"expected a date or an instant, got {text!r}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@function("string|null", name="date", examples=[("date('2026-01-31T23:00:00Z')", "2026-01-31")])
def date_(text: str | None) -> str | None:
    """The day of a date or of an instant in UTC."""
    return None if text is None else _day(text).isoformat()


@function("string|null", "number", examples=[("add_days('2026-02-27', `2`)", "2026-03-01")])
def add_days(text: str | None, count: int) -> str | None:
    """A date so many days later."""
    if text is None:
        return None
    try:
        return (_day(text) + timedelta(days=int(count))).isoformat()
    except OverflowError:
        raise FunctionFault("add_days() leaves the calendar") from None


@function("string|null", examples=[("month_start('2026-02-27')", "2026-02-01")])
def month_start(text: str | None) -> str | None:
    """The first day of a date's month."""
    return None if text is None else _day(text).replace(day=1).isoformat()


@function(
    "string|null", "string|null", examples=[("months('2026-11-15', '2027-01-01')", ["2026-11", "2026-12", "2027-01"])]
)
def months(first: str | None, last: str | None) -> list[str] | None:
    """The months of two days and between them, as YYYY-MM; none where the last is before the first."""
    if first is None or last is None:
        return None
    start, end = _day(first), _day(last)
    numbers = range(start.year * 12 + start.month - 1, end.year * 12 + end.month)
    return [f"{number // 12:04d}-{number % 12 + 1:02d}" for number in numbers]


@function("string|null", examples=[("month_end('2028-02-03')", "2028-02-29")])
def month_end(text: str | None) -> str | None:
    """The last day of a date's month."""
    if text is None:
        return None
    day = _day(text)
    return day.replace(day=calendar.monthrange(day.year, day.month)[1]).isoformat()


@function("string|null", "string|null", examples=[("days_between('2026-01-31', '2026-03-01')", 29)])
def days_between(first: str | None, last: str | None) -> int | None:
    """Days from the first date to the last; negative where the last comes first."""
    return None if first is None or last is None else (_day(last) - _day(first)).days


@function("string|null", "string|null", examples=[("is_before('2026-01-31', '2026-02-01')", True)])
def is_before(one: str | None, other: str | None) -> bool | None:
    """Whether a date or instant comes before another; null where one is missing."""
    return None if one is None or other is None else _instant(one) < _instant(other)


@function("string|null", "string|null", examples=[("is_after('2026-02-01T00:00:00Z', '2026-02-01')", False)])
def is_after(one: str | None, other: str | None) -> bool | None:
    """Whether a date or instant comes after another; null where one is missing."""
    return None if one is None or other is None else _instant(one) > _instant(other)


@function(env=True, examples=[("is_after(now(), '2026-01-01')", True)])
def now(env: Any) -> str:
    """The start of the run, in UTC. A rule that uses it is never skipped as unchanged."""
    moment: datetime = env.now
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


FUNCTIONS = (date_, add_days, month_start, month_end, months, days_between, is_before, is_after, now)
