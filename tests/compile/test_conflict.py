"""Two rules that write one path of the system's record: they agree, or the record is refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from engine.compile.environment import StaticEnv
from engine.compile.mapping import compile_outbound
from engine.compile.registry import Registry
from engine.spec.workspace import Workspace
from tests.conftest import Make

MAPPING = """
mapping: x/invoice
object: invoices
entity: invoice
fields:
  currency: Iso
  total: { from: Total, as: money, currency: Iso }
  open: { from: Open, as: money, currency: Iso }
  number: { from: Number, to: Iso }
"""


def money(amount: str, currency: str) -> dict[str, Any]:
    return {"amount": Decimal(amount), "currency": currency}


@pytest.mark.parametrize(
    ("record", "payload", "faults"),
    [
        ({"total": money("1.5", "EUR"), "open": money("0", "EUR")}, {"Total": Decimal("1.5"), "Open": Decimal(0), "Iso": "EUR"}, []),
        ({"currency": "EUR", "total": money("1.5", "EUR")}, {"Total": Decimal("1.5"), "Iso": "EUR"}, []),
        ({"currency": None, "total": money("1.5", "EUR"), "open": None}, {"Total": Decimal("1.5"), "Open": None, "Iso": "EUR"}, []),
        ({"total": money("1.5", "EUR"), "number": None}, {"Total": Decimal("1.5"), "Iso": "EUR"}, []),
        ({"currency": "EUR", "total": money("1.5", "USD")}, None, ["total"]),
        ({"total": money("1.5", "EUR"), "open": money("1.5", "USD")}, None, ["open"]),
    ],
)  # fmt: skip
def test_amounts_that_share_a_currency_field_must_be_of_one_currency(
    make: Make, record: dict[str, Any], payload: dict[str, Any] | None, faults: list[str]
) -> None:
    workspace = Workspace.open(make({"crosswalk.yaml": "crosswalk: 1\nname: x\n", "mappings/x/invoice.yaml": MAPPING}))
    direction = compile_outbound(workspace.document("mapping", "x/invoice"), Registry(workspace), role="").outbound
    assert direction is not None
    found, once, wrong = direction.outward({"id": "1", **record}, StaticEnv({}, {}), [])
    assert [direction.rules[fault[0]].path for fault in wrong] == faults
    assert all(direction.problem(fault)[0].code == "E407" for fault in wrong)
    assert payload is None or (found == payload and once == {})
