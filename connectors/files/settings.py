"""Settings of a `files` connection, and which file an object means."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any, Literal

from pydantic import Field

from engine.sdk.config import Config, ConnectionConfig, Size
from engine.sdk.errors import ConnectorError, Problem

Format = Literal["csv", "json", "ndjson", "xlsx"]
ENDINGS: dict[str, Format] = {".csv": "csv", ".json": "json", ".ndjson": "ndjson", ".jsonl": "ndjson", ".xlsx": "xlsx"}


class FileObject(Config):
    """One object: a file, or several by a pattern."""

    path: str | None = None
    """File or pattern below the connection's folder; the object's name with the format's ending otherwise."""
    format: Format | None = None
    key: str | list[str] = "id"
    """Field or fields that identify a record."""
    modified: str | None = None
    """Field that grows with every change."""
    encoding: str = "utf-8-sig"
    delimiter: str = Field(",", min_length=1, max_length=1)
    empty: Literal["blank", "null", "missing"] = "blank"
    """What an empty CSV cell means."""
    records: str | None = None
    """JSON: dotted path to the list of records."""
    sheet: str | None = None
    """XLSX: name of the sheet; the first otherwise."""


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


def refuse(code: str, message: str, hint: str) -> ConnectorError:
    """A fault of the connection's settings or files."""
    return ConnectorError("config", Problem(code, message, None, hint))


def safe_path(text: str) -> PurePosixPath:
    """A path inside the folder. Raises ConnectorError C580 for anything that could lead outside."""
    path = PurePosixPath(text)
    wrong = path.is_absolute() or ".." in path.parts or "\\" in text or "\0" in text or ":" in path.parts[0]
    if wrong:
        raise refuse(
            "C580", f"the path {json.dumps(text)} leads outside the connection's folder", "write a path inside it"
        )
    return path


def key_fields(settings: FileObject) -> tuple[str, ...]:
    return (settings.key,) if isinstance(settings.key, str) else tuple(settings.key)


def settings_of(config: FilesConfig, name: str) -> tuple[FileObject, Format]:
    """The settings of an object and its format."""
    settings: Any = config.objects.get(name) or FileObject()
    ending = ENDINGS.get(PurePosixPath(settings.path or "").suffix.lower())
    found: Format = settings.format or ending or config.format or "csv"
    return settings, found
