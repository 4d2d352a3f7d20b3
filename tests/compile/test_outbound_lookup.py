"""`lookup` in a rule of `outbound` goes the way of sending, as `values` does there: from `column` to `give`."""

from __future__ import annotations

from typing import Any

from engine.compile.environment import StaticEnv
from engine.compile.mapping import compile_outbound
from engine.compile.registry import Registry
from engine.spec.workspace import Workspace
from tests.conftest import Make

FILES = {
    "crosswalk.yaml": "crosswalk: 1\nname: t\n",
    "schemas/bill.yaml": "type: object\nadditionalProperties: false\nproperties: { iso: { type: string }, region: { type: string }, day: { type: string } }\n",
    "mappings/tables/money.yaml": "table: money\nkey: id\ncolumns: [id, iso]\nrows: [['1', GBP], ['2', EUR]]\n",
    "mappings/tables/tax.yaml": """
        table: tax
        key: [region]
        columns: [region, rate, first, last]
        valid: [first, last]
        rows: [[EU, '19', '2026-01-01', null], ['*', '0', null, null]]
        hit: first
    """,
    "mappings/erp/bill.yaml": """
        mapping: erp/bill
        object: bills
        entity: bill
        outbound:
          currency.id: { from: iso, lookup: money, column: iso, give: id }
          spare.id: { from: iso, lookup: money, column: iso, give: id, on_missing: clear }
          usual.id: { from: iso, lookup: money, column: iso, give: id, on_missing: { value: '9' } }
          tax: { from: region, lookup: tax, by: { region: region }, give: rate, at: day }
    """,
}


def sent(make: Make, record: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    registry = Registry(Workspace.open(make(FILES)))
    direction = compile_outbound(registry.document("mapping", "erp/bill", None), registry, role="").outbound
    assert direction is not None
    payload, _, faults = direction.outward(record, StaticEnv(), [])
    return payload, [direction.problem(fault)[0].code for fault in faults]


def test_it_gives_what_the_table_says(make: Make) -> None:
    payload, codes = sent(make, {"id": "a", "iso": "EUR", "region": "EU", "day": "2026-05-01"})
    assert payload == {"currency": {"id": "2"}, "spare": {"id": "2"}, "usual": {"id": "2"}, "tax": "19"} and codes == []


def test_what_it_does_not_have_is_refused_and_never_sent_as_it_is(make: Make) -> None:
    payload, codes = sent(make, {"id": "a", "iso": "JPY", "region": "US", "day": "2026-05-01"})
    assert codes == ["E403"] and "currency" not in payload
    assert payload["spare"] == {"id": None} and payload["usual"] == {"id": "9"} and payload["tax"] == "0"


def test_null_stays_null(make: Make) -> None:
    payload, codes = sent(make, {"id": "a", "iso": None, "region": "EU", "day": "2026-05-01"})
    assert payload["currency"] == {"id": None} and codes == []
