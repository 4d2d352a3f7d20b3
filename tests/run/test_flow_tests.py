"""`crosswalk test`: what holds passes, and whatever does not is told with both places. Each failure is provoked."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.compile.workspace import problems_of
from engine.run.testing import run_tests
from engine.sdk.record import Fields
from engine.spec.workspace import Workspace
from tests.conftest import Make
from tests.run.test_sync import FILES

CROSSWALK = str(Path(sys.executable).parent / "crosswalk")
FLOW = """
test: people
flow: people
"""
ADA = '{ id: "1", name: Ada, pay: 10.50, state: on, at: 2026-01-01T00:00:00Z }'


def tell(make: Make, test: str, more: dict[str, str] | None = None) -> list[Fields]:
    folder = make({**FILES, **(more or {}), "tests/t.yaml": test})
    return run_tests(Workspace.open(folder)).cases


def told(make: Make, test: str, more: dict[str, str] | None = None) -> list[str]:
    """The lines of the one case of a test; empty where it holds."""
    (case,) = tell(make, test, more)
    return str(case["problem"] or "").splitlines()


def mapping(body: str) -> str:
    return "test: m\nmapping: src/people\n" + body


# ---------------------------------------------------------------------- mappings
@pytest.mark.parametrize(
    "body",
    [
        "given: { name: ' Ada ', pay: 10.50 }\nexpect: { name: Ada, pay: 10.5 }\n",
        "given: { name: Ada }\nexactly: { name: Ada }\n",
        "given: { name: Ada, team: t1 }\nlinks: { team: [{ src: t1 }] }\nexpect: { team: t1 }\n",
        "given: { name: Ada, team: t1 }\nlinks: { team: [{ id: red, src: t1 }] }\nexpect: { team: red }\n",
        "given: { name: Ada, team: t1 }\nlinks: { team: [{ dw: '9', src: t1 }] }\nexpect: { team: '9' }\n",
        "given: { name: Ada, team: t1 }\nlinks: { team: [{ dw: '9', src: t1 }] }\nexpect: { team: t1 }\n",
        "given: { name: Ada, pay: much }\nrejects: { field: pay, code: E401 }\n",
        "given: { name: '  ' }\nrejects: { field: name, code: E420 }\n",
        "given: { name: Ada, pay: 10.50, state: on }\nround_trip: true\n",
    ],
)
def test_what_a_mapping_does_passes(make: Make, body: str) -> None:
    assert told(make, mapping(body)) == []


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (
            "given: { name: Ada, pay: 10.50 }\nexpect: { name: Bo, pay: 10.5 }\n",
            ['tests/t.yaml:4:17 name: expected "Bo", got "Ada" (from mappings/src/people.yaml:5:9)'],
        ),
        (
            "given: { name: Ada }\nexpect: { pay: 1, state: on }\n",
            ["tests/t.yaml:4:16 pay: expected 1, got nothing (from mappings/src/people.yaml:7:8)",
             'tests/t.yaml:4:26 state: expected "on", got nothing (from mappings/src/people.yaml:8:10)'],
        ),
        (
            "given: { name: Ada, pay: 1 }\nexactly: { name: Ada }\n",
            ["tests/t.yaml:4:10 pay: expected nothing, got 1 (from mappings/src/people.yaml:7:8)"],
        ),
        ("given: { name: Ada, pay: null }\nexactly: { name: Ada }\n",
         ["tests/t.yaml:4:10 pay: expected nothing, got null (from mappings/src/people.yaml:7:8)"]),
        ("given: { name: Ada, pay: 1 }\nexpect: { pay: '1' }\n",
         ['tests/t.yaml:4:16 pay: expected "1", got 1 (from mappings/src/people.yaml:7:8)']),
        (
            "given: { name: Ada, pay: 1 }\nrejects: { field: pay }\n",
            ['tests/t.yaml:4:10 pay: expected a refusal, got {"name":"Ada","pay":1}'],
        ),
        (
            "given: { name: Ada, pay: much }\nrejects: { field: pay, code: E402 }\n",
            ["tests/t.yaml:4:10 pay: expected a refusal with E402, got E401 pay: expected a number, got 'much' (from mappings/src/people.yaml:7:8)"],
        ),
        (
            "given: { name: Ada, pay: much }\nexpect: { name: Ada }\n",
            ["tests/t.yaml:1:1 pay: expected no fault, got E401 pay: expected a number, got 'much' (from mappings/src/people.yaml:7:8)"],
        ),
        ("given: { name: Ada }\nskipped: true\n",
         ["tests/t.yaml:1:1 the record: expected left out by `where`, got a record (from mappings/src/people.yaml:1:1)"]),
    ],
)  # fmt: skip
def test_what_a_mapping_does_not_do_is_told_with_both_places(make: Make, body: str, lines: list[str]) -> None:
    assert told(make, mapping(body)) == lines


def test_outbound_references_come_back_as_the_systems_own_ids(make: Make) -> None:
    target = "mapping: dw/people\nobject: people\nentity: person\nfields:\n  team: { from: team_id, ref: team }\n"
    test = "test: m\nmapping: dw/people\ndirection: outbound\nlinks: { team: [{ src: t1, dw: '9' }] }\ngiven: { team: t1 }\nexpect: { team_id: '9' }\n"
    assert told(make, test, {"mappings/dw/people.yaml": target}) == []
    assert told(make, test.replace("'9' }\n", "'8' }\n"), {"mappings/dw/people.yaml": target}) == [
        'tests/t.yaml:6:20 team_id: expected "8", got "9" (from mappings/dw/people.yaml:5:9)'
    ]


def test_a_pair_that_does_not_come_back_is_found(make: Make) -> None:
    lossy = "mapping: src/people\nobject: people\nentity: person\nfields:\n  name: { from: name, transform: [trim] }\n  pay: { from: pay, as: decimal, round: [0, 0] }\n  state: { from: state, to: stage }\n"
    lines = told(make, mapping("given: { name: Ada, state: on, stage: off }\nround_trip: true\n"),
                 {"mappings/src/people.yaml": lossy.replace("state, to: stage", "state || stage, to: stage")})  # fmt: skip
    assert lines == []
    broken = lossy.replace("{ from: state, to: stage }", "{ from: state, values: { on: on, off: on } }")
    assert (
        told(
            make, mapping("given: { name: Ada, state: off }\nround_trip: true\n"), {"mappings/src/people.yaml": broken}
        )
        == []
    )


def test_each_gives_a_list_and_where_leaves_out(make: Make) -> None:
    each = {
        "mappings/src/people.yaml": "mapping: src/people\nobject: people\nentity: person\nwhere: active\neach: members\nkey: [id]\nfields: { name: name }\n"
    }
    given = "given: { active: true, members: [{ id: 1, name: Ada }, { id: 2, name: Bo }] }\n"
    assert told(make, mapping(given + "expect: [{ name: Ada }, { name: Bo }]\n"), each) == []
    (line,) = told(make, mapping(given + "expect: [{ name: Ada }]\n"), each)
    assert "records: expected 1, got 2" in line
    assert told(make, mapping("given: { active: false, members: [] }\nskipped: true\n"), each) == []


def test_a_tests_own_table_stands_in_for_the_file(make: Make) -> None:
    files = {
        "mappings/tables/levels.yaml": "table: levels\nkey: code\ncolumns: [code, text]\nrows: [[on, running]]\n",
        "mappings/src/people.yaml": "mapping: src/people\nobject: people\nentity: person\nfields:\n  name: name\n  state: { from: state, lookup: levels, column: text }\n",
    }
    assert told(make, mapping("given: { name: A, state: running }\nexpect: { state: on }\n"), files) == []
    other = "tables: { levels: [{ code: off, text: running }] }\ngiven: { name: A, state: running }\nexpect: { state: off }\n"
    assert told(make, mapping(other), files) == []
    (line,) = told(make, mapping(other.replace("text: running }]", "txt: running }]")), files)
    assert line.startswith("E144 tests/t.yaml:3:") and "'txt'" in line


# ---------------------------------------------------------------------- flows
def given(*people: str, teams: str = "") -> str:
    return f"given: {{ src: {{ people: [{', '.join(people)}]{teams} }} }}\n"


def test_a_flow_that_does_what_it_should_passes(make: Make) -> None:
    body = given(ADA) + "expect_writes: { dw: [{ create: { name: Ada, pay: 10.5, state: on } }] }\n"
    assert told(make, FLOW + body) == []


@pytest.mark.parametrize(
    ("expected", "lines"),
    [
        ("expect_writes: { dw: [{ create: { name: Bo, pay: 10.5 } }] }",
         ['tests/t.yaml:4:41 name: expected "Bo", got "Ada" (from mappings/dw/people.yaml:5:17)']),
        ("expect_writes: {}", ['tests/t.yaml:4:16 dw create: expected nothing, got create people new-1 {"name":"Ada","pay":10.50,"state":"on","id":"ID"}']),
        ("expect_writes: { dw: [{ create: { name: Ada } }, { update: { name: Bo }, key: 7 }] }",
         ['tests/t.yaml:4:50 dw update: expected {"name":"Bo"}, got nothing']),
        ("expect_exceptions: [{ key: 1, code: E430 }]", ['tests/t.yaml:4:21 exception: expected {"key":"1","code":"E430"}, got nothing']),
        ("expect_run: { created: 2, state: succeeded }", ["tests/t.yaml:4:24 created: expected 2, got 1"]),
        ("expect_records: { person: [{ name: Ada, pay: 11 }] }",
         ["tests/t.yaml:4:46 pay: expected 11, got 10.50 (from mappings/src/people.yaml:7:8)"]),
        ("expect_writes: { ghost: [] }", ["E101 tests/t.yaml:4:18 there is no target called 'ghost' — known: dw"]),
    ],
)  # fmt: skip
def test_what_a_flow_does_not_do_is_told_with_both_places(make: Make, expected: str, lines: list[str]) -> None:
    found = [
        re.sub(r'"id":"[0-9a-f]{32}"', '"id":"ID"', line) for line in told(make, FLOW + given(ADA) + expected + "\n")
    ]
    found = [re.sub(r"people [0-9a-f]{32} ", "people new-1 ", line) for line in found]
    assert found == lines


def test_an_exception_that_nobody_expects_fails_the_test(make: Make) -> None:
    bad = '{ id: "2", name: Bo, pay: much }'
    (line,) = told(make, FLOW + given(ADA, bad) + "expect_writes: { dw: [{ create: { name: Ada } }] }\n")
    assert "exception: expected nothing, got open 2: E401 pay" in line and "mappings/src/people.yaml:7:8" in line
    whole = given(ADA, bad) + "expect_exceptions: [{ key: 2, code: E401, stage: map, state: open, message: much }]\n"
    assert told(make, FLOW + whole) == []


def test_checks_references_waits_and_their_end(make: Make) -> None:
    test = """
        test: waits
        flow: people
        cases:
          - name: a closed team stops the record, opening it lets it go
            records: { team: [{ id: red, name: Red, open: false }] }
            links: { team: [{ id: red, src: t1 }] }
            given: { src: { people: [{ id: "1", name: Ada, team: t1 }] } }
            expect_writes: {}
            expect_exceptions: [{ key: "1", code: E430, message: Ada is in closed team Red }]
            expect_run: { state: partial }
            then:
              - flow: teams
                given: { src: { teams: [{ id: t1, name: Red, open: true }] } }
                expect_records: { team: [{ name: Red, open: true }] }
                expect_exceptions: [{ key: "1" }]
              - expect_writes: { dw: [{ create: { name: Ada, team_name: Red } }] }
          - name: a team nobody knows yet
            given: { src: { people: [{ id: "1", name: Ada, team: t9 }] } }
            expect_exceptions: [{ key: "1", code: E405, state: waiting }]
            then:
              - flow: teams
                given: { src: { teams: [{ id: t9, name: Blue, open: true }] } }
                expect_records: { team: [{ name: Blue }] }
                expect_exceptions: [{ state: waiting }]
              - expect_writes: { dw: [{ create: { team_name: Blue } }] }
    """
    import textwrap

    flow = FILES["flows/people.yaml"].replace("errors: 90%", "errors: 100%")
    cases = tell(make, textwrap.dedent(test), {"flows/people.yaml": flow})
    assert [case["problem"] for case in cases] == [None, None]


WAITED = """test: patience
flow: people
given: { src: { people: [{ id: "1", name: Ada, team: t9 }, { id: "2", name: Bo }] } }
expect_exceptions: [{ key: "1", code: E405, state: waiting }]
expect_run: { state: succeeded, waiting: 1, quarantined: 0 }
then:
  - now: 2026-01-18T11:59:00Z
    expect_exceptions: [{ key: "1", state: waiting }]
    expect_run: { state: succeeded }
  - now: 2026-01-18T12:01:00Z
    expect_exceptions: [{ key: "1", code: E405, state: open, message: in the time that it may wait }]
    expect_run: { state: partial }
  - flow: teams
    given: { src: { teams: [{ id: t9, name: Blue, open: true }] } }
    expect_exceptions: [{ key: "1" }]
  - now: 2026-01-19T12:00:00Z
    expect_writes: { dw: [{ create: { name: Ada } }] }
    expect_run: { state: succeeded }
"""


def test_a_wait_that_is_over_needs_a_person_and_still_ends_by_itself(make: Make) -> None:
    assert told(make, WAITED) == []


def test_a_wait_for_a_target_is_over_too(make: Make) -> None:
    files = {
        "mappings/src/people.yaml": FILES["mappings/src/people.yaml"].replace("on_missing: wait", "on_missing: quarantine"),
        "mappings/dw/people.yaml": FILES["mappings/dw/people.yaml"].replace(
            "outbound: {", "outbound: { team: { from: team, ref: team, on_missing: wait, wait_for: 3d },"),
    }  # fmt: skip
    test = WAITED.replace("team: t9 }, {", "team: t1 }, {").replace(
        "flow: people\n",
        "flow: people\nlinks: { team: [{ id: red, src: t1 }] }\nrecords: { team: [{ id: red, name: Red, open: true }] }\n",
    )
    test = test[: test.index("  - flow: teams")]
    assert told(make, test, files) == []


def test_time_stands_still(make: Make) -> None:
    stamped = FILES["mappings/dw/people.yaml"].replace("outbound: {", "outbound: { stamp: now(),")
    body = given(ADA) + "expect_writes: { dw: [{ create: { stamp: '2026-01-15T12:00:00Z' } }] }\n"
    assert told(make, FLOW + body, {"mappings/dw/people.yaml": stamped}) == []
    later = body.replace("'2026-01-15T12:00:00Z'", "'2026-03-01T00:00:00Z'") + "now: 2026-03-01T00:00:00Z\n"
    assert told(make, FLOW + later, {"mappings/dw/people.yaml": stamped}) == []


def test_a_second_run_that_writes_again_fails_the_test(make: Make) -> None:
    drifting = {
        "crosswalk.yaml": FILES["crosswalk.yaml"].replace("name: t\n", "name: t\n        functions: functions.py\n"),
        "functions.py": "import time\n\nfrom engine.compile.functions.function import function\n\n\n"
        "@function('string')\ndef ticket(text: str) -> str:\n    return str(time.monotonic_ns())\n",
        "mappings/dw/people.yaml": FILES["mappings/dw/people.yaml"].replace(
            "outbound: {", "outbound: { stamp: ticket(name),"
        ),
        "flows/people.yaml": FILES["flows/people.yaml"].replace("lag: 10m", "lag: 10m, where: now() != 'x'"),
    }
    body = given(ADA) + "expect_writes: { dw: [{ create: { name: Ada } }] }\n"
    (line,) = told(make, FLOW + body, drifting)
    assert line == 'tests/t.yaml:1:1 a second run: expected no write, got {"updated":1}'
    assert told(make, FLOW + body + "again: anything\n", drifting) == []


def test_deletes_of_a_sweep_and_a_guard_that_holds(make: Make) -> None:
    flow = FILES["flows/people.yaml"].replace("lag: 10m", "lag: 10m, deletes: sweep, incremental: none")
    flow = flow.replace("mapping: dw/people }", "mapping: dw/people, on_delete: delete }")
    test = f"""test: gone
flow: people
given: {{ src: {{ people: [{ADA}, {{ id: "2", name: Bo }}] }} }}
expect_writes: {{ dw: [{{ create: {{ name: Ada }} }}, {{ create: {{ name: Bo }} }}] }}
then:
  - given: {{ src: {{ people: [{ADA}] }} }}
    expect_run: {{ state: held }}
    expect_writes: {{}}
"""
    assert told(make, test, {"flows/people.yaml": flow}) == []
    wide = {"flows/people.yaml": flow.replace("errors: 90%", "errors: 90%, deletes: 100%")}
    (line, *_) = told(make, test, wide)
    assert 'state: expected "held", got "succeeded"' in line


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("given: { src: [] }\nexpect_writes: {}\n", "connection → object → records"),
        ("given: { src: { people: [] } }\nexpect: { name: Ada }\n", "`expect` is for tests of a `mapping`"),
        ("given: { src: { people: [] } }\n", "a run that expects nothing"),
        ("given: { src: { people: [] } }\nexpect_writes: { dw: [{ creat: {} }] }\n", "there is no key 'creat'"),
        ("given: { src: { people: [] } }\nexpect_writes: { dw: [{ create: {}, delete: '1' }] }\n", "write one of `create`"),
    ],
)  # fmt: skip
def test_a_test_that_makes_no_sense_is_refused(make: Make, body: str, message: str) -> None:
    from engine.sdk.errors import SpecError

    with pytest.raises(SpecError, match=message):
        tell(make, FLOW + body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("given: { sorc: { people: [] } }\nexpect_writes: {}\n", "there is no connection called 'sorc' — did you mean 'src'?"),
        ("given: { src: { people: [{ name: Ada }] } }\nexpect_writes: {}\n", "has no 'id', its key"),
        ("links: { team: [{ scr: t1 }] }\ngiven: { src: { people: [] } }\nexpect_writes: {}\n", "there is no connection called 'scr'"),
        ("records: { team: [{ id: x, nam: Red }] }\ngiven: { src: { people: [] } }\nexpect_writes: {}\n", "team has no field 'nam' — did you mean 'name'?"),
        ("records: { team: [{ name: Red }] }\ngiven: { src: { people: [] } }\nexpect_writes: {}\n", "a known record has no `id`"),
        ("links: { team: [{ src: a, dw: b }, { src: c, dw: b }] }\nrecords: { person: [{ id: p, team: b }] }\ngiven: { src: { people: [] } }\nexpect_writes: {}\n",
         "'b' stands in several rows of `links`"),
    ],
)  # fmt: skip
def test_a_fixture_that_names_what_is_not_there_fails_its_case(make: Make, body: str, message: str) -> None:
    assert message in "\n".join(told(make, FLOW + body))


def test_the_command_in_text_and_json_with_coverage_and_exit_code(make: Make) -> None:
    folder = make({**FILES, "tests/t.yaml": mapping("given: { name: Ada, pay: 1 }\nexpect: { name: Bo }\n")})

    def call(*words: str) -> tuple[int, str]:
        done = subprocess.run([CROSSWALK, "test", *words], cwd=folder, capture_output=True, text=True, timeout=60)
        assert done.stderr == ""
        return done.returncode, done.stdout

    code, text = call()
    assert code == 1
    assert text.splitlines() == [
        "FAIL t: m",
        '     tests/t.yaml:4:17 name: expected "Bo", got "Ada" (from mappings/src/people.yaml:5:9)',
        "src/people inbound: 1 of 4 fields proven; not: team, pay, state",
        "0 passed, 1 failed",
    ]
    code, text = call("--json")
    answer: dict[str, Any] = json.loads(text)
    assert (code, answer["passed"], answer["failed"]) == (1, 0, 1)
    assert answer["tests"][0]["differences"] == [
        {"field": "name", "expected": '"Bo"', "got": '"Ada"', "at": "tests/t.yaml:4:17", "rule": "mappings/src/people.yaml:5:9"}
    ]  # fmt: skip
    assert answer["coverage"] == [
        {"mapping": "src/people", "direction": "inbound", "fields": 4, "proven": 1, "missing": ["team", "pay", "state"]}
    ]


def test_every_test_in_the_guide_holds_on_the_quickstart(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    blocks = re.findall(r"```yaml\n(.*?)```", (root / "docs/testing.md").read_text("utf-8"), re.DOTALL)
    elsewhere = ("flow: deals", "expect_breaks")  # see test_process_tests.py and test_expected_breaks.py
    blocks = [block for block in blocks if not any(one in block for one in elsewhere)]
    assert len(blocks) == 3
    shutil.copytree(root / "examples/quickstart", tmp_path / "w", ignore=shutil.ignore_patterns(".crosswalk", "*.db"))
    for number, block in enumerate(blocks):
        (tmp_path / f"w/tests/guide{number}.yaml").write_text(block, "utf-8")
    workspace = Workspace.open(tmp_path / "w")
    assert problems_of(workspace) == []
    cases = [case for case in run_tests(workspace).cases if case["test"].startswith("guide")]
    assert len(cases) == 5 and [case["problem"] for case in cases if case["problem"]] == []
