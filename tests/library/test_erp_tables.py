"""The reference tables: complete by the count of the standards, and the one place that minor units come from."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from connectors.sandbox import start
from engine.compile.registry import Registry
from engine.sdk.money import minor_digits
from engine.spec.workspace import Workspace
from tests.conftest import Make

EU = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK".split()
NO_UNIT = "XAG XAU XBA XBB XBC XBD XDR XPD XPT XSU XTS XUA XXX".split()


@pytest.fixture
def workspace(make: Make) -> Workspace:
    return Workspace.open(make({"crosswalk.yaml": "crosswalk: 1\nname: library\n"}))


def rows(workspace: Workspace, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = workspace.document("table", table).model.rows
    return found


def test_currencies_are_all_of_iso_4217_with_its_minor_units(workspace: Workspace) -> None:
    digits = {row["code"]: row["digits"] for row in rows(workspace, "currencies")}
    assert len(digits) == 178
    assert {code for code, unit in digits.items() if unit == "0"} == set(
        "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split()
    )
    assert {code for code, unit in digits.items() if unit == "3"} == set("BHD IQD JOD KWD LYD OMR TND".split())
    assert {code for code, unit in digits.items() if unit == "4"} == {"CLF", "UYW"}
    assert [code for code, unit in digits.items() if unit == ""] == NO_UNIT
    withdrawn = "ANG BGN BYR CUC DEM FRF HRK LTL MRO SLL STD VEF ZMK ZWL".split()
    assert not set(withdrawn) & set(digits)
    assert len({row["number"] for row in rows(workspace, "currencies")}) == 178


def test_minor_units_come_from_the_table(workspace: Workspace) -> None:
    for row in rows(workspace, "currencies"):
        if row["digits"]:
            assert minor_digits(row["code"]) == int(row["digits"])
        else:
            with pytest.raises(ValueError, match="no smallest unit"):
                minor_digits(row["code"])
    with pytest.raises(ValueError, match="no currency"):
        minor_digits("DEM")


def test_countries_are_all_of_iso_3166(workspace: Workspace) -> None:
    table = rows(workspace, "countries")
    assert len(table) == 249
    for column in ("iso2", "iso3", "number", "name"):
        assert len({row[column] for row in table}) == 249, column
    assert all(len(row["iso2"]) == 2 and len(row["iso3"]) == 3 and len(row["number"]) == 3 for row in table)
    assert [row["iso2"] for row in table if row["eu"] == "yes"] == EU
    assert {row["region"] for row in table} == {"EMEA", "AMER", "APAC"}
    some = {row["iso2"]: (row["iso3"], row["name"]) for row in table}
    assert some["NO"] == ("NOR", "Norway") and some["CI"] == ("CIV", "Côte d'Ivoire") and some["MK"][0] == "MKD"
    assert not {"AN", "CS", "YU", "SU", "XK", "UK"} & set(some)


@pytest.mark.parametrize(
    ("table", "column"),
    [("countries", "name"), ("countries", "iso3"), ("payment_terms", "name"), ("payment_terms", "netsuite"),
     ("expense_categories", "name"), ("expense_categories", "netsuite"), ("departments", "name"), ("industries", "name"),
     ("units", "name"), ("units", "unece"), ("currencies", "number")],
)  # fmt: skip
def test_what_systems_hold_leads_back_to_one_row(workspace: Workspace, table: str, column: str) -> None:
    assert Registry(workspace).table(table).reversible(column, None)


def test_industries_name_sections_of_isic(workspace: Workspace) -> None:
    assert {row["isic"] for row in rows(workspace, "industries")} <= set("ABCDEFGHIJKLMNOPQRSTU")


@pytest.mark.parametrize(
    ("jurisdiction", "kind", "day", "rate"),
    [("DE", "standard", "2020-06-30", "19"), ("DE", "standard", "2020-07-01", "16"), ("DE", "standard", "2020-12-31", "16"),
     ("DE", "standard", "2021-01-01", "19"), ("FI", "standard", "2024-09-01", "25.5"), ("FR", "exempt", "2026-01-01", "0"),
     ("US", "reverse_charge", "2026-01-01", "0"), ("US", "standard", "2026-01-01", None)],
)  # fmt: skip
def test_a_tax_rate_is_that_of_its_day(
    workspace: Workspace, jurisdiction: str, kind: str, day: str, rate: str | None
) -> None:
    index = Registry(workspace).table("tax_codes")
    bound = index.bind(None, "rate", ("jurisdiction", "kind"), workspace.document("table", "tax_codes").at())
    found, why = bound.pick({"jurisdiction": jurisdiction, "kind": kind}, day, None)
    assert (None if found is None else str(found)) == rate, why


def test_no_two_tax_rates_hold_on_one_day(workspace: Workspace) -> None:
    spans: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for row in rows(workspace, "tax_codes"):
        spans.setdefault((row["jurisdiction"], row["kind"]), []).append((row["first"] or "", row["last"] or "9999"))
    for key, found in spans.items():
        found.sort()
        assert all(before[1] < after[0] for before, after in pairwise(found)), key


@pytest.mark.parametrize(
    ("table", "key", "kind", "field"),
    [("netsuite_currencies", "code", "currency", "symbol"), ("expense_categories", "name", "expenseCategory", "name"),
     ("accounts", "number", "account", "acctNumber"), ("payment_terms", "name", "term", "name")],
)  # fmt: skip
def test_ids_of_the_demo_account_are_those_that_the_tables_give(
    workspace: Workspace, table: str, key: str, kind: str, field: str
) -> None:
    with start() as sandbox:
        held = {row["id"]: row[field] for row in sandbox.all("netsuite", kind)}
    known = {row["netsuite"]: row[key] for row in rows(workspace, table)}
    assert held and {id: known.get(id) for id in held} == held
