"""Records as they travel between a system and the engine: JSON values, exact, with typed equality.

Numbers are `int` or `Decimal`, never float. Text stays text: dates and instants are ISO strings here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec
import xxhash

JSON: TypeAlias = Any
"""None, bool, int, Decimal, str, list of JSON or dict from str to JSON."""
Fields: TypeAlias = dict[str, JSON]

_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number", order=None)
_sorted = msgspec.json.Encoder(decimal_format="number", order="deterministic")
_decode = _decoder.decode
_PLAIN = frozenset({str, int, bool, type(None)})
MAX_DEPTH = 64


def decode_json(data: bytes | str) -> JSON:
    """JSON text to a value; numbers with a point or exponent become `Decimal`.

    Raises:
        ValueError: not JSON, or nested deeper than 64 levels.
    """
    try:
        value = _decode(data)
        if isinstance(data, str):
            data = data.encode()
        if data.count(b"[") + data.count(b"{") > MAX_DEPTH and _deep(value):
            raise ValueError(f"JSON nested deeper than {MAX_DEPTH} levels")
        return value
    except RecursionError:
        raise ValueError(f"JSON nested deeper than {MAX_DEPTH} levels") from None
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None


def _deep(value: JSON) -> bool:
    """Whether a value is nested deeper than allowed; level by level, so that the check itself cannot run out of stack."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for one in level
            if one.__class__ in (dict, list)
            for item in (one.values() if one.__class__ is dict else one)
            if item.__class__ in (dict, list)
        ]
        if not level:
            return False
    return True


def encode_json(value: JSON) -> bytes:
    """A value to JSON bytes, decimals exactly as they are (1.10 stays 1.10)."""
    return _encoder.encode(value)


def canonical_json(value: JSON) -> bytes:
    """One byte form for equal values: keys sorted, 1.10 and 1.1 alike. What hashes are made of."""
    return _sorted.encode(plain(value))


def plain(value: JSON) -> JSON:
    """The value with every Decimal in its shortest form; equal numbers become equal text."""
    kind = value.__class__
    if kind in _PLAIN:
        return value
    if kind is dict:
        return {name: item if item.__class__ in _PLAIN else plain(item) for name, item in value.items()}
    if kind is list or kind is tuple:
        return [item if item.__class__ in _PLAIN else plain(item) for item in value]
    if kind is Decimal:
        if value == value.to_integral_value():
            return int(value)
        return value.normalize()
    return value


def digest(value: JSON) -> bytes:
    """16 bytes that are equal for equal values and (practically) for nothing else: xxh3-128."""
    return xxhash.xxh3_128_digest(canonical_json(value))


def fingerprint(value: JSON) -> tuple[bytes, bytes]:
    """16 bytes that are equal for values written alike, and the JSON that they stand for, its keys sorted.

    Faster than `digest`, which also knows that 1.10 is 1.1.
    """
    text = _sorted.encode(value)
    return xxhash.xxh3_128_digest(text), text


def digest_bytes(data: bytes) -> bytes:
    """16 bytes of raw input, for the skip of unchanged records."""
    return xxhash.xxh3_128_digest(data)


def same(left: JSON, right: JSON) -> bool:
    """Typed equality by value: 1.1 = 1.10, 1 ≠ '1' ≠ true, deep in lists and objects."""
    a, b = left.__class__, right.__class__
    if a is b:
        if a is dict:
            if left.keys() != right.keys():
                return False
            return all(same(item, right[name]) for name, item in left.items())
        if a is list:
            return len(left) == len(right) and all(map(same, left, right))
        return bool(left == right)
    if a is bool or b is bool:
        return False
    if (a is int or a is Decimal) and (b is int or b is Decimal):
        return bool(left == right)
    return False


Loader: TypeAlias = Callable[[Any], tuple[Fields, str | None]]
"""Turns what a connector read into (value, problem). Must not raise."""


class Record:
    """One record of a system, as read.

    key: native id as text (composite ones a JSON array as text). value: the record in the shape that is also
    written. modified: instant RFC 3339 in UTC, or whatever orders versions of this object as text of equal
    length; None where the object has none. raw: the bytes that the value came from, for the skip of
    unchanged input (None: the engine hashes the value). version: ETag or the like for conditional writes.
    problem: set where the connector could read the record's key but not its content.

    A lazy record decodes its value when `value` or `problem` is first asked for, so that one whose raw bytes are
    unchanged costs no decoding.
    """

    __slots__ = ("_load", "_problem", "_value", "deleted", "key", "modified", "raw", "version")

    def __init__(
        self,
        key: str,
        value: Fields,
        modified: str | None = None,
        deleted: bool = False,
        raw: bytes | None = None,
        version: str | None = None,
        problem: str | None = None,
    ) -> None:
        self.key = key
        self.modified = modified
        self.deleted = deleted
        self.raw = raw
        self.version = version
        self._value: Any = value
        self._problem = problem
        self._load: tuple[Loader, Any] | None = None

    @classmethod
    def lazy(cls, key: str, source: Any, load: Loader, modified: str | None, raw: bytes) -> Record:
        """A record whose value is `load(source)`, called once and only when it is needed."""
        record = cls(key, {}, modified, False, raw)
        record._load = (load, source)
        return record

    @property
    def value(self) -> Fields:
        """The record's fields; empty where it has a problem that hides them."""
        if self._load is not None:
            self._decode()
        value: Fields = self._value
        return value

    @property
    def problem(self) -> str | None:
        """Why the content cannot be used, if it cannot."""
        if self._load is not None:
            self._decode()
        return self._problem

    def _decode(self) -> None:
        waiting = self._load
        if waiting is not None:  # another thread may have been faster; both come to the same value
            self._value, self._problem = waiting[0](waiting[1])
            self._load = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and self._facts() == other._facts()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Record({self.key!r}, {self.value!r}, modified={self.modified!r}, problem={self.problem!r})"

    def _facts(self) -> tuple[Any, ...]:
        return (self.key, self.value, self.modified, self.deleted, self.raw, self.version, self.problem)


def text_key(values: Mapping[str, JSON], names: tuple[str, ...]) -> str:
    """The native id of a row: the value as text, or a JSON array where the key has several fields."""
    if len(names) == 1:
        value = values.get(names[0])
        return value if isinstance(value, str) else str(value)
    return encode_json([_text(values.get(name)) for name in names]).decode()


def _text(value: JSON) -> str | None:
    return value if isinstance(value, str) or value is None else str(value)
