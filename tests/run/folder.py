"""A workspace in a folder with its state beside it, as the tests of runs use one flow of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from engine.run.runner import Runner
from engine.run.session import Options
from engine.spec.workspace import Workspace
from engine.state import exceptions
from engine.state.store import Store


class Folder:
    """flow: the one that is run; rows: the file that its source reads, one JSON object a line."""

    flow: ClassVar[str] = "things"
    rows: ClassVar[str] = "data/things.ndjson"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / self.rows).parent.mkdir(exist_ok=True)

    def put(self, rows: Iterable[dict[str, Any]]) -> None:
        (self.folder / self.rows).write_text("".join(json.dumps(row) + "\n" for row in rows))

    @contextmanager
    def store(self) -> Iterator[Store]:
        store = Store.open("sqlite:///.crosswalk/state.db", self.folder)
        try:
            yield store
        finally:
            store.close()

    def run(self, flow: str | None = None, **options: Any) -> dict[str, Any]:
        """How a run ended."""
        with self.store() as store:
            return Runner(Workspace.open(self.folder), store).run(flow or self.flow, Options(**options)).run

    def open(self) -> list[exceptions.Row]:
        """Live exceptions."""
        with self.store() as store, store.read() as tx:
            return exceptions.listed(tx)
