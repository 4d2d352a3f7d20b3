"""Functions of SuiteQL over plain values: text, numbers, dates in Oracle's formats."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from connectors.sandbox.netsuite.tree import wrong

_FORMAT = re.compile(r'"[^"]*"|YYYY|YY|MONTH|MON|MM|DDD|DD|DY|HH24|HH12|HH|MI|SS|FF\d?|AM|PM', re.IGNORECASE)
_CODES = {"YYYY": "%Y", "YY": "%y", "MONTH": "%B", "MON": "%b", "MM": "%m", "DDD": "%j", "DD": "%d", "DY": "%a", "HH24": "%H",
          "HH12": "%I", "HH": "%I", "MI": "%M", "SS": "%S", "AM": "%p", "PM": "%p"}  # fmt: skip


def pattern(text: str) -> str:
    """A format of Oracle as one of strftime."""

    def one(match: re.Match[str]) -> str:
        found = match[0]
        if found.startswith('"'):
            return found[1:-1].replace("%", "%%")
        return "%f" if found.upper().startswith("FF") else _CODES[found.upper()]

    return _FORMAT.sub(one, text)


def moment(text: Any, form: Any, day: bool) -> date | None:
    """TO_DATE and TO_TIMESTAMP. Raises Fault."""
    if text is None:
        return None
    if isinstance(text, datetime):
        return text
    try:
        return datetime.strptime(str(text), pattern(str(form)) if form else "%m/%d/%Y")
    except ValueError:
        raise wrong(f"{'TO_DATE' if day else 'TO_TIMESTAMP'}: {text!r} does not fit the format {form!r}") from None


def number(value: Any) -> Decimal | None:
    """A value as a number; None where it is none."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return Decimal(value) if isinstance(value, (int, Decimal)) else Decimal(str(value).strip())
    except InvalidOperation:
        return None


def text(value: Any) -> str | None:
    """A value as SuiteQL answers it: dates month first, numbers without an exponent."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, date):
        return f"{value.month}/{value.day}/{value.year}"
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def to_char(value: Any, form: Any = None) -> str | None:
    """TO_CHAR of a date with a format, of a number without."""
    if isinstance(value, date) and form:
        return value.strftime(pattern(str(form)))
    return text(value)


def _round(value: Any, places: Any = 0) -> Decimal | None:
    found = number(value)
    return None if found is None else found.quantize(Decimal(1).scaleb(-int(places or 0)), ROUND_HALF_UP)


def _substr(value: Any, start: Any, length: Any = None) -> str | None:
    found = text(value)
    if found is None:
        return None
    at = int(start) - 1 if int(start) > 0 else len(found) + int(start) if int(start) < 0 else 0
    return (found[at:] if length is None else found[at : at + int(length)]) or None


def _trunc(value: Any, form: Any = None) -> Any:
    if isinstance(value, date):
        day = date(value.year, value.month, value.day)
        unit = str(form or "DD").upper()
        return (
            day.replace(day=1)
            if unit in ("MM", "MONTH")
            else day.replace(month=1, day=1)
            if unit in ("YYYY", "YEAR")
            else day
        )
    found = number(value)
    return None if found is None else Decimal(int(found))


def _decode(value: Any, *pairs: Any) -> Any:
    for at in range(0, len(pairs) - 1, 2):
        if text(pairs[at]) == text(value):
            return pairs[at + 1]
    return pairs[-1] if len(pairs) % 2 else None


def _on_text(work: Callable[[str], Any]) -> Callable[[Any], Any]:
    return lambda value: None if text(value) is None else work(text(value) or "")


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "TO_CHAR": to_char, "TO_DATE": lambda value, form=None: moment(value, form, True),
    "TO_TIMESTAMP": lambda value, form=None: moment(value, form, False), "TO_NUMBER": number,
    "UPPER": _on_text(str.upper), "LOWER": _on_text(str.lower), "TRIM": _on_text(lambda one: one.strip() or None), "LENGTH": _on_text(len),
    "SUBSTR": _substr, "CONCAT": lambda left, right: (text(left) or "") + (text(right) or "") or None,
    "REPLACE": lambda value, old, new="": None if text(value) is None else (text(value) or "").replace(str(old), str(new or "")),
    "INSTR": lambda value, part: (text(value) or "").find(str(part)) + 1,
    "NVL": lambda value, other: other if text(value) is None else value,
    "NVL2": lambda value, some, none: none if text(value) is None else some,
    "COALESCE": lambda *values: next((one for one in values if text(one) is not None), None),
    "NULLIF": lambda value, other: None if text(value) == text(other) else value,
    "ROUND": _round, "TRUNC": _trunc, "ABS": lambda value: None if number(value) is None else abs(number(value) or Decimal(0)),
    "DECODE": _decode,
}  # fmt: skip
