"""A workspace on the running fakes, and connectors made of a manifest's text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from connectors.rest.connector import RestConfig, RestConnector
from connectors.sandbox import Sandbox, start
from engine.sdk.config import ConnectionContext
from engine.sdk.manifest import Manifest
from engine.spec.workspace import Workspace
from tests.conftest import Make
from tests.contract.test_rest import SYSTEMS

Connect = Callable[..., RestConnector]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with start() as running:
        yield running


@pytest.fixture
def workspace(sandbox: Sandbox, make: Make, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    for name, value in {**sandbox.credentials("salesforce"), **sandbox.credentials("netsuite")}.items():
        monkeypatch.setenv(f"CROSSWALK_SECRET_{name.upper()}", value)
    monkeypatch.setenv("KANTATA_TOKEN", sandbox.credentials("kantata")["token"])
    monkeypatch.setenv("NS_TOKEN", sandbox.credentials("netsuite")["token"])
    monkeypatch.delenv("CROSSWALK_SECRET_TOKEN", raising=False)
    folder = make({"crosswalk.yaml": SYSTEMS.format(**{name: sandbox.url(name) for name in sandbox.servers})})
    return Workspace.open(folder)


@pytest.fixture
def connect() -> Iterator[Connect]:
    """connect(manifest text, **settings of the connection) gives an open connector."""
    opened: list[RestConnector] = []

    def open_one(manifest: str, **given: Any) -> RestConnector:
        model = Manifest.model_validate(yaml.safe_load(manifest))
        data = {"connector": model.connector, "retries": 1, "backoff": "1ms..2ms", "timeout": "5s", **given}
        config = RestConfig.model_validate(RestConfig.settings_of(data, model))
        opened.append(RestConnector(config, ConnectionContext(model.connector)))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()
