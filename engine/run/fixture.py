"""What a test's cases stand on: links, canonical records and tables, references written as the links are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from engine.compile.environment import StaticEnv
from engine.compile.registry import Registry
from engine.compile.rules import BETWEEN, LinkSlot, RefSlot
from engine.sdk.errors import Problem, Problems, SpecError, nearest
from engine.sdk.record import JSON, Fields
from engine.spec.faults import problems_of
from engine.spec.load import Document
from engine.spec.table import Table
from engine.spec.testcase import Case, TestFile
from engine.spec.workspace import Workspace

OWN = "id"
"""Key of a link row that names the canonical id itself."""


class Known(NamedTuple):
    """A record of the fixture: its canonical id, and its native id in each connection."""

    entity: str
    id: str
    natives: Mapping[str, str]


class Fixture:
    """Links, records and tables of a case, those of its test below them.

    A row of `links` is one record. Its canonical id is its `id`, else the first native id that it names; wherever a
    record of the test refers to it, any of its ids may stand.
    """

    def __init__(self, workspace: Workspace, document: Document, case: Case, place: tuple[Any, ...]) -> None:
        self.workspace, self.document = workspace, document
        test: TestFile = document.model
        parts = [(test, ())] if case is test else [(test, ()), (case, place)]
        self.known: list[Known] = []
        self.records: dict[str, list[Fields]] = {}
        for part, at in parts:
            for name, rows in part.tables.items():
                workspace.put(self._table(name, rows, (*at, "tables", name)))
        self.registry = Registry(workspace, lambda entity: self.records.get(entity, ()))
        for part, at in parts:
            self._links(part, at)
        for part, at in parts:
            self._records(part, at)

    def _links(self, part: Any, at: tuple[Any, ...]) -> None:
        for entity, rows in part.links.items():
            self.registry.schema(entity, self.document.key_at(*at, "links", entity))
            for number, row in enumerate(rows):
                for name in row:
                    if name != OWN and name not in self._systems():
                        where = self.document.key_at(*at, "links", entity, number, name)
                        hint = nearest(name, self.workspace.settings.connections)
                        raise SpecError(Problem("E101", f"there is no connection called {name!r}", where, hint))
                if row:
                    natives = {name: native for name, native in row.items() if name != OWN}
                    self.known.append(Known(entity, row.get(OWN) or next(iter(row.values())), natives))

    def _records(self, part: Any, at: tuple[Any, ...]) -> None:
        problems = Problems()
        for entity, rows in part.records.items():
            here = (*at, "records", entity)
            fields = self.registry.schema(entity, self.document.key_at(*here)).bundle["properties"]
            for number, row in enumerate(rows):
                if row.get(OWN) is None:
                    problems.add("E141", "a known record has no `id`", self.document.at(*here, number), "add `id:`")
                for name in row:
                    if name not in fields:
                        problems.add("E140", f"{entity} has no field {name!r}", self.document.key_at(*here, number, name),
                                     nearest(name, fields))  # fmt: skip
                self.records.setdefault(entity, []).append(self.renamed(entity, row))
        problems.raise_any()

    def _systems(self) -> set[str]:
        """Names that a link row may use: connections, and the systems that mappings are for."""
        return {*self.workspace.settings.connections, *(name.split("/")[0] for name in self.workspace.names("mapping"))}

    def _table(self, name: str, rows: list[Fields], place: tuple[Any, ...]) -> Document:
        """The table with the case's rows, checked as one from a file is."""
        data: Fields = {"table": name, "key": list(rows[0])[:1] if rows else ["key"]}
        if name in self.workspace.names("table"):
            standing = self.workspace.document("table", name)
            data = {
                key: value for key, value in standing.data.items() if key not in ("file", "from", "extends", "remove")
            }
        data["rows"] = rows
        from pydantic import ValidationError

        try:
            model = Table.model_validate(data)
        except ValidationError as error:
            raise SpecError(problems_of(error, Table, self.document.positions, place)) from None
        return Document("table", name, self.document.file, "workspace", data, model, self.document.positions)

    # ------------------------------------------------------------------ references
    def canonical_id(self, entities: tuple[str, ...], value: str) -> str:
        """The canonical id that a reference of the test means; itself where no link says otherwise."""
        rows = [one for one in self.known if one.entity in entities or entities == ("any",)]
        if any(one.id == value for one in rows):
            return value
        found = list(dict.fromkeys(one.id for one in rows if value in one.natives.values()))
        if len(found) > 1:
            at = self.document.at("links")
            hint = "give the rows an `id:` and write that"
            raise SpecError(Problem("E410", f"{value!r} stands in several rows of `links`", at, hint))
        return found[0] if found else value

    def renamed(self, entity: str, record: Fields) -> Fields:
        """A canonical record as written in a test, with canonical ids wherever it refers to others, and as its own."""
        refs = {**self.registry.schema(entity).refs, OWN: (entity,)}
        renamed: Fields = self._renamed(record, "", refs)
        return renamed

    def _renamed(self, value: JSON, path: str, refs: Mapping[str, tuple[str, ...]]) -> JSON:
        if path in refs and isinstance(value, (str, int)) and not isinstance(value, bool):
            return self.canonical_id(refs[path], str(value))
        if isinstance(value, dict):
            return {name: self._renamed(one, f"{path}.{name}".strip("."), refs) for name, one in value.items()}
        if isinstance(value, list):
            return [self._renamed(one, f"{path}[]", refs) for one in value]
        return value

    def native_links(self) -> Iterator[tuple[str, str, str, str]]:
        """(entity, connection, native id, canonical id) of every link; each must name a connection."""
        for one in self.known:
            for name, native in one.natives.items():
                self.workspace.connection(name, self.document.at("links"))
                yield one.entity, name, native, one.id

    def slots(self, slots: list[RefSlot], system: str, *, inward: bool) -> list[LinkSlot]:
        """The links that a mapping of a system asks for, without a state."""
        names = {system} | {
            name for name in self.workspace.settings.connections if self.workspace.connection(name).connector == system
        }
        ask = self._inward if inward else self._outward
        return [LinkSlot(lambda key, slot=slot: ask(slot, key, names)) for slot in slots]  # type: ignore[misc]

    def _inward(self, slot: RefSlot, key: str, names: set[str]) -> str | None:
        for one in self._of(slot):
            if any(one.natives.get(name) == key for name in names):
                return one.id
        return None

    def _outward(self, slot: RefSlot, key: str, names: set[str]) -> str | None:
        key = key.partition(BETWEEN)[0]
        for one in self._of(slot):
            if one.id == key:
                return next((one.natives[name] for name in one.natives if name in names), None)
        return None

    def _of(self, slot: RefSlot) -> Iterator[Known]:
        return (one for one in self.known if one.entity in slot.entities or slot.entities == ("any",))

    def env(self, now: datetime) -> FixtureEnv:
        """What expressions may ask in a mapping's test."""
        return FixtureEnv(self, now)


class FixtureEnv(StaticEnv):
    """Records of the fixture, and every table that the mapping's workspace has."""

    def __init__(self, fixture: Fixture, now: datetime) -> None:
        records = {entity: {str(row[OWN]): row for row in rows} for entity, rows in fixture.records.items()}
        super().__init__(records, now=now)
        self.fixture = fixture

    def lookup(self, table: str, key: JSON, give: str | None, at: str | None = None) -> JSON:
        return self.fixture.registry.table(table).find(key, give, at)
