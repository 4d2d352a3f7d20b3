"""Each class of exception from a real fault; and failures alike have one fingerprint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args
from unittest.mock import patch

import pytest

from engine.compile.checks import CompiledCheck
from engine.compile.rules import FAULTS
from engine.run.faults import fingerprint
from engine.sdk.errors import ExceptionClass, Position, Problem
from engine.sdk.record import Fields
from engine.state import exceptions
from engine.state.store import Store
from tests.messages.case import Place, server
from tests.messages.records import ADA, BASE, TO_DW, Line, _to_api

WAIT = "name: name\nteam: { from: team, ref: team, on_missing: wait }"


def rows(line: Line) -> list[exceptions.Row]:
    store = Store.open("sqlite:///.crosswalk/state.db", line.place.folder)
    with store.read() as tx:
        found = exceptions.listed(tx)
    store.close()
    return found


def classes(line: Line) -> set[str]:
    return {row.exception_class for row in rows(line)}


FROM_DATA: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "parse": ("name: name", ["not json"], {}),
    "mapping": ("name: name\npay: { from: pay, as: decimal }", [{**ADA, "pay": "much"}], {}),
    "validation": ("name: name", [{**ADA, "name": ""}], {}),
    "check": ("name: name", [ADA], {"flow": TO_DW + "checks: [{ name: never, that: \"name == 'Bob'\" }]\n"}),
    "missing_reference": (WAIT, [{**ADA, "team": "t9"}], {}),
    "conflict": ("name: name", [ADA, {**ADA, "name": "Bob"}], {}),
    "ambiguous_match": ("name: name\ncode: code", [{**ADA, "code": "x"}, {**ADA, "id": "2", "code": "x"}], {}),
    "rejected": ("code: name", [ADA], {}),
    "too_large": ("name: name", [{**ADA, "name": "A" * 3000}], {"flow": TO_DW + "policy: { max_record: 2 KiB }\n"}),
}


@pytest.mark.parametrize("wanted", FROM_DATA)
def test_a_fault_of_a_record_has_its_class_and_the_others_go_on(tmp_path: Path, wanted: str) -> None:
    rules, records, more = FROM_DATA[wanted]
    good = {**ADA, "id": "9", "name": "Bob", "code": "y", "pay": None}
    line = Line(Place(tmp_path), rules, **more).put(*records, good).run(full=True)
    assert wanted in classes(line) and len({row.key for row in rows(line)} - {"9"}) >= 1
    assert all(row.exception_class in get_args(ExceptionClass) for row in rows(line))
    assert wanted == "rejected" or "9" not in {row.key for row in rows(line)}


def _fall_over(check: CompiledCheck, record: Fields, env: Any) -> bool:
    if record["name"] == "Ada":
        raise ZeroDivisionError("division by zero")
    return True


def test_a_record_that_code_falls_over_is_kept_alone(tmp_path: Path) -> None:
    line = Line(Place(tmp_path), "name: name", flow=TO_DW + "checks: [{ name: named, that: name }]\n")
    with patch("engine.compile.checks.CompiledCheck.holds", _fall_over):
        line.put(ADA, {**ADA, "id": "2", "name": "Bob"}).run()
    assert [(row.key, row.exception_class, row.code) for row in rows(line)] == [("1", "internal", "E499")]
    assert rows(line)[0].at == "flows/people.yaml:7:31"
    assert rows(line.run(full=True)) == []


ANSWERS: dict[str, Any] = {
    "intermittent": (423, {}, b'{"error": "locked for a moment"}'),
    "rejected": (422, {}, b'{"error": "no"}'),
    "in_doubt": None,
}


@pytest.mark.parametrize("wanted", ANSWERS)
def test_a_fault_of_the_target_has_its_class(tmp_path: Path, wanted: str) -> None:
    with server(lambda method, path, body: ANSWERS[wanted]) as url:
        line = _to_api(Place(tmp_path), url)
        assert classes(line.put(ADA).run()) == {wanted}


def test_a_payload_over_the_limit_stays_away_from_its_target_and_tells_its_size(tmp_path: Path) -> None:
    grown = BASE["mappings/dw/people.yaml"].replace(
        "{ id: id }", '{ id: id, code: { template: "{{ name }}' + "x" * 700 + '" } }'
    )
    files = {"mappings/dw/people.yaml": grown}
    line = Line(Place(tmp_path), "name: name", flow=TO_DW + "policy: { max_record: 600 B }\n", files=files)
    (row,) = rows(line.put(ADA).run())
    assert (row.exception_class, row.target, row.code) == ("too_large", "dw", "E415")
    assert " bytes, 600 are allowed" in row.message


def test_what_compiled_rules_say_is_a_class() -> None:
    assert {one[1] for one in FAULTS.values()} <= set(get_args(ExceptionClass))


def test_failures_alike_have_one_fingerprint_whatever_their_values() -> None:
    at = Position("mappings/src/people.yaml", 5, 3)

    def of(message: str, key: str, code: str = "E401", target: str = "") -> str:
        return fingerprint(Problem(code, message, at), key, target)

    assert of("7: pay: 'much' is no number", "7") == of("a-8: pay: 'none' is no number", "a-8")
    assert of("pay: 12 is more than 10", "1") == of("pay: 9.5 is more than 10", "2")
    assert of('seat: {"a": "b"} is taken', "1") == of('seat: {"c": 1} is taken', "1")
    assert of("pay: 'x' is no number", "1") != of("pay: 'x' is no date", "1")
    assert of("x", "1", target="dw") != of("x", "1", target="erp")
    assert of("Ada is paid 0", "1", "E430") == of("Bob is paid 7", "2", "E430")


def test_records_that_fail_alike_are_one_group(tmp_path: Path) -> None:
    line = Line(Place(tmp_path), "name: name\npay: { from: pay, as: decimal }")
    line.put({**ADA, "pay": "x"}, {**ADA, "id": "2", "pay": "y"}, {**ADA, "id": "3", "name": ""}).run()
    found = rows(line)
    assert len(found) == 3 and len({row.fingerprint for row in found}) == 2
    assert json.dumps([row.owner for row in found]) == "[null, null, null]"
