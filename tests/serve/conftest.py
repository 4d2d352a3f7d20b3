"""A served workspace on each database that may keep its state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Make
from tests.run.test_sync import FILES
from tests.serve.world import Served, taking_webhooks


@pytest.fixture
def served(make: Make) -> Iterator[Served]:
    with taking_webhooks():
        world = Served(make(FILES))
        yield world
        world.store.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def both(request: Any, make: Make) -> Iterator[Served]:
    """Of both databases."""
    url = "sqlite:///.crosswalk/state.db" if request.param == "sqlite" else request.getfixturevalue("postgres")
    with taking_webhooks():
        world = Served(make(FILES), url)
        yield world
        world.store.close()
