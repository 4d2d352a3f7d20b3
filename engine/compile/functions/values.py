"""Functions that choose, look up, identify and convert values."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

from engine.compile.functions.function import FunctionFault, function
from engine.compile.operators import true
from engine.sdk.record import canonical_json, decode_json, digest, encode_json, same

NAMESPACE = uuid.UUID("6f1c1a52-5f0e-5d6a-9f1f-0d9f3d0f6a11")


@function("any...", examples=[("coalesce(none, '', 'x')", ""), ("coalesce(none)", None)], keeps_shape=True)
def coalesce(*values: Any) -> Any:
    """The first value that is not null."""
    return next((value for value in values if value is not None), None)


@function("any", "any", "any?", examples=[("if_else(`1` < `2`, 'yes', 'no')", "yes")])
def if_else(test: Any, yes: Any, no: Any = None) -> Any:
    """One value or another."""
    return yes if true(test) else no


@function("any", "array", examples=[('one_of(\'b\', `["a", "b"]`)', True), ('one_of(`1`, `["1"]`)', False)])
def one_of(value: Any, values: list[Any]) -> bool:
    """Whether a value equals one of a list."""
    return any(same(value, one) for one in values)


@function("string", "any", "string?", "string|null?", env=True, examples=[])
def lookup(env: Any, table: str, key: Any, give: str | None = None, at: str | None = None) -> Any:
    """A column of the row with that key in a table, of dated rows that of a day; null where there is none."""
    return env.lookup(table, key, give, at)


@function("any", examples=[('hash(`{"b": 1.0, "a": 2}`) == hash(`{"a": 2, "b": 1}`)', True)], name="hash")
def hash_(value: Any) -> str:
    """32 hexadecimal digits, equal for equal values."""
    return digest(value).hex()


@function("any...", examples=[("uuid5('client', '1')", "511d9387-6b0b-524d-a3ac-e8c7fbb689c4")])
def uuid5(*values: Any) -> str:
    """A UUID made of values: the same for the same values."""
    return str(uuid.uuid5(NAMESPACE, canonical_json(list(values)).decode()))


@function("any", name="json", examples=[('json(`{"a": 1.10}`)', '{"a":1.10}')])
def json_(value: Any) -> str:
    """A value as JSON text, numbers exact."""
    return encode_json(value).decode()


@function(env=True, examples=[])
def root(env: Any) -> Any:
    """The whole record, inside `each`."""
    return env.root


@function("any...", examples=[("not_null(none, 'x')", "x")], keeps_shape=True)
def not_null(*values: Any) -> Any:
    """The first value that is not null."""
    return next((value for value in values if value is not None), None)


@function("any", name="type", examples=[("type(`1.5`)", "number"), ("type(none)", "null")])
def type_(value: Any) -> str:
    """The JSON type of a value."""
    kinds = {str: "string", int: "number", Decimal: "number", bool: "boolean", list: "array", dict: "object"}
    return kinds.get(value.__class__, "null")


@function("any", examples=[("to_string(`1.50`)", "1.50"), ("to_string('a')", "a")])
def to_string(value: Any) -> str:
    """Text as it is, everything else as JSON."""
    return value if value.__class__ is str else encode_json(value).decode()


@function("any", examples=[("to_number('1.50')", Decimal("1.50")), ("to_number('x')", None)])
def to_number(value: Any) -> Any:
    """A number from a number or its text; null for anything else."""
    if value.__class__ in (int, Decimal):
        return value
    if value.__class__ is str:
        try:
            found = decode_json(value)
        except ValueError:
            return None
        return found if found.__class__ in (int, Decimal) else None
    return None


@function("any", examples=[("to_array('a')", ["a"]), ("to_array(`[1]`)", [1])])
def to_array(value: Any) -> list[Any]:
    """A list as it is, anything else as a list of one."""
    return value if value.__class__ is list else [value]


@function("any", examples=[])
def fail(message: Any) -> Any:
    """Refuse the record with this message."""
    raise FunctionFault(str(message))


FUNCTIONS = (
    coalesce, if_else, one_of, lookup, hash_, uuid5, json_, root, not_null, type_, to_string, to_number, to_array, fail,
)  # fmt: skip
