"""How SuiteQL compares and reckons: three-valued, digits as numbers, text without case, dates as dates."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Any

from connectors.sandbox.netsuite.functions import number, text
from connectors.sandbox.netsuite.tree import wrong


def folded(value: Any) -> Any:
    """A value as IN compares it: a number, or text without case."""
    found = number(value)
    return found if found is not None else str(text(value)).casefold()


def compare(left: Any, right: Any) -> int | None:
    """-1, 0, 1, or None where a side is null: dates as dates, numbers and digits as numbers, else text without case."""
    if text(left) is None or text(right) is None:
        return None
    if isinstance(left, date) or isinstance(right, date):
        one, two = _moment(left), _moment(right)
        if one is None or two is None:
            raise wrong("A date is compared with what is none; write TO_DATE")
        return (one > two) - (one < two)
    a, b = number(left), number(right)
    if a is not None and b is not None:
        return (a > b) - (a < b)
    x, y = str(text(left)).casefold(), str(text(right)).casefold()
    return (x > y) - (x < y)


def _moment(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    match = re.fullmatch(r"(\d{1,2})/(\d{1,2})/(\d{4})", str(value))
    return datetime(int(match[3]), int(match[1]), int(match[2])) if match else None


def ranked(left: list[Any], right: list[Any], directions: list[bool]) -> int:
    """The order of two rows by their sort values; nulls come last, as Oracle has them."""
    for a, b, down in zip(left, right, directions, strict=True):
        order = compare(a, b)
        if order is None:
            order = (text(a) is None) - (text(b) is None)
        if order:
            return -order if down else order
    return 0


def both(left: Any, right: Any) -> bool | None:
    """AND of three values."""
    if left is False or right is False:
        return False
    return None if left is None or right is None else True


def either(left: Any, right: Any) -> bool | None:
    """OR of three values, neither side of which is true."""
    return None if left is None or right is None else False


def like(value: str | None, like: str | None) -> bool | None:
    """LIKE, without case; None where a side is null."""
    if value is None or like is None:
        return None
    parts = (".*" if one == "%" else "." if one == "_" else re.escape(one) for one in like)
    return re.fullmatch("".join(parts), value, re.IGNORECASE | re.DOTALL) is not None


def arithmetic(sign: str, left: Any, right: Any) -> Any:
    """A sum, difference, product or quotient; None where a side is no number."""
    a, b = number(left), number(right)
    if a is None or b is None or (sign == "/" and b == 0):
        return None
    return {"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "/": lambda: a / b}[sign]()
