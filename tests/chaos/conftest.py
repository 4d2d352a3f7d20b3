"""What chaos tests share: the target's process, the process that runs are forked from, PostgreSQL databases that are copies."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from engine.state.store import Store
from tests.chaos.line import Forge, Line, Oracle, copy_sqlite, workspace
from tests.conftest import need

SERVER = "postgresql+psycopg://postgres@127.0.0.1"


@pytest.fixture(scope="session")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    running = Oracle(tmp_path_factory.mktemp("target"))
    yield running
    running.close()


@pytest.fixture(scope="session")
def forge() -> Iterator[Forge]:
    running = Forge()
    yield running
    running.close()


class Schemas:
    """A PostgreSQL database whose schemas are states; a copy costs some INSERTs."""

    def __init__(self) -> None:
        self.name = f"chaos_{uuid.uuid4().hex[:10]}"
        self._at("postgres", f"CREATE DATABASE {self.name}")
        self.free: list[str] = []
        self.made = 0
        Store.open(self.url("public"), Path()).close()
        self.tables = [
            row[0] for row in self._at(self.name, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        ]

    def _at(self, database: str, *statements: str) -> list[tuple[Any, ...]]:
        """Statements, each committed at once where a database is made or dropped; rows of the last."""
        level = "AUTOCOMMIT" if database == "postgres" else "READ COMMITTED"
        engine = create_engine(f"{SERVER}/{database}", isolation_level=level)  # type: ignore[arg-type]
        with engine.begin() as connection:
            for one in statements:
                result = connection.execute(text(one))
            found = [tuple(row) for row in result] if result.returns_rows else []
        engine.dispose()
        return found

    def url(self, schema: str) -> str:
        return f"{SERVER}/{self.name}?options=-csynchronous_commit%3Doff%20-csearch_path%3D{schema}"

    def take(self, of: str) -> str:
        """A schema with what another one holds."""
        if self.free:
            schema = self.free.pop()
            clean = [f"DELETE FROM {schema}.{table}" for table in self.tables]
        else:
            self.made += 1
            schema = f"s{self.made}"
            tables = [f"CREATE TABLE {schema}.{table} (LIKE public.{table} INCLUDING ALL)" for table in self.tables]
            clean = [f"CREATE SCHEMA {schema}", *tables]
        filled = [f"INSERT INTO {schema}.{table} SELECT * FROM {of}.{table}" for table in self.tables]
        self._at(self.name, *clean, *filled)
        return schema

    def close(self) -> None:
        self._at("postgres", f"DROP DATABASE {self.name} WITH (FORCE)")


@pytest.fixture(scope="session")
def schemas() -> Iterator[Schemas]:
    need("postgresql")
    made = Schemas()
    yield made
    made.close()


class States:
    """States on one kind of database: fresh ones, and copies of one as it is."""

    def __init__(self, folder: Path, schemas: Schemas | None = None) -> None:
        self.folder, self.schemas, self.count = folder, schemas, 0
        self.taken: list[str] = []

    def fresh(self, of: str | None = None) -> str:
        """The address of a new state, a copy where another one is named."""
        self.count += 1
        if self.schemas is None:
            path = self.folder / f"{self.count}.db"
            if of is not None:
                copy_sqlite(Path(of.removeprefix("sqlite:///")), path)
            return f"sqlite:///{path}"
        self.taken.append(self.schemas.take(of.rsplit("%3D", 1)[1] if of else "public"))
        return self.schemas.url(self.taken[-1])


@pytest.fixture(params=["sqlite", "postgresql"])
def states(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[States]:
    if request.param == "sqlite":
        yield States(tmp_path / "states")
        return
    schemas = request.getfixturevalue("schemas")
    made = States(tmp_path, schemas)
    yield made
    schemas.free += made.taken


NewLine = Callable[..., Line]


@pytest.fixture
def line(forge: Forge, oracle: Oracle, tmp_path: Path) -> NewLine:
    """line(kind, state): a line to a world of its own."""

    def make(kind: str, state: str | None = None, **how: object) -> Line:
        world = uuid.uuid4().hex[:10]
        folder = workspace(tmp_path / f"flow-{kind}", kind, **how)  # type: ignore[arg-type]
        state = state or f"sqlite:///{tmp_path}/{world}.db"
        return Line(forge, oracle, folder, kind, world, state, tmp_path / "data" / world)

    return make
