"""Templates: three states, plain numbers, and no way out of the sandbox."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from engine.compile.functions import FunctionFault
from engine.compile.template import compile_template
from engine.sdk.errors import Position, SpecError

AT = Position("t.yaml", 1, 1)


def render(text: str, record: dict[str, Any], mode: Any = "value") -> str:
    return compile_template(text, AT, mode=mode).render(record)


def test_values_print_plainly() -> None:
    record = {"a": Decimal("1E+2"), "b": True, "c": "x", "d": {"items": 3}}
    assert render("{{ a }} {{ b }} {{ c | upper }} {{ d.items }}", record) == "100 true X 3"


def test_missing_and_null_are_errors_in_rules_and_dashes_in_messages() -> None:
    for record in ({}, {"a": None}):
        with pytest.raises(FunctionFault):
            render("{{ a }}", record)
        assert render("[{{ a }}]", record, "message") == "[—]"
    assert render("{{ a.b.c }}", {}, "message") == "—"


@pytest.mark.parametrize(
    "text",
    [
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}", "{{ a.__class__ }}", "{{ a['__class__'] }}", "{{ a.upper() }}",
        "{% include 'x' %}", "{% import 'x' as y %}", "{{ 'a' * 1200000000 }}", "{{ 'a'.ljust(1000000000) }}",
        "{% for x in range(99999) %}{% for y in range(99999) %}x{% endfor %}{% endfor %}", "{{ 9 ** 999999 }}", "{{ lipsum() }}",
        "{{ a | attr('__class__') }}", "{{ '%2000000000d' % 1 }}", "{{ }", "{% if %}",
    ],
)  # fmt: skip
def test_attacks_are_refused(text: str) -> None:
    with pytest.raises((SpecError, FunctionFault)):
        render(text, {"a": "x"})
