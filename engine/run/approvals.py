"""`approve` steps: a person decides, about what was shown and nothing else; changed content is asked about anew."""

from __future__ import annotations

from engine.compile.steps import StepPlan
from engine.run.hand import Back, Ended, Fails, Hand, Outcome, Waits
from engine.sdk.errors import Problem
from engine.state import approvals, processes
from engine.state.approvals import Approval
from engine.state.steps import steps_of
from engine.state.store import Tx, instant, moment_of

USED = ("done", "failed", "undone", "left")
"""States of an acting step after which an approval has been used."""


def approve(hand: Hand, step: StepPlan) -> Outcome:
    """Ask, or see what was decided. The question stands until its content changes, it is decided, or it expires."""
    with hand.looking(step) as (session, fields):
        seen = hand.seen(session.tx, step.number)
        message = (
            step.message.render(fields, session.env)
            if step.message
            else f"{step.name}: {hand.one.entity} {_label(hand, fields)}"
        )
    with hand.store.begin("approval") as tx:
        last = approvals.last_of(tx, hand.one.id, step.name)
        if last is not None and last.state == "open" and last.digest != seen:
            approvals.decide(tx, last, "void", processes.ENGINE, "what it was asked for has changed")
            last = None
        if last is not None and last.state == "approved" and last.digest == seen:
            return Ended({"approved_by": last.decided_by, "at": last.decided_at, "because": last.because, "approval": last.id},
                         f"approval {last.id} was given by {last.decided_by}")  # fmt: skip
        if last is not None and last.state == "rejected":
            problem = Problem("R631", f"{step.name}: {last.decided_by} rejected it: {last.because or 'no reason given'}", step.at,
                              "correct the record: a changed one starts anew")  # fmt: skip
            return Fails(problem, "check", always=True)
        if last is not None and last.state == "open" and last.expires is not None and last.expires <= tx.now():
            over = _expired(hand, step, tx, last)
            if over is not None:
                return over
        if last is None or last.state not in ("open",):
            _ask(hand, step, tx, seen, message)
        standing = approvals.open_of(tx, hand.one.id, step.name)
    assert standing is not None
    detail = {"approval": standing.id, "message": standing.message}
    return Waits("approval", "approval is asked for", until=standing.expires, queue=standing.queue, detail=detail)


def _ask(hand: Hand, step: StepPlan, tx: Tx, seen: bytes, message: str) -> None:
    expires = instant(moment_of(tx.now()) + step.model.expires) if step.model.expires else None
    approvals.ask(
        tx, hand.one.id, hand.one.flow, step.name, str(step.model.queue), seen, message, hand.one.started_by, expires
    )


def _expired(hand: Hand, step: StepPlan, tx: Tx, last: Approval) -> Outcome | None:
    """Nobody decided in time: what the step says; None where it goes on waiting, in another queue."""
    how = step.model.on_expiry
    if how == "escalate":
        approvals.escalate(tx, last, hand.plan.flow.owner or last.queue)
        return None
    why = "nobody decided in time"
    if how == "approve":
        approvals.decide(tx, last, "approved", processes.ENGINE, why)
        result = {"approved_by": processes.ENGINE, "at": tx.now(), "because": why, "approval": last.id}
        return Ended(result, f"approval {last.id} is taken as given: {why}")
    approvals.decide(tx, last, "expired", processes.ENGINE, why)
    problem = Problem("R632", f"{step.name}: {why}", step.at, "a changed record starts anew; or raise `expires`")
    return Fails(problem, "check", ending="expired", always=True)


def still_approved(hand: Hand, step: StepPlan) -> Back | None:
    """Before a step acts: what was approved is what there is. Else the instance goes back, and a person is asked anew.

    Once a step has acted on an approval, the record may change: it was for that act.
    """
    with hand.store.read() as tx:
        rows = steps_of(tx, hand.one.id)
        sent = processes.operations_of(tx, hand.one.id)
        for before in hand.plan.steps[: step.number]:
            given = hand.one.context.get(before.name) if before.kind == "approve" else None
            if not isinstance(given, dict) or not given.get("approval"):
                continue
            between = [one for one in hand.plan.steps[before.number + 1 : step.number + 1] if one.acts]
            used = any(rows[one.number].state in USED for one in between if one.number in rows)
            if used or any(row[0] >= str(given["at"]) for row in sent):
                continue
            approval = approvals.get(tx, str(given["approval"]))
            if approval is not None and approval.digest != hand.seen(tx, before.number):
                break
        else:
            return None
    context = {
        name: value for name, value in hand.one.context.items()
        if name in {one.name for one in hand.plan.steps[: before.number]}
    }  # fmt: skip
    with hand.store.begin("approval") as tx:
        tx.run("UPDATE approvals SET state = 'void' WHERE id = ? AND state = 'approved'", (approval.id,))
        hand.move(f"approval {approval.id} is void: what it was given for has changed", label=before.name, tx=tx,
                  state="running", step=before.number, context=context)  # fmt: skip
    return Back()


def _label(hand: Hand, fields: dict[str, object]) -> str:
    """What a person recognises the record by."""
    name = hand.plan.intake.schema.label
    return str(fields.get(name) or hand.one.canonical_id) if name else hand.one.canonical_id
