"""Two systems in memory that hold the same bills, and a reconciliation that mends what people do to them."""

from __future__ import annotations

import json
import textwrap
from decimal import Decimal
from pathlib import Path
from typing import Any

from engine.run.errand import Asked
from engine.run.memory import KINDS
from engine.run.runner import Result, Runner
from engine.run.session import Options
from engine.run.stage import Stage
from engine.sdk.config import ConnectionConfig, ConnectionContext
from engine.sdk.connector import ObjectInfo
from engine.spec.testcase import TestFile
from engine.spec.workspace import Workspace
from engine.state import breaks
from engine.state.breaks import Break
from engine.state.store import Store
from tests.run.process_world import System
from tests.run.reconcile_world import FILES, invoice

BARE = {**FILES, "crosswalk.yaml": FILES["crosswalk.yaml"].replace("        state: STATE\n", "")}


def files(heal: str) -> dict[str, str]:
    """The workspace with a reconciliation that heals like that."""
    return {**BARE, "flows/nightly.yaml": textwrap.dedent(FILES["flows/nightly.yaml"]).lstrip() + heal}


def exact(row: dict[str, Any]) -> dict[str, Any]:
    """A record with decimals, as connectors give them."""
    found: dict[str, Any] = json.loads(json.dumps(row), parse_float=Decimal)
    return found


class World(Stage):
    """The systems, both of one class. way: `flow` where one goes from the PSA to the ERP; `sides` where none is left."""

    def __init__(
        self, folder: Path, store: Store, kind: str = "C", way: str = "flow", count: int = 4, *, partial: bool = True
    ) -> None:
        super().__init__(Workspace.open(folder), TestFile.model_construct(test="heal", keys={}))
        self.store, self.kind, self.partial = store, kind, partial
        config = ConnectionConfig.model_validate(
            {"connector": "memory", "retries": 0, "backoff": "1ms..1ms", "timeout": "1s"}
        )
        self.memory = {name: System(config, ConnectionContext(name), self._info).prepared() for name in ("psa", "erp")}
        self.psa, self.erp = self.memory["psa"], self.memory["erp"]
        self.psa.put("invoices", [exact(invoice(n)) for n in range(1, count + 1)])
        assert self.run("push")["state"] == "succeeded"
        if way == "sides":
            (folder / "flows/push.yaml").unlink()
            self._documents.pop(("flow", "push"))

    def _info(self, name: str) -> ObjectInfo:
        kinds = KINDS if self.kind == "A" else KINDS - {"upsert"}
        return ObjectInfo(
            name,
            ("id",),
            operations=kinds,
            write_class=self.kind,
            late=0,
            index=0,
            marker="ref" if self.kind != "D" else None,
            partial=self.partial,
        )  # type: ignore[arg-type]

    def connector(self, name: str, *_: Any, **__: Any) -> Any:
        return self.memory[name]

    def run(self, flow: str, **options: Any) -> dict[str, Any]:
        told: dict[str, Any] = Runner(self, self.store).run(flow, Options(**options)).run
        return told

    def heal(self, *ids: str, plan: bool = False, **asked: Any) -> Result:
        """What a person asks for."""
        options = Options(plan=plan, heal=Asked(ids, **asked), actor="ada", trigger="heal")
        return Runner(self, self.store).run("nightly", options)

    def bill(self, number: int) -> dict[str, Any]:
        """The ERP's record of a bill."""
        (row,) = [row for row in self.erp.rows["bills"].values() if row["tranid"] == f"INV-{number}"]
        return row

    def key_of(self, number: int) -> str:
        """The ERP's id of a bill."""
        return next(key for key, row in self.erp.rows["bills"].items() if row["tranid"] == f"INV-{number}")

    def invoice(self, number: int) -> dict[str, Any]:
        """The PSA's record of it."""
        return self.psa.rows["invoices"][f"p{number}"]

    def breaks(self) -> list[Break]:
        with self.store.read() as tx:
            return breaks.listed(tx, "nightly")
