"""One side of a reconciliation: read in full, or its window only, mapped to canonical values, and written as sortable rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from engine.compile.comparison import MARK, Leaf, unreadable
from engine.compile.functions import FunctionFault
from engine.compile.functions.numbers import total
from engine.compile.operators import number, true
from engine.compile.reconcile import ReconcilePlan, SidePlan
from engine.compile.rules import problem_of
from engine.compile.schema import value_at
from engine.compile.sync import SyncPlan
from engine.run.control import Controls, contribution
from engine.run.identity import new_identity
from engine.run.items import Item
from engine.run.mapping import make_items, map_items
from engine.run.reading import Reading
from engine.run.rows import DELETED, IN, OPTIONAL, OUTSIDE, UNWANTED, Row
from engine.run.session import Options, Session
from engine.run.spill import Spill
from engine.sdk.connector import Slice
from engine.sdk.errors import Problem
from engine.sdk.record import JSON, Fields, Record, canonical_json, decode_json
from engine.state import canonical, links

MEMBERS = 20
"""Native ids that a group's row names."""


class Given(NamedTuple):
    """A record as its side gives it. faults: (canonical path, mark) of what cannot be read; '' stands for all of it."""

    row: Row
    record: Fields
    faults: list[tuple[str, JSON]]


@dataclass(slots=True)
class Extract:
    """What a side gave. read: records of the system. admitted: those that are compared. began: our clock, when its read
    began. ahead: seconds that the system's clock is ahead of ours."""

    side: SidePlan
    lines: Spill = field(default_factory=Spill)
    read: int = 0
    admitted: int = 0
    unwanted: int = 0
    deleted: int = 0
    faulty: int = 0
    """Records of which something cannot be read."""
    given: set[str] = field(default_factory=set)
    """Of a read of chosen records: those that were there."""
    began: datetime = datetime.min
    ahead: float = 0.0
    slices: tuple[Slice, ...] | None = None
    """What it was cut to; None: everything was read."""
    looked_up: int = 0
    """Records that were read beside."""
    searched: set[str] = field(default_factory=set)
    """Keys of which the system was asked for every record."""


def extract(
    session: Session, plan: ReconcilePlan, side: SidePlan, low: str | None, controls: Controls,
    only: Sequence[str] | None = None, slices: tuple[Slice, ...] | None = None,
) -> Extract:  # fmt: skip
    """Read one side. only: no other records than these (canonical ids, or `connection:native id`). slices: only these parts.

    Raises ConnectorError where it does not come to its end: nothing is concluded from a part of it.
    """
    extractor = _Extractor(session, plan, side, low, controls, only)
    extractor.found.slices = slices
    try:
        return extractor.run()
    except BaseException:
        extractor.found.lines.close()
        raise


class _Extractor:
    """Rows of one side, batch by batch."""

    def __init__(
        self, session: Session, plan: ReconcilePlan, side: SidePlan, low: str | None, controls: Controls,
        only: Sequence[str] | None,
    ) -> None:  # fmt: skip
        self.only = only
        self.session, self.plan, self.side, self.low, self.controls = session, plan, side, low, controls
        self.found = Extract(side)
        self.groups: dict[bytes, tuple[Row, Fields]] = {}
        self.formers = [one.leaf.former() for one in plan.fields]
        self.pickers = [(one.leaf.picker() if place in side.leaves else None) for place, one in enumerate(plan.fields)]
        self.apart = None if plan.whole else side.name
        self.slots = []
        if side.intake is not None:
            inbound = side.intake.source.mapping.inbound
            assert inbound is not None
            self.slots = session.link_slots(inbound.slots, side.connection, inward=True)

    def run(self) -> Extract:
        found, side = self.found, self.side
        found.began = datetime.now(UTC)
        if side.intake is not None and not side.intake.source.canonical:
            found.ahead = (self.session.connectors[side.connection].now() - found.began).total_seconds()
        for given in self._batches():
            for one in given:
                self._take(one)
            self.session.progress(self.session.counts)
            if self.session.cancelled.is_set():
                return found
        with self.session.reading():
            for row, record in self.groups.values():
                self._put(self._closed(row, record))
        self.groups.clear()
        return found

    def _take(self, given: Given) -> None:
        row, record, faults = given
        found = self.found
        found.faulty += bool(faults)
        if row.standing == IN:
            row.standing = self._standing(record, row)
        if row.standing in (UNWANTED, DELETED):
            found.unwanted += row.standing == UNWANTED
            found.deleted += row.standing == DELETED
        else:
            found.admitted += 1
        if self.side.group:
            if row.standing == IN:
                self._into_group(row, record, faults)
            return
        self._put(self._filled(row, record, faults))

    def _put(self, row: Row) -> None:
        if row.standing == IN:
            self.controls.add(self.side.name, row.parts)
        self.found.lines.add(row.line(self.formers, self.apart))

    # ------------------------------------------------------------------ reading
    def _batches(self) -> Iterator[Iterable[Given]]:
        if self.only is not None and not self.only:
            return
        if self.side.intake is None:
            yield from self._stored()
            return
        session, intake = self.session, self.side.intake
        options = session.options
        session.options = replace(Options(full=True), trigger=options.trigger, records=tuple(self.only or ()))
        try:
            for records in self._records(intake):
                with session.reading():
                    self.found.read += len(records)
                    if self.only is not None:
                        self.found.given.update(record.key for record in records)
                    yield list(self._mapped(records))
        finally:
            session.options = options

    def _records(self, intake: SyncPlan) -> Iterator[list[Record]]:
        """Slice by slice, where it is cut. What cannot be told may be in both of them, and is given once."""
        if self.found.slices is None:
            for records, _ in Reading(self.session, intake):
                yield records
            return
        first, *others = self.found.slices
        given: set[str] = set()
        for records, _ in Reading(self.session, intake, (first,)):
            given.update(record.key for record in records)
            yield records
        for records, _ in Reading(self.session, intake, others):
            yield [record for record in records if record.key not in given]

    def _stored(self) -> Iterator[Iterable[Given]]:
        """Canonical records as they are kept; one view of the store from the first to the last."""
        with self.session.reading() as tx:
            entity = self.plan.schema.entity
            chosen = (
                canonical.get(tx, entity, self.only).values() if self.only is not None else canonical.scan(tx, entity)
            )
            for stored in chosen:
                self.found.read += 1
                if self.only is not None:
                    self.found.given.add(stored.id)
                self.session.counts.records["read"] += 1
                record = decode_json(stored.data)
                standing = DELETED if stored.deleted else IN
                key = self._key(record, stored.id, []) if self.plan.key else stored.id
                row = Row(key, [stored.id], stored.id, standing=standing, label=self._label(record))
                yield [Given(row, record, [])]

    def _mapped(self, records: Sequence[Record]) -> Iterator[Given]:
        intake = self.side.intake
        assert intake is not None
        items = make_items(self.session, intake, list(records))
        map_items(self.session, intake, items, self.slots)
        items = [item for item in items if item.ended != "skipped"]  # the mapping's own `where`: it is not for them
        known = self._identities(items)
        for item, (id, part, matched) in zip(items, known, strict=True):
            faults = self._faults(item)
            record: Fields = item.mapped
            key: JSON = self._key(record, item.key, faults) if self.plan.key else matched
            row = Row(key, [item.key], id, part, item.record.modified, DELETED if item.deleted else IN)
            row.label = self._label(record) or item.key
            yield Given(row, record, faults)

    def _faults(self, item: Item) -> list[tuple[str, JSON]]:
        """(canonical path, mark) of what cannot be read; an empty path stands for all of the record."""
        assert self.side.intake is not None
        direction = self.side.intake.source.mapping.inbound
        assert direction is not None
        if item.trouble is not None:
            problem: Problem = item.trouble.problem
            return [("", unreadable(problem.code, problem.message))]
        found: list[tuple[str, JSON]] = []
        for fault in item.faults:
            if fault[1] == "later":  # to a sync it is no fault yet; here nobody can say whom the side means
                fault = (fault[0], "reference", *fault[2:])
            problem, _ = problem_of(fault, direction.rules)
            found.append((direction.rules[fault[0]].path, unreadable(problem.code, problem.message)))
        return found

    # ------------------------------------------------------------------ identity
    def _identities(self, items: list[Item]) -> list[tuple[str | None, str, JSON]]:
        """(canonical id, part, what it is joined by) of each: its link, else the one record that it matches, else what it
        would be matched by, so that two sides that nobody linked yet meet."""
        schema, connection, object = self.plan.schema, self.side.connection, self.side.object
        entity = schema.entity
        assert self.side.intake is not None
        if self.side.intake.source.canonical:
            mapping = self.side.intake.source.mapping
            ids = [new_identity(entity, mapping.name, mapping.model.of or "", item.key) for item in items]
            return [(id, "", id) for id in ids]
        tx = self.session.tx
        known = links.by_native(tx, connection, entity, [item.key for item in items], object)
        keys = {id(item): schema.match_keys(item.mapped) for item in items if item.key not in known}
        hits = (
            canonical.match(tx, entity, [key for found in keys.values() for key in found]) if any(keys.values()) else {}
        )
        told: list[tuple[str | None, str, JSON]] = []
        for item in items:
            found = known.get(item.key)
            if found:
                told.append((found[0].canonical_id, found[0].part, found[0].canonical_id))
                continue
            match = next(((key, hits.get(key, [])) for key in keys[id(item)] if hits.get(key)), None)
            if match is not None and len(match[1]) == 1:
                told.append((match[1][0], "", match[1][0]))
            elif keys[id(item)]:
                rule, value = keys[id(item)][0]
                told.append((None, "", f"~{rule}:{value.hex()}"))
            else:
                told.append((None, "", new_identity(entity, connection, object, item.key)))
        return told

    def _key(self, record: Fields, native: str, faults: list[tuple[str, JSON]]) -> JSON:
        """The key's values as they are compared; where one is missing, the record is joined with nothing."""
        forms = [self._form(leaf, record, faults) for leaf in self.plan.key]
        if any(form is None or (form.__class__ is dict and MARK in form) for form in forms):
            return ["?", self.side.name, native]
        return forms

    def _form(self, leaf: Leaf, record: Fields, faults: list[tuple[str, JSON]]) -> JSON:
        fault = _fault_at(leaf.path, faults)
        return leaf.form(leaf.pick(record) if fault is None else fault)

    def _label(self, record: Fields) -> str | None:
        name = self.plan.schema.label
        value = value_at(record, name) if name else None
        return str(value) if value is not None else None

    # ------------------------------------------------------------------ content
    def _standing(self, record: Fields, row: Row) -> str:
        """Whether the record is compared. What cannot be decided is: nothing is left out in silence."""
        env = self.session.env
        try:
            if self.side.where is not None and not true(self.side.where.evaluate(record, env)):
                return UNWANTED
            if self.plan.window is not None and self.low is not None:
                value = self.plan.window.evaluate(record, env)
                if isinstance(value, str) and value < self.low[: len(value)]:
                    return OUTSIDE
            if self.side.expected is not None and not true(self.side.expected.evaluate(record, env)):
                return OPTIONAL
        except FunctionFault as fault:
            row.why = f"whether it is compared cannot be told: {fault}"
        return IN

    def _filled(self, row: Row, record: Fields, faults: list[tuple[str, JSON]]) -> Row:
        row.values = [None if pick is None else pick(record) for pick in self.pickers]
        if faults:
            for place in self.side.leaves:
                fault = _fault_at(self.plan.fields[place].leaf.path, faults)
                row.values[place] = row.values[place] if fault is None else fault
        whole = _fault_at("", faults) if faults else None
        if whole is not None:
            row.why = f"it cannot be read: {whole['message']} ({whole['code']})"
        elif row.key.__class__ is list and row.key[:1] == ["?"]:
            row.why = f"it has no {', '.join(leaf.path for leaf in self.plan.key)}, so nothing can be joined with it"
        env = self.session.env
        row.parts = [contribution(one, record, env) for one in self.plan.totals]
        row.amount = self._amount(record)
        return row

    def _amount(self, record: Fields) -> JSON:
        if self.plan.amount is None:
            return None
        try:
            value = self.plan.amount.evaluate(record, self.session.env)
        except FunctionFault:
            return None
        fits = value.__class__ is dict and number(value.get("amount"))
        return [value["amount"], value.get("currency")] if fits else None

    # ------------------------------------------------------------------ groups
    def _into_group(self, row: Row, record: Fields, faults: list[tuple[str, JSON]]) -> None:
        env = self.session.env
        values: dict[str, Any] = {}
        for name, expression in self.side.group.items():
            try:
                values[name] = expression.evaluate(record, env)
            except FunctionFault as fault:
                values[name] = unreadable("E406", str(fault))
        key = canonical_json(list(values.values()))
        standing = self.groups.get(key)
        if standing is None:
            kept = Row([leaf.form(value) for leaf, value in zip(self.plan.key, values.values(), strict=True)], [])
            standing = self.groups[key] = (kept, {**values, "members": 0})
        group, sums = standing
        sums["members"] += 1
        if len(group.natives) < MEMBERS:
            group.natives.append(row.natives[0])
        if row.modified is not None and (group.modified is None or row.modified > group.modified):
            group.modified = row.modified
        for path in self.side.sums:
            sums[path] = self._added(path, sums.get(path), record, faults)

    def _added(self, path: str, sofar: JSON, record: Fields, faults: list[tuple[str, JSON]]) -> JSON:
        """The sum with one more record; one that cannot be read, or of another currency, leaves none."""
        value = value_at(record, path)
        fault = _fault_at(path, faults)
        if fault is not None or (sofar.__class__ is dict and MARK in sofar):
            return fault if fault is not None else sofar
        if value is None or sofar is None:
            return sofar if value is None else value
        try:
            return total([sofar, value], path)
        except FunctionFault as why:
            return unreadable("E406", str(why))

    def _closed(self, row: Row, sums: Fields) -> Row:
        """A group's row; its record has the sums where a record has the fields."""
        record: Fields = {}
        for path, value in sums.items():
            inner, (*above, last) = record, path.split(".")
            for name in above:
                inner = inner.setdefault(name, {})
            inner[last] = value
        row.label = ", ".join("—" if one is None else str(one) for one in row.key)
        row.why = f"{sums['members']} records" if sums["members"] > 1 else None
        return self._filled(row, record, [])


def _fault_at(path: str, faults: list[tuple[str, JSON]]) -> Any:
    """The mark of a path that cannot be read, in it or around it."""
    for where, mark in faults:
        if where == "" or where == path or path.startswith(f"{where}.") or (path and where.startswith(f"{path}.")):
            return mark
    return None
