"""One record for each element of a list: conditions ask of the native record, fields of the element."""

from __future__ import annotations

from engine.run.runner import Runner
from engine.run.session import Options
from engine.sdk.record import decode_json, encode_json
from engine.spec.workspace import Workspace
from engine.state import canonical
from engine.state.store import Store
from tests.conftest import Make

DOCUMENTS = {
    "crosswalk.yaml": "crosswalk: 1\nname: each\nconnections: { src: { connector: files, path: data, format: ndjson } }\n",
    "mappings/src/field.yaml": """
        mapping: src/field
        object: fields
        entity: legal-entity
        where: "kind == 'entity'"
        each: choices
        key: id
        fields: { code: label, name: { from: root().name, transform: [trim] } }
    """,
    "flows/fields.yaml": "flow: fields\nkind: sync\nentity: legal-entity\nsource: { connection: src, mapping: src/field }\ntargets: []\n",
}


def test_where_is_asked_of_the_record_that_holds_the_list(make: Make) -> None:
    folder = make(DOCUMENTS)
    rows = [
        {"id": 1, "kind": "entity", "name": " Ours ", "choices": [{"id": "11", "label": "UK"}, {"id": "12", "label": "DE"}]},
        {"id": 2, "kind": "colour", "name": "Theirs", "choices": [{"id": "21", "label": "red"}]},
    ]  # fmt: skip
    (folder / "data").mkdir()
    (folder / "data/fields.ndjson").write_bytes(b"".join(encode_json(row) + b"\n" for row in rows))
    store = Store.open("sqlite:///state.db", folder)
    run = Runner(Workspace.open(folder), store).run("fields", Options()).run
    with store.read() as tx:
        found = [decode_json(one.data) for one in canonical.scan(tx, "legal-entity")]
    store.close()
    assert (run["state"], run["read"], run["skipped"]) == ("succeeded", 2, 1)
    assert sorted((row["code"], row["name"]) for row in found) == [("DE", "Ours"), ("UK", "Ours")]
