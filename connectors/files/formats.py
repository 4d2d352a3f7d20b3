"""Reading and writing each format, exactly: numbers as Decimal, text as it stands, lines one at a time."""

from __future__ import annotations

import csv
import io
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time
from decimal import Decimal
from typing import IO, Any

from connectors.files.settings import FileObject, FilesConfig, refuse
from engine.sdk.record import Fields, decode_json, encode_json

Row = tuple[Fields | None, bytes | None, str | None]
"""(value, raw bytes, problem)."""
RISKY = ("=", "+", "-", "@", "\t", "\r")


def read_ndjson(stream: IO[bytes], settings: FileObject, config: FilesConfig) -> Iterator[Row]:
    """One JSON object a line; a line that is none is a problem of that line."""
    for line in _lines(stream, config.max_line):
        if line is None:
            yield None, None, f"the line is longer than {config.max_line:,} bytes"
            continue
        if not line.strip():
            continue
        try:
            value = decode_json(line)
        except ValueError as error:
            yield None, line, f"not JSON: {error}"
            continue
        if value.__class__ is not dict:
            yield None, line, "not a JSON object"
        else:
            yield value, line, None


def _lines(stream: IO[bytes], limit: int) -> Iterator[bytes | None]:
    """Lines without their end; None for one over the limit, whose rest is passed over."""
    while line := stream.readline(limit + 1):
        if len(line) > limit and not line.endswith(b"\n"):
            while (rest := stream.readline(limit)) and not rest.endswith(b"\n"):
                pass
            yield None
        else:
            yield line.rstrip(b"\r\n")


def read_csv(stream: IO[bytes], settings: FileObject, config: FilesConfig) -> Iterator[Row]:
    """RFC 4180. Values are text; a row with another number of cells is a problem, never shifted."""
    csv.field_size_limit(min(config.max_line, 2**31 - 1))
    text = io.TextIOWrapper(stream, encoding=settings.encoding, newline="")
    try:
        yield from _csv_rows(csv.reader(text, delimiter=settings.delimiter, strict=True), settings)
    finally:
        text.detach()


def _csv_rows(reader: Any, settings: FileObject) -> Iterator[Row]:
    try:
        header = next(reader, None)
    except (csv.Error, UnicodeDecodeError) as error:
        raise refuse("C583", f"the first line cannot be read: {error}", "set `encoding` and `delimiter`") from None
    if header is None:
        return
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise refuse("C583", f"two columns are called {twice!r}", "rename one of them")
    empty = {"blank": "", "null": None}.get(settings.empty)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except UnicodeDecodeError as error:
            raise refuse("C583", f"not {settings.encoding} text: {error.reason}", "set `encoding`") from None
        except csv.Error as error:
            yield None, None, f"not CSV: {error}"
            continue
        if not cells:
            continue
        raw = "\x1f".join(cells).encode("utf-8", "surrogatepass")
        if len(cells) != len(header):
            yield None, raw, f"the row has {len(cells)} cells, the first line {len(header)}"
            continue
        pairs = zip(header, map(unguarded, cells), strict=True)
        if settings.empty == "missing":
            yield {name: cell for name, cell in pairs if cell != ""}, raw, None
        else:
            yield {name: cell if cell != "" else empty for name, cell in pairs}, raw, None


def read_json(stream: IO[bytes], settings: FileObject, config: FilesConfig) -> Iterator[Row]:
    """A list of objects, or an object that holds one at `records`."""
    data = stream.read(config.max_file + 1)
    if len(data) > config.max_file:
        raise refuse(
            "C582", f"the file has more than {config.max_file:,} bytes", "write it as NDJSON, or raise `max_file`"
        )
    try:
        value = decode_json(data)
    except ValueError as error:
        raise refuse("C583", f"the file is not JSON: {error}", "correct the file") from None
    for name in (settings.records or "").split(".") if settings.records else ():
        value = value.get(name) if isinstance(value, dict) else None
    if not isinstance(value, list):
        raise refuse("C583", "the file does not hold a list of records", "say where it is with `records`")
    for item in value:
        if isinstance(item, dict):
            yield item, encode_json(item), None
        else:
            yield None, encode_json(item), "not a JSON object"


def read_xlsx(stream: IO[bytes], settings: FileObject, config: FilesConfig) -> Iterator[Row]:
    """The rows of a sheet; numbers exact as shown, dates as ISO text."""
    from openpyxl import load_workbook

    data = io.BytesIO(stream.read(config.max_file + 1))
    _check_zip(data, config.max_file)
    book = load_workbook(data, read_only=True, data_only=True)
    try:
        if settings.sheet is not None and settings.sheet not in book.sheetnames:
            raise refuse("C583", f"there is no sheet {settings.sheet!r}", f"sheets: {', '.join(book.sheetnames)}")
        sheet = book[settings.sheet or book.sheetnames[0]]
        rows = sheet.iter_rows(values_only=True)
        header = [str(name) for name in next(rows, ()) if name is not None]
        for cells in rows:
            if all(cell is None for cell in cells):
                continue
            value = {name: _cell(cell) for name, cell in zip(header, cells, strict=False)}
            yield value, encode_json(value), None
    finally:
        book.close()


def _check_zip(data: io.BytesIO, limit: int) -> None:
    """Refuse what unpacks to far more than it says (777 KB can become 600 MB)."""
    try:
        with zipfile.ZipFile(data) as archive:
            infos = archive.infolist()
            total = sum(one.file_size for one in infos)
            packed = max(sum(one.compress_size for one in infos), 1)
    except zipfile.BadZipFile:
        raise refuse("C583", "the file is not an XLSX workbook", "save it as .xlsx") from None
    if len(infos) > 10_000 or total > limit or (total > 2**24 and total / packed > 200):
        raise refuse("C582", "the workbook unpacks to more than is allowed", "split it, or raise `max_file`")
    data.seek(0)


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        number = Decimal(repr(value))
        return int(number) if number == number.to_integral_value() else number
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat()
    if isinstance(value, (date, time)):
        return value.isoformat()
    return unguarded(value) if isinstance(value, str) else value


def guarded(text: str) -> str:
    """Text that a spreadsheet program would run as a formula gets a leading apostrophe."""
    risky = _starts(text) in RISKY or (text.startswith("'") and _starts(text[1:]) in (*RISKY, "'"))
    return f"'{text}" if risky else text


def _starts(text: str) -> str:
    return unicodedata.normalize("NFKC", text[:1])


def unguarded(text: str) -> str:
    """The text without that apostrophe."""
    return text[1:] if text.startswith("'") and _starts(text[1:]) in (*RISKY, "'") else text


def write_csv(stream: IO[bytes], rows: Iterable[Fields], settings: FileObject, *, header: bool = True) -> None:
    """All rows under the union of their columns, in order of first appearance."""
    listed = list(rows)
    columns = list(dict.fromkeys(name for row in listed for name in row))
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, delimiter=settings.delimiter, lineterminator="\r\n")
    if header:
        writer.writerow(columns)
    for row in listed:
        writer.writerow([_text(row.get(name)) for name in columns])
    text.detach()


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, int):
        return str(value)
    return guarded(value) if isinstance(value, str) else encode_json(value).decode()


def write_ndjson(stream: IO[bytes], rows: Iterable[Fields], settings: FileObject, *, header: bool = True) -> None:
    """One JSON object a line."""
    for row in rows:
        stream.write(encode_json(row) + b"\n")


def write_json(stream: IO[bytes], rows: Iterable[Fields], settings: FileObject, *, header: bool = True) -> None:
    """A list, or an object that holds it at `records`."""
    value: Any = list(rows)
    for name in reversed((settings.records or "").split(".") if settings.records else ()):
        value = {name: value}
    stream.write(encode_json(value) + b"\n")


def write_xlsx(stream: IO[bytes], rows: Iterable[Fields], settings: FileObject, *, header: bool = True) -> None:
    """One sheet; text cells are typed as text, so that nothing runs as a formula."""
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell

    listed = list(rows)
    columns = list(dict.fromkeys(name for row in listed for name in row))
    book = Workbook(write_only=True)
    sheet = book.create_sheet(settings.sheet or "records")
    sheet.append(columns)
    for row in listed:
        cells = []
        for name in columns:
            value = row.get(name)
            cell = WriteOnlyCell(sheet, value=value if isinstance(value, (int, type(None))) else _text(value))
            if isinstance(cell.value, str):
                cell.data_type = "s"
            cells.append(cell)
        sheet.append(cells)
    book.save(stream)


READERS = {"ndjson": read_ndjson, "csv": read_csv, "json": read_json, "xlsx": read_xlsx}
WRITERS = {"ndjson": write_ndjson, "csv": write_csv, "json": write_json, "xlsx": write_xlsx}
