"""Where tests are played: the workspace with its systems in memory, and a state that is gone afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.run.memory import KINDS, MemoryConnector, of_manifest
from engine.sdk.config import ConnectionConfig, ConnectionContext
from engine.sdk.connector import ObjectInfo
from engine.spec.testcase import TestFile
from engine.spec.workspace import Workspace
from engine.state.store import Store


class Stage(Workspace):
    """The workspace with every connection held in memory."""

    def __init__(self, real: Workspace, test: TestFile) -> None:
        super().__init__(real.folder, real.data, real.positions, real.settings, real.environment)
        self.secrets, self.sandbox = real.secrets, real.sandbox
        self._documents.update(real._documents)  # read once, however many cases there are
        self.test = test
        self.systems: dict[str, MemoryConnector] = {}

    def connector(
        self, name: str, objects: dict[str, dict[str, Any]] | None = None, permits: Any = None, opened: Any = None
    ) -> MemoryConnector:
        """The system in memory; it outlives the run that closes it."""
        if name not in self.systems:
            info = self.connection(name)
            config = ConnectionConfig(connector="memory", role=info.role, timezone=info.timezone, retries=0)
            self.systems[name] = MemoryConnector(
                config, ConnectionContext(name), lambda object: self.describe(name, object, objects)
            )
        return self.systems[name]

    def describe(
        self, connection: str, name: str, objects: dict[str, dict[str, Any]] | None = None
    ) -> ObjectInfo | None:
        info = self.connection(connection)
        path, _ = self._find("connector", info.connector)
        asked = self.test.keys.get(connection, {}).get(name)
        if path is not None and asked is None:
            return of_manifest(self.document("connector", info.connector).model, name)
        settings = ((self.settings.connections.get(connection) or {}).get("objects") or {}).get(name) or {}
        settings = {**settings, **(objects or {}).get(name, {})}
        key = asked or settings.get("key") or "id"
        return ObjectInfo(name, (key,) if isinstance(key, str) else tuple(key), modified=settings.get("modified"),
                          operations=KINDS, write_class="A", tombstones=True)  # fmt: skip


@contextmanager
def passing_state() -> Iterator[Store]:
    """A state that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="crosswalk-test-") as folder:
        store = Store.open("sqlite:///state.db", Path(folder))
        try:
            yield store
        finally:
            store.close()
