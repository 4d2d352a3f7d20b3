"""Settings of a `files` connection, and what they make of one object."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator

from engine.sdk.config import Config, ConnectionConfig, Size
from engine.sdk.errors import ConnectorError, Problem
from engine.sdk.record import JSON

Format = Literal["csv", "json", "ndjson", "xlsx"]
ENDINGS: dict[str, Format] = {".csv": "csv", ".json": "json", ".ndjson": "ndjson", ".jsonl": "ndjson", ".xlsx": "xlsx"}


class FileObject(Config):
    """One object: a file, or several by a pattern."""

    path: str | None = None
    """File or pattern below the connection's folder; the object's name with the format's ending otherwise."""
    format: Format | None = None
    """Format, where the ending does not say it."""
    key: str | list[str] = "id"
    """Field or fields that identify a record."""
    modified: str | None = None
    """Field that grows with every change: instant, day or counter."""
    marker: str | None = None
    """Field that keeps Crosswalk's mark."""
    encoding: str = "utf-8-sig"
    """CSV: encoding. The default reads UTF-8 with and without byte order mark, and writes what it found."""
    delimiter: str = Field(",", min_length=1, max_length=1)
    """CSV: character between two cells."""
    empty: Literal["blank", "null", "missing"] | None = None
    """What an empty cell means; `blank` in CSV and `null` in XLSX otherwise."""
    records: str | None = None
    """JSON: dotted path to the list of records."""
    repeated: Literal["last", "refuse"] = "last"
    """JSON, NDJSON: what a name that stands twice in one object means: the last one counts, or a problem."""
    sheet: str | None = None
    """XLSX: name of the sheet; the first otherwise."""

    @field_validator("encoding")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            codecs.lookup(name)
        except LookupError:
            raise ValueError("write an encoding that Python knows, such as utf-8, cp1252 or utf-16") from None
        return name


class FilesConfig(ConnectionConfig):
    """A folder of files."""

    path: str
    """Folder: local, relative to the workspace, or any URL that fsspec knows."""
    format: Format | None = None
    """Format of files whose ending does not say it."""
    objects: dict[str, FileObject] = {}  # type: ignore[assignment]
    """Settings of single objects."""
    max_line: Size = 16 * 2**20
    """Longest line of a CSV or NDJSON file."""
    max_file: Size = 512 * 2**20
    """Largest JSON or XLSX file; those are not read line by line."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a reader or writer must know of an object. key: its fields."""

    name: str
    kind: Format
    settings: FileObject
    config: FilesConfig
    zone: ZoneInfo

    @property
    def key(self) -> tuple[str, ...]:
        given = self.settings.key
        return (given,) if isinstance(given, str) else tuple(given)

    @property
    def pattern(self) -> str:
        """The path below the folder, as settings say or the name implies."""
        return self.settings.path or f"{self.name}.{self.kind}"

    @property
    def empty(self) -> str:
        return self.settings.empty or ("null" if self.kind == "xlsx" else "blank")

    @property
    def steps(self) -> list[str]:
        """JSON: the names on the way to the list of records."""
        return self.settings.records.split(".") if self.settings.records else []


def shape_of(config: FilesConfig, name: str) -> Shape:
    """The settings of an object and its format: its own, else its ending's, else the connection's, else CSV."""
    settings: Any = config.objects.get(name) or FileObject()
    ending = ENDINGS.get(PurePosixPath(settings.path or "").suffix.lower())
    found: Format = settings.format or ending or config.format or "csv"
    return Shape(name, found, settings, config, ZoneInfo(config.timezone))


def key_problem(values: list[JSON], names: tuple[str, ...]) -> str | None:
    """Why the values make no native id, if they do not."""
    for name, value in zip(names, values, strict=True):
        if value is None or value == "":
            return f"has no {name!r}, which is its key"
        if isinstance(value, (dict, list, bool)):
            return f"has a {name!r} that is neither text nor number, which is its key"
    return None


def refuse(code: str, message: str, hint: str) -> ConnectorError:
    """A fault of the connection's settings or files."""
    return ConnectorError("config", Problem(code, message, None, hint))
