"""Forms: how a system writes a value that records hold plainly. Exact both ways, or refused.

A field of a manifest names its form, `hours: { type: decimal, form: "h:mm" }`; reading and writing then show one shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from engine.sdk.manifest import ObjectSpec
from engine.sdk.record import JSON, Fields, plain

_CLOCK = re.compile(r"(-?)(\d+):([0-5]\d)")
_MS = re.compile(r"/Date\((-?\d+)(?:([+-])(\d{4}))?\)/")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_DATE = ("0000-00-00", "0001-01-01", "1900-01-01")
_FOUR = Decimal("0.0001")


@dataclass(frozen=True, slots=True)
class Form:
    """read: wire → record. write: record → wire. Both raise ValueError for what the form cannot hold."""

    read: Callable[[Any], JSON]
    write: Callable[[Any], JSON]


def _hours(value: Any) -> JSON:
    """`7:30` or a number as hours; to four decimals, so that every minute has its own number."""
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return Decimal(value)
    match = _CLOCK.fullmatch(str(value))
    if match is None:
        raise ValueError(f"{value!r} is no time as h:mm")
    hours = ((int(match[2]) * 60 + int(match[3])) / Decimal(60)).quantize(_FOUR, ROUND_HALF_EVEN)
    return Decimal(plain(-hours if match[1] else hours))


def _clock(value: Any) -> JSON:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise ValueError(f"{value!r} is no number of hours")
    minutes = int((abs(Decimal(value)) * 60).to_integral_value(ROUND_HALF_EVEN))
    text = f"{'-' if value < 0 and minutes else ''}{minutes // 60}:{minutes % 60:02d}"
    if _hours(text) != value:
        raise ValueError(f"{value} hours are no whole minutes; {text} would be read back as {_hours(text)}")
    return text


def _moment(value: Any) -> datetime:
    match = _MS.fullmatch(str(value))
    if match is None:
        raise ValueError(f"{value!r} is no /Date(milliseconds)/")
    return _EPOCH + timedelta(milliseconds=int(match[1]))


def _parsed(value: Any) -> datetime:
    moment = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(f"{value!r} has no offset")
    return moment.astimezone(UTC)


def _ms(value: Any) -> int:
    """Whole milliseconds since 1970. Raises ValueError where the instant is finer."""
    past = _parsed(value) - _EPOCH
    if past.microseconds % 1000:
        raise ValueError(f"{value!r} is finer than milliseconds")
    return past // timedelta(milliseconds=1)


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds").replace("+00:00", "Z")


def _number(value: Any) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"-?\d+", str(value)):
        raise ValueError(f"{value!r} is no whole number")
    return int(value)


def _day(value: Any) -> JSON:
    """The calendar day that a text starts with: an offset or a time behind it shifts nothing."""
    day = str(value)[:10]
    if day in _NO_DATE or not day.strip():
        return None
    return date.fromisoformat(day).isoformat()


def _same_day(value: Any) -> str:
    return date.fromisoformat(str(value)).isoformat()


def _whole_seconds(value: Any) -> int:
    ms = _ms(value)
    if ms % 1000:
        raise ValueError(f"{value!r} is finer than seconds")
    return ms // 1000


FORMS: Mapping[str, Form] = {
    "h:mm": Form(_hours, _clock),
    "ms_date": Form(lambda wire: _moment(wire).date().isoformat(), lambda day: f"/Date({_ms(f'{_same_day(day)}T00:00:00Z')})/"),
    "ms_instant": Form(lambda wire: _written(_moment(wire)), lambda text: f"/Date({_ms(text)}+0000)/"),
    "epoch": Form(lambda wire: _written(_EPOCH + timedelta(seconds=_number(wire))), _whole_seconds),
    "epoch_ms": Form(lambda wire: _written(_EPOCH + timedelta(milliseconds=_number(wire))), _ms),
    "day": Form(_day, _same_day),
    "noon": Form(_day, lambda day: f"{_same_day(day)}T12:00:00Z"),
}  # fmt: skip
"""Names that `form:` takes."""


def forms_of(spec: ObjectSpec) -> dict[str, Form]:
    """Field → form, for the fields that have one."""
    return {name: FORMS[one.form] for name, one in spec.fields.items() if one.form is not None}


def read_forms(forms: Mapping[str, Form], value: Fields) -> str | None:
    """Change a record that was read into plain values, in place; what is wrong with it, if anything is."""
    wrong = None
    for name, form in forms.items():
        if value.get(name) is not None:
            try:
                value[name] = form.read(value[name])
            except ValueError as error:
                wrong = wrong or f"{name}: {error}"
    return wrong


def written_forms(forms: Mapping[str, Form], value: Fields) -> Fields:
    """A record as the system writes it. Raises ValueError that names the field."""
    if not forms:
        return value
    written = dict(value)
    for name, form in forms.items():
        if written.get(name) is not None:
            try:
                written[name] = form.write(written[name])
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
    return written
