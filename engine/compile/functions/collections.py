"""Functions of lists and objects, as the JMESPath specification has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.compile.functions.function import FunctionFault, function
from engine.compile.operators import number
from engine.sdk.record import same

Key = Callable[[Any], Any]


@function("string|array", "any", examples=[("contains('abc', 'b')", True), ("contains(`[1, 2]`, `2.0`)", True)])
def contains(where: Any, what: Any) -> bool:
    """Whether a list holds a value, or a text another text."""
    if where.__class__ is str:
        return what.__class__ is str and what in where
    return any(same(what, one) for one in where)


@function("string", "string", examples=[("starts_with('abc', 'ab')", True)])
def starts_with(text: str, start: str) -> bool:
    """Whether a text starts with another."""
    return text.startswith(start)


@function("string", "string", examples=[("ends_with('abc', 'bc')", True)])
def ends_with(text: str, end: str) -> bool:
    """Whether a text ends with another."""
    return text.endswith(end)


@function("string", "array[string]", examples=[('join(\'-\', `["a", "b"]`)', "a-b")])
def join(separator: str, parts: list[str]) -> str:
    """A list of texts as one."""
    return separator.join(parts)


@function("object", examples=[('keys(`{"a": 1}`)', ["a"])])
def keys(value: dict[str, Any]) -> list[str]:
    """The names of an object's fields."""
    return list(value)


@function("object", examples=[('values(`{"a": 1}`)', [1])])
def values(value: dict[str, Any]) -> list[Any]:
    """The values of an object's fields."""
    return list(value.values())


@function("string|array|object", examples=[("length('abc')", 3)])
def length(value: Any) -> int:
    """Characters of a text, elements of a list, fields of an object."""
    return len(value)


@function("string|array", examples=[("reverse(`[1, 2]`)", [2, 1])])
def reverse(value: Any) -> Any:
    """A list or text backwards."""
    return value[::-1]


@function("expref", "array|null", name="map", examples=[('map(&a, `[{"a": 1}, {}]`)', [1, None])])
def map_(key: Key, items: list[Any]) -> list[Any]:
    """An expression over each element; nulls are kept."""
    if items is None:
        raise FunctionFault("map() wants array, got null")
    return [key(one) for one in items]


@function("object...", examples=[('merge(`{"a": 1}`, `{"b": 2}`)', {"a": 1, "b": 2})])
def merge(*objects: dict[str, Any]) -> dict[str, Any]:
    """Objects as one; later fields win."""
    merged: dict[str, Any] = {}
    for one in objects:
        merged.update(one)
    return merged


def _ordered(items: list[Any], name: str) -> list[Any]:
    """The values, if they have one order: all numbers or all texts."""
    if all(map(number, items)) or all(one.__class__ is str for one in items):
        return items
    raise FunctionFault(f"{name}() wants numbers only, or texts only")


@function("array[number]|array[string]", name="max", examples=[("max(`[1, 3, 2]`)", 3), ("max(`[]`)", None)])
def max_(items: list[Any]) -> Any:
    """The greatest of a list."""
    return max(items, default=None)


@function("array[number]|array[string]", name="min", examples=[("min(`[1, 3, 2]`)", 1)])
def min_(items: list[Any]) -> Any:
    """The least of a list."""
    return min(items, default=None)


def _keyed(items: list[Any], key: Key, name: str) -> list[tuple[Any, int]]:
    found = [key(one) for one in items]
    return list(zip(_ordered(found, name), range(len(found)), strict=True))


@function("array", "expref", examples=[('max_by(`[{"a": 1}, {"a": 2}]`, &a)', {"a": 2})])
def max_by(items: list[Any], key: Key) -> Any:
    """The element with the greatest value of an expression."""
    if not items:
        return None
    found = _keyed(items, key, "max_by")
    return items[max(found, key=lambda pair: pair[0])[1]]


@function("array", "expref", examples=[('min_by(`[{"a": 1}, {"a": 2}]`, &a)', {"a": 1})])
def min_by(items: list[Any], key: Key) -> Any:
    """The element with the least value of an expression."""
    if not items:
        return None
    found = _keyed(items, key, "min_by")
    return items[min(found, key=lambda pair: pair[0])[1]]


@function("array[number]|array[string]", examples=[("sort(`[2, 1]`)", [1, 2])])
def sort(items: list[Any]) -> list[Any]:
    """A list of numbers or of texts in order."""
    return sorted(items)


@function("array", "expref", examples=[('sort_by(`[{"a": 2}, {"a": 1}]`, &a)[0].a', 1)])
def sort_by(items: list[Any], key: Key) -> list[Any]:
    """A list in the order of an expression."""
    return [items[number] for _, number in sorted(_keyed(items, key, "sort_by"), key=lambda pair: pair[0])]


FUNCTIONS = (
    contains, starts_with, ends_with, join, keys, values, length, reverse, map_, merge, max_, min_, max_by, min_by,
    sort, sort_by,
)  # fmt: skip
