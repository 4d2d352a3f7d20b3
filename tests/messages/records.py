"""Cases of records that cannot go on (E4): each run for real, the message as the exception keeps it."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from engine.run.indicators import judge
from engine.run.runner import Runner
from engine.run.session import Options
from engine.sdk.errors import Position, Problem, SpecError
from engine.sdk.record import Fields
from engine.state import exceptions, runs
from engine.state.store import Store
from tests.messages.case import SCHEMA, Answer, Place, case, server

SETTINGS = (
    "crosswalk: 1\nname: t\nsecrets: { files: secrets }\nconnections:\n"
    "  src: { connector: files, path: data, format: ndjson, objects: { people: { key: id, modified: at }, teams: { key: id }, groups: { key: id } } }\n"
    '  dw: { connector: sql, url: "sqlite:///dw.db" }\n'
)
TEAM = SCHEMA + "properties: { name: { type: string } }\n"
BASE = {
    "crosswalk.yaml": SETTINGS,
    "secrets/t": "SEKRET",
    "schemas/team.yaml": TEAM,
    "schemas/group.yaml": TEAM,
    "schemas/person.yaml": SCHEMA
    + "x-match: [[code]]\nproperties:\n  name: { type: string, minLength: 1 }\n  code: { type: string }\n  team: { type: string, x-ref: [team, group] }\n"
    "  pay: { type: number }\n  state: { type: string, enum: [new, on, off], x-transitions: { new: [on], on: [off] } }\n"
    "  day: { type: string }\n",
    "mappings/src/teams.yaml": "mapping: src/teams\nobject: teams\nentity: team\nfields: { name: name }\n",
    "mappings/src/groups.yaml": "mapping: src/groups\nobject: groups\nentity: group\nfields: { name: name }\n",
    "flows/teams.yaml": "flow: teams\nkind: sync\nentity: team\nsource: { connection: src, mapping: src/teams }\ntargets: []\n",
    "flows/groups.yaml": "flow: groups\nkind: sync\nentity: group\nsource: { connection: src, mapping: src/groups }\ntargets: []\n",
    "data/teams.ndjson": '{"id": "t1", "name": "Red"}\n',
    "data/groups.ndjson": '{"id": "t1", "name": "All"}\n',
    "mappings/dw/people.yaml": "mapping: dw/people\nobject: people\nentity: person\nfields: { name: name }\noutbound: { id: id }\n",
}  # fmt: skip
FLOW = "flow: people\nkind: sync\nentity: person\nsource: { connection: src, mapping: src/people }\nguard: { errors: 100% }\n"
TO_DW = "targets: [{ connection: dw, mapping: dw/people }]\n"
API = """connector: api
settings: { url: { required: true } }
base: "{url}"
auth: { kinds: [bearer] }
message: body.error
errors: [{ when: "status == `423`", do: retry }]
objects:
  people:
    key: id
    late: 1s
    index: 1s
    read: { get: /people, records: body.items }
    create: { post: /people, body: "@record", id: body.id }
    update: { patch: "/people/{id}", body: "@changes", if_match: etag }
"""


def _mapping(rules: str, more: str = "") -> str:
    return f"mapping: src/people\nobject: people\nentity: person\n{more}fields:\n" + "".join(
        f"  {line}\n" for line in rules.split("\n")
    )


class Line:
    """A flow of people with its own state; records go in, exceptions come out."""

    def __init__(
        self, place: Place, rules: str, *, flow: str = TO_DW, more: str = "", files: dict[str, str] | None = None
    ) -> None:
        self.place = place
        place.write(
            {
                **BASE,
                "mappings/src/people.yaml": _mapping(rules, more),
                "flows/people.yaml": FLOW + flow,
                **(files or {}),
            }
        )
        with sqlite3.connect(place.folder / "dw.db") as db:
            db.execute("create table if not exists people (id text primary key, name text not null)")
        db.close()

    def put(self, *rows: Fields | str) -> Line:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (self.place.folder / "data/people.ndjson").write_text("".join(f"{line}\n" for line in lines))
        return self

    def run(self, *flows: str, **options: Any) -> Line:
        store = Store.open("sqlite:///.crosswalk/state.db", self.place.folder)
        try:
            for flow in flows or ("people",):
                Runner(self.place.workspace(), store).run(flow, Options(**options))
        finally:
            store.close()
        return self

    def told(self, code: str) -> Problem:
        """The open exception with that code."""
        store = Store.open("sqlite:///.crosswalk/state.db", self.place.folder)
        with store.read() as tx:
            rows = exceptions.listed(tx)
        store.close()
        found = next((row for row in rows if row.code == code), None)
        assert found is not None, [(row.code, row.message) for row in rows]
        at = None
        if found.at:
            file, line, column = found.at.rsplit(":", 2)
            at = Position(file, int(line), int(column))
        return Problem(found.code, found.message, at, found.hint)


def _simple(code: str, rules: str, record: Fields | str, **more: Any) -> None:
    @case(code)
    def run(place: Place) -> Problem:
        return Line(place, rules, **more).put(record).run().told(code)


ADA = {"id": "1", "name": "Ada", "at": "2026-01-01T00:00:00Z"}
_simple("E400", "name: name", '{"id": "1", "name": "Ada", "at": NaN}')
_simple("E401", "name: name\npay: { from: pay, as: decimal }", {**ADA, "pay": "1,000"})
_simple("E402", "name: name\nstate: { from: s, values: { open: new, closed: off } }", {**ADA, "s": "paused"})
_simple("E403", "name: { from: country, lookup: countries, column: name, give: iso3 }", {**ADA, "country": "Atlantis"})
_simple("E404", "name: name\nteam: { from: team, ref: team }", {**ADA, "team": "t9"})
_simple("E405", "name: name\nteam: { from: team, ref: team, on_missing: wait }", {**ADA, "team": "t9"})
_simple("E406", 'name: name\nday: { from: "add_days(day, `1`)" }', {**ADA, "day": "soon"})
_simple("E420", "name: name", {**ADA, "name": ""})
_simple(
    "E430",
    "name: name\npay: pay",
    {**ADA, "pay": 0},
    flow=TO_DW + 'checks: [{ name: paid, that: "pay > `0`", otherwise: "{{ name }} is paid {{ pay }}" }]\n',
)
_simple(
    "E431",
    "name: name\nday: day",
    {**ADA, "day": "soon"},
    flow=TO_DW + "checks: [{ name: late, that: \"is_before(day, '2026-01-01')\" }]\n",
)
_simple("E440", "name: name", ADA, flow="targets: [{ connection: dw, mapping: dw/people, when: \"name == 'Bob'\" }]\n")
_simple(
    "E409",
    "code: code",
    ADA,
    files={
        "mappings/dw/people.yaml": BASE["mappings/dw/people.yaml"]
        .replace("{ id: id }", '{ id: id, name: { template: "{{ name }}" } }')
        .replace("{ name: name }", "{ name: code }")
    },
)
_simple("E450", "code: name", ADA)


@case("E381")
def an_indicator_that_cannot_be_computed(place: Place) -> Problem:
    late = "indicator: late\nentity: person\nwhere: \"is_before(day, '2026-01-01')\"\n"
    Line(place, "name: name\nday: day", files={"indicators/late.yaml": late}).put({**ADA, "day": "soon"}).run()
    store = Store.open("sqlite:///.crosswalk/state.db", place.folder)
    (value,) = judge(store, place.workspace(), ["late"])
    store.close()
    assert value.error is not None
    return value.error


@case("E382")
def an_object_that_is_read_in_one_go(place: Place) -> Problem:
    flow = FLOW.replace("mapping: src/people }", "mapping: src/people, partition: { by: at, every: 1 month } }")
    try:
        Line(place, "name: name", files={"flows/people.yaml": flow + TO_DW}).put(ADA).run()
    except SpecError as error:
        return error.problems[0]
    raise AssertionError("files are read in one go")


@case("E407")
def two_rules_disagree(place: Place) -> Problem:
    target = BASE["mappings/dw/people.yaml"].replace(
        "outbound: { id: id }", "outbound:\n  id: id\n  name: { from: code }"
    )
    return (
        Line(place, "name: name\ncode: code", files={"mappings/dw/people.yaml": target})
        .put({**ADA, "code": "x"})
        .run()
        .told("E407")
    )


@case("E408")
def null_where_it_may_not(place: Place) -> Problem:
    target = BASE["mappings/dw/people.yaml"].replace("{ name: name }", "{ name: { from: name, on_null: error } }")
    return (
        Line(place, "name: name", files={"mappings/dw/people.yaml": target})
        .put({**ADA, "name": None})
        .run()
        .told("E408")
    )


@case("E410")
def two_meanings(place: Place) -> Problem:
    line = Line(place, "name: name\nteam: { from: team, ref: [team, group] }")
    return line.put({**ADA, "team": "t1"}).run("teams", "groups", "people").told("E410")


@case("E411")
def element_without_key(place: Place) -> Problem:
    return (
        Line(place, "name: name", more="each: lines\nkey: line\n")
        .put({**ADA, "lines": [{"name": "A"}]})
        .run()
        .told("E411")
    )


@case("E412")
def two_with_one_key(place: Place) -> Problem:
    return Line(place, "name: name").put(ADA, {**ADA, "name": "Bob"}).run().told("E412")


@case("E413")
def a_suspected_duplicate(place: Place) -> Problem:
    return (
        Line(place, "name: name\ncode: code")
        .put({**ADA, "code": "x"})
        .run()
        .put({**ADA, "id": "2", "code": "x", "at": "2026-02-01T00:00:00Z"})
        .run()
        .told("E413")
    )


@case("E415")
def over_the_limit(place: Place) -> Problem:
    flow = TO_DW + "policy: { max_record: 1 KiB }\n"
    return Line(place, "name: name", flow=flow).put({**ADA, "name": "A" * 2000}).run().told("E415")


@case("E417")
def a_correction_that_is_not_taken(place: Place) -> Problem:
    schema = BASE["schemas/person.yaml"].replace("pay: { type: number }", "pay: { type: number, x-owner: dw }")
    line = Line(place, "name: name\npay: pay", files={"schemas/person.yaml": schema}).put({**ADA, "pay": 1}).run()
    line.put({**ADA, "name": "", "pay": 1, "at": "2026-02-01T00:00:00Z"}).run()
    id = place.told("exceptions", "list")["exceptions"][0]["id"]
    sets = ("--set", 'name="Eve"', "--set", "pay=2")
    place.command("exceptions", "edit", id, "--from", "canonical", *sets, "--because", "she said so")
    place.command("exceptions", "replay", id)
    return line.told("E417")


@case("E499")
def code_that_falls_over(place: Place) -> Problem:
    flow = TO_DW + "checks: [{ name: named, that: name }]\n"
    with patch("engine.compile.checks.CompiledCheck.holds", side_effect=ZeroDivisionError("division by zero")):
        return Line(place, "name: name", flow=flow).put(ADA).run().told("E499")


@case("E421")
def not_reachable(place: Place) -> Problem:
    line = Line(place, "name: name\nstate: s")
    return line.put({**ADA, "s": "off"}).run().put({**ADA, "s": "new", "at": "2026-02-01T00:00:00Z"}).run().told("E421")


@case("E442")
def nothing_to_deactivate_with(place: Place) -> Problem:
    line = Line(
        place,
        "name: name",
        more="deleted: { when: gone }\n",
        flow="targets: [{ connection: dw, mapping: dw/people, on_delete: deactivate }]\nguard: { errors: 100%, deletes: 100% }\n",
    )
    text = (place.folder / "flows/people.yaml").read_text().replace("guard: { errors: 100% }\n", "")
    (place.folder / "flows/people.yaml").write_text(text)
    return line.put(ADA).run().put({**ADA, "gone": True, "at": "2026-02-01T00:00:00Z"}).run().told("E442")


def _to_api(place: Place, url: str) -> Line:
    settings = (
        SETTINGS
        + f'  api: {{ connector: api, url: "{url}", auth: {{ token: "${{secret:t}}" }}, retries: 0, timeout: 1s, backoff: 1ms..2ms }}\n'
    )
    files = {
        "crosswalk.yaml": settings,
        "connectors/api.yaml": API,
        "mappings/api/people.yaml": "mapping: api/people\nobject: people\nentity: person\nfields: { name: name }\n",
    }
    return Line(place, "name: name", flow="targets: [{ connection: api, mapping: api/people }]\n", files=files)


def _answered(place: Place, code: str, answer: Callable[[str, str, bytes], Answer | None]) -> Problem:
    """Ada is created; then she is changed and the API answers the update so."""

    def first(method: str, path: str, body: bytes) -> Answer | None:
        return (201, {}, b'{"id": "77"}') if method == "POST" else answer(method, path, body)

    with server(first) as url:
        line = _to_api(place, url).put(ADA).run()
        return line.put({**ADA, "name": "Bob", "at": "2026-02-01T00:00:00Z"}).run().told(code)


@case("E418")
def behind_another(place: Place) -> Problem:
    flow = "targets: [{ connection: dw, mapping: dw/people, operation: append, match: [] }]\n"
    check = 'checks: [{ name: paid, that: "pay > `0`", otherwise: "{{ name }} is paid {{ pay }}" }]\n'
    line = Line(place, "name: name\npay: pay", flow=flow + check).put({**ADA, "pay": 0}).run()
    return line.put({**ADA, "pay": 5, "at": "2026-02-01T00:00:00Z"}).run().told("E418")


@case("E443")
def two_claim_one(place: Place) -> Problem:
    with server(lambda method, path, body: (201, {}, b'{"id": "77"}')) as url:
        return _to_api(place, url).put(ADA, {**ADA, "id": "2", "name": "Bob"}).run().told("E443")


@case("E452")
def gone_there(place: Place) -> Problem:
    return _answered(place, "E452", lambda method, path, body: (404, {}, b'{"error": "no such person"}'))


@case("E453")
def changed_there(place: Place) -> Problem:
    def answer(method: str, path: str, body: bytes) -> Answer:
        if method == "GET":
            return 200, {}, b'{"items": [{"id": "77", "name": "Ada L."}]}'
        return 412, {}, b'{"error": "etag does not match"}'

    return _answered(place, "E453", answer)


@case("E454")
def not_taken_yet(place: Place) -> Problem:
    return _answered(place, "E454", lambda method, path, body: (423, {}, b'{"error": "locked by a user"}'))


@case("E455")
def in_doubt(place: Place) -> Problem:
    with server(lambda method, path, body: None) as url:
        return _to_api(place, url).put(ADA).run().told("E455")


@case("E456")
def made_twice(place: Place) -> Problem:
    made: list[Any] = []

    def answer(method: str, path: str, body: bytes) -> Any:
        if method == "POST":
            made.append(json.loads(body)["ref"])
            return 201, {}, b'{"id": "77"}'
        at = "2099-01-01T00:00:00Z"
        rows = [{"id": id, "ref": made[0], "at": at} for id in ("77", "78")] if made else []
        return 200, {}, json.dumps({"items": rows}).encode()

    with server(answer) as url:
        line = _to_api(place, url)
        manifest = place.folder / "connectors/api.yaml"
        more = "    class: C\n    marker: ref\n    modified: { field: at, type: instant }\n"
        text = (
            manifest.read_text()
            .rstrip()
            .replace("records: body.items }", "records: body.items, since: { param: since } }")
        )
        manifest.write_text(f"{text}\n{more}")
        return line.put(ADA).run().told("E456")


@case("E470")
def ended_its_process(place: Place) -> Problem:
    line = Line(place, "name: name").put(ADA)
    store = Store.open("sqlite:///.crosswalk/state.db", place.folder)
    with store.begin("replay") as tx:
        runs.set_fact(tx, "deadly:people", {"1": None})
    store.close()
    return line.run().told("E470")


@case("E441")
def an_earlier_write_in_doubt(place: Place) -> Problem:
    with server(lambda method, path, body: None) as url:
        line = _to_api(place, url)
        manifest = place.folder / "connectors/api.yaml"
        manifest.write_text(manifest.read_text().rstrip() + "\n    class: C\n    marker: ref\n")
        line.put(ADA).run()
        return line.put({**ADA, "name": "Bob", "at": "2026-02-01T00:00:00Z"}).run().told("E441")


@case("E457")
def a_lost_create_found_twice(place: Place) -> Problem:
    def answer(method: str, path: str, body: bytes) -> Answer | None:
        mark = path.partition("ref=")[2]
        twice = {"items": [{"id": "77", "ref": mark}, {"id": "78", "ref": mark}]}
        return (200, {}, json.dumps(twice).encode()) if method == "GET" else None

    with server(answer) as url:
        line = _to_api(place, url)
        manifest = place.folder / "connectors/api.yaml"
        text = manifest.read_text().replace("late: 1s\n    index: 1s", "late: 10ms\n    index: 10ms").rstrip()
        find = "    find: { get: /people, records: body.items, by: { ref: { param: ref } } }\n"
        manifest.write_text(text + f"\n    class: C\n    marker: ref\n{find}")
        line.put(ADA).run()
        time.sleep(2.2)
        return line.run().told("E457")


@case("E451")
def no_outcome(place: Place) -> Problem:
    with patch("connectors.sql.connector.SqlConnector.write", lambda self, name, operations: []):
        return Line(place, "name: name").put(ADA).run().told("E451")
