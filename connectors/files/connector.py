"""The `files` connector: an object is a file's name without its ending, or a pattern that settings name.

No server answers here: a read goes through the whole file (filtered by the window), a write replaces the file
at once under a lock, so that a reader sees the old one or the new one. Class A: records are found by their key.
Reading holds one record at a time (CSV, NDJSON) or the packed file (JSON, XLSX), whatever the file's length.
"""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from connectors.files import delimited, document, ndjson, workbook
from connectors.files.changes import Changes, Standing, cell_text, touched
from connectors.files.folder import Folder, faults
from connectors.files.settings import FilesConfig, Shape, shape_of
from engine.sdk.config import ConnectionContext
from engine.sdk.connector import Batch, Connector, FieldInfo, Finding, ObjectInfo, Operation, Outcome, Read
from engine.sdk.errors import ConnectorError, Problem, nearest
from engine.sdk.instants import Window
from engine.sdk.record import JSON, Fields, Record, canonical_json, encode_json, same

ALL = frozenset({"read", "find", "create", "update", "upsert", "delete", "append"})
READERS: dict[str, Callable[[IO[bytes], Shape, str], Iterator[Record]]] = {
    "ndjson": ndjson.read,
    "csv": delimited.read,
    "json": document.read,
    "xlsx": workbook.read,
}
SAMPLE = 100


class FilesConnector(Connector[FilesConfig]):
    """Files in one folder, local or on anything that fsspec reaches (writing: local only)."""

    name, config_model = "files", FilesConfig

    def __init__(self, config: FilesConfig, context: ConnectionContext) -> None:
        super().__init__(config, context)
        self.folder = Folder(config, context)

    def check(self) -> list[Finding]:
        try:
            if not self.folder.exists():
                return [Finding(False, f"the folder {self.config.path} is not there", "create it, or correct `path`")]
            return [Finding(True, f"the folder {self.config.path} holds {len(self.objects())} objects")]
        except ConnectorError as error:
            return [Finding(False, error.problem.message, error.problem.hint)]

    def objects(self) -> list[str]:
        return self.folder.objects()

    def describe(self, name: str) -> ObjectInfo:
        shape = shape_of(self.config, name)
        paths, known = self.folder.paths(shape), self.objects()
        if name not in known and not paths and "/" in name:
            raise ConnectorError("config", Problem("C504", f"there is no object {name!r}", None, nearest(name, known)))
        return ObjectInfo(
            name,
            shape.key,
            self._fields(paths[0], shape) if paths else (),
            modified=shape.settings.modified,
            operations=ALL,
            write_class="A",
            late=0,
            index=0,
            marker=shape.settings.marker,
            rereads=True,
            max_batch=10_000,
        )

    def _fields(self, path: str, shape: Shape) -> tuple[FieldInfo, ...]:
        """Columns, or the names that the first records use. Only CSV says a type: text."""
        if shape.kind == "csv":
            with self.folder.opened(path) as stream, _naming(path):
                return tuple(FieldInfo(name, "string") for name in delimited.columns(stream, shape))
        names: dict[str, None] = {}
        for number, record in enumerate(self._records(path, shape)):
            names.update(dict.fromkeys(record.value))
            if number >= SAMPLE:
                break
        return tuple(FieldInfo(name) for name in names)

    # ------------------------------------------------------------------ reading
    def _records(self, path: str, shape: Shape) -> Iterator[Record]:
        with self.folder.opened(path) as stream, _naming(path):
            yield from READERS[shape.kind](stream, shape, Path(path).name)

    def read(self, request: Read) -> Iterator[Batch]:
        shape = shape_of(self.config, request.object)
        paths = self.folder.existing(shape)
        keys = set(request.keys) if request.keys is not None else None
        every = request.since is None and request.until is None and keys is None and not request.query
        window = Window(request.since, request.until, shape.zone)
        batch: list[Record] = []
        for path in paths:
            for record in self._records(path, shape):
                if not every and not _wanted(record, request, keys, window):
                    continue
                batch.append(record)
                if len(batch) >= request.page:
                    yield Batch(batch)
                    batch = []
        yield Batch(batch)

    def find(self, name: str, by: Sequence[Fields], fields: tuple[str, ...] = ()) -> list[list[Record]]:
        shape = shape_of(self.config, name)
        found: list[list[Record]] = [[] for _ in by]
        sought: dict[tuple[str, ...], dict[tuple[bytes, ...], list[int]]] = {}
        for number, wanted in enumerate(by):
            names = tuple(sorted(wanted))
            values = tuple(_form(wanted[one], shape) for one in names)
            sought.setdefault(names, {}).setdefault(values, []).append(number)
        for path in self.folder.paths(shape) if by else ():
            for record in self._records(path, shape):
                if record.problem is not None:
                    continue
                value = record.value
                for names, places in sought.items():
                    for number in places.get(tuple(_form(value.get(one), shape) for one in names), ()):
                        found[number].append(record)
        return found

    # ------------------------------------------------------------------ writing
    def write(self, name: str, operations: Sequence[Operation]) -> list[Outcome]:
        shape = shape_of(self.config, name)
        path = self.folder.target(shape)
        with faults(path.name, "C585"), self._locked(path):
            standing: dict[str, list[Record]] = {}
            wanted = touched(operations, shape)
            for record in self._records(str(path), shape) if path.is_file() else ():
                if record.key in wanted:
                    standing.setdefault(record.key, []).append(record)
            ledger = Standing(shape, standing, _fault(shape))
            outcomes = ledger.apply(operations)
            changes = ledger.changes()
            if changes.any:
                self._replace(path, shape, changes)
        return outcomes

    def _replace(self, path: Path, shape: Shape, changes: Changes) -> None:
        """The new file beside the old one, on the disk, then in its place."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            with os.fdopen(descriptor, "w+b") as out:
                if path.is_file():
                    shutil.copymode(path, temporary)
                    with self.folder.opened(str(path)) as stream:
                        self._copy(stream, out, shape, changes)
                else:
                    _start(out, shape, changes)
                out.flush()
                os.fsync(out.fileno())
            self.context.crashpoint("files.replace")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _copy(self, stream: IO[bytes], out: IO[bytes], shape: Shape, changes: Changes) -> None:
        if shape.kind == "ndjson":
            ndjson.rewrite(stream, out, shape, changes)
        elif shape.kind == "csv":
            delimited.rewrite(stream, out, shape, changes)
        elif shape.kind == "json":
            document.rewrite(stream, out, shape, changes)
        else:
            workbook.rewrite(stream, out, shape, changes)

    @contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        """One writer at a time, across threads and processes. Raises ConnectorError C587 after `timeout`."""
        lock = path.with_name(f".{path.name}.lock")
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            until = time.monotonic() + self.config.timeout.total_seconds()
            while not _taken(descriptor):
                if time.monotonic() > until:
                    problem = Problem("C587", f"another writer holds {path.name}", None, "wait until it is done")
                    raise ConnectorError("timeout", problem)
                (self.context.sleep or time.sleep)(0.02)
            yield
        finally:
            os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _start(out: IO[bytes], shape: Shape, changes: Changes) -> None:
    """A file that is not there yet."""
    if shape.kind == "ndjson":
        ndjson.append(out, changes.new)
    elif shape.kind == "csv":
        delimited.rewrite(io.BytesIO(), out, shape, changes)
    elif shape.kind == "json":
        document.rewrite(io.BytesIO(), out, shape, changes)
    else:
        workbook.rewrite(None, out, shape, changes)


def _fault(shape: Shape) -> Callable[[Fields], str | None]:
    if shape.kind == "csv":
        return lambda record: delimited.fault(record, shape)
    if shape.kind == "xlsx":
        return lambda record: workbook.fault(record, shape)
    return lambda record: None


def _form(value: JSON, shape: Shape) -> bytes:
    """Equal for values that mean the same in this format: cells of CSV are text, whatever was written."""
    return encode_json(cell_text(value)) if shape.kind == "csv" else canonical_json(value)


def _wanted(record: Record, request: Read, keys: set[str] | None, window: Window) -> bool:
    if keys is not None and record.key not in keys:
        return False
    if not window.holds(record.modified):
        return False
    if not request.query or record.problem is not None:
        return True
    value = record.value
    return all(same(value.get(name), wanted) for name, wanted in request.query.items())


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Faults of a file's content say which file it is."""
    try:
        yield
    except ConnectorError as error:
        told = error.problem
        problem = Problem(told.code, f"{Path(path).name}: {told.message}", told.at, told.hint)
        raise ConnectorError(error.trouble, problem) from None
