"""What compiled documents share in one run: schemas, shapes, tables and functions, each compiled once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from engine.compile.functions import FunctionSet
from engine.compile.schema import CompiledSchema, compile_schema
from engine.compile.shape import Shape
from engine.compile.tables import Row, TableIndex
from engine.sdk.errors import Position
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
        self._schemas: dict[str, CompiledSchema] = {}
        self._shapes: dict[str, Shape] = {}
        self._tables: dict[str, TableIndex] = {}

    def document(self, kind: str, name: str, at: Position | None) -> Document:
        """A document by name; SpecError with the nearest name at the place that asked for it."""
        return self.workspace.document(kind, name, at=at)

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
            document = self.document("table", name, at)
            self._tables[name] = self._index(name, document.model)
        return self._tables[name]

    def _index(self, name: str, table: Table) -> TableIndex:
        rows: list[Row] = list(table.rows or ())
        if table.from_ and self._store_rows is not None:
            rows = list(self._store_rows(table.from_.entity))
        valid = (table.valid[0], table.valid[1]) if table.valid else None
        return TableIndex(name, table.columns, table.key, rows, valid=valid, hit=table.hit)
