"""Reads of a table or query: windows, keyset pages, rows by key and by field."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Engine, and_, bindparam, false, not_, or_, select
from sqlalchemy.types import NullType

from connectors.sql.tables import Source
from connectors.sql.values import Unfit
from engine.sdk.connector import Batch, Read, Slice
from engine.sdk.instants import Window, order_text
from engine.sdk.record import Fields, Record, canonical_json, digest_bytes

ROWS = 2000
"""Rows of one statement at least; batches may be smaller."""
HITS = 10
"""Records that one condition of `find` gives at most: two are enough to see that it is not unique."""
ISO_DAY = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*"
"""SQLite keeps instants as text in whatever notation; those that begin with a day can be told apart by it."""
_encode = msgspec.json.Encoder(enc_hook=str).encode


@dataclass(slots=True)
class Reader:
    """The reads of one object."""

    engine: Engine
    source: Source
    zone: ZoneInfo

    # ------------------------------------------------------------------ rows as records
    def _recorder(self) -> Callable[[Sequence[Any]], Record]:
        """A function from row to record; the fields are laid out when they are asked for."""
        source, zone = self.source, self.zone
        names = list(source.readers)
        places = [names.index(name) for name in source.key]
        modified = None if source.modified is None else names.index(source.modified)
        mark, values, only = source.mark, source.values, places[0] if len(places) == 1 else None

        def record(row: Sequence[Any]) -> Record:
            row = tuple(row)
            stamp = None if modified is None else order_text(row[modified], zone)
            first = row[only] if only is not None else None
            if first.__class__ is str and source.kinds[source.single] != "char":
                key = first
            else:
                key = source.key_text({name: row[place] for name, place in zip(source.key, places, strict=True)})
            return Record.lazy(key, row, values, stamp, mark + _encode(row))

        return record

    # ------------------------------------------------------------------ everything, or a window
    def read(self, request: Read) -> Iterator[Batch]:
        """Batches in order of (modified, key). Rows without `modified` come first, in every window."""
        if request.keys is not None:
            yield from self._by_key(request)
            return
        source, record = self.source, self._recorder()
        base = select(source.table).where(*[self._equal(name, value) for name, value in request.query.items()])
        if request.slice is not None:
            base = base.where(*self._part(request.slice))
        empty = [source.column(name).is_(None) for name in source.key if source.nullable(name)]
        if empty:
            yield from self._keyless(base.where(or_(*empty)))
            base = base.where(*[not_(one) for one in empty])
        if source.modified is None:
            yield from self._batches(base, list(source.key), request, record, ordered=False)
            return
        modified = source.column(source.modified)
        yield from self._batches(base.where(modified.is_(None)), list(source.key), request, record, ordered=False)
        bounds, ordered = self._bounds(request)
        window = base.where(modified.is_not(None), *bounds)
        order = [source.modified, *(name for name in source.key if name != source.modified)]
        yield from self._batches(window, order, request, record, ordered=ordered)

    def _keyless(self, base: Any) -> Iterator[Batch]:
        """Rows that nothing can identify are problems, not silence."""
        with self.engine.connect() as connection:
            rows = connection.execute(base.limit(ROWS)).fetchall()
        if not rows:
            return
        problem = f"has no {' and '.join(map(repr, self.source.key))}, which is its key"
        yield Batch([Record(f"{self.source.name}:keyless:{digest_bytes(_encode(tuple(row))).hex()[:12]}",
                            self.source.values(row)[0], raw=_encode(tuple(row)), problem=problem) for row in rows])  # fmt: skip

    def _batches(
        self, base: Any, order: list[str], request: Read, record: Callable[[Sequence[Any]], Record], *, ordered: bool
    ) -> Iterator[Batch]:
        window = Window(request.since, request.until, self.zone)
        batch: list[Record] = []
        for row in self._rows(base, order, max(request.page, ROWS)):
            one = record(row)
            if window.holds(one.modified):
                batch.append(one)
            if len(batch) >= request.page:
                yield Batch(batch, batch[-1].modified if ordered else None)
                batch = []
        if batch:
            yield Batch(batch, batch[-1].modified if ordered else None)

    def _rows(self, base: Any, order: list[str], size: int) -> Iterator[Any]:
        """Pages after the last row seen; where the order has equals (no unique key), one statement, streamed."""
        columns = [self.source.column(name) for name in order]
        if not self.source.unique:
            with self.engine.connect().execution_options(yield_per=size) as connection:
                yield from connection.execute(base.order_by(*columns))
            return
        places = [list(self.source.readers).index(name) for name in order]
        page = base
        while True:
            with self.engine.connect() as connection:
                rows = connection.execute(page.order_by(*columns).limit(size)).fetchall()
            yield from rows
            if len(rows) < size:
                return
            page = base.where(_after(columns, [rows[-1][place] for place in places]))

    def _bounds(self, request: Read) -> tuple[list[Any], bool]:
        """Conditions of the window, never too narrow (it is judged again row by row), and whether the order is true."""
        source, name = self.source, str(self.source.modified)
        kind, column, write = source.kinds[name], source.column(name), source.writers[name]
        told = kind != "datetime" or self._told(name)
        if kind not in ("integer", "decimal", "float", "date", "datetime"):
            return [], False
        bounds: list[Any] = []
        for edge, low in ((request.since, True), (request.until, False)):
            value = _edge(edge, kind, self.zone)
            if value is not None and not told:
                value = _shifted(value, -1 if low else 2)
            try:
                written = None if value is None else write(value)
            except (Unfit, ValueError):
                continue
            if written is None:
                continue
            loose = kind == "date" or not told
            test = column >= bound(written) if low else column <= bound(written) if loose else column < bound(written)
            bounds.append(test if told or write.dialect != "sqlite" else or_(test, not_(column.op("GLOB")(ISO_DAY))))
        return bounds, told

    def _part(self, part: Slice) -> list[Any]:
        """Conditions of a slice. Where a column may tell instants otherwise than we do, slices overlap by a day."""
        source, column, kind = self.source, self.source.column(part.field), self.source.kinds[part.field]
        if part.low is None and part.high is None:
            return [column.is_(None)]
        told = kind == "date" or self._told(part.field)
        tests = []
        for edge, low in ((part.low, True), (part.high, False)):
            if edge is None:
                continue
            day = edge if told else _shifted(edge, -1 if low else 1) or edge
            written = bound(source.writers[part.field](day if kind == "date" else f"{day}T00:00:00Z"))
            tests.append(column >= written if low else column < written)
        return tests

    def _told(self, name: str) -> bool:
        """True where the column orders instants: kept as such, and no hour comes twice."""
        writer = self.source.writers[name]
        if writer.dialect == "sqlite":
            return False
        return bool(getattr(writer.column, "timezone", False)) or str(self.zone) == "UTC"

    # ------------------------------------------------------------------ some
    def _by_key(self, request: Read) -> Iterator[Batch]:
        source, record = self.source, self._recorder()
        keys = list(dict.fromkeys(request.keys or ()))
        window = Window(request.since, request.until, self.zone)
        extra = [self._equal(name, value) for name, value in request.query.items()]
        for start in range(0, len(keys), 500):
            chunk = set(keys[start : start + 500])
            wanted = [values for key in chunk if (values := source.key_values(key)) is not None]
            if not wanted:
                continue
            with self.engine.connect() as connection:
                rows = connection.execute(select(source.table).where(among(source, wanted), *extra)).fetchall()
            found = [one for one in map(record, rows) if one.key in chunk and window.holds(one.modified)]
            yield Batch(found)

    def find(self, by: Sequence[Fields]) -> list[list[Record]]:
        """For each condition its records; compared exactly, whatever the database takes for equal."""
        found: list[list[Record]] = [[] for _ in by]
        groups: dict[tuple[str, ...], list[int]] = {}
        for number, wanted in enumerate(by):
            groups.setdefault(tuple(sorted(wanted)), []).append(number)
        record = self._recorder()
        for names, numbers in groups.items():
            for start in range(0, len(numbers), 100):
                self._find(names, by, numbers[start : start + 100], found, record)
        return found

    def _find(
        self, names: tuple[str, ...], by: Sequence[Fields], numbers: list[int], found: list[list[Record]],
        record: Callable[[Sequence[Any]], Record],
    ) -> None:  # fmt: skip
        source = self.source
        sought: dict[bytes, list[int]] = {}
        tests = []
        for number in numbers:
            try:
                written = {
                    name: source.writers[name](by[number][name]) for name in names if source.column(name) is not None
                }
            except (Unfit, ValueError):
                continue
            tests.append(and_(*[self._equal(name, by[number][name]) for name in names]))
            form = canonical_json([source.readers[name](written[name]) for name in names])
            sought.setdefault(form, []).append(number)
        if not tests:
            return
        with self.engine.connect() as connection:
            statement = select(source.table).where(or_(*tests))
            if len(tests) == 1:
                statement = statement.limit(HITS)
            for row in connection.execute(statement):
                one = record(row)
                for number in sought.get(canonical_json([one.value.get(name) for name in names]), ()):
                    if len(found[number]) < HITS:
                        found[number].append(one)

    def _equal(self, name: str, value: Any) -> Any:
        column = self.source.column(name)
        if value is None:
            return column.is_(None)
        try:
            return column == bound(self.source.writers[name](value))
        except (Unfit, ValueError):
            return false()


def bound(value: Any) -> Any:
    """A value as the driver sends it: without a cast, so that the database takes the column's type for it."""
    return bindparam(None, value, type_=NullType(), unique=True)


def among(source: Source, wanted: Sequence[tuple[Any, ...]]) -> Any:
    """Rows whose key is one of those."""
    columns = [source.column(name) for name in source.key]
    if len(columns) == 1:
        values = [one[0] for one in wanted]
        return columns[0].in_(bindparam(None, values, type_=NullType(), unique=True, expanding=True))
    return or_(*[and_(*[column == bound(value) for column, value in zip(columns, one, strict=True)]) for one in wanted])


def _after(order: Sequence[Any], last: Sequence[Any]) -> Any:
    """Rows that come after one in an order of several columns."""
    tests = []
    for number, column in enumerate(order):
        same = [before == bound(value) for before, value in zip(order[:number], last[:number], strict=True)]
        tests.append(and_(*same, column > bound(last[number])))
    return or_(*tests)


def _edge(edge: str | None, kind: str, zone: ZoneInfo) -> str | None:
    """A bound as the column would write it; days take the whole day in."""
    if edge is None:
        return None
    text = order_text(edge, zone) or edge
    if kind == "date" and "T" in text:
        return str(Window(edge, None, zone).day)
    if kind in ("integer", "decimal", "float"):
        return text.lstrip("0") or "0"
    return text


def _shifted(bound: str, days: int) -> str | None:
    """The day of a bound, some days off: offsets and clock changes move an instant by less."""
    try:
        return (date.fromisoformat(bound[:10]) + timedelta(days=days)).isoformat()
    except (ValueError, OverflowError):
        return None
