"""What each built-in manifest must know of its system so that no record is missed or altered."""

from __future__ import annotations

from decimal import Decimal

import pytest

from connectors.sandbox import Sandbox
from engine.sdk.connector import Operation, Read
from engine.spec.workspace import Workspace


def worker(sandbox: Sandbox, *also: str) -> str:
    """An employee, with one record of each kind of transaction that is named."""
    fields = {"firstName": "Ada", "lastName": "Wong", "subsidiary": {"id": "1"}}
    id = sandbox.add("netsuite", "employee", fields)
    for name in also:
        sandbox.add("netsuite", name, {"entity": {"id": id}, "tranDate": "2026-11-10"})
    return id


@pytest.mark.parametrize("name", ["workspaces", "stories", "time_entries", "expenses"])
def test_rows_of_archived_projects_are_read(sandbox: Sandbox, workspace: Workspace, name: str) -> None:
    archived = next(row["id"] for row in sandbox.all("kantata", "workspaces") if row["archived"])
    rows = [row for row in sandbox.all("kantata", name) if not row.get("deleted_at")]
    assert any((row["id"] if name == "workspaces" else row["workspace_id"]) == archived for row in rows)
    with workspace.connector("kantata") as connector:
        read = {one.key for batch in connector.read(Read(name)) for one in batch.records}
        hidden = [row["id"] for row in rows if row.get("workspace_id", row["id"]) == archived]
        assert read == {row["id"] for row in rows}
        assert set(connector.get(name, hidden[:5])) == set(hidden[:5])


def test_an_invoice_is_a_transaction_of_its_type(sandbox: Sandbox, workspace: Workspace) -> None:
    assert not sandbox.fakes["netsuite"].tables.by_record  # as the real one: there is no table `invoice`
    worker(sandbox, "expenseReport")
    with workspace.connector("netsuite") as connector:
        for name in ("invoice", "expenseReport"):
            read = [one for batch in connector.read(Read(name)) for one in batch.records]
            assert {one.key for one in read} == {row["id"] for row in sandbox.all("netsuite", name)} and read
            middle = sorted(one.modified or "" for one in read)[len(read) // 2]
            later = {one.key for batch in connector.read(Read(name, since=middle)) for one in batch.records}
            assert later == {one.key for one in read if (one.modified or "") >= middle}
        first = next(iter(sandbox.all("netsuite", "invoice")))
        ((found,),) = connector.find("invoice", [{"tranId": first["tranId"]}])
        assert found.key == first["id"]
        with_id_of_another_type = sandbox.all("netsuite", "expenseReport")[0]["id"]
        assert connector.get("invoice", [with_id_of_another_type]) == {}


@pytest.mark.parametrize("shown", ["given", "clock"])
@pytest.mark.parametrize(
    ("hours", "wire"), [("7.5", "7:30"), ("0.3333", "0:20"), ("-1.25", "-1:15"), ("10", "10:00"), ("0.0167", "0:01")]
)
def test_hours_are_decimals_here_and_clock_text_there(
    sandbox: Sandbox, workspace: Workspace, shown: str, hours: str, wire: str
) -> None:
    sandbox.fakes["netsuite"].shown.durations = shown
    bill = {"employee": {"id": worker(sandbox)}, "tranDate": "2026-11-10", "hours": Decimal(hours)}
    with workspace.connector("netsuite") as connector:
        (made,) = connector.write("timeBill", [Operation("a", "upsert", bill, mark=f"h{wire.replace(':', '')}")])
        assert made.state == "created", made.problem
        assert sandbox.get("netsuite", "timeBill", made.key)["hours"] == wire
        back = connector.get("timeBill", [made.key])[made.key].value["hours"]
    assert isinstance(back, Decimal) and back == Decimal(hours)


def test_hours_that_clock_text_cannot_hold_are_refused_before_they_are_sent(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    before = len(sandbox.journal("netsuite"))
    with workspace.connector("netsuite") as connector:
        (refused,) = connector.write("timeBill", [Operation("a", "create", {"hours": Decimal("0.3350")})])
    assert refused.state == "refused" and refused.problem is not None and refused.problem.code == "C544"
    assert "0.3350" in refused.problem.message and "0:20" in refused.problem.message
    assert len(sandbox.journal("netsuite")) == before


def test_the_address_of_netsuite_follows_from_the_account(workspace: Workspace) -> None:
    cls, manifest = workspace.connector_kind("netsuite", None)
    assert manifest is not None
    given = {"connector": "netsuite", "account": "123456_SB1", "auth": {}}
    config = cls.config_model.model_validate(cls.config_model.settings_of(given, manifest.model))
    from engine.sdk.config import ConnectionContext

    with cls(config, ConnectionContext("erp")) as connector:
        assert connector.client.base == "https://123456-sb1.suitetalk.api.netsuite.com/services/rest"
