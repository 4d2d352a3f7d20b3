"""What expressions may ask beside their record: the clock, other records, tables and rates."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from engine.compile.functions import FunctionFault
from engine.compile.tables import TableIndex
from engine.sdk.record import JSON, Fields


class Env(Protocol):
    """The surroundings of a record. `root` is set by generated code to the whole record."""

    now: datetime
    root: JSON

    def follow(self, entities: tuple[str, ...], key: JSON) -> Fields | None:
        """The canonical record with that id; None where there is none."""

    def lookup(self, table: str, key: JSON, give: str | None, at: str | None = None) -> JSON:
        """A column of a table's row, of dated ones that of the day `at`; None where there is none."""

    def convert(self, money: Fields, currency: str, day: str | None) -> Fields:
        """Money in another currency. Raises FunctionFault where no rate is known."""


class StaticEnv:
    """Surroundings held in memory: for previews, workspace tests and our own."""

    def __init__(
        self,
        records: Mapping[str, Mapping[str, Fields]] | None = None,
        tables: Mapping[str, TableIndex] | None = None,
        now: datetime | None = None,
    ) -> None:
        self.records, self.tables = records or {}, tables or {}
        self.now = now or datetime.now(UTC)
        self.root: JSON = None

    def follow(self, entities: tuple[str, ...], key: Any) -> Fields | None:
        for entity in entities if entities != ("any",) else tuple(self.records):
            found = self.records.get(entity, {}).get(key) if key is not None else None
            if found is not None:
                return found
        return None

    def lookup(self, table: str, key: JSON, give: str | None, at: str | None = None) -> JSON:
        index = self.tables.get(table)
        if index is None:
            raise FunctionFault(f"lookup() names {table!r}, which is not a table here")
        return index.find(key, give, at)

    def convert(self, money: Fields, currency: str, day: str | None) -> Fields:
        raise FunctionFault(f"no rate from {money['currency']} to {currency} is known here")
