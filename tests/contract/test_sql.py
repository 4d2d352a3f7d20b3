"""The promises of every connector, kept by `sql` on SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from connectors.sql import SqlConnector
from connectors.sql.settings import SqlConfig
from engine.sdk.config import ConnectionContext
from engine.sdk.connector import Operation, Read
from engine.sdk.errors import ConnectorError
from engine.sdk.testing import ConnectorContract

TABLE = "CREATE TABLE things (id varchar(40) PRIMARY KEY, name varchar(80), amount numeric(18,2), day date, note varchar(200), at timestamp NULL)"


def sql(url: str, **objects: object) -> SqlConnector:
    return SqlConnector(
        SqlConfig.model_validate({"connector": "sql", "url": url, "objects": objects}), ConnectionContext("dw")
    )


class SqlContract(ConnectorContract):
    def made(self, url: str) -> Iterator[SqlConnector]:
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text(TABLE))
        engine.dispose()
        connector = sql(url, things={"modified": "at"})
        yield connector
        connector.close()

    def test_a_value_that_would_not_come_back_is_refused_alone(self, connector: SqlConnector) -> None:
        good = Operation("a", "upsert", {"id": "1", "amount": Decimal("0.10")})
        bad = Operation("b", "upsert", {"id": "2", "amount": Decimal("90071992547409.93")})
        long = Operation("c", "upsert", {"id": "3", "name": "x" * 81})
        strange = Operation("d", "upsert", {"id": "4", "nme": "x"})
        states = [one.state for one in connector.write("things", [good, bad, long, strange])]
        exact = connector.engine.dialect.name != "sqlite"
        assert states == ["created", "created" if exact else "refused", "refused", "refused"]
        if exact:
            assert self.rows(connector)["2"]["amount"] == Decimal("90071992547409.93")

    def test_keyset_pages_over_equal_instants(self, connector: SqlConnector) -> None:
        rows = [{"id": f"{n:02d}", "at": "2026-01-01T00:00:00Z"} for n in range(12)]
        connector.write("things", [Operation(row["id"], "upsert", row) for row in rows])
        again = sql(connector.config.url, things={"modified": "at"})
        keys = [
            record.key
            for batch in again.read(Read("things", since="2026-01-01T00:00:00Z", page=5))
            for record in batch.records
        ]
        assert keys == [row["id"] for row in rows]
        again.close()


class TestSqlite(SqlContract):
    @pytest.fixture
    def connector(self, tmp_path: Path) -> Iterator[SqlConnector]:
        yield from self.made(f"sqlite:///{tmp_path}/t.db")


class TestPostgres(SqlContract):
    @pytest.fixture
    def connector(self, postgres: str) -> Iterator[SqlConnector]:
        yield from self.made(postgres)


class TestMariadb(SqlContract):
    @pytest.fixture
    def connector(self, mariadb: str) -> Iterator[SqlConnector]:
        yield from self.made(mariadb)


def test_a_password_never_reaches_a_message() -> None:
    connector = sql("postgresql+psycopg://nobody:SEKRET@127.0.0.1:1/none")
    (finding,) = connector.check()
    assert not finding.ok and "SEKRET" not in finding.what + finding.hint
    connector.close()


def test_a_missing_driver_and_a_wrong_url_say_what_to_do() -> None:
    for url, words in (("oracle://x/y", "driver"), ("not a url", "database URL")):
        with pytest.raises(ConnectorError, match=words):
            _ = sql(url).engine
