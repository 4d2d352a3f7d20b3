"""What a batch of operations makes of a file's records, decided before a byte is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from connectors.files.settings import Shape, key_problem
from engine.sdk.clock import boot
from engine.sdk.connector import Operation, Outcome, OutcomeState
from engine.sdk.errors import Problem
from engine.sdk.record import JSON, Fields, Record, encode_json, same, text_key

Fault = Callable[[Fields], str | None]
"""Why a format cannot hold a record so that reading gives it back, if it cannot."""


@dataclass(slots=True)
class Changes:
    """final: what becomes of records that the file holds (None: removed). new: records to add, in order."""

    final: dict[str, Fields | None] = field(default_factory=dict)
    new: list[Fields] = field(default_factory=list)

    @property
    def any(self) -> bool:
        return bool(self.final or self.new)


def touched(operations: Iterable[Operation], shape: Shape) -> set[str]:
    """Native ids that the operations speak of."""
    found = {one.key for one in operations if one.key is not None}
    for one in operations:
        if not key_problem([one.record.get(name) for name in shape.key], shape.key):
            found.add(text_key(one.record, shape.key))
    return found


class Standing:
    """The records that a batch touches, as they stand while its operations are applied one after the other."""

    def __init__(self, shape: Shape, found: Mapping[str, list[Record]], fault: Fault) -> None:
        self.shape, self.found, self.fault = shape, found, fault
        self.final: dict[str, Fields | None] = {}
        self.new: dict[JSON, Fields] = {}

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        """One outcome an operation, in order."""
        return [self._apply(one) for one in operations]

    def changes(self) -> Changes:
        """What is to be written."""
        return Changes(self.final, list(self.new.values()))

    def _now(self, key: str) -> Fields | None:
        """The record as it stands; None where there is none (any more)."""
        if key in self.new:
            return self.new[key]
        if key in self.final:
            return self.final[key]
        return self.found[key][0].value if key in self.found else None

    def _unclear(self, one: Operation, key: str) -> Outcome | None:
        """A record that cannot be told from another, or read, is not written over."""
        known = self.found.get(key, [])
        if len(known) > 1:
            return _refused(
                one, "C588", f"the file holds {len(known)} records with the key {key!r}", "leave one of them"
            )
        problem = known[0].problem if known else None
        if problem is not None and key not in self.final:
            return _refused(one, "C583", f"the file's record {key!r} cannot be read: {problem}", "correct the file")
        return None

    def _apply(self, one: Operation) -> Outcome:
        if one.send_by is not None and boot() > one.send_by:
            return Outcome(one.id, "retry", one.key)
        if one.kind in ("update", "delete"):
            return self._unclear(one, one.key or "") or self._change(one, one.key or "")
        record = one.record
        if self.shape.settings.marker and one.mark is not None:
            record = {**record, self.shape.settings.marker: one.mark}
        wrong = key_problem([record.get(name) for name in self.shape.key], self.shape.key)
        if wrong:
            return _refused(one, "C586", f"the record {wrong}", "give every record its key")
        key = text_key(record, self.shape.key)
        if one.kind == "append":
            return self._append(one, key, record)
        unclear = self._unclear(one, key)
        if unclear is not None:
            return unclear
        standing = self._now(key)
        if standing is not None and one.kind == "create":
            return Outcome(one.id, "matched", key)
        return self._put(one, key, {**(standing or {}), **record}, "created" if standing is None else "updated")

    def _change(self, one: Operation, key: str) -> Outcome:
        standing = self._now(key)
        if standing is None:
            return Outcome(one.id, "missing", key)
        if one.kind == "delete":
            if key in self.found:
                self.final[key] = None
            self.new.pop(key, None)
            return Outcome(one.id, "deleted", key)
        value = {**standing, **(one.changes if one.changes is not None else one.record)}
        names = self.shape.key
        if key_problem([value.get(name) for name in names], names) or text_key(value, names) != key:
            return _refused(one, "C586", "an update cannot change the key", "delete the record and create another")
        return self._put(one, key, value, "updated")

    def _append(self, one: Operation, key: str, record: Fields) -> Outcome:
        """Adds a record even where the key stands already; one that stands exactly so was added before."""
        known = [row.value for row in self.found.get(key, [])]
        known += [row for name, row in self.new.items() if name == key or (name.__class__ is tuple and name[0] == key)]
        if any(same(as_read(self.shape, row), as_read(self.shape, record)) for row in known):
            return Outcome(one.id, "matched", key)
        return self._put(one, key, record, "created", (key, len(self.new)))

    def _put(self, one: Operation, key: str, value: Fields, state: OutcomeState, slot: JSON = None) -> Outcome:
        problem = self.fault(value)
        if problem is not None:
            return _refused(one, "C589", problem, "correct the value, or use another format")
        if slot is None and key in self.found:
            self.final[key] = value
        else:
            self.new[slot or key] = value
        return Outcome(one.id, state, key)


def as_read(shape: Shape, row: Fields) -> Fields:
    """A record as reading a file of cells gives it back: what is empty left out, the rest as text."""
    if shape.kind in ("json", "ndjson"):
        return row
    return {name: cell_text(value) for name, value in row.items() if value is not None and value != ""}


def cell_text(value: JSON) -> str:
    """A value as the text of a cell: numbers plainly, lists and objects as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    return str(value) if isinstance(value, int) else encode_json(value).decode()


def _refused(one: Operation, code: str, message: str, hint: str) -> Outcome:
    return Outcome(one.id, "refused", one.key, problem=Problem(code, message, None, hint))
