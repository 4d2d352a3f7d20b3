"""A workspace with many different mistakes: all told at once, each one line with its place and what to write."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from engine.compile.workspace import problems_of
from engine.spec.workspace import Workspace
from tests.conftest import Make

GOLDEN = Path(__file__).parent / "messages" / "mistakes.txt"
SCHEMA = "$schema: https://json-schema.org/draft/2020-12/schema\ntype: object\nadditionalProperties: false\n"
FILES = {
    "crosswalk.yaml": """
        crosswalk: 1
        name: mistakes
        connections:
          files: { connector: files, path: data }
          db: { connector: sql, url: "sqlite:///a.db", retriess: 3 }
          odd: { connector: salesfroce }
        queues: { stewards: {} }
    """,
    "schemas/thing.yaml": SCHEMA + """
required: [name]
x-label: nmae
x-match: [[code]]
properties:
  name: { type: string, maxLenght: 3 }
  status: { type: string, enum: [open, done], x-transitions: { open: [finished] } }
  hours: { type: number, x-sensitive: secretly }
  owner: { type: string, x-ref: persn }
""",
    "schemas/good.yaml": SCHEMA + """
properties:
  name: { type: string }
  hours: { type: number }
  status: { type: string, enum: [open, done] }
""",
    "schemas/loose.yaml": "$schema: https://json-schema.org/draft/2020-12/schema\ntype: object\nproperties: { a: { type: text } }\n",
    "mappings/files/unknown_key.yaml": "mapping: files/unknown_key\nobject: a\nentity: good\nfields:\n  name: { frm: a }\n",
    "mappings/files/wrong_name.yaml": "mapping: files/other\nobject: a\nentity: good\nfields: { name: a }\n",
    "mappings/files/bad_expression.yaml": 'mapping: files/bad_expression\nobject: a\nentity: good\nfields:\n  name: { from: "a..b" }\n',
    "mappings/files/no_field.yaml": "mapping: files/no_field\nobject: a\nentity: good\nfields:\n  nam: a\n  hours: { from: h, as: decimal, scale: 0 }\n",
    "mappings/files/lossy.yaml": "mapping: files/lossy\nobject: a\nentity: good\nfields:\n  hours: { from: m, as: decimal, scale: 1/60, round: [1, 0] }\n",
    "mappings/files/combine.yaml": "mapping: files/combine\nobject: a\nentity: good\nfields:\n  name: { column: x }\n  hours: { from: m, value: 3 }\n",
    "mappings/files/table.yaml": "mapping: files/table\nobject: a\nentity: good\nfields:\n  name: { from: a, lookup: countrys, column: name }\n",
    "mappings/files/column.yaml": "mapping: files/column\nobject: a\nentity: good\nfields:\n  name: { from: a, lookup: countries, column: nme }\n",
    "mappings/files/function.yaml": "mapping: files/function\nobject: a\nentity: good\nfields:\n  name: { from: a, transform: [trimm] }\n",
    "mappings/files/template.yaml": 'mapping: files/template\nobject: a\nentity: good\ninbound:\n  name: { template: "{{ a.__class__ }}" }\n',
    "mappings/files/good.yaml": "mapping: files/good\nobject: a\nentity: good\nfields: { name: a }\n",
    "mappings/tables/twice.yaml": "table: twice\nkey: a\ncolumns: [a, b]\nrows:\n  - [1, 2]\n  - [1, 3]\n",
    "flows/kind.yaml": "flow: kind\nkind: sink\nentity: good\n",
    "flows/first.yaml": "kind: sync\nflow: first\nentity: good\n",
    "flows/names.yaml": """
        flow: names
        kind: sync
        entity: good
        owner: stuards
        trigger: [{ schedule: "* * * * * *" }, { after: nams }]
        source: { connection: fils, mapping: files/good }
        targets: [{ connection: db, mapping: files/goood }]
    """,
    "flows/values.yaml": """
        flow: values
        kind: sync
        entity: good
        source: { connection: files, mapping: files/good, lag: 10 }
        guard: { deletes: 5 }
        targets: []
    """,
    "flows/checks.yaml": """
        flow: checks
        kind: sync
        entity: good
        source: { connection: files, mapping: files/good, where: "status == 'opn'" }
        checks:
          - { name: a, that: "statuss == 'open'" }
          - { name: b, that: "hours == 'x'" }
          - { name: c, that: "nofunction(name)" }
          - { name: d, that: "trim(name, name)" }
          - { name: e, that: name, otherwise: "{{ nme }}" }
        targets: []
    """,
    "flows/extends.yaml": "flow: extends\nextends: nowhere\n",
    "flows/process.yaml": """
        flow: process
        kind: process
        entity: good
        source: { connection: files, mapping: files/good }
        steps: [{ check: x }]
    """,
    "tests/empty.yaml": "test: empty\nmapping: files/good\ngiven: { a: 1 }\n",
    "flows/dup.yaml": "flow: dup\nkind: sync\nkind: sync\n",
}  # fmt: skip


def test_every_mistake_is_told_at_once_in_its_own_line(make: Make) -> None:
    problems = problems_of(Workspace.open(make(FILES)))
    lines = [re.sub("known: .*", "known: …", str(problem)) for problem in problems]  # the library grows
    if not GOLDEN.exists():
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text("\n".join(lines) + "\n", "utf-8")
    assert "\n".join(lines) + "\n" == GOLDEN.read_text("utf-8")
    assert len(lines) >= 30
    assert all(problem.hint and problem.at for problem in problems)


def test_the_library_is_sound(make: Make) -> None:
    workspace = Workspace.open(make({"crosswalk.yaml": "crosswalk: 1\nname: empty\n"}))
    from engine.compile.mapping import compile_inbound, compile_outbound
    from engine.compile.registry import Registry

    registry = Registry(workspace)
    for name in workspace.names("schema"):
        registry.schema(name)
    for name in workspace.names("mapping"):
        compile_inbound(workspace.document("mapping", name), registry)
        compile_outbound(workspace.document("mapping", name), registry, role="erp")
    assert len(workspace.names("flow")) >= 8


def test_threads_that_read_documents_side_by_side_take_none_for_a_circle(make: Make) -> None:
    workspace = Workspace.open(make({"crosswalk.yaml": "crosswalk: 1\nname: t\n"}))
    asked = workspace.names("schema") * 4
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda name: workspace.document("schema", name).name, asked))
    assert found == asked
