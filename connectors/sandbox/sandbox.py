"""All fakes together: started on a folder, seeded once, with a door for edits that a person would make there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from connectors.sandbox.bus import Bus
from connectors.sandbox.clock import Clock
from connectors.sandbox.faults import Fault, Faults, Rule, rules_of
from connectors.sandbox.journal import Entry
from connectors.sandbox.kantata import Kantata
from connectors.sandbox.netsuite import NetSuite
from connectors.sandbox.salesforce import Salesforce
from connectors.sandbox.seed import fill
from connectors.sandbox.server import Server
from connectors.sandbox.store import Doc, Store

SYSTEMS = ("salesforce", "kantata", "netsuite", "bus")
_FAKES: dict[str, Any] = {"salesforce": Salesforce, "kantata": Kantata, "netsuite": NetSuite, "bus": Bus}


class Sandbox:
    """Running fakes. `fakes` holds each system's own switches, `servers` its HTTP side with the `faults` hook."""

    rule = Rule

    def __init__(
        self, folder: Path | None, systems: Iterable[str], seed: int, size: int, ports: Mapping[str, int], latency: float
    ) -> None:  # fmt: skip
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self.clock, self._seed, self._size = Clock(), seed, size
        path = folder / "systems.db" if folder is not None else None
        self.store = Store(path, {name: fake.SHAPE for name, fake in _FAKES.items()}, self.clock)
        self._fill()
        self.fakes: dict[str, Any] = {name: _FAKES[name](self.store) for name in systems}
        self.servers: dict[str, Server] = {}
        for name, fake in self.fakes.items():
            if name == "netsuite":  # a request counts against its concurrency for as long as it takes
                fake.hold = latency
            self.servers[name] = Server(name, fake.handle, ports.get(name, 0), 0 if name == "netsuite" else latency)
            fake.url = self.servers[name].url

    def _fill(self) -> None:
        """Seed an empty store; of two processes that start at once, one does."""
        if not self.store.seeded():
            with self.store.writing():
                if not self.store.seeded():
                    fill(self.store, self._seed, self._size)

    def url(self, system: str) -> str:
        """The address of a system."""
        return self.servers[system].url

    def credentials(self, system: str) -> dict[str, str]:
        """Settings that its connection needs; test values, the same everywhere."""
        given: dict[str, str] = _FAKES[system].CREDENTIALS
        return dict(given)

    def get(self, system: str, object: str, id: str) -> Doc | None:
        """A document as it stands."""
        return self.store.get(system, object, id)

    def all(self, system: str, object: str) -> list[Doc]:
        """Documents of an object in order of id."""
        return self.store.all(system, object)

    def set(self, system: str, object: str, id: str, fields: Doc) -> None:
        """Change a document as a user of that system would; its stamps move. Raises KeyError."""
        self.fakes[system].edit(object, id, fields)

    def add(self, system: str, object: str, fields: Doc) -> str:
        """Add a document as a user would; its id."""
        made: str = self.fakes[system].add(object, fields)
        return made

    def delete(self, system: str, object: str, id: str) -> None:
        """Delete a document as a user would."""
        self.fakes[system].delete(object, id)

    def journal(self, system: str) -> list[Entry]:
        """Writes that a system accepted, in order; `headers` is None where a user made them through this object."""
        return self.store.journal(system)

    def inject(self, script: Sequence[Rule | Mapping[str, Any]], seed: int = 1) -> None:
        """Let a script of faults stand before every fake; an empty one ends them. Raises pydantic.ValidationError."""
        rules = [one if isinstance(one, Rule) else rules_of([one])[0] for one in script]
        lags = [one.seconds.total_seconds() for one in rules if one.do == "stale"]
        self.store.remembered = max(lags, default=0.0)
        faults = Faults(self, rules, seed)
        for name, server in self.servers.items():
            server.faults = faults.between(name) if rules else None

    def faults(self) -> list[Fault]:
        """Faults that were made, in order."""
        return [Fault._make(row) for row in self.store.faults()]

    def expire_tokens(self, system: str) -> None:
        """Every token given out so far stops working."""
        self.fakes[system].expire_tokens()

    def reset(self) -> None:
        """The data as seeded, an empty journal."""
        with self.store.writing():
            self.store.clear()
            self._fill()

    def close(self) -> None:
        for server in self.servers.values():
            server.close()
        self.store.close()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def start(
    folder: Path | None = None, systems: Iterable[str] = SYSTEMS, *, seed: int = 1, size: int | str = "demo",
    ports: Mapping[str, int] | None = None, latency_ms: int = 0,
) -> Sandbox:  # fmt: skip
    """Start fakes. A folder that was seeded before keeps its data.

    size: "demo", or a factor on every volume (1: about 1,500 time entries; 700: about a million).
    ports: fixed ports by system, others are free ones. latency_ms: waited before each answer.
    """
    return Sandbox(folder, systems, seed, 1 if size == "demo" else int(size), ports or {}, latency_ms / 1000)
