"""Tables that their databases compare: the same breaks as when both are read, and equal rows are never read."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.run.runner import Runner
from engine.run.session import Options
from engine.spec.workspace import Workspace
from engine.state import breaks, reconciliations
from engine.state.store import Store
from tests.conftest import Make

FILES = {
    "crosswalk.yaml": """
        crosswalk: 1
        name: t
        connections:
          psa: { connector: sql, url: "URL" }
          erp: { connector: sql, url: "URL" }
    """,
    "schemas/bill.yaml": """
        $schema: https://json-schema.org/draft/2020-12/schema
        type: object
        additionalProperties: false
        required: [number]
        properties:
          number: { type: integer }
          name: { type: string }
          total: { $ref: money }
          due: { type: string, format: date }
          paid: { type: boolean }
    """,
    "mappings/psa/bills.yaml": """
        mapping: psa/bills
        object: bills
        entity: bill
        fields: { number: id, name: { from: name, transform: [trim] }, total: { from: total, as: money, currency: cur }, due: due, paid: paid }
    """,
    "mappings/erp/invoices.yaml": """
        mapping: erp/invoices
        object: invoices
        entity: bill
        fields: { number: key, name: { from: label, transform: [trim] }, total: { from: amount, as: money, currency: currency },
                  due: due_on, paid: settled }
    """,
    "flows/nightly.yaml": """
        flow: nightly
        kind: reconcile
        entity: bill
        left: { connection: psa, mapping: psa/bills }
        right: { connection: erp, mapping: erp/invoices }
        key: [number]
    """,
}  # fmt: skip
COLUMNS = {"bills": "id bigint primary key, name varchar(20), total numeric(12,2), cur char(3), due date, paid boolean",
           "invoices": "key bigint primary key, label varchar(20), amount numeric(12,2), currency char(3), due_on date, settled boolean"}  # fmt: skip


class Tables:
    """Two tables of one PostgreSQL, and their reconciliation."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.address = url.replace("postgresql+psycopg", "postgresql")
        for name, columns in COLUMNS.items():
            self.sql(f"CREATE TABLE {name} ({columns})")
        self.store = Store.open("sqlite:///state.db", folder)

    def sql(self, text: str, rows: Any = None) -> None:
        with psycopg.connect(self.address, autocommit=True) as connection, connection.cursor() as cursor:
            if rows is None:
                cursor.execute(text)
            else:
                cursor.executemany(text, rows)

    def put(self, name: str, rows: list[Any]) -> None:
        self.sql(f"TRUNCATE {name}")
        if rows:
            self.sql(f"INSERT INTO {name} VALUES (%s, %s, %s, %s, %s, %s)", rows)

    def flow(self, more: str) -> None:
        path = self.folder / "flows/nightly.yaml"
        path.write_text("\n".join(path.read_text().splitlines()[:6]) + f"\n{more}")

    def run(self) -> dict[str, Any]:
        told: dict[str, Any] = Runner(Workspace.open(self.folder), self.store).run("nightly", Options()).run
        assert told["state"] in ("succeeded", "partial"), told
        return told

    def told(self) -> dict[str, Any]:
        with self.store.read() as tx:
            return reconciliations.listed(tx)[0].told

    def breaks(self) -> list[Any]:
        with self.store.read() as tx:
            return sorted((one.key, one.kind, one.name, one.fields, one.natives) for one in breaks.listed(tx))


@pytest.fixture
def tables(make: Make, postgres: str) -> Iterator[Tables]:
    it = Tables(make({**FILES, "crosswalk.yaml": FILES["crosswalk.yaml"].replace("URL", postgres)}), postgres)
    yield it
    it.store.close()


def row(n: int, **changed: Any) -> tuple[Any, ...]:
    day = datetime.date(2026, 1, 5)
    return tuple(
        {"n": n, "name": f"B{n}", "total": f"{n}.50", "cur": "EUR", "due": day, "paid": True, **changed}.values()
    )


def test_only_what_is_not_alike_is_read(tables: Tables) -> None:
    tables.put("bills", [row(n) for n in range(1, 3001)])
    tables.put("invoices", [row(n, **({"total": "7"} if n == 5 else {})) for n in range(2, 3001)] + [row(9000)])
    run = tables.run()
    assert tables.told()["pushdown"] == {"rows": {"left": 3000, "right": 3000}}
    assert run["read"] == 4 and run["breaks"]["compared"] == 3001 and run["breaks"]["equal"] == 2998
    assert [(one[0], one[2]) for one in tables.breaks()] == [
        ("[1]", "missing_right"),
        ("[5]", "mismatch"),
        ("[9000]", "missing_left"),
    ]
    tables.put("invoices", [row(n) for n in range(1, 3001)])
    run = tables.run()
    assert run["breaks"]["closed"] == 3 and run["breaks"]["remaining"] == 0, "live breaks are looked at again"


def test_what_is_written_otherwise_and_means_the_same_is_no_break(tables: Tables) -> None:
    tables.put("bills", [row(1, name=" A "), row(2)])
    tables.put("invoices", [row(1, name="A"), row(2)])
    assert tables.run()["breaks"]["found"] == 0 and "rows" in tables.told()["pushdown"]


UNABLE = [
    ("totals: [{ count: true }]\n", "totals are of all records"),
    ("window: { field: due, last: 30d }\n", "a window is set"),
]


@pytest.mark.parametrize(("more", "why"), UNABLE)
def test_where_it_cannot_be_done_both_are_read_and_it_says_why(tables: Tables, more: str, why: str) -> None:
    tables.flow(more)
    tables.put("bills", [row(1), row(2)])
    tables.put("invoices", [row(1, name="x"), row(2)])
    assert tables.run()["read"] == 4 and tables.told()["pushdown"] == {"why": why}


def test_types_that_checksums_would_round_are_read(tables: Tables) -> None:
    tables.sql("ALTER TABLE invoices ALTER COLUMN amount TYPE numeric(12,4)")
    tables.put("bills", [row(1), row(2)])
    tables.put("invoices", [row(1, total="1.5001"), row(2)])
    tables.run()
    assert tables.told()["pushdown"] == {"why": "total and amount are of two types"}


def test_mappings_that_read_a_column_otherwise_are_read(tables: Tables) -> None:
    path = tables.folder / "mappings/erp/invoices.yaml"
    path.write_text(path.read_text().replace("transform: [trim]", "transform: [upper]"))
    tables.put("bills", [row(1, name="a")])
    tables.put("invoices", [row(1, name="a")])
    assert tables.run()["breaks"]["found"] == 1
    assert tables.told()["pushdown"] == {"why": "the mappings do not read name alike"}


ROWS = st.dictionaries(
    st.integers(-20, 20),
    st.tuples(st.none() | st.text("aB '\\é", max_size=3), st.none() | st.decimals(-999, 999, places=2).map(str),
              st.sampled_from(["EUR", "USD"]), st.none() | st.dates(datetime.date(2026, 1, 1), datetime.date(2026, 1, 4)),
              st.none() | st.booleans()),
    min_size=1, max_size=12,
)  # fmt: skip


@given(ROWS, st.data())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_databases_find_what_reading_finds(tables: Tables, found: dict[int, Any], data: Any) -> None:
    other = dict(found)
    for place in data.draw(st.lists(st.sampled_from(sorted(found)), max_size=4)):
        other[place] = data.draw(ROWS.map(lambda rows: next(iter(rows.values()))))
    for place in data.draw(st.lists(st.sampled_from(sorted(found)), max_size=len(found) - 1 or None)):
        if len(other) > 1:
            other.pop(place, None)
    tables.put("bills", [(n, *one) for n, one in found.items()])
    tables.put("invoices", [(n, *one) for n, one in other.items()])
    seen = []
    for how in ("auto", "never"):
        with tables.store.begin() as tx:
            tx.run("DELETE FROM breaks")
        tables.flow(f"pushdown: {how}\n")
        run = tables.run()["breaks"]
        seen.append((tables.breaks(), run["compared"], run["equal"]))
        told = tables.told()["pushdown"]
        assert "rows" in told if how == "auto" else told is None, told
    assert seen[0] == seen[1]
