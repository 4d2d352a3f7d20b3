"""What is particular to a database, and what happens when one is away, locked, or says no."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import OperationalError

from connectors.sql import SqlConnector
from engine.sdk.connector import Operation
from engine.sdk.errors import ConnectorError
from tests.connectors.sql.test_tables import connect, execute, records, write


def states(outcomes: list[Any]) -> list[str]:
    return [one.state for one in outcomes]


# ---------------------------------------------------------------------- MariaDB
def test_mariadb_keys_that_differ_by_case_are_not_merged(mariadb: str) -> None:
    execute(mariadb, "CREATE TABLE t (id varchar(9) COLLATE utf8mb4_general_ci PRIMARY KEY, name varchar(9))")
    connector = connect(mariadb)
    outcomes = write(
        connector,
        *[Operation(f"o{n}", "upsert", {"id": id, "name": id}) for n, id in enumerate(["a", "A", "é", "E", "b"])],
    )
    assert states(outcomes) == ["created", "refused", "created", "refused", "created"]
    assert states(write(connector, Operation("x", "upsert", {"id": "B", "name": "B"}))) == ["refused"]
    assert {one.key: one.value["name"] for one in records(connector)} == {"a": "a", "é": "é", "b": "b"}
    assert connector.find("t", [{"name": "B"}, {"name": "b"}])[0] == []
    connector.close()


def test_mariadb_booleans_json_and_instants_come_back(mariadb: str) -> None:
    execute(
        mariadb,
        "CREATE TABLE t (id int PRIMARY KEY, b boolean, j json, ts timestamp NULL, d datetime, d3 datetime(3), t time)",
    )
    connector = connect(mariadb)
    row = {"id": 1, "b": True, "j": {"a": Decimal("90071992547409.93"), "b": [1.0 and Decimal("1.10")]}, "ts": "2026-07-01T12:00:00Z",
           "d": "2026-07-01T12:00:00Z", "d3": "2026-07-01T12:00:00.123000Z", "t": "09:30:00"}  # fmt: skip
    assert states(write(connector, Operation("a", "upsert", row))) == ["created"]
    assert records(connector)[0].value == row
    bad = [{"d": "2026-07-01T12:00:00.5Z"}, {"d3": "2026-07-01T12:00:00.1234Z"}, {"b": 2}]
    assert (
        states(write(connector, *[Operation(str(n), "update", {}, key="1", changes=one) for n, one in enumerate(bad)]))
        == ["refused"] * 3
    )
    connector.close()


# ---------------------------------------------------------------------- PostgreSQL
def test_postgres_values_come_back(postgres: str) -> None:
    execute(
        postgres,
        "CREATE TABLE t (id uuid PRIMARY KEY, j jsonb, n numeric, tz timestamptz, c char(5), a numeric[], y bytea, i interval)",
    )
    connector = connect(postgres)
    row = {"id": "0b7e5d3c-4d0f-4f7e-9a52-0c2f3b1d6a11", "j": {"a": Decimal("90071992547409.93"), "x": None}, "n": Decimal("1.10"),
           "tz": "2026-07-01T12:00:00.123456Z", "c": "ab"}  # fmt: skip
    assert states(write(connector, Operation("a", "upsert", row))) == ["created"]
    execute(postgres, "UPDATE t SET a = ARRAY[1.10, 2], i = '90 minutes'")
    (record,) = records(connector)
    assert {name: record.value[name] for name in row} == row
    assert record.value["a"] == [Decimal("1.10"), Decimal(2)] and record.value["i"] == "PT5400S"
    assert sorted(connector.get("t", [row["id"], "no uuid"])) == [row["id"]]
    execute(postgres, "UPDATE t SET n = 'NaN'")
    assert "no number" in str(records(connector)[0].problem)
    execute(postgres, "UPDATE t SET n = 1, y = '\\x00'")
    assert "bytes" in str(records(connector)[0].problem)
    assert states(write(connector, Operation("a", "update", {}, key=row["id"], changes={"c": "a "}))) == ["refused"]
    connector.close()


def test_a_schema_is_named_in_the_object_or_the_connection(postgres: str) -> None:
    execute(
        postgres,
        "CREATE SCHEMA IF NOT EXISTS crosswalk_other",
        "CREATE TABLE IF NOT EXISTS crosswalk_other.books (id int PRIMARY KEY)",
    )
    connector, inside = connect(postgres), connect(postgres, {"schema": "crosswalk_other"})
    try:
        assert connector.describe("crosswalk_other.books").key == ("id",) and inside.describe("books").key == ("id",)
        with pytest.raises(ConnectorError) as caught:
            connector.describe("crosswalk_other.boks")
        assert "'crosswalk_other.books'" in caught.value.problem.hint and inside.objects() == ["books"]
    finally:
        connector.close()
        inside.close()
        execute(postgres, "DROP SCHEMA crosswalk_other CASCADE")


def test_a_constraint_that_is_judged_at_the_end_refuses_only_its_row(postgres: str) -> None:
    execute(postgres, "CREATE TABLE p (id int PRIMARY KEY)", "INSERT INTO p VALUES (1)",
            "CREATE TABLE t (id int PRIMARY KEY, p int REFERENCES p DEFERRABLE INITIALLY DEFERRED)")  # fmt: skip
    connector = connect(postgres)
    outcomes = write(connector, *[Operation(str(n), "upsert", {"id": n, "p": 9 if n == 3 else 1}) for n in range(6)])
    assert states(outcomes) == ["created"] * 3 + ["refused"] + ["created"] * 2
    connector.close()


def test_a_row_that_another_holds_is_tried_again_later(postgres: str) -> None:
    execute(postgres, "CREATE TABLE t (id int PRIMARY KEY, n int)", "INSERT INTO t VALUES (1, 1)")
    connector = connect(postgres, {"timeout": "300ms"})
    engine = create_engine(postgres)
    with engine.connect() as other:
        other.execute(text("UPDATE t SET n = 2"))
        (outcome,) = write(connector, Operation("a", "update", {}, key="1", changes={"n": 3}))
        assert outcome.state == "retry" and outcome.problem.code == "C592"
        other.rollback()
    assert states(write(connector, Operation("a", "update", {}, key="1", changes={"n": 3}))) == ["updated"]
    engine.dispose()
    connector.close()


def test_a_connection_lost_in_the_middle_is_a_retry_and_at_the_commit_a_doubt(postgres: str) -> None:
    execute(postgres, "CREATE TABLE t (id int PRIMARY KEY, n int)")
    connector, engine = connect(postgres), create_engine(postgres)

    def killed(monkeyed: str) -> str:
        def kill(connection: Any) -> None:
            with engine.begin() as other:
                other.execute(
                    text("SELECT pg_terminate_backend(:pid)"),
                    {"pid": connection.connection.driver_connection.info.backend_pid},
                )

        event.listen(connector.engine, monkeyed, kill, once=True)
        return write(connector, Operation("a", "upsert", {"id": 1, "n": 1}))[0].state

    connector.describe("t")
    assert killed("begin") == "retry"
    assert killed("commit") == "in_doubt"
    assert states(write(connector, Operation("a", "upsert", {"id": 1, "n": 1}))) in (["created"], ["updated"])
    assert len(records(connector)) == 1
    engine.dispose()
    connector.close()


def test_two_writers_of_one_key_make_one_row(postgres: str) -> None:
    execute(postgres, "CREATE TABLE t (id int PRIMARY KEY, n int)")
    connector = connect(postgres)
    gate, seen = threading.Barrier(4), []

    def run(number: int) -> None:
        gate.wait()
        seen.extend(
            write(connector, *[Operation(f"{number}.{id}", "create", {"id": id, "n": number}) for id in range(20)])
        )

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert {one.state for one in seen} <= {"created", "matched", "retry", "refused"}
    created = [one.key for one in seen if one.state == "created"]
    assert len(created) == len(set(created)) == len(records(connector)) == 20
    assert not [one for one in seen if one.state == "refused"], "a create of what is there is matched"
    connector.close()


# ---------------------------------------------------------------------- SQLite
def test_a_locked_file_is_tried_again_later_and_a_missing_one_says_so(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    with pytest.raises(ConnectorError, match="no database") as caught:
        records(connect(f"sqlite:///{path}"))
    assert caught.value.transient and not path.exists()
    with closing(sqlite3.connect(path, isolation_level=None)) as base:
        base.execute("CREATE TABLE t (id int PRIMARY KEY, n int)")
        connector = connect(f"sqlite:///{path}", {"timeout": "50ms"})
        assert records(connector) == []
        base.execute("BEGIN EXCLUSIVE")
        (outcome,) = write(connector, Operation("a", "upsert", {"id": 1}))
        assert outcome.state == "retry" and "locked" in outcome.problem.message
        base.execute("ROLLBACK")
        assert states(write(connector, Operation("a", "upsert", {"id": 1}))) == ["created"]
        connector.close()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "t.db").write_text("not a database, but long enough to be taken for one" * 50)
    connector = connect(f"sqlite:///{tmp_path}/t.db")
    (finding,) = connector.check()
    assert not finding.ok
    connector.close()


def test_what_a_column_holds_against_its_type_is_given_as_it_is(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "t.db")) as base, base:
        base.execute("CREATE TABLE t (id text PRIMARY KEY, n numeric, d date, j json, b boolean)")
        base.execute(
            "INSERT INTO t VALUES ('1', 'n/a', '1/2/2026', '{broken', 7), ('2', 1.5, '2026-01-02', '{\"a\": 1.10}', 1), (NULL, 1, 1, 1, 1)"
        )
    connector = connect(f"sqlite:///{tmp_path}/t.db")
    one, two, three = sorted(records(connector), key=lambda record: record.key)
    assert one.value == {"id": "1", "n": "n/a", "d": "1/2/2026", "j": "{broken", "b": 7}
    assert two.value == {"id": "2", "n": Decimal("1.5"), "d": "2026-01-02", "j": {"a": Decimal("1.10")}, "b": True}
    assert "no 'id'" in str(three.problem)
    connector.close()


# ---------------------------------------------------------------------- away
@pytest.mark.parametrize(("url", "trouble"), [
    ("postgresql://nobody:SEKRET@127.0.0.1:1/none", "unreachable"), ("mariadb://nobody:SEKRET@127.0.0.1:1/none", "unreachable"),
])  # fmt: skip
def test_a_server_that_is_away(url: str, trouble: str) -> None:
    connector = connect(url, {"timeout": "2s"})
    for call in (
        lambda: records(connector),
        lambda: write(connector, Operation("a", "upsert", {"id": 1})),
        lambda: connector.describe("t"),
    ):
        with pytest.raises(ConnectorError) as caught:
            call()
        assert caught.value.trouble == trouble and caught.value.transient
        assert "SEKRET" not in str(caught.value) and "SEKRET" not in repr(connector.config)
    connector.close()


def test_wrong_users_and_databases_are_not_tried_again(postgres: str, mariadb: str) -> None:
    for url, trouble in (
        (postgres.replace("postgres@", "no_such_role@"), "auth"), (postgres.replace("/test?", "/no_such_base?"), "config"),
        (mariadb.replace("root@", "nobody:SEKRET@"), "auth"), (mariadb.rsplit("/", 1)[0] + "/no_such_base", "config"),
    ):  # fmt: skip
        connector: SqlConnector = connect(url)
        with pytest.raises(ConnectorError) as caught:
            records(connector)
        assert (caught.value.trouble, caught.value.transient) == (trouble, False), str(caught.value)
        assert "SEKRET" not in str(caught.value)
        connector.close()


def test_what_was_written_before_the_database_went_away_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    with closing(sqlite3.connect(path)) as base:
        base.execute("CREATE TABLE t (id int PRIMARY KEY, n int CHECK (n < 5))")
    connector = connect(f"sqlite:///{path}")
    connector.describe("t")
    opened = [0]

    def lost(connection: Any) -> None:
        opened[0] += 1
        if opened[0] > 2:
            raise OperationalError("connect", {}, Exception("connection refused"))

    event.listen(connector.engine, "engine_connect", lost)
    rows = [Operation(str(n), "create", {"id": n, "n": 9 if n == 3 else 1}) for n in range(4)]
    outcomes = write(connector, *rows)
    event.remove(connector.engine, "engine_connect", lost)
    assert states(outcomes) == ["created", "created", "retry", "retry"]
    assert outcomes[2].trouble is not None and len(records(connector)) == 2
    connector.close()
