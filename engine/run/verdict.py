"""What a test expected against what came: field by field, with the place of the expectation and of the rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.compile.expression import plain_path
from engine.compile.mapping import Direction
from engine.sdk.errors import Position
from engine.sdk.record import JSON, Fields, encode_json, same
from engine.spec.load import Document

NOTHING = "nothing"
Path = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as expected. at: where the test says so; rule: the line that made what came."""

    field: str
    expected: str
    got: str
    at: Position | None = None
    rule: Position | None = None

    def __str__(self) -> str:
        place = f"{self.at} " if self.at else ""
        made = f" (from {self.rule})" if self.rule else ""
        return f"{place}{self.field}: expected {self.expected}, got {self.got}{made}"

    def as_json(self) -> Fields:
        """The difference for programs."""
        return {"field": self.field, "expected": self.expected, "got": self.got,
                "at": str(self.at) if self.at else None, "rule": str(self.rule) if self.rule else None}  # fmt: skip


@dataclass(slots=True)
class Coverage:
    """Which fields of mappings' directions the tests prove: (mapping, direction) → every field, proven ones."""

    known: dict[tuple[str, str], dict[str, None]] = field(default_factory=dict)
    proven: dict[tuple[str, str], set[str]] = field(default_factory=dict)

    def add(self, mapping: str, direction: str, fields: Iterable[str], proven: Iterable[str]) -> None:
        """Count a case in; only what the mapping writes counts, by the field's first name."""
        place = (mapping, direction)
        self.known.setdefault(place, {}).update(dict.fromkeys(map(_first, fields)))
        self.proven.setdefault(place, set()).update(map(_first, proven))

    def as_json(self) -> list[Fields]:
        """`{mapping, direction, fields, proven, missing}` of every mapping that a test ran."""
        rows = []
        for (mapping, direction), names in sorted(self.known.items()):
            missing = [name for name in names if name not in self.proven[mapping, direction]]
            rows.append({"mapping": mapping, "direction": direction, "fields": len(names),
                         "proven": len(names) - len(missing), "missing": missing})  # fmt: skip
        return rows


def _first(path: str) -> str:
    return re.split(r"[.\[]", path, maxsplit=1)[0]


def inward_rules(direction: Direction) -> dict[str, Position]:
    """Canonical path → the rule that gives it."""
    return {rule.path: rule.at for rule in direction.rules}


def outward_rules(document: Document) -> dict[str, Position]:
    """Path in the system's record → the rule that writes it."""
    found: dict[str, Position] = {}

    def walk(rules: Mapping[str, Any], place: Path) -> None:
        for name, rule in rules.items():
            if rule.fields and rule.each is None:
                walk(rule.fields, (*place, name, "fields"))
                continue
            given = rule.to or rule.each or rule.from_
            one_way = rule.template is not None or rule.when is not None or bool(rule.by)
            for path in given if isinstance(given, list) else [given]:
                if path is not None and not one_way and plain_path(path) is not None:
                    found[path] = document.at(*place, name)

    walk(document.model.fields, ("fields",))
    return found | {name: document.at("outbound", name) for name in document.model.outbound or {}}


@dataclass(frozen=True, slots=True)
class Places:
    """Where expectations stand in the test, and which rule of the mapping writes a field."""

    at: Callable[..., Position]
    rules: Mapping[str, Position] = field(default_factory=dict)

    def difference(self, path: Path, fields: Path, expected: str, got: str) -> Difference:
        """A difference at a place of the test; fields: the path inside the record."""
        name = ".".join(str(one) for one in fields)
        parts = [".".join(str(one) for one in fields[:length]) for length in range(len(fields), 0, -1)]
        rule = next((self.rules[one] for one in parts if one in self.rules), None)
        return Difference(name or "the record", expected, got, self.at(*path), rule)


def subset(wanted: JSON, found: JSON, places: Places, path: Path, fields: Path = ()) -> list[Difference]:
    """Differences of the fields that are expected; others are free. Lists are compared element by element."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        told = []
        for name, value in wanted.items():
            if name not in found and value is not None:
                told.append(places.difference((*path, name), (*fields, name), shown(value), NOTHING))
            else:
                told += subset(value, found.get(name), places, (*path, name), (*fields, name))
        return told
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        pairs = enumerate(zip(wanted, found, strict=True))
        return [one for n, (a, b) in pairs for one in subset(a, b, places, (*path, n), (*fields, n))]
    return [] if same(wanted, found) else [places.difference(path, fields, shown(wanted), shown(found))]


def exactly(wanted: JSON, found: JSON, places: Places, path: Path) -> list[Difference]:
    """Differences of whole records: a field that nobody expects is one, and null is not nothing."""
    if not (isinstance(wanted, dict) and isinstance(found, dict)):
        return [] if same(wanted, found) else [places.difference(path, (), shown(wanted), shown(found))]
    told = []
    for name in [*wanted, *(one for one in found if one not in wanted)]:
        if name not in wanted:
            told.append(places.difference(path, (name,), NOTHING, shown(found[name])))
        elif name not in found:
            told.append(places.difference((*path, name), (name,), shown(wanted[name]), NOTHING))
        elif not same(wanted[name], found[name]):
            told.append(places.difference((*path, name), (name,), shown(wanted[name]), shown(found[name])))
    return told


def pair_up(wanted: int, found: int, fits: Callable[[int, int], bool]) -> tuple[dict[int, int], list[int]]:
    """The most pairs (wanted → found) that fit, one of each; and what of `found` is left over.

    Bipartite matching by augmenting paths, so that a wide expectation never takes what a narrow one needs.
    """
    holder: dict[int, int] = {}

    def seat(one: int, tried: set[int]) -> bool:
        for other in range(found):
            if other not in tried and fits(one, other):
                tried.add(other)
                if other not in holder or seat(holder[other], tried):
                    holder[other] = one
                    return True
        return False

    for one in range(wanted):
        seat(one, set())
    return {one: other for other, one in holder.items()}, [other for other in range(found) if other not in holder]


Compare = Callable[[int, int], list[Difference] | None]
"""Differences of an expectation and what came, by their numbers; None where the two cannot be meant for each other."""


def each_of(
    wanted: Sequence[Any], found: Sequence[Any], compare: Compare, missing: Callable[[int], Difference],
    extra: Callable[[int], Difference],
) -> list[Difference]:  # fmt: skip
    """Expectations against what came, in any order: none missing, none left over.

    An expectation that nothing fits is shown against the nearest of what is left.
    """
    pairs, left = pair_up(len(wanted), len(found), lambda one, other: compare(one, other) == [])
    told = []
    for one in range(len(wanted)):
        if one in pairs:
            continue
        near = [(len(found_), other) for other in left if (found_ := compare(one, other)) is not None]
        if near:
            left.remove(min(near)[1])
            told += compare(one, min(near)[1]) or []
        else:
            told.append(missing(one))
    return told + [extra(other) for other in left]


def shown(value: JSON) -> str:
    """A value as JSON, cut where it is long."""
    text = encode_json(value).decode()
    return text if len(text) <= 200 else f"{text[:199]}…"
