"""Tables: every form that documents name, both directions, what is wrong with rows; the index against a naive scan."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.compile.environment import StaticEnv
from engine.compile.functions import FunctionFault
from engine.compile.mapping import compile_inbound, compile_outbound
from engine.compile.registry import Registry
from engine.compile.tables import ANY, TableIndex, typed
from engine.compile.workspace import problems_of
from engine.sdk.errors import Position, SpecError
from engine.sdk.record import Fields
from engine.spec.table import Table, faults
from engine.spec.workspace import Workspace
from tests.conftest import Make

HERE = Position("t")
NO = object()
BASE = {
    "crosswalk.yaml": "crosswalk: 1\nname: t\n",
    "schemas/thing.yaml": "$schema: https://json-schema.org/draft/2020-12/schema\ntype: object\nadditionalProperties: false\n"
    "properties:\n  code: { type: string }\n  region: { type: string }\n  day: { type: string, format: date }\n  rate: { type: number }\n",
}


def table(body: str) -> dict[str, str]:
    return {"mappings/tables/terms.yaml": f"table: terms\n{body}"}


def mapping(rules: str, outbound: str = "") -> dict[str, str]:
    text = f"mapping: sys/thing\nobject: things\nentity: thing\nfields:\n{rules}"
    return {"mappings/sys/thing.yaml": text + (f"outbound:\n{outbound}" if outbound else "")}


def inward(folder: Path, record: Fields, rows: Any = None) -> tuple[Fields, list[str]]:
    registry = Registry(Workspace.open(folder), rows)
    compiled = compile_inbound(registry.document("mapping", "sys/thing", None), registry).inbound
    assert compiled is not None
    env = StaticEnv(tables={"terms": registry.table("terms")})
    found, told = compiled.inward(record, env, [])
    return found, [str(compiled.problem(one)[0]) for one in told]


def outward(folder: Path, record: Fields) -> tuple[Fields, list[str]]:
    registry = Registry(Workspace.open(folder))
    compiled = compile_outbound(registry.document("mapping", "sys/thing", None), registry, role="").outbound
    assert compiled is not None
    payload, once, told = compiled.outward(
        {"id": "1", **record}, StaticEnv(tables={"terms": registry.table("terms")}), []
    )
    return {**payload, **once}, [str(compiled.problem(one)[0]) for one in told]


# ---------------------------------------------------------------------- forms
@pytest.mark.parametrize(
    "body",
    [
        "key: code\ncolumns: [code, erp]\nrows: [[net30, '1'], [net60, '2']]\n",
        "key: code\nrows: [{ code: net30, erp: '1' }, { code: net60, erp: '2' }]\n",
        "key: [code]\nfile: terms.csv\n",
        "extends: base\n",
        "extends: base\ncolumns: [code, erp]\nrows: [[net60, '2']]\n",
    ],
)
def test_rows_in_the_document_in_a_file_and_over_another_table(make: Make, body: str) -> None:
    old = "'9'" if "rows:" in body and "extends" in body else "'2'"
    files = {
        "mappings/tables/terms.csv": "code,erp\nnet30,1\n\nnet60,2\n",
        "mappings/tables/base.yaml": f"table: base\nkey: code\ncolumns: [code, erp]\nrows: [[net30, '1'], [net60, {old}]]\n",
    }
    folder = make({**BASE, **files, **table(body), **mapping("  code: { from: t, lookup: terms, column: erp }\n")})
    assert problems_of(Workspace.open(folder)) == []
    assert inward(folder, {"t": "2"}) == ({"code": "net60"}, [])
    assert outward(folder, {"code": "net30"}) == ({"t": "1"}, [])
    found, told = inward(folder, {"t": "3"})
    assert found == {} and told == [
        "E403 mappings/sys/thing.yaml:5:9 code: terms has no row for erp '3' — add the row to the table, or say `on_missing`"
    ]
    assert outward(folder, {"code": "net90"})[1][0].startswith(
        "E403 mappings/sys/thing.yaml:5:9 code: terms has no row with code 'net90'"
    )


def test_a_library_table_with_a_file_is_extended_by_rows(make: Make) -> None:
    body = "table: countries\nextends: countries\ncolumns: [iso2, name]\nrows: [[XK, Kosovo], [DE, Allemagne]]\n"
    folder = make({**BASE, "mappings/tables/countries.yaml": body})
    workspace = Workspace.open(folder)
    assert problems_of(workspace) == []
    index = Registry(workspace).table("countries")
    assert index.find("XK", "name") == "Kosovo" and index.find("DE", "name") == "Allemagne"
    assert index.find("FR", "iso3") == "FRA" and len(index.rows) > 200


def test_rows_from_the_store(make: Make) -> None:
    body = "key: code\nfrom: { entity: thing }\n"
    folder = make({**BASE, **table(body), **mapping("  rate: { from: c, lookup: terms, give: rate }\n")})
    assert problems_of(Workspace.open(folder)) == []
    rows = [{"id": "1", "code": "A", "rate": Decimal("1.5")}, {"id": "2", "code": "B", "rate": 2}]
    assert inward(folder, {"c": "A"}, lambda entity: rows if entity == "thing" else []) == (
        {"rate": Decimal("1.5")},
        [],
    )
    folder = make(table("key: cod\nfrom: { entity: thing }\n"))
    assert "E101 mappings/tables/terms.yaml:2:6 thing has no field 'cod' — did you mean 'code'?" in [
        str(one) for one in problems_of(Workspace.open(folder))
    ]


DATED = "key: code\ncolumns: [code, rate, first, last]\nvalid: [first, last]\nrows:\n  - [A, 1, null, 2025-12-31]\n  - [A, 2, 2026-01-01, 2026-06-30]\n  - [A, 3, 2026-07-01, null]\n"


@pytest.mark.parametrize(
    ("day", "rate"),
    [
        ("1990-01-01", 1),
        ("2025-12-31", 1),
        ("2026-01-01", 2),
        ("2026-06-30T23:59:59Z", 2),
        ("2026-07-01", 3),
        ("2999-01-01", 3),
    ],
)
def test_the_day_picks_the_row(make: Make, day: str, rate: int) -> None:
    folder = make({**BASE, **table(DATED), **mapping("  rate: { from: c, lookup: terms, give: rate, at: day }\n")})
    assert inward(folder, {"c": "A", "day": day}) == ({"rate": rate}, [])


def test_no_day_no_row_and_two_rows_are_faults(make: Make) -> None:
    folder = make({**BASE, **table(DATED), **mapping("  rate: { from: c, lookup: terms, give: rate, at: day }\n")})
    assert "the rule's `at` gives no date" in inward(folder, {"c": "A"})[1][0]
    assert "no row for code 'B'" in inward(folder, {"c": "B", "day": "2026-01-01"})[1][0]
    store = make({**BASE, **table("key: code\nfrom: { entity: thing }\nvalid: [day, region]\n"),
                  **mapping("  rate: { from: c, lookup: terms, give: rate, at: day }\n")})  # fmt: skip
    rows = [{"id": n, "code": "A", "rate": 1, "day": "2026-01-01"} for n in "12"]
    assert (
        "terms has 2 rows for code 'A' on 2026-03-01"
        in inward(store, {"c": "A", "day": "2026-03-01"}, lambda entity: rows)[1][0]
    )


WILD = "key: [region, practice]\ncolumns: [region, practice, erp]\nhit: first\nrows: [[EMEA, tax, '1'], [EMEA, '*', '2'], ['*', tax, '3'], ['*', '*', '4']]\n"


@pytest.mark.parametrize(
    ("region", "practice", "erp"),
    [("EMEA", "tax", "1"), ("EMEA", "audit", "2"), ("APAC", "tax", "3"), ("APAC", None, "4")],
)
def test_wildcards_and_the_first_hit_in_both_directions(
    make: Make, region: str, practice: str | None, erp: str
) -> None:
    rule = "{ lookup: { table: terms, by: { region: region, practice: practice }, give: erp } }"
    folder = make({**BASE, **table(WILD), **mapping(f"  code: {rule}\n")})
    assert problems_of(Workspace.open(folder)) == []
    assert inward(folder, {"region": region, "practice": practice}) == ({"code": erp}, [])
    plain = "{ lookup: terms, by: { region: region, practice: code }, give: erp }"
    folder = make({**BASE, **table(WILD), **mapping("  region: r\n  code: c\n", f"  class.id: {plain}\n")})
    payload, told = outward(folder, {"region": region, "code": practice})
    assert told == [] and payload["class"] == {"id": erp}


def test_a_lookup_of_an_outbound_rule_is_done_and_its_miss_told(make: Make) -> None:
    body = "key: code\ncolumns: [code, erp]\nrows: [[net30, '1']]\n"
    folder = make(
        {**BASE, **table(body), **mapping("  code: c\n", "  terms.id: { from: code, lookup: terms, give: erp }\n")}
    )
    assert outward(folder, {"code": "net30"})[0]["terms"] == {"id": "1"}
    payload, told = outward(folder, {"code": "net90"})
    assert "terms" not in payload and "terms has no row for code 'net90'" in told[0]
    for choice, sent in (
        ("clear", {"terms": {"id": None}}),
        ("keep", {"terms": {"id": "net90"}}),
        ("{ value: '0' }", {"terms": {"id": "0"}}),
    ):
        rule = f"  terms.id: {{ from: code, lookup: terms, give: erp, on_null: clear, on_missing: {choice} }}\n"
        payload, told = outward(make(mapping("  code: c\n", rule)), {"code": "net90"})
        assert told == [] and {"terms": payload["terms"]} == sent


def test_a_wildcard_row_is_a_default_and_never_a_value(make: Make) -> None:
    body = "key: code\ncolumns: [code, erp]\nhit: first\nrows: [[net30, '1'], ['*', '9']]\n"
    files = {**BASE, **table(body), **mapping("  code: { from: t, lookup: terms, column: erp }\n")}
    folder = make(files)
    assert inward(folder, {"t": "1"}) == ({"code": "net30"}, [])
    assert inward(folder, {"t": "9"})[1] != []  # `*` is no code
    assert outward(folder, {"code": "net77"}) == ({"t": "9"}, [])
    other = make(mapping("  region: { from: t, lookup: terms, give: erp }\n"))
    assert inward(other, {"t": "net30"}) == ({"region": "1"}, [])
    assert inward(other, {"t": "anything"}) == ({"region": "9"}, [])


def test_an_empty_cell_is_no_value_in_either_direction(make: Make) -> None:
    files = {"mappings/tables/terms.csv": "code,erp\nnet30,1\nnet60,\nnet90,\n"}
    folder = make(
        {
            **BASE,
            **files,
            **table("key: code\nfile: terms.csv\n"),
            **mapping("  code: { from: t, lookup: terms, column: erp }\n"),
        }
    )
    assert inward(folder, {"t": "1"}) == ({"code": "net30"}, [])
    assert "no row for erp ''" in inward(folder, {"t": ""})[1][0]
    assert outward(folder, {"code": "net30"}) == ({"t": "1"}, [])
    assert "terms has no erp for code 'net60'" in outward(folder, {"code": "net60"})[1][0]
    folder = make(mapping("  region: { from: t, lookup: terms, give: erp }\n"))
    assert "terms has no erp for code 'net90'" in inward(folder, {"t": "net90"})[1][0]


def test_numbers_are_equal_by_value_and_never_equal_text(make: Make) -> None:
    body = "key: code\ncolumns: [code, n]\nrows: [[A, 1], [B, '1'], [C, true], [D, 2.50]]\n"
    folder = make({**BASE, **table(body), **mapping("  code: { from: t, lookup: terms, column: n }\n")})
    for value, code in ((1, "A"), (Decimal("1.0"), "A"), ("1", "B"), (True, "C"), (Decimal("2.5"), "D")):
        assert inward(folder, {"t": value}) == ({"code": code}, []), value
    assert "no row for n '2.50' (it has that number)" in inward(folder, {"t": "2.50"})[1][0]
    inline = make(mapping("  code: { from: t, values: { 1: A, '1': B, 2.50: D } }\n"))
    for value, code in ((1, "A"), (Decimal("1.0"), "A"), ("1", "B"), (Decimal("2.5"), "D")):
        assert inward(inline, {"t": value}) == ({"code": code}, []), value
    assert "no entry in `values` for true" in inward(inline, {"t": True})[1][0]
    folder = make(mapping("  code: { from: t, values: { 1: A, true: C } }\n"))
    assert (
        "E103 mappings/sys/thing.yaml:5:36 the keys true and 1 (line 5) cannot stand side by side — use a table, whose cells may hold both"
        in [str(one) for one in problems_of(Workspace.open(folder))]
    )


def test_what_expressions_ask_of_a_table() -> None:
    index = TableIndex(
        "t", ["code", "n"], ["code"], [{"code": "A", "n": 1}, {"code": "B", "n": 2}, {"code": "B", "n": 3}]
    )
    assert (index.find("A", "n"), index.find("Z", "n")) == (1, None)
    with pytest.raises(FunctionFault, match="t has 2 rows for code 'B'"):
        index.find("B", "n")
    with pytest.raises(FunctionFault, match="no column 'm'.*known: code, n"):
        index.find("A", "m")
    pairs = TableIndex("p", ["a", "b", "n"], ["a", "b"], [{"a": "x", "b": "*", "n": 1}, {"a": "y", "b": "z", "n": 2}])
    assert pairs.find({"a": "x", "b": "q"}, "n") == 1 and pairs.find({"a": "y", "b": "q"}, "n") is None
    dated = TableIndex("d", ["a", "n", "s", "e"], ["a"], [{"a": "x", "n": 1, "s": None, "e": None}], ("s", "e"))
    with pytest.raises(FunctionFault, match="d has dated rows"):
        dated.find("x", "n")


# ---------------------------------------------------------------------- what is wrong with rows
@pytest.mark.parametrize(
    ("body", "lines"),
    [
        ("key: a\ncolumns: [a, b]\nrows:\n  - [1, x]\n  - [2, y]\n  - [1.0, z]\n",
         ["E144 mappings/tables/terms.yaml:7:5 row 3 and row 1 both hold for 1.0 — keep one of them, or say `hit: first`"]),
        ("key: a\ncolumns: [a, b]\nrows:\n  - [x, 1]\n  - ['*', 2]\n",
         ["E144 mappings/tables/terms.yaml:6:5 row 2 and row 1 both hold for * — keep one of them, or say `hit: first`"]),
        ("key: [a, b]\ncolumns: [a, b]\nrows:\n  - [x, '*']\n  - ['*', y]\n",
         ["E144 mappings/tables/terms.yaml:6:5 row 2 and row 1 both hold for *, y — keep one of them, or say `hit: first`"]),
        ("key: a\nhit: first\ncolumns: [a, b]\nrows:\n  - ['*', 1]\n  - [x, 2]\n",
         ["E144 mappings/tables/terms.yaml:7:5 row 2 is never reached: row 1 holds all that it does (x) — move it up, or drop it"]),
        ("key: a\ncolumns: [a, s, e]\nvalid: [s, e]\nrows:\n  - [x, 2026-01-01, 2026-06-30]\n  - [x, 2026-06-30, null]\n",
         ["E144 mappings/tables/terms.yaml:7:5 row 2 and row 1 both hold for x — keep one of them, or say `hit: first`"]),
        ("key: a\ncolumns: [a, s, e]\nvalid: [s, e]\nrows:\n  - [x, 2026-01-01, 2026-02-27]\n  - [x, 2026-03-01, null]\n",
         ["E144 mappings/tables/terms.yaml:7:5 row 2 leaves no row for x from 2026-02-28 to 2026-02-28, after row 1 — "
          "let the days follow each other; a row with an empty value says that none holds"]),
        ("key: a\ncolumns: [a, s, e]\nvalid: [s, e]\nrows:\n  - [x, 2026-02-30, null]\n  - [y, 2026-02-01, 2026-01-01]\n  - [null, null, null]\n",
         ["E144 mappings/tables/terms.yaml:6:5 row 1 has '2026-02-30' as s, which is no day — write it as 2026-01-31",
          "E144 mappings/tables/terms.yaml:7:5 row 2 ends on 2026-01-01, before it starts on 2026-02-01 — swap the two days",
          "E144 mappings/tables/terms.yaml:8:5 row 3 has no a, which is part of the key — write a value, or * for any"]),
        ("key: a\ncolumns: [a, b]\nrows:\n  - [[1], x]\n",
         ["E144 mappings/tables/terms.yaml:5:5 row 1 has a a that is no single value — write text, a number, or true or false"]),
        ("key: c\ncolumns: [a, b]\nrows: []\n", ["E144 mappings/tables/terms.yaml:1:1 'c' is not one of its columns — a, b"]),
        ("key: a\ncolumns: [a, a]\nrows: []\n", ["E144 mappings/tables/terms.yaml:1:1 has the column 'a' twice — keep one of them"]),
        ("key: a\ncolumns: [a]\n", ["E144 mappings/tables/terms.yaml:1:1 has no rows — write `rows`, `file` or `from`"]),
        ("key: []\nrows: []\n", ["E142 mappings/tables/terms.yaml:2:6 `key` is out of range — write at least 1 of them"]),
        ("key: a\ncolumns: [a, b]\nrows:\n  - [x]\n", ["E144 mappings/tables/terms.yaml:1:1 has 1 values for 2 columns in row 1 — write one for each column"]),
    ],
)  # fmt: skip
def test_faults_of_rows_stand_at_their_line(make: Make, body: str, lines: list[str]) -> None:
    assert [str(one) for one in problems_of(Workspace.open(make({**BASE, **table(body)})))] == lines


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"code,erp\nA,1\nB\n", "E148 mappings/tables/terms.csv:3:1 1 values for 2 columns — quote values that hold commas"),
        (b"code,erp,erp\nA,1,2\n", "E148 mappings/tables/terms.csv:1:1 has the column 'erp' twice — name each column once"),
        (b"cod,erp\nA,1\n", "E148 mappings/tables/terms.yaml:3:7 terms.csv has no column 'code' — did you mean 'cod'?"),
        (b"code,erp\nA,1\nB,\xe9\n", "E148 mappings/tables/terms.csv:3:1 is not UTF-8 text — save it as UTF-8"),
        (b'code,erp\nA,"1\n', "E148 mappings/tables/terms.csv:2:1 is not readable as CSV: unexpected end of data — close the quotes, and double those inside a value"),
        (b"code,erp\nA,1\n\nA,2\n", "E144 mappings/tables/terms.csv:4:1 row 2 and row 1 both hold for A — keep one of them, or say `hit: first`"),
        (b"\xef\xbb\xbfcode,erp\r\nA,1\r\nA,2\r\n", "E144 mappings/tables/terms.csv:3:1 row 2 and row 1 both hold for A — keep one of them, or say `hit: first`"),
    ],
)  # fmt: skip
def test_faults_of_a_file_stand_at_its_line(make: Make, content: bytes, line: str) -> None:
    folder = make({**BASE, **table("key: code\nfile: terms.csv\n")})
    (folder / "mappings/tables/terms.csv").write_bytes(content)
    assert [str(one) for one in problems_of(Workspace.open(folder))] == [line]


def test_a_file_that_is_not_there_or_elsewhere(make: Make) -> None:
    folder = make({**BASE, **table("key: code\nfile: none.csv\n")})
    assert [str(one) for one in problems_of(Workspace.open(folder))] == [
        "E130 mappings/tables/terms.yaml:3:7 there is no file 'none.csv' beside the table — create it"
    ]
    folder = make(table("key: code\nfile: ../../../../etc/passwd\n"))
    assert "is not beside the table" in str(problems_of(Workspace.open(folder))[0])


def test_a_rule_that_names_a_column_wrongly_is_told(make: Make) -> None:
    body = "key: code\ncolumns: [code, erp]\nrows: [[net30, '1']]\n"
    folder = make({**BASE, **table(body), **mapping("  code: { from: t, lookup: terms, column: epr }\n")})
    with pytest.raises(SpecError, match="table 'terms' has no column 'epr' — did you mean 'erp'"):
        inward(folder, {"t": "1"})
    folder = make(mapping("  code: { from: t, lookup: { tabel: terms } }\n"))
    assert any("`lookup` names a table" in str(one) for one in problems_of(Workspace.open(folder)))


# ---------------------------------------------------------------------- the index against a naive scan
cells = st.sampled_from(["a", "b", "1", 1, Decimal("1.0"), True, ANY])
days = st.sampled_from(["", "2026-01-01", "2026-01-02", "2026-01-03"])
rows_of = st.lists(
    st.fixed_dictionaries({"x": cells, "y": cells, "v": st.sampled_from(["p", "q", None]), "s": days, "e": days}),
    max_size=7,
)


def naive(rows: list[Fields], given: Fields, hit: str, day: str | None) -> list[Fields]:
    return [
        row
        for row in rows
        if all(row[name] == ANY or typed(row[name]) == typed(value) for name, value in given.items())
        and (day is None or ((not row["s"] or row["s"] <= day) and (not row["e"] or day <= row["e"])))
    ]


@settings(max_examples=400, deadline=None)
@given(rows=rows_of, x=cells, y=cells, hit=st.sampled_from(["first", "unique"]), day=st.none() | days.filter(bool))
@example(rows=[{"x": 1, "y": ANY, "v": "p", "s": "", "e": ""}], x=Decimal("1.0"), y="a", hit="unique", day=None)
@example(rows=[{"x": True, "y": "a", "v": "p", "s": "", "e": ""}], x=1, y="a", hit="unique", day=None)
def test_the_index_equals_a_naive_scan(rows: list[Fields], x: Any, y: Any, hit: str, day: str | None) -> None:
    index = TableIndex("t", ["x", "y", "v", "s", "e"], ["x", "y"], rows, ("s", "e") if day else None, hit)
    wanted = naive(rows, {"x": x, "y": y}, hit, day)
    found, why = index.bind(None, "v", ("x", "y"), HERE).pick({"x": x, "y": y}, day, NO)
    if wanted and (hit == "first" or len(wanted) == 1) and wanted[0]["v"] is not None:
        assert (found, why) == (wanted[0]["v"], "")
    else:
        assert found is NO and why
    one = naive(rows, {"x": x}, hit, day)
    found, _ = index.bind("x", "v", (), HERE).give(x, day, NO)
    assert found == (one[0]["v"] if one and (hit == "first" or len(one) == 1) and one[0]["v"] is not None else NO)


@settings(max_examples=300, deadline=None)
@given(rows=rows_of)
def test_a_table_without_faults_never_has_two_rows_for_one_value(rows: list[Fields]) -> None:
    clean = Table.model_validate(
        {"table": "t", "key": ["x", "y"], "columns": ["x", "y", "v", "s", "e"], "valid": ["s", "e"], "rows": rows}
    )
    told = list(faults(clean))
    values = ["a", "b", "1", 1, True, "elsewhere"]
    worst = max(
        len(naive(rows, {"x": x, "y": y}, "unique", day))
        for x in values
        for y in values
        for day in ("2026-01-01", "2026-01-02", "2026-01-03", "2030-01-01")
    )
    if not told:
        assert worst <= 1
    if worst > 1:
        assert told


@settings(max_examples=200, deadline=None)
@given(
    pairs=st.lists(
        st.tuples(st.sampled_from("abcdef"), st.sampled_from(["1", "2", 3, None])),
        max_size=6,
        unique_by=lambda pair: pair[0],
    )
)
def test_what_runs_backwards_comes_back(pairs: list[tuple[str, Any]]) -> None:
    index = TableIndex("t", ["code", "erp"], ["code"], [{"code": code, "erp": erp} for code, erp in pairs])
    bound = index.bind("erp", None, (), HERE)
    if index.reversible("erp", None):
        for _, erp in pairs:
            if erp is not None:
                code, _ = bound.give(erp, None, NO)
                assert bound.back(code, NO) == (erp, "")


def test_every_table_of_the_guide_does_what_it_says(make: Make) -> None:
    text = (Path(__file__).parents[2] / "docs/tables.md").read_text("utf-8")
    blocks = re.findall(r"```yaml\n(table: (\w+)\n.*?)```", text, re.DOTALL)
    assert [name for _, name in blocks] == ["terms", "classes", "rates", "countries"]
    rules = "  code: { from: t, lookup: terms, column: erp }\n  rate: { from: c, lookup: rates, give: rate, at: d }\n"
    wide = "  region: { lookup: { table: classes, by: { region: r, practice: p }, give: erp } }\n"
    folder = make({**BASE, **{f"mappings/tables/{name}.yaml": body for body, name in blocks}, **mapping(rules + wide)})
    workspace = Workspace.open(folder)
    assert problems_of(workspace) == []
    record = {"t": "5", "c": "CH", "d": "2023-12-31", "r": "EMEA", "p": "audit"}
    assert inward(folder, record) == ({"code": "net30", "rate": Decimal("7.7"), "region": "12"}, [])
    assert inward(folder, {**record, "d": "2024-01-01", "r": "APAC"})[0] == {
        "code": "net30",
        "rate": Decimal("8.1"),
        "region": "19",
    }
    assert outward(folder, {"code": "net60"})[0] == {"t": "6"}
    assert Registry(workspace).table("countries").find("XK", "name") == "Kosovo"
