"""The example's workspace with people, clients, contracts and projects read in: what processes of the library begin with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from engine.cli.demo import example_folder
from engine.cli.sandboxes import running, setting, stop_all
from engine.run.runner import Runner
from engine.run.session import Options
from engine.sdk.record import Fields, decode_json
from engine.spec.workspace import Workspace
from engine.state import approvals, canonical, exceptions, processes
from engine.state.store import Store

BEFORE = (
    "legal-entities", "legal-entity-choices", "exchange-rates", "sellers", "clients", "contracts", "labour-categories", "rate-cards",
    "resources-to-erp", "projects-to-erp", "project-facts",
)  # fmt: skip
DEAL = "0060000000000{:02d}AAA"
GOOD = {"StageName": "Closed Won", "Amount": Decimal(48_000), "Legal_Entity__c": "UK", "Expected_Start__c": "2026-10-01",
        "AccountId": "001000000000009AAA", "CurrencyIsoCode": "GBP"}  # fmt: skip


@dataclass
class Office:
    """The example's workspace on running fakes, clients and contracts read in, and no deal won."""

    folder: Path
    runner: Runner
    box: Any

    def run(self, *flows: str) -> list[Fields]:
        return [self.runner.run(name, Options(actor="ada")).run for name in flows]

    def anew(self, flow: str) -> Fields:
        """A run that reads everything again."""
        return self.runner.run(flow, Options(actor="ada", full=True)).run

    def win(self, number: int, **fields: Any) -> str:
        """A deal closes; its name."""
        name = f"Deal {number}"
        self.box.set("salesforce", "Opportunity", DEAL.format(number), {**GOOD, "Name": name, **fields})
        return name

    def waiting(self, flow: str) -> list[tuple[str, str | None, str | None]]:
        """(step, what it waits for, queue) of the live instances of a flow."""
        plan = self.runner.workspace.document("flow", flow).model
        with self.runner.store.read() as tx:
            live = [one for one in processes.listed(tx, flow=flow) if one.live]
        return sorted((plan.steps[one.step].name, one.waiting, one.queue) for one in live)

    def told(self, flow: str) -> list[str]:
        with self.runner.store.read() as tx:
            return sorted(row.message for row in exceptions.listed(tx, flow=flow))

    def stopped(self, flow: str) -> dict[str, list[str]]:
        """What the open exceptions of a flow say, by the key of their record."""
        found: dict[str, list[str]] = {}
        with self.runner.store.read() as tx:
            for row in exceptions.listed(tx, flow=flow, limit=1000):
                found.setdefault(row.key, []).append(row.message)
        return found

    def decide(self, state: str, person: str) -> None:
        """Somebody answers the one open question."""
        with self.runner.store.begin("decide") as tx:
            (one,) = approvals.listed(tx)
            assert one.requested_by != person and approvals.decide(tx, one, state, person, "agreed")
            processes.wake(tx, [one.instance])

    def ask(self, id: str, **change: Any) -> None:
        """The project office writes a change into its register."""
        place = self.folder / "register/change_requests.ndjson"
        lines = [one for one in place.read_text("utf-8").splitlines() if json.loads(one)["id"] != id]
        place.write_text("\n".join([*lines, json.dumps({"id": id, "number": f"CR-{id}", **change})]) + "\n", "utf-8")

    def named(self, system: str, object: str, field: str, name: str) -> list[Fields]:
        return [one for one in self.box.all(system, object) if one.get(field) == name]

    def records(self, entity: str, **fields: Any) -> list[Fields]:
        with self.runner.store.read() as tx:
            found = [decode_json(one.data) for one in canonical.scan(tx, entity)]
        return [one for one in found if all(one.get(name) == value for name, value in fields.items())]


@contextmanager
def opened(folder: Path) -> Iterator[Office]:
    """The office in a folder that is made for it."""
    shutil.copytree(example_folder(), folder)
    workspace = Workspace.open(folder)
    workspace.sandbox = lambda name: setting(folder, name)
    store, box = Store.open(workspace.settings.state, folder), running(folder)
    for one in box.all("salesforce", "Opportunity"):
        if one["StageName"] == "Closed Won":
            box.set("salesforce", "Opportunity", one["Id"], {"StageName": "Negotiation"})
    found = Office(folder, Runner(workspace, store), box)
    found.run(*BEFORE)
    yield found
    store.close()
    stop_all()
