"""One id from the deal to the payment: through the library's schemas, on events, and in the calls that systems get."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from connectors.rest.shapes import correlated
from connectors.sandbox import start
from engine.run.runner import Runner
from engine.run.session import Options
from engine.sdk.connector import Operation
from engine.spec.workspace import Workspace
from engine.state import correlation, exceptions
from engine.state.store import Store
from tests.conftest import Make

CHAIN = ("opportunity", "contract", "project", "billing-event", "time-entry", "invoice", "payment")
FIELDS = {
    "opportunity": "{ name: name }",
    "contract": "{ number: number, opportunity: { from: deal, ref: opportunity } }",
    "project": "{ name: name, contract: { from: contract, ref: contract } }",
    "billing-event": "{ contract: { from: contract, ref: contract }, project: { from: project, ref: project } }",
    "time-entry": "{ project: { from: project, ref: project }, notes: notes }",
    "invoice": "{ number: number, project: { from: project, ref: project } }",
    "payment": "{ number: number, invoices: { each: invoices, key: invoice, fields: { invoice: { from: invoice, ref: invoice } } } }",
}  # fmt: skip
ROWS: dict[str, dict[str, Any]] = {
    "opportunity": {"id": "1", "name": "Roof"},
    "contract": {"id": "1", "number": "C1", "deal": "1"},
    "project": {"id": "1", "name": "Roof", "contract": "1"},
    "billing-event": {"id": "1", "contract": "1", "project": "1"},
    "time-entry": {"id": "1", "project": "1", "notes": "x"},
    "invoice": {"id": "1", "number": "I1", "project": "1"},
    "payment": {"id": "1", "number": "P1", "invoices": [{"invoice": "1"}]},
}


def test_from_the_deal_to_the_payment_all_belong_to_the_deal(make: Make) -> None:
    files = {
        "crosswalk.yaml": 'crosswalk: 1\nname: c\nconnections: { all: { connector: files, path: d, format: ndjson } }\nevents: [{ to: all, types: ["*"] }]\n'
    }
    library = Path(__file__).parents[2] / "schemas"
    for name in CHAIN:  # the library's own `x-correlates` and references, without what else it asks for
        lines = (library / f"{name}.yaml").read_text("utf-8").splitlines(keepends=True)
        files[f"schemas/{name}.yaml"] = "".join(line for line in lines if not line.startswith("required:"))
        files[f"mappings/all/{name}.yaml"] = (
            f"mapping: all/{name}\nobject: {name}\nentity: {name}\nfields: {FIELDS[name]}\n"
        )
        files[f"flows/{name}.yaml"] = (
            f"flow: {name}\nkind: sync\nentity: {name}\nsource: {{ connection: all, mapping: all/{name} }}\ntargets: []\n"
        )
    folder = make(files)
    (folder / "d").mkdir()
    store = Store.open("sqlite:///s.db", folder)
    for name in CHAIN:
        (folder / f"d/{name}.ndjson").write_text(json.dumps(ROWS[name]) + "\n")
        told = Runner(Workspace.open(folder), store).run(name, Options()).run
        with store.read() as tx:
            assert [one.message for one in exceptions.listed(tx)] == [], name
        assert told["state"] == "succeeded", name
    with store.read() as tx:
        ((deal,),) = tx.rows("SELECT id FROM canonical WHERE entity = 'opportunity'")
        assert {entity for entity, _ in correlation.members(tx, deal, CHAIN)} == set(CHAIN)
        assert {row[0] for row in tx.rows("SELECT DISTINCT correlation FROM events")} == {deal}
    store.close()


def test_a_system_is_told_what_a_call_belongs_to(make: Make, monkeypatch: Any) -> None:
    with start(systems=["kantata"]) as sandbox:
        monkeypatch.setenv("KANTATA_TOKEN", sandbox.credentials("kantata")["token"])
        psa = f'{{ connector: kantata, url: "{sandbox.url("kantata")}", auth: {{ kind: bearer, token: "${{env:KANTATA_TOKEN}}" }}, hosts: [127.0.0.1] }}'
        folder = make({"crosswalk.yaml": f"crosswalk: 1\nname: c\nconnections:\n  psa: {psa}\n"})
        with Workspace.open(folder).connector("psa") as connector:
            for number, about in enumerate(("deal-1", "bad\r\nvalue", None)):
                (outcome,) = connector.write(
                    "workspaces",
                    [
                        Operation(
                            f"o{number}",
                            "create",
                            {"title": f"P{number}", "creator_role": "maven"},
                            correlation=about,
                            run="r-1",
                        )
                    ],
                )
                assert outcome.state == "created", outcome
        made = [entry for entry in sandbox.journal("kantata") if entry.op == "create" and entry.headers is not None]
    assert [(one.headers or {}).get("x-correlation-id") for one in made] == ["deal-1", None, None]


def test_a_call_with_records_of_several_names_its_run() -> None:
    one, other = (Operation(str(n), "create", {}, correlation=f"deal-{n}", run="r-1") for n in (1, 2))
    assert correlated([one, other]) == {"X-Correlation-ID": "r-1"}
    assert correlated([one, one]) == {"X-Correlation-ID": "deal-1"}
    assert correlated([Operation("3", "create", {})]) == {}
