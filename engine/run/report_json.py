"""A report as JSON: the exact data, amounts as numbers with every digit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import BinaryIO

from engine.run.disclosure import MASK
from engine.run.reports import PARTS, Report, Tally, variance
from engine.sdk.record import JSON, Fields, encode_json
from engine.state.breaks import Break


def write_json(report: Report, out: BinaryIO) -> None:
    """`{"report": {…, "breaks": […]}}`, a break at a time."""
    whole, rows = as_json(report)
    out.write(b'{"report":' + encode_json(whole)[:-1] + b',"breaks":[')
    for number, one in enumerate(rows):
        out.write((b",\n" if number else b"\n") + encode_json(one))
    out.write(b"]}}\n")


def as_json(report: Report, behind: int = PARTS) -> tuple[Fields, Iterator[Fields]]:
    """(everything but the breaks, the breaks one by one): exact data. behind: records told of a total that differs."""
    totals: list[JSON] = []
    for cell in report.cells:
        gap, share = variance(report, cell)
        parts: list[JSON] = [
            {"label": name, "key": report.cover.key_of(part.key), "sums": part.sums, "natives": part.natives}
            for name, part in (report.parts(cell, behind) if cell.differs and behind else [])
        ]
        totals.append({"name": cell.name, "by": cell.by, "sums": cell.sums, "records": cell.records, "differs": cell.differs,
                       "variance": gap, "percent": share, "parts": cell.parts, "behind": parts})  # fmt: skip
    told = {name: value for name, value in report.told.items() if name not in ("amounts", "causes")}
    whole: Fields = {
        "flow": report.flow, "entity": report.entity, "run": report.run, "at": report.at, "made": report.made,
        "latest": report.latest, "verdict": report.verdict, "agrees": report.agrees, **told, **_figures_shown(report),
        "limits": [{"name": one.name, "limit": one.limit, "reached": one.reached, "kept": one.kept} for one in report.limits],
        "open": {"classes": _tallies(report, report.classes), "ages": _tallies(report, report.ages),
                 "causes": [{"class": name, **_tally(report, one)} for name, one in report.causes]},
        "trend": [{"run": one.run, "at": one.at, "remaining": one.remaining,
                   "at_stake": MASK if report.cover.amount else one.sums} for one in report.trend],
        "totals": totals,
    }  # fmt: skip
    return whole, (break_json(report, one) for one in report.breaks())


def _figures_shown(report: Report) -> Fields:
    return {**report.figures, "at_stake": MASK if report.cover.amount else report.figures["at_stake"]}


def _tallies(report: Report, found: Iterable[Tally]) -> list[JSON]:
    return [_tally(report, one) for one in found]


def _tally(report: Report, one: Tally) -> Fields:
    return {"name": one.name, "count": one.count, "amounts": MASK if report.cover.amount else one.sums}


def break_json(report: Report, one: Break) -> Fields:
    """A break of a report; it is covered already."""
    given: Fields = dict(one._asdict())
    name, record = given.pop("name"), given.pop("canonical_id")
    return {**given, "class": name, "record": record, "key": report.cover.key_of(one.key), "age": report.age(one),
            "amount": Decimal(one.amount) if one.amount is not None else None}  # fmt: skip
