"""How a reconciliation compares: tolerances, text, empties, keys, windows, groups, more sides, totals."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from engine.state import reconciliations
from tests.run.reconcile_world import Systems, bill, invoice


@pytest.fixture
def systems(tmp_path: Path) -> Iterator[Systems]:
    it = Systems(tmp_path)
    yield it
    it.close()


def differing(systems: Systems, more: str, left: dict[str, Any], right: dict[str, Any]) -> list[str]:
    """Paths that differ between a bill on the left and on the right."""
    systems.flow(more)
    systems.put([invoice(1, **left)], [bill(1, **right)])
    assert systems.run()["state"] in ("succeeded", "partial")
    return systems.fields().get("INV-1", [])


RULES: list[tuple[str, dict[str, Any], dict[str, Any], list[str]]] = [
    ("compare: { total: { tolerance: 0.01 } }\n", {"total": 100.51}, {}, []),
    ("compare: { total: { tolerance: 0.01 } }\n", {"total": 100.52}, {}, ["total"]),
    ("compare: { total: { tolerance: 5 } }\n", {"cur": "USD"}, {}, ["total"]),
    ("", {"total": 100.504}, {}, []),  # beyond the cent there is nothing to pay
    ("", {"total": 100, "cur": "JPY"}, {"amount": 100.4, "currency": "JPY"}, []),
    ("compare: { due: { tolerance: 1d } }\n", {"due": "2026-01-06"}, {}, []),
    ("compare: { due: { tolerance: 1d } }\n", {"due": "2026-01-07"}, {}, ["due"]),
    ("compare: { sent: { tolerance: 1h } }\n", {"sent": "2026-01-02T10:59:59Z"}, {}, []),
    ("compare: { sent: { tolerance: 1h } }\n", {"sent": "2026-01-02T11:00:01Z"}, {}, ["sent"]),
    ("compare: { note: { text: casefold } }\n", {"note": "THANKS"}, {}, []),
    ("compare: { note: { text: casefold } }\n", {"note": "THANKS "}, {}, ["note"]),
    ("compare: { note: { text: blanks } }\n", {"note": " Many  thanks"}, {"memo": "Many thanks"}, []),
    ("compare: { note: { text: blanks } }\n", {"note": "many thanks"}, {"memo": "Many thanks"}, ["note"]),
    ("compare: { note: { text: letters } }\n", {"note": "M-A.N Y"}, {"memo": "many"}, []),
    ("", {"note": None}, {"memo": ""}, ["note"]),
    ("compare: { note: { empty: same } }\n", {"note": None}, {"memo": " "}, []),
    ("compare: { note: { empty: same } }\n", {"note": None}, {"memo": "x"}, ["note"]),
    ("compare: { tags: { unordered: true } }\n", {"tags": ["b", "a"]}, {}, []),
    ("compare: { tags: { unordered: true } }\n", {"tags": ["b", "b", "a"]}, {}, ["tags"]),
    ("compare: { tags: { empty: same } }\n", {"tags": []}, {"labels": None}, []),
    ("ignore: [note]\n", {"note": "Other"}, {}, []),
    ("ignore: [client.vat]\n", {"client_vat": "X", "client_name": "Eve"}, {}, ["client.name"]),
    ("only: [total, status]\n", {"note": "Other", "status": "paid"}, {}, ["status"]),
    ("compare: { lines: { key: line }, lines.amount: { tolerance: 0.5 } }\n",
     {"lines": [{"line": 2, "amount": 7.2, "text": "B"}, {"line": 1, "amount": 100.5, "text": "Work"}]},
     {"items": [{"line": 1, "amt": 100.5, "descr": "Work"}, {"line": 2, "amt": 7, "descr": "B"}]}, []),
    ("compare: { lines: { key: line } }\n", {"lines": [{"line": 2, "amount": 100.5, "text": "Work"}]}, {}, ["lines[2]", "lines[1]"]),
    ("compare: { lines: { key: line } }\nignore: [lines.text]\n", {"lines": [{"line": 1, "amount": 100.5, "text": "X"}]}, {}, []),
]  # fmt: skip


@pytest.mark.parametrize(("more", "left", "right", "paths"), RULES, ids=lambda one: str(one)[:60])
def test_rules(systems: Systems, more: str, left: dict[str, Any], right: dict[str, Any], paths: list[str]) -> None:
    assert differing(systems, more, left, right) == paths


def test_a_value_that_cannot_be_read_is_a_break_of_its_field(systems: Systems) -> None:
    systems.put([invoice(1)], [bill(1, currency=None, duedate="soon")])
    systems.run()
    (found,) = systems.breaks()
    assert found.name == "mismatch" and [one["path"] for one in found.fields] == ["due", "total"]
    told = {one["path"]: one["values"]["right"] for one in found.fields}
    assert "needs its currency" in told["total"]["$unreadable"] and "E401" in told["due"]["$unreadable"]


def test_empties_say_what_to_write(systems: Systems) -> None:
    systems.put([invoice(1, note=None)], [bill(1, memo="")])
    systems.run()
    assert "`empty: same`" in str(systems.breaks()[0].why)


# ---------------------------------------------------------------------- keys
def test_keys_that_differ_by_case_or_blanks_name_each_other(systems: Systems) -> None:
    systems.flow("key: [number]\n")
    systems.put([invoice(1), invoice(2, number="inv-3 ")], [bill(1), bill(3)])
    run = systems.run()
    found = {one.name: one for one in systems.breaks()}
    assert run["breaks"]["classes"] == {"missing_left": 1, "missing_right": 1}
    assert "'INV-3'" in str(found["missing_right"].why) and "'inv-3 '" in str(found["missing_left"].why)
    assert {one.cause for one in found.values()} == {"key differs"}
    systems.flow("key: [number]\ncompare: { number: { text: letters } }\n")
    assert systems.run()["breaks"]["closed"] == 2


def test_a_record_without_its_key_is_met_with_nothing(systems: Systems) -> None:
    systems.flow("key: [number]\n")
    systems.put([invoice(1), invoice(2, number=None), invoice(3, number=None)], [bill(1), bill(9, tranid=None)])
    systems.run()
    assert sorted(one.name for one in systems.breaks()) == ["missing_left", "missing_right", "missing_right"]
    assert all("has no number" in str(one.why) for one in systems.breaks())


def test_a_double_key_is_a_duplicate_and_not_compared(systems: Systems) -> None:
    systems.flow("key: [number]\n")
    systems.put([invoice(1, note="x"), invoice(2)], [bill(1), bill(2), bill(1, id="e9", amount=7)])
    systems.run()
    (found,) = systems.breaks()
    assert (found.name, found.side, found.natives) == ("duplicate", "right", {"left": ["p1"], "right": ["e1", "e9"]})
    assert (found.amount, found.currency) in (("7", "EUR"), ("100.5", "EUR"))


def test_records_that_nobody_linked_meet_by_what_they_match(systems: Systems) -> None:
    systems.put([invoice(1), invoice(2)], [bill(1), bill(3)])
    assert systems.run()["breaks"]["classes"] == {"missing_left": 1, "missing_right": 1}
    assert {one.cause for one in systems.breaks()} == {"not linked"}


def test_a_link_that_leads_nowhere_is_told(systems: Systems) -> None:
    systems.put([invoice(1), invoice(2)], [])
    assert systems.sync().run["created"] == 2
    rows = (systems.folder / "erp/bills.ndjson").read_text().splitlines()
    (systems.folder / "erp/bills.ndjson").write_text(rows[0] + "\n")
    systems.run()
    (found,) = systems.breaks()
    assert (found.name, found.cause) == ("missing_right", "gone") and "no longer has" in str(found.why)


# ---------------------------------------------------------------------- which records
def test_what_where_leaves_out_is_told_as_the_reason(systems: Systems) -> None:
    systems.flow("key: [number]\n")
    text = (systems.folder / "flows/nightly.yaml").read_text()
    text = text.replace("mapping: psa/invoices }", "mapping: psa/invoices, where: \"status != 'draft'\" }")
    systems.write("flows/nightly.yaml", text)
    systems.put(
        [invoice(1), invoice(2, status="draft"), invoice(3, status="draft"), invoice(4, archived=True)],
        [bill(1), bill(2), bill(4)],
    )
    run = systems.run()
    assert {one.label: one.cause for one in systems.breaks()} == {
        "INV-2": "left out by `where`",
        "INV-4": "ended there",
    }
    assert run["breaks"]["compared"] == 3


def test_a_window_takes_a_pair_where_either_side_is_in_it(systems: Systems) -> None:
    systems.flow("key: [number]\nwindow: { field: due, last: 30d }\n")
    now = "2026-03-01T12:00:00+00:00"
    from datetime import datetime

    moment = datetime.fromisoformat(now)
    systems.put(
        [invoice(1, due="2025-11-01"), invoice(2, due="2026-02-20"), invoice(3, due="2025-10-01"), invoice(4, due=None),
         invoice(5, due="2026-01-30"), invoice(6, due="2026-01-29"), invoice(7, due="2025-01-01")],
        [bill(1, duedate="2026-02-25"), bill(2, duedate="2026-02-20"), bill(4, duedate=None), bill(7, duedate="2025-01-01")],
    )  # fmt: skip
    run = systems.run(now=moment)
    assert systems.classes() == {"INV-1": "mismatch", "INV-5": "missing_right"}
    assert (run["breaks"]["compared"], run["breaks"]["equal"]) == (4, 2)


def test_a_break_that_left_its_window_stays_until_it_is_gone(systems: Systems) -> None:
    from datetime import datetime

    systems.flow("key: [number]\nwindow: { field: due, last: 30d }\n")
    systems.put([invoice(1, due="2026-02-20", note="x"), invoice(2)], [bill(1, duedate="2026-02-20"), bill(2)])
    systems.run(now=datetime.fromisoformat("2026-03-01T00:00:00+00:00"))
    later = datetime.fromisoformat("2026-09-01T00:00:00+00:00")
    systems.run(now=later)
    assert systems.classes() == {"INV-1": "mismatch"}
    systems.put([invoice(1, due="2026-02-20"), invoice(2)], [bill(1, duedate="2026-02-20"), bill(2)])
    assert systems.run(now=later)["breaks"]["closed"] == 1


# ---------------------------------------------------------------------- groups, sides, totals
GROUPED = """
flow: grouped
kind: reconcile
entity: bill
left: { connection: psa, mapping: psa/invoices, group: { month: "month_start(due)", status: status }, sum: [total] }
right: { connection: erp, mapping: erp/bills, group: { month: "month_start(due)", status: status }, sum: [total] }
key: [month, status]
compare: { total: { tolerance: 1 } }
totals: [{ sum: total.amount }]
"""


def test_groups_are_compared_by_their_sums(systems: Systems) -> None:
    systems.write("flows/grouped.yaml", GROUPED)
    systems.put(
        [invoice(1), invoice(2), invoice(3, due="2026-02-01"), invoice(4, due="2026-03-01")],
        [bill(1, amount=201), bill(3, duedate="2026-02-20", amount=102), bill(4, duedate="2026-03-02"),
         bill(5, duedate="2026-03-03", currency="USD")],
    )  # fmt: skip
    run = systems.run("grouped")
    found = {one.label: one for one in systems.breaks("grouped")}
    assert sorted(map(str, found)) == ["2026-02-01, open", "2026-03-01, open"]
    assert run["breaks"]["equal"] == 1
    assert "currencies" in found["2026-03-01, open"].fields[0]["values"]["right"]["$unreadable"]
    assert found["2026-02-01, open"].fields[0]["values"] == {
        "left": {"amount": Decimal("100.5"), "currency": "EUR"}, "right": {"amount": 102, "currency": "EUR"}}  # fmt: skip


SIDES = """
flow: three
kind: reconcile
entity: bill
key: [number]
sides:
  psa: { connection: psa, mapping: psa/invoices }
  erp: { connection: erp, mapping: erp/bills }
  store: { connection: canonical }
totals: [{ count: true }]
"""


def test_three_sides_one_of_them_the_store(systems: Systems) -> None:
    systems.write("flows/three.yaml", SIDES)
    systems.put([invoice(1), invoice(2), invoice(3)], [])
    systems.sync()
    rows = (systems.folder / "erp/bills.ndjson").read_text().splitlines()
    (systems.folder / "erp/bills.ndjson").write_text("\n".join([rows[0].replace("Thanks", "Merci"), rows[1]]) + "\n")
    run = systems.run("three")
    assert {one.label: one.name for one in systems.breaks("three")} == {"INV-1": "mismatch", "INV-3": "missing_erp"}
    (note,) = next(one.fields for one in systems.breaks("three") if one.label == "INV-1")
    assert note["values"] == {"psa": "Thanks", "erp": "Merci"} and run["breaks"]["equal"] == 1
    with systems.store.read() as tx:
        (cell,) = reconciliations.cells(tx, run["run"])
    assert cell.sums == {"psa": 3, "erp": 2, "store": 3} and cell.differs


def test_totals_are_exact_and_their_records_make_up_the_variance(systems: Systems) -> None:
    systems.flow(
        "key: [number]\ncompare: { total: { tolerance: 1 } }\ntotals: [{ sum: total.amount, by: [status] }, { count: true }]\n"
    )
    left = [invoice(n, total=n + 0.1, status="a" if n % 2 else "b") for n in range(50)]
    right = [bill(n, amount=n + (0.11 if n % 7 == 0 else 0.1), state="a" if n % 2 else "b") for n in range(49)]
    right[10]["state"] = "a"
    right[11]["currency"] = "USD"
    systems.put(left, right)
    run = systems.run()
    with systems.store.read() as tx:
        cells, parts = reconciliations.cells(tx, run["run"]), reconciliations.parts(tx, run["run"])
    assert sum(cell.sums["left"] for cell in cells if cell.total == 0) == sum(
        Decimal(n) + Decimal("0.1") for n in range(50)
    )
    for cell in cells:
        behind = [one for one in parts if (one.total, one.cell) == (cell.total, cell.cell)]
        spread = sum(one.sums.get("left", 0) - one.sums.get("right", 0) for one in behind)
        assert cell.sums["left"] - cell.sums["right"] == spread, cell
        assert cell.parts == len(behind)
    usd = next(cell for cell in cells if cell.by.get("currency") == "USD")
    assert usd.sums == {"left": 0, "right": Decimal("11.1")}


def test_more_breaks_than_are_kept_are_counted(systems: Systems) -> None:
    systems.flow("key: [number]\nkeep_breaks: 5\ntotals: [{ sum: total.amount }]\n")
    systems.put([invoice(n) for n in range(30)], [bill(100)])
    run = systems.run()
    found = run["breaks"]
    assert (found["found"], found["left_out"], found["remaining"], len(systems.breaks())) == (31, 26, 31, 5)
    assert found["classes"] == {"missing_left": 1, "missing_right": 30}
    with systems.store.read() as tx:
        (cell,) = reconciliations.cells(tx, run["run"])
    assert cell.sums == {"left": Decimal(3015), "right": Decimal("100.5")}
    systems.put([invoice(n) for n in range(30)], [bill(n) for n in range(30)])
    assert systems.run()["breaks"]["closed"] == 5


def test_totals_of_groups_may_follow_references(systems: Systems) -> None:
    systems.write("schemas/team.yaml", "$schema: https://json-schema.org/draft/2020-12/schema\ntype: object\n"
                  "additionalProperties: false\nproperties: { name: { type: string } }\n")  # fmt: skip
    systems.write(
        "schemas/bill.yaml",
        (systems.folder / "schemas/bill.yaml").read_text() + "  team: { type: string, x-ref: team }\n",
    )
    for name, field in (("psa/invoices", "note: note"), ("erp/bills", "note: memo")):
        text = (systems.folder / f"mappings/{name}.yaml").read_text()
        systems.write(
            f"mappings/{name}.yaml",
            text.replace(field, f"{field}\n  team: {{ from: id, ref: team, on_missing: {{ value: t1 }} }}"),
        )
    more = ", team: team }, sum: [total] }"
    text = GROUPED.replace(" }, sum: [total] }", more).replace("[month, status]", "[month, status, team]")
    systems.write("flows/grouped.yaml", text.replace("{ sum: total.amount }", "{ sum: total.amount, by: [team.name] }"))
    systems.put([invoice(1)], [bill(1)])
    assert systems.run("grouped")["state"] == "succeeded"


def test_a_side_and_the_store_are_joined_by_fields_too(systems: Systems) -> None:
    systems.flow("key: [number]\n")
    text = (systems.folder / "flows/nightly.yaml").read_text()
    systems.write(
        "flows/nightly.yaml", text.replace("{ connection: erp, mapping: erp/bills }", "{ connection: canonical }")
    )
    systems.put([invoice(1), invoice(2)], [])
    systems.sync()
    systems.put([invoice(1), invoice(2, note="x")], [])
    systems.run()
    assert systems.fields() == {"INV-2": ["note"]}
