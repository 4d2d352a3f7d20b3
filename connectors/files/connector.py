"""The `files` connector: an object is a file's name without its ending, or a pattern that settings name.

No server answers here: a read goes through the whole file (filtered by the window), a write replaces the file
at once under a lock, so that a reader sees the old one or the new one. Class A: records are found by their key.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from connectors.files.formats import READERS, WRITERS
from connectors.files.settings import ENDINGS, FileObject, FilesConfig, key_fields, refuse, safe_path, settings_of
from engine.sdk.connector import Batch, Connector, FieldInfo, Finding, ObjectInfo, Operation, Outcome, Read
from engine.sdk.errors import ConnectorError, Problem, nearest
from engine.sdk.record import Fields, Record, same, text_key

ALL = frozenset({"read", "find", "create", "update", "upsert", "delete", "append"})


class FilesConnector(Connector[FilesConfig]):
    """Files in one folder, local or on anything that fsspec reaches (writing: local only)."""

    name, config_model = "files", FilesConfig

    @property
    def local(self) -> Path | None:
        """The folder; None where it is a URL."""
        return None if "://" in self.config.path else self.context.path(self.config.path)

    def _filesystem(self) -> tuple[Any, str]:
        import fsspec

        if self.local is not None:
            return fsspec.filesystem("file"), str(self.local)
        try:
            filesystem, root = fsspec.url_to_fs(self.config.path)
        except ImportError as error:
            raise refuse("C581", f"no driver for {self.config.path.split('://')[0]}: {error}", "install it") from None
        return filesystem, root

    def check(self) -> list[Finding]:
        filesystem, root = self._filesystem()
        if not filesystem.isdir(root):
            return [Finding(False, f"the folder {self.config.path} is not there", "create it, or correct `path`")]
        return [Finding(True, f"the folder {self.config.path} holds {len(self.objects())} objects")]

    def objects(self) -> list[str]:
        filesystem, root = self._filesystem()
        names = set(self.config.objects)
        for path in filesystem.ls(root, detail=False) if filesystem.isdir(root) else ():
            stem, dot, ending = str(path).rsplit("/", 1)[-1].rpartition(".")
            if dot and f".{ending.lower()}" in ENDINGS:
                names.add(stem)
        return sorted(names)

    def _paths(self, name: str) -> list[str]:
        """The files of an object, in order of their names; empty where there is none yet."""
        settings, kind = settings_of(self.config, name)
        pattern = safe_path(settings.path or f"{name}.{kind}")
        filesystem, root = self._filesystem()
        if any(mark in str(pattern) for mark in "*?["):
            return sorted(path for path in filesystem.glob(f"{root}/{pattern}") if not self._is_link(path))
        path = f"{root}/{pattern}"
        if self._is_link(path):
            raise refuse("C580", f"{pattern} is a link", "put the file itself there")
        return [path] if filesystem.isfile(path) else []

    def _is_link(self, path: str) -> bool:
        return self.local is not None and Path(path).is_symlink()

    def describe(self, name: str) -> ObjectInfo:
        settings, kind = settings_of(self.config, name)
        paths = self._paths(name)
        known = self.objects()
        if name not in known and not paths and "/" in name:
            raise ConnectorError("config", Problem("C504", f"there is no object {name!r}", None, nearest(name, known)))
        fields: tuple[FieldInfo, ...] = ()
        if kind == "csv":
            row = next(self._rows(paths[0], settings, kind), None) if paths else None
            names = list(row[0]) if row and row[0] else []
            fields = tuple(FieldInfo(one, "string") for one in names)
        return ObjectInfo(
            name,
            key_fields(settings),
            fields,
            modified=settings.modified,
            operations=ALL,
            write_class="A",
            late=0,
            index=0,
            max_batch=10_000,
        )

    def _rows(
        self, path: str, settings: FileObject, kind: str
    ) -> Iterator[tuple[Fields | None, bytes | None, str | None]]:
        filesystem, _ = self._filesystem()
        stream: IO[bytes] = filesystem.open(path, "rb")
        with stream:
            yield from READERS[kind](stream, settings, self.config)

    def read(self, request: Read) -> Iterator[Batch]:
        settings, kind = settings_of(self.config, request.object)
        paths = self._paths(request.object)
        if not paths and not any(mark in (settings.path or "") for mark in "*?["):
            shown = settings.path or f"{request.object}.{kind}"
            hint = nearest(request.object, self.objects())
            raise ConnectorError(
                "config", Problem("C584", f"there is no file {shown} in {self.config.path}", None, hint)
            )
        keys = set(request.keys) if request.keys is not None else None
        batch: list[Record] = []
        for path in paths:
            for record in self._records(path, settings, kind):
                if not _wanted(record, request, keys):
                    continue
                batch.append(record)
                if len(batch) >= request.page:
                    yield Batch(batch)
                    batch = []
        yield Batch(batch)

    def _records(self, path: str, settings: FileObject, kind: str) -> Iterator[Record]:
        fields, modified = key_fields(settings), settings.modified
        for number, (value, raw, problem) in enumerate(self._rows(path, settings, kind), 1):
            if value is None:
                yield Record(f"{Path(path).name}:{number}", {}, raw=raw or b"", problem=problem)
                continue
            if any(value.get(field) in (None, "") for field in fields):
                missing = next(field for field in fields if value.get(field) in (None, ""))
                yield Record(
                    f"{Path(path).name}:{number}", value, raw=raw, problem=f"has no {missing!r}, which is its key"
                )
                continue
            stamp = value.get(modified) if modified else None
            yield Record(text_key(value, fields), value, None if stamp is None else str(stamp), raw=raw)

    def find(self, name: str, by: Sequence[Fields], fields: tuple[str, ...] = ()) -> list[list[Record]]:
        found: list[list[Record]] = [[] for _ in by]
        if not self._paths(name):
            return found
        for batch in self.read(Read(name)):
            for record in batch.records:
                for number, wanted in enumerate(by):
                    if all(same(record.value.get(field), value) for field, value in wanted.items()):
                        found[number].append(record)
        return found

    def write(self, name: str, operations: Sequence[Operation]) -> list[Outcome]:
        settings, kind = settings_of(self.config, name)
        if self.local is None:
            raise refuse("C585", "files can be written to local folders only", "use a local `path`")
        pattern = safe_path(settings.path or f"{name}.{kind}")
        if any(mark in str(pattern) for mark in "*?["):
            raise refuse("C585", f"{name!r} is a pattern and cannot be written", "name one file")
        path = self.local / pattern
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            rows, outcomes = self._applied(path, settings, kind, operations)
            temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            with temporary.open("wb") as stream:
                WRITERS[kind](stream, rows, settings)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        return outcomes

    def _applied(
        self, path: Path, settings: FileObject, kind: str, operations: Sequence[Operation]
    ) -> tuple[list[Fields], list[Outcome]]:
        rows: dict[str, Fields] = {}
        if path.is_file():
            if path.is_symlink():
                raise refuse("C580", f"{path.name} is a link", "put the file itself there")
            for number, record in enumerate(self._records(str(path), settings, kind)):
                rows[record.key if record.problem is None else f"\0{number}"] = record.value
        outcomes = [_apply(one, rows, key_fields(settings)) for one in operations]
        return list(rows.values()), outcomes


def _apply(one: Operation, rows: dict[str, Fields], fields: tuple[str, ...]) -> Outcome:
    if one.kind == "delete":
        gone = rows.pop(one.key or "", None)
        return Outcome(one.id, "missing" if gone is None else "deleted", one.key)
    if one.kind == "append":
        rows[f"\1{one.id}"] = one.record
        return Outcome(one.id, "created", one.id)
    if one.kind == "update":
        if one.key not in rows:
            return Outcome(one.id, "missing", one.key)
        rows[one.key] = {**rows[one.key], **(one.changes if one.changes is not None else one.record)}
        return Outcome(one.id, "updated", one.key)
    missing = next((field for field in fields if one.record.get(field) in (None, "")), None)
    if missing:
        return Outcome(one.id, "refused", problem=Problem("C586", f"the record has no {missing!r}, which is its key"))
    key = text_key(one.record, fields)
    standing = rows.get(key)
    if standing is not None and one.kind == "create":
        return Outcome(one.id, "matched", key)
    rows[key] = {**(standing or {}), **one.record}
    return Outcome(one.id, "created" if standing is None else "updated", key)


def _wanted(record: Record, request: Read, keys: set[str] | None) -> bool:
    if keys is not None and record.key not in keys:
        return False
    if record.problem is not None or record.modified is None:
        return True
    if request.since is not None and record.modified < request.since:
        return False
    return request.until is None or record.modified < request.until


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One writer at a time, across processes."""
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
