"""Tables as they come: composite, generated and missing keys, queries, old notations, and windows over equal instants."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from connectors.sql import SqlConnector
from connectors.sql.settings import SqlConfig
from engine.sdk.config import ConnectionContext
from engine.sdk.connector import Operation, Read
from engine.sdk.errors import ConnectorError
from engine.sdk.record import Record

Open = Callable[..., SqlConnector]


def connect(url: str, extra: dict[str, Any] | None = None, **objects: Any) -> SqlConnector:
    given = {"connector": "sql", "url": url, "objects": objects, **(extra or {})}
    return SqlConnector(SqlConfig.model_validate(given), ConnectionContext("dw"))


def execute(url: str, *statements: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for one in statements:
            connection.execute(text(one))
    engine.dispose()


def records(connector: SqlConnector, name: str = "t", **request: Any) -> list[Record]:
    return [record for batch in connector.read(Read(name, **request)) for record in batch.records]


def write(connector: SqlConnector, *operations: Operation, name: str = "t") -> list[Any]:
    return connector.write(name, list(operations))


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def url(request: Any, tmp_path: Path) -> str:
    if request.param == "sqlite":
        sqlite3.connect(tmp_path / "t.db").close()
        return f"sqlite:///{tmp_path}/t.db"
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def opened(url: str) -> Iterator[Open]:
    made: list[SqlConnector] = []

    def make(*statements: str, **options: Any) -> SqlConnector:
        execute(url, *statements)
        made.append(connect(url, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_composite_keys(opened: Open) -> None:
    connector = opened("CREATE TABLE t (region varchar(9), n int, name varchar(9), PRIMARY KEY (region, n))")
    operations = [
        Operation(f"o{n}", "upsert", {"region": "EU" if n % 2 else "US", "n": n, "name": "x"}) for n in range(7)
    ]
    assert [one.key for one in write(connector, *operations)][:2] == ['["US","0"]', '["EU","1"]']
    assert [one.key for one in records(connector, page=2)] == [f'["EU","{n}"]' for n in (1, 3, 5)] + [
        f'["US","{n}"]' for n in (0, 2, 4, 6)
    ]
    assert [
        one.value["n"] for one in records(connector, keys=('["EU","3"]', '["EU","4"]', "EU", "[1]", '["EU","x"]'))
    ] == [3]
    (outcome,) = write(connector, Operation("u", "update", {}, key='["EU","3"]', changes={"name": "new"}))
    assert outcome.state == "updated" and connector.get("t", ['["EU","3"]'])['["EU","3"]'].value["name"] == "new"


def test_a_key_that_the_table_gives_is_told(url: str, opened: Open) -> None:
    kind = {
        "sqlite": "INTEGER PRIMARY KEY",
        "postgresql": "serial PRIMARY KEY",
        "mysql": "int AUTO_INCREMENT PRIMARY KEY",
    }
    connector = opened(f"CREATE TABLE t (id {kind[url.split('+')[0].split(':')[0]]}, name varchar(9) NOT NULL)")
    first, second = write(connector, Operation("a", "create", {"name": "a"}), Operation("b", "append", {"name": "b"}))
    assert (first.state, first.key, second.state, second.key) == ("created", "1", "created", "2")
    (outcome,) = write(connector, Operation("c", "upsert", {"name": "c"}))
    assert outcome.state == "refused" and "id" in outcome.problem.message
    assert sorted(connector.get("t", ["1", "2", "x", "²", "9" * 30])) == ["1", "2"]


def test_a_refused_row_names_its_column_and_leaves_the_others(opened: Open) -> None:
    connector = opened(
        "CREATE TABLE t (id varchar(9) PRIMARY KEY, email varchar(40) UNIQUE, name varchar(9) NOT NULL, age int CHECK (age < 150))"
    )
    rows = [{"email": f"{n}@x", "name": "x", "age": n} for n in range(8)]
    rows[2]["email"], rows[4]["name"], rows[6]["age"] = "0@x", None, 151
    outcomes = write(connector, *[Operation(f"o{n}", "upsert", {"id": f"k{n}", **row}) for n, row in enumerate(rows)])
    assert [one.state for one in outcomes] == [
        "created",
        "created",
        "refused",
        "created",
        "refused",
        "created",
        "refused",
        "created",
    ]
    assert "email" in outcomes[2].problem.message and "name" in outcomes[4].problem.message
    assert {one.problem.code for one in outcomes if one.problem} == {"C598"}
    assert sorted(one.key for one in records(connector)) == ["k0", "k1", "k3", "k5", "k7"]
    assert connector.get("t", ["k0"])["k0"].value["email"] == "0@x", "an upsert must never write over another record"


def test_an_upsert_of_some_columns_changes_a_row_that_needs_more(opened: Open) -> None:
    connector = opened("CREATE TABLE t (id varchar(9) PRIMARY KEY, name varchar(9) NOT NULL, note varchar(9))")
    write(connector, Operation("a", "upsert", {"id": "1", "name": "x"}))
    (outcome,) = write(connector, Operation("b", "upsert", {"id": "1", "note": "y"}))
    assert outcome.state == "updated" and records(connector)[0].value == {"id": "1", "name": "x", "note": "y"}


def test_a_table_without_unique_key_takes_no_upsert(opened: Open) -> None:
    connector = opened("CREATE TABLE t (code varchar(9), n int)", t={"key": "code"})
    info = connector.describe("t")
    assert (info.write_class, "upsert" in info.operations) == ("C", False)
    assert any(not one.ok and "unique" in one.what for one in connector.check())
    assert write(connector, Operation("a", "create", {"code": "x", "n": 1}))[0].state == "created"
    execute(connector.config.url, "INSERT INTO t VALUES ('x', 2), (NULL, 3)")
    found = records(connector, page=1)
    assert sorted((one.key, bool(one.problem)) for one in found if not one.problem) == [("x", False), ("x", False)]
    assert [one.problem for one in found if one.problem] == ["has no 'code', which is its key"]


def test_a_table_without_key_and_unknown_columns_say_so(opened: Open) -> None:
    connector = opened(
        "CREATE TABLE t (code varchar(9), n int)", u={"table": "t", "key": "cod"}, v={"table": "t", "key": "code"}
    )
    for name, code, hint in (("t", "C594", "key"), ("u", "C595", "'code'"), ("tt", "C504", "'t'")):
        with pytest.raises(ConnectorError, match=code) as caught:
            connector.describe(name)
        assert hint in caught.value.problem.hint
    with pytest.raises(ConnectorError, match="C595"):
        records(connector, "v", query={"nn": 1})
    with pytest.raises(ConnectorError, match="C595"):
        connector.find("v", [{"cod; DROP TABLE t": 1}])
    assert connector.find("v", [{"n": "no number"}]) == [[]]


def test_a_query_is_an_object_that_can_be_read(opened: Open) -> None:
    query = "SELECT id AS k, at, '10:30 :x 5%' AS label FROM t WHERE n > 1;"
    connector = opened(
        "CREATE TABLE t (id varchar(9) PRIMARY KEY, n int, at timestamp NULL)",
        "INSERT INTO t VALUES ('a', 1, '2026-01-01 00:00:00'), ('b', 2, '2026-01-02 00:00:00'), ('c', 3, '2026-01-03 00:00:00')",
        q={"query": query, "key": "k", "modified": "at"},
    )
    assert [one.value["label"] for one in records(connector, "q")] == ["10:30 :x 5%"] * 2
    assert [one.key for one in records(connector, "q", since="2026-01-03T00:00:00Z")] == ["c"]
    assert [one.key for one in records(connector, "q", keys=("a", "b"))] == ["b"]
    assert connector.describe("q").operations == {"read", "find"}
    (outcome,) = write(connector, Operation("a", "upsert", {"k": "x"}), name="q")
    assert outcome.state == "refused" and "query" in outcome.problem.message


def test_rows_without_modified_are_in_every_window(opened: Open) -> None:
    connector = opened(
        "CREATE TABLE t (id varchar(9) PRIMARY KEY, v int)",
        "INSERT INTO t VALUES ('a', 9), ('b', NULL), ('c', 10), ('d', 11)", t={"modified": "v"},
    )  # fmt: skip
    found = records(connector, since="00000000000000000010", until="00000000000000000011")
    assert [(one.key, one.modified) for one in found] == [("b", None), ("c", "00000000000000000010")]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=30), st.integers(1, 7), st.integers(0, 4), st.integers(0, 4))
def test_equal_instants_over_pages_lose_and_double_nothing(
    tmp_path_factory: Any, seconds: list[int], page: int, low: int, high: int
) -> None:
    from connectors.sql import reading

    path = tmp_path_factory.mktemp("w") / "t.db"
    with closing(sqlite3.connect(path)) as base, base:
        base.execute("CREATE TABLE t (id integer PRIMARY KEY, v integer)")
        base.executemany("INSERT INTO t VALUES (?, ?)", enumerate(seconds))
    connector, rows = connect(f"sqlite:///{path}", t={"modified": "v"}), reading.ROWS
    reading.ROWS = 1
    try:
        found = [int(one.key) for one in records(connector, page=page, since=str(low), until=str(high))]
    finally:
        reading.ROWS = rows
        connector.close()
    assert found == sorted((n for n, v in enumerate(seconds) if low <= v < high), key=lambda n: (seconds[n], n))


@pytest.mark.parametrize(
    "notation", ["2026-01-01 {}", "2026-01-01T{}", "2026-01-01T{}Z", "2026-01-01T{}+00:00", "2026-01-01 {}.000000"]
)
def test_instants_of_any_notation_keep_their_window(tmp_path: Path, notation: str) -> None:
    path = tmp_path / "t.db"
    with closing(sqlite3.connect(path)) as base, base:
        base.execute("CREATE TABLE t (id text PRIMARY KEY, at timestamp)")
        times = ["09:00:00", "10:00:00", "11:00:00"]
        base.executemany("INSERT INTO t VALUES (?, ?)", [(one, notation.format(one)) for one in times])
        base.execute("INSERT INTO t VALUES ('odd', '01/02/2026')")
    connector = connect(f"sqlite:///{path}", t={"modified": "at"})
    found = {
        one.key: one.value["at"]
        for one in records(connector, since="2026-01-01T10:00:00Z", until="2026-01-01T11:00:00Z")
    }
    assert found == {"10:00:00": "2026-01-01T10:00:00Z", "odd": "01/02/2026"}
    connector.close()


def test_local_times_become_instants_and_the_hour_that_comes_twice_is_always_read(opened: Open) -> None:
    connector = opened(
        "CREATE TABLE t (id varchar(9) PRIMARY KEY, at timestamp NULL)" if "mysql" not in str(opened) else "",
        t={"modified": "at"}, extra={"timezone": "Europe/London"},
    )  # fmt: skip
    if connector.engine.dialect.name == "mysql":
        execute(connector.config.url, "ALTER TABLE t MODIFY at datetime")
    write(
        connector,
        Operation("a", "upsert", {"id": "a", "at": "2026-07-01T12:00:00Z"}),
        Operation("b", "upsert", {"id": "b", "at": "2026-10-25T00:30:00Z"}),
    )
    execute(connector.config.url, "INSERT INTO t VALUES ('c', '2026-07-01 14:00:00')")
    found = {one.key: (one.value["at"], one.modified) for one in records(connector)}
    assert found["a"][0] == "2026-07-01T12:00:00Z" and found["c"][0] == "2026-07-01T13:00:00Z" and found["b"][1] is None
    assert sorted(one.key for one in records(connector, since="2026-07-01T13:00:00Z")) == ["b", "c"]


def test_types_and_lengths_are_described(opened: Open) -> None:
    connector = opened("CREATE TABLE t (id varchar(9) PRIMARY KEY, n numeric(9,2), i int NOT NULL, d date, f double precision, b boolean)",
                       "CREATE VIEW w AS SELECT * FROM t")  # fmt: skip
    info = connector.describe("t")
    types = {field.name: field.type for field in info.fields}
    assert types == {"id": "string", "n": "decimal", "i": "integer", "d": "date", "f": "decimal", "b": "boolean"}
    assert info.field("id").max_length == 9 and info.field("i").required and not info.field("n").required  # type: ignore[union-attr]
    assert "floating" in info.field("f").label  # type: ignore[union-attr]
    assert {"t", "w"} <= set(connector.objects())
    write(connector, Operation("a", "upsert", {"id": "1", "i": 1, "b": True, "f": Decimal("1.5")}))
    value = records(connector)[0].value
    assert value["b"] is True and value["f"] == Decimal("1.5") and value["f"].__class__ is Decimal
    refused = [
        {"i": Decimal("1.5")},
        {"i": 2**70},
        {"f": Decimal("0.1234567890123456789")},
        {"d": "2026-02-30"},
        {"b": "yes"},
        {"n": "x"},
        {"n": Decimal("NaN")},
    ]
    outcomes = write(
        connector, *[Operation(str(n), "update", {}, key="1", changes=one) for n, one in enumerate(refused)]
    )
    assert [one.state for one in outcomes] == ["refused"] * len(refused)


def test_marks_are_written(opened: Open) -> None:
    connector = opened("CREATE TABLE t (id varchar(9) PRIMARY KEY, mark varchar(40))", t={"marker": "mark"})
    write(connector, Operation("a", "create", {"id": "1"}, mark="m1"))
    (found,) = connector.find("t", [{"mark": "m1"}])
    assert [one.key for one in found] == ["1"] and connector.describe("t").marker == "mark"


def test_a_read_that_cannot_go_on_raises_and_never_just_ends(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.sql.reading.ROWS", 2)
    connector = opened("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1), (2), (3), (4), (5)")
    batches = connector.read(Read("t", page=2))
    assert len(next(batches).records) == 2
    execute(connector.config.url, "DROP TABLE t")
    with pytest.raises(ConnectorError, match="C593"):
        list(batches)
