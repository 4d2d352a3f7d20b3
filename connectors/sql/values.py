"""Values between a database and records: exact numbers, ISO text for days and instants, UTC for instants."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import types as sql

from engine.sdk.connector import FieldType
from engine.sdk.record import JSON, decode_json, encode_json

To = Callable[[Any], Any]


class Unfit(ValueError):
    """A value that the column would not give back the same."""


def field_type(column: sql.TypeEngine[Any]) -> FieldType:
    """The record type of a column."""
    kinds: list[tuple[Any, FieldType]] = [
        (sql.Boolean, "boolean"), (sql.Integer, "integer"), (sql.Numeric, "decimal"), (sql.Float, "decimal"), (sql.DateTime, "datetime"),
        (sql.Date, "date"), (sql.Interval, "duration"), (sql.JSON, "object"), (sql.String, "string"), (sql.Uuid, "string"),
    ]  # fmt: skip
    return next((name for kind, name in kinds if isinstance(column, kind)), "any")


def from_database(zone: ZoneInfo) -> To:
    """A reader of column values as JSON values."""

    def read(value: Any) -> JSON:
        if value is None or value.__class__ in (str, int, bool, Decimal):
            return value
        if isinstance(value, float):
            return Decimal(repr(value))
        if isinstance(value, datetime):
            moment = value if value.tzinfo else value.replace(tzinfo=zone)
            return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
        if isinstance(value, (date, time)):
            return value.isoformat()
        if isinstance(value, timedelta):
            return f"PT{value.total_seconds():g}S"
        if isinstance(value, UUID):
            return str(value)
        if isinstance(value, (dict, list)):
            return decode_json(encode_json(value))
        if isinstance(value, (bytes, memoryview)):
            raise Unfit("holds bytes, which records cannot hold")
        return str(value)

    return read


def to_database(column: sql.TypeEngine[Any], zone: ZoneInfo) -> To:
    """A writer of JSON values as a column's values. Raises Unfit where reading back would give another value."""
    if isinstance(column, sql.String):
        return _texts(column.length)
    slow = _writer(column, zone)

    def write(value: Any) -> Any:
        kind = value.__class__
        if value is None or kind is bool:
            return value
        return encode_json(value).decode() if kind is dict or kind is list else slow(value)

    return write


def _texts(length: int | None) -> To:
    """A writer of text columns."""

    def write(value: Any) -> Any:
        if value.__class__ is not str:
            if value is None or value.__class__ is bool:
                return value
            if isinstance(value, (dict, list)):
                return encode_json(value).decode()
            value = format(value, "f") if isinstance(value, Decimal) else str(value)
        if length is not None and len(value) > length:
            raise Unfit(f"has {len(value)} characters, the column takes {length}")
        return value

    return write


def _writer(column: sql.TypeEngine[Any], zone: ZoneInfo) -> To:
    """What a column makes of numbers and text."""
    if isinstance(column, sql.Integer):
        return _whole
    if isinstance(column, (sql.Numeric, sql.Float)):
        return lambda value: _number(column, Decimal(value)) if isinstance(value, (int, Decimal)) else value
    if isinstance(column, sql.DateTime):
        return lambda value: _moment(value, zone, aware=column.timezone) if isinstance(value, str) else value
    if isinstance(column, sql.Date):
        return lambda value: date.fromisoformat(value) if isinstance(value, str) else value
    return lambda value: value


def _whole(value: Any) -> Any:
    if isinstance(value, Decimal):
        if value != value.to_integral_value():
            raise Unfit(f"{value} is not a whole number")
        return int(value)
    return value


def _moment(text: str, zone: ZoneInfo, *, aware: bool) -> datetime:
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if aware:
        return moment
    return moment.astimezone(zone).replace(tzinfo=None) if moment.tzinfo else moment


def _number(column: Any, value: Decimal) -> Any:
    if isinstance(column, sql.Float) or not column.asdecimal:
        number = float(value)
        if Decimal(repr(number)) != value:
            raise Unfit(f"{value} would not be read back the same from a floating-point column")
        return number
    if column.scale is not None and value != value.quantize(Decimal(1).scaleb(-column.scale)):
        raise Unfit(f"{value} has more decimals than the column's {column.scale}")
    if column.precision is not None and abs(value) >= Decimal(10) ** (column.precision - (column.scale or 0)):
        raise Unfit(f"{value} has more digits than the column takes")
    return value
