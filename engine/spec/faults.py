"""pydantic's faults in our words, at the exact place in the document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from engine.sdk.errors import Problem, nearest
from engine.spec.source import Positions

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "decimal_type": "a number",
    "decimal_parsing": "a number",
}


def problems_of(
    error: ValidationError, model: type[BaseModel], positions: Positions, base: tuple[Any, ...] = ()
) -> list[Problem]:
    """Every fault of a validation as a problem with its place."""
    found: dict[Problem, None] = {}
    for fault in error.errors(include_url=False, include_input=False):
        path = _path(fault["loc"], positions, base)
        found[_problem(fault, path, model, positions, base)] = None
    return list(found)


def _path(location: tuple[Any, ...], positions: Positions, base: tuple[Any, ...]) -> tuple[Any, ...]:
    """The part of pydantic's location that the document has; names of union branches are dropped."""
    path = base
    for number, part in enumerate(location):
        last = number == len(location) - 1
        if (
            (*path, part) in positions.values
            or (*path, part) in positions.keys
            or (last and isinstance(part, str) and part.isidentifier())
        ):
            path = (*path, part)
    return path


def _problem(
    fault: Any, path: tuple[Any, ...], model: type[BaseModel], positions: Positions, base: tuple[Any, ...]
) -> Problem:
    kind, context = fault["type"], fault.get("ctx", {})
    name = str(path[-1]) if path else ""
    if kind == "extra_forbidden":
        known = list(known_keys(model, fault["loc"][:-1]))
        at = positions.key_at(*base, *fault["loc"]) if _known(positions, base, fault) else positions.key_at(*path)
        return Problem("E140", f"there is no key {fault['loc'][-1]!r} here", at, nearest(str(fault["loc"][-1]), known))
    if kind == "missing":
        parent = path[:-1]
        return Problem("E141", f"`{name}` is missing", positions.at(*parent), f"add `{name}:`")
    if kind in _EXPECTED:
        return Problem("E142", f"`{name}` must be {_EXPECTED[kind]}", positions.at(*path), f"write {_EXPECTED[kind]}")
    if kind in ("literal_error", "enum"):
        expected = str(context.get("expected", "")).replace("'", "").replace(" or ", ", ")
        given = fault.get("input")
        told = f" be {given!r}" if isinstance(given, str) and len(given) <= 40 else " have that value"
        return Problem("E143", f"`{name}` cannot{told}", positions.at(*path), f"write one of {expected}")
    if kind == "value_error":
        text = str(context.get("error", fault["msg"]))
        what, _, hint = text.partition(": ")
        subject = f"`{name}` " if name and not isinstance(path[-1], int) else ""
        if text.startswith("write "):
            return Problem("E142", f"{subject}cannot be read", positions.at(*path), text)
        return Problem("E144", f"{subject}{what}", positions.at(*path), hint)
    limits = {"greater_than_equal": "at least {ge}", "less_than_equal": "at most {le}", "greater_than": "more than {gt}",
              "too_short": "at least {min_length} of them", "too_long": "at most {max_length} of them"}  # fmt: skip
    if kind in limits:
        wanted = limits[kind].format(**context)
        return Problem("E142", f"`{name}` is out of range", positions.at(*path), f"write {wanted}")
    return Problem("E142", f"`{name}`: {fault['msg'].lower()}", positions.at(*path), "see the reference")


def _known(positions: Positions, base: tuple[Any, ...], fault: Any) -> bool:
    return (*base, *fault["loc"]) in positions.keys


def known_keys(model: Any, location: tuple[Any, ...]) -> Iterator[str]:
    """The YAML keys that the model at a location takes."""
    for part in location:
        model = _step(model, part)
        if model is None:
            return
    for name, info in getattr(model, "model_fields", {}).items():
        yield info.alias or name.strip("_")


def _step(model: Any, part: Any) -> Any:
    fields = getattr(model, "model_fields", {})
    for name, info in fields.items():
        if part in (name, info.alias):
            return _inner(info.annotation)
    return model if not isinstance(part, str) or not fields else (model if part not in fields else None)


def _inner(annotation: Any) -> Any:
    """The model inside Optional, list, dict and unions; None where there is none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for one in get_args(annotation):
        found = _inner(one)
        if found is not None:
            return found
    return None
