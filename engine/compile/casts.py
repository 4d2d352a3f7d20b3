"""Casts between a system's values and canonical ones. A lossy or ambiguous cast is an error, not a guess.

Inbound casts take what a system sent and give the canonical form: text, int, Decimal, bool, `YYYY-MM-DD`,
RFC 3339 in UTC. Outbound casts take the canonical form and give what the target describes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from fractions import Fraction
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from engine.sdk.money import minor_digits
from engine.sdk.record import JSON

EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_INSTANT = re.compile(r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2})(:\d{2})?(\.\d+)?\s*(Z|z|[+-]\d{2}:?\d{2}|[+-]\d{2})?")
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")
_CLOCK = re.compile(r"(\d+):([0-5]\d)(?::([0-5]\d))?")


class CastFault(Exception):
    """A value does not fit the cast; the text says what was expected."""


def shown(value: JSON) -> str:
    """A value in a message: short, quoted when text."""
    text = repr(value) if isinstance(value, str) else plain_text(value)
    return text if len(text) <= 60 else text[:57] + "…"


def plain_text(value: JSON) -> str:
    """A scalar as people write it: no exponent, `true`/`false`, text as it is."""
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    return str(value)


def to_string(value: JSON) -> str:
    if value.__class__ is str:
        return str(value)
    if isinstance(value, (int, Decimal)):
        return plain_text(value)
    raise CastFault(f"expected text, got {kind(value)}")


def to_integer(value: JSON) -> int:
    if value.__class__ is int:
        return int(value)
    number = value if isinstance(value, Decimal) else _parse(value, "an integer")
    if number != number.to_integral_value():
        raise CastFault(f"expected an integer, got {shown(value)}; rounding would lose cents or minutes")
    return int(number)


def to_decimal(value: JSON) -> Decimal:
    kind_of = value.__class__
    if kind_of is Decimal:
        return value  # type: ignore[no-any-return]
    if kind_of is int:
        return Decimal(value)
    return _parse(value, "a number")


def decimal_with(mark: str) -> Callable[[JSON], Decimal]:
    """A cast for numbers written with another decimal mark, such as `1.234,50`."""
    other = "." if mark == "," else ","

    def cast(value: JSON) -> Decimal:
        if isinstance(value, str):
            whole, _, part = value.strip().rpartition(mark)
            if not whole and mark not in value:
                whole, part = value.strip(), ""
            if other in part:
                raise CastFault(f"{shown(value)} has {other!r} after the decimal mark {mark!r}")
            digits = whole
            if other in whole:
                if not re.fullmatch(r"[+-]?\d{1,3}(" + re.escape(other) + r"\d{3})+", whole):
                    raise CastFault(f"{shown(value)} is ambiguous: {other!r} does not stand between thousands")
                digits = whole.replace(other, "")
            return _parse(f"{digits}.{part}" if part else digits, "a number")
        return to_decimal(value)

    return cast


def _parse(value: JSON, expected: str) -> Decimal:
    if value.__class__ is not str:
        raise CastFault(f"expected {expected}, got {kind(value)}")
    text = value.strip()
    if not re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", text):
        raise CastFault(f"expected {expected}, got {shown(value)}")
    try:
        return Decimal(text)
    except InvalidOperation:  # pragma: no cover - the pattern admits only numbers
        raise CastFault(f"expected {expected}, got {shown(value)}") from None


def to_boolean(value: JSON) -> bool:
    if value is True or value is False:
        return bool(value)
    if value.__class__ is str and value in ("true", "false", "True", "False", "T", "F"):
        return value[0] in "tT"
    raise CastFault(f"expected true or false, got {shown(value)}; say which values mean which with `values:`")


@lru_cache(4096)
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


def to_list(value: JSON) -> list[JSON]:
    if value.__class__ is list:
        return list(value)
    raise CastFault(f"expected a list, got {kind(value)}")


def split_list(separator: str) -> Callable[[JSON], list[JSON]]:
    """A cast for lists that a system holds as text, such as `a;b`."""

    def cast(value: JSON) -> list[JSON]:
        if value.__class__ is list:
            return list(value)
        if value.__class__ is str:
            return [part.strip() for part in value.split(separator)] if value else []
        raise CastFault(f"expected a list or text with {separator!r} between, got {kind(value)}")

    return cast


def scaled(value: JSON, factor: Fraction, digits: int | None) -> Decimal:
    """value × factor, half even at `digits` decimals; exact or an error where no digits are given."""
    number = to_decimal(value)
    product = EXACT.divide(EXACT.multiply(number, Decimal(factor.numerator)), Decimal(factor.denominator))
    if digits is None:
        if EXACT.multiply(product, Decimal(factor.denominator)) != EXACT.multiply(number, Decimal(factor.numerator)):
            raise CastFault(f"{shown(value)} × {factor} has no exact decimal; say `round:`")
        return plain_decimal(product)
    return product.quantize(_step(digits), context=EXACT)


@lru_cache(64)
def _step(digits: int) -> Decimal:
    return Decimal(1).scaleb(-digits)


def scaler(factor: Fraction, digits: int | None) -> Callable[[JSON], Decimal]:
    """`scaled` with its factor prepared once."""
    if digits is None:
        return lambda value: scaled(value, factor, None)
    top, bottom, step = Decimal(factor.numerator), Decimal(factor.denominator), _step(digits)
    multiply, divide = EXACT.multiply, EXACT.divide

    def cast(value: JSON) -> Decimal:
        number = Decimal(value) if value.__class__ is int else to_decimal(value)
        return divide(multiply(number, top), bottom).quantize(step, context=EXACT)

    return cast


def plain_decimal(number: Decimal) -> Decimal:
    """The same number without superfluous zeros or exponent."""
    whole = number.to_integral_value()
    return whole.quantize(Decimal(1)) if number == whole else number.normalize()


def rounded(value: JSON, digits: int) -> Decimal:
    """Half even to `digits` decimals."""
    return to_decimal(value).quantize(_step(digits), context=EXACT)


def money_of(amount: JSON, currency: JSON, minor: bool) -> dict[str, JSON]:
    """`{amount, currency}`; `minor` reads the amount in the currency's smallest unit (cents, yen, fils)."""
    if (
        currency.__class__ is not str
        or len(currency) != 3
        or not (currency.isascii() and currency.isalpha() and currency.isupper())
    ):
        raise CastFault(f"an amount needs its currency as an ISO code, got {shown(currency)}")
    number = Decimal(amount) if amount.__class__ is int else to_decimal(amount)
    if minor:
        digits = _digits(currency)
        exact = number.scaleb(-digits, context=EXACT)
        number = exact.quantize(_step(digits), context=EXACT)
        if number != exact:
            raise CastFault(f"{shown(amount)} is not a whole number of the currency's smallest unit")
    return {"amount": number, "currency": currency}


def minor_units(money: JSON) -> int:
    """The amount of `{amount, currency}` in the currency's smallest unit."""
    return to_integer(to_decimal(money["amount"]).scaleb(_digits(money["currency"]), context=EXACT))


def _digits(currency: str) -> int:
    try:
        return minor_digits(currency)
    except ValueError as error:
        raise CastFault(f"an amount in the smallest unit cannot be scaled: {error}") from None


def kind(value: JSON) -> str:
    """The JSON type of a value, as a person says it."""
    names: dict[type[Any], str] = {
        str: "text", int: "a number", Decimal: "a number", bool: "true/false", list: "a list", dict: "an object"
    }  # fmt: skip
    return "null" if value is None else names.get(value.__class__, value.__class__.__name__)


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
