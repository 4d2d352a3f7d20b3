"""Schedules against the wall clock: what cron fields mean, and what happens when the clock is changed."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.serve.ticks import Schedule, put_off
from engine.spec.trigger import read_cron

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def ticks(cron: str, zone: str, since: str, count: int) -> list[str]:
    """The next ticks, on the wall clock with its offset."""
    schedule = Schedule.of(cron, zone)
    found = islice(schedule.after(utc(since)), count)
    return [one.astimezone(ZoneInfo(zone)).strftime("%d %H:%M%z") for one in found]


@pytest.mark.parametrize(
    ("cron", "zone", "since", "expected"),
    [
        # New York, 8 March 2026: 02:00 EST becomes 03:00 EDT
        ("30 2 * * *", "America/New_York", "2026-03-07T08:00", ["08 03:00-0400", "09 02:30-0400"]),
        ("*/20 2 * * *", "America/New_York", "2026-03-07T08:00", ["08 03:00-0400", "09 02:00-0400", "09 02:20-0400"]),
        ("30 * * * *", "America/New_York", "2026-03-08T06:00", ["08 01:30-0500", "08 03:30-0400"]),
        ("0 */2 * * *", "America/New_York", "2026-03-08T04:00", ["08 00:00-0500", "08 03:00-0400", "08 04:00-0400"]),
        # New York, 1 November 2026: 02:00 EDT becomes 01:00 EST
        ("30 1 * * *", "America/New_York", "2026-11-01T00:00", ["01 01:30-0400", "02 01:30-0500"]),
        ("30 * * * *", "America/New_York", "2026-11-01T05:00", ["01 01:30-0400", "01 01:30-0500", "01 02:30-0500"]),
        # London, 29 March and 25 October 2026
        ("15 1 * * *", "Europe/London", "2026-03-28T12:00", ["29 02:00+0100", "30 01:15+0100"]),
        ("15 1 * * sun", "Europe/London", "2026-10-24T12:00", ["25 01:15+0100", "01 01:15+0000"]),
        ("*/30 * * * *", "Europe/London", "2026-10-25T00:20",
         ["25 01:30+0100", "25 01:00+0000", "25 01:30+0000", "25 02:00+0000"]),
        # Lord Howe shifts by half an hour: 4 October 2026 02:00 becomes 02:30, 5 April 2026 02:00 becomes 01:30
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", ["04 02:30+1100", "05 02:15+1100"]),
        ("45 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", ["04 02:45+1100"]),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00", ["05 01:45+1100", "06 01:45+1030"]),
        ("45 * * * *", "Australia/Lord_Howe", "2026-04-04T14:00", ["05 01:45+1100", "05 01:45+1030", "05 02:45+1030"]),
        # Cairo has no midnight on 24 April 2026, and shows 23:00 to 24:00 of 29 October 2026 twice
        ("0 0 * * *", "Africa/Cairo", "2026-04-23T00:00", ["24 01:00+0300", "25 00:00+0300"]),
        ("30 0 * * fri", "Africa/Cairo", "2026-04-20T00:00", ["24 01:00+0300", "01 00:30+0300"]),
        ("30 23 * * *", "Africa/Cairo", "2026-10-29T12:00", ["29 23:30+0300", "30 23:30+0200"]),
        ("30 * * * *", "Africa/Cairo", "2026-10-29T20:00", ["29 23:30+0300", "29 23:30+0200", "30 00:30+0200"]),
        # Samoa had no 30 December 2011: what was due then comes with the first instant after it
        ("0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00", ["31 00:00+1400", "30 12:00+1400"]),
    ],
)  # fmt: skip
def test_a_change_of_the_clock_neither_loses_nor_doubles_a_tick(
    cron: str, zone: str, since: str, expected: list[str]
) -> None:
    assert ticks(cron, zone, since, len(expected)) == expected


def test_days_of_the_week_are_counted_from_sunday_and_7_is_sunday_too() -> None:
    saturday = "2026-11-21T00:00"
    for text in ("0", "7", "sun", "SUN"):
        assert ticks(f"0 9 * * {text}", "UTC", saturday, 1) == ["22 09:00+0000"], text
    assert ticks("0 9 * * 1", "UTC", saturday, 1) == ["23 09:00+0000"]
    assert ticks("0 9 * * 5-7", "UTC", saturday, 4) == [
        "21 09:00+0000",
        "22 09:00+0000",
        "27 09:00+0000",
        "28 09:00+0000",
    ]
    assert ticks("0 9 * * mon-fri", "UTC", saturday, 2) == ["23 09:00+0000", "24 09:00+0000"]
    assert ticks("0 9 * * */6", "UTC", saturday, 2) == ["21 09:00+0000", "22 09:00+0000"]


def test_either_day_field_is_enough_where_both_are_restricted() -> None:
    since = "2026-11-01T12:00"
    assert ticks("0 0 13 * fri", "UTC", since, 4) == [
        "06 00:00+0000",
        "13 00:00+0000",
        "20 00:00+0000",
        "27 00:00+0000",
    ]
    assert ticks("0 0 15 * fri", "UTC", since, 3) == ["06 00:00+0000", "13 00:00+0000", "15 00:00+0000"]
    assert ticks("0 0 */2 * fri", "UTC", since, 2) == ["13 00:00+0000", "27 00:00+0000"], (
        "a star restricts, and both count"
    )


def test_steps_begin_anew_each_hour_and_month() -> None:
    assert ticks("*/45 * * * *", "UTC", "2026-11-21T00:00", 3) == ["21 00:45+0000", "21 01:00+0000", "21 01:45+0000"]
    assert ticks("10/20 8 * * *", "UTC", "2026-11-21T00:00", 3) == ["21 08:10+0000", "21 08:30+0000", "21 08:50+0000"]
    assert ticks("0 0 */30 * *", "UTC", "2026-11-21T00:00", 3) == ["01 00:00+0000", "31 00:00+0000", "01 00:00+0000"]
    assert ticks("0 0 29 2 *", "UTC", "2096-03-01T00:00", 1) == ["29 00:00+0000"], "2104: the year 2100 has none"


@pytest.mark.parametrize(
    "text",
    ["* * * * * *", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "@daily", "*/0 * * * *",
     "L * * * *", "? * * * *", "5-1 * * * *", "* * * * fri-sun", "*-5 * * * *", "1,,2 * * * *", "-1 * * * *", "* * * * mon#2"],
)  # fmt: skip
def test_what_is_no_cron_expression_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_cron(text)


@pytest.mark.parametrize("text", ["0 0 30 2 *", "0 0 31 4,6,9,11 *"])
def test_a_day_that_never_comes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="never comes"):
        read_cron(text)
    read_cron(f"{text[:-1]}fri")  # but Fridays do


def test_jitter_is_the_same_everywhere_and_spreads() -> None:
    tick, jitter = utc("2026-11-21T00:00"), timedelta(seconds=30)
    off = {put_off(f"flow-{number}", tick, jitter) - tick for number in range(500)}
    assert off == {put_off(f"flow-{number}", tick, jitter) - tick for number in range(500)}
    assert timedelta(0) <= min(off) < timedelta(seconds=2) and timedelta(seconds=28) < max(off) <= jitter
    assert put_off("a", tick, None) == tick


def scanned(cron: str, zone: ZoneInfo, since: datetime, until: datetime) -> set[datetime]:
    """Every tick of a span, by looking at the wall clock each minute: the contract said once more, slowly."""
    fields, found = read_cron(cron), set()
    wall = since.astimezone(zone).replace(tzinfo=None)
    seen: Counter[datetime] = Counter()

    def due(at: datetime) -> bool:
        of_month, of_week = at.day in fields.days, (at.weekday() + 1) % 7 in fields.weekdays
        on = of_month or of_week if fields.either else of_month and of_week
        return on and at.month in fields.months and at.hour in fields.hours and at.minute in fields.minutes

    for number in range(int((until - since) / MINUTE) + 1):
        moment = since + number * MINUTE
        now = moment.astimezone(zone).replace(tzinfo=None)
        while not fields.hourly and now - wall > MINUTE:  # the clock was put forward
            wall += MINUTE
            if due(wall):
                found.add(moment)
        wall = now
        seen[now] += 1
        if due(now) and (fields.hourly or seen[now] == 1):
            found.add(moment)
    return found


CHANGES = [("Europe/London", "2026-03-29"), ("Europe/London", "2026-10-25"), ("America/New_York", "2027-03-14"),
           ("America/New_York", "2026-11-01"), ("Australia/Lord_Howe", "2026-10-04"), ("Australia/Lord_Howe", "2026-04-05"),
           ("Africa/Cairo", "2026-04-24"), ("Africa/Cairo", "2026-10-29"), ("America/Nuuk", "2026-03-28"),
           ("America/Nuuk", "2026-10-24"), ("America/Havana", "2026-11-01"), ("Africa/Casablanca", "2026-02-15"),
           ("Asia/Kathmandu", "2026-01-01"), ("Antarctica/Troll", "2026-10-25"), ("Pacific/Apia", "2011-12-30")]  # fmt: skip


def field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    spans = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    parts = number.map(str) | spans | st.integers(2, 20).map(lambda step: f"*/{step}")
    return st.just("*") | parts | st.tuples(number, number).map(lambda pair: f"{pair[0]},{pair[1]}")


@given(place=st.sampled_from(CHANGES), minute=field(0, 59), hour=field(0, 23), days=st.sampled_from(["*", "*/2", "1-15", "25"]),
       weekdays=st.sampled_from(["*", "sun", "5-7", "1,6"]))  # fmt: skip
@settings(max_examples=20, deadline=None)
def test_ticks_are_those_of_a_look_at_the_clock_every_minute(
    place: tuple[str, str], minute: str, hour: str, days: str, weekdays: str
) -> None:
    zone, cron = ZoneInfo(place[0]), f"{minute} {hour} {days} * {weekdays}"
    since = datetime.fromisoformat(place[1]).replace(tzinfo=UTC) - 26 * HOUR
    until = since + 62 * HOUR
    whole = scanned(cron, zone, since - 30 * HOUR, until)
    expected = sorted(one for one in whole if since < one <= until)
    assert list(Schedule.of(cron, place[0]).between(since, until)) == expected
