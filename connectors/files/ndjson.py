"""NDJSON: one JSON object a line, read without decoding more than the key, rewritten without touching other lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import IO, Any

import msgspec

from connectors.files.changes import Changes
from connectors.files.settings import Shape, key_problem
from engine.sdk.instants import order_text
from engine.sdk.record import Fields, Loader, Record, decode_json, encode_json, text_key


class Heads:
    """Reads the key and the modified field of a JSON object, and passes over the rest of it."""

    def __init__(self, shape: Shape) -> None:
        self.key, self.zone = shape.key, shape.zone
        names = list(dict.fromkeys([*self.key, *([shape.settings.modified] if shape.settings.modified else [])]))
        slots = {f"f{number}": name for number, name in enumerate(names)}
        head = msgspec.defstruct("Head", [(slot, Any, None) for slot in slots], rename=slots)
        self._decode = msgspec.json.Decoder(head, float_hook=Decimal).decode
        self._slots = [f"f{names.index(name)}" for name in self.key]
        self._modified = f"f{names.index(shape.settings.modified)}" if shape.settings.modified else None
        self._load: Loader = _strictly if shape.settings.repeated == "refuse" else _loosely

    def record(self, raw: bytes, file: str, number: int) -> Record:
        """The record of a JSON text; its value is decoded when it is asked for. One without key is `file:number`."""
        try:
            head: Any = self._decode(raw)
        except (ValueError, RecursionError):
            return Record(f"{file}:{number}", {}, raw=raw, problem=self._load(raw)[1] or "not a JSON object")
        modified = order_text(getattr(head, self._modified), self.zone) if self._modified else None
        if len(self.key) == 1 and (first := head.f0).__class__ is str and first:
            return Record.lazy(first, raw, self._load, modified, raw)
        place, values = f"{file}:{number}", [getattr(head, slot) for slot in self._slots]
        problem = key_problem(values, self.key)
        if problem is not None:
            value, fault = self._load(raw)
            return Record(place, value, modified, raw=raw, problem=fault or problem)
        key = text_key(dict(zip(self.key, values, strict=True)), self.key)
        return Record.lazy(key, raw, self._load, modified, raw)


def _loosely(raw: bytes) -> tuple[Fields, str | None]:
    try:
        value = decode_json(raw)
    except ValueError as error:
        return {}, f"not JSON: {error}"
    return (value, None) if value.__class__ is dict else ({}, "not a JSON object")


def _strictly(raw: bytes) -> tuple[Fields, str | None]:
    value, problem = _loosely(raw)
    if problem is None:
        try:
            json.loads(raw, object_pairs_hook=_pairs)
        except ValueError as error:
            return {}, str(error)
    return value, problem


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for number, (name, _) in enumerate(pairs) if name in dict(pairs[:number]))
        raise ValueError(f"{twice!r} stands twice in one object")
    return found


def lines(stream: IO[bytes], limit: int) -> Iterator[tuple[int, bytes | None]]:
    """(number from 1, line without its end); None for a line over the limit, whose rest is passed over."""
    number, read = 0, stream.readline
    while line := read(limit + 1):
        number += 1
        if len(line) > limit and line[-1:] != b"\n":
            while (rest := read(limit)) and rest[-1:] != b"\n":
                pass
            yield number, None
        else:
            yield number, line.rstrip(b"\r\n")


def read(stream: IO[bytes], shape: Shape, file: str) -> Iterator[Record]:
    """One record a line; a line that is none is a record with a problem, under the key `file:line`."""
    heads, limit = Heads(shape), shape.config.max_line
    for number, line in lines(stream, limit):
        if number == 1 and line is not None:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line is None:
            yield Record(f"{file}:{number}", {}, raw=b"", problem=f"the line is longer than {limit:,} bytes")
        elif line and not line.isspace():
            yield heads.record(line, file, number)


def rewrite(stream: IO[bytes], out: IO[bytes], shape: Shape, changes: Changes) -> None:
    """Copy the lines, put changed records in their place and new ones at the end; unreadable lines stay."""
    heads, ended = Heads(shape), True
    for line in stream:
        key = heads.record(line.strip(), "\0", 0).key if changes.final and not line.isspace() else ""
        if key not in changes.final:
            out.write(line)
            ended = line.endswith(b"\n")
        elif (value := changes.final[key]) is not None:
            out.write(encode_json(value) + b"\n")
            ended = True
    if not ended:
        out.write(b"\n")
    append(out, changes.new)


def append(out: IO[bytes], rows: Iterable[Fields]) -> None:
    """One line a record."""
    out.writelines(encode_json(row) + b"\n" for row in rows)
