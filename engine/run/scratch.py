"""A folder for what does not fit into memory, gone with its owner; what a killed process left behind is removed by the next.

A lock on a file within it says that its owner lives: the system lets go of it when the process dies, however it dies.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import gettempdir, mkdtemp

try:
    import fcntl
except ImportError:  # pragma: no cover - a system without such locks: leftovers stay for its own tidying
    fcntl = None  # type: ignore[assignment]

PREFIX = "crosswalk-scratch-"
LOCK = "owner"


class Scratch:
    """A folder that only its owner can read. name: its path."""

    def __init__(self) -> None:
        remove_leftovers()
        self.name = mkdtemp(prefix=PREFIX)
        self._lock = os.open(Path(self.name) / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        if fcntl is not None:
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def cleanup(self) -> None:
        """Remove it and all that it holds."""
        shutil.rmtree(self.name, ignore_errors=True)
        os.close(self._lock)


def remove_leftovers() -> None:
    """Remove the folders whose owners are no more."""
    for folder in Path(gettempdir()).glob(f"{PREFIX}*"):
        try:
            if fcntl is None or folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            lock = os.open(folder / LOCK, os.O_RDWR)  # not there yet: it is being made
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # its owner lives
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
