"""JSON from strangers: what webhooks and events bring is refused where two readers could understand it differently."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any, NoReturn

from engine.sdk.record import JSON, decode_json

DIGITS = 400
"""Longest number that is taken."""
_LONG = re.compile(rb"[0-9]{%d,}" % DIGITS)


def strict_json(body: bytes) -> JSON:
    """Bytes as a JSON value: UTF-8, at most 64 levels, no key twice, no NaN, no lone surrogate, no endless number.

    Raises:
        ValueError: says which rule is broken; never quotes the body.
    """
    if _LONG.search(body):
        raise ValueError(f"a number of more than {DIGITS} digits")
    try:
        decode_json(body)  # levels and syntax, before the slower reader builds anything
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_once, parse_float=_decimal, parse_constant=_never)
        str(value).encode("utf-8")
    except UnicodeError:
        raise ValueError("it is no UTF-8") from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _decimal(text: str) -> Decimal:
    value = Decimal(text)
    if not -DIGITS < value.adjusted() < DIGITS:
        raise ValueError("a number without bounds")
    return value


def _never(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")
