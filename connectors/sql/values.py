"""Values between a database and records: exact numbers, ISO text for days and instants, UTC for instants."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import types as sql
from sqlalchemy.dialects import mysql

from engine.sdk.connector import FieldType
from engine.sdk.record import JSON, decode_json, encode_json

To = Callable[[Any], Any]
Kind = Literal[
    "boolean",
    "integer",
    "float",
    "decimal",
    "datetime",
    "date",
    "time",
    "interval",
    "json",
    "char",
    "text",
    "uuid",
    "bytes",
    "any",
]
FIELD_TYPES: dict[Kind, FieldType] = {
    "boolean": "boolean", "integer": "integer", "float": "decimal", "decimal": "decimal", "datetime": "datetime", "date": "date",
    "time": "string", "interval": "duration", "json": "any", "char": "string", "text": "string", "uuid": "string",
    "bytes": "any", "any": "any",
}  # fmt: skip
_KINDS: list[tuple[Any, Kind]] = [
    (sql.Boolean, "boolean"), (sql.Integer, "integer"), (sql.Float, "float"), (sql.Numeric, "decimal"), (sql.DateTime, "datetime"),
    (sql.Date, "date"), (sql.Time, "time"), (sql.Interval, "interval"), (sql.JSON, "json"), (sql.Uuid, "uuid"),
    (sql.CHAR, "char"), (sql.String, "text"), (sql.LargeBinary, "bytes"), (sql.BINARY, "bytes"), (sql.VARBINARY, "bytes"),
]  # fmt: skip


MOST_EXACT = 2**53
"""Every whole number up to here is one in floating point."""
SHORT = 15
"""Every decimal of so many digits comes back from floating point as it was (IEEE 754, DBL_DIG)."""


class Unfit(ValueError):
    """A value that the column would not give back the same."""


def kind_of(column: sql.TypeEngine[Any], dialect: str) -> Kind:
    """What a column holds. SQLite keeps every NUMERIC in floating point; MariaDB writes BOOLEAN as TINYINT(1)."""
    if isinstance(column, mysql.TINYINT) and column.display_width == 1:
        return "boolean"
    found: Kind = next((name for kind, name in _KINDS if isinstance(column, kind)), "any")
    return "float" if found == "decimal" and dialect == "sqlite" else found


def reader(kind: Kind, zone: ZoneInfo) -> To:
    """Column values as JSON values. The reader raises Unfit for what a record cannot hold."""

    def flag(value: Any) -> JSON:
        return bool(value) if value in (0, 1) else read(value)

    def parsed(value: Any) -> JSON:
        if isinstance(value, str):
            try:
                return decode_json(value)
            except ValueError:
                return value
        return read(value)

    def moment(value: Any) -> JSON:
        if isinstance(value, str):
            try:
                return read(datetime.fromisoformat(value))
            except ValueError:
                return value
        return read(value)

    def clock(value: Any) -> JSON:
        return _clock(value) if isinstance(value, timedelta) else read(value)

    def padded(value: Any) -> JSON:
        return value.rstrip(" ") if isinstance(value, str) else read(value)

    def read(value: Any) -> JSON:
        return _plain(value, zone)

    special: dict[Kind, To] = {"boolean": flag, "json": parsed, "datetime": moment, "time": clock, "char": padded}
    return special.get(kind, read)


def _plain(value: Any, zone: ZoneInfo) -> JSON:
    if value is None or value.__class__ in (str, int, bool):
        return value
    if isinstance(value, (float, Decimal)):
        number = Decimal(repr(value)) if isinstance(value, float) else value
        if not number.is_finite():
            raise Unfit(f"holds {value}, which is no number")
        return number
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=zone)
        return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        seconds = Decimal(value.days * 86_400 + value.seconds) + Decimal(value.microseconds) / 1_000_000
        return f"PT{seconds.normalize():f}S"
    if isinstance(value, (dict, list)):
        return decode_json(encode_json(value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise Unfit("holds bytes, which records cannot hold: leave the column out with a `query`")
    return str(value)


def _clock(value: timedelta) -> str:
    """MariaDB gives a time of day as a duration."""
    if not timedelta() <= value < timedelta(days=1):
        return f"PT{value.total_seconds():g}S"
    return (datetime.min + value).time().isoformat()


class Writer:
    """JSON values as one column's values. Raises Unfit where reading back would give another value."""

    def __init__(self, kind: Kind, column: sql.TypeEngine[Any], dialect: str, zone: ZoneInfo) -> None:
        self.kind, self.column, self.dialect, self.zone = kind, column, dialect, zone
        self.write: To = getattr(self, f"_{kind}")
        self.length: int | None = getattr(column, "length", None) if isinstance(column, sql.String) else None
        self._free = self.length is None

    def __call__(self, value: Any) -> Any:
        return None if value is None else self.write(value)

    def _boolean(self, value: Any) -> Any:
        if value in (0, 1) and not isinstance(value, str):
            return bool(value)
        raise Unfit("is not true or false")

    def _integer(self, value: Any) -> int:
        if isinstance(value, str) and (not value.lstrip("-").isdecimal() or str(int(value)) != value):
            raise Unfit(f"{value[:40]!r} is not a whole number")
        number = _number(value)
        if number != number.to_integral_value():
            raise Unfit(f"{value} is not a whole number")
        if not -(2**63) <= number < 2**63:
            raise Unfit(f"{value} has more digits than the column takes")
        return int(number)

    def _float(self, value: Any) -> Any:
        kind = value.__class__
        if kind is int and -MOST_EXACT <= value <= MOST_EXACT:
            return value if self.dialect == "sqlite" else float(value)
        if kind is Decimal and len(str(value)) <= SHORT and value.is_finite() and -99 < value.adjusted() < SHORT:
            number = float(value)
            return int(number) if self.dialect == "sqlite" and number.is_integer() else number
        exact = _number(value)
        number = float(exact)
        if Decimal(repr(number)) != exact:
            raise Unfit(f"{value} would not be read back the same from a floating-point column")
        return int(exact) if self.dialect == "sqlite" and exact == exact.to_integral_value() else number

    def _decimal(self, value: Any) -> Decimal:
        number = _number(value)
        precision, scale = getattr(self.column, "precision", None), getattr(self.column, "scale", None)
        if scale is not None or precision is not None:
            places = scale or 0
            if number != round(number, places):
                raise Unfit(f"{value} has more decimals than the column's {places}")
            if precision is not None and abs(number) >= Decimal(10) ** (precision - places):
                raise Unfit(f"{value} has more digits than the column takes")
        return number

    def _datetime(self, value: Any) -> Any:
        if not isinstance(value, str):
            raise Unfit("is not an instant such as 2026-01-31T09:30:00Z")
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise Unfit(f"{value[:40]!r} is not an instant such as 2026-01-31T09:30:00Z") from None
        digits = getattr(self.column, "precision", None)
        if self.dialect in ("mysql", "mariadb"):
            digits = getattr(self.column, "fsp", None) or 0
        if digits is not None and moment.microsecond % 10 ** (6 - digits):
            raise Unfit(f"{value} has more decimals of a second than the column's {digits}")
        if getattr(self.column, "timezone", False) and self.dialect == "postgresql":
            return moment if moment.tzinfo else moment.replace(tzinfo=self.zone)
        zone = ZoneInfo("UTC") if isinstance(self.column, mysql.TIMESTAMP) else self.zone
        local = moment.astimezone(zone).replace(tzinfo=None) if moment.tzinfo else moment
        return local.isoformat(" ") if self.dialect == "sqlite" else local

    def _date(self, value: Any) -> Any:
        try:
            day = date.fromisoformat(value)
        except (ValueError, TypeError):
            raise Unfit(f"{str(value)[:40]!r} is not a day such as 2026-01-31") from None
        return day.isoformat() if self.dialect == "sqlite" else day

    def _time(self, value: Any) -> Any:
        try:
            time.fromisoformat(value)
        except (ValueError, TypeError):
            raise Unfit(f"{str(value)[:40]!r} is not a time such as 09:30:00") from None
        return value

    def _json(self, value: Any) -> str:
        return encode_json(value).decode()

    def _uuid(self, value: Any) -> str:
        try:
            return str(UUID(value))
        except (ValueError, TypeError, AttributeError):
            raise Unfit(f"{str(value)[:40]!r} is not a UUID") from None

    def _char(self, value: Any) -> str:
        text = self._text(value)
        if text.endswith(" "):
            raise Unfit("ends in a blank, which a CHAR column does not give back")
        return text

    def _text(self, value: Any) -> str:
        if self._free and value.__class__ is str and value.isascii() and "\0" not in value:
            return str(value)
        text = value if isinstance(value, str) else as_text(value)
        if self.length is not None and len(text) > self.length:
            raise Unfit(f"has {len(text)} characters, the column takes {self.length}")
        if "\0" in text and self.dialect == "postgresql":
            raise Unfit("holds a NUL character, which the database does not take")
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise Unfit("holds half of a character") from None
        return text

    def _bytes(self, value: Any) -> Any:
        raise Unfit("is a column of bytes, which records cannot hold")

    def _interval(self, value: Any) -> Any:
        return as_text(value)

    def _any(self, value: Any) -> Any:
        if self.dialect == "sqlite" and isinstance(value, (int, Decimal)) and not isinstance(value, bool):
            return self._float(value)
        return value if isinstance(value, (str, int, Decimal)) else as_text(value)


def as_text(value: JSON) -> str:
    """Numbers plainly, lists and objects as JSON."""
    if isinstance(value, str):
        return value
    return format(value, "f") if isinstance(value, Decimal) else encode_json(value).decode()


def _number(value: Any) -> Decimal:
    try:
        if isinstance(value, (int, Decimal, str)) and not isinstance(value, bool):
            number = Decimal(value)
            if number.is_finite():
                return number
    except InvalidOperation:
        pass
    raise Unfit(f"{str(value)[:40]!r} is not a number")
