"""A report as an Excel workbook: summary, control totals, the records behind them, breaks, accepted differences.

Cells are numbers, dates or text, never formulas. Excel keeps 15 digits of a number; one that has more is written as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, BinaryIO

from engine.run.disclosure import MASK
from engine.run.report_csv import columns, rows
from engine.run.report_words import amounts, is_number, number, said, visible
from engine.run.reports import PARTS, Report, moment, variance
from engine.state.breaks import Break

ROWS = 1_000_000
"""Of one sheet; more go on in the next."""
LONGEST = 32_000
"""Characters that a cell holds."""
DIGITS = 15
WIDE = {"why": 60, "cause": 24, "label": 24, "key": 24, "accepted_because": 40, "field": 28, "break": 27, "record": 27}
DATES = ("first_seen", "last_seen", "accepted_until", "closed_at")


class Sheet:
    """One table, written from the top down; goes on in another sheet when it is full."""

    def __init__(self, book: Book, name: str, head: Sequence[str], note: str = "") -> None:
        self.book, self.name, self.head, self.note = book, name, head, note
        self.number, self.row = 0, 0
        self.sheet: Any = None
        self._open()

    def _open(self) -> None:
        self.number += 1
        title = self.name if self.number == 1 else f"{self.name} {self.number}"
        self.sheet = self.book.file.add_worksheet(title)
        self.sheet.set_landscape()
        self.sheet.set_paper(9)
        self.sheet.fit_to_pages(1, 0)
        self.sheet.repeat_rows(0)
        for place, name in enumerate(self.head):
            self.sheet.set_column(place, place, WIDE.get(name, max(12, min(len(name) + 4, 30))))
            self.sheet.write_string(0, place, visible(name), self.book.formats["head"])
        self.sheet.freeze_panes(1, 0)
        self.row = 1

    def add(self, cells: Iterable[Any], style: str | None = None) -> None:
        if self.row >= ROWS:
            self._filter()
            self._open()
        for place, cell in enumerate(cells):
            self.book.put(self.sheet, self.row, place, cell, self.head[place], style)
        self.row += 1

    def _filter(self) -> None:
        self.sheet.autofilter(0, 0, max(self.row - 1, 1), len(self.head) - 1)

    def close(self) -> None:
        self._filter()


class Book:
    """The workbook and its formats."""

    def __init__(self, out: BinaryIO) -> None:
        from xlsxwriter import Workbook

        self.file: Any = Workbook(out, {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False,
                                        "strings_to_numbers": False})  # fmt: skip
        given = {"head": {"bold": True, "bg_color": "#1F3A5F", "font_color": "#FFFFFF", "text_wrap": True, "valign": "top"},
                 "title": {"bold": True, "font_size": 16}, "bold": {"bold": True}, "text": {"valign": "top"},
                 "whole": {"num_format": "#,##0", "valign": "top"}, "wrap": {"text_wrap": True, "valign": "top"},
                 "exact": {"num_format": "#,##0.00########", "valign": "top"}, "percent": {"num_format": "0.00\\%", "valign": "top"},
                 "instant": {"num_format": "yyyy-mm-dd hh:mm:ss", "valign": "top"},
                 "off": {"bold": True, "bg_color": "#FCE4E4", "valign": "top"}}  # fmt: skip
        self.formats = {name: self.file.add_format(one) for name, one in given.items()}

    def put(self, sheet: Any, row: int, place: int, cell: Any, column: str = "", style: str | None = None) -> None:
        """A cell by its type."""
        formats = self.formats
        if cell is None or cell == "":
            return
        if is_number(cell) and fits(Decimal(cell)):
            kind = "whole" if Decimal(cell) == Decimal(cell).to_integral_value() and isinstance(cell, int) else "exact"
            sheet.write_number(row, place, cell, formats[kind])
        elif is_number(cell):
            sheet.write_string(row, place, number(cell), formats["text"])
        elif column in DATES:
            exact = datetime.fromisoformat(str(cell)).replace(tzinfo=None, microsecond=0)
            sheet.write_datetime(row, place, exact, formats["instant"])
        else:
            text = visible(str(cell))
            text = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
            sheet.write_string(row, place, text, formats[style or ("wrap" if column == "why" else "text")])


def fits(exact: Decimal) -> bool:
    """Whether Excel keeps every digit of a number."""
    digits = exact.normalize().as_tuple()
    return len(digits.digits) <= DIGITS and isinstance(digits.exponent, int) and -300 < digits.exponent < 300


def write_xlsx(report: Report, out: BinaryIO) -> None:
    """The workbook."""
    book = Book(out)
    _summary(book, report)
    _totals(book, report)
    _behind(book, report)
    _breaks(book, report, "Breaks", lambda one: one.state != "accepted")
    _breaks(book, report, "Accepted", lambda one: one.state == "accepted")
    book.file.close()


def _summary(book: Book, report: Report) -> None:
    sheet = book.file.add_worksheet("Summary")
    sheet.set_column(0, 0, 34)
    sheet.set_column(1, 6, 22)
    figures = report.figures
    hidden = report.cover.amount
    lines: list[tuple[Any, ...]] = [
        (report.flow,), (report.verdict,), (),
        ("Run", report.run), ("First read began", moment(report.at)), ("Report made", moment(report.made)),
        ("Window", _window(report)), ("Records compared", figures["compared"]), ("Equal", figures["equal"]),
        ("Unexplained breaks", figures["remaining"]), ("Amount at stake", MASK if hidden else amounts(figures["at_stake"])),
        ("In flight", figures["in_flight"]), ("Accepted", figures["accepted"]), ("Closed by this run", figures["closed"]),
        ("Counted, not kept one by one", figures["left_out"]), (),
        ("Side", "connection", "mapping", "read", "compared", "cannot be read", "read began"),
        *[(name, side["connection"], side["mapping"], side["read"], side["compared"], side["unreadable"], moment(side["began"]))
          for name, side in report.sides.items()], (),
        ("Open breaks by class", "breaks", "amount at stake"),
        *[(one.name, one.count, MASK if hidden else amounts(one.sums)) for one in report.classes], (),
        ("Open breaks by age", "breaks", "amount at stake"),
        *[(one.name, one.count, MASK if hidden else amounts(one.sums)) for one in report.ages], (),
        ("Limit", "expected", "reached", "kept"),
        *[(one.name, one.limit, one.reached, "yes" if one.kept else "NO") for one in report.limits],
    ]  # fmt: skip
    heads = {"Side", "Open breaks by class", "Open breaks by age", "Limit"}
    for row, line in enumerate(lines):
        for place, cell in enumerate(line):
            style = "title" if row == 0 else "bold" if row == 1 or place == 0 else None
            book.put(sheet, row, place, cell, "", "head" if line[0] in heads else style)


def _window(report: Report) -> str:
    window = report.told.get("window")
    return f"from {window['from']} ({report.timezone})" if window else "everything"


def _totals(book: Book, report: Report) -> None:
    sides = list(report.sides)
    head = [
        "total",
        "by",
        *sides,
        "variance",
        "percent",
        *[f"{side} records" for side in sides],
        "agrees",
        "records behind",
    ]
    sheet = Sheet(book, "Totals", head)
    for cell in report.cells:
        gap, share = variance(report, cell)
        by = ", ".join(f"{name} {said(value)}" for name, value in cell.by.items())
        sums = [_number(cell.sums.get(side)) for side in sides]
        records = [cell.records.get(side, 0) for side in sides]
        sheet.add([cell.name, by, *sums, gap, share, *records, "NO" if cell.differs else "yes", cell.parts],
                  "off" if cell.differs else None)  # fmt: skip
    sheet.close()


def _number(given: Any) -> Any:
    return Decimal(given) if given is not None and given != MASK else given


def _behind(book: Book, report: Report) -> None:
    sides = list(report.sides)
    head = ["total", "by", "record", *[f"{side} id" for side in sides], *sides]
    sheet = Sheet(book, "Records behind totals", head)
    for cell in report.cells:
        if not cell.differs:
            continue
        by = ", ".join(f"{name} {said(value)}" for name, value in cell.by.items())
        for name, part in report.parts(cell, PARTS):
            natives = [", ".join(part.natives.get(side, ())) for side in sides]
            sheet.add([cell.name, by, name, *natives,
                       *[_number(part.sums.get(side)) for side in sides]])  # fmt: skip
    sheet.close()


def _breaks(book: Book, report: Report, name: str, belongs: Any) -> None:
    sheet = Sheet(book, name, columns(report))
    found: Iterable[Break] = filter(belongs, report.breaks())
    for row in rows(report, iter(found)):
        sheet.add(row)
    sheet.close()
