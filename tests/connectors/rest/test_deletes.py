"""Feeds of deleted records: none is missed between two windows, and a feed that forgot some says so."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.rest.connector import RestConnector
from connectors.sandbox import Sandbox
from connectors.sandbox.server import Reply, Request
from engine.run.runner import Runner
from engine.run.session import Options
from engine.sdk.connector import Connector, Read
from engine.sdk.errors import ConnectorError
from engine.spec.workspace import Workspace
from engine.state.store import Store

FLOW = {
    "schemas/person.yaml": """
        $schema: https://json-schema.org/draft/2020-12/schema
        type: object
        additionalProperties: false
        properties: { name: { type: string } }
    """,
    "mappings/salesforce/person.yaml": """
        mapping: salesforce/person
        object: Contact
        entity: person
        fields: { name: LastName }
    """,
    "mappings/dw/person.yaml": """
        mapping: dw/person
        object: people
        entity: person
        fields: { name: name }
        outbound: { id: { from: id } }
    """,
    "flows/people.yaml": """
        flow: people
        kind: sync
        entity: person
        source: { connection: salesforce, mapping: salesforce/person, deletes: tombstones, lag: 1m }
        targets: [{ connection: dw, mapping: dw/person, on_delete: delete }]
        guard: { deletes: 100% }
    """,
}


def tombstones(connector: Connector[Any], since: str | None, **more: Any) -> tuple[set[str], str | None]:
    batches = list(connector.read(Read("Contact", since=since, deletes=True, deleted_since=since, **more)))
    gone = {one.key for batch in batches for one in batch.records if one.deleted}
    return gone, max((batch.deleted_until for batch in batches if batch.deleted_until), default=None)


def minutes_ago(n: float) -> str:
    return (datetime.now(UTC) - timedelta(minutes=n)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def test_a_full_read_needs_no_feed_and_starts_the_next_window(sandbox: Sandbox, workspace: Workspace) -> None:
    asked: list[Request] = []
    sandbox.servers["salesforce"].faults = lambda request, handle: (asked.append(request), handle(request))[1]
    with workspace.connector("salesforce") as connector:
        gone, until = tombstones(connector, None)
    assert gone == set() and until is not None and minutes_ago(1) < until <= minutes_ago(0)
    assert not any("/deleted" in one.path for one in asked)


def test_the_window_ends_where_the_system_says_not_where_we_asked(sandbox: Sandbox, workspace: Workspace) -> None:
    early, late = sandbox.all("salesforce", "Contact")[:2]
    covered = minutes_ago(3)

    def faults(request: Request, handle: Any) -> Reply:
        reply = handle(request)
        if "/deleted" in request.path:
            known = [one for one in reply.body["deletedRecords"] if one["id"] == early["Id"]]
            return Reply(200, {**reply.body, "deletedRecords": known, "latestDateCovered": covered})
        return reply  # type: ignore[no-any-return]

    sandbox.delete("salesforce", "Contact", early["Id"])
    sandbox.delete("salesforce", "Contact", late["Id"])
    sandbox.servers["salesforce"].faults = faults
    with workspace.connector("salesforce") as connector:
        gone, until = tombstones(connector, minutes_ago(30), until=minutes_ago(-2))
        assert gone == {early["Id"]} and until == covered
        sandbox.servers["salesforce"].faults = None
        again, until = tombstones(connector, until, until=minutes_ago(-2))
        assert again == {early["Id"], late["Id"]}


@pytest.mark.parametrize("told_by", ["answer", "manifest"])
def test_a_feed_that_forgot_demands_a_full_read(sandbox: Sandbox, workspace: Workspace, told_by: str) -> None:
    asked: list[str] = []

    def faults(request: Request, handle: Any) -> Reply:
        reply = handle(request)
        asked.append(request.path)
        return (
            Reply(200, {**reply.body, "earliestDateAvailable": minutes_ago(60)})
            if "/deleted" in request.path
            else reply
        )

    sandbox.servers["salesforce"].faults = faults
    since = minutes_ago(120 if told_by == "answer" else 16 * 24 * 60)
    with workspace.connector("salesforce") as connector, pytest.raises(ConnectorError, match="C536") as caught:
        tombstones(connector, since)
    assert (
        caught.value.trouble == "cursor_lost" and not caught.value.transient and "--full" in caught.value.problem.hint
    )
    assert not any("/query" in path for path in asked)  # before anything is read


def test_a_window_shorter_than_the_feed_takes_is_widened(sandbox: Sandbox, workspace: Workspace) -> None:
    with workspace.connector("salesforce") as connector:
        assert tombstones(connector, minutes_ago(0.01))[1] is not None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """clock(n): the system's clock says that it is n minutes ago."""

    def set_back(minutes: float) -> None:
        monkeypatch.setattr(RestConnector, "now", lambda _: datetime.now(UTC) - timedelta(minutes=minutes))

    return set_back


@pytest.fixture
def flow(sandbox: Sandbox, workspace: Workspace, make: Any) -> Any:
    text = (workspace.folder / "crosswalk.yaml").read_text() + '\n  dw: { connector: sql, url: "sqlite:///dw.db" }\n'
    folder: Path = make({**FLOW, "crosswalk.yaml": text})
    with sqlite3.connect(folder / "dw.db") as db:
        db.execute("create table people (id text primary key, name text)")
    db.close()

    def once(**options: Any) -> Any:
        store = Store.open("sqlite:///.crosswalk/state.db", folder)
        try:
            return Runner(Workspace.open(folder), store).run("people", Options(**options)).run
        finally:
            store.close()

    return once


def test_a_delete_told_late_arrives_though_newer_records_moved_the_cursor(
    sandbox: Sandbox, flow: Any, clock: Any
) -> None:
    clock(60)
    covered = minutes_ago(60)
    assert flow()["state"] == "succeeded"
    victim, newer = sandbox.all("salesforce", "Contact")[:2]
    sandbox.clock.move(-30 * 60)
    clock(20)
    sandbox.delete("salesforce", "Contact", victim["Id"])
    sandbox.set("salesforce", "Contact", newer["Id"], {"LastName": "Newer"})

    def late(request: Request, handle: Any) -> Reply:
        reply = handle(request)
        if "/deleted" in request.path:
            return Reply(200, {**reply.body, "deletedRecords": [], "latestDateCovered": covered})
        return reply  # type: ignore[no-any-return]

    sandbox.servers["salesforce"].faults = late
    second = flow()
    assert (second["deleted"], second["updated"]) == (0, 1)
    sandbox.servers["salesforce"].faults = None
    clock(10)
    assert flow()["deleted"] == 1
    assert flow()["deleted"] == 0


def test_a_full_run_finds_what_the_feed_forgot(sandbox: Sandbox, flow: Any) -> None:
    assert flow()["state"] == "succeeded"
    victim = sandbox.all("salesforce", "Contact")[0]
    sandbox.delete("salesforce", "Contact", victim["Id"])

    def forgot(request: Request, handle: Any) -> Reply:
        reply = handle(request)
        if "/deleted" in request.path:
            return Reply(200, {**reply.body, "deletedRecords": [], "earliestDateAvailable": minutes_ago(-60)})
        return reply  # type: ignore[no-any-return]

    sandbox.servers["salesforce"].faults = forgot
    failed = flow()
    assert failed["state"] == "failed" and failed["error"]["code"] == "C536" and "--full" in failed["error"]["message"]
    healed = flow(full=True)
    assert (healed["state"], healed["deleted"]) == ("succeeded", 1)


def test_netsuite_tells_deletes_by_query(sandbox: Sandbox, workspace: Workspace) -> None:
    made = sandbox.add("netsuite", "customer", {"companyName": "Gone", "subsidiary": {"id": "1"}})
    other = sandbox.add("netsuite", "department", {"name": "Gone too"})
    sandbox.delete("netsuite", "customer", made)
    sandbox.delete("netsuite", "department", other)
    with workspace.connector("netsuite") as connector:
        assert connector.describe("customer").tombstones
        batches = list(
            connector.read(Read("customer", until=minutes_ago(-2), deletes=True, deleted_since=minutes_ago(5)))
        )
    gone = [one.key for batch in batches for one in batch.records if one.deleted]
    assert gone == [made]
