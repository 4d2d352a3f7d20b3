"""One canonical record for each element of a list: its key and its rules see the whole record as root()."""

from __future__ import annotations

import json

from engine.run.runner import Runner
from engine.run.session import Options
from engine.sdk.record import decode_json
from engine.spec.workspace import Workspace
from engine.state import canonical
from engine.state.store import Store
from tests.conftest import Make

FILES = {
    "crosswalk.yaml": "crosswalk: 1\nname: t\nconnections:\n  src: { connector: files, path: data, format: ndjson, objects: { reports: { key: id } } }\n",
    "schemas/cost.yaml": """
        $schema: https://json-schema.org/draft/2020-12/schema
        type: object
        additionalProperties: false
        required: [who]
        properties: { who: { type: string }, what: { type: string } }
    """,
    "mappings/src/cost.yaml": """
        mapping: src/cost
        object: reports
        entity: cost
        where: open
        each: "lines[?what != 'tip']"
        key: [root().id, line]
        fields: { what: what }
        inbound: { who: root().who }
    """,
    "flows/costs.yaml": "flow: costs\nkind: sync\nentity: cost\nsource: { connection: src, mapping: src/cost }\ntargets: []\n",
}


def test_rules_and_keys_of_elements_see_the_whole_record(make: Make) -> None:
    lines = [{"line": 1, "what": "train"}, {"line": 2, "what": "tip"}, {"line": 3, "what": "hotel"}]
    reports = [{"id": "a", "who": "Ada", "open": True, "lines": lines}, {"id": "b", "who": "Bob", "open": True, "lines": lines[:1]},
               {"id": "c", "who": "Cid", "open": False, "lines": lines}]  # fmt: skip
    folder = make({**FILES, "data/reports.ndjson": "\n".join(map(json.dumps, reports))})
    store = Store.open("sqlite:///state.db", folder)
    run = Runner(Workspace.open(folder), store).run("costs", Options()).run
    with store.read() as tx:
        found = [decode_json(one.data) for one in canonical.scan(tx, "cost")]
    store.close()
    assert run["quarantined"] == 0 and run["state"] == "succeeded", run
    assert sorted((one["who"], one["what"]) for one in found) == [("Ada", "hotel"), ("Ada", "train"), ("Bob", "train")]
