"""The three fakes with everything that CRM and PSA hold read in, once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from connectors.sandbox import Sandbox, start
from engine.compile.mapping import compile_inbound
from engine.run.connectors import Connectors
from engine.run.runner import Runner
from engine.run.session import Options, Session
from engine.sdk.record import Fields, decode_json
from engine.spec.workspace import Workspace
from engine.state import canonical, exceptions, links
from engine.state.store import Store
from tests.library.office import Office, opened

SETTINGS = """
crosswalk: 1
name: library
connections:
  crm: {{ connector: salesforce, url: "{salesforce}", auth: {{ client_id: "${{secret:client_id}}", client_secret: "${{secret:client_secret}}" }} }}
  psa: {{ connector: kantata, url: "{kantata}", auth: {{ token: "${{secret:kantata_token}}" }} }}
  erp: {{ connector: netsuite, url: "{netsuite}", account: SANDBOX_SB1, auth: {{ consumer_key: "${{secret:consumer_key}}", consumer_secret: "${{secret:consumer_secret}}", token: "${{secret:ns_token}}", token_secret: "${{secret:token_secret}}" }} }}
  given: {{ connector: files, path: given, format: ndjson }}
"""
FLOW = "flow: {flow}\nkind: sync\nentity: {entity}\nsource: {{ connection: {connection}, mapping: {mapping} }}\n"
GUARD = "guard: { errors: 100%, empty_source: ignore }\n"
CONNECTIONS = {"salesforce": "crm", "kantata": "psa", "netsuite": "erp"}


@dataclass
class House:
    """A workspace on running fakes and an empty state. ran: mapping → how its read ended."""

    workspace: Workspace
    runner: Runner
    sandbox: Sandbox
    ran: dict[str, Fields] = field(default_factory=dict)

    def write(self, path: str, text: str) -> None:
        """A document of the workspace."""
        place = self.workspace.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, "utf-8")

    def run(self, flow: str) -> Fields:
        return self.runner.run(flow, Options()).run

    def read_in(self, mapping: str) -> None:
        """Map every record of the mapping's object into the canonical store."""
        entity = self.workspace.document("mapping", mapping).model.entity
        name, connection = f"in/{mapping}", CONNECTIONS[mapping.split("/")[0]]
        text = FLOW.format(flow=name, entity=entity, connection=connection, mapping=mapping)
        self.write(f"flows/{name}.yaml", f"{text}targets: []\n{GUARD}")
        self.ran[mapping] = self.run(name)

    def records(self, entity: str) -> list[Fields]:
        """Canonical records."""
        with self.runner.store.read() as tx:
            return [decode_json(one.data) for one in canonical.scan(tx, entity)]

    def troubles(self, mapping: str) -> list[tuple[str, str]]:
        """(code, native key) of every open exception of a read."""
        with self.runner.store.read() as tx:
            return sorted((row.code, row.key) for row in exceptions.listed(tx, flow=f"in/{mapping}", limit=5000))

    def told(self, flow: str) -> list[str]:
        """What the open exceptions of a flow say."""
        with self.runner.store.read() as tx:
            return [row.message for row in exceptions.listed(tx, flow=flow)]

    def id_of(self, entity: str, connection: str, native: str, object: str | None = None) -> str:
        """The canonical id of a native record."""
        with self.runner.store.read() as tx:
            (link,) = links.by_native(tx, connection, entity, [native], object)[native]
        return link.canonical_id

    def native_of(self, entity: str, connection: str, id: str, object: str) -> str:
        """The native id that a canonical record was written as."""
        with self.runner.store.read() as tx:
            (link,) = links.by_canonical(tx, connection, entity, [id], object)[id]
        return link.native_id

    def mapped_back(self, mapping: str, native: str) -> Fields:
        """A record as its system holds it now, read through the connector and mapped in; nothing is kept of it."""
        document, connection = self.workspace.document("mapping", mapping), CONNECTIONS[mapping.split("/")[0]]
        registry = self.runner.registry()
        compiled = compile_inbound(document, registry)
        session = Session(self.workspace, self.runner.store, registry, Connectors(self.workspace), "back", Options())
        assert compiled.inbound is not None
        try:
            with session.reading():
                found = session.connectors[connection].get(compiled.model.object or "", [native], compiled.reads)
                slots = session.link_slots(compiled.inbound.slots, connection, inward=True)
                canonical_form, faults = compiled.inbound.inward(found[native].value, session.env, slots)
        finally:
            session.connectors.close()
        assert faults == []
        return canonical_form


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder: Path = tmp_path_factory.mktemp("library")
    patch = pytest.MonkeyPatch()
    with start() as sandbox:
        given: dict[str, Any] = {**sandbox.credentials("salesforce"), **sandbox.credentials("netsuite")}
        for name, value in given.items():
            patch.setenv(f"CROSSWALK_SECRET_{name.upper()}", value)
        patch.setenv("KANTATA_TOKEN", sandbox.credentials("kantata")["token"])
        patch.setenv("NS_TOKEN", sandbox.credentials("netsuite")["token"])
        patch.delenv("CROSSWALK_SECRET_TOKEN", raising=False)
        urls = {name: sandbox.url(name) for name in sandbox.servers}
        (folder / "crosswalk.yaml").write_text(SETTINGS.format(**urls), "utf-8")
        (folder / "given").mkdir()
        workspace = Workspace.open(folder)
        store = Store.open("sqlite:///state.db", folder)
        yield House(workspace, Runner(workspace, store), sandbox)
        store.close()
    patch.undo()


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with opened(tmp_path_factory.mktemp("office") / "quote_to_cash") as found:
        yield found
