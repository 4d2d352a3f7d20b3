"""A report as one HTML page: no script, nothing from elsewhere, for the screen and for A4."""

from __future__ import annotations

import base64
import hashlib
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any, BinaryIO

import jinja2

from engine.compile.casts import EXACT
from engine.run import report_charts, report_words
from engine.run.disclosure import MASK
from engine.run.report_words import amount, number, said, short, visible
from engine.run.reports import Report, moment, variance
from engine.state.breaks import Break
from engine.state.reconciliations import Cell, Part

ROWS = 500
"""Breaks that one section shows."""
CELLS, BEHIND = 200, 50
"""Lines of a control total, and records behind one of them, that a page shows."""
TITLES = {"duplicate": "duplicate", "mismatch": "values differ", "stale": "behind its owner", "wrong_owner": "changed by the wrong side",
          "in_flight": "in flight"}  # fmt: skip


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: _source(name)), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"visible": lambda text: short(visible(str(text))), "said": lambda value: short(said(value)),
                            "number": number, "moment": moment,
                            "days": report_words.days}  # fmt: skip
    return environment


def _source(name: str) -> str:
    return (files("engine.run") / "templates" / name).read_text("utf-8")


def write_html(report: Report, out: BinaryIO) -> None:
    """The page, in UTF-8."""
    style = _source("report.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    below = next((one for one in report.limits if one.name == "open breaks"), None)
    page = _environment().get_template("report.html").stream(
        report=report, style=style, digest=digest, page=Page(report), rows=ROWS, cells=CELLS, behind=BEHIND, mask=MASK,
        chart=report_charts.trend(report.trend, _limit(below), hidden=report.cover.amount) if len(report.trend) > 1 else "",
        ages=report_charts.bars(report.ages), classes=report_charts.bars(report.classes),
    )  # fmt: skip
    for part in page:
        out.write(part.encode())


def _limit(one: Any) -> int | None:
    return int(one.limit.removeprefix("below ").replace(",", "")) if one is not None else None


class Page:
    """How a page says what a report has: the template asks it."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.sides = list(report.sides)
        self.two = len(self.sides) == 2

    def lines(self, given: dict[str, Any]) -> list[str]:
        """Amounts by currency, each on a line."""
        if self.report.cover.amount:
            return [MASK]
        return [amount(value, currency) for currency, value in sorted(given.items()) if value] or ["—"]

    def counts(self, name: str) -> bool:
        """Whether a control total counts records, so that their number need not be told again."""
        return name == "records" or name.startswith("records by ")

    def stake(self, one: Break) -> str:
        return "—" if one.amount is None else amount(one.amount, one.currency)

    def title(self, name: str) -> str:
        """A class in words."""
        if name.startswith("missing_"):
            return f"missing in {visible(self.report.side(name.removeprefix('missing_')))}"
        return TITLES.get(name, name)

    def by(self, cell: Cell) -> list[tuple[str, str]]:
        return [(name, said(value)) for name, value in cell.by.items()]

    def totals(self) -> list[tuple[str, list[Cell]]]:
        """Control totals by name, in the flow's order."""
        found: dict[int, tuple[str, list[Cell]]] = {}
        for cell in self.report.cells:
            found.setdefault(cell.total, (cell.name, []))[1].append(cell)
        return list(found.values())

    def sum(self, cell: Cell, value: Any) -> str:
        """A sum of a line, with its currency."""
        if value is None:
            return "—"
        if value == MASK:
            return MASK
        currency = cell.by.get("currency")
        return amount(value, currency) if isinstance(currency, str) else number(Decimal(value))

    def variance(self, cell: Cell) -> tuple[str, str]:
        gap, share = variance(self.report, cell)
        sign = "+" if gap is not None and gap > 0 and self.two else ""
        told = "—" if gap is None else sign + self.sum(cell, gap)
        return told, "—" if share is None else f"{'+' if share > 0 and self.two else ''}{share:,}%"

    def behind(self, cell: Cell) -> list[tuple[str, list[tuple[list[str], str]], str]]:
        """(name, for each side its native ids and what it adds, the difference) of the first records that make a line differ."""
        found = []
        for name, part in self.report.parts(cell, BEHIND):
            sides = [(list(part.natives.get(side, ())), self.sum(cell, part.sums.get(side))) for side in self.sides]
            found.append((visible(name), sides, self._gap(cell, part)))
        return found

    def _gap(self, cell: Cell, part: Part) -> str:
        """The second side less the first."""
        if not self.two or MASK in part.sums.values():
            return MASK if self.two else ""
        left, right = (Decimal(part.sums.get(side) or 0) for side in self.sides)
        gap = EXACT.subtract(right, left)
        return f"{'+' if gap > 0 else ''}{self.sum(cell, gap)}"

    def share(self) -> str:
        """Which part of what was compared is equal."""
        figures = self.report.figures
        if not figures["compared"]:
            return "—"
        share = Decimal(figures["equal"]) * 100 / Decimal(figures["compared"])
        shown = share.quantize(Decimal("0.01"), "ROUND_DOWN")  # 100.00% is said of everything only
        return f"{shown}%"
