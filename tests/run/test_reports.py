"""Reports of reconciliations: the same facts in every format, harmless to whoever opens them."""

from __future__ import annotations

import csv
import io
import json
import re
import stat
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.run.report_csv import STARTS, harmless
from engine.run.report_words import amount, visible
from engine.run.report_xlsx import fits
from engine.state import breaks
from tests.cli.test_commands import call, told
from tests.run.reconcile_world import Systems, bill, invoice
from tests.run.report_world import EVIL, FLOW, FORMATS, FORMULA, Page, reporting, written


@pytest.fixture
def systems(tmp_path: Path, address: str) -> Iterator[Systems]:
    it = reporting(tmp_path, address)
    yield it
    it.close()


# ---------------------------------------------------------------------- files
def test_a_run_writes_what_it_is_asked_for_for_its_owner_alone(systems: Systems) -> None:
    files = written(systems)
    assert set(files) == set(FORMATS)
    for path in files.values():
        assert path.parent == systems.folder / ".crosswalk/reports/nightly"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not [one for one in files["csv"].parent.iterdir() if one not in files.values()]
    kept = {path: path.read_bytes() for path in files.values()}
    written(systems)
    code, out = told(systems.folder, "reconcile", "report", "nightly", "--run", files["csv"].stem, "--format", "csv")
    assert code == 0 and out["report"]["path"].endswith(".1.csv")
    assert {path: path.read_bytes() for path in kept} == kept, "no report is ever overwritten"


def test_a_plan_and_a_run_that_is_held_write_none(systems: Systems) -> None:
    assert "reports" not in systems.run(plan=True)
    systems.put([invoice(1)], [])
    assert systems.run()["state"] == "held"
    assert not (systems.folder / ".crosswalk/reports").exists()


def test_a_report_that_cannot_be_written_fails_the_run_and_loses_no_break(systems: Systems) -> None:
    (systems.folder / ".crosswalk").mkdir(exist_ok=True)
    (systems.folder / ".crosswalk/reports").write_text("a file in the way")
    run = systems.run()
    assert run["state"] == "failed" and run["error"]["code"] == "X936"
    assert len(systems.breaks()) == 6
    with systems.store.read() as tx:
        assert tx.one("SELECT count(*) FROM alerts WHERE state = 'open'") is not None


def test_a_report_of_any_kept_run_goes_where_it_is_wanted(systems: Systems) -> None:
    first = systems.run()["run"]
    systems.put([invoice(1), invoice(2)], [bill(2)])
    systems.run()
    code, out = told(systems.folder, "reconcile", "report", "nightly", "--history")
    assert code == 0 and [one["remaining"] for one in out["reports"]] == [1, 6] and out["reports"][1]["run"] == first
    code, out, _ = call(
        systems.folder, "reconcile", "report", "nightly", "--run", first, "--format", "json", "--output", "-"
    )
    older = json.loads(out)["report"]
    assert (older["latest"], older["remaining"], len(older["breaks"])) == (False, 6, 6)
    assert {one["state"] for one in older["breaks"]} == {"open", "closed"}
    latest = told(systems.folder, "reconcile", "report", "nightly")[1]["report"]
    assert (latest["latest"], latest["remaining"], latest["open"]["classes"][0]["count"]) == (True, 1, 1)
    place = systems.folder / "out.xlsx"
    for expected in (0, 2):
        code, _, err = call(
            systems.folder, "reconcile", "report", "nightly", "--format", "xlsx", "--output", str(place)
        )
        assert code == expected, err
    for words in (["push"], ["nightly", "--run", "r-none"], ["nightly", "--output", "x"]):
        assert call(systems.folder, "reconcile", "report", *words)[0] == 2


def test_the_text_says_what_a_person_asks_first(systems: Systems) -> None:
    systems.run()
    code, out, _ = call(systems.folder, "reconcile", "report", "nightly")
    assert code == 0 and "6 differences remain unexplained among 6 records" in out
    assert "1,305.50 EUR" in out or "at stake" in out
    assert "open breaks: 6, expected below 2: MISSED" in out and "2 of 2 control totals differ" not in out
    assert "missing_right" in out and "0–1 days" in out and "behind the first: INV-2" in out


# ---------------------------------------------------------------------- HTML
def test_the_page_is_whole_escaped_and_asks_nothing_of_anybody(systems: Systems) -> None:
    text = written(systems)["html"].read_text("utf-8")
    page = Page(text)
    assert page.open == []
    tags = [tag for tag, _ in page.tags]
    assert not {"script", "link", "img", "iframe", "object", "form", "base"} & set(tags)
    for _, attributes in page.tags:
        assert not {name for name in attributes if name.startswith("on")} and not {"src", "href", "style"} & set(
            attributes
        )
    assert "http://" not in text and "https://" not in text and "url(" not in text
    policy = next(one["content"] for _, one in page.tags if one.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'; style-src 'sha256-")
    words = "".join(page.words)
    assert EVIL in words and "<script" not in text
    assert "\u202e" not in text and "\x1b" not in text and "evil\\u202egnp.exe\\x1b[31m" in words
    assert "6 differences remain unexplained" in words and "1,204.50 EUR" in words
    assert all("scope" in one for tag, one in page.tags if tag == "th")


def test_the_style_is_the_one_that_the_policy_allows(systems: Systems) -> None:
    import base64
    import hashlib

    text = written(systems)["html"].read_text("utf-8")
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"sha256-{digest}" in text


def test_a_page_of_many_breaks_shows_the_largest_and_says_so(tmp_path: Path) -> None:
    systems = Systems(tmp_path)
    systems.flow("key: [number]\nreport: [html, csv]\ntotals: [{ sum: total.amount }]\n")
    systems.put([invoice(n, total=n) for n in range(3000)], [bill(0)])
    files = written(systems)
    text = files["html"].read_text("utf-8")
    assert "The 500 with the largest amounts of 3,000 are shown" in text and "INV-2999" in text and "INV-7<" not in text
    assert len(text) < 2_000_000
    assert len(list(csv.reader(_lines(files["csv"])))) == 3001
    systems.close()


def test_accepted_and_in_flight_stand_apart(systems: Systems) -> None:
    systems.run()
    with systems.store.begin() as tx:
        first, second = [one.id for one in breaks.listed(tx, "nightly")][:2]
        breaks.accept(tx, first, "ada", "rounding & <b>agreed</b>", "2099-12-31T23:59:59.999999Z")
        tx.run("UPDATE breaks SET class = 'in_flight', why = 'exception x-1 of push' WHERE id = ?", (second,))
    code, out, _ = call(systems.folder, "reconcile", "report", "nightly", "--format", "html", "--output", "-")
    words = "".join(Page(out).words)
    assert code == 0 and "rounding & <b>agreed</b>" in words and "until 2099-12-31" in words and "ada" in words
    assert words.index("Accepted differences") < words.index("rounding &") < words.index("exception x-1 of push")


def test_a_report_without_a_difference_says_that_all_agree(systems: Systems) -> None:
    systems.put([invoice(1)], [bill(1)])
    run = systems.run()
    assert run["state"] == "succeeded"
    text = (systems.folder / run["reports"][0]["path"]).read_text("utf-8")
    assert "The systems agree: all 1 record compared are equal." in text and "100.00%" in text


# ---------------------------------------------------------------------- CSV and Excel
def test_csv_has_a_row_for_each_field_and_numbers_that_stay_numbers(systems: Systems) -> None:
    rows = list(csv.DictReader(_lines(written(systems)["csv"])))
    by_label = {row["label"]: row for row in rows}
    one = by_label["INV-2"]
    assert (one["field"], one["left"], one["left currency"], one["right"], one["difference"]) == (
        "total", "1204.5", "EUR", "100.5", "-1104.0",
    )  # fmt: skip
    assert (one["amount"], one["currency"], one["class"], one["queue"]) == ("1104.0", "EUR", "mismatch", "finance")
    assert by_label["INV-4"]["left"] == f"'{FORMULA}" and by_label[f"'{FORMULA}"]["class"] == "missing_left"
    assert by_label["INV-5"]["left"] == "evil\\u202egnp.exe\\x1b[31m"
    for row in rows:
        for cell in row.values():
            assert not cell.startswith(STARTS) or re.fullmatch(r"-\d+(\.\d+)?", cell)


@given(st.text(max_size=8) | st.sampled_from([f"{one}1+1" for one in STARTS]) | st.just("  =1+1"))
def test_no_text_of_a_csv_is_a_formula(text: str) -> None:
    cell = harmless(text)
    assert not cell.lstrip(" ").startswith(STARTS)
    (back,) = next(csv.reader(io.StringIO(_line(cell), newline="")))
    assert back == cell


def _lines(path: Path) -> io.StringIO:
    return io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")


def _line(cell: str) -> str:
    out = io.StringIO(newline="")
    csv.writer(out).writerow([cell])
    return out.getvalue()


def test_the_workbook_holds_real_numbers_and_no_formula(systems: Systems) -> None:
    book = openpyxl.load_workbook(written(systems)["xlsx"])
    assert book.sheetnames == ["Summary", "Totals", "Records behind totals", "Breaks", "Accepted"]
    for sheet in book:
        for row in sheet.iter_rows():
            assert all(cell.data_type != "f" and cell.hyperlink is None for cell in row)
    sheet = book["Breaks"]
    assert sheet.freeze_panes == "A2" and sheet.auto_filter.ref
    head = [cell.value for cell in sheet[1]]
    rows = {
        row[head.index("label")]: dict(zip(head, row, strict=True))
        for row in sheet.iter_rows(min_row=2, values_only=True)
    }
    assert (rows["INV-2"]["left"], rows["INV-2"]["difference"], rows["INV-2"]["left currency"]) == (
        1204.5,
        -1104,
        "EUR",
    )
    assert rows["INV-4"]["left"] == FORMULA and rows[FORMULA]["class"] == "missing_left"
    assert rows["INV-2"]["first_seen"].year >= 2026
    totals = list(book["Totals"].iter_rows(min_row=2, values_only=True))
    assert totals[0][:5] == ("sum of total.amount by status", "status open, currency EUR", 1606.5, 401, -1205.5)
    behind = [row[2] for row in book["Records behind totals"].iter_rows(min_row=2, values_only=True)]
    assert set(behind) == {"INV-1", "INV-2", FORMULA}


def test_a_number_that_excel_would_round_is_text(systems: Systems) -> None:
    assert fits(Decimal("1234567890123.45")) and not fits(Decimal("12345678901234.567"))
    systems.put([invoice(1, total="12345678901234567.89")], [bill(1)])
    path = written(systems)["xlsx"]
    sheet = openpyxl.load_workbook(path)["Breaks"]
    head = [cell.value for cell in sheet[1]]
    row = dict(zip(head, next(sheet.iter_rows(min_row=2, values_only=True)), strict=True))
    assert row["left"] == "12,345,678,901,234,567.89" and row["right"] == 100.5


def test_json_is_exact(systems: Systems) -> None:
    text = written(systems)["json"].read_text("utf-8")
    found = json.loads(text, parse_float=Decimal)["report"]
    one = next(one for one in found["breaks"] if one["label"] == "INV-2")
    assert one["amount"] == Decimal("1104.00") and one["fields"][0]["values"]["left"]["amount"] == Decimal("1204.5")
    line = found["totals"][0]
    assert (line["variance"], line["differs"], line["parts"], len(line["behind"])) == (Decimal("-1205.50"), True, 3, 3)
    assert sum(one["sums"].get("right", 0) - one["sums"].get("left", 0) for one in line["behind"]) == line["variance"]
    assert [one["kept"] for one in found["limits"]] == [False, False]


def test_what_was_healed_is_closed_in_the_report_of_its_run(systems: Systems) -> None:
    systems.flow(FLOW.replace("key: [number]\n", "") + "heal: { missing_right: { flow: push } }\n")
    systems.put([invoice(1), invoice(2)], [bill(1)])
    run = systems.run()
    assert run["breaks"]["healed"] == 1, run
    text = (systems.folder / run["reports"][0]["path"]).read_text("utf-8")
    assert "1 breaks were healed" not in text and "1 break was healed" in text and "<h2>Closed</h2>" in text
    found = json.loads((systems.folder / run["reports"][3]["path"]).read_text("utf-8"))["report"]
    assert [(one["label"], one["state"]) for one in found["breaks"]] == [("INV-2", "closed")]


changes = st.sampled_from(
    [None, {"amount": 7}, {"currency": "USD"}, {"state": "paid"}, {"memo": "x", "amount": -3.5}, "gone", "twice"]
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=st.lists(changes, min_size=1, max_size=8))
def test_every_format_tells_the_same_and_the_figures_add_up(tmp_path: Path, made: list[Any]) -> None:
    systems = Systems(tmp_path / uuid.uuid4().hex)
    systems.flow(FLOW)
    right = [bill(99)]
    for number, change in enumerate(made):
        if change != "gone":
            right.append(bill(number, **(change if isinstance(change, dict) else {})))
        if change == "twice":
            right.append(bill(number, id=f"again{number}"))
    systems.put([invoice(99), *[invoice(number) for number in range(len(made))]], right)
    run = systems.run()
    files = {one["format"]: systems.folder / one["path"] for one in run["reports"]}
    systems.close()
    report = json.loads(files["json"].read_text("utf-8"), parse_float=Decimal)["report"]
    assert report["remaining"] == len(report["breaks"]) == sum(one is not None for one in made)
    for part in ("classes", "ages", "causes"):
        assert sum(one["count"] for one in report["open"][part]) == report["remaining"]
    for currency, stake in report["at_stake"].items():
        assert sum(one["amounts"].get(currency, 0) for one in report["open"]["classes"]) == stake
    for line in report["totals"]:
        gaps = [one["sums"].get("right", 0) - one["sums"].get("left", 0) for one in line["behind"]]
        assert sum(gaps) == line["variance"] and line["differs"] == (line["variance"] != 0)
    rows = list(csv.DictReader(_lines(files["csv"])))
    assert len(rows) == sum(max(len(one["fields"]), 1) for one in report["breaks"])
    sheet = openpyxl.load_workbook(files["xlsx"])["Breaks"]
    assert sheet.max_row - 1 == len(rows)
    words = "".join(Page(files["html"].read_text("utf-8")).words)
    assert all(one["id"] in words for one in report["breaks"]) and report["verdict"] in words


# ---------------------------------------------------------------------- words
@pytest.mark.parametrize(
    ("value", "currency", "said"),
    [("1204.5", "EUR", "1,204.50 EUR"), ("906476.0", "JPY", "906,476 JPY"), ("0.005", "EUR", "0.005 EUR"), ("1", "XXX", "1 XXX"),
     ("-1234567.1", "KWD", "-1,234,567.100 KWD"), ("12345678901234567890.12", "EUR", "12,345,678,901,234,567,890.12 EUR")],
)  # fmt: skip
def test_amounts_are_said_with_every_digit(value: str, currency: str, said: str) -> None:
    assert amount(value, currency) == said


@given(st.text(max_size=20))
def test_what_is_shown_hides_nothing(text: Any) -> None:
    shown = visible(text)
    assert all(one.isprintable() or one in "\n\t\u200c\u200d" for one in shown)
    assert visible(text) == text or not text.isprintable()


def test_three_sides_and_groups_are_reported_too(tmp_path: Path) -> None:
    systems = Systems(tmp_path)
    flow = """
    flow: nightly
    kind: reconcile
    entity: bill
    sides:
      books: { connection: erp, mapping: erp/bills, group: [status, due], sum: [total] }
      psa: { connection: psa, mapping: psa/invoices, group: [status, due], sum: [total] }
      again: { connection: psa, mapping: psa/invoices, group: [status, due], sum: [total] }
    totals: [{ sum: total.amount }, { count: true, by: [status] }]
    report: [html, xlsx, csv, json]
    """
    systems.write("flows/nightly.yaml", flow)
    systems.put([invoice(1), invoice(2), invoice(3, due="2026-02-01")], [bill(1), bill(2, amount=7.25)])
    files = written(systems)
    systems.close()
    words = "".join(Page(files["html"].read_text("utf-8")).words)
    assert "largest less the smallest" in words and "books (erp)" in words and "missing in books (erp)" in words
    report = json.loads(files["json"].read_text("utf-8"), parse_float=Decimal)["report"]
    assert {one["class"] for one in report["breaks"]} == {"missing_books", "mismatch"}
    head = next(csv.reader(_lines(files["csv"])))
    assert "difference" not in head and {"books", "psa", "again currency"} <= set(head)
    assert [cell.value for cell in openpyxl.load_workbook(files["xlsx"])["Totals"][1]][2:5] == ["books", "psa", "again"]


def test_a_text_without_end_does_not_fill_the_page(systems: Systems) -> None:
    systems.put([invoice(1, note="long " * 20_000)], [bill(1)])
    files = written(systems)
    page = files["html"].read_text("utf-8")
    assert "… (100,000 characters)" in page and len(page) < 60_000
    assert len(files["csv"].read_text("utf-8")) > 100_000
    sheet = openpyxl.load_workbook(files["xlsx"])["Breaks"]
    cells = [str(cell) for row in sheet.iter_rows(values_only=True) for cell in row]
    assert any(cell.startswith("long long") and cell.endswith("…") and len(cell) <= 32_767 for cell in cells)
    code, out, _ = call(systems.folder, "reconcile", "breaks")
    assert code == 0 and len(out) < 1000
