"""`call` steps: another flow, run for one record; over once that flow has brought it to its end."""

from __future__ import annotations

from engine.compile.steps import StepPlan
from engine.run.hand import Ended, Fails, Hand, Outcome, Waits
from engine.run.session import Options
from engine.run.waits import subject_of
from engine.sdk.errors import Problem
from engine.sdk.record import Fields
from engine.spec.process import ProcessFlow
from engine.state import exceptions, processes
from engine.state.store import instant, moment_of


def call(hand: Hand, step: StepPlan) -> Outcome:
    """Run the flow for the record. While it is busy, held, or has the record for a person, the step waits."""
    from engine.run.runner import Runner  # it runs processes

    with hand.looking(step) as (session, fields):
        session.env.followed.clear()
        given = step.record.evaluate(fields, session.env) if step.record is not None else hand.one.canonical_id
        reads, workspace, now = tuple(session.env.followed), hand.workspace, session.tx.now()
    id = subject_of(given)
    if id is None:
        text = step.record.text if step.record is not None else "the record"
        problem = Problem(
            "R635", f"{step.name}: {text} names no record", step.at, "complete the record: it goes on by itself"
        )
        return Waits("repair", "names no record", problem=problem, reads=reads)
    if hand.store.passing:
        return Ended({"flow": step.name, "run": None, "state": None}, f"would run {step.name} for {id}")
    began = str(hand.one.detail["since"]) if hand.one.waiting == "timer" and "since" in (hand.one.detail or {}) else now
    if step.model.timeout is not None and instant(moment_of(began) + step.model.timeout) <= now:
        problem = Problem(
            "R640", f"{step.name} did not come to its end in time", step.at, "see its exceptions; or raise `timeout`"
        )
        return Fails(problem, "check")
    options = Options(records=(id,), trigger="process", actor=hand.actor, correlation=hand.one.correlation,
                      now=hand.now)  # fmt: skip
    told = Runner(workspace, hand.store).run(step.name, options).run
    why = _left(hand, step, id, told, process=isinstance(workspace.document("flow", step.name).model, ProcessFlow))
    if why is None:
        return Ended(
            {"flow": step.name, "run": told["run"], "state": told["state"]}, f"run {told['run']}: {told['state']}"
        )
    return hand.later(why, detail={"message": why, "call": step.name, "for": id, "since": began})


def _left(hand: Hand, step: StepPlan, id: str, told: Fields, *, process: bool) -> str | None:
    """What is still to come of the called flow; None where it is over for the record."""
    if told["state"] not in ("succeeded", "partial"):
        reason = told["held_because"] or (told["error"] or {}).get("message") or ""
        return f"{step.name} was {told['state']}: {reason}"
    with hand.store.read() as tx:
        left = exceptions.listed(tx, flow=step.name, canonical_id=id)
        instances = [one for one in processes.of_record(tx, id) if one.flow == step.name]
    if left:
        return f"{step.name} has it in {left[0].id}: {left[0].message}"
    if process and (not instances or instances[-1].state != "done"):
        return (
            f"its instance {instances[-1].id} is {instances[-1].state}"
            if instances
            else "no instance of it was started"
        )
    return None if told["read"] else f"{step.name} reads no such record"
