"""A workspace: the directory with `crosswalk.yaml`, its documents, and the built-in library behind them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.sdk.errors import Position, Problem, Problems, SpecError, UsageError, nearest, unknown_name
from engine.sdk.library import library_folder
from engine.spec.connection import (
    Sandbox,
    Secrets,
    build,
    connector_class,
    installed,
    literal_secrets,
    outside,
    revealed,
)
from engine.spec.faults import problems_of
from engine.spec.listing import Listing
from engine.spec.load import FOLDERS, Document, content, load_document
from engine.spec.settings import Settings
from engine.spec.source import Positions, read_yaml

SETTINGS = "crosswalk.yaml"
RESERVED = "canonical"


@dataclass(frozen=True)
class ConnectionInfo:
    """What can be known of a connection without opening it."""

    name: str
    role: str
    timezone: str
    connector: str
    at: Position

    @property
    def canonical(self) -> bool:
        return self.name == RESERVED


def find_folder(start: Path) -> Path:
    """The nearest parent with `crosswalk.yaml`. Raises UsageError X901."""
    for folder in (start, *start.parents):
        if (folder / SETTINGS).is_file():
            return folder
    raise UsageError(Problem("X901", f"there is no {SETTINGS} here or above", None,
                             "run `crosswalk init`, or give --workspace DIR"))  # fmt: skip


class Workspace:
    """Documents by kind and name: the workspace's own first, then the library's. Files are read once, when asked."""

    def __init__(
        self, folder: Path, data: Any, positions: Positions, settings: Settings, environment: str | None
    ) -> None:
        self.folder, self.data, self.positions = folder, data, positions
        self.settings, self.environment = settings, environment
        self.library = library_folder()
        self.secrets = Secrets(folder, settings.secrets.model_dump())
        self.sandbox: Sandbox | None = None
        self._documents: dict[tuple[str, str], Document] = {}
        self._listings: dict[Path, Listing] = {}
        self._loading: list[tuple[str, str]] = []
        self._reading = threading.RLock()
        """One thread reads documents at a time: what is being loaded tells circles, whoever asks."""

    @classmethod
    def open(cls, folder: Path | None = None, env: str | None = None) -> Workspace:
        """Read `crosswalk.yaml`. Raises SpecError with every fault in it, UsageError where there is none."""
        folder = (folder or find_folder(Path.cwd())).resolve()
        if not (folder / SETTINGS).is_file():
            raise UsageError(Problem("X901", f"there is no {SETTINGS} in that folder", None, "run `crosswalk init`"))
        data, positions = read_yaml(content(folder / SETTINGS, SETTINGS), SETTINGS)
        problems = Problems()
        if not isinstance(data, dict) or next(iter(data), None) != "crosswalk":
            raise SpecError(Problem("E145", "the workspace's first key is `crosswalk: 1`", positions.at(), "add it"))
        literal_secrets(data.get("connections"), positions, problems, ("connections",))
        data = cls._for_environment(data, env, positions, problems)
        data = outside(data, positions, folder, problems)
        settings = None
        try:
            settings = Settings.model_validate(data)
        except ValidationError as error:
            problems.extend(problems_of(error, Settings, positions))
        problems.raise_any()
        assert settings is not None
        return cls(folder, data, positions, settings, env)

    @staticmethod
    def _for_environment(data: dict[str, Any], env: str | None, positions: Positions, problems: Problems) -> Any:
        """The settings with an environment's keys merged deep over them."""
        if env is None:
            return data
        known = data.get("environments") or {}
        if env not in known:
            raise UsageError(
                Problem("X902", f"there is no environment {env!r}", positions.at("environments"), nearest(env, known))
            )
        for path, place in list(positions.values.items()):
            if path[:2] == ("environments", env):
                positions.values[path[2:]] = place
        return _merged(data, known[env])

    def at(self, *path: Any) -> Position:
        """A place in `crosswalk.yaml`."""
        return self.positions.at(*path)

    @property
    def functions(self) -> Path | None:
        """The file with the workspace's own functions, if it has one."""
        return self.folder / self.settings.functions if self.settings.functions else None

    # ------------------------------------------------------------------ documents
    def names(self, kind: str, *, own: bool = False) -> list[str]:
        """Names of every document of a kind; `own`: of the workspace only."""
        found = dict.fromkeys(name for name, _ in self._files(self.folder, kind))
        if not own:
            found |= dict.fromkeys(name for name, _ in self._files(self.library, kind))
        return sorted(found)

    def _base(self, root: Path, kind: str) -> Path:
        folder = FOLDERS[kind]
        if kind == "connector" and root == self.library:
            folder = "connectors/manifests"
        if kind == "test" and root == self.library and root != self.folder:
            folder = "no-tests-in-the-library"
        return root / folder

    def _files(self, root: Path, kind: str) -> Iterator[tuple[str, Path]]:
        base = self._base(root, kind)
        known = self._listings.get(base)
        if known is None or not known.stands():
            known = self._listings[base] = Listing.of(base, FOLDERS[kind])
        for name, path in known.files:
            if kind == "mapping" and name.startswith("tables/"):
                continue
            yield name, path

    def document(self, kind: str, name: str, at: Position | None = None) -> Document:
        """A document, the workspace's own before the library's.

        Raises SpecError: E101 at the place that asked for a name that does not exist; the document's own faults.
        """
        key = (kind, name)
        if key in self._documents:
            return self._documents[key]
        path, origin = self._find(kind, name)
        if path is None:
            raise SpecError(unknown_name(kind, name, self.names(kind), at))
        with self._reading:
            if key not in self._documents:
                self._documents[key] = self._load(kind, name, path, origin)
        return self._documents[key]

    def put(self, document: Document) -> None:
        """Let a document stand in the place of the file of its name (a test's own tables)."""
        self._documents[document.kind, document.name] = document

    def _load(self, kind: str, name: str, path: Path, origin: str) -> Document:
        if (kind, name) in self._loading:
            raise SpecError(Problem("E147", f"{name!r} extends itself in a circle", Position(self._shown(path, origin)),
                                    "break the circle"))  # fmt: skip
        self._loading.append((kind, name))
        try:
            return load_document(path, self._shown(path, origin), kind, name, origin, self._parent)
        finally:
            self._loading.pop()

    def candidate(self, kind: str, name: str, path: Path) -> Document:
        """A document of any file, read as if it stood in the workspace under that name."""
        self._loading.append((kind, name))
        try:
            return load_document(path, path.name, kind, name, "workspace", self._parent)
        finally:
            self._loading.pop()

    def _parent(self, kind: str, name: str, at: Position) -> Document:
        """What `extends` names; a document may extend the library's of the same name."""
        if self._loading and self._loading[-1] == (kind, name):
            path = self._base(self.library, kind) / f"{name}.yaml"
            if not path.is_file() or self._shown(path, "library") == at.file:
                raise SpecError(Problem("E147", f"{name!r} extends itself", at, "name another document"))
            return load_document(path, self._shown(path, "library"), kind, name, "library", self._parent)
        return self.document(kind, name, at)

    def _find(self, kind: str, name: str) -> tuple[Path | None, str]:
        if not all(part not in ("", ".", "..") for part in name.split("/")) or "\\" in name or "\0" in name:
            return None, ""
        for root, origin in ((self.folder, "workspace"), (self.library, "library")):
            path = self._base(root, kind) / f"{name}.yaml"
            if path.is_file():
                return path, origin
        return None, ""

    def _shown(self, path: Path, origin: str) -> str:
        root = self.folder if origin == "workspace" else self.library
        shown = path.relative_to(root).as_posix()
        return shown if origin == "workspace" else f"library:{shown}"

    def documents(self, kind: str, *, own: bool = False) -> Iterator[Document]:
        """Every document of a kind; raises SpecError at the first that is wrong."""
        for name in self.names(kind, own=own):
            yield self.document(kind, name)

    # ------------------------------------------------------------------ connections
    def connection(self, name: str, at: Position | None = None) -> ConnectionInfo:
        """What is known of a connection. Raises SpecError for an unknown one, with the nearest name."""
        if name == RESERVED:
            return ConnectionInfo(RESERVED, RESERVED, "UTC", RESERVED, Position(SETTINGS))
        if name not in self.settings.connections:
            raise SpecError(unknown_name("connection", name, [*self.settings.connections, RESERVED], at))
        data, place = self.settings.connections[name], self.at("connections", name)
        connector = data.get("connector")
        if not isinstance(connector, str):
            raise SpecError(Problem("E141", "`connector` is missing", place, "add `connector:`"))
        return ConnectionInfo(name, data.get("role") or name, data.get("timezone") or "UTC", connector, place)

    def roles(self) -> set[str]:
        """Roles that connections have; connections without a connector's name are faults told elsewhere."""
        given = self.settings.connections
        return {self.connection(name).role for name in given if isinstance(given[name].get("connector"), str)}

    def connector_kind(self, name: str, at: Position | None) -> tuple[Any, Document | None]:
        """The connector's class, and its manifest where it is one."""
        path, _ = self._find("connector", name)
        if path is not None:
            return connector_class("rest", at), self.document("connector", name, at)
        if name not in installed():
            raise SpecError(unknown_name("connector", name, [*installed(), *self.names("connector")], at))
        return connector_class(name, at), None

    def config(self, name: str, *, reveal: bool = True, objects: dict[str, dict[str, Any]] | None = None) -> Any:
        """A connection's settings as its connector's class; secrets are put in where `reveal` says so.

        objects: settings of single objects that a flow asks for, over those of the connection.
        """
        info = self.connection(name)
        place = ("connections", name)
        cls, manifest = self.connector_kind(info.connector, self.at(*place, "connector"))
        data = dict(self.settings.connections[name])
        if objects:
            data["objects"] = _merged(data.get("objects"), objects)
        if reveal:
            data = revealed(data, self.secrets, self.sandbox, self.positions, place)
        if manifest is not None:
            data = cls.config_model.settings_of(data, manifest.model)
        return build(cls.config_model, data, self.positions, place)

    def connector(
        self, name: str, objects: dict[str, dict[str, Any]] | None = None, permits: Any = None, opened: Any = None
    ) -> Any:
        """The connector of a connection, opened with its settings (see `config`). The caller closes it.

        permits: budgets that all processes share (`engine.sdk.account.Permits`). opened: who is told of jobs (`JobNote`).
        """
        from engine.sdk.config import ConnectionContext

        more = {} if opened is None else {"opened": opened}
        cls, _ = self.connector_kind(self.connection(name).connector, self.at("connections", name, "connector"))
        return cls(self.config(name, objects=objects), ConnectionContext(name, self.folder, permits=permits, **more))


def _merged(below: Any, above: Any) -> Any:
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{key: _merged(below.get(key), value) for key, value in above.items()}}
    return above
