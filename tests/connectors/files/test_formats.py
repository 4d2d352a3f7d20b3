"""What each format does with the unusual: broken lines, strange encodings, bombs, and what a rewrite must keep."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook, load_workbook

from connectors.files import FilesConnector
from connectors.files.formulas import RISKY, guarded, unguarded
from connectors.files.settings import FilesConfig
from engine.sdk.config import ConnectionContext
from engine.sdk.connector import Operation, Read
from engine.sdk.errors import ConnectorError
from engine.sdk.record import Record, decode_json


def files(folder: Path, form: str = "ndjson", settings: dict[str, Any] | None = None, **objects: Any) -> FilesConnector:
    given = {"connector": "files", "path": str(folder), "format": form, "objects": objects, **(settings or {})}
    return FilesConnector(FilesConfig.model_validate(given), ConnectionContext("drop", folder))


def records(connector: FilesConnector, name: str = "x", **request: Any) -> list[Record]:
    return [record for batch in connector.read(Read(name, **request)) for record in batch.records]


def upsert(connector: FilesConnector, record: dict[str, Any], name: str = "x") -> Any:
    (outcome,) = connector.write(name, [Operation("o", "upsert", record)])
    return outcome


BROKEN = [
    b"not json", b"[1]", b'"text"', b"5", b"null", b"{", b'{"id": "a"', b'{"id": "a", "b": NaN}', b'{"id": "a", "b": "\xff"}',
    b'{"id": "a", "b": "\\ud800"}', b'{"id": "a", "b": 1' + b"0" * 5000 + b"}", b'{"id": "a", "b": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"b": 1}', b'{"id": null}', b'{"id": ""}', b'{"id": {"a": 1}}', b'{"id": true}', b'{"id": "\xff"}', b"{} {}", b'{"id": "a"} x',
]  # fmt: skip


@pytest.mark.parametrize("line", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_line_is_a_problem_of_that_line_alone(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "x.ndjson").write_bytes(b'{"id": "1"}\n' + line + b'\n\n{"id": 2}\n')
    first, broken, last = records(files(tmp_path))
    assert (first.key, last.key, first.problem, last.problem) == ("1", "2", None, None)
    assert broken.problem and broken.key in ("x.ndjson:2", "a") and broken.raw == line


def test_a_line_that_is_too_long_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "x.ndjson").write_bytes(b'{"id": "1"}\n' + b"x" * 5000 + b'\n{"id": "2"}\n')
    found = records(files(tmp_path, settings={"max_line": "1 KiB"}))
    assert [one.key for one in found] == ["1", "x.ndjson:2", "2"]
    assert "longer than 1,024" in str(found[1].problem)


def test_names_that_stand_twice_are_refused_where_settings_say_so(tmp_path: Path) -> None:
    (tmp_path / "x.ndjson").write_text(
        '{"id": "1", "amount": 1, "amount": 999}\n{"id": "2", "a": {"b": 1, "b": 1}}\n{"id": "3"}\n'
    )
    assert [one.problem for one in records(files(tmp_path))] == [None, None, None]
    found = records(files(tmp_path, x={"repeated": "refuse"}))
    assert [bool(one.problem) for one in found] == [True, True, False] and "'amount'" in str(found[0].problem)


def test_unread_lines_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.ndjson").write_text('{"id": "1", "a": 1.10}\n{"id": "2", "a": 2}\n')
    decoded = []
    monkeypatch.setattr("connectors.files.ndjson.decode_json", lambda raw: decoded.append(raw) or decode_json(raw))
    one, two = records(files(tmp_path))
    assert (one.key, two.key, one.raw, decoded) == ("1", "2", b'{"id": "1", "a": 1.10}', [])
    assert two.value == {"id": "2", "a": 2} and two.value is two.value and len(decoded) == 1


@given(value=st.recursive(st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(), lambda inner: st.lists(inner, max_size=3)
                          | st.dictionaries(st.sampled_from(["id", "at", "x"]), inner), max_leaves=8), id=st.text(min_size=1))  # fmt: skip
def test_the_key_is_the_one_that_full_decoding_gives(tmp_path_factory: Any, value: Any, id: str) -> None:
    folder = tmp_path_factory.mktemp("f")
    (folder / "x.ndjson").write_text(json.dumps({"before": value, "id": id, "after": value}) + "\n")
    try:
        id.encode()
    except UnicodeEncodeError:
        return
    (record,) = records(files(folder))
    assert (record.key, record.value) == (id, {"before": value, "id": id, "after": value})


@given(st.text() | st.text(alphabet="'=+-@\t\r －＝x", max_size=6))
def test_guarded_text_never_starts_like_a_formula_and_comes_back(text: str) -> None:
    assert unguarded(guarded(text)) == text
    assert guarded(text)[:1] not in RISKY


def test_formulas_of_a_record_are_harmless_in_the_file(tmp_path: Path) -> None:
    risky = {"a": "=HYPERLINK(1)", "b": "+cmd|x", "c": "@SUM(1)", "d": "\t=x", "e": "－1", "f": "-2"}
    for form in ("csv", "xlsx"):
        connector = files(tmp_path, form)
        upsert(connector, {"id": "1", "n": Decimal("-5.25"), **risky})
        (record,) = records(connector)
        assert {name: record.value[name] for name in risky} == risky
    (row,) = csv.DictReader(io.StringIO((tmp_path / "x.csv").read_bytes().decode(), newline=""))
    assert all(row[name].startswith("'") for name in risky) and row["n"] == "-5.25"
    sheet = load_workbook(tmp_path / "x.xlsx").active
    assert sheet is not None and {cell.data_type for cell in sheet[2]} == {"s", "n"}


# ---------------------------------------------------------------------- rewriting
def test_a_rewrite_keeps_lines_that_it_cannot_read(tmp_path: Path) -> None:
    kept = b'{"id":"1",  "a":1.10}\nbroken\n\n{"no": "key"}\n'
    (tmp_path / "x.ndjson").write_bytes(kept + b'{"id":"2","a":1}')
    connector = files(tmp_path)
    assert upsert(connector, {"id": "2", "a": 2}).state == "updated"
    assert upsert(connector, {"id": "3"}).state == "created"
    assert (tmp_path / "x.ndjson").read_bytes() == kept + b'{"id":"2","a":2}\n{"id":"3"}\n'


def test_two_records_under_one_key_are_not_written_over(tmp_path: Path) -> None:
    text = '{"id":"1","a":1}\n{"id":"1","a":2}\n'
    (tmp_path / "x.ndjson").write_text(text)
    outcome = upsert(files(tmp_path), {"id": "1", "a": 3})
    assert outcome.state == "refused" and outcome.problem.code == "C588" and (tmp_path / "x.ndjson").read_text() == text


def test_what_is_around_the_records_of_a_json_file_stays(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(
        '{"meta": {"page": 1.50}, "data": {"next": null, "items": [{"id": 1, "a": 1.10}, 7]}}'
    )
    connector = files(tmp_path, "json", x={"records": "data.items"})
    assert upsert(connector, {"id": 1, "b": 2}).state == "updated"
    assert upsert(connector, {"id": 2}).state == "created"
    text = (tmp_path / "x.json").read_text()
    assert json.loads(text) == {
        "meta": {"page": 1.5},
        "data": {"next": None, "items": [{"id": 1, "a": 1.1, "b": 2}, 7, {"id": 2}]},
    }
    assert "1.50" in text and "1.10" in text


def test_other_sheets_and_gaps_of_a_workbook_stay(tmp_path: Path) -> None:
    book = Workbook()
    first, second = book.active, book.create_sheet("notes")
    assert first is not None
    first.append(["id", None, "amount"])
    first.append(["1", None, 90071992547409.93])
    first.append([None, None, None])
    first.append(["2", "unnamed", 1.1])
    first.append(["3", None, "#N/A"])
    second.append(["=1+1"])
    book.save(tmp_path / "x.xlsx")
    connector = files(tmp_path, "xlsx")
    one, two, three = records(connector)
    assert (
        one.value == {"id": "1", "amount": Decimal("90071992547409.94")} and one.problem is None
    )  # as the workbook keeps it
    assert "no name" in str(two.problem) and "#N/A" in str(three.problem)
    assert upsert(connector, {"id": "1", "amount": Decimal("1.10"), "new": "x"}).state == "updated"
    assert upsert(connector, {"id": "4", "amount": Decimal("90071992547409.93")}).state == "created"
    book = load_workbook(tmp_path / "x.xlsx")
    assert book.sheetnames == ["Sheet", "notes"] and book["notes"]["A1"].value == "=1+1"
    found = {record.key: record.value for record in records(connector) if record.problem is None}
    assert found["1"]["amount"] == Decimal("1.1") and found["4"]["amount"] == "90071992547409.93"


def test_a_csv_keeps_encoding_delimiter_mark_and_ragged_rows(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes("id;näme\r\n1;Zoë\r\n2\r\n".encode("cp1252"))
    connector = files(tmp_path, "csv", x={"encoding": "cp1252", "delimiter": ";"})
    assert upsert(connector, {"id": "3", "näme": "a;b"}).state == "created"
    assert (tmp_path / "x.csv").read_bytes() == 'id;näme\r\n1;Zoë\r\n2\r\n3;"a;b"\r\n'.encode("cp1252")
    assert upsert(connector, {"id": "4", "näme": "🌿"}).problem.code == "C589"
    with pytest.raises(ConnectorError, match="C583.*line 3"):
        upsert(connector, {"id": "5", "more": "x"})
    (tmp_path / "x.csv").write_bytes(b"\xef\xbb\xbfid,a\r\n1,x\r\n")
    upsert(files(tmp_path, "csv"), {"id": "2", "a": "y"})
    assert (tmp_path / "x.csv").read_bytes() == b"\xef\xbb\xbfid,a\r\n1,x\r\n2,y\r\n"


@pytest.mark.parametrize(
    ("empty", "value"), [("blank", {"id": "1", "a": ""}), ("null", {"id": "1", "a": None}), ("missing", {"id": "1"})]
)
def test_an_empty_cell_means_what_settings_say(tmp_path: Path, empty: str, value: dict[str, Any]) -> None:
    (tmp_path / "x.csv").write_text("id,a\n1,\n")
    assert [one.value for one in records(files(tmp_path, "csv", x={"empty": empty}))] == [value]


@pytest.mark.parametrize(("data", "words"), [
    (b"id,id\n1,2\n", "two columns"), (b"a,b\n1,2\n", "no column 'id'"), (b"id,a\n1,\xff\n", "not utf-8"), (b"id\n" + b"x" * 3000 + b"\n", "longer"),
])  # fmt: skip
def test_a_csv_that_cannot_be_read_raises_and_never_just_ends(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "x.csv").write_bytes(data)
    with pytest.raises(ConnectorError, match=words):
        records(files(tmp_path, "csv", settings={"max_line": "2 KiB"}))


def test_quoted_line_breaks_are_one_row_and_an_open_quote_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b'id,a\r\n1,"two\r\nlines"\r\n2,"a ""b"""\r\n3,"open\r\n')
    one, two, three = records(files(tmp_path, "csv"))
    assert (one.value["a"], two.value["a"]) == ("two\r\nlines", 'a "b"') and "not CSV" in str(three.problem)


def test_a_workbook_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"0" * 40_000_000)
    with pytest.raises(ConnectorError, match="C582"):
        records(files(tmp_path, "xlsx"))
    for data in (b"", b"not a zip", b"PK\x03\x04"):
        (tmp_path / "x.xlsx").write_bytes(data)
        with pytest.raises(ConnectorError, match="C583"):
            records(files(tmp_path, "xlsx"))


@pytest.mark.parametrize("data", [b"", b"{", b'{"a": 1}', b"[1, 2", b"null", b"[" * 100_000])
def test_a_json_file_without_records_is_an_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(ConnectorError, match="C583"):
        records(files(tmp_path, "json"))


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_reading_holds_little_whatever_the_length(tmp_path: Path, form: str) -> None:
    with (tmp_path / f"x.{form}").open("w") as stream:
        stream.write("id,note\n" if form == "csv" else "")
        for number in range(40_000):
            stream.write(f"{number},{'x' * 400}\n" if form == "csv" else f'{{"id": {number}, "note": "{"x" * 400}"}}\n')
    tracemalloc.start()
    try:
        count = sum(len(batch.records) for batch in files(tmp_path, form).read(Read("x", page=200)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 40_000 and peak < 4_000_000
