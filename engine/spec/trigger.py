"""What starts a flow: a schedule, a webhook, an event, or another flow's end."""

from __future__ import annotations

import re

from pydantic import field_validator, model_validator

from engine.sdk.config import Config, TimeZone

_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 7))
_NAMES = {
    "month": "jan feb mar apr may jun jul aug sep oct nov dec".split(),
    "day of week": "sun mon tue wed thu fri sat".split(),
}


def check_cron(text: str) -> str:
    """A 5-field cron expression. Raises ValueError that names the field."""
    fields = text.split()
    if len(fields) != 5:
        raise ValueError(f"has {len(fields)} fields: write five (minute hour day month weekday)")
    for part, (name, low, high) in zip(fields, _FIELDS, strict=True):
        for one in part.split(","):
            _check_part(one, name, low, high)
    return text


def _check_part(text: str, name: str, low: int, high: int) -> None:
    match = re.fullmatch(r"(\*|[0-9a-z]+)(?:-([0-9a-z]+))?(?:/([1-9][0-9]*))?", text.lower())
    if not match or (match[1] == "*" and match[2]):
        raise ValueError(f"{text!r} is not a {name}: write a number, a range a-b, a step */n or *")
    first = _number(match[1], name, low, high)
    last = _number(match[2], name, low, high) if match[2] else None
    if first is not None and last is not None and first > last:
        raise ValueError(f"{text!r} runs backwards as a {name}")


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


class Webhook(Config):
    """A path that a system calls."""

    connection: str
    path: str


class Trigger(Config):
    """One trigger; exactly one of schedule, webhook, event and after."""

    schedule: str | None = None
    """5-field cron."""
    timezone: TimeZone | None = None
    webhook: Webhook | None = None
    event: str | None = None
    """CloudEvents type."""
    after: str | None = None
    """Flow whose success starts this one."""

    @field_validator("schedule")
    @classmethod
    def _cron(cls, value: str | None) -> str | None:
        return check_cron(value) if value is not None else None

    @model_validator(mode="after")
    def _one(self) -> Trigger:
        given = [name for name in ("schedule", "webhook", "event", "after") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("write one of `schedule`, `webhook`, `event` and `after`")
        if self.timezone is not None and self.schedule is None:
            raise ValueError("`timezone` belongs to `schedule`")
        return self
