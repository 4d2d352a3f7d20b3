"""All fakes together: started on a folder, seeded once, with a door for edits that a person would make there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from connectors.sandbox.kantata import Kantata
from connectors.sandbox.netsuite import NetSuite
from connectors.sandbox.salesforce import Salesforce
from connectors.sandbox.seed import seed_all
from connectors.sandbox.server import Server
from connectors.sandbox.store import Doc, Store

SYSTEMS = ("salesforce", "kantata", "netsuite")
_FAKES: dict[str, Any] = {"salesforce": Salesforce, "kantata": Kantata, "netsuite": NetSuite}


class Sandbox:
    """Running fakes."""

    def __init__(
        self,
        folder: Path | None,
        systems: Iterable[str],
        seed: int,
        size: int,
        ports: Mapping[str, int],
        latency: float,
    ) -> None:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self.store = Store(folder / "systems.db" if folder is not None else None)
        if not self.store.seeded():
            with self.store.writing():
                seed_all(self.store, seed, size)
        self.fakes = {name: _FAKES[name](self.store) for name in systems}
        self.servers = {
            name: Server(name, fake.handle, ports.get(name, 0), latency) for name, fake in self.fakes.items()
        }
        for name, fake in self.fakes.items():
            fake.url = self.servers[name].url

    def url(self, system: str) -> str:
        """The address of a system."""
        return self.servers[system].url

    def credentials(self, system: str) -> dict[str, str]:
        """Settings that its connection needs; test values, the same everywhere."""
        given: dict[str, str] = _FAKES[system].CREDENTIALS
        return given

    def get(self, system: str, object: str, id: str) -> Doc | None:
        """A document as it stands."""
        return self.store.get(system, object, id)

    def all(self, system: str, object: str) -> list[Doc]:
        """Documents of an object."""
        return self.store.all(system, object)

    def set(self, system: str, object: str, id: str, fields: Doc) -> None:
        """Change a document as a user of that system would; its stamps move."""
        self.fakes[system].edit(object, id, fields)

    def add(self, system: str, object: str, fields: Doc) -> str:
        """Add a document as a user would; its id."""
        made: str = self.fakes[system].add(object, fields)
        return made

    def journal(self, system: str) -> list[tuple[int, str, str, str, Any]]:
        """Writes that a system accepted."""
        return self.store.journal(system)

    def expire_tokens(self, system: str) -> None:
        """Every token given out so far stops working."""
        self.fakes[system].expire_tokens()

    def close(self) -> None:
        for server in self.servers.values():
            server.close()
        self.store.close()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def start(
    folder: Path | None = None, systems: Iterable[str] = SYSTEMS, *, seed: int = 1, size: int = 1,
    ports: Mapping[str, int] | None = None, latency_ms: int = 0,
) -> Sandbox:  # fmt: skip
    """Start fakes; a folder that was seeded before keeps its data. size multiplies the volume of time entries."""
    return Sandbox(folder, systems, seed, size, ports or {}, latency_ms / 1000)
