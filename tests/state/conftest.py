"""A state on each database that may keep one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.state.store import Store


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: Any, tmp_path: Path) -> Iterator[Store]:
    url = "sqlite:///state.db" if request.param == "sqlite" else request.getfixturevalue("postgres")
    opened = Store.open(url, tmp_path)
    yield opened
    opened.close()
