"""Fixtures that every room's tests share: real servers on loopback, and workspaces made of YAML text."""

from __future__ import annotations

import gc
import os
import socket
import textwrap
import uuid
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from xdist.scheduler.loadscope import LoadScopeScheduling

from engine.state.store import Store

PORTS = {"postgresql": 5432, "mariadb": 3306, "nats": 4222, "rabbitmq": 5672}
Make = Callable[..., Path]


def reachable(name: str) -> bool:
    """Whether a server listens on its usual port of this machine."""
    try:
        with socket.create_connection(("127.0.0.1", PORTS[name]), timeout=1):
            return True
    except OSError:
        return False


def need(name: str) -> None:
    """Skip where a server does not run; fail instead where it must."""
    if not reachable(name):
        if os.environ.get("CROSSWALK_REQUIRE_SERVICES") == "1":
            pytest.fail(f"{name} must run on 127.0.0.1:{PORTS[name]}")
        pytest.skip(f"{name} does not run on 127.0.0.1:{PORTS[name]}")


@pytest.fixture
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL schema of the test's own."""
    need("postgresql")
    name = f"t{uuid.uuid4().hex[:12]}"
    base = "postgresql+psycopg://postgres@127.0.0.1/test"
    engine = create_engine(base)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {name}"))
    yield f"{base}?options=-csearch_path%3D{name}%20-csynchronous_commit%3Doff"  # its server is never the one that dies
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {name} CASCADE"))
    engine.dispose()


@pytest.fixture
def mariadb() -> Iterator[str]:
    """The URL of a MariaDB database of the test's own."""
    need("mariadb")
    name = f"t{uuid.uuid4().hex[:12]}"
    engine = create_engine("mysql+pymysql://root@127.0.0.1/test")
    with engine.begin() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield f"mysql+pymysql://root@127.0.0.1/{name}"
    with engine.begin() as connection:
        connection.execute(text(f"DROP DATABASE {name}"))
    engine.dispose()


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes files below a fresh folder: make({"flows/a.yaml": "…"}); gives the folder."""

    def write(files: dict[str, str]) -> Path:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(content).lstrip("\n"), "utf-8")
        return tmp_path

    return write


@pytest.fixture(autouse=True, scope="session")
def quick_runs() -> Iterator[None]:
    """A run looks for garbage before it begins. Among all that a process of tests holds, that takes longer than a small run."""
    from engine.run import runner

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "_quiet_collector", nullcontext)
        yield


LONG = ("chaos", "cli", "journeys", "library", "messages", "state")
"""Folders whose tests take long: they begin first, so that no process works on alone at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.parent.name not in LONG)


class ByFile(LoadScopeScheduling):
    """The tests of a file go to one process, so that what they share is made once; tests of chaos go wherever there is room."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return nodeid if file.startswith("tests/chaos/") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


def pytest_collection_finish() -> None:
    """All that collecting the tests has made stays to the end: the collector of garbage need not walk it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes more than there are cores: a good part of the tests' time is waiting."""
    return (os.cpu_count() or 1) + 2


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest) -> str:
    """The URL of a state, on each database that may keep one."""
    return "sqlite:///state.db" if request.param == "sqlite" else str(request.getfixturevalue("postgres"))


@pytest.fixture
def store(address: str, tmp_path: Path) -> Iterator[Store]:
    """A state on each of them."""
    opened = Store.open(address, tmp_path)
    yield opened
    opened.close()
