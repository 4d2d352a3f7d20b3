"""`incremental:`: by the object's own field, by a field that the flow names, or everything."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.sandbox import start
from engine.run.runner import Runner
from engine.run.session import Options
from engine.spec.workspace import Workspace
from engine.state.store import Store
from tests.conftest import Make
from tests.run.test_sync import FILES, World, person


@pytest.mark.parametrize(
    ("incremental", "read"),
    [("true", 2), ("checked", 3), ("none", 4)],
    ids=["its own field", "the flow's field", "none"],
)
def test_a_flow_says_by_which_field_it_reads(make: Make, incremental: str, read: int) -> None:
    """`at` moved for one record since the first run, `checked` for two."""
    world = World(make(FILES))
    world.edit("flows/people.yaml", "lag: 10m", f"lag: 1s, incremental: {incremental}")
    early, mid, late = "2026-01-01T00:00:00Z", "2026-01-15T00:00:00Z", "2026-02-01T00:00:00Z"
    newest = person("0", "P0", at=mid, checked=mid)
    world.put("people", [newest, *(person(n, f"P{n}", checked=early) for n in "123")])
    assert world.run()["read"] == 4
    world.put("people", [
        newest,
        person("1", "P1", checked=early), person("2", "Q2", checked=late), person("3", "Q3", at=late, checked=late),
    ])  # fmt: skip
    run = world.run()
    assert run["read"] == read, "what moved, and the newest of the first run, which the overlap reads again"
    if incremental == "true":
        assert world.names() == ["P0", "P1", "P2", "Q3"], "2 did not move `at`, so it was not read"
    else:
        assert world.names() == ["P0", "P1", "Q2", "Q3"]
    assert run["updated"] == {"true": 1, "checked": 2, "none": 2}[incremental]


SANDBOX = {
    "schemas/deal.yaml": "$schema: https://json-schema.org/draft/2020-12/schema\ntype: object\nadditionalProperties: false\nproperties: { name: { type: string } }\n",
    "mappings/crm/deals.yaml": "mapping: crm/deals\nobject: Opportunity\nentity: deal\nfields: { name: Name }\n",
    "mappings/psa/projects.yaml": "mapping: psa/projects\nobject: workspaces\nentity: deal\nfields: { name: title }\n",
    "flows/deals.yaml": "flow: deals\nkind: sync\nentity: deal\nsource: { connection: crm, mapping: crm/deals, incremental: CreatedDate }\ntargets: []\n",
    "flows/projects.yaml": "flow: projects\nkind: sync\nentity: deal\nsource: { connection: psa, mapping: psa/projects, incremental: created_at }\ntargets: []\n",
}  # fmt: skip


def test_over_http_a_query_reads_by_the_flows_field_and_a_parameter_that_cannot_is_refused(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start(systems=("salesforce", "kantata")) as sandbox:
        crm = sandbox.credentials("salesforce")
        monkeypatch.setenv("CRM_SECRET", crm["client_secret"])
        monkeypatch.setenv("PSA_TOKEN", sandbox.credentials("kantata")["token"])
        settings = f"""
            crosswalk: 1
            name: incremental
            connections:
              crm: {{ connector: salesforce, url: "{sandbox.url("salesforce")}", auth: {{ kind: oauth2_client_credentials, client_id: "{crm["client_id"]}", client_secret: "${{secret:crm_secret}}" }} }}
              psa: {{ connector: kantata, url: "{sandbox.url("kantata")}", auth: {{ token: "${{secret:psa_token}}" }} }}
        """
        folder = make({**SANDBOX, "crosswalk.yaml": settings})
        asked: list[str] = []

        def watch(request: Any, handle: Any) -> Any:
            asked.append(str(request.query.get("q", "")))
            return handle(request)

        sandbox.servers["salesforce"].faults = watch
        store = Store.open("sqlite:///.crosswalk/state.db", folder)
        runner = Runner(Workspace.open(folder), store)
        first = runner.run("deals", Options()).run
        second = runner.run("deals", Options()).run
        assert first["read"] > second["read"], "the second reads only the overlap"
        assert any("CreatedDate >= " in text for text in asked) and not any(
            "SystemModstamp >=" in text for text in asked
        )
        refused = runner.run("projects", Options()).run
        assert (refused["state"], refused["error"]["code"]) == ("failed", "C505")
        assert "cannot read workspaces by 'created_at'" in refused["error"]["message"]
        store.close()
