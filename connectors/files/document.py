"""JSON: a list of objects, or an object that holds one at `records`; everything around the list stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import msgspec

from connectors.files.changes import Changes
from connectors.files.ndjson import Heads
from connectors.files.settings import Shape, refuse
from engine.sdk.record import Record, encode_json

_items = msgspec.json.Decoder(list[msgspec.Raw])
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _load(stream: IO[bytes], shape: Shape) -> bytes:
    limit = shape.config.max_file
    data = stream.read(limit + 1)
    if len(data) > limit:
        raise refuse("C582", f"the file has more than {limit:,} bytes", "write it as NDJSON, or raise `max_file`")
    return data.removeprefix(b"\xef\xbb\xbf")


def _list(data: Any, shape: Shape) -> tuple[list[msgspec.Raw], list[tuple[str, dict[str, msgspec.Raw]]]]:
    """The items as JSON texts, and the objects around them from the outside in."""
    around: list[tuple[str, dict[str, msgspec.Raw]]] = []
    try:
        for name in shape.steps:
            members = _members.decode(data)
            around.append((name, members))
            data = members.get(name, b"null")
        return _items.decode(data), around
    except msgspec.ValidationError:
        raise refuse("C583", "the file does not hold a list of records", "say where it is with `records`") from None
    except (ValueError, RecursionError) as error:
        raise refuse("C583", f"the file is not JSON: {error}", "correct the file") from None


def read(stream: IO[bytes], shape: Shape, file: str) -> Iterator[Record]:
    """One record an object of the list; anything else in it is a record with a problem, under `file:place`."""
    heads = Heads(shape)
    items, _ = _list(_load(stream, shape), shape)
    for number, item in enumerate(items, 1):
        yield heads.record(bytes(item), file, number)


def rewrite(stream: IO[bytes], out: IO[bytes], shape: Shape, changes: Changes) -> None:
    """Write the list, an item a line, inside what was around it."""
    data = _load(stream, shape)
    items, around = _list(data, shape) if data.strip() else ([], [(name, {}) for name in shape.steps])
    heads, kept = Heads(shape), []
    for item in items:
        key = heads.record(bytes(item), "\0", 0).key if changes.final else ""
        if key not in changes.final:
            kept.append(bytes(item))
        elif (value := changes.final[key]) is not None:
            kept.append(encode_json(value))
    kept += [encode_json(row) for row in changes.new]
    whole = b"[\n" + b",\n".join(kept) + b"\n]" if kept else b"[]"
    for name, members in reversed(around):
        whole = msgspec.json.encode({**members, name: msgspec.Raw(whole)})
    out.write(whole + b"\n")
