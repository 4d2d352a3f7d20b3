"""`write` steps: operations of the same journal, ledger and links as every sync flow's, so that the two never double.

What the step is about to do, and how it is taken back, is committed before any byte leaves; what became of it with the
closing transaction of the write.
"""

from __future__ import annotations

from typing import Any

from engine.compile.steps import StepPlan
from engine.compile.sync import SyncPlan
from engine.run.commit import commit_items
from engine.run.deliver import deliver_items
from engine.run.diff import diff_items
from engine.run.echo import mirrored_places
from engine.run.hand import Ended, Fails, Hand, Outcome, Waits
from engine.run.items import Delivery, Item, Trouble
from engine.run.plan import note_changes
from engine.run.resolve import resolve_in_doubt
from engine.run.session import Session
from engine.run.waits import subject_of
from engine.sdk.errors import Problem
from engine.sdk.record import JSON, Fields, Record, decode_json
from engine.state import canonical, exceptions
from engine.state.steps import begin_step, note_result, steps_of
from engine.state.store import Tx

TRIES = 8
"""Times that a write begins anew because its record was changed meanwhile."""
FOR_A_PERSON = ("in_doubt", "ambiguous_match", "missing_reference", "connection")
"""Classes of trouble that no `undo` answers: a person mends the cause, and the step is tried again."""
Done = dict[str, dict[str, dict[str, Any]]]
"""target → record and part → {intended, outcome, native}."""


def write(hand: Hand, step: StepPlan) -> Outcome:
    """Write the step's records to its targets; over once each target has each of them."""
    plan = step.plan
    assert plan is not None
    for _ in range(TRIES):
        session = hand.session(plan)
        resolve_in_doubt(session, plan)
        with session.reading():
            found = _records(hand, step, session, plan)
            if isinstance(found, Waits):
                return found
            items = [item_of(hand, step, id, stored) for id, stored in found.items()]
            surroundings(session, plan)
            diff_items(session, plan, items, slots_of(session, plan))
        done = _intentions(hand, step, items)
        send(hand, step, session, plan, items, done)
        if not session.redo:
            return _outcome(hand, step, items, done)
    return hand.later("its record is changed again and again meanwhile")


def send(hand: Hand, step: StepPlan, session: Session, plan: SyncPlan, items: list[Item], done: Done) -> None:
    """Deliver and commit; what is known of each target is noted in the same transaction. Raises Lost."""

    def note(tx: Tx, items: list[Item]) -> None:
        for item in items:
            for one in item.deliveries:
                if not item.lost:
                    _noted(done, item, one)
        note_result(tx, hand.one.id, step.number, {"targets": done})

    session.also.append(note)
    if hand.store.passing:
        note_changes(session, items)
        told = ({name: value for name, value in one.items() if name != "planned"} for one in session.changes)
        hand.changes += [{**one, "step": step.name} for one in told]
    deliver_items(session, plan, items)
    commit_items(session, plan, items)
    for target, counts in session.counts.targets.items():
        kept = hand.counts.targets.setdefault(target, dict.fromkeys(counts, 0))
        for name, count in counts.items():
            kept[name] += count


def ids_of(value: JSON) -> list[str] | None:
    """The canonical ids that a value names: a reference, a record, or a list of them; None where one names none."""
    if isinstance(value, list):
        found = [subject_of(one) for one in value]
        return [one for one in found if one is not None] if None not in found else None
    one = subject_of(value)
    return [one] if one is not None else None


def _records(hand: Hand, step: StepPlan, session: Session, plan: SyncPlan) -> dict[str, canonical.Stored] | Waits:
    """The records that the step writes, as they are now."""
    fields = hand.context(session.tx, step.number)
    session.env.followed.clear()
    value = step.record.evaluate(fields, session.env) if step.record is not None else fields
    ids, text = ids_of(value), step.record.text if step.record is not None else "the record"
    stored = canonical.get(session.tx, plan.schema.entity, ids or [])
    missing = [one for one in ids or [] if one not in stored or stored[one].deleted]
    if ids is not None and not missing:
        return {one: stored[one] for one in ids}
    what = (
        f"{text} names no {plan.schema.entity}"
        if ids is None
        else f"the {plan.schema.entity} {missing[0]} is not known"
    )
    problem = Problem(
        "R635", f"{step.name}: {what}", step.at, "complete the record, or sync what it names: it goes on by itself"
    )
    reads = (*session.env.followed, *((plan.schema.entity, one) for one in missing))
    return Waits("repair", "names no record", problem=problem, exception_class="missing_reference", reads=tuple(reads))


def item_of(hand: Hand, step: StepPlan, id: str, stored: canonical.Stored) -> Item:
    """A stored record on its way out. Its version names the step, so that what is appended is appended once."""
    merged = decode_json(stored.data)
    return Item(
        Record(id, {}, f"{hand.one.id}/{step.number}"), id, canonical_id=id, merged=merged, before=merged, stored=stored,
        provenance=decode_json(stored.provenance), changed=False, from_exception=True,
    )  # fmt: skip


def surroundings(session: Session, plan: SyncPlan) -> None:
    """What the stages from the diff on ask for."""
    session.began = session.tx.now()
    session.mirrored = mirrored_places(session, plan)
    session.live = exceptions.live_keys(session.tx, plan.name)


def slots_of(session: Session, plan: SyncPlan) -> dict[str, Any]:
    return {
        target.name: session.link_slots(target.mapping.outbound.slots if target.mapping.outbound else [],
                                        target.connection, inward=False)
        for target in plan.targets
    }  # fmt: skip


def place(item: Item, delivery: Delivery) -> str:
    """A record and its part, as results name them."""
    return f"{item.canonical_id}.{delivery.part}" if delivery.part else str(item.canonical_id)


def _intentions(hand: Hand, step: StepPlan, items: list[Item]) -> Done:
    """Commit what is about to be done, with how it is taken back; what an earlier try intended stays noted."""
    undo = step.model.undo.model_dump(mode="json") if step.model.undo is not None else None
    with hand.store.begin("step", durable=True) as tx:
        known = steps_of(tx, hand.one.id).get(step.number)
        done: Done = known.result.get("targets", {}) if known is not None and known.state in ("begun", "failed") else {}
        for item in items:
            for one in item.deliveries:
                noted = done.setdefault(one.target.name, {}).setdefault(place(item, one), {})
                if one.trouble is None and one.kind is not None:
                    noted["intended"] = "create" if "create" in (noted.get("intended"), _plain(one.kind)) else one.kind
        begin_step(tx, hand.one.id, step.number, step.name, step.kind, hand.advance, {"targets": done}, undo)
    return done


def _plain(kind: str) -> str:
    return "create" if kind in ("upsert", "append") else kind


def _noted(done: Done, item: Item, one: Delivery) -> None:
    """What became of one delivery. A record that was there before is never counted as made."""
    noted = done.setdefault(one.target.name, {}).setdefault(place(item, one), {})
    if one.trouble is not None:
        return
    outcome = one.counted
    if one.outcome is not None and one.outcome.state == "matched":
        noted["intended"] = "update"
    if outcome == "unchanged" and noted.get("intended") == "create" and not one.adopted:
        outcome = "created"  # an earlier try made it
    noted |= {"outcome": outcome, "native": one.native}


def _outcome(hand: Hand, step: StepPlan, items: list[Item], done: Done) -> Outcome:
    troubles = [(one.trouble, item, one) for item in items for one in item.deliveries if one.trouble is not None]
    if troubles:
        return judged(hand, troubles)
    result: Fields = {}
    for target, records in done.items():
        told = list(records.values())
        one = told[0] if len(told) == 1 else {}
        result[target] = {"native_id": one.get("native"), "outcome": one.get("outcome")}
    said = ", ".join(
        f"{target} {one['outcome'] or 'done'} {one['native_id'] or ''}".rstrip() for target, one in result.items()
    )
    return Ended(result, said or "nothing to write")


def judged(hand: Hand, troubles: list[tuple[Trouble, Item, Delivery]]) -> Waits | Fails:
    """What the troubles of a write come to: tried again by itself, for a person, or failed for good."""
    grave = [one for one in troubles if one[0].state == "open"]
    trouble, item, delivery = (grave or troubles)[0]
    problem = trouble.problem
    if not grave:
        return hand.later(problem.message, problem, {"message": problem.message, "code": problem.code})
    entity = str(hand.plan.entity if delivery.target.mapping.onto else delivery.target.mapping.model.entity)
    with hand.store.begin("process") as tx:
        exception = exceptions.live_id(tx, hand.one.flow, item.key, delivery.target.name, delivery.part)
        if exception is not None:
            reads = [(entity, str(item.canonical_id)), (hand.one.entity, hand.one.canonical_id)]
            exceptions.read_also(tx, exception, reads)
    doubt = any(one.exception_class == "in_doubt" for one, _, _ in troubles)
    if trouble.exception_class in FOR_A_PERSON or doubt:
        return Waits("repair", problem.message, problem=problem, exception_class=trouble.exception_class, queue=trouble.queue,
                     exception=exception)  # fmt: skip
    return Fails(problem, trouble.exception_class, exception=exception)
