"""Tables compiled to dictionaries: value maps both ways, decision rows with wildcards, dated rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.compile.casts import shown
from engine.sdk.errors import Position, Problem, SpecError, nearest
from engine.sdk.record import JSON

Row = Mapping[str, JSON]
Key = tuple[type, JSON]


def typed(value: JSON) -> Key:
    return (value.__class__, value)


@dataclass(frozen=True, slots=True)
class Bound:
    """A table bound to one rule: the column that the system holds, and what the canonical gets."""

    name: str
    rows: Sequence[Row]
    column: str
    gives: str
    keys: tuple[str, ...]
    valid: tuple[str, str] | None
    hit: str
    there: Mapping[Key, list[Row]]
    reverse: Mapping[Key, JSON]

    def give(self, value: JSON, at: JSON, missing: Any) -> tuple[Any, str]:
        """The canonical value for a system's value; `missing` and why where there is none."""
        return self._one(self.there.get(typed(value), ()), at, shown(value), missing)

    def back(self, value: JSON, missing: Any) -> tuple[Any, str]:
        """The system's value for a canonical one."""
        found = self.reverse.get(typed(value), missing)
        return found, "" if found is not missing else f"{self.name} has no row with {self.gives} {shown(value)}"

    def pick(self, given: Mapping[str, JSON], at: JSON, missing: Any) -> tuple[Any, str]:
        """The row whose key columns all hold the given values; `*` holds any."""
        hits: Iterable[Row] = (
            row
            for row in self.rows
            if all(row.get(name) == "*" or typed(row.get(name)) == typed(value) for name, value in given.items())
        )
        what = ", ".join(f"{name} {shown(value)}" for name, value in given.items())
        return self._one(list(hits), at, what, missing)

    def _one(self, rows: Sequence[Row], at: JSON, what: str, missing: Any) -> tuple[Any, str]:
        if self.valid is not None and rows:
            if not isinstance(at, str):
                return missing, f"{self.name} has dated rows, and the rule's `at` gives no date"
            start, end = self.valid
            rows = [row for row in rows if _within(at, row.get(start), row.get(end))]
        if len(rows) == 1 or (rows and self.hit == "first"):
            return rows[0].get(self.gives), ""
        why = "no row" if not rows else f"{len(rows)} rows"
        when = f" on {at}" if self.valid is not None else ""
        return missing, f"{self.name} has {why} for {what}{when}"


def _within(day: str, start: JSON, end: JSON) -> bool:
    day = day[:10]
    return (not start or str(start) <= day) and (not end or day <= str(end))


class TableIndex:
    """A table of a run. `rows` may come from the document, its CSV file, or the canonical store."""

    def __init__(
        self,
        name: str,
        columns: Sequence[str],
        key: Sequence[str],
        rows: Sequence[Row],
        *,
        valid: tuple[str, str] | None = None,
        hit: str = "unique",
    ) -> None:
        self.name, self.columns, self.key = name, tuple(columns), tuple(key)
        self.rows, self.valid, self.hit = rows, valid, hit

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
        there: dict[Key, list[Row]] = {}
        reverse: dict[Key, JSON] = {}
        for row in self.rows:
            there.setdefault(typed(row.get(held)), []).append(row)
            reverse.setdefault(typed(row.get(given)), row.get(held))
        return Bound(self.name, self.rows, held, given, by, self.valid, self.hit, there, reverse)

    def reversible(self, column: str | None, gives: str | None) -> bool:
        """True where the system's column tells rows apart, so that the rule runs backwards."""
        held, _ = self.column_of(column, gives)
        values = [typed(row.get(held)) for row in self.rows]
        return self.valid is None and len(set(values)) == len(values)

    def find(self, key: JSON, gives: str | None, at: JSON = None) -> JSON:
        """For `lookup(...)` in expressions: the value of the row with this key, else None."""
        _, given = self.column_of(None, gives)
        bound = self.bind(None, given, (), Position(self.name))
        found, _ = bound.give(key, at, None)
        return found
