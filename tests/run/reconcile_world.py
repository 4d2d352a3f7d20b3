"""Two systems that hold the same bills, on files, and what a reconciliation says of them."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from engine.run.runner import Result, Runner
from engine.run.session import Options
from engine.spec.workspace import Workspace
from engine.state import breaks, reconciliations
from engine.state.breaks import Break
from engine.state.store import Store

SCHEMA = "$schema: https://json-schema.org/draft/2020-12/schema\ntype: object\nadditionalProperties: false\n"
FILES = {
    "crosswalk.yaml": """
        crosswalk: 1
        name: t
        state: STATE
        connections:
          psa: { connector: files, path: psa, format: ndjson, objects: { invoices: { key: id, modified: at } } }
          erp: { connector: files, path: erp, format: ndjson, objects: { bills: { key: id, modified: at } } }
        queues: { finance: {}, projects: {} }
    """,
    "schemas/bill.yaml": SCHEMA
    + """
required: [number]
x-label: number
x-match: [[number]]
properties:
  number: { type: string, x-owner: psa }
  total: { $ref: money, x-owner: psa }
  due: { type: string, format: date, x-owner: psa }
  sent: { type: string, format: date-time, x-owner: psa }
  status: { type: string, x-owner: erp }
  note: { type: string }
  tags: { type: array, items: { type: string } }
  client: { type: object, additionalProperties: false, properties: { name: { type: string }, vat: { type: string } } }
  lines:
    type: array
    items:
      type: object
      additionalProperties: false
      properties: { line: { type: integer }, amount: { type: number }, text: { type: string } }
""",
    "mappings/psa/invoices.yaml": """
        mapping: psa/invoices
        object: invoices
        entity: bill
        deleted: { when: "archived", set: { archived: true } }
        fields:
          number: number
          total: { from: total, as: money, currency: cur }
          due: { from: due, as: date }
          sent: { from: sent, as: datetime }
          status: status
          note: note
          tags: tags
          client: { fields: { name: client_name, vat: client_vat } }
          lines: { each: lines, key: line, fields: { line: line, amount: { from: amount, as: decimal }, text: text } }
    """,
    "mappings/erp/bills.yaml": """
        mapping: erp/bills
        object: bills
        entity: bill
        fields:
          number: tranid
          total: { from: amount, as: money, currency: currency }
          due: { from: duedate, as: date }
          sent: { from: sentat, as: datetime }
          status: state
          note: memo
          tags: labels
          client: { fields: { name: customer.name, vat: customer.vat } }
          lines: { each: items, key: line, fields: { line: line, amount: { from: amt, as: decimal }, text: descr } }
        outbound: { id: id }
    """,
    "flows/push.yaml": """
        flow: push
        kind: sync
        entity: bill
        source: { connection: psa, mapping: psa/invoices, deletes: tombstones }
        targets: [{ connection: erp, mapping: erp/bills, on_delete: delete }]
        guard: { deletes: 100%, errors: 100% }
    """,
    "flows/nightly.yaml": """
        flow: nightly
        kind: reconcile
        entity: bill
        left: { connection: psa, mapping: psa/invoices }
        right: { connection: erp, mapping: erp/bills }
    """,
}  # fmt: skip
"""The side of the PSA goes by other names than that of the ERP; both give every field of the schema."""


def invoice(n: int, /, **changed: Any) -> dict[str, Any]:
    """A bill as the PSA has it."""
    return {
        "id": f"p{n}", "number": f"INV-{n}", "total": 100.5, "cur": "EUR", "due": "2026-01-05", "status": "open",
        "sent": "2026-01-02T10:00:00Z", "note": "Thanks", "tags": ["a", "b"], "client_name": "Ada Ltd", "client_vat": "GB1",
        "lines": [{"line": 1, "amount": 100.5, "text": "Work"}], "at": "2026-01-01T00:00:00Z", **changed,
    }  # fmt: skip


def bill(n: int, /, **changed: Any) -> dict[str, Any]:
    """The same bill as the ERP has it."""
    return {
        "id": f"e{n}", "tranid": f"INV-{n}", "amount": 100.50, "currency": "EUR", "duedate": "2026-01-05", "state": "open",
        "sentat": "2026-01-02T11:00:00+01:00", "memo": "Thanks", "labels": ["a", "b"], "customer": {"name": "Ada Ltd", "vat": "GB1"},
        "items": [{"line": 1, "amt": 100.50, "descr": "Work"}], "at": "2026-01-01T00:00:00Z", **changed,
    }  # fmt: skip


class Systems:
    """The workspace, its two systems and its state."""

    def __init__(
        self, folder: Path, address: str = "sqlite:///.crosswalk/state.db", files: dict[str, str] | None = None
    ) -> None:
        self.folder = folder
        for name, content in {**FILES, **(files or {})}.items():
            self.write(name, content.replace("STATE", address))
        self.workspace = Workspace.open(folder)
        self.store = Store.open(self.workspace.settings.state, folder)
        self.put([], [])

    def write(self, name: str, content: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(content).lstrip("\n"), "utf-8")

    def flow(self, more: str, name: str = "nightly") -> None:
        """The reconciliation with more to say."""
        self.write(f"flows/{name}.yaml", textwrap.dedent(FILES["flows/nightly.yaml"]).replace("nightly", name) + more)
        self.workspace = Workspace.open(self.folder)

    def put(self, left: list[dict[str, Any]], right: list[dict[str, Any]]) -> None:
        """What the systems hold."""
        for name, rows in (("psa/invoices", left), ("erp/bills", right)):
            self.write(f"{name}.ndjson", "".join(json.dumps(row) + "\n" for row in rows))

    def sync(self, **options: Any) -> Result:
        return Runner(self.workspace, self.store).run("push", Options(**options))

    def run(self, name: str = "nightly", **options: Any) -> dict[str, Any]:
        """Reconcile; the run as it is told."""
        told: dict[str, Any] = Runner(self.workspace, self.store).run(name, Options(**options)).run
        return told

    def breaks(self, name: str = "nightly", *states: str) -> list[Break]:
        with self.store.read() as tx:
            return breaks.listed(tx, name, states=states or ("open", "accepted"))

    def classes(self, name: str = "nightly") -> dict[str, str]:
        """Label of each live break → its class."""
        return {str(one.label): one.name for one in self.breaks(name)}

    def fields(self) -> dict[str, list[str]]:
        """Label → paths that differ."""
        return {str(one.label): [each["path"] for each in one.fields] for one in self.breaks()}

    def result(self) -> reconciliations.Reconciliation:
        with self.store.read() as tx:
            return reconciliations.listed(tx)[0]

    def close(self) -> None:
        self.store.close()
