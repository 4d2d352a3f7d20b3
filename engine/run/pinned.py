"""A run's documents as they were: kept with its digest, and compiled again for a replay with the logic that ran."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from engine.compile.process import ProcessPlan
from engine.compile.reconcile import ReconcilePlan
from engine.compile.registry import Registry
from engine.compile.sync import SyncPlan, printable
from engine.sdk.errors import Problem, UsageError
from engine.sdk.record import Fields, decode_json, same
from engine.spec.load import Document, model_class
from engine.spec.source import Positions
from engine.spec.workspace import Workspace
from engine.state import runs
from engine.state.store import Store

PINNED = "pinned"
"""Key of the documents themselves, beside what the digest is made of."""
_TYPES: dict[str, Callable[[str], Any]] = {
    "int": int,
    "Decimal": Decimal,
    "bool": lambda text: text == "True",
    "NoneType": lambda text: None,
}


def sources_of(registry: Registry, plan: SyncPlan | ProcessPlan | ReconcilePlan) -> Fields:
    """Every document that the run asked for, by `kind/name`; tables with the rows that they had."""
    found: Fields = {f"flow/{plan.name}": plan.document.data}
    for (kind, name), document in registry.asked.items():
        found[f"{kind}/{name}"] = document.data
    for name, table in registry.used_tables().items():
        model = registry.document("table", name, None).model
        rows = [dict(row) for row in table.rows]
        columns = list(dict.fromkeys([*table.columns, *table.key, *(model.valid or ())]))
        found[f"table/{name}"] = {
            "table": name, "key": model.key, "columns": columns, "rows": rows, "hit": model.hit,
            **({"valid": list(model.valid)} if model.valid else {}),
        }  # fmt: skip
    told: Fields = printable(found)
    return told


class Variant(Workspace):
    """The workspace with some documents in the place of its own; connections and functions are the same."""

    def __init__(self, real: Workspace, documents: Iterable[Document]) -> None:
        super().__init__(real.folder, real.data, real.positions, real.settings, real.environment)
        self.secrets, self.sandbox = real.secrets, real.sandbox
        for document in documents:
            self.put(document)


def pinned(workspace: Workspace, store: Store, logic: bytes) -> Workspace:
    """The workspace as the run with that digest saw it. Raises UsageError X915 where its documents are not kept."""
    with store.read() as tx:
        kept = runs.pinned(tx, logic)
    documents = decode_json(kept).get(PINNED) if kept is not None else None
    if documents is None:
        raise UsageError(Problem("X915", f"the documents of the logic {logic.hex()[:12]} are not kept", None,
                                 "replay with `--logic current`"))  # fmt: skip
    parts = [(place.partition("/"), told) for place, told in documents.items()]
    return Variant(workspace, [_document(workspace, kind, name, _typed(told)) for (kind, _, name), told in parts])


def _document(real: Workspace, kind: str, name: str, data: Any) -> Document:
    """The document that says this: today's where it has not changed, so that places in it are known."""
    if name in real.names(kind) and kind != "table":
        today = real.document(kind, name)
        if same(printable(today.data), printable(data)):
            return today
    positions = Positions(f"pinned:{kind}/{name}")
    if kind == "schema":
        from engine.spec.schema import read_schema

        model: Any = read_schema(name, data, positions)
    else:
        found = model_class(kind, data)
        assert found is not None
        model = found.model_validate(data)
    return Document(kind, name, positions.file, "workspace", data, model, positions)


def _typed(told: Any) -> Any:
    """Documents from their JSON: keys that are no text have their type back."""
    if isinstance(told, dict):
        return {_key(name): _typed(value) for name, value in told.items()}
    return [_typed(one) for one in told] if isinstance(told, list) else told


def _key(name: str) -> Any:
    kind, _, text = name.removeprefix("!").partition(" ")
    return _TYPES[kind](text) if name.startswith("!") and kind in _TYPES else name
