"""Which cast a rule takes in each direction; on the way back, in the type that the target describes."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from engine.compile import casts, moments
from engine.sdk.connector import FieldInfo
from engine.sdk.record import JSON
from engine.spec.mapping import FieldRule

Cast = Callable[[Any], Any]


def inward_cast(rule: FieldRule, zone: str) -> Cast | None:
    """The cast from the system's value to the canonical one; None where the value stays as it is."""
    kind = rule.as_
    if kind is None or kind == "money":
        return None
    if kind == "decimal":
        return casts.decimal_with(rule.decimal) if rule.decimal else casts.to_decimal
    if kind == "date":
        return moments.date_with(rule.format) if rule.format else moments.to_date
    if kind == "datetime":
        return moments.datetime_in(rule.timezone or zone, rule.format)
    if kind == "list":
        return casts.split_list(rule.format) if rule.format else casts.to_list
    plain: dict[str, Cast] = {
        "string": casts.to_string,
        "integer": casts.to_integer,
        "boolean": casts.to_boolean,
        "duration": moments.to_duration,
    }
    return plain[kind]


def outward_cast(rule: FieldRule, zone: str, described: FieldInfo | None) -> Cast | None:
    """The cast from the canonical value to what the target takes."""
    kind, wanted = rule.as_, described.type if described else "any"
    if kind == "money":
        return None
    if kind == "date" and rule.format:
        return moments.date_back(rule.format)
    if kind == "datetime":
        return moments.datetime_back(rule.timezone or zone, rule.format)
    if kind == "decimal" and rule.decimal:
        mark = rule.decimal
        return lambda value: casts.plain_text(casts.to_decimal(value)).replace(".", mark)
    if kind == "list" and rule.format:
        separator = rule.format
        return lambda value: separator.join(casts.to_string(part) for part in value)
    if kind == "duration" and rule.format == "h:mm":
        return clock
    return described_cast(wanted)


def described_cast(wanted: str) -> Cast | None:
    """The cast that a described type alone asks for."""
    if wanted == "string":
        return text_of
    if wanted == "integer":
        return casts.to_integer
    if wanted == "decimal":
        return number_of
    return None


def text_of(value: JSON) -> JSON:
    """Scalars as text; objects and lists as they are (the connector says what it cannot take)."""
    return casts.plain_text(value) if isinstance(value, (int, Decimal)) else value


def number_of(value: JSON) -> JSON:
    return casts.to_decimal(value) if value.__class__ is str else value


def clock(value: JSON) -> str:
    """A duration as `h:mm`."""
    minutes = moments.duration_minutes(value)
    return f"{minutes // 60}:{minutes % 60:02d}"
