"""What a report of a reconciliation says: gathered from the state, the same for every format.

Breaks are streamed, however many there are; what a page shows of them is picked while they go by. A break is kept once and
changes from run to run: the report of an earlier run lists what was live then, with the values and states as they are kept now.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from engine.compile.casts import EXACT
from engine.run.cover import Cover
from engine.run.disclosure import MASK
from engine.run.report_words import amount, amounts, key_said, plural
from engine.sdk.errors import CrosswalkError
from engine.sdk.record import Fields
from engine.spec.reconcile import ReconcileFlow
from engine.spec.workspace import Workspace
from engine.state import breaks, reconciliations, runs
from engine.state.breaks import Break, Wanted
from engine.state.reconciliations import Cell, Part, Reconciliation
from engine.state.store import Tx, instant, moment_of

TREND = 30
"""Runs that a trend goes back."""
EVERY = ("open", "accepted", "closed")
AGES = (("0–1 days", 1), ("2–7 days", 7), ("8–30 days", 30), ("over 30 days", None))
PARTS = 1_000
OPEN, ACCEPTED, IN_FLIGHT, CLOSED = "open", "accepted", "in_flight", "closed"
Sums = dict[str, Decimal]


@dataclass
class Tally:
    """How many breaks, and what is at stake in them by currency."""

    name: str
    count: int = 0
    sums: Sums = field(default_factory=dict)

    def add(self, one: Break) -> None:
        self.count += 1
        if one.amount is not None:
            currency = one.currency or ""
            self.sums[currency] = EXACT.add(self.sums.get(currency, Decimal(0)), abs(Decimal(one.amount)))


@dataclass
class Section:
    """Breaks of one standing. rows: the largest amounts of them, then the oldest; `total` counts all."""

    total: int = 0
    rows: list[Break] = field(default_factory=list)


@dataclass(frozen=True)
class Point:
    """A run in the trend."""

    run: str
    at: str
    remaining: int
    sums: Sums


@dataclass(frozen=True)
class Limit:
    """What the flow expects, and what was reached."""

    name: str
    limit: str
    reached: str
    kept: bool


@dataclass
class Report:
    """A run of a reconciliation. figures: as `run` tells them. sides: name → what was read of it. at: when its first read
    began. latest: whether no other run came after it."""

    flow: str
    entity: str
    owner: str | None
    run: str
    at: str
    made: str
    latest: bool
    timezone: str
    told: Fields
    figures: Fields
    cells: list[Cell]
    trend: list[Point]
    limits: list[Limit]
    cover: Cover
    classes: list[Tally] = field(default_factory=list)
    ages: list[Tally] = field(default_factory=list)
    causes: list[tuple[str, Tally]] = field(default_factory=list)
    """(class, cause and its breaks), the most frequent first."""
    sections: dict[str, Section] = field(default_factory=dict)
    breaks: Callable[[], Iterator[Break]] = field(default=lambda: iter(()))
    """All of them, as they may be shown, the oldest first."""
    parts: Callable[[Cell, int], list[tuple[str, Part]]] = field(default=lambda cell, limit: [])
    """Records behind a line: what people know each by, and what it adds."""

    @property
    def sides(self) -> dict[str, Fields]:
        found: dict[str, Fields] = self.told["sides"]
        return found

    def age(self, one: Break) -> int:
        """Whole days from when a break was first found to the run."""
        return max((moment_of(self.at) - moment_of(one.first_seen)).days, 0)

    @property
    def agrees(self) -> bool:
        return not self.figures["remaining"] and not any(cell.differs for cell in self.cells)

    @property
    def verdict(self) -> str:
        """The result in a sentence."""
        figures = self.figures
        whole = plural(figures["compared"], "record")
        if self.agrees and not figures["found"]:
            return f"The systems agree: all {whole} compared are equal."
        if not figures["remaining"]:
            off = "; control totals differ" if any(cell.differs for cell in self.cells) else ""
            return f"No unexplained difference remains among {whole}{off}."
        stake = amounts(figures["at_stake"]) if not self.cover.amount else MASK
        at_stake = f"; {stake} at stake" if stake else ""
        remain = "remains" if figures["remaining"] == 1 else "remain"
        return f"{plural(figures['remaining'], 'difference')} {remain} unexplained among {whole}{at_stake}."

    def side(self, name: str) -> str:
        """A side as people know it: `left (psa)`."""
        connection = self.sides[name]["connection"] if name in self.sides else name
        return name if connection == name else f"{name} ({connection})"

    def standing(self, one: Break) -> str:
        """Which section a break belongs to."""
        if one.state == "open":
            return IN_FLIGHT if one.name == "in_flight" else OPEN
        return one.state


def variance(report: Report, cell: Cell) -> tuple[Decimal | None, Decimal | None]:
    """(the second side less the first, or between several the largest less the smallest; in percent of the first); None where
    it is hidden or has no percentage."""
    sums = [cell.sums[side] for side in report.sides if side in cell.sums]
    if len(sums) < 2 or any(value == MASK for value in sums):
        return None, None
    exact = [Decimal(value) for value in sums]
    gap = EXACT.subtract(exact[1], exact[0]) if len(exact) == 2 else EXACT.subtract(max(exact), min(exact))
    share = (gap / abs(exact[0]) * 100).quantize(Decimal("0.01")) if exact[0] else None
    return gap, share


def gather(tx: Tx, workspace: Workspace, one: Reconciliation, figures: Fields | None = None, rows: int = 500) -> Report:
    """The report of a run. figures: of one that is about to end; others have theirs kept. rows: that a section picks.

    What it hands out is read as long as the transaction is open.
    """
    cover = Cover.of(workspace, one.flow, one.entity)
    after = reconciliations.following(tx, one)
    flow = _flow(workspace, one.flow)
    figures = {"healed": 0, "left": 0, "over_limit": 0, **(figures or _figures(tx, one))}
    report = Report(
        one.flow, one.entity, flow.owner if flow else None, one.run, one.at, instant(), after is None,
        str(flow.window.timezone) if flow and flow.window else "UTC", one.told, figures,
        [cover.cell(cell) for cell in reconciliations.cells(tx, one.run)], _trend(tx, one, figures), _limits(flow, figures, cover),
        cover,
    )  # fmt: skip
    wanted = Wanted(one.flow, EVERY, span=(one.at, after))
    report.breaks = lambda: map(cover.over, breaks.each(tx, wanted))
    report.parts = lambda cell, limit: _named(
        tx, report, reconciliations.parts(tx, one.run, cell.total, cell.cell, limit)
    )
    _pick(report, rows)
    return report


def _named(tx: Tx, report: Report, parts: list[Part]) -> list[tuple[str, Part]]:
    """By the label of its break; a record without one by its key, or by its native ids where links join the sides."""
    cover = report.cover
    labels = breaks.labels(tx, report.flow, [part.key for part in parts])
    found = []
    for part in parts:
        key, label = cover.key_of(part.key), labels.get(part.key)
        if label is not None:
            name = MASK if cover.label else label
        elif isinstance(key, list):
            name = key_said(key)
        else:
            name = next((ids[0] for ids in part.natives.values() if ids), "—")
        found.append((name, cover.part(part)))
    return found


def _pick(report: Report, rows: int) -> None:
    """One walk over the breaks: counts, ages, causes, and the rows that a page shows."""
    sections = {name: Section() for name in (OPEN, ACCEPTED, IN_FLIGHT, CLOSED)}
    heaps: dict[str, list[tuple[Decimal, int, str, Break]]] = {name: [] for name in sections}
    classes: dict[str, Tally] = {}
    causes: dict[tuple[str, str], Tally] = {}
    report.ages = [Tally(name) for name, _ in AGES]
    for one in report.breaks():
        standing = report.standing(one)
        sections[standing].total += 1
        rank = (abs(Decimal(one.amount)) if one.amount is not None else Decimal(0), report.age(one), one.id, one)
        heap = heaps[standing]
        if len(heap) < rows:
            heapq.heappush(heap, rank)
        elif rank[:3] > heap[0][:3]:
            heapq.heapreplace(heap, rank)
        if standing == OPEN:
            classes.setdefault(one.name, Tally(one.name)).add(one)
            causes.setdefault((one.name, one.cause), Tally(one.cause)).add(one)
            report.ages[_bucket(report.age(one))].add(one)
    for name, section in sections.items():
        section.rows = [each[3] for each in sorted(heaps[name], key=lambda each: each[:3], reverse=True)]
    report.sections = sections
    report.classes = sorted(classes.values(), key=lambda tally: (-tally.count, tally.name))
    ordered = sorted(causes.items(), key=lambda each: (-each[1].count, each[0]))
    report.causes = [(name, tally) for (name, _), tally in ordered[:10]]


def _bucket(age: int) -> int:
    return next(place for place, (_, most) in enumerate(AGES) if most is None or age <= most)


def _flow(workspace: Workspace, name: str) -> ReconcileFlow | None:
    """The flow as it is now; None where it is gone or wrong."""
    try:
        model = workspace.document("flow", name).model
    except CrosswalkError:
        return None
    return model if isinstance(model, ReconcileFlow) else None


def _figures(tx: Tx, one: Reconciliation) -> Fields:
    """As the run told them; of one whose row is gone, what its result says."""
    row = runs.get(tx, one.run)
    kept = (row.counts or {}).get("breaks") if row is not None else None
    if kept:
        found: Fields = kept
        return found
    told = one.told
    explained = told["classes"].get("in_flight", 0)
    count = sum(told["classes"].values())
    stake: Sums = {}
    for name, sums in told["amounts"].items():
        for currency, value in sums.items() if name != "in_flight" else ():
            stake[currency] = EXACT.add(stake.get(currency, Decimal(0)), Decimal(value))
    return {"compared": told["compared"], "equal": told["equal"], "found": count, "in_flight": explained, "accepted": 0,
            "remaining": count - explained, "at_stake": stake, "closed": told["closed"], "left_out": told["left_out"],
            "classes": told["classes"]}  # fmt: skip


def _trend(tx: Tx, one: Reconciliation, figures: Fields) -> list[Point]:
    """The runs up to this one, the oldest first."""
    points = []
    for each in reconciliations.listed(tx, one.flow, TREND, one.at):
        own = figures if each.run == one.run else _figures(tx, each)
        points.append(Point(each.run, each.at, own["remaining"], dict(own["at_stake"])))
    return points[::-1]


def _limits(flow: ReconcileFlow | None, figures: Fields, cover: Cover) -> list[Limit]:
    expect = flow.expect if flow is not None else None
    if expect is None:
        return []
    found = []
    if expect.breaks_below is not None:
        count = figures["remaining"]
        found.append(Limit("open breaks", f"below {expect.breaks_below:,}", f"{count:,}", count < expect.breaks_below))
    if expect.amount_below is not None:
        limit, currency = expect.amount_below
        reached = Decimal(figures["at_stake"].get(currency, 0))
        shown = MASK if cover.amount else amount(reached, currency)
        found.append(Limit("amount at stake", f"below {amount(limit, currency)}", shown, reached < limit))
    return found


def history(tx: Tx, flow: str, limit: int = TREND) -> list[Point]:
    """The kept runs of a flow, the newest first."""
    return [
        Point(one.run, one.at, own["remaining"], dict(own["at_stake"]))
        for one in reconciliations.listed(tx, flow, limit)
        for own in [_figures(tx, one)]
    ]


def of_run(tx: Tx, flow: str, run: str | None) -> Reconciliation | None:
    """The result of a run of the flow, or its latest; None where there is none."""
    if run is not None:
        one = reconciliations.get(tx, run)
        return one if one is not None and one.flow == flow else None
    return next(iter(reconciliations.listed(tx, flow, 1)), None)


def moment(text: str) -> str:
    """An instant as reports write it: 2026-11-21 02:00 UTC."""
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC"
