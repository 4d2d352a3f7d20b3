"""The steps of a process, one after the other: each outcome is committed before the next begins."""

from __future__ import annotations

from collections.abc import Callable

from engine.compile.functions import FunctionFault
from engine.compile.operators import true
from engine.compile.steps import StepPlan
from engine.run.approvals import approve, still_approved
from engine.run.calls import call
from engine.run.compensation import begin_compensation, compensate
from engine.run.derivations import derive
from engine.run.faults import internal
from engine.run.finds import find
from engine.run.hand import Back, Ended, Fails, Hand, Outcome, Waits
from engine.run.publications import publish
from engine.run.waits import wait
from engine.run.writes import write
from engine.sdk.errors import ConnectorError, CrosswalkError, Problem
from engine.state import exceptions
from engine.state.steps import begin_step, end_step

DEATHS = 3
"""Processes that may end in the middle of a step before it is set aside."""


def check(hand: Hand, step: StepPlan) -> Outcome:
    """A business rule: where it does not hold, the instance waits until its record is mended."""
    assert step.that is not None
    with hand.looking(step) as (session, fields):
        session.env.followed.clear()
        if true(step.that.evaluate(fields, session.env)):
            return Ended(result=True, what="holds")
        text = step.message.render(fields, session.env) if step.message else f"does not hold: {step.that.text}"
        reads = tuple(session.env.followed)
    problem = Problem("E430", f"{step.name}: {text}", step.at, "correct the record: the process goes on by itself")
    return Waits("repair", "does not hold", queue=step.model.queue, problem=problem, reads=reads)


KINDS: dict[str, Callable[[Hand, StepPlan], Outcome]] = {
    "check": check,
    "approve": approve,
    "find": find,
    "write": write,
    "derive": derive,
    "wait": wait,
    "call": call,
    "publish": publish,
}


def go_on(hand: Hand) -> None:
    """Move an instance as far as it comes now. Raises Passed where somebody else moves it, Lost where they hold its lease."""
    if hand.one.state == "running" and hand.one.attempts > DEATHS:
        step = hand.plan.steps[hand.one.step]
        problem = Problem("R638", f"{step.name}: {DEATHS} processes ended in the middle of it", step.at,
                          "see what of it ends the process, then `crosswalk processes resume`")  # fmt: skip
        hand.wait(step, Waits("repair", "set aside", problem=problem, exception_class="internal"))
        return
    while hand.one.state in ("running", "waiting"):
        if hand.one.step >= len(hand.plan.steps):
            hand.move("done", state="done")
            return
        step = hand.plan.steps[hand.one.step]
        if not _settle(hand, step, _judged(hand, step)):
            break
    if hand.one.state == "compensating":
        compensate(hand)


def _judged(hand: Hand, step: StepPlan) -> Outcome | None:
    """What a step comes to; None where its `when` leaves it out. Whatever goes wrong is an outcome."""
    try:
        if step.when is not None:
            with hand.looking(step) as (session, fields):
                if not true(step.when.evaluate(fields, session.env)):
                    return None
        if step.acts:
            moved = still_approved(hand, step)
            if moved is not None:
                return moved
        return KINDS[step.kind](hand, step)
    except FunctionFault as fault:
        problem = Problem("E431", f"{step.name}: {fault}", step.at, "correct the step, or the record")
        return Waits("repair", "cannot be evaluated", problem=problem, exception_class="mapping")
    except ConnectorError as error:
        if error.transient:
            return hand.later(f"{error.problem.message}", error.problem)
        return Waits("repair", "the system cannot be used", problem=error.problem, exception_class="connection")
    except CrosswalkError:
        raise
    except Exception as error:  # noqa: BLE001 - one instance must not end the run of all
        problem = internal(hand.one.id, error, step.at)
        return Waits("repair", "fell over", problem=problem, exception_class="internal")


def _settle(hand: Hand, step: StepPlan, outcome: Outcome | None) -> bool:
    """Commit what a step came to; whether the instance goes on at once."""
    one = hand.one
    if isinstance(outcome, Back):
        return True
    if isinstance(outcome, Waits):
        hand.wait(step, outcome)
        return False
    if isinstance(outcome, Fails):
        if hand.plan.flow.on_failure == "wait" and not outcome.always:
            hand.wait(step, Waits("repair", "failed", problem=outcome.problem, exception_class=outcome.exception_class,
                                  exception=outcome.exception))  # fmt: skip
            return False
        begin_compensation(hand, step, outcome)
        return False
    result, what = (outcome.result, outcome.what) if outcome is not None else (None, "skipped")
    with hand.store.begin("process") as tx:
        if outcome is None or step.kind not in ("write", "derive"):
            begin_step(tx, one.id, step.number, step.name, step.kind, hand.advance, {})
        end_step(tx, one.id, step.number, "skipped" if outcome is None else "done")
        if outcome is not None and outcome.also is not None:
            outcome.also(tx)
        exceptions.close(tx, one.flow, [(one.canonical_id, "", f"step {step.name}")], f"{one.id} went on")
        context = {**one.context, step.name: result} if step.gives else one.context
        last = step.number + 1 >= len(hand.plan.steps)
        hand.move(
            what, label=step.name, tx=tx, state="done" if last else "running", step=step.number + 1, context=context
        )
    return not last
