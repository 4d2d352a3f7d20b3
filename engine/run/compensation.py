"""What was done is taken back: the `undo`s of finished steps, the last first, each committed before the next begins."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from engine.compile.steps import StepPlan
from engine.compile.sync import SyncPlan, TargetPlan
from engine.run.diff import diff_items
from engine.run.hand import Fails, Hand, Waits
from engine.run.items import Item
from engine.run.resolve import resolve_in_doubt
from engine.run.session import Session
from engine.run.writes import TRIES, Done, item_of, judged, send, slots_of, surroundings
from engine.sdk.errors import ConnectorError, Problem
from engine.sdk.record import same
from engine.state import approvals, canonical, operations
from engine.state.steps import StepRow, end_step, steps_of


def begin_compensation(hand: Hand, step: StepPlan | None, failed: Fails) -> None:
    """The instance turns round: from here on, what it did is taken back."""
    told = {"message": failed.problem.message, "code": failed.problem.code}
    with hand.store.begin("process") as tx:
        if step is not None and step.number in steps_of(tx, hand.one.id):
            end_step(tx, hand.one.id, step.number, "failed")
        approvals.withdraw(tx, hand.one.id, "void")
        exception = failed.exception or hand.note(tx, step, failed.problem, failed.exception_class, None)
        hand.move(f"failed: {failed.problem.message}", label=step.name if step else None, told=told, tx=tx, state="compensating",
                  detail=told, ending=failed.ending, exception=exception)  # fmt: skip


def compensate(hand: Hand) -> None:
    """Undo what is left to undo. A step whose kind is `none` stays, and so does everything before it."""
    why = hand.one.detail
    with hand.store.read() as tx:
        rows = steps_of(tx, hand.one.id)
    for step in reversed(hand.plan.steps[: hand.one.step + 1]):
        row = rows.get(step.number)
        if row is None or row.kind != "write" or row.state not in ("begun", "done", "failed") or not _acted(row):
            continue
        if row.undo is None:
            hand.move("stays as it is", label=step.name, state="compensating", step=step.number - 1, detail=why,
                      ending=hand.one.ending, exception=hand.one.exception)  # fmt: skip
            continue
        if row.undo.get("kind") == "none":
            problem = Problem("R637", f"{step.name} cannot be taken back, nor is what came before it", step.at,
                              "set right by hand what should not stand, then `crosswalk processes cancel`")  # fmt: skip
            _for_a_person(hand, step, problem, "conflict")
            return
        if not _undone(hand, step, row, why):
            return
    ending = hand.one.ending or "compensated"
    decided = ending == "cancelled" or (why or {}).get("code") == "R631"
    told_of = None if decided else hand.one.exception  # what nobody decided stays to be seen
    hand.move({"compensated": "everything is taken back", "cancelled": "cancelled", "expired": "expired"}[ending],
              state=ending, detail=why, ending=None, exception=told_of)  # fmt: skip


def _acted(row: StepRow) -> bool:
    """Whether anything of the step may be at a target."""
    return any(one.get("intended") for records in row.result.get("targets", {}).values() for one in records.values())


def _for_a_person(hand: Hand, step: StepPlan, problem: Problem, exception_class: Any) -> None:
    with hand.store.begin("process") as tx:
        exception = hand.note(tx, step, problem, exception_class, None)
        hand.move(problem.message, label=step.name, tx=tx, state="needs_person", step=step.number, exception=exception,
                  detail={"message": problem.message, "code": problem.code}, ending=hand.one.ending)  # fmt: skip


def _undone(hand: Hand, step: StepPlan, row: StepRow, why: Any) -> bool:
    """Take one step back; False where that is not over yet."""
    try:
        told = _undo(hand, step, row)
    except ConnectorError as error:
        told = hand.later(error.problem.message, error.problem)
    if isinstance(told, Fails) or (isinstance(told, Waits) and told.kind == "repair"):
        given = told.problem
        assert given is not None
        _for_a_person(hand, step, Problem("R639", f"{step.name} could not be taken back: {given.message}", given.at, given.hint),
                      told.exception_class)  # fmt: skip
        return False
    if isinstance(told, Waits):
        with hand.store.begin("process") as tx:
            tx.run(
                "UPDATE processes SET until = ? WHERE id = ? AND version = ?",
                (told.until, hand.one.id, hand.one.version),
            )
        hand.one = hand.one._replace(until=told.until)
        return False
    with hand.store.begin("process") as tx:
        end_step(tx, hand.one.id, step.number, "undone")
        hand.move(told, label=step.name, tx=tx, state="compensating", step=step.number - 1, detail=why, ending=hand.one.ending,
                  exception=hand.one.exception)  # fmt: skip
    return True


def _undo(hand: Hand, step: StepPlan, row: StepRow) -> str | Waits | Fails:
    """Send the undo of a step; what to say of it once every target has it."""
    plan, undo = step.plan, row.undo
    assert plan is not None
    delete = bool(undo.get("delete"))
    done: Done = row.result["targets"]
    for _ in range(TRIES):
        session = hand.session(plan)
        resolve_in_doubt(session, plan)
        with session.reading() as tx:
            wanted = _wanted(session, plan, done, delete)
            if isinstance(wanted, (Waits, Fails)):
                return wanted if isinstance(wanted, Fails) else hand.later(wanted.what, wanted.problem)
            targets, ids = wanted
            if not ids:
                return "there was nothing to take back"
            undoing = replace(plan, targets=tuple(targets))
            made = _made(hand, tx)
            items = []
            for id, stored in canonical.get(tx, plan.schema.entity, ids).items():
                item = item_of(hand, step, id, stored)
                fault = _changed(hand, plan, item, undo, delete=delete, made=id in made, session=session)
                if fault is not None:
                    return Fails(fault, "validation")
                items.append(item)
            session.plan = undoing
            surroundings(session, undoing)
            session.live = set()  # that it is taken back mends nothing
            diff_items(session, undoing, items, slots_of(session, undoing))
        send(hand, step, session, undoing, items, {name: dict(records) for name, records in done.items()})
        if session.redo:
            continue
        troubles = [(one.trouble, item, one) for item in items for one in item.deliveries if one.trouble is not None]
        if troubles:
            return judged(hand, troubles)
        return "deleted what it had made" if delete else "taken back"
    return hand.later("its record is changed again and again meanwhile")


def _wanted(
    session: Session, plan: SyncPlan, done: Done, delete: bool
) -> tuple[list[TargetPlan], list[str]] | Waits | Fails:
    """The targets and records that there is something to take back of. What nobody knows the end of is waited for."""
    targets, ids = [], dict[str, None]()
    for target in plan.targets:
        records = done.get(target.name, {})
        touched = {name: one for name, one in records.items() if one.get("intended")}
        busy = operations.open_for(
            session.tx, target.connection, target.info.name, [name.split(".")[0] for name in touched]
        )
        for one in busy.values():
            problem = Problem("E441", f"{target.name}: an earlier {one.kind} of it has no known outcome yet", target.at,
                              "it is looked for, and taken back then")  # fmt: skip
            if one.write_class == "D" and one.kind not in operations.SAFE_AGAIN:
                return Fails(problem, "in_doubt")
            if one.kind == "create":
                return Waits("timer", problem.message, problem=problem)
        if delete:
            touched = {name: one for name, one in touched.items() if one["intended"] == "create"}
        if touched:
            how: dict[str, Any] = {"operation": "update", "when": None}
            if delete:
                how |= {"on_delete": "delete", "on_leave": "delete"}
            targets.append(replace(target, **how))
            ids.update(dict.fromkeys(name.split(".")[0] for name in touched))
    return targets, list(ids)


def _made(hand: Hand, tx: Any) -> set[str]:
    """Records that the instance itself derived, and that were not there before."""
    rows = steps_of(tx, hand.one.id).values()
    return {id for row in rows if row.kind == "derive" for id in row.result.get("made", [])}


def _changed(hand: Hand, plan: SyncPlan, item: Item, undo: dict[str, Any], *, delete: bool, made: bool,
             session: Session) -> Problem | None:  # fmt: skip
    """Make the item what it is to be afterwards; the problem of a change that its schema does not admit."""
    if delete:
        item.left, item.deleted, item.changed = True, made, made
        return None
    merged = {**item.merged, **(undo.get("update") or {})}
    fields = [name for name, value in merged.items() if name not in item.merged or not same(value, item.merged[name])]
    if not fields:
        return None
    at = plan.document.at("undo")
    if not plan.schema.accepts(merged):
        path, what = next(plan.schema.faults(merged))
        return Problem("E420", f"{path}: {what}", at, "write what the schema admits")
    for name in plan.schema.transitions:
        problem = plan.schema.transition_problem(name, item.merged.get(name), merged.get(name), at)
        if problem is not None:
            return problem
    stamp = ["canonical", "canonical", None]
    item.merged, item.changed = merged, True
    item.provenance = {**item.provenance, **dict.fromkeys(fields, stamp)}
    return None
