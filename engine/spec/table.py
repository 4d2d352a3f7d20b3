"""`mappings/tables/<name>.yaml`: static value maps, decision tables and dated rows."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from engine.sdk.config import Config
from engine.spec.about import About


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class FromStore(Config):
    """Rows that are canonical records."""

    entity: str


class Table(Config):
    """A table. Rows stand in the document, in a CSV file beside it, or are canonical records."""

    table: str
    """Name, equal to the path below `mappings/tables/`."""
    about: About | None = None
    extends: str | None = None
    remove: list[str] | None = None
    key: Annotated[list[str], BeforeValidator(_listed)]
    """Column or columns that identify a row."""
    columns: list[str] = []
    """Names of the columns; of the rows' keys where it is left out."""
    rows: list[dict[str, Any]] | None = None
    """The rows: lists in the order of `columns`, or mappings."""
    file: str | None = None
    """CSV file beside the document; its values are text."""
    from_: FromStore | None = Field(None, alias="from")
    """Canonical records as rows."""
    valid: tuple[str, str] | None = None
    """Columns with the first and the last day that a row holds."""
    hit: Literal["first", "unique"] = "unique"
    """Which row counts where several match."""

    @model_validator(mode="before")
    @classmethod
    def _rows(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not isinstance(value.get("rows"), list):
            return value
        columns = value.get("columns") or []
        rows = []
        for number, row in enumerate(value["rows"], 1):
            if isinstance(row, list):
                if len(row) != len(columns):
                    raise ValueError(
                        f"has {len(row)} values for {len(columns)} columns in row {number}: write one for each column"
                    )
                row = dict(zip(columns, row, strict=True))
            rows.append(row)
        if not columns and rows and isinstance(rows[0], dict):
            columns = list(rows[0])
        return {**value, "rows": rows, "columns": columns}

    @model_validator(mode="after")
    def _whole(self) -> Table:
        if sum(x is not None for x in (self.rows, self.file, self.from_)) != 1:
            raise ValueError("write its rows in one way: `rows`, `file` or `from`")
        missing = [name for name in [*self.key, *(self.valid or ())] if self.columns and name not in self.columns]
        if missing:
            raise ValueError(f"{missing[0]!r} is not one of its columns: {', '.join(self.columns)}")
        for number, row in enumerate(self.rows or (), 1):
            strange = [name for name in row if name not in self.columns]
            if strange:
                raise ValueError(f"row {number} has {strange[0]!r}, which is not one of its columns")
        self._unique()
        return self

    def _unique(self) -> None:
        """No two rows for one key; dated rows of one key must not overlap; gaps cannot be told from intent."""
        seen: dict[tuple[Any, ...], list[tuple[str, str, int]]] = {}
        for number, row in enumerate(self.rows or (), 1):
            key = tuple((row.get(name).__class__, row.get(name)) for name in self.key)
            start, end = "", "9999-12-31"
            if self.valid:
                start, end = str(row.get(self.valid[0]) or ""), str(row.get(self.valid[1]) or "9999-12-31")
            for first, last, other in seen.get(key, ()):
                if self.hit == "unique" and start <= last and first <= end:
                    shown = ", ".join(str(row.get(name)) for name in self.key)
                    raise ValueError(f"has two rows for {shown}, {other} and {number}: keep one of them")
            seen.setdefault(key, []).append((start, end, number))
