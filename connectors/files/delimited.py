"""CSV: RFC 4180, everything is text, a row with another number of cells is a problem and never shifted.

CSV has one empty cell for three states; the setting `empty` says what it means when read (`blank` by default). Null,
missing and blank are all written as an empty cell. Formulas are guarded: see formulas.py.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from connectors.files.changes import Changes, cell_text
from connectors.files.formulas import guarded, unguarded
from connectors.files.settings import Shape, key_problem, refuse
from engine.sdk.instants import order_text
from engine.sdk.record import Fields, Record, digest_bytes, encode_json, text_key

Row = tuple[int, list[str], str | None]
"""(line number, cells, problem)."""


@contextmanager
def _text(stream: IO[bytes], encoding: str) -> Iterator[io.TextIOWrapper]:
    """The stream as text; it stays open."""
    text = io.TextIOWrapper(stream, encoding=encoding, newline="")
    try:
        yield text
    finally:
        text.detach()


def _lines(text: io.TextIOWrapper, limit: int) -> Iterator[str]:
    read = text.readline
    while line := read(limit + 1):
        if len(line) > limit:
            raise refuse(
                "C582", f"a line is longer than {limit:,} characters", "see that it is CSV, or raise `max_line`"
            )
        yield line


def _rows(text: io.TextIOWrapper, shape: Shape) -> Iterator[Row]:
    """Header first, then the rows that are not empty. Raises ConnectorError C582, C583."""
    csv.field_size_limit(max(csv.field_size_limit(), min(shape.config.max_line, 2**31 - 1)))
    reader = csv.reader(_lines(text, shape.config.max_line), delimiter=shape.settings.delimiter, strict=True)
    width = None
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except UnicodeDecodeError as error:
            raise refuse("C583", f"not {shape.settings.encoding} text: {error.reason}", "set `encoding`") from None
        except csv.Error as error:
            if width is None:
                hint = "set `encoding` and `delimiter`"
                raise refuse("C583", f"the first line cannot be read: {error}", hint) from None
            yield reader.line_num, [], f"not CSV: {error}"
            continue
        if width is None:
            width = len(cells)
            _check_header(cells)
        elif not cells:
            continue
        problem = None if len(cells) == width else f"the row has {len(cells)} cells, the first line {width}"
        yield reader.line_num, cells, problem


def _check_header(header: list[str]) -> None:
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise refuse("C583", f"two columns are called {twice!r}", "rename one of them")


class Cells:
    """Makes records of the cells below one header."""

    def __init__(self, header: list[str], shape: Shape) -> None:
        self.header, self.shape, self.key = header, shape, shape.key
        self.empty = shape.empty
        missing = next((name for name in self.key if name not in header), None)
        if missing is not None:
            raise refuse(
                "C583", f"there is no column {missing!r}, which is the key", "set `key`, or see the first line"
            )
        self.places = [header.index(name) for name in self.key]
        modified = shape.settings.modified
        self.modified = header.index(modified) if modified in header else None
        self.mark = digest_bytes(encode_json(header))

    def record(self, cells: list[str], place: str) -> Record:
        """The record of a row; its fields are laid out when they are asked for."""
        raw = encode_json(cells)
        modified = order_text(cells[self.modified], self.shape.zone) if self.modified is not None else None
        keys = [unguarded(cells[number]) for number in self.places]
        guards = b"\"'" in raw
        problem = key_problem([*keys], self.key)
        if problem is not None:
            return Record(place, self.fields((cells, guards))[0], modified, raw=self.mark + raw, problem=problem)
        key = keys[0] if len(keys) == 1 else text_key(dict(zip(self.key, keys, strict=True)), self.key)
        return Record.lazy(key, (cells, guards), self.fields, modified, self.mark + raw)

    def fields(self, source: Any) -> tuple[Fields, None]:
        """(cells, whether any may be guarded) as fields."""
        cells, guards = source
        if guards:
            cells = [unguarded(cell) for cell in cells]
        if self.empty == "blank":
            return dict(zip(self.header, cells, strict=True)), None
        pairs = zip(self.header, cells, strict=True)
        if self.empty == "missing":
            return {name: cell for name, cell in pairs if cell != ""}, None
        return {name: cell if cell != "" else None for name, cell in pairs}, None


def read(stream: IO[bytes], shape: Shape, file: str) -> Iterator[Record]:
    """One record a row; a row that cannot be read is a record with a problem, under the key `file:line`."""
    with _text(stream, shape.settings.encoding) as text:
        rows = _rows(text, shape)
        first = next(rows, None)
        if first is None:
            return
        cells = Cells(first[1], shape)
        for number, row, problem in rows:
            if problem is None:
                yield cells.record(row, f"{file}:{number}")
            else:
                yield Record(f"{file}:{number}", {}, raw=encode_json(row), problem=problem)


def columns(stream: IO[bytes], shape: Shape) -> list[str]:
    """The names in the first line."""
    with _text(stream, shape.settings.encoding) as text:
        first = next(_rows(text, shape), None)
        return first[1] if first else []


def fault(record: Fields, shape: Shape) -> str | None:
    """Why CSV in this encoding cannot hold a record."""
    encoding = shape.settings.encoding
    for name, value in record.items():
        try:
            cell_text(value).encode(encoding)
        except UnicodeEncodeError:
            return f"{name}: {encoding} has no sign for some of its text"
    return None


def rewrite(stream: IO[bytes], out: IO[bytes], shape: Shape, changes: Changes) -> None:
    """Copy the rows, put changed ones in their place, new ones at the end, new columns on the right."""
    marked = stream.read(3) == codecs.BOM_UTF8
    stream.seek(0)
    with _text(stream, shape.settings.encoding) as text, _text(out, _written(shape, marked)) as target:
        rows = _rows(text, shape)
        first = next(rows, None)
        header = first[1] if first else []
        values = [row for row in (*changes.final.values(), *changes.new) if row is not None]
        names = list(dict.fromkeys([*header, *(name for row in values for name in row)]))
        more = [""] * (len(names) - len(header))
        writer = csv.writer(target, delimiter=shape.settings.delimiter, lineterminator="\r\n")
        writer.writerow(names)
        cells = Cells(header, shape) if first else None
        for number, row, problem in rows:
            if problem is not None and (more or not row):
                hint = "correct that line first"
                raise refuse("C583", f"line {number} cannot be kept as it is: {problem}", hint)
            key = cells.record(row, "").key if cells and problem is None and changes.final else ""
            if key == "" or key not in changes.final:
                writer.writerow(row if problem else row + more)
            elif (value := changes.final[key]) is not None:
                writer.writerow(_cells(value, names))
        writer.writerows(_cells(row, names) for row in changes.new)
        target.flush()


def append(out: IO[bytes], shape: Shape, names: list[str], rows: list[Fields]) -> None:
    """Rows at the end of a file that has all their columns."""
    with _text(out, _written(shape, False)) as target:
        writer = csv.writer(target, delimiter=shape.settings.delimiter, lineterminator="\r\n")
        writer.writerows(_cells(row, names) for row in rows)
        target.flush()


def _written(shape: Shape, marked: bool) -> str:
    """The encoding to write: a byte order mark only where one was found."""
    encoding = shape.settings.encoding
    if codecs.lookup(encoding).name == "utf-8-sig" and not marked:
        return "utf-8"
    return encoding


def _cells(row: Fields, names: list[str]) -> list[str]:
    return [_cell(row.get(name)) for name in names]


def _cell(value: Any) -> str:
    return guarded(value) if isinstance(value, str) else cell_text(value)
