"""The folder of a connection: which files an object means, and how they are opened without leaving the folder."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from connectors.files.settings import ENDINGS, FilesConfig, Shape, refuse
from engine.sdk.config import ConnectionContext
from engine.sdk.errors import ConnectorError, Problem, nearest

DEVICES = {"con", "prn", "aux", "nul", *(f"{name}{n}" for name in ("com", "lpt") for n in range(1, 10))}
MARKS = "*?["


def safe_path(text: str) -> PurePosixPath:
    """A path inside the folder. Raises ConnectorError C580 for anything that could lead outside."""
    path = PurePosixPath(text)
    outside = path.is_absolute() or ".." in path.parts or not path.parts
    strange = any(mark in text for mark in "\\\0:") or any(one.split(".")[0].lower() in DEVICES for one in path.parts)
    if outside or strange:
        shown = json.dumps(text)
        raise refuse("C580", f"the path {shown} leads outside the connection's folder", "write a path inside it")
    return path


class Folder:
    """Files below one folder, local or on anything that fsspec reaches."""

    def __init__(self, config: FilesConfig, context: ConnectionContext) -> None:
        self.config = config
        self.local: Path | None = None if "://" in config.path else context.path(config.path)

    def filesystem(self) -> tuple[Any, str]:
        """The file system and the folder on it. Raises ConnectorError C581."""
        import fsspec

        if self.local is not None:
            return fsspec.filesystem("file"), str(self.local)
        protocol = self.config.path.split("://")[0]
        try:
            return fsspec.url_to_fs(self.config.path)  # type: ignore[no-any-return]
        except (ImportError, ValueError) as error:
            extra = {"s3": "s3", "sftp": "sftp", "ssh": "sftp"}.get(protocol)
            hint = f"run: pip install 'crosswalk[{extra}]'" if extra else "install the fsspec driver of that protocol"
            raise refuse("C581", f"no driver for {protocol}: {error}", hint) from None

    def exists(self) -> bool:
        filesystem, root = self.filesystem()
        return bool(filesystem.isdir(root))

    def objects(self) -> list[str]:
        """Names that settings give, and those of the files that lie there."""
        filesystem, root = self.filesystem()
        names = set(self.config.objects)
        for path in filesystem.ls(root, detail=False) if filesystem.isdir(root) else ():
            stem, dot, ending = str(path).rsplit("/", 1)[-1].rpartition(".")
            if dot and stem and not stem.startswith(".") and f".{ending.lower()}" in ENDINGS:
                names.add(stem)
        return sorted(names)

    def paths(self, shape: Shape) -> list[str]:
        """The files of an object, in order of their names; empty where there is none yet. Raises C580 at a link."""
        pattern = safe_path(shape.pattern)
        filesystem, root = self.filesystem()
        if any(mark in str(pattern) for mark in MARKS):
            found = sorted(str(path) for path in filesystem.glob(f"{root}/{pattern}") if filesystem.isfile(path))
        else:
            found = [f"{root}/{pattern}"]
        for path in found:
            self._no_link(path)
        return [path for path in found if filesystem.isfile(path)]

    def existing(self, shape: Shape) -> list[str]:
        """Like `paths`, but a named file that is not there is an error. Raises ConnectorError C584."""
        found = self.paths(shape)
        if not found and not any(mark in shape.pattern for mark in MARKS):
            known = [one for one in self.objects() if one != shape.name]
            hint = nearest(shape.name, known)
            problem = Problem("C584", f"there is no file {shape.pattern} in {self.config.path}", None, hint)
            raise ConnectorError("config", problem)
        return found

    def target(self, shape: Shape) -> Path:
        """The one local file that a write replaces; its folder is made. Raises ConnectorError C585, C580."""
        if self.local is None:
            raise refuse("C585", "files can be written to local folders only", "use a local `path`")
        pattern = safe_path(shape.pattern)
        if any(mark in str(pattern) for mark in MARKS):
            raise refuse("C585", f"{shape.name!r} is a pattern and cannot be written", "name one file")
        path = self.local / pattern
        self._no_link(str(path))
        with faults(shape.pattern, "C585"):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _no_link(self, path: str) -> None:
        """No part below the folder may be a link: it could lead outside, now or a moment later."""
        if self.local is None:
            return
        current = self.local
        for part in Path(path).relative_to(self.local).parts:
            current = current / part
            if current.is_symlink():
                raise refuse("C580", f"{part} is a link", "put the file itself there")

    @contextmanager
    def opened(self, path: str) -> Iterator[IO[bytes]]:
        """A file for reading. Raises ConnectorError C583 where it cannot be read."""
        with faults(Path(path).name, "C583"):
            if self.local is None:
                filesystem, _ = self.filesystem()
                with filesystem.open(path, "rb") as stream:
                    yield stream
                return
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb", buffering=2**18) as stream:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise refuse("C580", f"{Path(path).name} is no plain file", "put a file there")
                yield stream


@contextmanager
def faults(name: str, code: str) -> Iterator[None]:
    """The operating system's refusals as ours."""
    try:
        yield
    except OSError as error:
        problem = Problem(code, f"{name}: {error.strerror or error}", None, "see the rights on the file, and the disk")
        raise ConnectorError("refused", problem) from None
