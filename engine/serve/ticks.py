"""When a schedule comes due: cron fields read on the wall clock of a time zone, with one contract for clock changes.

A wall time that the clock skips comes at the first instant after the gap, once; one that the clock shows twice comes the
first time. Schedules of every hour follow the clock instead: nothing in the gap, both times in the hour that comes twice.
Every tick is told by its instant in UTC. Nothing here looks at a clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from typing import NamedTuple
from zoneinfo import ZoneInfo

from engine.spec.trigger import Cron, read_cron

DAY = timedelta(days=1)
HORIZON = 8 * 366 + 2
"""Days until any schedule has come: from one 29th of February to the next, over a century's end."""


class Schedule(NamedTuple):
    """A cron expression on the wall clock of a zone."""

    cron: Cron
    zone: ZoneInfo

    @classmethod
    def of(cls, text: str, timezone: str | None) -> Schedule:
        return cls(read_cron(text), ZoneInfo(timezone or "UTC"))

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Its ticks later than a moment, in order, without end. UTC."""
        last = moment.astimezone(UTC)
        day = last.astimezone(self.zone).date() - 2 * DAY  # a whole day may be skipped, and comes due after it
        empty = 0
        while empty <= HORIZON:
            found: Iterable[datetime] = ()
            if not self._changes(day):
                found = self._of_day(day, last)
            else:  # the days around a change may overlap
                odd = set(self._of_odd_day(day))
                while self._changes(day + DAY):
                    day += DAY
                    odd |= set(self._of_odd_day(day))
                found = sorted(odd)
            empty += 1
            for tick in found:
                if tick > last:
                    last, empty = tick, 0
                    yield tick
            day += DAY

    def next(self, moment: datetime) -> datetime | None:
        """Its first tick later than a moment; None before the end of time."""
        return next(self.after(moment), None)

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Ticks in (after, until]."""
        for tick in self.after(after):
            if tick > until:
                return
            yield tick

    def _on(self, day: date) -> bool:
        cron = self.cron
        if day.month not in cron.months:
            return False
        of_month, of_week = day.day in cron.days, day.isoweekday() % 7 in cron.weekdays
        return of_month or of_week if cron.either else of_month and of_week

    def _changes(self, day: date) -> bool:
        """Whether the clock is changed on this day, or on the one before or after it."""
        midnight = datetime(day.year, day.month, day.day, tzinfo=self.zone)
        return len({(midnight + number * DAY).utcoffset() for number in (-1, 0, 1, 2)}) > 1

    def _of_day(self, day: date, last: datetime) -> Iterator[datetime]:
        """The ticks of a day on which the clock stays; those of hours before `last` are left out."""
        if not self._on(day):
            return
        midnight = datetime(day.year, day.month, day.day, tzinfo=self.zone).astimezone(UTC)
        for hour in sorted(self.cron.hours):
            if midnight + timedelta(hours=hour + 1) <= last:
                continue
            for minute in sorted(self.cron.minutes):
                yield midnight + timedelta(hours=hour, minutes=minute)

    def _of_odd_day(self, day: date) -> Iterator[datetime]:
        """The ticks of a day around a change of the clock, in no order."""
        for hour in self.cron.hours if self._on(day) else ():
            for minute in self.cron.minutes:
                wall = datetime(day.year, day.month, day.day, hour, minute, tzinfo=self.zone)
                first, second = wall.astimezone(UTC), wall.replace(fold=1).astimezone(UTC)
                if first.astimezone(self.zone).replace(tzinfo=None) == wall.replace(tzinfo=None):
                    yield first
                    if self.cron.hourly:
                        yield second
                elif not self.cron.hourly:
                    yield _end_of_gap(self.zone, second, first)


def _end_of_gap(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """The first instant at which the clock has jumped. before, after: instants on its two sides."""
    offset = after.astimezone(zone).utcoffset()
    low, high = int(before.timestamp()), int(after.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return datetime.fromtimestamp(high, UTC)


def put_off(flow: str, tick: datetime, jitter: timedelta | None) -> datetime:
    """When a tick's run may start: its instant and a share of the jitter, the same for every replica."""
    if not jitter:
        return tick
    drawn = blake2b(f"{flow} {tick.isoformat()}".encode(), digest_size=8).digest()
    return tick + jitter * (int.from_bytes(drawn) / 2**64)
