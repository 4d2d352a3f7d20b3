"""Expressions: the official suite, the library as oracle, exactness, and schemas that catch mistakes."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import jmespath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.compile.environment import StaticEnv
from engine.compile.expression import assign, compile_expression, plain_path
from engine.compile.functions import FunctionFault, builtin
from engine.compile.shape import Shape
from engine.sdk.errors import Position, SpecError
from engine.sdk.record import decode_json, same

AT = Position("t.yaml", 3, 9)
SUITE = Path(__file__).parents[3] / "shared" / "jmespath-compliance"


def value(text: str, record: Any = None) -> Any:
    return compile_expression(text, AT).evaluate(record, StaticEnv())


@pytest.mark.skipif(not SUITE.is_dir(), reason="the official JMESPath suite is not beside the project")
def test_the_official_suite_passes() -> None:
    passed, failed = 0, []
    for path in sorted(SUITE.glob("*.json")):
        for suite in decode_json(path.read_bytes()):
            for case in suite["cases"]:
                if "result" not in case and "error" not in case:
                    continue
                try:
                    found = value(case["expression"], suite["given"])
                    good = "error" not in case and same(found, case["result"])
                except (SpecError, FunctionFault):
                    good = "error" in case
                passed += good
                failed += [] if good else [(path.name, case)]
    assert failed == []
    assert passed >= 880


names = st.sampled_from(["a", "b", "c"])
documents = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "a", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)
paths = st.recursive(
    names | st.sampled_from(["@", "[0]", "[-1]", "[*]", "*", "[]", "`1`", "'a'", "[1:]"]),
    lambda inner: st.builds(
        lambda left, how, right: how.format(left, right),
        inner,
        st.sampled_from(
            [
                "{}.b",
                "{}[*].a",
                "{} | {}",
                "{} == {}",
                "{} < {}",
                "{} || {}",
                "{} && {}",
                "!{}",
                "[{}, {}]",
                "{}[?a == `1`].b",
            ]
        ),
        inner,
    ),
    max_leaves=5,
)


@given(text=paths, document=documents)
@settings(max_examples=400)
def test_compiled_expressions_agree_with_the_library(text: str, document: Any) -> None:
    try:
        expected = jmespath.search(text, document)
    except jmespath.exceptions.JMESPathError:
        with pytest.raises(SpecError):
            value(text, document)
        return
    except (TypeError, ValueError):
        return  # the library itself trips where values of two types are ordered
    assert json.dumps(value(text, document)) == json.dumps(expected)


def test_numbers_are_exact() -> None:
    assert value("sum(`[0.1, 0.2]`) == `0.3`") is True
    assert value("a == `90071992547409.93`", {"a": Decimal("90071992547409.93")}) is True
    assert value("a == `1.1`", {"a": Decimal("1.10")}) is True
    assert value("a == '1'", {"a": 1}) is False
    assert value("a == `true`", {"a": 1}) is False
    assert value("avg(`[1, 2]`)") == Decimal("1.5")


def test_order_is_for_two_numbers_or_two_texts() -> None:
    assert value("a < b", {"a": "2026-01-01", "b": "2026-02-01"}) is True
    assert value("a < b", {"a": 1, "b": "2"}) is None
    assert value("a < b", {"a": True, "b": 2}) is None


def test_sums_over_several_currencies_are_refused() -> None:
    euros = {"amount": Decimal("1.10"), "currency": "EUR"}
    assert value("sum(@)", [euros, euros]) == {"amount": Decimal("2.20"), "currency": "EUR"}
    with pytest.raises(FunctionFault, match="EUR, USD"):
        value("sum(@)", [euros, {"amount": 1, "currency": "USD"}])


@pytest.mark.parametrize("name", sorted(builtin()))
def test_every_function_keeps_its_examples(name: str) -> None:
    function = builtin()[name]
    assert function.doc.endswith(".")
    for expression, expected in function.examples:
        assert same(value(expression, {}), expected), expression


def test_plain_paths_and_assignment() -> None:
    path = plain_path("custom_fields[?id=='77'].value | [0]")
    assert path == ("custom_fields", ("id", "77"), "value")
    target: dict[str, Any] = {}
    assign(path, target, "x")
    assign(("a", "b"), target, 1)
    assert target == {"custom_fields": [{"id": "77", "value": "x"}], "a": {"b": 1}}
    assert plain_path("a || b") is None
    assert plain_path("expense.items[0].customer.id") == ("expense", "items", 0, "customer", "id")
    assign(("lines", 0, "of", "id"), target, "7")
    assign(("lines", 0, "price"), target, 2)
    assert target["lines"] == [{"of": {"id": "7"}, "price": 2}]


SHAPES = {
    "task": {"properties": {"id": {"type": "string"}, "project": {"type": "string", "x-ref": "project"},
                            "status": {"type": "string", "enum": ["open", "done"]}, "hours": {"type": "number"},
                            "flag": {"type": "boolean"}}, "additionalProperties": False},
    "project": {"properties": {"id": {"type": "string"}, "code": {"type": "string"}}, "additionalProperties": False},
}  # fmt: skip


def test_references_are_followed_and_the_field_stays_the_id() -> None:
    shape = Shape.of_entity(SHAPES["task"], SHAPES.__getitem__)
    env = StaticEnv({"project": {"p1": {"id": "p1", "code": "X"}}})
    assert compile_expression("project.code", AT, shape).evaluate({"project": "p1"}, env) == "X"
    assert compile_expression("project", AT, shape).evaluate({"project": "p1"}, env) == "p1"
    assert compile_expression("project.code", AT, shape).evaluate({"project": "gone"}, env) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("statuss == 'open'", "E210 t.yaml:3:9 the record has no field 'statuss' — did you mean 'status'?"),
        ("project.cod", "E210 t.yaml:3:9 project has no field 'cod' — did you mean 'code'?"),
        ("status == 'opn'", "E212 t.yaml:3:9 'status' is never 'opn' — did you mean 'open'?"),
        ("hours == 'x'", "E211 t.yaml:3:9 'hours' is number and never string"),
        ("flag < `3`", "E211 t.yaml:3:9 'flag' is boolean and has no order"),
        ("trimm(status)", "E271 t.yaml:3:9 there is no function 'trimm' — did you mean 'trim'?"),
        ("left(status)", "E272 t.yaml:3:9 left() takes 2 arguments, got 1 — write left(string|null, number)"),
        ("status ==", "E201 t.yaml:3:18 cannot read the expression"),
        ("", "E201 t.yaml:3:9 the expression is empty"),
    ],
)  # fmt: skip
def test_schemas_catch_mistakes_with_their_place(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        compile_expression(text, AT, Shape.of_entity(SHAPES["task"], SHAPES.__getitem__))
    assert str(caught.value).startswith(message)
