"""`mappings/tables/<name>.yaml`: static value maps, decision tables and dated rows, and what can be wrong with rows."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from engine.sdk.config import Config
from engine.sdk.errors import Position, Problem, Problems, SpecError, nearest
from engine.spec.about import About
from engine.spec.source import Positions

ANY = "*"
OPEN = ("0000-01-01", "9999-12-31")
"""What an empty first and last day stand for."""
Row = dict[str, Any]


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class FromStore(Config):
    """Rows that are canonical records."""

    entity: str


class Table(Config):
    """A table. Rows stand in the document, in a CSV file beside it, or are canonical records."""

    table: str
    """Name, equal to the path below `mappings/tables/`."""
    about: About | None = None
    extends: str | None = None
    """Another table whose rows this one adds to; a row with the key of one of them takes its place."""
    remove: list[str] | None = None
    key: Annotated[list[str], BeforeValidator(_listed)] = Field(min_length=1)
    """Column or columns that identify a row."""
    columns: list[str] = []
    """Names of the columns; of the rows' keys, the file's first line or the entity's fields where it is left out."""
    rows: list[dict[str, Any]] | None = None
    """The rows: lists in the order of `columns`, or mappings. `*` in a key column holds any value."""
    file: str | None = None
    """CSV file beside the document; its values are text."""
    from_: FromStore | None = Field(None, alias="from")
    """Canonical records as rows."""
    valid: tuple[str, str] | None = None
    """Columns with the first and the last day that a row holds, both included; an empty one is open."""
    hit: Literal["first", "unique"] = "unique"
    """Which row counts where several match."""

    @model_validator(mode="before")
    @classmethod
    def _rows(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not isinstance(value.get("rows"), list):
            return value
        columns = value.get("columns") or []
        rows = []
        for number, row in enumerate(value["rows"], 1):
            if isinstance(row, list):
                if len(row) != len(columns):
                    raise ValueError(
                        f"has {len(row)} values for {len(columns)} columns in row {number}: write one for each column"
                    )
                row = dict(zip(columns, row, strict=True))
            rows.append(row)
        if not columns:
            columns = list(dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row))
        return {**value, "rows": rows, "columns": columns}

    @model_validator(mode="after")
    def _whole(self) -> Table:
        ways = sum(x is not None for x in (self.rows, self.file, self.from_))
        if ways > 1:
            raise ValueError("has rows in two ways: keep one of `rows`, `file` and `from`")
        if ways == 0 and self.extends is None:
            raise ValueError("has no rows: write `rows`, `file` or `from`")
        missing = [name for name in [*self.key, *(self.valid or ())] if self.columns and name not in self.columns]
        if missing:
            raise ValueError(f"{missing[0]!r} is not one of its columns: {', '.join(self.columns)}")
        twice = next((name for name in self.columns if self.columns.count(name) > 1), None)
        if twice:
            raise ValueError(f"has the column {twice!r} twice: keep one of them")
        for number, row in enumerate(self.rows or (), 1):
            strange = [name for name in row if name not in self.columns]
            if strange:
                raise ValueError(f"row {number} has {strange[0]!r}, which is not one of its columns")
        return self

    def keyed(self, row: Row) -> tuple[Any, ...]:
        """A row's key, equal for equal values: 1 and 1.0 alike, '1' and true apart from them."""
        return tuple(_typed(row.get(name)) for name in self.key)

    def span(self, row: Row) -> tuple[str, str]:
        """First and last day of a row."""
        start, end = self.valid or ("", "")
        return str(row.get(start) or OPEN[0]), str(row.get(end) or OPEN[1])


def _typed(value: Any) -> tuple[type, Any]:
    number = isinstance(value, (int, Decimal)) and not isinstance(value, bool)
    return (Decimal if number else value.__class__, repr(value) if isinstance(value, (list, dict)) else value)


Fault = tuple[int, str, str]
"""(number of the row from 0, what is wrong, what to do)."""


def faults(table: Table) -> Iterator[Fault]:
    """Everything that can be seen to be wrong with the rows: keys, days, overlaps, gaps, rows never reached."""
    sound: list[int] = []
    for number, row in enumerate(table.rows or ()):
        wrong = _cells(table, row)
        if wrong:
            yield number, *wrong
        else:
            sound.append(number)
    yield from _overlaps(table, sound)
    if table.valid:
        yield from _gaps(table, sound)


def _cells(table: Table, row: Row) -> tuple[str, str] | None:
    for name in table.key:
        value = row.get(name)
        if value is None or value == "":
            return f"has no {name}, which is part of the key", "write a value, or * for any"
        if isinstance(value, (list, dict)):
            return f"has a {name} that is no single value", "write text, a number, or true or false"
    for name in table.valid or ():
        value = row.get(name)
        if value not in (None, "") and not _is_day(value):
            return f"has {str(value)!r} as {name}, which is no day", "write it as 2026-01-31"
    start, end = table.span(row)
    return (f"ends on {end}, before it starts on {start}", "swap the two days") if end < start else None


def _is_day(value: Any) -> bool:
    try:
        return isinstance(value, str) and len(value) == 10 and bool(date.fromisoformat(value))
    except ValueError:
        return False


def _overlaps(table: Table, numbers: list[int]) -> Iterator[Fault]:
    """`unique`: two rows that one value could meet. `first`: a row that an earlier one always comes before."""
    rows = table.rows or []
    wild = [number for number in numbers if ANY in (rows[number].get(name) for name in table.key)]
    groups: dict[tuple[Any, ...], list[int]] = {}
    for number in numbers:
        groups.setdefault(table.keyed(rows[number]), []).append(number)
    first = table.hit == "first"
    for number in numbers:
        others = dict.fromkeys(
            [*groups[table.keyed(rows[number])], *(wild if number not in wild or first else numbers)]
        )
        for other in sorted(one for one in others if one < number):
            if first and not _covers(table, rows[other], rows[number]):
                continue
            if not first and not _meet(table, rows[other], rows[number]):
                continue
            what = ", ".join(str(rows[number].get(name)) for name in table.key)
            if first:
                yield (
                    number,
                    f"is never reached: row {other + 1} holds all that it does ({what})",
                    "move it up, or drop it",
                )
            else:
                yield number, f"and row {other + 1} both hold for {what}", "keep one of them, or say `hit: first`"
            break


def _meet(table: Table, one: Row, other: Row) -> bool:
    """Whether some value and day meets both rows."""
    for name in table.key:
        a, b = one.get(name), other.get(name)
        if ANY not in (a, b) and _typed(a) != _typed(b):
            return False
    (start, end), (first, last) = table.span(one), table.span(other)
    return start <= last and first <= end


def _covers(table: Table, one: Row, other: Row) -> bool:
    """Whether every value and day that meets `other` meets `one` too."""
    for name in table.key:
        a, b = one.get(name), other.get(name)
        if a != ANY and _typed(a) != _typed(b):
            return False
    (start, end), (first, last) = table.span(one), table.span(other)
    return start <= first and last <= end


def _gaps(table: Table, numbers: list[int]) -> Iterator[Fault]:
    """Days between two rows of one key that no row of that key holds."""
    rows, groups = table.rows or [], dict[tuple[Any, ...], list[tuple[str, str, int]]]()
    for number in numbers:
        groups.setdefault(table.keyed(rows[number]), []).append((*table.span(rows[number]), number))
    for spans in groups.values():
        spans.sort()
        reached, before = spans[0][1], spans[0][2]
        for start, end, number in spans[1:]:
            if reached < OPEN[1] and start > (free := _next_day(reached)):
                last = (date.fromisoformat(start) - timedelta(days=1)).isoformat()
                what = ", ".join(str(rows[number].get(name)) for name in table.key)
                yield (
                    number,
                    f"leaves no row for {what} from {free} to {last}, after row {before + 1}",
                    ("let the days follow each other; a row with an empty value says that none holds"),
                )
            if end > reached:
                reached, before = end, number


def _next_day(day: str) -> str:
    return (date.fromisoformat(day) + timedelta(days=1)).isoformat()


def read_file(table: Table, path: Path, positions: Positions) -> tuple[list[Row], list[str], list[Position]]:
    """(rows, columns, each row's place) of the CSV file beside a table's document. Raises SpecError with the line."""
    at = positions.at("file")
    if "/" in str(table.file) or "\\" in str(table.file):
        raise SpecError(Problem("E148", f"{table.file!r} is not beside the table", at, "write the file's name alone"))
    file = path.parent / str(table.file)
    shown = f"{positions.file.rpartition('/')[0]}/{table.file}"
    if not file.is_file():
        raise SpecError(Problem("E130", f"there is no file {table.file!r} beside the table", at, "create it"))
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        line = file.read_bytes()[: error.start].count(b"\n") + 1
        raise SpecError(Problem("E148", "is not UTF-8 text", Position(shown, line), "save it as UTF-8")) from None
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    columns: list[str] = []
    rows: list[Row] = []
    places: list[Position] = []
    try:
        for cells in reader:
            if not columns:
                columns = cells
            elif len(cells) != len(columns) and cells:
                raise SpecError(Problem("E148", f"{len(cells)} values for {len(columns)} columns",
                                        Position(shown, reader.line_num), "quote values that hold commas"))  # fmt: skip
            elif cells:
                rows.append(dict(zip(columns, cells, strict=True)))
                places.append(Position(shown, reader.line_num))
    except csv.Error as error:
        raise SpecError(Problem("E148", f"is not readable as CSV: {error}", Position(shown, max(reader.line_num, 1)),
                                "close the quotes, and double those inside a value")) from None  # fmt: skip
    problems = Problems()
    for name in [*table.columns, *table.key, *(table.valid or ())]:
        if name not in columns:
            problems.add("E148", f"{table.file} has no column {name!r}", at, nearest(name, columns))
    for name in dict.fromkeys(one for one in columns if columns.count(one) > 1):
        problems.add("E148", f"has the column {name!r} twice", Position(shown), "name each column once")
    problems.raise_any()
    return rows, columns, places


def complete(table: Table, path: Path, positions: Positions, below: Table | None = None) -> Table:
    """The table with the rows of its file and of the table that it extends, checked. Raises SpecError with every fault.

    below: the complete table that this one extends.
    """
    own, columns = table.rows, table.columns
    if own is None and table.file is None and (below is None or table.from_ is not None):
        return table
    places = [positions.at("rows", number) for number in range(len(own or ()))]
    if table.file is not None:
        own, found, places = read_file(table, path, positions)
        columns = columns or found
    own = own or []
    mine = {table.keyed(row) for row in own}
    kept = [row for row in (below.rows or () if below else ()) if table.keyed(row) not in mine]
    if below is not None:
        columns = list(dict.fromkeys([*below.columns, *columns]))
    whole = table.model_copy(update={"rows": [*kept, *own], "columns": columns})
    problems = Problems()
    for number, what, hint in faults(whole):
        place = places[number - len(kept)] if number >= len(kept) else positions.at("extends")
        problems.add("E144", f"row {number + 1} {what}", place, hint)
    problems.raise_any()
    return whole
