"""What starts a flow: a schedule, a webhook, an event, or another flow's end."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, NamedTuple

from pydantic import BeforeValidator, field_validator, model_validator

from engine.sdk.config import Config, Duration, TimeZone

_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 7))
_NAMES = {
    "month": "jan feb mar apr may jun jul aug sep oct nov dec".split(),
    "day of week": "sun mon tue wed thu fri sat".split(),
}
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PATH = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
JITTER = timedelta(hours=1)
"""The most that a start may be put off."""


class Cron(NamedTuple):
    """A schedule's five fields as sets of numbers; Sunday is 0. either: a day counts where one of the two day fields
    has it (both are restricted: neither begins with `*`); else both must have it."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool

    @property
    def hourly(self) -> bool:
        """Whether it goes by the minute, in every hour."""
        return len(self.hours) == 24


def read_cron(text: str) -> Cron:
    """A 5-field cron expression. Raises ValueError that names the field, or says that its day never comes."""
    fields = text.split()
    if len(fields) != 5:
        raise ValueError(f"has {len(fields)} fields: write five (minute hour day month weekday)")
    sets = []
    for part, (name, low, high) in zip(fields, _FIELDS, strict=True):
        sets.append(frozenset(one for each in part.split(",") for one in _numbers(each, name, low, high)))
    minutes, hours, days, months, weekdays = sets
    either = not fields[2].startswith("*") and not fields[4].startswith("*")
    if not either and min(days) > max(_LONGEST[month - 1] for month in months):
        raise ValueError(f"never comes: no month of it has a day {min(days)}")
    return Cron(minutes, hours, days, months, frozenset(one % 7 for one in weekdays), either)


def check_cron(text: str) -> str:
    """The text of a 5-field cron expression. Raises ValueError as `read_cron` does."""
    read_cron(text)
    return text


def _numbers(text: str, name: str, low: int, high: int) -> range:
    match = re.fullmatch(r"(\*|[0-9a-z]+)(?:-([0-9a-z]+))?(?:/([1-9][0-9]*))?", text.lower())
    if not match or (match[1] == "*" and match[2]):
        raise ValueError(f"{text!r} is not a {name}: write a number, a range a-b, a step */n or *")
    first = _number(match[1], name, low, high)
    last = _number(match[2], name, low, high) if match[2] else None
    if first is not None and last is not None and first > last:
        raise ValueError(f"{text!r} runs backwards as a {name}")
    step = int(match[3] or 1)
    end = 6 if name == "day of week" and last is None else high
    if first is None:
        return range(low, end + 1, step)
    return range(first, (last if last is not None else end if match[3] else first) + 1, step)


def _number(text: str, name: str, low: int, high: int) -> int | None:
    if text == "*":
        return None
    names = _NAMES.get(name, [])
    value = names.index(text) + (1 if name == "month" else 0) if text in names else None
    if value is None:
        value = int(text) if text.isdigit() else -1
    if not low <= value <= high:
        raise ValueError(f"{text!r} is not a {name}: write {low} to {high}")
    return value


def _path(value: object) -> str:
    text = str(value)
    if not _PATH.fullmatch(text) or len(text) > 200:
        raise ValueError("write letters, digits, `-`, `_`, `.`, `~` and single slashes, such as salesforce/accounts")
    return text


class Webhook(Config):
    """A path that a system calls."""

    connection: str
    path: Annotated[str, BeforeValidator(_path)]
    """Below `/hooks/`, without a slash before it."""


class Trigger(Config):
    """One trigger; exactly one of schedule, webhook, event and after."""

    schedule: str | None = None
    """5-field cron; Sunday is 0 or 7. A day counts where day of month *or* weekday has it, if neither begins with `*`."""
    timezone: TimeZone | None = None
    """IANA name; UTC where it is left out."""
    jitter: Duration | None = None
    """Starts are put off by up to this, each tick by its own share, so that flows of one minute spread."""
    webhook: Webhook | None = None
    event: str | None = None
    """CloudEvents type."""
    after: str | None = None
    """Flow that starts this one whenever `serve` has run it to its end (succeeded or partial)."""

    @field_validator("schedule")
    @classmethod
    def _cron(cls, value: str | None) -> str | None:
        return check_cron(value) if value is not None else None

    @model_validator(mode="after")
    def _one(self) -> Trigger:
        given = [name for name in ("schedule", "webhook", "event", "after") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("write one of `schedule`, `webhook`, `event` and `after`")
        for name in ("timezone", "jitter"):
            if getattr(self, name) is not None and self.schedule is None:
                raise ValueError(f"`{name}` belongs to `schedule`")
        if self.jitter is not None and not timedelta(0) <= self.jitter <= JITTER:
            raise ValueError("has a jitter of more than an hour: write up to 1h")
        return self
