"""Casts of dates, instants and durations: inbound to `YYYY-MM-DD`, RFC 3339 in UTC and ISO 8601, outbound to what the target
describes. What is ambiguous is an error, not a guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from engine.compile.casts import CastFault, kind, shown
from engine.sdk.record import JSON

_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_INSTANT = re.compile(r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2})(:\d{2})?(\.\d+)?\s*(Z|z|[+-]\d{2}:?\d{2}|[+-]\d{2})?")
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")
_CLOCK = re.compile(r"(\d+):([0-5]\d)(?::([0-5]\d))?")


def _day(text: str) -> str:
    match = _DATE.fullmatch(text)
    if not match:
        raise CastFault(f"expected a date as YYYY-MM-DD, got {shown(text)}; another form needs `format:`")
    try:
        date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        raise CastFault(f"{shown(text)} is not a day of the calendar") from None
    return text


def to_date(value: JSON) -> str:
    if value.__class__ is str and len(value) == 10:
        return _day(value)
    raise CastFault(f"expected a date as YYYY-MM-DD, got {shown(value)}; another form needs `format:`")


def date_with(pattern: str) -> Callable[[JSON], str]:
    """A cast for dates in another form, as in strptime (`%d/%m/%Y`)."""

    def cast(value: JSON) -> str:
        if value.__class__ is not str:
            raise CastFault(f"expected a date as {pattern}, got {kind(value)}")
        try:
            return datetime.strptime(value.strip(), pattern).strftime("%Y-%m-%d")
        except ValueError:
            raise CastFault(f"expected a date as {pattern}, got {shown(value)}") from None

    return cast


def instant_text(moment: datetime) -> str:
    """RFC 3339 in UTC with a Z; fractions only where there are any."""
    text = moment.astimezone(UTC).isoformat()
    return text.replace("+00:00", "Z")


def datetime_in(zone_name: str, pattern: str | None = None) -> Callable[[JSON], str]:
    """A cast to an instant; text without an offset is wall-clock time in the zone.

    A wall-clock time that exists twice or not at all (clock changes) is an error: it is ambiguous.
    """
    zone = ZoneInfo(zone_name)

    def cast(value: JSON) -> str:
        moment = _moment(value, pattern)
        if moment.tzinfo is None:
            moment = _localised(moment, zone, value)
        return instant_text(moment)

    return cast


def _moment(value: JSON, pattern: str | None) -> datetime:
    if value.__class__ is not str:
        raise CastFault(f"expected an instant as text, got {kind(value)}")
    text = value.strip()
    try:
        if pattern:
            return datetime.strptime(text, pattern)
        match = _INSTANT.fullmatch(text)
        if not match:
            raise ValueError
        day, minute, second, fraction, offset = match.groups()
        offset = {"Z": "+00:00", "z": "+00:00", None: ""}.get(offset, offset)
        return datetime.fromisoformat(f"{day}T{minute}{second or ':00'}{(fraction or '')[:7]}{offset}")
    except ValueError:
        wanted = pattern or "RFC 3339, such as 2026-01-31T09:00:00Z"
        raise CastFault(f"expected an instant as {wanted}, got {shown(value)}") from None


def _localised(moment: datetime, zone: ZoneInfo, value: JSON) -> datetime:
    early, late = moment.replace(tzinfo=zone, fold=0), moment.replace(tzinfo=zone, fold=1)
    if early.utcoffset() != late.utcoffset():
        exists = early.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == moment
        what = "exists twice" if exists else "does not exist"
        raise CastFault(f"{shown(value)} {what} in {zone.key} (the clocks change); the system must send an offset")
    return early


def to_duration(value: JSON) -> str:
    """ISO 8601 duration text from itself or from `h:mm`."""
    if value.__class__ is str:
        match = _DURATION.fullmatch(value)
        if match and value not in ("P", "PT"):
            return str(value)
        clock = _CLOCK.fullmatch(value)
        if clock:
            return f"PT{int(clock[1])}H{int(clock[2])}M" + (f"{int(clock[3])}S" if clock[3] else "")
    raise CastFault(f"expected a duration such as PT7H30M or 7:30, got {shown(value)}")


def date_back(pattern: str) -> Callable[[JSON], str]:
    """A canonical date in the system's form."""
    return lambda value: date.fromisoformat(to_date(value)).strftime(pattern)


def datetime_back(zone_name: str, pattern: str | None) -> Callable[[JSON], str]:
    """A canonical instant as the system writes it: in its zone where a pattern is given, else RFC 3339 UTC."""
    zone = ZoneInfo(zone_name)

    def cast(value: JSON) -> str:
        moment = _moment(value, None)
        if moment.tzinfo is None:
            raise CastFault(f"expected an instant with its offset, got {shown(value)}")
        return moment.astimezone(zone).strftime(pattern) if pattern else instant_text(moment)

    return cast


def duration_minutes(value: JSON) -> int:
    """Whole minutes of an ISO duration."""
    match = _DURATION.fullmatch(to_duration(value))
    days, hours, minutes, seconds = match.groups() if match else (None,) * 4
    span = timedelta(days=int(days or 0), hours=int(hours or 0), minutes=int(minutes or 0), seconds=float(seconds or 0))
    return int(span.total_seconds() // 60)
