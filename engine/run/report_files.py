"""Reports as files: those that a flow asks for at the end of its runs, and those that somebody asks for later."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from engine.run.report_csv import write_csv
from engine.run.report_html import write_html
from engine.run.report_json import write_json
from engine.run.report_xlsx import write_xlsx
from engine.run.reports import Report, gather
from engine.sdk.errors import CrosswalkError, Problem
from engine.sdk.record import Fields
from engine.spec.workspace import Workspace
from engine.state import reconciliations
from engine.state.store import Store

FOLDER = ".crosswalk/reports"
WRITERS: dict[str, Callable[[Report, BinaryIO], None]] = {
    "html": write_html, "xlsx": write_xlsx, "csv": write_csv, "json": write_json,
}  # fmt: skip


def write_reports(
    store: Store, workspace: Workspace, run: str, formats: Iterable[str], figures: Fields
) -> list[Fields]:
    """The reports of a run that is about to end: [{format, path}], paths below the workspace. Raises CrosswalkError X936."""
    wanted = list(dict.fromkeys(formats))
    with store.read() as tx:
        one = reconciliations.get(tx, run) if wanted else None
        if one is None:  # it was stopped before it came to a result
            return []
        report = gather(tx, workspace, one, figures)
        told = []
        for name in wanted:
            place = free(workspace.folder, one.flow, run, name)
            with saving(place, workspace.folder):
                write(report, name, place)
            told.append({"format": name, "path": place.relative_to(workspace.folder).as_posix()})
        return told


def free(workspace: Path, flow: str, run: str, name: str) -> Path:
    """Where a report goes that overwrites no other."""
    folder = workspace / FOLDER / flow
    names = (f"{run}.{number}.{name}" if number else f"{run}.{name}" for number in range(10_000))
    return next(path for path in (folder / one for one in names) if not path.exists())


def write(report: Report, name: str, place: Path) -> None:
    """A whole file or none, for its owner alone. Raises FileExistsError, OSError."""
    _folder(place.parent)
    part = place.with_name(f".{place.name}.part")
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as out:
            WRITERS[name](report, out)
            out.flush()
            os.fsync(out.fileno())
        if place.exists():
            raise FileExistsError(17, "it is there already", place.name)
        part.rename(place)
    finally:
        part.unlink(missing_ok=True)


def _folder(folder: Path) -> None:
    """Folders that are made are for their owner alone."""
    if not folder.exists():
        _folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


@contextmanager
def saving(place: Path, workspace: Path) -> Iterator[None]:
    """A file that cannot be written is a problem with its name; the run's result is kept all the same."""
    try:
        yield
    except OSError as error:
        name = place.relative_to(workspace).as_posix() if place.is_relative_to(workspace) else place.name
        why = (error.strerror or type(error).__name__).lower()
        hint = "breaks and totals are kept: see to the folder, then make it with `crosswalk reconcile report`"
        raise CrosswalkError(Problem("X936", f"the report {name} cannot be written: {why}", None, hint)) from error
