"""Messages of process flows: what a step that cannot go on tells a person, and what `validate` says of a flow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from engine.sdk.errors import Problem
from engine.state import approvals, exceptions, processes
from engine.state.store import Store
from tests.messages.case import Place, case
from tests.run.process_world import STEPS, World, files

APPROVE = "  - approve: large\n    queue: cfo\n    expires: 3d\n"
WAIT = "  - wait: staffed\n    event: project.staffed\n    timeout: 30d\n"
LONG_AGO = "2026-01-01T00:00:00.000000Z"


@contextmanager
def played(place: Place, steps: str = STEPS, **more: str) -> Iterator[World]:
    store = Store.open("sqlite:///.crosswalk/state.db", place.write(files(steps, **more)))
    try:
        yield World(place.folder, store)
    finally:
        store.close()


def told(world: World, code: str) -> str:
    """The line of the exception with that code."""
    with world.state.read() as tx:
        row = next(one for one in exceptions.listed(tx, everything=True) if one.code == code)
    place = f"{row.at} " if row.at else ""
    return f"{row.code} {place}{row.message} — {row.hint}"


def _static(code: str, old: str, new: str) -> None:
    @case(code)
    def run(place: Place) -> Problem:
        text = files()["flows/deals.yaml"]
        assert old in text
        return place.fault(code, {**files(), "flows/deals.yaml": text.replace(old, new)})


_static("E366", "entity: deal\n", "entity: deal\ntrigger: [{ event: project.created }]\n")
_static("E367", "record: client\n", "record: client.name\n")
_static("E368", "by: { tax_id: client.tax_id }", "by: { tax: client.tax_id }")
_static("E369", "mapping: canonical/deal_to_project", "mapping: crm/deal")
_static("E370", "mapping: canonical/deal_to_project\n", "mapping: canonical/deal_to_project\n    role: erp\n")


def _of_a_test(code: str, body: str) -> None:
    @case(code)
    def run(place: Place) -> Problem:
        return place.fault(
            code,
            {
                **files(STEPS + APPROVE),
                "tests/t.yaml": f"test: t\n{body}{'' if 'expect_' in body else 'expect_state: done'}\n",
            },
        )


_of_a_test("E384", "flow: clients\ngiven: { crm: { accounts: [] } }\napprovals: { large: approve }\n")
_of_a_test("E398", "flow: clients\ngiven: { crm: { accounts: [] } }\nexpect_breaks: []\n")
_of_a_test("E385", "flow: deals\ngiven: { crm: { deals: [] } }\napprovals: { lagre: approve }\n")


def _running(code: str, steps: str, do: Callable[[World], None], **more: str) -> None:
    @case(code)
    def run(place: Place) -> str:
        with played(place, steps, **more) as world:
            do(world)
            return told(world, code)


def refused(world: World) -> None:
    world.run()
    with world.state.begin("approve") as tx:
        (asked,) = approvals.listed(tx)
        approvals.decide(tx, asked, "rejected", "ann", "too large")
        processes.wake(tx, [asked.instance])
    world.run()


def overdue(world: World) -> None:
    world.run()
    with world.state.begin("age") as tx:
        tx.run("UPDATE approvals SET expires = ?", (LONG_AGO,))
        tx.run("UPDATE processes SET until = ?", (LONG_AGO,))
    world.run()


def two_customers(world: World) -> None:
    world.memory["erp"].put(
        "customers", [{"id": "1", "name": "Acme", "tax": "T1"}, {"id": "2", "name": "ACME", "tax": "T1"}]
    )
    world.run()


def no_tax(world: World) -> None:
    world.account("a1", "Acme", None)
    world.run()


def no_client(world: World) -> None:
    world.deal("d1", "Mill", account=None)
    world.run()


def refuses(world: World) -> None:
    world.memory["erp"].faults["jobs"] = ["refuse"] * 3
    world.run()


def undo_refused(world: World) -> None:
    world.memory["erp"].faults["jobs"] = ["refuse"]
    world.memory["psa"].faults["projects"] = ["", "refuse"]
    world.run()


def died_often(world: World) -> None:
    world.run()
    with world.state.begin("process") as tx:
        one = processes.listed(tx)[0]
        moved = processes.move(tx, one, "resumed", state="running")
        tx.run("UPDATE processes SET attempts = 3 WHERE id = ?", (one.id,))
        assert moved is not None
    world.run()


def forgotten(world: World) -> None:
    world.run()
    with world.state.begin("process") as tx:
        tx.run("UPDATE processes SET logic = ?, nudged = 1", (b"0" * 16,))
    world.run()


def called_too_long(world: World) -> None:
    world.run("clients")
    world.account("a1", None, "T1")
    world.run("deals")
    with world.state.begin("age") as tx:
        one = processes.listed(tx)[0]
        detail = {**one.detail, "since": LONG_AGO}
        processes.move(tx, one, "waits", state="waiting", waiting="timer", until=LONG_AGO, detail=detail)
    world.run("deals")


_running("R631", APPROVE, refused)
_running("R632", APPROVE, overdue)
_running("R633", STEPS, two_customers)
_running("R634", STEPS, no_tax)
_running("R635", STEPS[STEPS.index("  - write: customer") :], no_client)
_running("R636", WAIT, overdue)
_running(
    "R637", STEPS.replace("undo: { update: { status: cancelled }, kind: semantic }", "undo: { kind: none }"), refuses
)
_running("R638", APPROVE, died_often)
_running("R639", STEPS, undo_refused)
_running("R640", "  - call: clients\n    record: client\n    timeout: 1h\n", called_too_long)
_running("R641", APPROVE, forgotten)


def _deciding(code: str, do: Callable[[World], None]) -> None:
    @case(code)
    def run(place: Place) -> str:
        with played(place, APPROVE) as world:
            world.run(actor="bob")
            do(world)
        return "nothing was refused"


_deciding("X923", lambda world: world.decide("approve", "ann", "v-1"))
_deciding("X924", lambda world: (world.decide("reject", "ann"), world.decide("approve", "cyd"))[0])
_deciding("X925", lambda world: world.decide("approve", "bob"))


def changed_meanwhile(world: World) -> None:
    world.change("amount", 99)
    world.decide("approve", "ann")


_deciding("X926", changed_meanwhile)


@case("X930")
def a_saved_plan(place: Place) -> str:
    place.write(files())
    return place.command("plan", "deals", "--save", "p.json")


@case("X931")
def neither(place: Place) -> str:
    place.write(files())
    return place.command("processes", "pause", "--because", "x")
