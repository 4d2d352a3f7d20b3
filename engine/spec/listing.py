"""The documents that a folder holds, looked up again only when the folder has changed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from engine.spec.load import yaml_below

GRAIN = 100_000_000
"""Nanoseconds: file systems note changes no finer than some milliseconds, so what was changed just now is looked at again."""


@dataclass(frozen=True, slots=True)
class Listing:
    """(name, path) of every document below a folder, in order. folders: each with its time of change. taken: when."""

    files: tuple[tuple[str, Path], ...]
    folders: tuple[tuple[str, int], ...]
    taken: int

    @classmethod
    def of(cls, base: Path, shown: str) -> Listing:
        """Look. Raises SpecError E100 for a folder that cannot be looked into."""
        taken = time.time_ns()
        below = dict(yaml_below(base, shown))
        paths, places = sorted(path for found in below.values() for path in found), {str(base), *below}
        files = tuple((path.relative_to(base).with_suffix("").as_posix(), path) for path in paths)
        return cls(files, tuple((place, _changed(place)) for place in sorted(places)), taken)

    def stands(self) -> bool:
        """Whether nothing came, went or was renamed since."""
        if any(self.taken - changed < GRAIN for _, changed in self.folders):
            return False
        return all(_changed(place) == changed for place, changed in self.folders)


def _changed(place: str) -> int:
    """When a folder was changed; 0 where there is none."""
    try:
        return Path(place).stat().st_mtime_ns
    except OSError:
        return 0
