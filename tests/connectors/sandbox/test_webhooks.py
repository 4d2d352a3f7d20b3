"""The fakes' webhooks: verified by the manifests as the real ones are, some twice, some late, none lost."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from connectors.sandbox import Sandbox, start
from connectors.sandbox.webhooks import Sender
from engine.sdk.webhook import WebhookEvent, WebhookRequest
from engine.spec.workspace import Workspace
from tests.conftest import Make

ORGANIZATION = "00D000000000001AAA"
SYSTEMS = """
    crosswalk: 1
    name: t
    connections:
      salesforce: {{ connector: salesforce, url: "{salesforce}", hosts: [127.0.0.1], organization: {organization}, auth: {{ kind: bearer, token: "${{env:T:-x}}" }} }}
      netsuite: {{ connector: netsuite, account: "123456", url: "{netsuite}", hosts: [127.0.0.1], webhook_secret: "${{env:T:-s3cr3t}}",
                  auth: {{ kind: oauth1_tba, consumer_key: a, consumer_secret: "${{env:T:-x}}", token: "${{env:T:-x}}", token_secret: "${{env:T:-x}}" }} }}
"""  # fmt: skip
SECRETS = {"salesforce": ORGANIZATION, "netsuite": "s3cr3t"}
OBJECTS = {"salesforce": "Account", "netsuite": "account"}
FIELDS = {"salesforce": "Name", "netsuite": "acctName"}


class Receiver:
    """A connection's verification as an address; `down` calls are not taken."""

    def __init__(self, workspace: Workspace, system: str) -> None:
        self.connector, self.down = workspace.connector(system), 0
        self.events: list[WebhookEvent] = []

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        if self.down:
            self.down -= 1
            return 503
        given = {name.lower(): value for name, value in headers.items()}
        answer = self.connector.webhook(WebhookRequest("POST", "/hooks/x", given, body, datetime.now(UTC)))
        self.events += answer.events
        return answer.status if answer.state == "accepted" else 401


@pytest.fixture(params=["salesforce", "netsuite"])
def world(request: Any, make: Make) -> Any:
    system = request.param
    with start(systems=[system]) as sandbox:
        urls = {name: sandbox.url(system) for name in ("salesforce", "netsuite")}
        folder = make({"crosswalk.yaml": SYSTEMS.format(organization=ORGANIZATION, **urls)})
        receiver = Receiver(Workspace.open(folder), system)
        yield sandbox, system, receiver
        receiver.connector.close()


def edit(sandbox: Sandbox, system: str, count: int) -> list[str]:
    """Change so many records as a user would; their ids."""
    name = OBJECTS[system]
    ids = sandbox.store.ids(system, name)[:count]
    for id in ids:
        sandbox.set(system, name, id, {FIELDS[system]: f"New {id} {count}"})
    return ids


def test_every_change_is_told_once_and_verified(world: Any) -> None:
    sandbox, system, receiver = world
    sender = Sender(sandbox, system, [OBJECTS[system]], "http://hooks", SECRETS[system])
    ids = edit(sandbox, system, 4)
    assert len(ids) == 4
    assert sender.send(receiver.post) == 4
    assert [(one.object, one.key, one.deleted) for one in receiver.events] == [
        (OBJECTS[system], id, False) for id in ids
    ]
    assert sender.send(receiver.post) == 0
    assert Sender(sandbox, system, [OBJECTS[system]], "http://hooks", "another").send(receiver.post) == 0
    other = Sender(sandbox, system, [OBJECTS[system]], "http://hooks", "00D000000000002AAA")
    edit(sandbox, system, 1)
    assert other.send(receiver.post) == 0, "wrongly signed"


def test_some_are_told_twice_and_out_of_order_under_their_ids_and_none_is_lost(world: Any) -> None:
    sandbox, system, receiver = world
    sender = Sender(
        sandbox, system, [OBJECTS[system]], "http://hooks", SECRETS[system], twice=0.5, shuffled=True, seed=3
    )
    ids = edit(sandbox, system, 6)
    receiver.down = 2
    sender.send(receiver.post)
    sender.send(receiver.post)
    told = [str(one.id) for one in receiver.events]
    assert {one.key for one in receiver.events} == set(ids)
    assert len(told) > len(set(told)) == 6
    assert list(dict.fromkeys(told)) != sorted(set(told)), "one has overtaken another"
