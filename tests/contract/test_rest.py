"""REST against the sandboxes: what each system's manifest promises, over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from connectors.sandbox import Sandbox, start
from engine.run.slices import slices
from engine.sdk.connector import Connector, Operation, Read
from engine.sdk.errors import ConnectorError
from engine.spec.sync import Partition
from engine.spec.workspace import Workspace
from tests.conftest import Make

SYSTEMS = """
    crosswalk: 1
    name: t
    connections:
      salesforce: {{ connector: salesforce, url: "{salesforce}", auth: {{ client_id: "${{secret:client_id}}", client_secret: "${{secret:client_secret}}" }} }}
      kantata: {{ connector: kantata, url: "{kantata}", auth: {{ token: "${{secret:kantata_token}}" }} }}
      netsuite: {{ connector: netsuite, url: "{netsuite}", account: SANDBOX_SB1, auth: {{ consumer_key: "${{secret:consumer_key}}", consumer_secret: "${{secret:consumer_secret}}", token: "${{secret:ns_token}}", token_secret: "${{secret:token_secret}}" }} }}
"""


@pytest.fixture(scope="module")
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


@pytest.fixture(params=["salesforce", "kantata", "netsuite"])
def case(request: Any, workspace: Workspace) -> Iterator[tuple[Connector[Any], str, dict[str, Any], str]]:
    objects = {
        "salesforce": ("Contact", {"LastName": "Été 'O' \\ 🌿"}, "LastName"),
        "kantata": ("workspace_groups", {"name": "Été & Söhne", "company": True}, "name"),
        "netsuite": ("customer", {"companyName": "Été & Söhne", "subsidiary": {"id": "1"}}, "companyName"),
    }
    name, record, field = objects[request.param]
    connector = workspace.connector(request.param)
    yield connector, name, record, field
    connector.close()


def test_a_record_is_made_found_changed_and_read_back(case: Any) -> None:
    connector, name, record, field = case
    kind = "upsert" if "upsert" in connector.describe(name).operations else "create"
    mark = f"mark{connector.name}{id(case)}"
    (made,) = connector.write(name, [Operation("a", kind, record, mark=mark)])
    assert made.state == "created" and made.key
    marker = connector.describe(name).marker
    (found,) = connector.find(name, [{marker: mark}], (field,))
    assert [one.key for one in found] == [made.key]
    if kind == "upsert":
        (again,) = connector.write(name, [Operation("b", kind, record, mark=mark)])
        assert again.key == made.key
    (changed,) = connector.write(name, [Operation("c", "update", record, key=made.key, changes={field: "Other"})])
    assert changed.state == "updated"
    assert connector.get(name, [made.key], (field,))[made.key].value[field] == "Other"
    assert all(finding.ok for finding in connector.check())


def test_a_refused_record_says_why_in_the_system_words(case: Any) -> None:
    connector, name, record, field = case
    (outcome,) = connector.write(name, [Operation("a", "create", {**record, field: None})])
    assert (
        outcome.state == "refused" and outcome.problem is not None and field in outcome.problem.message
    ) or "blank" in outcome.problem.message
    (gone,) = connector.write(name, [Operation("b", "update", record, key="999999", changes={field: "x"})])
    assert gone.state == "missing"


def test_every_page_is_read_in_order_and_windows_cut(case: Any) -> None:
    connector, name, _, _ = case
    records = [record for batch in connector.read(Read(name, page=200)) for record in batch.records]
    keys = [record.key for record in records]
    assert len(keys) == len(set(keys)) and keys
    stamps = sorted(record.modified for record in records)
    middle = stamps[len(stamps) // 2]
    later = {record.key for batch in connector.read(Read(name, since=middle)) for record in batch.records}
    assert later >= {record.key for record in records if record.modified >= middle}


def test_an_unknown_object_names_the_nearest(case: Any) -> None:
    connector, name, _, _ = case
    with pytest.raises(ConnectorError, match="C504") as caught:
        list(connector.read(Read(f"{name}s")))
    assert name in caught.value.problem.hint


def test_an_expired_token_is_renewed_once_for_all_threads(sandbox: Sandbox, workspace: Workspace) -> None:
    with workspace.connector("salesforce") as connector:
        assert list(connector.read(Read("User")))
        sandbox.expire_tokens("salesforce")
        assert list(connector.read(Read("User")))


def test_a_batch_has_an_outcome_for_each_record_in_order(workspace: Workspace) -> None:
    with workspace.connector("salesforce") as connector:
        names = ["a", "", "c", "x" * 90]
        operations = [
            Operation(f"o{n}", "upsert", {"LastName": name}, mark=f"batch{n}") for n, name in enumerate(names)
        ]
        outcomes = connector.write("Contact", operations)
    assert [one.state for one in outcomes] == ["created", "refused", "created", "refused"]
    assert [one.id for one in outcomes] == ["o0", "o1", "o2", "o3"]


def test_wrong_credentials_and_unreachable_hosts_say_so_without_secrets(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSWALK_SECRET_CLIENT_SECRET", "SEKRETWRONG")
    with workspace.connector("salesforce") as connector:
        (finding,) = connector.check()
    assert not finding.ok and "no token" in finding.what and "SEKRET" not in finding.what
    monkeypatch.delenv("CROSSWALK_SECRET_CLIENT_SECRET")
    with pytest.raises(ConnectorError, match="C501"):
        workspace.connector("salesforce")


def test_a_signature_that_is_wrong_is_refused(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSWALK_SECRET_TOKEN_SECRET", "other")
    with workspace.connector("netsuite") as connector:
        (finding,) = connector.check()
    assert not finding.ok and "401" in finding.what


@pytest.mark.parametrize(
    ("system", "name"),
    [("salesforce", "Opportunity"), ("kantata", "time_entries"), ("kantata", "expenses"), ("netsuite", "invoice")],
)
def test_slices_of_a_system_hold_everything_that_it_has(system: str, name: str, workspace: Workspace) -> None:
    given = Partition.model_validate({"by": "x", "every": "2 weeks", "from": "2026-09-01"})
    with workspace.connector(system) as connector:
        whole = {record.key for batch in connector.read(Read(name)) for record in batch.records}
        fields = connector.describe(name).slices
        assert whole and fields
        for field in fields:
            parts = [replace(part, field=field) for _, part in slices(given, date(2026, 12, 1))]
            found = [
                {record.key for batch in connector.read(Read(name, slice=part)) for record in batch.records}
                for part in parts
            ]
            assert set().union(*found) == whole, field
            assert sum(1 for keys in found if keys) > 1 or "reat" in field, "no slice of days is everything"
            assert sum(map(len, found)) <= len(whole) * 1.1, "slices hardly overlap"
