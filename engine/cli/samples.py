"""CSV files that a command is given: rows with the line that they stand in."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from engine.sdk.errors import Position, Problem, UsageError


def rows_of(file: Path, columns: Sequence[str]) -> list[tuple[Position, dict[str, str]]]:
    """Rows with their place, values without blanks around them. Raises UsageError X912 for what is no such CSV."""
    try:
        reader = csv.DictReader(io.StringIO(file.read_bytes().decode("utf-8-sig"), newline=""), strict=True)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"it has no column {', '.join(missing)}")
        found = [(Position(file.name, reader.line_num), row) for row in reader]
    except (OSError, ValueError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        hint = f"give CSV with the columns {', '.join(columns)}"
        raise UsageError(Problem("X912", f"{file.name} cannot be read: {why}", Position(file.name), hint)) from None
    return [(at, {str(name): str(value or "").strip() for name, value in row.items() if name}) for at, row in found]
