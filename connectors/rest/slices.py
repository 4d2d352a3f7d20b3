"""Slices of an object: a range of days as each query language and each pair of parameters takes it, never too narrow."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from engine.sdk.connector import Slice
from engine.sdk.manifest import ObjectSpec
from engine.sdk.manifest_requests import Query

SIGNS = {"soql": (">=", "<"), "odata4": ("ge", "lt"), "odata2": ("ge", "lt"), "suiteql": (">=", "<")}


def literal(day: str, kind: str, language: str) -> str:
    """The beginning of a day as the language writes it."""
    if language == "odata2":
        return f"datetime'{day}T00:00:00'"
    return day if kind == "date" else f"{day}T00:00:00Z"


def tests(query: Query, spec: ObjectSpec, part: Slice | None) -> list[str]:
    """Conditions of a slice for a query in words."""
    if part is None:
        return []
    kind, language = spec.slices[part.field].type, query.kind
    equal = "=" if language == "soql" else "eq"
    if part.low is None and part.high is None:
        return [f"{part.field} {equal} null"]
    edges = zip((part.low, part.high), SIGNS[language], strict=True)
    return [f"{part.field} {sign} {literal(day, kind, language)}" for day, sign in edges if day is not None]


def binds(query: Query, spec: ObjectSpec, part: Slice | None) -> tuple[list[str], list[str]]:
    """Conditions of a slice for SuiteQL, and the values that they bind. Dates there are the account's own days."""
    if part is None:
        return [], []
    column = query.columns.get(part.field, part.field.lower())
    if part.low is None and part.high is None:
        return [f"{column} IS NULL"], []
    given = [(day, sign) for day, sign in zip((part.low, part.high), SIGNS["suiteql"], strict=True) if day is not None]
    return [f"{column} {sign} TO_DATE(?, 'YYYY-MM-DD')" for _, sign in given], [day for day, _ in given]


def params(spec: ObjectSpec, part: Slice | None) -> Mapping[str, Any] | None:
    """Parameters of a slice; None where nothing can be in it: a field that parameters ask by has a value everywhere.

    An instant begins a second early, for whether a bound is taken in is the system's affair; what comes twice is
    unchanged the second time.
    """
    if part is None:
        return {}
    how = spec.slices[part.field]
    if part.low is None and part.high is None:
        return None
    if how.range is not None:
        last = how.days[1] if part.high is None else _shifted(part.high, -1)
        return {how.range: f"{part.low or how.days[0]}:{last}"}
    found: dict[str, Any] = {}
    if part.low is not None and how.from_ is not None:
        early = f"{_shifted(part.low, -1)}T23:59:59Z"
        found[how.from_] = part.low if how.type == "date" else early
    if part.high is not None and how.to is not None:
        found[how.to] = part.high if how.type == "date" else f"{part.high}T00:00:00Z"
    return found


def _shifted(day: str, days: int) -> str:
    return (date.fromisoformat(day) + timedelta(days=days)).isoformat()
