"""A CRM and an ERP, over HTTP on the bundled fakes, that mirror clients: they converge and then stay quiet.

The systems' own journals are the oracle: what is not in them was not written.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from connectors.sandbox import Sandbox, start
from engine.run.runner import Runner
from engine.run.session import Options
from engine.spec.workspace import Workspace
from engine.state import exceptions
from engine.state.store import Store
from tests.run.test_sync import SCHEMA

SETTINGS = """
crosswalk: 1
name: mirrors
connections:
  crm: {{ connector: salesforce, url: "{salesforce}", auth: {{ client_id: "${{secret:client_id}}", client_secret: "${{secret:client_secret}}" }} }}
  erp: {{ connector: netsuite, url: "{netsuite}", account: SANDBOX_SB1, auth: {{ consumer_key: "${{secret:consumer_key}}", consumer_secret: "${{secret:consumer_secret}}", token: "${{secret:token}}", token_secret: "${{secret:token_secret}}" }} }}
"""
FILES = {
    "schemas/firm.yaml": SCHEMA + """
required: [name]
properties:
  name: { type: string, x-owner: crm }
  phone: { type: string, x-owner: shared }
  site: { type: string, x-owner: shared }
  memo: { type: string }
""",
    "mappings/crm/account.yaml": """
mapping: crm/account
object: Account
entity: firm
where: "starts_with(Name, 'Mirror')"
fields: { name: { from: Name, transform: [trim] }, phone: Phone, site: Website, memo: Description }
""",
    "mappings/erp/customer.yaml": """
mapping: erp/customer
object: customer
entity: firm
where: "starts_with(companyName || '', 'Mirror')"
deleted: { when: isInactive, set: { isInactive: true } }
fields: { name: { from: companyName, transform: [trim] }, phone: phone, site: url, memo: comments }
outbound: { subsidiary: { value: { id: "1" }, on: create } }
""",
    "flows/out.yaml": """
flow: out
kind: sync
entity: firm
source: { connection: crm, mapping: crm/account, deletes: tombstones, lag: 2s }
targets: [{ connection: erp, mapping: erp/customer, match: [], on_delete: deactivate }]
guard: { errors: 100%, deletes: 100% }
""",
    "flows/back.yaml": """
flow: back
kind: sync
entity: firm
source: { connection: erp, mapping: erp/customer, lag: 2s }
targets: [{ connection: crm, mapping: crm/account, match: [], on_delete: ignore }]
guard: { errors: 100%, deletes: 100% }
""",
}  # fmt: skip
THERE = {"phone": ("Phone", "phone"), "site": ("Website", "url"), "memo": ("Description", "comments"), "name": ("Name", "companyName")}  # fmt: skip
OBJECTS = {"salesforce": "Account", "netsuite": "customer"}


class Mirrors:
    """The two fakes, a flow each way, and what their users do."""

    def __init__(self, folder: Path, sandbox: Sandbox, conflict: str) -> None:
        self.sandbox, self.folder = sandbox, folder
        urls = {name: sandbox.url(name) for name in OBJECTS}
        for name, text in {"crosswalk.yaml": SETTINGS.format(**urls), **FILES}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text.replace("guard:", f"conflict: {conflict}\nguard:").lstrip())
        self.store = Store.open("sqlite:///state.db", folder)
        self.runner = Runner(Workspace.open(folder), self.store)

    def run(self, flow: str, **options: Any) -> dict[str, Any]:
        return self.runner.run(flow, Options(**options)).run

    def both(self) -> None:
        for flow in ("out", "back"):
            told = self.run(flow)
            assert told["state"] in ("succeeded", "partial"), told

    def firms(self, system: str) -> dict[str, dict[str, Any]]:
        """Live firms by name."""
        side = system == "netsuite"
        return {
            row[THERE["name"][side]]: {name: row.get(there[side]) or None for name, there in THERE.items()} | {"id": row.get("id") or row.get("Id")}
            for row in self.sandbox.all(system, OBJECTS[system])
            if str(row.get(THERE["name"][side])).startswith("Mirror") and not row.get("isInactive")
        }  # fmt: skip

    def edit(self, system: str, firm: str, **fields: Any) -> None:
        side = system == "netsuite"
        id = self.firms(system)[firm]["id"]
        self.sandbox.set(system, OBJECTS[system], id, {THERE[name][side]: value for name, value in fields.items()})

    def said(self) -> list[dict[str, dict[str, Any]]]:
        """What the two say of every firm, ids apart."""
        return [{firm: {name: value for name, value in fields.items() if name != "id"} for firm, fields in self.firms(system).items()}
                for system in OBJECTS]  # fmt: skip

    def writes(self) -> int:
        return sum(len(self.sandbox.journal(system)) for system in OBJECTS)

    def open(self) -> list[exceptions.Row]:
        with self.store.read() as tx:
            return exceptions.listed(tx)

    def settle(self, rounds: int = 5) -> None:
        """Rounds until nothing is written; the two then say the same."""
        for _ in range(rounds):
            before = self.writes()
            self.both()
            if self.writes() == before:
                break
        crm, erp = self.said()
        assert crm == erp
        before = self.writes()
        self.both()
        assert self.writes() == before


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with start(systems=tuple(OBJECTS)) as running:
        yield running


@pytest.fixture
def mirrors(request: Any, tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirrors]:
    monkeypatch.setattr(
        "engine.run.runner._quiet_collector", nullcontext
    )  # what it saves long runs, many short ones pay
    sandbox.reset()
    for name, value in {**sandbox.credentials("salesforce"), **sandbox.credentials("netsuite")}.items():
        monkeypatch.setenv(f"CROSSWALK_SECRET_{name.upper()}", value)
    made = Mirrors(tmp_path, sandbox, getattr(request, "param", "owner"))
    for number in range(3):
        sandbox.add("salesforce", "Account", {"Name": f"Mirror {number}", "Phone": "1", "Website": "https://a.example", "Description": "x"})  # fmt: skip
    made.settle()
    assert len(made.firms("netsuite")) == 3
    yield made
    made.store.close()


def test_a_hundred_rounds_stay_quiet(mirrors: Mirrors) -> None:
    mirrors.edit("salesforce", "Mirror 0", phone="2", memo="from the CRM")
    mirrors.edit("netsuite", "Mirror 1", phone="3", memo="from the ERP")
    mirrors.settle()
    before = mirrors.writes()
    for _ in range(100):
        mirrors.both()
    assert mirrors.writes() == before
    assert mirrors.open() == []


@pytest.mark.parametrize("mirrors", ["owner", "latest"], indirect=True)
def test_edits_of_both_sides_at_once_converge(mirrors: Mirrors) -> None:
    chance = random.Random(7)
    for _ in range(3):
        for system in OBJECTS:
            for firm in mirrors.firms(system):
                for name in ("phone", "site", "memo"):
                    if chance.random() < 0.5:
                        mirrors.edit(system, firm, **{name: f"https://v{chance.randrange(4)}.example"})
        if chance.random() < 0.6:
            mirrors.run(chance.choice(["out", "back"]))
    mirrors.settle(8)
    assert mirrors.open() == []


@pytest.mark.parametrize("mirrors", ["quarantine"], indirect=True)
def test_a_conflict_waits_for_a_person_and_the_rest_converges(mirrors: Mirrors) -> None:
    mirrors.edit("salesforce", "Mirror 0", phone="crm")
    mirrors.edit("netsuite", "Mirror 0", phone="erp", site="https://b.example")
    mirrors.edit("netsuite", "Mirror 1", phone="5")
    mirrors.both()
    assert {row.code for row in mirrors.open()} == {"E414"}
    assert [mirrors.firms(system)["Mirror 0"]["phone"] for system in OBJECTS] == ["crm", "erp"], (
        "nothing is overwritten"
    )
    assert mirrors.firms("salesforce")["Mirror 1"]["phone"] == "5"
    mirrors.edit("netsuite", "Mirror 0", phone="crm")
    mirrors.settle()
    assert mirrors.open() == [] and mirrors.firms("salesforce")["Mirror 0"]["site"] == "https://b.example"


def test_a_delete_on_one_side_stays_a_delete(mirrors: Mirrors) -> None:
    mirrors.sandbox.delete("salesforce", "Account", mirrors.firms("salesforce")["Mirror 2"]["id"])
    assert mirrors.run("out", full=True)["deleted"] == 1
    mirrors.settle()
    assert set(mirrors.firms("netsuite")) == {"Mirror 0", "Mirror 1"}
    mirrors.edit("netsuite", "Mirror 1", phone="9")
    mirrors.settle()
    assert set(mirrors.firms("salesforce")) == {"Mirror 0", "Mirror 1"}


def test_a_target_that_spells_things_its_own_way(mirrors: Mirrors) -> None:
    """A script of the ERP's sets memos in capitals whenever they change; the CRM keeps what its people wrote."""
    mirrors.edit("salesforce", "Mirror 0", memo="as we wrote it", phone="7")
    mirrors.run("out")
    mirrors.edit("netsuite", "Mirror 0", memo="AS WE WROTE IT")
    before = mirrors.writes()
    for _ in range(3):
        mirrors.both()
    assert mirrors.writes() == before
    assert mirrors.firms("salesforce")["Mirror 0"]["memo"] == "as we wrote it"
    mirrors.edit("netsuite", "Mirror 0", memo="As they wrote it")
    mirrors.settle()
    assert mirrors.firms("salesforce")["Mirror 0"]["memo"] == "As they wrote it"
