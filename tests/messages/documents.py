"""Cases of documents that are wrong: E1 (YAML, names, keys), E2 (expressions, templates), E3 (mappings and flows)."""

from __future__ import annotations

from engine.sdk.errors import Problem, SpecError
from engine.spec.workspace import Workspace
from tests.messages.case import CASES, SCHEMA, Place, case

BASE = {
    "crosswalk.yaml": "crosswalk: 1\nname: t\nconnections:\n  files: { connector: files, path: data }\n",
    "schemas/good.yaml": SCHEMA + "properties:\n  name: { type: string }\n  hours: { type: number }\n"
    "  status: { type: string, enum: [open, done] }\n  boss: { type: string, x-ref: good }\n",
    "mappings/files/good.yaml": "mapping: files/good\nobject: a\nentity: good\nfields: { name: a }\n",
}  # fmt: skip
FLOW = "flow: f\nkind: sync\nentity: good\nsource: { connection: files, mapping: files/good }\ntargets: []\n"
COMPARE = ("flow: f\nkind: reconcile\nentity: good\nleft: { connection: files, mapping: files/good }\n"
           "right: { connection: canonical }\n")  # fmt: skip
MAPPING = "mapping: files/m\nobject: a\nentity: good\n"
WRONG: dict[str, dict[str, str]] = {
    "E101": {"flows/f.yaml": FLOW.replace("files/good", "files/goood")},
    "E103": {"flows/f.yaml": "flow: f\nkind: sync\nkind: sync\n"},
    "E105": {"flows/f.yaml": "flow: f\nkind: !!python/name:os.system x\n"},
    "E110": {"schemas/s.yaml": SCHEMA + "properties: { a: { type: text } }\n"},
    "E111": {"schemas/s.yaml": "$schema: https://json-schema.org/draft/2020-12/schema\ntype: object\nproperties: { a: { type: string } }\n"},
    "E112": {"schemas/s.yaml": SCHEMA + "properties: { a: { type: string, maxLenght: 3 } }\n"},
    "E113": {"schemas/s.yaml": SCHEMA + 'properties: { a: { $ref: "http://127.0.0.1/x" } }\n'},
    "E114": {"schemas/s.yaml": SCHEMA + "x-label: nmae\nproperties: { name: { type: string } }\n"},
    "E120": {"schemas/s.yaml": SCHEMA + "x-match: [{ fields: [name], similar: 0.9, then: review }]\nproperties: { name: { type: string } }\n"},
    "E130": {"mappings/tables/t.yaml": "table: t\nkey: a\ncolumns: [a]\nfile: t.csv\n"},
    "E140": {"mappings/files/m.yaml": MAPPING + "fields:\n  name: { frm: a }\n"},
    "E141": {"flows/f.yaml": FLOW.replace("entity: good\n", "")},
    "E142": {"flows/f.yaml": FLOW + "guard: { deletes: 5 }\n"},
    "E143": {"flows/f.yaml": FLOW + "mode: dry\n"},
    "E144": {"mappings/files/m.yaml": MAPPING + "fields:\n  name: { from: a, value: b }\n"},
    "E145": {"flows/f.yaml": "kind: sync\nflow: f\n"},
    "E146": {"flows/f.yaml": FLOW.replace("flow: f", "flow: g")},
    "E147": {"mappings/files/m.yaml": "mapping: files/m\nextends: files/good\nremove: [fields.fax]\n"},
    "E148": {"mappings/tables/t.yaml": "table: t\nkey: a\ncolumns: [a, b]\nfile: t.csv\n", "mappings/tables/t.csv": "a,b\n1,2,3\n"},
    "E201": {"mappings/files/m.yaml": MAPPING + 'fields:\n  name: { from: "a..b" }\n'},
    "E202": {"mappings/files/m.yaml": MAPPING + 'inbound:\n  name: { from: "a[::0]" }\n'},
    "E210": {"flows/f.yaml": FLOW + "checks:\n  - { name: c, that: \"statuss == 'open'\" }\n"},
    "E211": {"flows/f.yaml": FLOW + "checks:\n  - { name: c, that: \"hours == 'x'\" }\n"},
    "E212": {"flows/f.yaml": FLOW + "checks:\n  - { name: c, that: \"status == 'opn'\" }\n"},
    "E213": {"flows/f.yaml": FLOW + "checks:\n  - { name: c, that: \"!boss.name\" }\n"},
    "E250": {"mappings/files/m.yaml": MAPPING + 'inbound:\n  name: { template: "{{ a" }\n'},
    "E251": {"flows/f.yaml": FLOW + 'checks:\n  - { name: c, that: name, otherwise: "{{ nme }}" }\n'},
    "E252": {"mappings/files/m.yaml": MAPPING + 'inbound:\n  name: { template: "{{ a.__class__ }}" }\n'},
    "E271": {"mappings/files/m.yaml": MAPPING + "fields:\n  name: { from: a, transform: [trimm] }\n"},
    "E272": {"flows/f.yaml": FLOW + 'checks:\n  - { name: c, that: "trim(name, name)" }\n'},
    "E350": {"mappings/files/m.yaml": MAPPING + "fields:\n  hours: { from: m, as: decimal, scale: 1/60, round: [1, 0] }\n"},
    "E351": {"schemas/other.yaml": SCHEMA + "properties: { name: { type: string } }\n", "flows/f.yaml": FLOW.replace("entity: good", "entity: other")},
    "E352": {"mappings/files/m.yaml": MAPPING.replace("entity: good", "entity: good\nschema: 2") + "fields: { name: a }\n"},
    "E353": {"mappings/files/m.yaml": MAPPING + "fields: { nam: a }\n"},
    "E354": {"flows/f.yaml": FLOW + "trigger: [{ after: f }]\n"},
    "E355": {"flows/f.yaml": FLOW + "refresh: [name]\n"},
    "E359": {"flows/f.yaml": FLOW + "trigger: [{ webhook: { connection: files, path: a/b } }]\n"},
    "E358": {"crosswalk.yaml": BASE["crosswalk.yaml"].replace("connections:", "connections:\n  second: { connector: files, path: x, format: csv }"),
             "flows/f.yaml": FLOW + "trigger: [{ webhook: { connection: files, path: a/b } }]\n",
             "flows/g.yaml": FLOW.replace("flow: f", "flow: g") + "trigger: [{ webhook: { connection: second, path: a/b } }]\n"},
    "E363": {"crosswalk.yaml": BASE["crosswalk.yaml"] + "events: [{ to: files, types: [good.*] }]\n"},
    "E365": {"schemas/s.yaml": SCHEMA + "x-correlates: [name]\nproperties: { name: { type: string } }\n"},
    "E390": {"flows/f.yaml": COMPARE + "ignore: [name]\n"},
    "E391": {"flows/f.yaml": COMPARE + "compare: { nmae: { text: casefold } }\n"},
    "E392": {"flows/f.yaml": COMPARE + "compare: { name: { tolerance: 0.01 } }\n"},
    "E393": {"flows/f.yaml": COMPARE.replace("files/good }", "files/good, group: [status], sum: [hours] }") + "key: [name]\n"},
    "E394": {"flows/f.yaml": COMPARE + "window: { field: hours, last: 35d }\n"},
    "E395": {"flows/f.yaml": COMPARE + "totals: [{ sum: name }]\n"},
    "E396": {"flows/f.yaml": COMPARE + "heal: { mismatch: { flow: f } }\n"},
    "E397": {"flows/f.yaml": COMPARE + "heal: { missing_right: deactivate }\n"},
    "E357": {"mappings/files/m.yaml": MAPPING + "onto: { from: b, ref: good }\nfields: { name: a }\n",
             "flows/f.yaml": FLOW.replace("targets: []", "targets: [{ connection: files, mapping: files/m }]")},
    "E356": {"schemas/s.yaml": SCHEMA + "properties: { name: { type: string, x-owner: crm } }\n",
             "mappings/files/m.yaml": MAPPING.replace("good", "s") + "fields: { name: a }\n",
             "flows/f.yaml": FLOW.replace("good", "s").replace("files/s", "files/m")},
    "E380": {"indicators/i.yaml": "indicator: i\nentity: good\nlimit: 3d\n"},
}  # fmt: skip


def _put(code: str, files: dict[str, str]) -> None:
    @case(code)
    def run(place: Place) -> Problem:
        return place.fault(code, {**BASE, **files})


for _code, _files in WRONG.items():
    _put(_code, _files)
assert set(WRONG) <= set(CASES)


@case("E100")
def not_yaml(place: Place) -> Problem:
    return place.fault("E100", {**BASE, "flows/f.yaml": "flow: f\nkind: [sync\nentity: good\n"})


@case("E104")
def too_many_nodes(place: Place) -> Problem:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 6)]
    return place.fault("E104", {**BASE, "flows/f.yaml": "flow: f\n" + "\n".join(levels) + "\n"})


@case("E131")
def a_secret_written_out(place: Place) -> Problem:
    settings = BASE["crosswalk.yaml"] + '  dw: { connector: sql, url: "postgresql://u:hunter2@h/x" }\n'
    try:
        Workspace.open(place.write({**BASE, "crosswalk.yaml": settings}))
    except SpecError as error:
        return error.problem
    raise AssertionError("a password was accepted")


@case("E273")
def functions_that_cannot_be_loaded(place: Place) -> str:
    place.write({**BASE, "crosswalk.yaml": BASE["crosswalk.yaml"] + "functions: functions.py\n", "functions.py": "import nothing_of_that_name\n"})  # fmt: skip
    return place.command("validate")


@case("E102")
def a_connector_that_cannot_be_imported(place: Place) -> Problem:
    from unittest.mock import patch

    from engine.spec import connection

    class Broken:
        value = "vendor.connector:Vendor"

        def load(self) -> None:
            raise ImportError("No module named 'vendor_sdk'")

    settings = BASE["crosswalk.yaml"] + "  v: { connector: vendor }\n"
    with patch.object(connection, "installed", lambda: {"vendor": Broken()}), \
         patch("engine.spec.workspace.installed", lambda: {"vendor": Broken()}):  # fmt: skip
        return place.fault("E102", {**BASE, "crosswalk.yaml": settings})
