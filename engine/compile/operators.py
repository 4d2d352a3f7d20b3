"""What lowered expressions call: JMESPath's truth, order, projections and slices on exact values."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from engine.sdk.record import JSON

Body = Callable[[JSON], JSON] | None


def true(value: JSON) -> bool:
    """JMESPath truth: all but null, false, empty text, list and object."""
    return value is not None and value is not False and value != "" and value != [] and value != {}


def number(value: Any) -> bool:
    """True for int and Decimal; true and false are no numbers."""
    kind = value.__class__
    return kind is int or kind is Decimal


def order(left: JSON, right: JSON, how: str) -> bool | None:
    """`<` and its like: two numbers or two texts, else null."""
    if not (number(left) and number(right)) and not (left.__class__ is str and right.__class__ is str):
        return None
    if how == "lt":
        return bool(left < right)
    if how == "lte":
        return bool(left <= right)
    return bool(left > right) if how == "gt" else bool(left >= right)


def project(values: JSON, body: Body) -> JSON:
    """`values[*]…`: results that are not null; null where there is no list."""
    if values.__class__ is not list:
        return None
    if body is None:
        return [value for value in values if value is not None]
    return [found for found in map(body, values) if found is not None]


def project_values(value: JSON, body: Body) -> JSON:
    """`object.*`."""
    return project(list(value.values()), body) if value.__class__ is dict else None


def select(values: JSON, test: Callable[[JSON], JSON], body: Callable[[JSON], JSON]) -> JSON:
    """`values[?test]…`."""
    if values.__class__ is not list:
        return None
    found = (body(value) for value in values if true(test(value)))
    return [value for value in found if value is not None]


def flatten(values: JSON) -> JSON:
    """`values[]`: one level."""
    if values.__class__ is not list:
        return None
    flat: list[JSON] = []
    for value in values:
        if value.__class__ is list:
            flat.extend(value)
        else:
            flat.append(value)
    return flat


def slice_of(values: JSON, start: int | None, stop: int | None, step: int | None) -> JSON:
    """`values[start:stop:step]`."""
    return values[start:stop:step] if values.__class__ is list else None


def index_of(values: JSON, number: int) -> JSON:
    """`values[number]`; null past the ends."""
    if values.__class__ is not list or not -len(values) <= number < len(values):
        return None
    return values[number]
