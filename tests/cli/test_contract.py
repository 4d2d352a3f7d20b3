"""The JSON contract: what each command prints for programs, as JSON Schemas; one object, nothing else on stdout."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.cli.test_commands import call, told
from tests.conftest import Make
from tests.run.test_sync import FILES, World, person

TEXT: dict[str, Any] = {"type": "string"}
MAYBE: dict[str, Any] = {"type": ["string", "null"]}
COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
COUNTS = dict.fromkeys(("created", "updated", "unchanged", "deleted", "quarantined", "waiting", "skipped"), COUNT)


def exactly(**fields: Any) -> dict[str, Any]:
    """An object with these fields and no other."""
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def many(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


ERROR = {"oneOf": [{"type": "null"}, exactly(code=TEXT, message=TEXT, at=MAYBE)]}
ENDED = {"enum": ["succeeded", "partial", "failed", "held", "skipped", "cancelled", "running"]}
PART = {"flow": TEXT, "state": ENDED, "read": COUNT, **COUNTS, "held_because": MAYBE, "error": ERROR,
        "targets": {"type": "object", "additionalProperties": exactly(**COUNTS)}}  # fmt: skip
RUN = {**PART, "run": TEXT, "started_at": TEXT, "finished_at": MAYBE}
CHANGE = exactly(target=TEXT, key=TEXT, operation={"enum": ["create", "update", "delete", "deactivate"]},
                 fields={"type": "object", "additionalProperties": {"type": "array", "minItems": 2, "maxItems": 2}})  # fmt: skip
EXCEPTION = {"id": TEXT, "flow": TEXT, "entity": TEXT, "record": MAYBE, "key": TEXT, "target": MAYBE, "stage": TEXT, "class": TEXT,
             "code": TEXT, "message": TEXT, "at": MAYBE, "queue": MAYBE, "state": TEXT, "opened_at": TEXT, "owner": MAYBE,
             "tags": many(TEXT), "fingerprint": TEXT}  # fmt: skip
LINK = exactly(entity=TEXT, connection=TEXT, object=TEXT, native_id=TEXT, canonical_id=TEXT, part=MAYBE, state=TEXT)
ERRORS = exactly(errors=many(exactly(code=TEXT, file=MAYBE, line={"type": ["integer", "null"]}, column={"type": ["integer", "null"]},
                                     message=TEXT, hint=TEXT)))  # fmt: skip
NOTE = exactly(at=TEXT, by=TEXT, did=TEXT, detail={})
EDIT = exactly(
    **{"from": TEXT, "by": TEXT, "at": TEXT, "because": TEXT, "past": {"type": "boolean"}, "fields": {"type": "object"}}
)
SHOWN = {
    **EXCEPTION,
    "hint": TEXT,
    "run": TEXT,
    "attempts": COUNT,
    "closed_how": MAYBE,
    "raw": {},
    "edits": many(EDIT),
    "notes": many(NOTE),
}
ALERTS = many(exactly(flow=TEXT, expectation=TEXT, limit=TEXT, reached=TEXT, since=TEXT, state={"enum": ["open"]}))
ANSWERS: list[tuple[str, int, dict[str, Any]]] = [
    ("validate", 0, exactly(errors={"type": "array", "maxItems": 0})),
    ("plan people", 0, exactly(plans=many(exactly(**PART, calls={"type": "object", "additionalProperties": COUNT}, changes=many(CHANGE))))),
    ("run teams people", 3, exactly(runs=many(exactly(**RUN)), alerts=ALERTS)),
    ("serve --once", 0, exactly(runs=many(exactly(**RUN)))),
    ("schedule list", 0, exactly(schedules=many(exactly(
        flow=TEXT, trigger=TEXT, next=MAYBE, last={"oneOf": [{"type": "null"}, exactly(scheduled_for=TEXT, state=TEXT, why=MAYBE, run=MAYBE)]},
        paused={"oneOf": [{"type": "null"}, exactly(since=TEXT, by=TEXT, because=TEXT)]})))),
    ("schedule next --count 2", 0, exactly(ticks=many(exactly(flow=TEXT, schedule=TEXT, at=TEXT, local=TEXT)))),
    ("schedule pause people --because x", 0, exactly(paused=TEXT)),
    ("schedule resume people", 0, exactly(resumed=TEXT, events=COUNT)),
    ("schedule pause nowhere --because x", 2, ERRORS), ("schedule next --from today", 2, ERRORS),
    ("runs list", 0, exactly(runs=many(exactly(**RUN, trigger=TEXT)), alerts=ALERTS)),
    ("exceptions list", 0, exactly(exceptions=many(exactly(**EXCEPTION)))),
    ("exceptions list --group code", 0, exactly(groups=many(exactly(code=TEXT, count=COUNT, message=TEXT, example=TEXT)))),
    ("exceptions list --group", 0, exactly(groups=many(exactly(
        fingerprint=TEXT, code=TEXT, count=COUNT, open=COUNT, waiting=COUNT, oldest=TEXT, newest=TEXT, queue=MAYBE, target=MAYBE, at=MAYBE,
        message=TEXT, example=TEXT)))),
    ("exceptions assign {exception} --to ada", 0, exactly(assigned=many(TEXT))),
    ("exceptions tag {exception} --add x", 0, exactly(tagged=many(TEXT))),
    ("exceptions edit {exception} --from canonical --set team=null --because x", 0, exactly(**{"edited": TEXT, "from": TEXT, "fields": many(TEXT)})),
    ("exceptions show {exception}", 0, exactly(exception=exactly(**SHOWN))),
    ("links review", 0, exactly(reviews={"type": "array", "maxItems": 0})),
    ("exceptions note {exception} hm", 0, exactly(noted=TEXT)),
    ("exceptions replay {exception}", 3, exactly(runs=many(exactly(**RUN)))),
    ("exceptions discard {exception} --because done", 0, exactly(discarded=many(TEXT))),
    ("runs show {run}", 0, exactly(run=exactly(**RUN, trigger=TEXT, options={"type": "object"}))),
    ("links find src:1", 0, exactly(links=many(LINK))),
    ("connectors list", 0, exactly(connections=many(exactly(connection=TEXT, connector=TEXT, role=TEXT)), connectors=many(TEXT))),
    ("connectors describe dw", 0, exactly(objects=many(TEXT))),
    ("connectors check", 0, exactly(checks=many(exactly(connection=TEXT, ok={"type": "boolean"}, what=TEXT, hint=TEXT)))),
    ("mapping coverage dw/people", 0, exactly(coverage=many(exactly(mapping=TEXT, entity=TEXT, covered=many(TEXT), missing=many(TEXT))))),
    ("show people", 0, exactly(document={"type": "object", "required": ["kind", "name", "file", "data"]})),
    ("state upgrade", 0, exactly(version=TEXT)),
    ("state prune", 0, exactly(removed={"type": "object", "additionalProperties": COUNT})),
    ("doctor", 0, exactly(checks=many(exactly(ok={"type": "boolean"}, what=TEXT)))),
    ("run nowhere", 2, ERRORS), ("frob", 2, ERRORS), ("run --ful", 2, ERRORS), ("exceptions", 2, ERRORS), ("show", 2, ERRORS),
    ("runs show r-0", 2, ERRORS), ("trace src:77", 2, ERRORS), ("validate --env x", 2, ERRORS),
]  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    import textwrap

    folder = tmp_path_factory.mktemp("contract")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text).lstrip("\n"), "utf-8")
    made = World(folder)
    made.put("people", [person("1"), person("2", pay="x")])
    return made


def test_every_answer_is_one_object_of_its_schema(world: World) -> None:
    for line, wanted, schema in ANSWERS:
        known = {}
        if "{exception}" in line:
            known["exception"] = told(world.folder, "exceptions", "list")[1]["exceptions"][0]["id"]
        if "{run}" in line:
            known["run"] = told(world.folder, "runs", "list")[1]["runs"][0]["run"]
        code, answer = told(world.folder, *line.format(**known).split())
        assert code == wanted, (line, code, answer)
        faults = [
            f"{list(error.absolute_path)}: {error.message}"
            for error in Draft202012Validator(schema).iter_errors(answer)
        ]
        assert faults == [], (line, faults[:3])


def test_faults_of_documents_are_answers_too(make: Make) -> None:
    world = World(make(FILES))
    world.edit("flows/people.yaml", "mapping: src/people", "mapping: src/peeple")
    code, answer = told(world.folder, "validate")
    assert code == 2 and Draft202012Validator(ERRORS).is_valid(answer) and answer["errors"][0]["line"] == 4
    code, out, err = call(world.folder, "run", "people", "--json")
    assert code == 2 and out.count("\n") == 1 and err == ""
