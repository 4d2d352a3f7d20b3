"""A report as CSV: the breaks, one row for each field that differs; for spreadsheets and for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, BinaryIO

from engine.compile.casts import EXACT
from engine.run.report_words import is_money, is_number, key_said, said, visible
from engine.run.reports import Report
from engine.sdk.record import JSON, Fields
from engine.state.breaks import Break

STARTS = tuple("=+-@\t\r\n＝＋－＠")
"""What a spreadsheet may take for a formula."""
FACTS = ("amount", "currency", "queue", "owner", "first_seen", "last_seen", "age_days", "runs", "accepted_by",
         "accepted_because", "accepted_until", "closed_at", "closed_how")  # fmt: skip


def columns(report: Report) -> list[str]:
    """Names of the columns. Amounts have their currency in a column of its own, so that they stay numbers."""
    sides = list(report.sides)
    return ["break", "state", "class", "cause", "label", "key", "record", *[f"{side} id" for side in sides], "field",
            *[name for side in sides for name in (side, f"{side} currency")],
            *(["difference"] if len(sides) == 2 else []), "field owner", "field class", "why", *FACTS]  # fmt: skip


def rows(report: Report, breaks: Iterator[Break]) -> Iterator[list[Any]]:
    """Cells: text, Decimal, int or None."""
    sides = list(report.sides)
    for one in breaks:
        head = [one.id, one.state, one.name, one.cause, one.label, key_said(report.cover.key_of(one.key)), one.canonical_id,
                *[", ".join(one.natives.get(side, ())) for side in sides]]  # fmt: skip
        tail = [Decimal(one.amount) if one.amount is not None else None, one.currency, one.queue, one.owner, one.first_seen,
                one.last_seen, report.age(one), one.runs, one.accepted_by, one.accepted_because, one.accepted_until,
                one.closed_at, one.closed_how]  # fmt: skip
        for each in one.fields or [None]:
            yield [*head, *_field(sides, each), _why(one, each), *tail]


def _why(one: Break, each: Fields | None) -> str | None:
    own = each["why"] if each is not None else None
    return own or one.why


def _field(sides: list[str], each: Fields | None) -> list[Any]:
    if each is None:
        return [None] * (1 + 2 * len(sides) + (len(sides) == 2) + 2)
    values = each["values"]
    cells: list[Any] = [each["path"]]
    for side in sides:
        cells += _value(values[side]) if side in values else [None, None]
    if len(sides) == 2:
        cells.append(_difference([values.get(side) for side in sides]))
    return [*cells, each["owner"], each["class"]]


def _value(given: JSON) -> list[Any]:
    if isinstance(given, dict) and is_money(given):
        return [Decimal(given["amount"]), given["currency"]]
    return [given if is_number(given) else said(given), None]


def _difference(values: list[JSON]) -> Decimal | None:
    """The second less the first, of numbers and of amounts of one currency."""
    found = []
    for one in values:
        if isinstance(one, dict) and is_money(one):
            found.append((Decimal(one["amount"]), one["currency"]))
        elif isinstance(one, (int, Decimal)) and is_number(one):
            found.append((Decimal(one), None))
    if len(found) != 2 or found[0][1] != found[1][1]:
        return None
    return EXACT.subtract(found[1][0], found[0][0])


def harmless(cell: Any) -> str:
    """A cell as CSV writes it: numbers plain, text that could be a formula behind an apostrophe."""
    if cell is None:
        return ""
    if isinstance(cell, Decimal):
        return f"{cell:f}"
    if isinstance(cell, int):
        return str(cell)
    text = visible(str(cell))
    return f"'{text}" if text.lstrip(" ").startswith(STARTS) else text


def write_csv(report: Report, out: BinaryIO) -> None:
    """UTF-8 with the mark by which spreadsheets tell it."""
    text = io.TextIOWrapper(out, encoding="utf-8-sig", newline="")
    writer = csv.writer(text)
    writer.writerow([harmless(name) for name in columns(report)])
    for row in rows(report, report.breaks()):
        writer.writerow([harmless(cell) for cell in row])
    text.flush()
    text.detach()
