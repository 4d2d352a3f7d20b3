"""Lines sorted in bounded memory: what does not fit is sorted in parts, kept in temporary files, and merged.

A merge takes a piece of each file, sorts what is certain to come first, and so leaves the work to the sort of lists, which
is fast on what is sorted already.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from errno import EDQUOT, ENOSPC
from itertools import chain
from pathlib import Path
from tempfile import gettempdir
from typing import IO

from engine.run.scratch import Scratch
from engine.sdk.errors import CrosswalkError, Problem

MEMORY = 24 * 2**20
"""Bytes of lines that are held before they go to disk."""
OVERHEAD = 64
"""Bytes that a line costs beside its own."""
WIDTH = 64
"""Files that are merged at a time."""
PIECE = 2**22
"""Bytes that a merge holds of all its files."""
LINES = 4096
"""Lines that are given at a time where all of them are held."""


class Spill:
    """Takes lines (bytes that end in a line end and hold no other) in any order, gives them in the order of their bytes.

    The folder is the owner's alone, and is gone after `close`. Raises R654 where the disk is full.
    """

    def __init__(self, memory: int = MEMORY) -> None:
        self.memory, self.count = memory, 0
        self._held: list[bytes] = []
        self._size = 0
        self._folder: Scratch | None = None
        self._files: list[Path] = []
        self._named = 0

    def add(self, line: bytes) -> None:
        """Take a line."""
        self._held.append(line)
        self._size += len(line) + OVERHEAD
        self.count += 1
        if self._size > self.memory:
            self._out()

    def _out(self) -> None:
        self._held.sort()
        self._write([self._held])
        self._held, self._size = [], 0

    def _write(self, pieces: Iterable[list[bytes]]) -> None:
        with _room():
            if self._folder is None:
                self._folder = Scratch()
            self._named += 1
            path = Path(self._folder.name) / str(self._named)
            with path.open("wb", buffering=0) as stream:
                for piece in pieces:
                    for start in range(0, len(piece), LINES):  # joined, so that a full disk is told here, not on close
                        _write_all(stream, b"".join(piece[start : start + LINES]))
        self._files.append(path)

    def __iter__(self) -> Iterator[bytes]:
        """Every line, in order."""
        return chain.from_iterable(self.pieces())

    def pieces(self) -> Iterator[list[bytes]]:
        """Every line, in order, in lists. As often as it is asked for; lines may be added between."""
        if not self._files:
            self._held.sort()
            for start in range(0, len(self._held), LINES):
                yield self._held[start : start + LINES]
            return
        if self._held:
            self._out()
        while len(self._files) > WIDTH:
            first, self._files = self._files[:WIDTH], self._files[WIDTH:]
            with ExitStack() as stack:
                self._write(_merged([stack.enter_context(path.open("rb")) for path in first]))
            for path in first:
                path.unlink()
        with ExitStack() as stack:
            yield from _merged([stack.enter_context(path.open("rb")) for path in self._files])

    def close(self) -> None:
        """Forget everything."""
        self._held = []
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def _write_all(stream: IO[bytes], data: bytes) -> None:
    """All of it: a raw file takes what it can, and the rest is written again, so that the reason is told."""
    left = memoryview(data)
    while left:
        left = left[stream.write(left) :]


def _merged(streams: list[IO[bytes]]) -> Iterator[list[bytes]]:
    """The lines of sorted files, in order. What is not above the lowest of the last lines at hand comes before all others."""
    hint = max(PIECE // len(streams), 1)
    at_hand = [(stream, lines) for stream in streams if (lines := stream.readlines(hint))]
    while len(at_hand) > 1:
        bound = min(lines[-1] for _, lines in at_hand)
        piece, left = [], []
        for stream, lines in at_hand:
            cut = bisect_right(lines, bound)
            piece += lines[:cut]
            lines = lines[cut:] or stream.readlines(hint)
            if lines:
                left.append((stream, lines))
        piece.sort()
        yield piece
        at_hand = left
    for stream, lines in at_hand:
        while lines:
            yield lines
            lines = stream.readlines(hint)


@contextmanager
def _room() -> Iterator[None]:
    """A disk without room is told as what it is."""
    try:
        yield
    except OSError as error:
        if error.errno not in (ENOSPC, EDQUOT):
            raise
        raise CrosswalkError(Problem(
            "R654", f"there is no room left in {gettempdir()} for the rows of a reconciliation", None,
            "free some, or set TMPDIR to a folder on a larger disk: a million records take about 0.5 GB; nothing was concluded",
        )) from None  # fmt: skip
