"""What people decide about process instances: approvals by somebody else than who asked, going on, giving up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.compile.process import compile_process
from engine.run.connectors import Connectors
from engine.run.hand import Hand
from engine.run.pinned import pinned
from engine.run.process import advance, resume
from engine.run.session import Session
from engine.sdk.errors import Problem, UsageError
from engine.sdk.record import Fields
from engine.state import approvals, audit, corrections, exceptions, processes
from engine.state.approvals import Approval
from engine.state.leases import Lease
from engine.state.processes import Instance
from engine.state.store import Tx

if TYPE_CHECKING:
    from engine.run.runner import Runner

DONE = {"approve": "approved", "reject": "rejected"}
GIVEN_UP = ("running", "waiting", "paused")
PAUSABLE = ("running", "waiting", "compensating")


def approval_of(tx: Tx, id: str) -> Approval:
    """An approval by its id. Raises UsageError X923."""
    found = approvals.get(tx, id)
    if found is None:
        raise UsageError(Problem("X923", f"there is no approval {id!r}", None, "see `crosswalk approvals list`"))
    return found


def instance_of(tx: Tx, id: str) -> Instance:
    """An instance by its id. Raises UsageError X923."""
    found = processes.get(tx, id)
    if found is None:
        raise UsageError(
            Problem("X923", f"there is no process instance {id!r}", None, "see `crosswalk processes list`")
        )
    return found


def decide(runner: Runner, id: str, verdict: str, person: str, because: str) -> Approval:
    """Approve or reject, once; the approval as it is then. Saying the same again changes nothing.

    Raises UsageError: X924 decided already, X925 by who asked for it, X926 what it is about has changed meanwhile.
    """
    store = runner.store
    with store.read() as tx:
        asked = approval_of(tx, id)
        one = instance_of(tx, asked.instance)
        own = processes.askers(tx, one.id) | {asked.requested_by} | corrections.people(tx, one.flow, one.canonical_id)
    if asked.state == DONE[verdict] and asked.decided_by == person:
        return asked
    if asked.state != "open":
        raise UsageError(_decided(asked))
    if person in own:
        raise UsageError(Problem("X925", f"{person} asked for {id}, and does not decide on it", None,
                                 f"somebody else of {asked.queue} does"))  # fmt: skip
    if seen_now(runner, one, asked.step) != asked.digest:
        with store.begin("decide") as tx:
            approvals.decide(tx, asked, "void", processes.ENGINE, "what it was asked for has changed")
            processes.wake(tx, [one.id])
        advance(runner, one.id)
        with store.read() as tx:
            fresh = approvals.open_of(tx, one.id, asked.step)
        hint = (
            f"look at it again: crosswalk approvals show {fresh.id}"
            if fresh
            else f"see `crosswalk processes show {one.id}`"
        )
        raise UsageError(Problem("X926", f"what {id} is about has changed since it was asked for", None, hint))
    with store.begin("decide") as tx:
        taken = approvals.decide(tx, asked, DONE[verdict], person, because)
        if taken:
            processes.wake(tx, [one.id])
            detail = {"instance": one.id, "digest": asked.digest.hex(), "because": because}
            audit.append(tx, person, f"approvals {verdict}", id, detail)
        after = approval_of(tx, id)
    if not taken and not (after.state == DONE[verdict] and after.decided_by == person):
        raise UsageError(_decided(after))
    return after


def _decided(asked: Approval) -> Problem:
    who = f" by {asked.decided_by}" if asked.decided_by else ""
    return Problem(
        "X924", f"{asked.id} is {asked.state}{who} already", None, f"see `crosswalk processes show {asked.instance}`"
    )


def seen_now(runner: Runner, one: Instance, step: str) -> bytes:
    """The digest of what a person would be asked about now."""
    variant = pinned(runner.workspace, runner.store, one.logic)
    registry = type(runner)(variant, runner.store).registry()
    plan = compile_process(variant.document("flow", one.flow), registry, None)
    number = next(found.number for found in plan.steps if found.name == step)
    connectors = Connectors(runner.workspace, None, runner.store)
    hand = Hand(runner.workspace, runner.store, connectors, plan, one, one.id, Lease("", "", 0), Session)
    with runner.store.read() as tx:
        return hand.seen(tx, number)


def resume_instance(runner: Runner, id: str, person: str, because: str) -> Instance:
    """Try the open step of an instance again, go on with taking it back, or end its pause. Raises UsageError X923, X924."""
    with runner.store.begin("resume process") as tx:
        one = instance_of(tx, id)
        moved = processes.unpause(tx, one, person) if one.state == "paused" else resume(tx, one, person)
        if moved is None:
            state = f"{one.state} ({one.waiting})" if one.waiting else one.state
            raise UsageError(Problem("X924", f"there is nothing to resume: {id} is {state}", None,
                                     "only what is paused, waits for a repair, or needs a person is resumed"))  # fmt: skip
        audit.append(tx, person, "processes resume", id, {"because": because})
    return moved


def pause_instance(runner: Runner, id: str, person: str, because: str) -> Instance:
    """Let an instance do nothing until it is resumed. Raises UsageError X923, X924."""
    with runner.store.begin("pause process") as tx:
        one = instance_of(tx, id)
        if one.state not in PAUSABLE:
            raise UsageError(Problem("X924", f"there is nothing to pause: {id} is {one.state}", None,
                                     f"see `crosswalk processes show {id}`"))  # fmt: skip
        moved = processes.pause(tx, one, person, because)
        if moved is None:
            raise UsageError(Problem("X924", f"{id} has moved meanwhile", None, f"see `crosswalk processes show {id}`"))
        audit.append(tx, person, "processes pause", id, {"because": because})
    return moved


def pause_flow(runner: Runner, flow: str, person: str, because: str) -> list[Instance]:
    """Pause every instance of a flow that can do something; those that are paused by it."""
    return _each(runner, flow, PAUSABLE, "processes pause", {"because": because},
                 lambda tx, one: processes.pause(tx, one, person, because), person)  # fmt: skip


def resume_flow(runner: Runner, flow: str, person: str, because: str) -> list[Instance]:
    """End the pauses of a flow's instances; those that go on."""
    return _each(runner, flow, ("paused",), "processes resume", {"because": because},
                 lambda tx, one: processes.unpause(tx, one, person), person)  # fmt: skip


def _each(runner: Runner, flow: str, states: tuple[str, ...], what: str, detail: Fields,
          do: Callable[[Tx, Instance], Instance | None], person: str) -> list[Instance]:  # fmt: skip
    """Do it with every instance in one of these states, each in its own transaction; one that moved is tried again."""
    with runner.store.read() as tx:
        ids = [one.id for state in states for one in processes.listed(tx, flow, state, limit=1_000_000)]
    moved = []
    for id in sorted(ids):
        after = None
        while after is None:
            with runner.store.begin("each process") as tx:
                one = instance_of(tx, id)
                if one.state not in states:
                    break
                after = do(tx, one)
                if after is not None:
                    audit.append(tx, person, what, id, detail)
        moved += [after] if after is not None else []
    return moved


def cancel_instance(runner: Runner, id: str, person: str, because: str) -> Instance:
    """Give an instance up: what it did is taken back. One that needs a person is over. Raises UsageError X923, X924."""
    with runner.store.begin("cancel process") as tx:
        one = instance_of(tx, id)
        detail = {"message": f"cancelled by {person}: {because}", "code": None}
        if one.state in GIVEN_UP:
            moved = processes.move(tx, one, f"cancelled: {because}", person=person, state="compensating", ending="cancelled",
                                   detail=detail, exception=one.exception)  # fmt: skip
        elif one.state == "needs_person":
            if one.exception is not None:  # they saw to the rest
                exceptions.set_state(tx, [one.exception], "closed", f"{person} gave {id} up")
            moved = processes.move(tx, one, f"cancelled: {because}", person=person, state="cancelled", detail=detail,
                                   exception=None, ending=None)  # fmt: skip
        else:
            raise UsageError(
                Problem(
                    "X924", f"there is nothing to cancel: {id} is {one.state}", None, "see `crosswalk processes show`"
                )
            )
        if moved is None:
            raise UsageError(Problem("X924", f"{id} has moved meanwhile", None, f"see `crosswalk processes show {id}`"))
        approvals.withdraw(tx, id, "void")
        processes.wake(tx, [id])
        audit.append(tx, person, "processes cancel", id, {"because": because})
    return moved
