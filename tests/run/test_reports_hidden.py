"""Reports of reconciliations: what the schema calls sensitive is in none of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from tests.cli.test_commands import call, told
from tests.run.reconcile_world import Systems, bill, invoice
from tests.run.report_world import FLOW, reporting, written


@pytest.fixture
def systems(tmp_path: Path, address: str) -> Iterator[Systems]:
    it = reporting(tmp_path, address)
    yield it
    it.close()


def test_sensitive_values_are_in_no_report(systems: Systems) -> None:
    path = systems.folder / "schemas/bill.yaml"
    text = path.read_text().replace("total: { $ref: money,", "total: { $ref: money, x-sensitive: financial,")
    path.write_text(text.replace("number: { type: string,", "number: { type: string, x-sensitive: personal,"))
    systems.flow(FLOW)
    files = written(systems)
    for name in ("html", "csv", "json"):
        shown = files[name].read_text("utf-8")
        assert "••••" in shown
        for secret in ("INV-2", "1204.5", "1,204.5", "1104", "1,104"):
            assert secret not in shown, name
    book = openpyxl.load_workbook(files["xlsx"])
    cells = {str(cell) for sheet in book for row in sheet.iter_rows(values_only=True) for cell in row}
    assert not [
        one for one in cells if "INV-" in one or "1204.5" in one or "1,204.5" in one or one in ("1104", "-1104")
    ]
    code, out, _ = call(systems.folder, "reconcile", "report", "nightly")
    assert code == 0 and "INV-" not in out and "1,104" not in out


def hidden(systems: Systems, old: str, new: str, more: str) -> tuple[str, list[dict[str, Any]]]:
    """(the page, breaks of the JSON report) with something sensitive in the schema."""
    path = systems.folder / "schemas/bill.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    systems.flow(more)
    files = written(systems)
    return files["html"].read_text("utf-8"), json.loads(files["json"].read_text("utf-8"))["report"]["breaks"]


def test_a_sensitive_field_deep_in_a_record_is_masked_and_its_neighbour_is_not(systems: Systems) -> None:
    systems.put(
        [invoice(1, client_vat="GB-SECRET", client_name="Seen")], [bill(1, customer={"name": "Other", "vat": "GB2"})]
    )
    page, (one,) = hidden(systems, "vat: { type: string }", "vat: { type: string, x-sensitive: tax }", FLOW)
    values = {each["path"]: each["values"]["left"] for each in one["fields"]}
    assert values == {"client.name": "Seen", "client.vat": "••••"} and "GB-SECRET" not in page and "Seen" in page
    assert one["amount"] is None and one["label"] == "INV-1", (
        "money stays, but nothing is at stake between equal amounts"
    )


def test_elements_are_masked_with_their_keys_and_reasons(systems: Systems) -> None:
    systems.put([invoice(1, lines=[{"line": 77, "amount": "x-secret", "text": "a"}])], [bill(1)])
    old = "  lines:\n    type: array\n"
    page, (one,) = hidden(
        systems, old, f"{old}    x-sensitive: compensation\n", FLOW + "compare: { lines: { key: line } }\n"
    )
    assert {each["path"] for each in one["fields"]} == {"lines"} and "x-secret" not in page and "77" not in page
    assert "x-secret" not in json.dumps(one)
    _, shown = told(systems.folder, "reconcile", "show", one["id"])
    assert "x-secret" not in json.dumps(shown)


def test_where_the_flow_has_gone_everything_that_could_be_sensitive_is_hidden(systems: Systems) -> None:
    written(systems)
    path = systems.folder / "schemas/bill.yaml"
    path.write_text(path.read_text().replace("note: { type: string }", "note: { type: string, x-sensitive: personal }"))
    (systems.folder / "flows/nightly.yaml").unlink()
    code, out, err = call(systems.folder, "reconcile", "report", "nightly", "--format", "csv", "--output", "-")
    assert code == 0, err
    assert "1204.5" not in out and "1104" not in out and "••••" in out
