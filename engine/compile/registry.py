"""What compiled documents share in one run: schemas, shapes, tables and functions, each compiled once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from engine.compile.functions import FunctionSet
from engine.compile.schema import CompiledSchema, compile_schema
from engine.compile.shape import Shape
from engine.compile.tables import Row, TableIndex
from engine.sdk.errors import Position, Problem, Problems, nearest
from engine.spec.load import Document
from engine.spec.table import Table
from engine.spec.workspace import Workspace

StoreRows = Callable[[str], Iterable[Row]]


class Registry:
    """Compiled parts of one workspace. `store_rows` gives the canonical records of an entity, for tables
    that read the store; without a store those tables are empty."""

    def __init__(self, workspace: Workspace, store_rows: StoreRows | None = None) -> None:
        self.workspace = workspace
        self.functions = FunctionSet.of_workspace(workspace.functions) if workspace.functions else FunctionSet()
        self._store_rows = store_rows
        self.asked: dict[tuple[str, str], Document] = {}
        """Every document that was asked for."""
        self._schemas: dict[str, CompiledSchema] = {}
        self._shapes: dict[str, Shape] = {}
        self._tables: dict[str, TableIndex] = {}

    def document(self, kind: str, name: str, at: Position | None) -> Document:
        """A document by name; SpecError with the nearest name at the place that asked for it."""
        found = self.asked[kind, name] = self.workspace.document(kind, name, at=at)
        return found

    def schema(self, entity: str, at: Position | None = None) -> CompiledSchema:
        if entity not in self._schemas:
            document = self.document("schema", entity, at)
            roles = frozenset(("shared", *self.workspace.roles()))
            self._schemas[entity] = compile_schema(
                document, lambda name, where: self.document("schema", name, where), roles
            )
        return self._schemas[entity]

    def shape(self, entity: str, at: Position | None = None) -> Shape:
        """The shape of an entity's records, for expressions that name its fields."""
        if entity not in self._shapes:
            schema = self.schema(entity, at)
            self._shapes[entity] = Shape.of_entity(schema.bundle, self._bundle)
        return self._shapes[entity]

    def _bundle(self, entity: str) -> dict[str, Any]:
        return self.schema(entity).bundle

    def used_tables(self) -> dict[str, TableIndex]:
        """Tables that compiled documents asked for."""
        return dict(self._tables)

    def table(self, name: str, at: Position | None = None) -> TableIndex:
        if name not in self._tables:
            self._tables[name] = self._index(self.document("table", name, at))
        return self._tables[name]

    def _index(self, document: Document) -> TableIndex:
        table: Table = document.model
        rows, columns = list[Row](table.rows or ()), table.columns
        if table.from_ is not None:
            fields = self.schema(table.from_.entity, document.at("from", "entity")).bundle["properties"]
            columns = columns or list(fields)
            problems = Problems()
            for name in dict.fromkeys([*table.key, *columns, *(table.valid or ())]):
                if name not in fields:
                    at = document.at("columns" if name in table.columns else "key")
                    problems.extend(
                        [Problem("E101", f"{table.from_.entity} has no field {name!r}", at, nearest(name, fields))]
                    )
            problems.raise_any()
            kept = dict.fromkeys(
                [*table.key, *columns, *(table.valid or ())]
            )  # nothing else of a record is the table's
            found = self._store_rows(table.from_.entity) if self._store_rows is not None else ()
            rows = [{name: row.get(name) for name in kept} for row in found]
        return TableIndex(document.name, columns, table.key, rows, valid=table.valid, hit=table.hit)
