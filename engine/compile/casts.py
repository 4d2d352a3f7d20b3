"""Casts between a system's values and canonical ones. A lossy or ambiguous cast is an error, not a guess.

Inbound casts take what a system sent and give the canonical form: text, int, Decimal, bool. Dates and instants: `moments`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from fractions import Fraction
from functools import lru_cache
from typing import Any

from engine.sdk.money import minor_digits
from engine.sdk.record import JSON

EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)


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
