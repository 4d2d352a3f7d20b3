"""Connections: the settings of a workspace's systems, with values from outside put in when they are opened.

`${env:NAME}`, `${env:NAME:-default}` and `${file:path}` are read when the workspace is; `${secret:name}` and
`${sandbox:system}` only when a connection is opened, so that validating never touches a secret.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.sdk.config import ConnectionConfig, Secret
from engine.sdk.errors import ConnectorError, Position, Problem, Problems, SpecError, unknown_name
from engine.spec.faults import problems_of
from engine.spec.source import Positions

REFERENCE = re.compile(r"\$\{(env|file|secret|sandbox):([^}]*)\}")
SECRET_KEYS = re.compile(r"(secret|token|password|passphrase|private_key|api_key)$")
Sandbox = Callable[[str], str]


def outside(data: Any, positions: Positions, folder: Path, problems: Problems, path: tuple[Any, ...] = ()) -> Any:
    """The data with `${env:…}` and `${file:…}` put in; `${secret:…}` and `${sandbox:…}` stay."""
    if isinstance(data, dict):
        return {key: outside(value, positions, folder, problems, (*path, key)) for key, value in data.items()}
    if isinstance(data, list):
        return [outside(value, positions, folder, problems, (*path, n)) for n, value in enumerate(data)]
    if not isinstance(data, str) or "${" not in data:
        return data

    def put(match: re.Match[str]) -> str:
        kind, name = match.groups()
        at = positions.at(*path)
        if kind == "env":
            name, _, default = name.partition(":-")
            value = os.environ.get(name, default if ":-" in match[0] else None)
            if value is None:
                problems.add(
                    "E130", f"the environment has no {name}", at, f"set {name}, or write ${{env:{name}:-default}}"
                )
            return value or ""
        if kind == "file":
            file = folder / name
            if not file.is_file():
                problems.add("E130", f"there is no file {name!r}", at, "create it, or correct the path")
                return ""
            return file.read_text("utf-8").strip()
        return match[0]

    return REFERENCE.sub(put, data)


def installed() -> dict[str, EntryPoint]:
    """Connector name → entry point. Imports nothing until a connection asks for it."""
    return _installed(tuple(sys.path))


@cache
def _installed(path: tuple[str, ...]) -> dict[str, EntryPoint]:
    """What stands on that path; every package there is opened to see, so once is enough."""
    return {point.name: point for point in entry_points(group="engine.connectors")}


def connector_class(name: str, at: Position | None) -> Any:
    """The class of an installed connector. Absent and broken are different errors."""
    known = installed()
    if name not in known:
        raise SpecError(unknown_name("connector", name, known, at))
    try:
        return known[name].load()
    except ImportError as error:
        raise SpecError(
            Problem(
                "E102",
                f"connector {name!r} is installed but cannot be loaded: {error}",
                at,
                f"its code is at {known[name].value}",
            )
        ) from error


def literal_secrets(data: Any, positions: Positions, problems: Problems, path: tuple[Any, ...]) -> None:
    """A secret written out in YAML is an error: only references may stand there."""
    if isinstance(data, dict):
        for key, value in data.items():
            secret = isinstance(key, str) and SECRET_KEYS.search(key) and key not in ("token_url",)
            if secret and isinstance(value, str) and value and not REFERENCE.search(value):
                problems.add("E131", f"{key!r} is written out", positions.at(*path, key),
                             f"keep it outside and write ${{secret:{key}}}")  # fmt: skip
            literal_secrets(value, positions, problems, (*path, key))
    if isinstance(data, str) and re.search(r"://[^/@:\s]+:[^@/$\s{]+@", data):
        problems.add("E131", "a password is written out in the URL", positions.at(*path),
                     "write ${secret:name} in its place")  # fmt: skip


class Secrets:
    """Looks secrets up: environment, then a folder of files, then the providers that are configured."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder, self.settings = folder, settings
        self.seen: set[str] = set()
        """Every value handed out, for redaction."""

    def find(self, name: str, at: Position | None) -> str:
        """The secret's text. Raises ConnectorError C501 that says where it was looked for."""
        variable = re.sub(r"\W", "_", name).upper()
        places = [f"CROSSWALK_SECRET_{variable}", variable]
        value = next((os.environ[one] for one in places if one in os.environ), None)
        looked = " and ".join(places)
        directory = self.settings.get("files")
        if value is None and directory:
            file = self.folder / str(directory) / name
            looked += f" and {directory}/{name}"
            value = file.read_text("utf-8").strip() if file.is_file() else None
        if value is None and self.settings.get("keyring"):
            looked += " and the keyring"
            value = self._keyring(name, at)
        if value is None and self.settings.get("vault"):
            looked += " and Vault"
            value = self._vault(name, at)
        if value is None:
            problem = Problem("C501", f"the secret {name!r} is not set: looked for {looked}", at, f"set {places[0]}")
            raise ConnectorError("config", problem)
        self.seen.add(value)
        return value

    def _keyring(self, name: str, at: Position | None) -> str | None:
        try:
            import keyring
        except ImportError:
            raise _extra("keyring", at) from None
        value: str | None = keyring.get_password(str(self.settings["keyring"]), name)
        return value

    def _vault(self, name: str, at: Position | None) -> str | None:
        try:
            import hvac
        except ImportError:
            raise _extra("vault", at) from None
        settings = self.settings["vault"]
        client = hvac.Client(url=settings["url"], token=os.environ.get("VAULT_TOKEN"))
        path, _, key = name.partition("/")
        answer = client.secrets.kv.v2.read_secret_version(path=path, mount_point=settings.get("mount", "secret"))
        value: str | None = answer["data"]["data"].get(key or "value")
        return value


def _extra(name: str, at: Position | None) -> ConnectorError:
    return ConnectorError("config", Problem(
        "C502", f"the {name} provider is not installed", at, f"run: pip install 'crosswalk[{name}]'"))  # fmt: skip


def revealed(data: Any, secrets: Secrets, sandbox: Sandbox | None, positions: Positions, path: tuple[Any, ...]) -> Any:
    """The settings with secrets and sandbox addresses put in; a value that held a secret becomes a Secret."""
    if isinstance(data, dict):
        return {key: revealed(value, secrets, sandbox, positions, (*path, key)) for key, value in data.items()}
    if isinstance(data, list):
        return [revealed(value, secrets, sandbox, positions, (*path, n)) for n, value in enumerate(data)]
    if not isinstance(data, str) or "${" not in data:
        return data
    at, hidden = positions.at(*path), False

    def put(match: re.Match[str]) -> str:
        nonlocal hidden
        kind, name = match.groups()
        if kind == "secret":
            hidden = True
            return secrets.find(name, at)
        if kind == "sandbox" and sandbox is not None:
            return sandbox(name)
        raise ConnectorError("config", Problem("C503", f"{match[0]} cannot be resolved here", at, "see the guide"))

    text = REFERENCE.sub(put, data)
    key = path[-1] if path else ""
    return Secret(text) if hidden and isinstance(key, str) and SECRET_KEYS.search(key) else text


def build(model: type[ConnectionConfig], data: dict[str, Any], positions: Positions, path: tuple[Any, ...]) -> Any:
    """The connection's settings as its connector's class. Raises SpecError with every fault."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise SpecError(problems_of(error, model, positions, path)) from None
