"""Figures of indicators: rows tallied, exact sums and statistics, and how a figure is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from engine.compile.casts import EXACT
from engine.compile.operators import number
from engine.run.expectations import spoken_hours
from engine.sdk.record import JSON

DIGITS = Decimal("0.000001")
"""Of a share, and of hours: some milliseconds."""


@dataclass(slots=True)
class Tally:
    """Rows counted: how many, amounts by currency, and the values that the measure is made of."""

    count: int = 0
    amounts: dict[str, Decimal] = field(default_factory=dict)
    values: list[Decimal] = field(default_factory=list)
    currencies: set[str] = field(default_factory=set)

    def add(self, amount: JSON, value: JSON) -> None:
        """Count a row in. amount: money or null; value: money, a number or null."""
        self.count += 1
        if isinstance(amount, dict) and amount.get("amount") is not None:
            currency = str(amount.get("currency"))
            self.amounts[currency] = EXACT.add(self.amounts.get(currency, Decimal(0)), Decimal(amount["amount"]))
        if isinstance(value, dict) and value.get("amount") is not None:
            self.currencies.add(str(value.get("currency")))
            value = value["amount"]
        if number(value):
            self.values.append(Decimal(value))


def figure(measure: str, part: Tally, whole: Tally | None, *, valued: bool) -> Decimal | None:
    """The measure of a tally; of a share, `whole` is what the part is of. valued: made of values, not of rows."""
    if measure == "count":
        return Decimal(part.count)
    if measure == "sum":
        return total(part.values)
    if measure != "share":
        return statistic(measure, part.values)
    assert whole is not None
    above, below = (total(part.values), total(whole.values)) if valued else (Decimal(part.count), Decimal(whole.count))
    return rounded(above / below) if below else None


def total(values: list[Decimal]) -> Decimal:
    added = Decimal(0)
    for value in values:
        added = EXACT.add(added, value)
    return added


def rounded(value: Decimal) -> Decimal:
    return value.quantize(DIGITS) if abs(value) < Decimal(10) ** 20 else value


def statistic(measure: str, values: list[Decimal]) -> Decimal | None:
    """The oldest age or the newest; the median of times, the mean, or the value that 95% do not exceed (nearest rank)."""
    if not values:
        return None
    ordered = sorted(values)
    if measure == "age":
        return rounded(ordered[-1])
    if measure == "freshness":
        return rounded(ordered[0])
    if measure == "average":
        return rounded(total(ordered) / len(ordered))
    if measure == "p95":
        return rounded(ordered[-(-len(ordered) * 95 // 100) - 1])
    middle = len(ordered) // 2
    return rounded(ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2)


def shown(value: Decimal | None, unit: str) -> str:
    """A value as people read it."""
    if value is None:
        return "nothing to measure"
    if unit == "hours":
        seconds = value * 3600
        return f"{seconds:.2f}s" if 0 < seconds < 10 else spoken_hours(value)
    if unit == "share":
        return f"{value:.1%}"
    text = f"{value.normalize():,f}" if value != value.to_integral_value() else f"{value:,.0f}"
    return text if unit == "number" else f"{value:,.2f} {unit}"
