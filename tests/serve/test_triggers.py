"""`validate` on what starts flows: circles, paths, schedules that are none."""

from __future__ import annotations

import pytest

from engine.compile.workspace import problems_of
from engine.spec.workspace import Workspace
from tests.conftest import Make
from tests.run.test_sync import FILES
from tests.serve.world import taking_webhooks

FLOW = "flow: {name}\nkind: sync\nentity: team\nsource: {{ connection: src, mapping: src/teams }}\ntargets: []\ntrigger: {trigger}\n"
EMITTING = "targets: [{ connection: dw, mapping: dw/people, emit: person.posted }]"


def faults(make: Make, **triggers: str) -> list[str]:
    files = {f"flows/{name}.yaml": FLOW.format(name=name, trigger=trigger) for name, trigger in triggers.items()}
    return [str(one) for one in problems_of(Workspace.open(make({**FILES, **files})))]


def test_flows_that_start_each_other_in_a_circle_are_told_with_the_way(make: Make) -> None:
    found = faults(make, a="[{ after: c }]", b="[{ after: a }]", c="[{ after: b }]", d="[{ after: a }]")
    assert found == [
        "E354 flows/a.yaml:6:20 the flow starts itself: a → b → c → a — name another flow or event",
        "E354 flows/b.yaml:6:20 the flow starts itself: b → c → a → b — name another flow or event",
        "E354 flows/c.yaml:6:20 the flow starts itself: c → a → b → c — name another flow or event",
    ]


@pytest.mark.parametrize("event", ["person.posted", "person.posted.v1", "person.*"])
def test_a_flow_that_its_own_event_starts_is_told(make: Make, event: str) -> None:
    people = FILES["flows/people.yaml"].replace("targets: [{ connection: dw, mapping: dw/people }]", EMITTING)
    folder = make({**FILES, "flows/people.yaml": people.rstrip() + f'\n        trigger: [{{ event: "{event}" }}]\n'})
    (found,) = problems_of(Workspace.open(folder))
    assert found.code == "E354" and found.message == "the flow starts itself"


def test_what_the_engine_tells_of_records_is_no_circle(make: Make) -> None:
    assert faults(make, a="[{ event: team.updated }, { event: person.created }]", b="[{ after: a }]") == []


@pytest.mark.parametrize(
    ("trigger", "text"),
    [
        ('{ schedule: "0 0 1 1 * *" }', "`schedule` has 6 fields — write five (minute hour day month weekday)"),
        ('{ schedule: "0 0 31 2 *" }', "`schedule` never comes — no month of it has a day 31"),
        ('{ schedule: "* * * * *", jitter: 2h }', "has a jitter of more than an hour — write up to 1h"),
        ("{ after: teams, jitter: 1m }", "`jitter` belongs to `schedule`"),
        ("{ webhook: { connection: src, path: ../x } }", "`path` cannot be read — write letters"),
        ("{ webhook: { connection: src, path: /x } }", "`path` cannot be read — write letters"),
        ("{ webhook: { connection: nowhere, path: x } }", "there is no connection called 'nowhere'"),
        ('{ schedule: "* * * * *", timezone: Mars/Olympus }', "write an IANA time zone"),
    ],
)
def test_a_trigger_that_cannot_be_meant_is_told(make: Make, trigger: str, text: str) -> None:
    (found,) = faults(make, a=f"[{trigger}]")
    assert text in found and found.split()[1].startswith("flows/a.yaml:6:"), found


def test_a_connection_that_does_not_say_how_its_calls_are_verified_takes_none(make: Make) -> None:
    trigger = "[{ webhook: { connection: src, path: src/teams } }]"
    (found,) = faults(make, a=trigger)
    assert found.startswith("E359 flows/a.yaml:6:36 'src' takes no webhooks: files does not say")
    with taking_webhooks():
        assert faults(make, a=trigger) == []
