"""Process flows: a deal becomes a customer, a project and a job, once; whatever waits, fails, changes or dies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.run.decisions import pause_flow, pause_instance, resume_flow, resume_instance
from engine.run.process import advance
from engine.run.relay import relay
from engine.run.runner import Runner
from engine.sdk.errors import SpecError, UsageError
from engine.state import ticks
from engine.state.store import Store
from tests.conftest import Make
from tests.run.process_world import STEPS, World, files

New = Callable[..., World]


@pytest.fixture
def world(make: Make, tmp_path: Path) -> Iterator[New]:
    opened: list[Store] = []

    def new(steps: str = STEPS, kind: str = "C", **more: str) -> World:
        folder = make(files(steps, **more))
        opened.append(Store.open("sqlite:///.crosswalk/state.db", folder))
        return World(folder, opened[-1], kind)

    yield new
    for store in opened:
        store.close()


@pytest.mark.parametrize("kind", ["A", "C"])
def test_a_won_deal_becomes_customer_project_and_job(world: New, kind: str) -> None:
    deals = world(kind=kind)
    told = deals.run()
    assert (told["state"], told["read"], told["created"], told["waiting"], told["quarantined"]) == (
        "succeeded",
        1,
        1,
        0,
        0,
    )
    assert told["targets"]["psa"]["created"] == 1 and told["targets"]["erp"]["created"] == 2
    assert deals.one.state == "done"
    assert (deals.made("erp", "customers"), deals.made("psa", "projects"), deals.made("erp", "jobs")) == (
        ["Acme"],
        ["Mill"],
        ["Mill"],
    )
    assert deals.row("erp", "jobs")["customer"] == deals.row("erp", "customers")["id"]
    again = deals.run()
    assert (again["created"], again["updated"]) == (0, 0) and len(deals.instances()) == 1


# ---------------------------------------------------------------------- what waits
def test_a_check_that_fails_waits_in_its_queue_and_goes_on_once_the_record_is_mended(world: New) -> None:
    deals = world()
    deals.deal("d1", "Mill", account=None)
    told = deals.run()
    assert (told["state"], told["quarantined"], told["waiting"]) == ("partial", 1, 0)
    (row,) = deals.exceptions()
    assert (row.code, row.queue, row.stage, row.message) == (
        "E430",
        "stewards",
        "check",
        "complete: Mill has no client",
    )
    assert deals.run()["quarantined"] == 0, "nothing has changed: it waits on, and is not told twice"
    assert len(deals.exceptions()) == 1 and len(deals.story()) == 2
    deals.deal("d1", "Mill")
    assert deals.run()["state"] == "succeeded"
    assert deals.one.state == "done" and deals.exceptions() == [] and deals.made("psa", "projects") == ["Mill"]


def test_a_search_finds_the_customer_and_the_write_adopts_it(world: New) -> None:
    deals = world(STEPS.replace("record: client\n", 'record: client\n    when: "!erp_customer"\n'))
    deals.memory["erp"].put("customers", [{"id": "77", "name": "ACME", "tax": "T1"}])
    deals.run()
    assert deals.one.context["erp_customer"]["native_id"] == "77"
    assert deals.one.context["customer"] is None and deals.made("erp", "customers") == ["ACME"]


APPROVE = """
  - approve: large
    when: "amount > `5`"
    queue: cfo
    otherwise: "{{ name }} is worth {{ amount }}"
    expires: 3d
"""


def test_an_approval_is_asked_for_once_and_given_by_somebody_else(world: New) -> None:
    deals = world(APPROVE + STEPS)
    told = deals.run(actor="bob")
    assert (told["state"], told["waiting"], told["quarantined"]) == ("succeeded", 1, 0)
    (asked,) = deals.asked()
    assert (asked.queue, asked.message, asked.requested_by) == ("cfo", "Mill is worth 10", "bob")
    deals.run(actor="eve")
    assert len(deals.asked()) == 1 and deals.made("psa", "projects") == []
    with pytest.raises(UsageError, match="X925"):
        deals.decide("approve", "bob")
    deals.decide("approve", "ann")
    deals.decide("approve", "ann")
    with pytest.raises(UsageError, match="X924"):
        deals.decide("reject", "cyd")
    assert deals.run()["updated"] == 1
    assert deals.one.state == "done" and deals.one.context["large"]["approved_by"] == "ann"
    assert sum("approval" in what for what in deals.story()) == 2


def test_a_small_deal_is_not_asked_about(world: New) -> None:
    deals = world(APPROVE + STEPS)
    deals.deal("d1", "Mill", amount=5)
    deals.run()
    assert deals.one.state == "done" and deals.story()[1] == "large: skipped"


def test_what_was_to_be_approved_and_has_changed_is_asked_anew(world: New) -> None:
    deals = world(APPROVE + STEPS)
    deals.run(actor="bob")
    (first,) = deals.asked()
    deals.change("amount", 99)
    with pytest.raises(UsageError, match=r"X926.*has changed"):
        deals.decide("approve", "ann")
    (second,) = deals.asked()
    assert second.id != first.id and second.message == "Mill is worth 99"
    deals.deal("d1", "Mill", amount=100)
    deals.run()
    (third,) = deals.asked()
    assert third.message == "Mill is worth 100"
    deals.decide("approve", "ann")
    deals.run()
    assert deals.one.state == "done"


def test_an_approval_that_was_given_is_void_once_the_record_changes_before_it_is_used(world: New) -> None:
    deals = world(APPROVE + "  - wait: staffed\n    event: deal.staffed\n" + STEPS)
    deals.run(actor="bob")
    deals.decide("approve", "ann")
    deals.run()
    assert deals.one.waiting == "event"
    deals.change("amount", 99)
    deals.tell("deal.staffed.v1", deals.one.canonical_id)
    deals.run()
    assert deals.made("psa", "projects") == [] and deals.one.waiting == "approval"
    assert any("is void" in what for what in deals.story())
    deals.decide("approve", "ann")
    deals.run()
    assert deals.one.state == "done"


def test_a_rejected_deal_is_over_and_a_changed_one_starts_anew(world: New) -> None:
    deals = world(APPROVE + STEPS)
    deals.run(actor="bob")
    deals.decide("reject", "ann", because="too large")
    deals.run()
    assert deals.one.state == "compensated" and deals.exceptions() == []
    deals.run()
    assert len(deals.instances()) == 1
    deals.deal("d1", "Mill", amount=4)
    deals.run()
    assert [one.state for one in deals.instances()] == ["compensated", "done"]


@pytest.mark.parametrize(
    ("how", "state", "queue"), [("reject", "expired", None), ("approve", "done", None), ("escalate", "waiting", "pmo")]
)
def test_nobody_decides_in_time(world: New, how: str, state: str, queue: str | None) -> None:
    deals = world(APPROVE.replace("expires: 3d", f"expires: 3d\n    on_expiry: {how}") + STEPS)
    deals.run(actor="bob")
    deals.late()
    deals.run()
    assert (deals.one.state, deals.one.queue) == (state, queue)
    if how == "escalate":
        deals.decide("approve", "ann")
        deals.run()
        assert deals.one.state == "done"


def test_an_event_is_waited_for_and_one_that_came_early_counts(world: New) -> None:
    steps = STEPS + "  - wait: staffed\n    event: project.staffed\n    for: project.id\n    timeout: 30d\n"
    deals = world(steps)
    told = deals.run()
    assert (told["state"], told["waiting"]) == ("succeeded", 1) and deals.one.waiting == "event"
    project = deals.one.detail["for"]
    deals.tell("project.staffed.v1", "another")
    assert deals.run()["updated"] == 0
    deals.tell("project.staffed.v1", project)
    deals.run()
    assert deals.one.state == "done" and deals.one.context["staffed"]["type"] == "project.staffed"


def test_an_event_that_comes_before_the_step_is_heard_and_one_that_never_comes_ends_it(world: New) -> None:
    wait = "  - wait: staffed\n    event: deal.staffed\n    timeout: 30d\n"
    deals = world(APPROVE + wait)
    deals.run(actor="bob")
    deals.tell("deal.staffed.v1", deals.one.canonical_id)
    deals.decide("approve", "ann")
    deals.run()
    assert deals.one.state == "done"
    deals.deal("d2", "Dam", amount=1)
    deals.run()
    deals.late()
    deals.run()
    assert deals.instances()[1].state == "compensated" and [row.code for row in deals.exceptions()] == ["R636"]


# ---------------------------------------------------------------------- what fails
@pytest.mark.parametrize(("event", "type", "heard"), [
    ("deal.*", "deal.staffed.v1", True), ("*.staffed", "deal.staffed.v2", True), ("deal.staffed.v2", "deal.staffed.v2", True),
    ("deal.staffed.v2", "deal.staffed.v1", False), ("deal.*.v1", "deal.staffed.v2", False), ("deal.st*", "deal.lost.v1", False),
    ("deal.staffed", "deal.staffed", True),
])  # fmt: skip
@pytest.mark.parametrize("early", [True, False])
def test_a_wait_knows_types_as_triggers_do(world: New, event: str, type: str, heard: bool, early: bool) -> None:
    check = "  - check: said\n    that: \"stage == 'won' && amount > `50`\"\n" if early else ""
    deals = world(f"{check}  - wait: staffed\n    event: '{event}'\n")
    deals.run()
    deals.tell(type, deals.one.canonical_id)
    if early:
        deals.deal("d1", "Mill", amount=99)
    deals.run()
    assert deals.one.state == ("done" if heard else "waiting")
    if heard:
        assert deals.one.context["staffed"]["type"] == "deal.staffed"


def test_a_step_that_is_refused_takes_back_what_was_done_the_last_first(world: New) -> None:
    deals = world()
    deals.memory["erp"].faults["jobs"] = ["refuse"]
    told = deals.run()
    assert (told["state"], told["deleted"]) == ("succeeded", 1)
    assert deals.one.state == "compensated"
    assert deals.row("psa", "projects")["state"] == "cancelled" and deals.made("erp", "jobs") == []
    assert deals.made("erp", "customers") == ["Acme"], "it says no undo: it stays"
    assert [row.code for row in deals.exceptions()] == ["E450"], "a person can see it"
    deals.deal("d1", "Mill II")
    deals.run()
    assert [one.state for one in deals.instances()] == ["compensated", "done"]
    assert deals.row("psa", "projects") | {"title": "Mill II", "state": "open"} == deals.row("psa", "projects")
    assert deals.memory["psa"].creates.total() == 1 and deals.exceptions() == []


def test_what_a_step_made_is_deleted_again_and_what_was_there_before_stays(world: New) -> None:
    undo = "    undo: { delete: true, kind: reversible }\n"
    customer = "targets: [{ connection: erp, mapping: erp/customer, match: [[tax_id]] }]\n"
    steps = STEPS.replace("    undo: { update: { status: cancelled }, kind: semantic }\n", undo).replace(
        customer, customer + undo
    )
    deals = world(steps)
    deals.memory["erp"].put("customers", [{"id": "77", "name": "ACME", "tax": "T1"}])
    deals.memory["erp"].faults["jobs"] = ["refuse"]
    deals.run()
    assert deals.one.state == "compensated"
    assert deals.made("psa", "projects") == [] and deals.made("erp", "customers") == ["Acme"]
    deals.deal("d1", "Mill II")
    deals.run()
    assert deals.instances()[-1].state == "done" and deals.made("psa", "projects") == ["Mill II"] == deals.made(
        "erp", "jobs"
    )


def test_nothing_before_a_step_that_cannot_be_taken_back_is_undone(world: New) -> None:
    steps = (
        STEPS.replace("undo: { update: { status: cancelled }, kind: semantic }", "undo: { kind: none }")
        + """
  - check: late
    that: "amount > `50`"
"""
    )
    deals = world(steps)
    deals.run()
    assert deals.one.waiting == "repair"
    deals.cancel("ann")
    told = deals.run()
    assert (deals.one.state, told["quarantined"]) == ("needs_person", 1) and deals.row("psa", "projects")[
        "state"
    ] == "open"
    deals.cancel("ann")
    assert deals.one.state == "cancelled" and deals.exceptions() == []


def test_on_failure_wait_stays_at_the_step_until_a_person_resumes_it(world: New) -> None:
    deals = world(on_failure="wait")
    deals.memory["erp"].faults["jobs"] = ["refuse"]
    told = deals.run()
    assert (told["state"], told["quarantined"], deals.one.waiting) == ("partial", 1, "repair")
    (row,) = deals.exceptions()
    assert (row.code, row.target) == ("E450", "erp") and deals.one.exception == row.id
    deals.run("deals", replay=True, chosen=(row.id,), actor="ann")
    assert deals.one.state == "done" and deals.exceptions() == []
    assert deals.memory["psa"].creates.total() == deals.memory["erp"].creates["jobs", "Mill"] == 1


def test_a_busy_system_is_tried_again_and_nothing_is_taken_back(world: New) -> None:
    deals = world()
    deals.memory["erp"].faults["jobs"] = ["busy"]
    told = deals.run()
    assert (told["state"], told["waiting"], deals.one.waiting) == ("succeeded", 1, "timer")
    deals.run()
    assert deals.one.state == "done" and deals.exceptions() == []


@pytest.mark.parametrize("lost", ["before", "after"])
def test_an_answer_that_was_lost_makes_no_second_job(world: New, lost: str) -> None:
    deals = world()
    deals.memory["erp"].faults["jobs"] = [lost]
    deals.run()
    assert deals.one.waiting == "timer"
    for _ in range(3):
        deals.age(300)
        deals.run()
    assert deals.one.state == "done" and deals.exceptions() == []
    assert deals.memory["erp"].creates["jobs", "Mill"] == 1 == deals.memory["psa"].creates.total()


def test_a_lost_answer_is_settled_before_the_job_is_taken_back(world: New) -> None:
    deals = world(STEPS.replace("undo: { update: { status: cancelled }, kind: semantic }", "undo: { delete: true }"))
    deals.memory["erp"].faults["jobs"] = ["after"]
    deals.run()
    deals.cancel("ann")
    deals.run()
    assert deals.one.state == "compensating", "whether the job is there is not known yet"
    for _ in range(3):
        deals.age(300)
        deals.run()
    assert deals.one.state == "cancelled"
    assert deals.made("erp", "jobs") == [] == deals.made("psa", "projects") and deals.made("erp", "customers") == [
        "Acme"
    ]


# ---------------------------------------------------------------------- what changes meanwhile
def test_an_instance_goes_on_with_the_documents_that_it_began_with(world: New) -> None:
    deals = world(APPROVE + STEPS)
    deals.run(actor="bob")
    path = deals.folder / "flows/deals.yaml"
    path.write_text(
        path.read_text()
        .replace("status: cancelled", "status: open")
        .replace("- derive: project", "- derive: projekt")
        .replace("record: project", "record: projekt")
    )
    mapping = deals.folder / "mappings/canonical/deal_to_project.yaml"
    mapping.write_text(mapping.read_text().replace("name: name", "name: { from: name, transform: [upper] }"))
    newer = World(deals.folder, deals.state)
    newer.memory = deals.memory
    newer.decide("approve", "ann")
    newer.deal("d2", "Dam", amount=1)
    newer.run()
    assert [one.state for one in newer.instances()] == ["done", "done"]
    assert newer.made("psa", "projects") == ["DAM", "Mill"]
    assert "project" in newer.instances()[0].context and "projekt" in newer.instances()[1].context


def test_one_instance_a_key_whoever_starts_it(world: New) -> None:
    deals = world(key="[client]")
    deals.deal("d2", "Dam")
    told = deals.run()
    assert told["created"] == 1 and len(deals.instances()) == 1


def test_a_called_flow_brings_the_record_to_its_end_first(world: New) -> None:
    deals = world("  - call: clients\n    record: client\n" + STEPS)
    deals.run("clients")
    deals.account("a1", None, "T1")
    told = deals.run("deals")
    assert (told["waiting"], deals.one.waiting) == (1, "timer")
    deals.account("a1", "Acme Ltd", "T1")
    deals.run("deals")
    assert deals.one.state == "done" and deals.one.context["clients"]["state"] == "succeeded"
    assert deals.made("erp", "customers") == ["Acme Ltd"]


@pytest.mark.parametrize(("trouble", "wanted"), [("rate_limited", "rate_limit"), ("unreachable", "connection")])
def test_a_target_that_takes_nothing_is_tried_again_until_it_does(world: New, trouble: str, wanted: str) -> None:
    deals = world()
    deals.memory["psa"].faults = {"projects": [trouble] * 3}
    deals.run()
    for _ in range(2):
        assert (deals.one.state, deals.one.waiting) == ("waiting", "timer") and deals.one.until is not None
        found = [(row.exception_class, row.state, row.target) for row in deals.exceptions()]
        assert found == [(wanted, "waiting", "psa")] and deals.made("psa", "projects") == []
        deals.run()
    deals.run()
    assert deals.one.state == "done" and deals.exceptions() == []
    assert deals.made("psa", "projects") == ["Mill"] and deals.memory["erp"].creates["jobs", "Mill"] == 1


PAUSES = {
    "an event": ("  - wait: staffed\n    event: deal.staffed\n    timeout: 30d\n", lambda deals: deals.tell("deal.staffed.v1", deals.one.canonical_id), "done"),
    "a decision": (APPROVE, lambda deals: deals.decide("approve", "ann"), "done"),
    "a timeout": ("  - wait: staffed\n    event: deal.staffed\n    timeout: 30d\n", lambda deals: deals.late(), "compensated"),
    "nothing": (APPROVE, lambda deals: None, "waiting"),
}  # fmt: skip


@pytest.mark.parametrize("how", PAUSES)
@pytest.mark.parametrize("all", [True, False])
def test_what_happens_while_an_instance_is_paused_acts_when_it_is_resumed(world: New, how: str, all: bool) -> None:
    steps, happens, end = PAUSES[how]
    deals = world(steps)
    deals.run()
    runner, before = Runner(deals, deals.state), deals.one
    pause_flow(runner, "deals", "ann", "talks") if all else pause_instance(runner, before.id, "ann", "talks")
    assert (deals.one.state, deals.one.waiting, deals.one.queue) == ("paused", before.waiting, before.queue)
    assert advance(runner, before.id) is None
    happens(deals)
    deals.run()
    assert advance(runner, before.id) is None and deals.one.state == "paused"
    with deals.state.read() as tx:
        assert tx.rows("SELECT 1 FROM units WHERE kind = 'process' AND state = 'ready' AND due > ?", (tx.now(),)) == []
    resume_flow(runner, "deals", "bob", "") if all else resume_instance(runner, before.id, "bob", "")
    deals.run()
    assert deals.one.state == end
    assert [one for one in deals.story() if "pause" in one] == [": paused: talks", ": the pause is over"]
    with deals.state.read() as tx:
        said = tx.rows("SELECT actor, action, subject FROM audit WHERE action LIKE 'processes %' ORDER BY seq")
    assert said == [("ann", "processes pause", before.id), ("bob", "processes resume", before.id)]


def test_who_paused_an_instance_may_decide(world: New) -> None:
    deals = world(APPROVE)
    deals.run(actor="bob")
    runner = Runner(deals, deals.state)
    pause_instance(runner, deals.one.id, "ann", "talks")
    resume_instance(runner, deals.one.id, "ann", "")
    deals.decide("approve", "ann")
    deals.run()
    assert deals.one.state == "done"


def test_taking_back_rests_too(world: New) -> None:
    deals = world(STEPS + APPROVE)
    deals.run()
    runner = Runner(deals, deals.state)
    deals.cancel("ann")
    pause_instance(runner, deals.one.id, "ann", "wait")
    deals.run()
    assert deals.row("psa", "projects")["state"] == "open"
    resume_instance(runner, deals.one.id, "ann", "")
    assert deals.one.state == "compensating"
    deals.run()
    assert deals.one.state == "cancelled" and deals.row("psa", "projects")["state"] == "cancelled"
    with pytest.raises(UsageError, match="X924"):
        pause_instance(runner, deals.one.id, "ann", "again")


@pytest.mark.parametrize("how", ["paused", "off", "shadow"])
def test_nothing_moves_by_itself_while_the_flow_rests(world: New, how: str) -> None:
    deals = world(APPROVE, **({"mode": how} if how != "paused" else {}))
    if how != "paused":
        (deals.folder / "flows/deals.yaml").write_text(files(APPROVE)["flows/deals.yaml"])
    deals.run()
    deals.decide("approve", "ann")
    if how == "paused":
        with deals.state.begin("test") as tx:
            ticks.pause(tx, "deals", "ann", "talks")
        found = Runner(deals, deals.state)
    else:
        (deals.folder / "flows/deals.yaml").write_text(files(APPROVE, mode=how)["flows/deals.yaml"])
        found = Runner(World(deals.folder, deals.state), deals.state)
    assert advance(found, deals.one.id) is None and deals.one.state == "waiting"
    if how == "paused":
        with deals.state.begin("test") as tx:
            ticks.resume(tx, "deals")
        advance(found, deals.one.id)
        assert deals.one.state == "done"


def test_a_late_instance_raises_an_alert_until_it_is_over(world: New) -> None:
    deals = world(APPROVE + STEPS, done_within="2d")
    deals.run(actor="bob")
    assert deals.alerts() == []
    deals.late()
    deals.decide("approve", "ann")
    with deals.state.begin("test") as tx:
        tx.run("UPDATE processes SET nudged = 0")
    deals.run("clients")
    deals.judge()
    assert deals.alerts() == ["done_within"]
    deals.run("deals", records=("crm:d1",))
    deals.run()
    assert deals.one.state == "done" and deals.alerts() == []


def test_a_step_that_may_be_left_out_is_where_there_is_no_such_connection(world: New) -> None:
    deals = world(STEPS + "  - publish: project.created\n    connection: bus\n    optional: true\n")
    deals.run()
    assert deals.one.state == "done" and "project.created: left out: there is no connection bus" in deals.story()
    deals = world(STEPS + "  - publish: project.created\n    connection: bus\n")
    with pytest.raises(SpecError, match="there is no connection called 'bus'"):
        deals.run("deals")


def test_an_event_is_published_with_the_step(world: New) -> None:
    deals = world(STEPS + "  - publish: project.created\n    connection: psa\n    data: { number: project.name }\n")
    deals.run()
    with deals.state.read() as tx:
        ((type, data, correlation),) = tx.rows("SELECT type, data, correlation FROM events")
    assert (type, bytes(data), correlation) == ("project.created.v1", b'{"number":"Mill"}', deals.one.canonical_id)


def test_the_engines_own_event_wakes_the_instance_that_waits_for_it(world: New) -> None:
    deals = world(STEPS + "  - wait: renamed\n    event: client.updated\n    for: client\n")
    deals.run()
    assert deals.one.waiting == "event"
    deals.account("a1", "Acme Ltd", "T1")
    deals.run("clients")
    assert deals.one.waiting == "event" and not deals.one.nudged
    relay(deals, deals.state, "process:deals")
    assert deals.one.nudged
    deals.run("deals")
    assert deals.one.state == "done" and deals.one.context["renamed"]["type"] == "client.updated"


def test_a_plan_tells_what_would_begin_and_begins_nothing(world: New) -> None:
    deals = world()
    deals.run("clients")
    told = deals.run("deals", plan=True)
    assert (told["state"], told["read"], told["created"]) == ("succeeded", 1, 1)
    assert deals.instances() == [] and deals.made("erp", "customers") == []
    deals.run()
    assert deals.run("deals", plan=True)["created"] == 0
