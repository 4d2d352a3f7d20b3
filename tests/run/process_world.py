"""A deal that becomes a project: the workspace, its systems in memory, and what tests of process flows do to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.run import deliver
from engine.run.decisions import cancel_instance, decide
from engine.run.events import Event
from engine.run.memory import KINDS, MemoryConnector
from engine.run.process import hear, judge_deadlines
from engine.run.runner import Runner
from engine.run.session import Options
from engine.run.stage import Stage
from engine.sdk.config import ConnectionConfig, ConnectionContext
from engine.sdk.connector import ObjectInfo, Operation, Outcome
from engine.sdk.errors import Problem
from engine.sdk.record import decode_json, encode_json
from engine.spec.testcase import TestFile
from engine.spec.workspace import Workspace
from engine.state import alerts, approvals, canonical, care, exceptions, processes
from engine.state.processes import Instance
from engine.state.store import Store
from tests.run.test_sync import SCHEMA

STEPS = """
  - check: complete
    that: "client"
    otherwise: "{{ name }} has no client"
    queue: stewards
  - find: erp_customer
    connection: erp
    mapping: erp/customer
    by: { tax_id: client.tax_id }
  - write: customer
    record: client
    targets: [{ connection: erp, mapping: erp/customer, match: [[tax_id]] }]
  - derive: project
    mapping: canonical/deal_to_project
  - write: delivered
    record: project
    targets: [{ connection: psa, mapping: psa/project }, { connection: erp, mapping: erp/job }]
    undo: { update: { status: cancelled }, kind: semantic }
"""
FLOW = """
flow: deals
kind: process
entity: deal
owner: pmo
source: { connection: crm, mapping: crm/deal, where: "stage == 'won'" }
steps:
"""
FILES = {
    "crosswalk.yaml": """
        crosswalk: 1
        name: t
        connections:
          crm: { connector: files, path: data }
          erp: { connector: files, path: data }
          psa: { connector: files, path: data }
        queues: { pmo: {}, stewards: {}, cfo: {} }
    """,
    "schemas/client.yaml": SCHEMA + "required: [name]\nproperties: { name: { type: string }, tax_id: { type: string } }\n",
    "schemas/deal.yaml": SCHEMA + "required: [name]\nx-label: name\nproperties:\n  name: { type: string }\n  stage: { type: string, enum: [open, won, lost] }\n"
    "  client: { type: string, x-ref: client }\n  amount: { type: number }\n",
    "schemas/project.yaml": SCHEMA + "required: [name]\nproperties:\n  name: { type: string }\n  client: { type: string, x-ref: client }\n"
    "  status: { type: string, enum: [open, staffed, cancelled] }\n  deal: { type: string, x-ref: deal }\n",
    "mappings/crm/account.yaml": "mapping: crm/account\nobject: accounts\nentity: client\nfields: { name: name, tax_id: tax }\n",
    "mappings/crm/deal.yaml": "mapping: crm/deal\nobject: deals\nentity: deal\n"
    "fields: { name: name, stage: stage, amount: { from: amount, as: decimal }, client: { from: account, ref: client } }\n",
    "mappings/erp/customer.yaml": "mapping: erp/customer\nobject: customers\nentity: client\nfields: { name: name, tax_id: tax }\n",
    "mappings/erp/job.yaml": "mapping: erp/job\nobject: jobs\nentity: project\n"
    "fields: { name: name, status: status, client: { from: customer, ref: { entity: client, object: customers } } }\n",
    "mappings/psa/project.yaml": "mapping: psa/project\nobject: projects\nentity: project\nfields: { name: title, status: state }\n",
    "mappings/canonical/deal_to_project.yaml": "mapping: canonical/deal_to_project\nof: deal\nentity: project\n"
    "fields: { name: name, client: client, deal: id }\ninbound: { status: { value: open } }\n",
    "flows/clients.yaml": "flow: clients\nkind: sync\nentity: client\nsource: { connection: crm, mapping: crm/account }\ntargets: []\n",
}  # fmt: skip


LONG_AGO = "2026-01-01T00:00:00.000000Z"


class System(MemoryConnector):
    """A system in memory of one class. faults: object → what its next writes meet."""

    def prepared(self) -> System:
        self.faults: dict[str, list[str]] = {}
        self.creates: Counter[tuple[str, str]] = Counter()
        return self

    def _given_key(self, info: ObjectInfo, record: Any) -> str | None:
        return None

    def write(self, name: str, operations: Sequence[Operation]) -> list[Outcome]:
        return [self._one(name, one) for one in operations]

    def _one(self, name: str, operation: Operation) -> Outcome:
        waiting = self.faults.get(name, [])
        what = waiting.pop(0) if waiting else ""
        if operation.send_by is not None and deliver.boot() > operation.send_by:
            return Outcome(operation.id, "retry", operation.key, problem=Problem("C515", "it is too late to send"))
        if what == "refuse":
            return Outcome(operation.id, "refused", operation.key, problem=Problem("C541", "not today"))
        if what == "busy":
            return Outcome(operation.id, "retry", operation.key, problem=Problem("C510", "busy"))
        if what in ("rate_limited", "unreachable"):
            return Outcome(operation.id, "retry", operation.key, problem=Problem("C510", what), trouble=what)  # type: ignore[arg-type]
        if what == "before":
            return Outcome(operation.id, "in_doubt", operation.key, problem=Problem("C513", "no answer"))
        (outcome,) = super().write(name, [operation])
        if outcome.state == "created":
            self.creates[name, str(operation.record.get("name") or operation.record.get("title"))] += 1
        return (
            Outcome(operation.id, "in_doubt", operation.key, problem=Problem("C513", "no answer"))
            if what == "after"
            else outcome
        )


class World(Stage):
    """The workspace on its systems. kind: the class of its targets."""

    def __init__(self, folder: Path, store: Store, kind: str = "C") -> None:
        real = Workspace.open(folder)
        super().__init__(real, TestFile.model_construct(test="process", keys={}))
        self.state, self.kind = store, kind
        config = ConnectionConfig.model_validate(
            {"connector": "memory", "retries": 0, "backoff": "1ms..1ms", "timeout": "1s"}
        )
        self.memory = {
            name: System(config, ConnectionContext(name), self._info).prepared() for name in ("crm", "erp", "psa")
        }
        self.account("a1", "Acme", "T1")
        self.deal("d1", "Mill")

    def _info(self, name: str) -> ObjectInfo:
        kinds = KINDS if self.kind == "A" else KINDS - {"upsert"}
        return ObjectInfo(name, ("id",), operations=kinds, write_class=self.kind, late=0, index=0, marker="ref")  # type: ignore[arg-type]

    def connector(self, name: str, *_: Any, **__: Any) -> Any:
        return self.memory[name]

    # ------------------------------------------------------------------ what people do
    def account(self, id: str, name: str | None, tax: str | None) -> None:
        self._give("accounts", {"id": id, "name": name, "tax": tax})

    def deal(self, id: str, name: str, **more: Any) -> None:
        self._give("deals", {"id": id, "name": name, "stage": "won", "account": "a1", "amount": 10, **more})

    def _give(self, object: str, row: dict[str, Any]) -> None:
        rows = {**self.memory["crm"].rows.get(object, {}), row["id"]: row}
        self.memory["crm"].put(object, list(rows.values()))

    def run(self, *flows: str, **options: Any) -> dict[str, Any]:
        """Run flows; the last one's counts."""
        for name in flows or ("clients", "deals"):
            told = Runner(self, self.state).run(name, Options(**options)).run
        return told

    def decide(self, verdict: str, person: str, id: str | None = None, because: str = "it is right") -> None:
        """A person decides on the latest question."""
        with self.state.read() as tx:
            (*_, last) = approvals.listed(tx, everything=True)
        decide(Runner(self, self.state), id or last.id, verdict, person, because)

    def change(self, field: str, value: Any) -> None:
        """The only deal's canonical record changes; nobody has looked at it since."""
        with self.state.begin("test") as tx:
            one = processes.listed(tx, everything=True)[0]
            stored = canonical.get(tx, "deal", [one.canonical_id])[one.canonical_id]
            data = encode_json({**decode_json(stored.data), field: value})
            canonical.put(tx, "deal", [canonical.Change(stored.id, stored.version, data, stored.provenance)], "r-test")

    def tell(self, type: str, subject: str) -> None:
        """An event comes in."""
        with self.state.begin("test") as tx:
            hear(tx, "deals", Event(type, type.split(".")[0], subject, {"by": "a test"}))

    def cancel(self, person: str) -> None:
        cancel_instance(Runner(self, self.state), self.one.id, person, "wrong")

    def late(self) -> None:
        """All that instances wait for, or should be done by, is in the past."""
        with self.state.begin("test") as tx:
            tx.run("UPDATE approvals SET expires = ? WHERE expires IS NOT NULL", (LONG_AGO,))
            tx.run("UPDATE processes SET until = ? WHERE until IS NOT NULL", (LONG_AGO,))
            tx.run("UPDATE processes SET deadline = ? WHERE deadline IS NOT NULL", (LONG_AGO,))

    def judge(self) -> None:
        judge_deadlines(self.state, self, "deals", self.document("flow", "deals").model)

    def alerts(self) -> list[str]:
        with self.state.read() as tx:
            return [one.expectation for one in alerts.listed(tx, "deals")]

    # ------------------------------------------------------------------ what there is
    def made(self, system: str, object: str) -> list[str]:
        rows = self.memory[system].rows.get(object, {}).values()
        return sorted(str(row.get("name") or row.get("title")) for row in rows)

    def row(self, system: str, object: str) -> dict[str, Any]:
        (row,) = self.memory[system].rows.get(object, {}).values()
        return row

    @property
    def one(self) -> Instance:
        """The only instance."""
        (one,) = self.instances()
        return one

    def instances(self) -> list[Instance]:
        with self.state.read() as tx:
            return processes.listed(tx, everything=True)[::-1]

    def story(self) -> list[str]:
        """The timeline of the only instance."""
        with self.state.read() as tx:
            return [f"{one.step or ''}: {one.what}" for one in processes.timeline(tx, self.one.id)]

    def exceptions(self) -> list[exceptions.Row]:
        with self.state.read() as tx:
            return exceptions.listed(tx)

    def asked(self) -> list[approvals.Approval]:
        with self.state.read() as tx:
            return approvals.listed(tx)

    def age(self, seconds: float) -> None:
        """Let so much time pass for leases and writes in doubt, and for what instances wait for."""
        care.age(self.state, seconds)


def files(steps: str = STEPS, **more: str) -> dict[str, str]:
    return {**FILES, "flows/deals.yaml": FLOW + steps + "".join(f"{key}: {value}\n" for key, value in more.items())}
