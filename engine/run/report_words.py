"""How reports and commands say amounts, values and ages: exact, with separators, and with nothing hidden in odd characters."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from engine.compile.casts import EXACT
from engine.sdk.money import minor_digits
from engine.sdk.record import JSON, decode_json, encode_json

JOINERS = "‌‍"
"""Part of how Persian, Indic scripts and emoji are written; they move nothing."""


def visible(text: str) -> str:
    """Text in which control characters, and those that turn the direction of writing, are marks that people see."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in JOINERS or one in "\n\t" else _mark(one) for one in text)


def _mark(one: str) -> str:
    return f"\\x{ord(one):02x}" if ord(one) < 256 else f"\\u{ord(one):04x}"


def number(value: Decimal | int) -> str:
    """1,204.50: every digit there is, in groups of three."""
    return f"{Decimal(value):,f}"


def amount(value: Decimal | int | str, currency: str | None) -> str:
    """1,204.50 EUR: with the decimals of its currency, and with more where it has more."""
    exact = Decimal(value)
    try:
        digits = minor_digits(currency or "")
    except ValueError:
        digits = 0
    least = Decimal(1).scaleb(-digits)
    exact = exact.quantize(least, context=EXACT) if exact == exact.quantize(least, context=EXACT) else exact
    return f"{number(exact)} {currency or ''}".rstrip()


def amounts(sums: dict[str, Any]) -> str:
    """Amounts by currency in one line; empty for none."""
    return ", ".join(amount(value, currency) for currency, value in sorted(sums.items()) if value)


def is_money(value: JSON) -> bool:
    return isinstance(value, dict) and set(value) == {"amount", "currency"} and is_number(value["amount"])


def is_number(value: JSON) -> bool:
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool)


def said(value: JSON) -> str:
    """One side's value: text as it is, blank text and null by name."""
    if isinstance(value, dict):
        if "$missing" in value:
            return "(nothing said)"
        if "$unreadable" in value:
            return f"(cannot be read: {visible(str(value['$unreadable']))})"
        if is_money(value):
            return (
                amount(value["amount"], value["currency"])
                if value["currency"]
                else f"{number(value['amount'])} (no currency)"
            )
    if value is None:
        return "(null)"
    if isinstance(value, str):
        return visible(value) if value.strip() else "(blank)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if is_number(value):
        return number(value)
    return visible(encode_json(value).decode())


def short(text: str, most: int = 400) -> str:
    """The beginning of a long text, and how long it is."""
    return text if len(text) <= most else f"{text[:most].rstrip()}… ({len(text):,} characters)"


def key_said(key: JSON) -> str:
    """What joins the sides, in words."""
    values = key if isinstance(key, list) else [key]
    return ", ".join(said(one) for one in values)


def key_of(text: str) -> str:
    return key_said(decode_json(text))


def days(count: int) -> str:
    return "today" if count <= 0 else f"{count:,} day{'s' * (count != 1)}"


def plural(count: int, noun: str) -> str:
    """1 break, 2,000 breaks."""
    return f"{count:,} {noun}{'s' * (count != 1)}"
