"""One document from its file to its model: kind, name, `extends`, validation; positions survive all of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from engine.sdk.errors import Position, Problem, Problems, SpecError, nearest
from engine.sdk.record import digest
from engine.spec.faults import problems_of
from engine.spec.source import Positions, read_yaml

FOLDERS = {
    "flow": "flows",
    "table": "mappings/tables",
    "mapping": "mappings",
    "schema": "schemas",
    "connector": "connectors",
    "indicator": "indicators",
    "test": "tests",
}
"""Kind → folder; a table's folder lies inside that of the mappings."""
_LATER = {"deprecated": "deprecation notices", "similar": "matching by similarity"}


@dataclass(frozen=True)
class Document:
    """A document that was read: plain data (after `extends`), its model, and where everything stands.

    origin: `workspace` or `library`. file: path relative to the workspace (library: to the library).
    """

    kind: str
    name: str
    file: str
    origin: str
    data: Any
    model: Any
    positions: Positions
    parents: tuple[str, ...] = ()
    path: Path | None = field(default=None, compare=False)

    def at(self, *path: Any) -> Position:
        """The place of the value at a path, or of the nearest parent that exists."""
        return self.positions.at(*path)

    def key_at(self, *path: Any) -> Position:
        """The place of the key at a path."""
        return self.positions.key_at(*path)

    @property
    def digest(self) -> bytes:
        """Equal for documents that say the same."""
        return digest([self.kind, self.name, _plain(self.data)])


def _plain(data: Any) -> Any:
    if isinstance(data, dict):
        return {f"{key.__class__.__name__}:{key}": _plain(value) for key, value in data.items()}
    return [_plain(item) for item in data] if isinstance(data, list) else data


Parent = Callable[[str, str, Position], Document]
"""(kind, name, place that asks) → the document to extend."""


def model_class(kind: str, data: Any) -> type[BaseModel] | None:
    """The model of a kind of document; a flow's by its own `kind`."""
    if kind == "flow":
        from engine.spec.process import ProcessFlow
        from engine.spec.reconcile import ReconcileFlow
        from engine.spec.sync import SyncFlow

        kinds: dict[Any, type[BaseModel]] = {"sync": SyncFlow, "reconcile": ReconcileFlow, "process": ProcessFlow}
        return kinds.get(data.get("kind"))
    if kind == "mapping":
        from engine.spec.mapping import Mapping

        return Mapping
    if kind == "table":
        from engine.spec.table import Table

        return Table
    if kind == "indicator":
        from engine.spec.indicator import Indicator

        return Indicator
    if kind == "test":
        from engine.spec.testcase import TestFile

        return TestFile
    if kind == "connector":
        from engine.sdk.manifest import Manifest

        return Manifest
    return None


def content(path: Path, shown: str) -> bytes:
    """A file's bytes. Raises SpecError E100 where the system does not give them."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(error, shown) from None


def yaml_below(folder: Path, shown: str) -> Iterator[tuple[str, list[Path]]]:
    """Every folder from this one on with its `*.yaml` files, in no order; none where it does not exist.

    Raises SpecError E100 for a folder that cannot be looked into: it is not an empty one.
    """

    def refused(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            place = Path(error.filename).relative_to(folder).as_posix()
            raise _unreadable(error, shown if place == "." else f"{shown}/{place}")

    for place, _, files in os.walk(folder, onerror=refused):
        yield place, [Path(place) / name for name in files if name.endswith(".yaml")]


def _unreadable(error: OSError, shown: str) -> SpecError:
    why = (error.strerror or type(error).__name__).lower()
    hint = "give yourself the right to read it, or move it away"
    return SpecError(Problem("E100", f"it cannot be read: {why}", Position(shown), hint))


def load_document(path: Path, shown: str, kind: str, name: str, origin: str, parent: Parent) -> Document:
    """Read, extend and validate one document. Raises SpecError with every fault in it."""
    data, positions = read_yaml(content(path, shown), shown)
    if not isinstance(data, dict):
        raise SpecError(Problem("E141", "a document is a mapping", positions.at(), f"start with `{kind}: {name}`"))
    other: Document | None = None
    if "extends" in data:
        data, other = _extended(data, positions, kind, name, parent)
    parents = (*other.parents, other.name) if other is not None else ()
    problems = Problems()
    if kind == "schema":
        from engine.spec.schema import read_schema

        return Document(kind, name, shown, origin, data, read_schema(name, data, positions), positions, parents, path)
    _header(data, positions, kind, name, problems)
    problems.raise_any()
    model_type = model_class(kind, data)
    if model_type is None:
        kinds = ["sync", "reconcile", "process"]
        at = positions.at("kind")
        if "kind" not in data:
            raise SpecError(Problem("E141", "`kind` is missing", at, f"write one of {', '.join(kinds)}"))
        raise SpecError(
            Problem("E143", f"there is no kind of flow {data['kind']!r}", at, nearest(str(data["kind"]), kinds))
        )
    try:
        model: Any = model_type.model_validate(data)
    except ValidationError as error:
        raise SpecError(problems_of(error, model_type, positions)) from None
    if kind == "table":
        from engine.spec.table import complete

        model = complete(model, path, positions, other.model if other is not None else None)
    return Document(kind, name, shown, origin, data, model, positions, parents, path)


def _header(data: dict[Any, Any], positions: Positions, kind: str, name: str, problems: Problems) -> None:
    first = next(iter(data), None)
    for later, what in _LATER.items():
        if later in data:
            problems.add("E120", f"{what} (`{later}`) are not there yet", positions.key_at(later), "remove the key")
    if first != kind and "extends" not in data:
        problems.add("E145", f"the first key says what a document is, and here it is {first!r}",
                     positions.key_at(first), f"start with `{kind}: {name}`")  # fmt: skip
    elif kind in data and kind != "test" and data[kind] != name:
        problems.add("E146", f"the document calls itself {data[kind]!r}, its path says {name!r}",
                     positions.at(kind), f"write `{kind}: {name}`, or move the file")  # fmt: skip


def _extended(
    data: dict[Any, Any], positions: Positions, kind: str, name: str, parent: Parent
) -> tuple[dict[Any, Any], Document]:
    """The other document's keys under ours, merged key by key, and that document; positions of both are kept.

    Rows of tables are merged by their key, once they are known: see `table.complete`.
    """
    other_name, at = data["extends"], positions.at("extends")
    if not isinstance(other_name, str):
        raise SpecError(Problem("E147", "`extends` names one document", at, "write its name"))
    other = parent(kind, other_name, at)
    below = {key: value for key, value in other.data.items() if kind != "table" or key not in ("rows", "file")}
    dropped = ("remove",) if kind == "table" else ("extends", "remove")
    merged = _merged(below, {key: value for key, value in data.items() if key not in dropped})
    merged[kind] = data.get(kind, name)
    for path, place in other.positions.values.items():
        positions.values.setdefault(path, place)
    for path, place in other.positions.keys.items():
        positions.keys.setdefault(path, place)
    for number, dotted in enumerate(data.get("remove") or ()):
        _removed(merged, str(dotted).split("."), positions.at("remove", number))
    ordered = {kind: merged.pop(kind), **merged} if kind != "schema" else merged
    return ordered, other


def _merged(below: Any, above: Any) -> Any:
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{key: _merged(below.get(key), value) for key, value in above.items()}}
    return above


def _removed(data: Any, names: list[str], at: Position) -> None:
    for name in names[:-1]:
        data = data.get(name) if isinstance(data, dict) else None
    if not isinstance(data, dict) or names[-1] not in data:
        known = data if isinstance(data, dict) else {}
        raise SpecError(Problem("E147", f"`remove` names {'.'.join(names)!r}, which is not there", at,
                                nearest(names[-1], map(str, known))))  # fmt: skip
    del data[names[-1]]
