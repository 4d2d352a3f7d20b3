"""The connectors of a run, with the budgets of their accounts."""

from __future__ import annotations

from functools import partial
from typing import Any

from engine.run.permits import SharedPermits
from engine.sdk.config import JobNote
from engine.sdk.connector import Connector
from engine.spec.sync import SyncFlow
from engine.spec.workspace import Workspace
from engine.state.store import Store


class Connectors:
    """The connectors of a run, opened when first asked for, closed together.

    flow: the flow that they are for, whose `incremental: FIELD` is a setting of the object that it reads.
    store: where the accounts' budgets are kept, for all processes that use this state.
    """

    def __init__(self, workspace: Workspace, flow: SyncFlow | None = None, store: Store | None = None) -> None:
        self.workspace = workspace
        self._permits = SharedPermits(store) if store is not None else None
        self._objects: dict[str, dict[str, dict[str, Any]]] = {}
        field = flow.source.incremental if flow is not None else True
        if flow is not None and isinstance(field, str) and field != "none":
            object = workspace.document("mapping", flow.source.mapping).model.object
            self._objects[flow.source.connection] = {object: {"modified": field}}
        self._open: dict[str, Connector[Any]] = {}
        self.jobs: dict[str, JobNote] = {}
        """Connection → who is told of a job that its connector opens."""

    def __getitem__(self, name: str) -> Connector[Any]:
        if name not in self._open:
            opened = partial(self._opened, name)
            self._open[name] = self.workspace.connector(name, self._objects.get(name), self._permits, opened)
        return self._open[name]

    def _opened(self, name: str, object: str, job: str, ids: list[str], uploaded: bool) -> None:
        if name in self.jobs:
            self.jobs[name](object, job, ids, uploaded)

    def describe(self, connection: str, name: str) -> Any:
        return self[connection].describe(name)

    def close(self) -> None:
        for connector in self._open.values():
            connector.close()
        self._open.clear()
