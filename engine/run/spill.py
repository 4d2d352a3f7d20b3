"""Lines sorted in bounded memory: what does not fit is sorted in parts, kept in temporary files, and merged."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

MEMORY = 24 * 2**20
"""Bytes of lines that are held before they go to disk."""
OVERHEAD = 80
"""Bytes that a line costs beside its own."""
WIDTH = 64
"""Files that are merged at a time."""
BUFFER = 2**18


class Spill:
    """Takes lines (bytes that end in a line end and hold no other) in any order, gives them in the order of their bytes.

    The folder is the owner's alone, and is gone after `close`.
    """

    def __init__(self, memory: int = MEMORY) -> None:
        self.memory, self.count = memory, 0
        self._held: list[bytes] = []
        self._size = 0
        self._folder: TemporaryDirectory[str] | None = None
        self._files: list[Path] = []
        self._open = ExitStack()

    def add(self, line: bytes) -> None:
        """Take a line."""
        self._held.append(line)
        self._size += len(line) + OVERHEAD
        self.count += 1
        if self._size > self.memory:
            self._out()

    def _out(self) -> None:
        self._held.sort()
        self._write(self._held)
        self._held, self._size = [], 0

    def _write(self, lines: Iterable[bytes]) -> None:
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="crosswalk-")
        path = Path(self._folder.name) / str(len(self._files))
        with path.open("wb", buffering=BUFFER) as stream:
            stream.writelines(lines)
        self._files.append(path)

    def __iter__(self) -> Iterator[bytes]:
        """Every line, in order. Once."""
        self._held.sort()
        if not self._files:
            return iter(self._held)
        while len(self._files) > WIDTH:
            first, self._files = self._files[:WIDTH], self._files[WIDTH:]
            with ExitStack() as stack:
                self._write_merged([stack.enter_context(path.open("rb", buffering=BUFFER)) for path in first])
            for path in first:
                path.unlink()
        streams = [self._open.enter_context(path.open("rb", buffering=BUFFER)) for path in self._files]
        return heapq.merge(*streams, self._held)

    def _write_merged(self, streams: Iterable[Iterable[bytes]]) -> None:
        assert self._folder is not None
        path = Path(self._folder.name) / f"merged-{self._files[-1].name}-{len(self._files)}"
        with path.open("wb", buffering=BUFFER) as stream:
            stream.writelines(heapq.merge(*streams))
        self._files.append(path)

    def close(self) -> None:
        """Forget everything."""
        self._held = []
        self._open.close()
        if self._folder is not None:
            self._folder.cleanup()
