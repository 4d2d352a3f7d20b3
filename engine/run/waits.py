"""`wait` steps: an event about a record, for as long as the step says."""

from __future__ import annotations

from engine.compile.steps import StepPlan
from engine.run.hand import Ended, Fails, Hand, Outcome, Waits
from engine.sdk.errors import Problem
from engine.sdk.event_types import fits, plain_type
from engine.sdk.record import JSON
from engine.state import waits
from engine.state.store import instant, moment_of


def subject_of(value: JSON) -> str | None:
    """The canonical id that a value names: a reference, or a record."""
    if isinstance(value, dict):
        value = value.get("id")
    return value if isinstance(value, str) else None


def wait(hand: Hand, step: StepPlan) -> Outcome:
    """Until the event has come; one that came before the step was reached counts, from the instance's start on."""
    awaited = str(step.model.event)
    with hand.looking(step) as (session, fields):
        given = step.subject.evaluate(fields, session.env) if step.subject is not None else hand.one.canonical_id
        subject = subject_of(given)
        if subject is None:
            text = step.subject.text if step.subject is not None else "the record"
            problem = Problem(
                "R635", f"{step.name}: {text} names no record", step.at, "complete the record: it goes on by itself"
            )
            return Waits("repair", "names no record", problem=problem, reads=tuple(session.env.followed))
        heard = waits.heard(session.tx, hand.one.flow, awaited, subject, hand.one.started_at, fits)
        now = session.tx.now()
    if heard is not None:
        event, at, type, data = heard
        plain = plain_type(type)
        return Ended({"type": plain, "id": event, "at": at, "data": data}, f"heard {plain}")
    detail = {"event": awaited, "for": subject}
    standing = hand.one.waiting == "event" and hand.one.detail == detail
    until = hand.one.until if standing else instant(moment_of(now) + step.model.timeout) if step.model.timeout else None
    if until is not None and until <= now:
        problem = Problem(
            "R636", f"{step.name}: {awaited} did not come in time", step.at, "see why; or raise `timeout`"
        )
        return Fails(problem, "check")
    return Waits("event", f"waits for {awaited}", until=until, detail=detail)
