"""Tables compiled to dictionaries: value maps both ways, decision rows with wildcards, dated rows.

An empty cell is no value: a row does not hold it and does not give it. `*` in a key column holds any value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from engine.compile.casts import shown
from engine.compile.functions.function import FunctionFault
from engine.sdk.errors import Position, Problem, SpecError, nearest
from engine.sdk.record import JSON, canonical_json

Row = Mapping[str, JSON]
Key = tuple[type, JSON]
ANY = "*"


def typed(value: JSON) -> Key:
    """A dictionary key: 1 and 1.0 alike, '1' and true apart from them."""
    kind = value.__class__
    if kind is int or kind is Decimal:
        return (Decimal, value)
    return (kind, canonical_json(value)) if kind is dict or kind is list else (kind, value)


def empty(value: JSON) -> bool:
    """Whether a cell holds no value."""
    return value is None or value == ""


class Index:
    """Rows by the values of some columns: one dictionary for each set of columns in which rows say `*`."""

    def __init__(self, rows: Sequence[Row], columns: Sequence[str], wild: Iterable[str]) -> None:
        self.columns, wild = tuple(columns), set(wild)
        self._by: dict[tuple[str, ...], dict[tuple[Key, ...], list[int]]] = {}
        for number, row in enumerate(rows):
            said = tuple(name for name in self.columns if not (name in wild and row.get(name) == ANY))
            key = tuple(typed(row.get(name)) for name in said)
            self._by.setdefault(said, {}).setdefault(key, []).append(number)

    def numbers(self, given: Mapping[str, JSON]) -> list[int]:
        """Numbers of the rows that hold these values, in the table's order."""
        found = [
            number
            for said, rows in self._by.items()
            for number in rows.get(tuple(typed(given[name]) for name in said), ())
        ]
        return found if len(self._by) == 1 else sorted(found)


@dataclass(frozen=True, slots=True)
class Bound:
    """A table bound to one rule: the column that the system holds, and what the canonical gets."""

    name: str
    rows: Sequence[Row]
    column: str
    gives: str
    valid: tuple[str, str] | None
    hit: str
    there: Index
    chosen: Index
    reverse: Mapping[Key, JSON]
    otherwise: JSON
    """What goes back for any other value; None where no row says `*`."""

    def give(self, value: JSON, at: JSON, missing: Any) -> tuple[Any, str]:
        """The canonical value for a system's value; `missing` and why where there is none."""
        found = [] if empty(value) else self.there.numbers({self.column: value})
        return self._one(found, at, {self.column: value}, missing)

    def back(self, value: JSON, missing: Any) -> tuple[Any, str]:
        """The system's value for a canonical one."""
        found = self.reverse.get(typed(value), self.otherwise)
        if not empty(found):
            return found, ""
        known = typed(value) in self.reverse
        why = f"no {self.column} for" if known else "no row with"
        return missing, f"{self.name} has {why} {self.gives} {shown(value)}"

    def pick(self, given: Mapping[str, JSON], at: JSON, missing: Any) -> tuple[Any, str]:
        """The row whose columns all hold the given values."""
        return self._one(self.chosen.numbers(given), at, given, missing)

    def _one(self, numbers: Sequence[int], at: JSON, given: Mapping[str, JSON], missing: Any) -> tuple[Any, str]:
        found = [self.rows[number] for number in numbers]
        when = ""
        if self.valid is not None and found:
            if not isinstance(at, str):
                return missing, f"{self.name} has dated rows, and the rule's `at` gives no date"
            start, end, when = *self.valid, f" on {at[:10]}"
            found = [row for row in found if _within(at[:10], row.get(start), row.get(end))]
        what = ", ".join(f"{name} {shown(value)}" for name, value in given.items()) + when
        if not found:
            return missing, f"{self.name} has no row for {what}{self._other_type(given)}"
        if len(found) > 1 and self.hit != "first":
            return missing, f"{self.name} has {len(found)} rows for {what}"
        value = found[0].get(self.gives)
        if empty(value):
            return missing, f"{self.name} has no {self.gives} for {what}"
        return value, ""

    def _other_type(self, given: Mapping[str, JSON]) -> str:
        """A hint where the same value stands in the table as text, or as a number."""
        for name, value in given.items():
            if isinstance(value, (str, int, Decimal)) and not isinstance(value, bool):
                cells = (row.get(name) for row in self.rows)
                if any(
                    typed(cell) != typed(value) and shown(cell).strip("'") == shown(value).strip("'") for cell in cells
                ):
                    return f" (it has that {'number' if isinstance(value, str) else 'text'})"
        return ""


def _within(day: str, start: JSON, end: JSON) -> bool:
    """Both days included; an empty one is open."""
    return (empty(start) or str(start) <= day) and (empty(end) or day <= str(end))


@dataclass(slots=True)
class TableIndex:
    """A table of a run. `rows` may come from the document, its CSV file, or the canonical store."""

    name: str
    columns: Sequence[str]
    key: Sequence[str]
    rows: Sequence[Row]
    valid: tuple[str, str] | None = None
    hit: str = "unique"
    _bound: dict[tuple[str, str, tuple[str, ...]], Bound] = field(default_factory=dict)

    def column_of(self, column: str | None, gives: str | None) -> tuple[str, str]:
        """The pair (column the system holds, column the canonical gets); both default to the key."""
        first = self.key[0] if self.key else self.columns[0]
        return column or first, gives or first

    def bind(self, column: str | None, gives: str | None, by: tuple[str, ...], at: Position) -> Bound:
        """The table as one rule uses it. Raises SpecError for a column that it does not have."""
        held, given = self.column_of(column, gives)
        for name in (held, given, *by):
            if name not in self.columns:
                raise SpecError(
                    Problem("E101", f"table {self.name!r} has no column {name!r}", at, nearest(name, self.columns))
                )
        place = (held, given, by)
        if place not in self._bound:
            self._bound[place] = self._bind(held, given, by)
        return self._bound[place]

    def _bind(self, held: str, given: str, by: tuple[str, ...]) -> Bound:
        wild = [name for name in self.key if any(row.get(name) == ANY for row in self.rows)]
        reverse: dict[Key, JSON] = {}
        otherwise: JSON = None
        for row in self.rows:
            if held in wild and row.get(held) == ANY:
                continue  # `*` is no value that a system could be sent
            if given in wild and row.get(given) == ANY:
                otherwise = row.get(held) if otherwise is None else otherwise
            else:
                reverse.setdefault(typed(row.get(given)), row.get(held))
        rows = [row for row in self.rows if not (given in wild and row.get(given) == ANY)]
        there, chosen = Index(rows, (held,), wild), Index(rows, by, wild)
        return Bound(self.name, rows, held, given, self.valid, self.hit, there, chosen, reverse, otherwise)

    def reversible(self, column: str | None, gives: str | None) -> bool:
        """True where the system's column tells rows apart, so that the rule runs backwards."""
        held, _ = self.column_of(column, gives)
        values = [typed(cell) for row in self.rows if not empty(cell := row.get(held))]
        wild = held in self.key and typed(ANY) in values
        return self.valid is None and not wild and len(set(values)) == len(values)

    def find(self, key: JSON, gives: str | None, at: JSON = None) -> JSON:
        """For `lookup(...)` in expressions: the value of the row with this key, else None.

        key: the value of the key column, or an object with one for each. Raises FunctionFault where the table
        cannot tell: several rows, or dated ones without a day.
        """
        _, given = self.column_of(None, gives)
        by = tuple(key) if isinstance(key, dict) else ()
        try:
            bound = self.bind(None, given, by, Position(self.name))
        except SpecError as error:
            raise FunctionFault(f"{error.problem.message}: {error.problem.hint}") from None
        numbers = bound.chosen.numbers(key) if by else bound.there.numbers({bound.column: key})
        if self.valid is not None and at is None and numbers:
            raise FunctionFault(f"{self.name} has dated rows: use a rule with `lookup: {self.name}` and `at`")
        found, why = bound.pick(key, at, None) if by else bound.give(key, at, None)
        if found is None and len(numbers) > 1 and self.hit != "first":
            raise FunctionFault(why)
        return found
