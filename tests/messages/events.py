"""Cases of events: what carries them, and what is none."""

from __future__ import annotations

import builtins
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

from connectors.queue.http import CloudEventsConfig, CloudEventsConnector
from connectors.queue.nats import NatsConfig, NatsConnector
from connectors.rest.webhooks import answer
from engine.sdk.cloudevents import MAX_BODY, CloudEvent, parse
from engine.sdk.config import ConnectionContext
from engine.sdk.errors import ConnectorError, Problem
from engine.sdk.manifest_webhooks import Webhooks
from engine.sdk.webhook import WebhookRequest
from tests.messages.case import Place, case, server

EVENT = CloudEvent("e1", "/crosswalk/t", "person.created.v1")


def caught(call: Any, *given: Any) -> Problem:
    """The problem of a call that is refused."""
    try:
        call(*given)
    except ConnectorError as error:
        return error.problem
    return Problem("none", "it was not refused")


@case("C551")
def no_event(place: Place) -> Problem:
    return caught(parse, {"content-type": "application/json"}, b"{}")


@case("C552")
def too_large(place: Place) -> Problem:
    return caught(parse, {}, b" " * (MAX_BODY + 1))


@case("C553")
def no_carrier(place: Place) -> Problem:
    (place.folder / "data").mkdir()
    workspace = place.workspace(
        {"crosswalk.yaml": "crosswalk: 1\nname: t\nconnections: { drop: { connector: files, path: data } }\n"}
    )
    with workspace.connector("drop") as connector:
        return caught(connector.publish, "", [EVENT])


def nats(place: Place) -> NatsConnector:
    config = NatsConfig.model_validate({"connector": "nats", "url": "nats://127.0.0.1:9", "timeout": "1s"})
    return NatsConnector(config, ConnectionContext("bus", place.folder))


@case("C554")
def no_driver(place: Place) -> Problem:
    real = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name == "nats" or name.startswith("nats."):
            raise ImportError(name)
        return real(name, *rest)

    with patch.object(builtins, "__import__", absent), nats(place) as connector:
        return caught(connector.publish, "", [EVENT])


@case("C555")
def no_broker(place: Place) -> Problem:
    with nats(place) as connector:
        return caught(connector.publish, "", [EVENT])


@case("C556")
def refused(place: Place) -> Problem:
    with server(lambda method, path, body: (410, {}, b"")) as url:
        config = CloudEventsConfig.model_validate({"connector": "cloudevents", "url": url, "hosts": ["127.0.0.1"]})
        with CloudEventsConnector(config, ConnectionContext("bus", place.folder)) as connector:
            (outcome,) = connector.publish("", [EVENT])
            assert outcome.problem is not None
            return outcome.problem


def hook(verify: dict[str, Any], body: bytes, **headers: str) -> Problem:
    """The problem of a webhook that is not taken."""
    spec = Webhooks.model_validate({"verify": verify, "unsigned": "allow"})
    call = WebhookRequest("POST", "/hooks/psa", headers, body, datetime(2026, 1, 1, tzinfo=UTC))
    found = answer("psa", spec, {"secret": "s3cr3t"}, call).problem
    assert found is not None
    return found


@case("C557")
def forged(place: Place) -> Problem:
    return hook({"kind": "hmac_sha256", "header": "sign", "secret": "secret"}, b"{}", sign="0" * 64)


@case("C558")
def unreadable(place: Place) -> Problem:
    return hook({"kind": "none"}, b'{"id": 1, "id": 2}')
