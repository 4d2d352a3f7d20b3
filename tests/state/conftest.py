"""A state on each database that may keep one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.state.store import Store


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: Any) -> str:
    return "sqlite:///state.db" if request.param == "sqlite" else str(request.getfixturevalue("postgres"))


@pytest.fixture
def store(address: str, tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(address, tmp_path)
    yield opened
    opened.close()
