"""XLSX: the rows of one sheet. Numbers come exactly as shown, days and instants as ISO text, empty cells as `empty` says.

A number is written as a number where a spreadsheet program keeps all its digits (15), as text otherwise. Text cells
are typed as text and guarded (formulas.py). Rewriting keeps the other sheets; a formula in a changed row gives way to
its value.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import IO, Any

from connectors.files.changes import Changes, cell_text
from connectors.files.formulas import guarded, unguarded
from connectors.files.settings import Shape, key_problem, refuse
from engine.sdk.instants import order_text
from engine.sdk.record import Fields, Record, encode_json, text_key

ERRORS = frozenset({"#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A"})
LONGEST = 32_767
MEMBERS, RATIO, SMALL = 10_000, 200, 2**24


def _load(stream: IO[bytes], limit: int) -> io.BytesIO:
    """The packed file, unless it unpacks to far more than it says: 777 KB can become 600 MB.

    `zipfile` reads no member beyond the size that it declares, so judging the declared sizes is enough.
    """
    data = io.BytesIO(stream.read(limit + 1))
    try:
        with zipfile.ZipFile(data) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError):
        raise refuse("C583", "the file is not an XLSX workbook", "save it as .xlsx") from None
    total, packed = sum(one.file_size for one in infos), max(sum(one.compress_size for one in infos), 1)
    packs = total > SMALL and total / packed > RATIO
    if data.getbuffer().nbytes > limit or len(infos) > MEMBERS or total > limit or packs:
        raise refuse("C582", "the workbook unpacks to more than is allowed", "split it, or raise `max_file`")
    data.seek(0)
    return data


def _open(stream: IO[bytes], shape: Shape, **options: Any) -> tuple[Any, Any]:
    """(book, sheet). Raises ConnectorError C583 for what is no workbook or has no such sheet."""
    return _book(_load(stream, shape.config.max_file), shape, **options)


def _book(data: io.BytesIO, shape: Shape, **options: Any) -> tuple[Any, Any]:
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        book = load_workbook(data, **options)
    except (InvalidFileException, KeyError, ValueError, SyntaxError, zipfile.BadZipFile) as error:
        raise refuse("C583", f"the file is not an XLSX workbook: {error}", "save it as .xlsx") from None
    wanted = shape.settings.sheet
    if wanted is not None and wanted not in book.sheetnames:
        names = ", ".join(book.sheetnames)
        book.close()
        raise refuse("C583", f"there is no sheet {wanted!r}", f"sheets: {names}")
    return book, book[wanted or book.sheetnames[0]]


def _header(cells: tuple[Any, ...]) -> list[str | None]:
    names = [None if cell is None else str(cell) for cell in cells]
    twice = next((name for name in names if name is not None and names.count(name) > 1), None)
    if twice is not None:
        raise refuse("C583", f"two columns are called {twice!r}", "rename one of them")
    return names


def read(stream: IO[bytes], shape: Shape, file: str) -> Iterator[Record]:
    """One record a row; a row that cannot be read is a record with a problem, under the key `file:row`."""
    data = _load(stream, shape.config.max_file)
    uncomputed = _uncomputed(data, shape)
    book, sheet = _book(data, shape, read_only=True, data_only=True)
    try:
        sheet.reset_dimensions()  # some programs state them too small, which would cut rows off
        rows = sheet.iter_rows(values_only=True)
        header = _header(next(rows, ()))
        for number, cells in enumerate(rows, 2):
            empty = [one for one in uncomputed.get(number, ()) if one >= len(cells) or cells[one] is None]
            if empty or any(cell is not None for cell in cells):
                yield _record(header, cells, shape, f"{file}:{number}", empty)
    except (KeyError, ValueError, SyntaxError, zipfile.BadZipFile) as error:
        raise refuse("C583", f"the sheet cannot be read to its end: {error}", "save the workbook again") from None
    finally:
        book.close()


def _uncomputed(data: io.BytesIO, shape: Shape) -> dict[int, list[int]]:
    """Row → cells (from 0) that hold a formula: programs that do not compute leave its result out, which is not empty."""
    with zipfile.ZipFile(data) as archive:
        sheets = [name for name in archive.namelist() if name.startswith("xl/worksheets/")]
        if not any(b"<f>" in (xml := archive.read(name)) or b"<f " in xml for name in sheets):
            return {}
    book, sheet = _book(io.BytesIO(data.getvalue()), shape, read_only=True)
    try:
        sheet.reset_dimensions()
        return {
            number: found
            for number, cells in enumerate(sheet.iter_rows(), 1)
            if (found := [place for place, cell in enumerate(cells) if cell.data_type == "f"])
        }
    finally:
        book.close()


def _record(
    header: list[str | None], cells: tuple[Any, ...], shape: Shape, place: str, uncomputed: Sequence[int]
) -> Record:
    value: Fields = {} if shape.empty == "missing" else dict.fromkeys(
        (name for name in header if name is not None), "" if shape.empty == "blank" else None)  # fmt: skip
    problem = None
    for number, cell in enumerate(cells):
        if cell is None:
            continue
        name = header[number] if number < len(header) else None
        if name is None:
            problem = f"cell {number + 1} has no name in the first row"
            continue
        if cell.__class__ is str and cell in ERRORS:
            problem = f"{name} holds the error {cell}"
        value[name] = _value(cell)
    for number in uncomputed:
        name = header[number] if number < len(header) else None
        problem = f"{name or f'cell {number + 1}'} holds a formula without its result; open the file in a program that computes, and save it"
    raw, names = encode_json(value), shape.key
    problem = problem or key_problem([value.get(name) for name in names], names)
    if problem is not None:
        return Record(place, value, raw=raw, problem=problem)
    modified = order_text(value.get(shape.settings.modified), shape.zone) if shape.settings.modified else None
    return Record(text_key(value, names), value, modified, raw=raw)


def _value(cell: Any) -> Any:
    if isinstance(cell, float):
        number = Decimal(repr(cell))
        return int(number) if number == number.to_integral_value() else number
    if isinstance(cell, datetime):
        return cell.date().isoformat() if cell.time() == time() else cell.isoformat()
    if isinstance(cell, (date, time)):
        return cell.isoformat()
    if isinstance(cell, (str, bool, int)):
        return unguarded(cell) if isinstance(cell, str) else cell
    return str(cell)


def fault(record: Fields, shape: Shape) -> str | None:
    """Why a workbook cannot hold a record."""
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    for name, value in record.items():
        text = guarded(cell_text(value))
        if len(text) > LONGEST:
            return f"{name}: a cell holds {LONGEST:,} characters, not {len(text):,}"
        if ILLEGAL_CHARACTERS_RE.search(text) or ILLEGAL_CHARACTERS_RE.search(name):
            return f"{name}: a workbook cannot hold control characters"
        if "\r" in text or text in ERRORS:
            return f"{name}: a workbook would not give this text back the same"
    return None


def rewrite(stream: IO[bytes] | None, out: IO[bytes], shape: Shape, changes: Changes) -> None:
    """Put changed rows in their place, new ones at the end, new columns on the right."""
    from openpyxl import Workbook

    if stream is None:
        book = Workbook()
        sheet: Any = book.active
        sheet.title = shape.settings.sheet or "records"
    else:
        book, sheet = _open(stream, shape)
    try:
        header = _header(next(sheet.iter_rows(min_row=1, max_row=1, values_only=True), ()))
        while header and header[-1] is None:
            header.pop()
        values = [row for row in (*changes.final.values(), *changes.new) if row is not None]
        for name in dict.fromkeys(name for row in values for name in row):
            if name not in header:
                header.append(name)
                _set(sheet.cell(1, len(header)), name)
        gone: list[int] = []
        used = 1
        for number, cells in enumerate(sheet.iter_rows(min_row=2, values_only=True), 2):
            if any(cell is not None for cell in cells):
                used = number
            key = _record(header, cells, shape, "", ()).key if changes.final else ""
            if key in changes.final:
                value = changes.final[key]
                gone += [number] if value is None else []
                _fill(sheet, number, header, value)
        for number, row in enumerate(changes.new, used + 1):
            _fill(sheet, number, header, row)
        for number in reversed(gone):
            sheet.delete_rows(number)
        book.save(out)
    finally:
        book.close()


def _fill(sheet: Any, number: int, header: list[str | None], row: Fields | None) -> None:
    for column, name in enumerate(header, 1):
        if name is not None and row is not None:
            _set(sheet.cell(number, column), row.get(name))


def _set(cell: Any, value: Any) -> None:
    """Numbers and booleans as such, the rest as text that nothing runs."""
    if value is None or value == "":
        cell.value = None
    elif isinstance(value, bool):
        cell.value = value
    elif isinstance(value, (int, Decimal)) and _kept(Decimal(value)):
        cell.value = int(value) if value == int(value) else float(value)
    else:
        cell.value = guarded(cell_text(value))
        cell.data_type = "s"


def _kept(value: Decimal) -> bool:
    """True where a spreadsheet program keeps every digit."""
    return (
        len(value.normalize().as_tuple().digits) <= 15 and abs(value) < 10**15 and Decimal(repr(float(value))) == value
    )
