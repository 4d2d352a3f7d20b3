"""Casts: exact or an error, both ways."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.compile import casts, moments
from engine.compile.outbound import exact_pair
from engine.sdk.money import minor_digits


@pytest.mark.parametrize(
    ("cast", "given_", "result"),
    [
        (casts.to_integer, "7", 7), (casts.to_integer, Decimal("7.0"), 7), (casts.to_decimal, "1.50", Decimal("1.50")),
        (casts.decimal_with(","), "1.234,50", Decimal("1234.50")), (casts.decimal_with(","), "0,5", Decimal("0.5")),
        (moments.to_date, "2026-02-28", "2026-02-28"), (moments.date_with("%d/%m/%Y"), "28/02/2026", "2026-02-28"),
        (moments.datetime_in("Europe/London"), "2026-07-01T09:00:00", "2026-07-01T08:00:00Z"),
        (moments.datetime_in("UTC"), "2026-01-10T17:50:19.000+0000", "2026-01-10T17:50:19Z"),
        (moments.to_duration, "7:30", "PT7H30M"), (casts.split_list(";"), "a;b", ["a", "b"]), (casts.to_boolean, "T", True),
    ],
)  # fmt: skip
def test_casts_give_the_canonical_form(cast: Any, given_: Any, result: Any) -> None:
    assert cast(given_) == result


@pytest.mark.parametrize(
    ("cast", "given_"),
    [
        (casts.to_integer, "1.5"), (casts.to_integer, Decimal("0.1")), (casts.to_decimal, "1,5"), (casts.to_decimal, "NaN"),
        (casts.to_decimal, True), (casts.decimal_with(","), "1.23,4.5"), (casts.decimal_with(","), "12.34"), (moments.to_date, "2026-02-30"),
        (moments.to_date, "01/02/2026"), (moments.to_date, "2026-02-01T00:00:00Z"), (casts.to_boolean, "yes"), (casts.to_string, None),
        (moments.datetime_in("Europe/London"), "2026-10-25T01:30:00"), (moments.datetime_in("Europe/London"), "2026-03-29T01:30:00"),
    ],
)  # fmt: skip
def test_lossy_or_ambiguous_values_are_errors(cast: Any, given_: Any) -> None:
    with pytest.raises(casts.CastFault):
        cast(given_)


@given(st.integers(-(10**15), 10**15), st.sampled_from(["EUR", "JPY", "KWD", "CLF"]))
def test_minor_units_go_there_and_back(cents: int, currency: str) -> None:
    money = casts.money_of(cents, currency, True)
    assert money["amount"] == Decimal(cents).scaleb(-minor_digits(currency))
    assert casts.minor_units(money) == cents


@pytest.mark.parametrize("currency", ["XAU", "XXX", "DEM", "ANG", "QQQ"])
def test_an_amount_in_the_smallest_unit_of_no_currency_is_refused_not_guessed(currency: str) -> None:
    with pytest.raises(casts.CastFault, match=currency):
        casts.money_of(100, currency, True)
    with pytest.raises(casts.CastFault, match=currency):
        casts.minor_units({"amount": Decimal("1.00"), "currency": currency})


@given(st.integers(0, 100_000))
def test_minutes_to_hours_and_back_is_the_same_minute(minutes: int) -> None:
    assert exact_pair(Fraction(1, 60), (4, 0)) and not exact_pair(Fraction(1, 60), (1, 0))
    hours = casts.scaled(minutes, Fraction(1, 60), 4)
    assert casts.scaled(hours, Fraction(60), 0) == minutes
