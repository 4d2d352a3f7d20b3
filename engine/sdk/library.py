"""Where the built-in library lies: schemas, mappings with their tables, flows and manifests."""

from __future__ import annotations

from pathlib import Path

import engine


def library_folder() -> Path:
    """The repository's folders, or the copy inside the installed package."""
    inside = Path(engine.__file__).parent / "library"
    return inside if (inside / "schemas").is_dir() else Path(engine.__file__).parent.parent
