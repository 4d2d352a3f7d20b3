"""`crosswalk test` with process flows: decisions, events and time are given, writes and where instances stand are judged."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.compile.workspace import problems_of
from engine.run.testing import run_tests
from engine.spec.workspace import Workspace
from tests.conftest import Make
from tests.run.process_world import STEPS, files

APPROVE = "  - approve: large\n    when: 'amount > `100`'\n    queue: cfo\n    otherwise: '{{ name }} costs {{ amount }}'\n    expires: 3d\n"
WAIT = "  - wait: staffed\n    event: project.*\n    for: project\n    timeout: 30d\n"
LAST = "  - write: told\n    record: project\n    targets: [{ connection: psa, mapping: psa/project }]\n"
ALL = APPROVE + STEPS.lstrip("\n") + WAIT
LINKS = 'links: { client: [{ id: acme, crm: "a1" }] }\nrecords: { client: [{ id: acme, name: Acme, tax_id: T1 }] }\n'
MADE = (
    "{ erp: [{ create: { name: Acme }, object: customers }, { create: { name: Mill }, object: jobs }], "
    "psa: [{ create: { title: Mill, state: open } }] }"
)


def deal(amount: int) -> str:
    return f"given: {{ crm: {{ deals: [{{ id: d1, name: Mill, stage: won, account: a1, amount: {amount} }}] }} }}\n"


def told(make: Make, body: str, steps: str = ALL, **more: str) -> list[str]:
    folder = make({**files(steps, **more), "tests/t.yaml": f"test: deals\nflow: deals\n{LINKS}{body}"})
    workspace = Workspace.open(folder)
    static = [str(one) for one in problems_of(workspace, ["test/t"])]
    (case,) = run_tests(workspace).cases
    lines = str(case["problem"] or "").splitlines()
    assert not static or static == lines, "what `validate` finds, `test` finds"
    return lines


@pytest.mark.parametrize(
    "body",
    [
        deal(10) + f"expect_writes: {MADE}\nexpect_state: {{ state: waiting, step: staffed, waiting: event }}\n",
        deal(10) + f"expect_writes: {MADE}\nevents: [project.staffed]\nexpect_state: done\n",
        deal(10) + "events: [{ event: project.staffed.v1, data: { by: ann } }]\nexpect_state: done\n",
        deal(10) + "events: [{ event: project.staffed, for: new-2 }]\nexpect_state: done\n",
        deal(900) + "expect_writes: {}\nexpect_state: { state: waiting, step: large, waiting: approval, message: Mill costs 900 }\n",
        deal(900) + f"approvals: {{ large: approve }}\nevents: [project.staffed]\nexpect_writes: {MADE}\nexpect_state: [{{ state: done, record: d1 }}]\n",
        deal(900) + "approvals: { large: reject }\nexpect_writes: {}\nexpect_state: compensated\n",
        deal(900) + "expect_state: waiting\nthen: [{ after: 2d, expect_state: waiting }, "
        "{ after: 2d, expect_state: expired, expect_writes: {}, expect_exceptions: [{ code: R632 }] }]\n",
        deal(10) + "expect_state: waiting\nthen: [{ after: 31d, expect_state: compensated, expect_exceptions: [{ code: R636 }], "
        "expect_writes: { erp: [{ update: { status: cancelled } }], psa: [{ update: { state: cancelled } }] } }]\n",
        deal(10) + "expect_state: waiting\nthen: [{ events: [project.staffed], expect_writes: {}, expect_state: done }]\n",
        "given: { crm: { deals: [{ id: d1, name: Mill, stage: won }] } }\nexpect_writes: {}\n"
        "expect_exceptions: [{ code: E430, queue: stewards, message: Mill has no client }]\n"
        "expect_state: { state: waiting, step: complete, waiting: repair }\n"
        + f"then: [{{ {deal(10).strip()}, expect_writes: {MADE}, expect_state: waiting }}]\n",
        "given: { crm: { deals: [{ id: d1, name: Mill, stage: won, account: a1, amount: 10 }, { id: d2, name: Ox, stage: won, "
        "account: a1, amount: 900 }] } }\nexpect_state: [{ record: d2, state: waiting, step: large }, { record: d1, state: waiting, step: staffed }]\n",
    ],
)  # fmt: skip
def test_what_a_process_does_passes(make: Make, body: str) -> None:
    assert told(make, body) == []


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (deal(10) + "expect_state: done\n", 'expect_state: expected done, got waiting for event at staffed'),
        (deal(10) + "expect_state: { state: waiting, step: large }\n", "instance step: expected large, got waiting for event at staffed"),
        (deal(10) + "approvals: { large: approve }\nexpect_state: waiting\n", "approval large: expected a question to approve, got nothing"),
        (deal(900) + "events: [project.staffed]\nexpect_state: waiting\n", "event project.staffed: expected an instance that waits for it, got nothing"),
        (deal(10) + "events: [{ event: project.staffed, for: other }]\nexpect_state: waiting\n",
         "event project.staffed: expected an instance that waits for it, got nothing"),
        (deal(10) + "expect_state: [{ state: waiting, record: d2 }]\n", "instance: expected state: waiting, record: d2, got nothing"),
        (deal(10) + "expect_state: []\n", "instance: expected nothing, got waiting for event at staffed"),
        (deal(10) + "expect_writes: { erp: [{ create: { name: Acme } }] }\n", "erp create: expected nothing, got create jobs"),
        (deal(10) + "expect_writes: { erp: [{ create: { name: Acme }, object: jobs }, { create: {} }], psa: [{ create: {} }] }\n",
         'name: expected "Acme", got "Mill" (from mappings/erp/job.yaml'),
    ],
)  # fmt: skip
def test_what_it_does_not_is_told(make: Make, body: str, line: str) -> None:
    found = told(make, body)
    assert any(line.replace("expect_state: expected", "instance state: expected") in one for one in found), found


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("approvals: { lagre: approve }\nexpect_state: done\n", "E385 tests/t.yaml:6:14 deals has no `approve` step 'lagre' — did you mean 'large'?"),
        ("approvals: { staffed: approve }\nexpect_state: done\n", "E385 tests/t.yaml:6:14 deals has no `approve` step 'staffed' — known: large"),
        ("events: [client.gone]\nexpect_state: done\n", "E385 tests/t.yaml:6:10 deals has no `wait` step for 'client.gone'"),
        ("expect_state: { state: waiting, step: stafed }\n", "E385 tests/t.yaml:6:39 deals has no step 'stafed' — did you mean 'staffed'?"),
        ("expect_state: [{ state: waiting, step: stafed }]\n", "E385 tests/t.yaml:6:40 deals has no step 'stafed' — did you mean 'staffed'?"),
        ("flow: clients\nexpect_state: done\n", "E384 tests/t.yaml"),
    ],
)  # fmt: skip
def test_what_the_flow_has_not_is_found_before_it_runs(make: Make, body: str, line: str) -> None:
    if body.startswith("flow: "):
        given = deal(10).strip()
        body = f"{given}\nexpect_state: waiting\nthen: [{{ flow: clients, expect_state: done }}]\n"
    else:
        body = deal(10) + body
    found = told(make, body)
    assert len(found) == 1 and found[0].startswith(line), found


def test_a_test_of_a_sync_flow_has_no_instances(make: Make) -> None:
    body = "test: clients\nflow: clients\ngiven: { crm: { accounts: [] } }\napprovals: { large: approve }\nexpect_state: done\n"
    (found,) = problems_of(Workspace.open(make({**files(ALL), "tests/t.yaml": body})), ["test/t"])
    assert str(found).startswith(
        "E384 tests/t.yaml:4:1 `approvals` is for tests of process flows, and 'clients' is a sync flow"
    )


def test_expressions_of_steps_see_the_time_of_the_test(make: Make) -> None:
    steps = "  - check: in-time\n    that: \"days_between(now(), '2026-01-20') > `0`\"\n"
    body = (
        deal(10)
        + "expect_state: done\nthen: [{ now: 2026-02-01T00:00:00Z, given: { crm: { deals: [{ id: d2, name: Ox, stage: won }] } }, "
    )
    body += "expect_exceptions: [{ code: E430 }], expect_state: [done, { record: d2, state: waiting }] }]\n"
    assert told(make, body, steps) == []


def test_a_called_flow_writes_to_its_own_targets(make: Make) -> None:
    steps = "  - call: clients-out\n    record: client\n"
    flow = "flow: clients-out\nkind: sync\nentity: client\nsource: { connection: crm, mapping: crm/account }\n"
    flow += "targets: [{ connection: psa, mapping: erp/customer, name: outside }]\n"
    body = "given: { crm: { deals: [{ id: d1, name: Mill, stage: won, account: a1 }], accounts: [{ id: a1, name: Acme, tax: T1 }] } }\n"
    body += "expect_writes: { outside: [{ create: { name: Acme } }] }\nexpect_state: done\n"
    folder = make(
        {**files(steps), "flows/clients-out.yaml": flow, "tests/t.yaml": f"test: deals\nflow: deals\n{LINKS}{body}"}
    )
    (case,) = run_tests(Workspace.open(folder)).cases
    assert case["problem"] is None


def test_the_guide_holds(make: Make) -> None:
    page = (Path(__file__).parents[2] / "docs/testing.md").read_text("utf-8")
    (block,) = (one for one in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "flow: deals" in one)
    workspace = Workspace.open(make({**files(ALL), "tests/t.yaml": block}))
    assert problems_of(workspace) == []
    assert [case["problem"] for case in run_tests(workspace).cases] == [None] * 3
