"""Control totals of a reconciliation: exact sums by side and dimension, and the records that make them differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from engine.compile.casts import EXACT
from engine.compile.functions import FunctionFault
from engine.compile.operators import number
from engine.compile.reconcile import ReconcilePlan, TotalPlan
from engine.sdk.record import JSON, Fields, canonical_json, decode_json
from engine.state.reconciliations import Cell, Part

Contribution = list[JSON]
"""[dimensions, value]: what one record adds to a total."""
PARTS = 1_000
"""Records that are kept for each line of a total."""
UNKNOWN = "(cannot be told)"


def contribution(plan: TotalPlan, record: Fields, env: Any) -> Contribution | None:
    """What a record adds; None where it has nothing to add."""
    try:
        value = plan.value.evaluate(record, env) if plan.value is not None else 1
    except FunctionFault:
        value = None
    by = []
    for one in plan.by:
        try:
            by.append(one.evaluate(record, env))
        except FunctionFault:
            by.append(UNKNOWN)
    if plan.money:
        if value.__class__ is not dict:
            return None
        by.append(value.get("currency"))
        value = value.get("amount")
    return [by, value] if number(value) else None


@dataclass(slots=True)
class _Line:
    """One line: side → sum, side → records, and the records that make it differ."""

    sums: dict[str, Decimal] = field(default_factory=dict)
    records: dict[str, int] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    count: int = 0


class Controls:
    """The control totals of one run. Memory: a line for each combination of dimensions."""

    def __init__(self, plan: ReconcilePlan) -> None:
        self.plan = plan
        self._lines: list[dict[bytes, _Line]] = [{} for _ in plan.totals]

    def add(self, side: str, parts: Sequence[Contribution | None]) -> None:
        """Count a record in."""
        for lines, one in zip(self._lines, parts, strict=True):
            if one is None:
                continue
            line = lines.setdefault(canonical_json(one[0]), _Line())
            line.sums[side] = EXACT.add(line.sums.get(side, Decimal(0)), Decimal(one[1]))
            line.records[side] = line.records.get(side, 0) + 1

    def forget(self, side: str) -> None:
        """The side is counted anew."""
        for lines in self._lines:
            for by, line in list(lines.items()):
                line.sums.pop(side, None)
                line.records.pop(side, None)
                if not line.sums:
                    del lines[by]

    def part(self, key: str, rows: Mapping[str, Sequence[Any]]) -> None:
        """A key on which the sides do not agree: note it at every line that it makes differ.

        rows: side → its rows that are counted, with `parts` and `natives`.
        """
        for number_of, lines in enumerate(self._lines):
            added: dict[bytes, dict[str, Decimal]] = {}
            for side, found in rows.items():
                for row in found:
                    one = row.parts[number_of]
                    if one is not None:
                        there = added.setdefault(canonical_json(one[0]), {})
                        there[side] = EXACT.add(there.get(side, Decimal(0)), Decimal(one[1]))
            for by, sums in added.items():
                if len({sums.get(side.name, Decimal(0)) for side in self.plan.sides}) < 2:
                    continue
                line = lines.setdefault(by, _Line())
                line.count += 1
                if len(line.parts) < PARTS:
                    natives = {
                        side: [one for row in found for one in row.natives] for side, found in rows.items() if found
                    }
                    line.parts.append(Part(number_of, 0, key, dict(sums), natives))

    def cells(self) -> Iterator[tuple[Cell, list[Part]]]:
        """Every line of every total, those that differ first, the largest difference first."""
        for place, (plan, lines) in enumerate(zip(self.plan.totals, self._lines, strict=True)):
            told = []
            for by, line in lines.items():
                sums = {side.name: line.sums.get(side.name, Decimal(0)) for side in self.plan.sides}
                spread = max(sums.values()) - min(sums.values())
                told.append((-spread, by, sums, line))
            for cell, (spread, by, sums, line) in enumerate(sorted(told, key=lambda one: (one[0], one[1]))):
                names = [one.text for one in plan.by] + (["currency"] if plan.money else [])
                records = {side.name: line.records.get(side.name, 0) for side in self.plan.sides}
                dims = dict(zip(names, decode_json(by), strict=True))
                yield (
                    Cell(place, cell, plan.name, dims, dict(sums), dict(records), spread != 0, line.count),
                    [one._replace(cell=cell) for one in line.parts],
                )
