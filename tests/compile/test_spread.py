"""`spread` and `months`: no unit is lost or made, whatever the currency, the sign and the number of months."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.compile.functions import FunctionFault
from engine.compile.functions.dates import months
from engine.compile.functions.numbers import spread
from engine.sdk.money import minor_digits


@given(units=st.integers(-(10**15), 10**15), currency=st.sampled_from(["GBP", "JPY", "KWD"]), count=st.integers(1, 60))
def test_the_parts_sum_to_the_whole_and_differ_by_one_unit_at_most(units: int, currency: str, count: int) -> None:
    unit = Decimal(1).scaleb(-minor_digits(currency))
    parts = spread.call({"amount": units * unit, "currency": currency}, [f"m{n}" for n in range(count)])
    amounts = [one["amount"]["amount"] for one in parts]
    assert sum(amounts) == units * unit and len(amounts) == count
    assert max(amounts) - min(amounts) <= unit
    assert {one["amount"]["currency"] for one in parts} == {currency}


def test_months_of_two_days() -> None:
    assert months.call("2026-11-30", "2027-02-01") == ["2026-11", "2026-12", "2027-01", "2027-02"]
    assert months.call("2026-02-01", "2026-01-31") == [] and months.call(None, "2026-01-31") is None
    assert spread.call({"amount": Decimal(1), "currency": "GBP"}, []) == []


@pytest.mark.parametrize(
    "money",
    [{"amount": Decimal("1.005"), "currency": "GBP"}, {"amount": Decimal(1), "currency": "XXX"}, {"amount": "1"}],
)
def test_money_that_cannot_be_paid_is_refused(money: dict[str, object]) -> None:
    with pytest.raises(FunctionFault, match="spread"):
        spread.call(money, ["a"])
