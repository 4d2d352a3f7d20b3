"""Jobs and batches: every operation gets the outcome of its own row, whatever the order, and none is sent twice or lost."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from connectors.rest.media import csv_body, csv_of
from connectors.sandbox import Sandbox
from connectors.sandbox.server import Reply, Request
from engine.sdk.connector import Connector, Operation
from engine.spec.workspace import Workspace
from tests.conftest import Make
from tests.connectors.rest.conftest import Connect, Serve

BULK = """
connector: bulk
extends: salesforce
objects:
  Account: { jobs: { upsert: { above: 2, size: SIZE, poll: { every: 10ms..20ms, within: WITHIN } } } }
"""
ASYNC = """
connector: ns_async
extends: netsuite
objects:
  customer:
    jobs:
      upsert:
        size: 100
        item: { externalId: "@mark" }
        open:
          put: "/record/v1/{object}"
          headers: { Prefer: respond-async, Content-Type: "application/vnd.oracle.resource+json; type=collection" }
          body: { items: "@records" }
          id: { from: headers.location, take: last_segment }
        poll: { get: "/async/v1/job/{job}", done: body.completed, every: 10ms..20ms, within: 2s }
        results: [{ get: "/async/v1/job/{job}/task", rows: body.items, each: "/async/v1/job/{job}/task/{id}/result", id: { from: headers.location, take: last_segment } }]
"""


def bulk(make: Make, workspace: Workspace, size: str = "100", within: str = "2s") -> Connector[Any]:
    text = (workspace.folder / "crosswalk.yaml").read_text().replace("connector: salesforce", "connector: bulk")
    folder = make(
        {"crosswalk.yaml": text, "connectors/bulk.yaml": BULK.replace("SIZE", size).replace("WITHIN", within)}
    )
    opened: Connector[Any] = Workspace.open(folder).connector("salesforce")
    return opened


def accounts(*names: str) -> list[Operation]:
    return [
        Operation(f"o{n}", "upsert", {"Name": name, "Credit_Limit__c": Decimal("10.10")}, mark=f"m{n}")
        for n, name in enumerate(names)
    ]


def uploads(sandbox: Sandbox) -> list[str]:
    return [one["data"] for one in sandbox.store.scan("salesforce", "job ingest")]


def test_a_bulk_job_gives_each_row_its_own_outcome(sandbox: Sandbox, workspace: Workspace, make: Make) -> None:
    sandbox.fakes["salesforce"].bulk.polls = 3
    with bulk(make, workspace) as connector:
        rows = accounts('Ada, "quoted"', "", "line\nbreak", "x" * 300, "Été 🌿")
        outcomes = connector.write("Account", rows)
        assert [one.state for one in outcomes] == ["created", "refused", "created", "refused", "created"], outcomes
        assert outcomes[1].problem is not None and "REQUIRED_FIELD_MISSING" in outcomes[1].problem.message
        assert len(uploads(sandbox)) == 1
        again = connector.write("Account", rows[:1] + rows[2:3])
        assert [(one.state, one.key) for one in again] == [("updated", outcomes[0].key), ("updated", outcomes[2].key)]
        read = connector.get("Account", [outcomes[2].key or ""], ("Name", "Credit_Limit__c"))[outcomes[2].key or ""]
    assert read.value["Name"] == "line\nbreak" and read.value["Credit_Limit__c"] == Decimal("10.10")


def test_a_lost_answer_to_the_start_loses_no_outcome(sandbox: Sandbox, workspace: Workspace, make: Make) -> None:
    def faults(request: Request, handle: Any) -> Reply | None:
        reply = handle(request)
        return None if request.method == "PATCH" else reply

    sandbox.servers["salesforce"].faults = faults
    with bulk(make, workspace) as connector:
        outcomes = connector.write("Account", accounts("a", "b", "c"))
    assert [one.state for one in outcomes] == ["created"] * 3 and len(uploads(sandbox)) == 1


@pytest.mark.parametrize(("step", "status"), [("POST", 500), ("PUT", 503), ("POST", None), ("PUT", None)])
def test_a_job_that_was_not_started_has_processed_nothing(
    sandbox: Sandbox, workspace: Workspace, make: Make, step: str, status: int | None
) -> None:
    def faults(request: Request, handle: Any) -> Reply | None:
        if request.method == step and "jobs" in request.path:
            return Reply(status, []) if status else None
        return handle(request)  # type: ignore[no-any-return]

    sandbox.servers["salesforce"].faults = faults
    with bulk(make, workspace) as connector:
        outcomes = connector.write("Account", accounts("a", "b"))
        assert {one.state for one in outcomes} == {"retry"}
        sandbox.servers["salesforce"].faults = None
        assert {one.state for one in connector.write("Account", accounts("a", "b"))} == {"created"}


def test_a_refused_job_is_told_as_a_whole_so_that_it_is_halved(
    sandbox: Sandbox, workspace: Workspace, make: Make
) -> None:
    def faults(request: Request, handle: Any) -> Reply | None:
        bad = request.method == "PUT" and b"culprit" in request.data
        return Reply(400, [{"errorCode": "INVALIDBATCH", "message": "line 3"}]) if bad else handle(request)

    sandbox.servers["salesforce"].faults = faults
    with bulk(make, workspace) as connector:
        outcomes = connector.write("Account", accounts("a", "culprit"))
    assert {one.state for one in outcomes} == {"refused"}
    assert {one.problem.code for one in outcomes if one.problem} == {"C560"}


def test_a_job_that_is_not_over_in_time_is_in_doubt_and_found_again_by_its_id(
    sandbox: Sandbox, workspace: Workspace, make: Make
) -> None:
    sandbox.fakes["salesforce"].bulk.polls = 1000
    with bulk(make, workspace, within="100ms") as connector:
        rows = accounts("a", "", "c")
        outcomes = connector.write("Account", rows)
        assert {one.state for one in outcomes} == {"in_doubt"}
        (job,) = {one.job for one in outcomes}
        assert job is not None and outcomes[0].problem is not None and job in outcomes[0].problem.message
        stored = sandbox.store.get("salesforce", "job ingest", job) or {}
        sandbox.store.put("salesforce", "job ingest", job, {**stored, "polls": 0})
        later = connector.outcomes("Account", job, [rows[2], rows[0], rows[1]], uploaded=True)
    assert later is not None
    assert [(one.id, one.state) for one in later] == [("o2", "created"), ("o0", "created"), ("o1", "refused")]
    assert len(uploads(sandbox)) == 1


def test_large_groups_go_in_several_jobs(sandbox: Sandbox, workspace: Workspace, make: Make) -> None:
    with bulk(make, workspace, size="10") as connector:
        outcomes = connector.write("Account", accounts(*(f"firm {n}" for n in range(25))))
    assert [one.id for one in outcomes] == [f"o{n}" for n in range(25)] and {one.state for one in outcomes} == {
        "created"
    }
    assert len(uploads(sandbox)) == 3


def test_an_asynchronous_batch_gives_each_task_its_own_outcome(
    sandbox: Sandbox, workspace: Workspace, make: Make
) -> None:
    sandbox.fakes["netsuite"].jobs.polls = 2
    text = (workspace.folder / "crosswalk.yaml").read_text().replace("connector: netsuite", "connector: ns_async")
    folder = make({"crosswalk.yaml": text, "connectors/ns_async.yaml": ASYNC})
    rows = [Operation(f"o{n}", "upsert", {"companyName": name, "subsidiary": {"id": sub}}, mark=f"async{n}")
            for n, (name, sub) in enumerate([("Good", "1"), ("Bad", "999"), ("Other", "1")])]  # fmt: skip
    with Workspace.open(folder).connector("netsuite") as connector:
        outcomes = connector.write("customer", rows)
        assert [one.state for one in outcomes] == ["created", "refused", "created"]
        assert outcomes[1].problem is not None and "999" in outcomes[1].problem.message
        ((found,),) = connector.find("customer", [{"externalId": "async0"}])
    assert found.key == outcomes[0].key


@pytest.mark.parametrize(
    "text", ["", "plain", " a ", 'q"uo', "a,b", "a\nb\r\n", "=1+1", "é🌿", "null", "#N/A!", "true", "0012"]
)
def test_cells_come_back_as_they_were(text: str) -> None:
    (row,) = csv_of("text/csv", csv_body([{"a": text, "b": "x"}], "#N/A"))
    assert row["a"] == (text or "#N/A")


def test_tables_hold_decimals_nulls_parents_and_missing_cells_apart() -> None:
    data = csv_body([{"a": Decimal("1E+3"), "b": None, "c": True}, {"a": 1, "p": {"Ext__c": "k"}}], "#N/A")
    assert data == b"a,b,c,p.Ext__c\n1000,#N/A,true,\n1,,,k\n"
    with pytest.raises(ValueError, match="list"):
        csv_body([{"a": [1]}], "")
    with pytest.raises(ValueError, match="truncated"):
        csv_of("text/csv", b"a,b\n1,2\n3")


# ---------------------------------------------------------------------- batches
BATCH = """
connector: x
settings: { url: { required: true } }
base: "{url}"
message: body.error
errors: [{ when: "status == `409`", do: matched, id: body.id }]
objects:
  things: { create: { post: /one, body: "@record" }, batch: { create: BATCH } }
"""
SHAPES = {
    "position": '{ post: /many, body: { rows: "@records" }, results: body.items, ok: ok, id: id, error: why }',
    "field": '{ post: /many, body: { rows: "@records" }, results: body.items, by: name, ok: ok, id: id, error: why }',
    "traced": '{ post: /many, item: { trace: "@id", properties: "@record" }, body: { inputs: "@records" }, results: body.results, errors: body.errors, by: trace, '
              'match: trace, match_error: "context.trace[0]", ok: "id != null", id: id, error: message }',
    "requests": '{ post: /$batch, item: { id: "@n", method: POST, url: /things, body: "@record" }, body: { requests: "@records" }, results: body.responses, by: id, '
                'ok: "status < `300`", status: status, answer: body, id: body.id, error: body.error }',
}  # fmt: skip


def writing(connect: Connect, serve: Serve, shape: str, reply: Any) -> list[tuple[str, str | None]]:
    seen: list[Any] = []

    def handle(request: Request) -> Reply:
        seen.append(request.json())
        return reply(request.json()) if callable(reply) else reply  # type: ignore[no-any-return]

    connector = connect(BATCH.replace("BATCH", SHAPES[shape]), url=serve(handle).url)
    outcomes = connector.write("things", [Operation(f"op-{n}", "create", {"name": f"n{n}"}) for n in range(4)])
    assert [one.id for one in outcomes] == [f"op-{n}" for n in range(4)] and len(seen) == 1
    return [(one.state, one.key) for one in outcomes]


def test_results_by_position_and_those_that_are_missing(connect: Connect, serve: Serve) -> None:
    items = [{"ok": True, "id": 1}, {"ok": False, "why": "short"}, {"ok": True, "id": 3}]
    expected = [("created", "1"), ("refused", None), ("created", "3"), ("in_doubt", None)]
    assert writing(connect, serve, "position", Reply(200, {"items": items})) == expected


def test_results_in_any_order_by_a_field(connect: Connect, serve: Serve) -> None:
    items = [
        {"name": "n3", "ok": True, "id": 3},
        {"name": "n0", "ok": True, "id": 0},
        {"name": "n1", "ok": False},
        {"name": "stranger", "ok": True, "id": 9},
    ]
    expected = [("created", "0"), ("refused", None), ("in_doubt", None), ("created", "3")]
    assert writing(connect, serve, "field", Reply(207, {"items": items})) == expected


def test_results_that_could_be_of_two_records_are_of_none(connect: Connect, serve: Serve) -> None:
    items = [{"name": "n0", "ok": True, "id": 1}, {"name": "n0", "ok": False}, {"name": "n1", "ok": True, "id": 2}]
    assert writing(connect, serve, "field", Reply(200, {"items": items}))[:2] == [("in_doubt", None), ("created", "2")]


def test_results_and_errors_apart_keyed_by_our_own_operation(connect: Connect, serve: Serve) -> None:
    def reply(body: Any) -> Reply:
        assert [one["properties"]["name"] for one in body["inputs"]] == ["n0", "n1", "n2", "n3"]
        good = [
            {"trace": one["trace"], "id": one["trace"][-1]}
            for one in reversed(body["inputs"])
            if one["trace"] != "op-2"
        ]
        return Reply(207, {"results": good, "errors": [{"message": "no", "context": {"trace": ["op-2"]}}]})

    assert writing(connect, serve, "traced", reply) == [
        ("created", "0"),
        ("created", "1"),
        ("refused", None),
        ("created", "3"),
    ]


def test_single_requests_inside_one_are_judged_by_their_own_status(connect: Connect, serve: Serve) -> None:
    def reply(body: Any) -> Reply:
        assert [one["url"] for one in body["requests"]] == ["/things"] * 4
        kinds = {"0": (201, {"id": "a"}), "1": (409, {"id": "b"}), "2": (429, {}), "3": (500, {})}
        return Reply(
            200, {"responses": [{"id": n, "status": kinds[n][0], "body": kinds[n][1]} for n in ("2", "0", "3", "1")]}
        )

    found = writing(connect, serve, "requests", reply)
    assert found == [("created", "a"), ("matched", "b"), ("retry", None), ("in_doubt", None)]


@pytest.mark.parametrize(
    ("status", "state"), [(400, "refused"), (404, "refused"), (413, "refused"), (429, "retry"), (500, "in_doubt")]
)
def test_a_request_that_failed_as_a_whole(connect: Connect, serve: Serve, status: int, state: str) -> None:
    connector = connect(
        BATCH.replace("BATCH", SHAPES["position"]),
        url=serve(lambda _: Reply(status, {"error": "x"})).url,
        backoff="1ms..2ms",
    )
    outcomes = connector.write("things", [Operation(str(n), "create", {"name": "n"}) for n in range(4)])
    assert {one.state for one in outcomes} == {state}
    if state == "refused":
        assert {one.problem.code for one in outcomes if one.problem} == {"C560"}
