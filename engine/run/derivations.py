"""`derive` steps: records of another entity from one, through a mapping between entities; all of them or none.

Through a mapping with `onto` a record that is there already is changed, exactly once however often the step is tried.
"""

from __future__ import annotations

from engine.compile.steps import StepPlan
from engine.compile.sync import SyncPlan
from engine.run.commit import commit_items
from engine.run.hand import RECORDS, Ended, Fails, Hand, Outcome, Waits
from engine.run.items import Item
from engine.run.mapping import make_items, twins
from engine.run.sync import process
from engine.run.waits import subject_of
from engine.run.writes import FOR_A_PERSON, TRIES
from engine.sdk.errors import Problem
from engine.sdk.record import Fields, Record, decode_json
from engine.state import canonical
from engine.state.steps import begin_step, note_result, steps_of
from engine.state.store import Tx


def derive(hand: Hand, step: StepPlan) -> Outcome:
    """Derive, merge, validate and store. The records keep the correlation of what they come from."""
    plan = step.plan
    assert plan is not None
    entity = plan.source.mapping.model.of or ""
    if plan.source.mapping.onto is not None:
        with hand.store.read() as tx:
            known = steps_of(tx, hand.one.id).get(step.number)
        if known is not None and known.result.get("onto"):
            return _ended(plan, known.result["onto"])  # an earlier try changed it, and ended before it could tell
    for _ in range(TRIES):
        session = hand.session(plan)
        with session.reading() as tx:
            fields = hand.context(tx, step.number)
            session.env.followed.clear()
            value = step.record.evaluate(fields, session.env) if step.record is not None else hand.one.canonical_id
            id = subject_of(value)
            stored = canonical.get(tx, entity, [id]).get(id) if id is not None else None
            if stored is None or id is None:
                text = step.record.text if step.record is not None else "the record"
                problem = Problem("R635", f"{step.name}: {text} names no {entity}", step.at,
                                  "complete the record: the process goes on by itself")  # fmt: skip
                return Waits("repair", "names no record", problem=problem, exception_class="missing_reference",
                             reads=tuple(session.env.followed))  # fmt: skip
            session.began = tx.now()
            items = make_items(session, plan, [Record(id, {**decode_json(stored.data), "id": id})])
            twins(items)
            inbound = plan.source.mapping.inbound
            assert inbound is not None
            slots = session.link_slots(inbound.slots, plan.source.connection, inward=True)
            process(session, plan, items, (slots, {}), {})
        bad = [item for item in items if item.trouble is not None]
        if bad:
            return _failed(step, bad[0])
        kept = [item for item in items if item.ended is None]
        _keep(hand, step, kept)
        for item in kept:
            item.raw_hash = b""  # it is no input of the flow's source
        session.also.append(lambda tx, done: _noted(tx, hand, step, done))
        commit_items(session, plan, kept)
        if not session.redo:
            return _ended(plan, [str(item.canonical_id) for item in kept])
    return hand.later("its record is changed again and again meanwhile")


def _ended(plan: SyncPlan, ids: list[str]) -> Ended:
    entity, many = plan.schema.entity, plan.source.mapping.each is not None
    what = "changed" if plan.source.mapping.onto is not None else "derived"
    return Ended({RECORDS: [[entity, id] for id in ids], "list": many}, f"{what} {len(ids)} {entity}")


def _keep(hand: Hand, step: StepPlan, items: list[Item]) -> None:
    """What is about to be made; records that an earlier try made stay noted."""
    with hand.store.begin("step", durable=True) as tx:
        known = steps_of(tx, hand.one.id).get(step.number)
        made = set(known.result.get("made", [])) if known is not None else set()
        made |= {str(item.canonical_id) for item in items if item.stored is None or item.stored.deleted}
        begin_step(tx, hand.one.id, step.number, step.name, step.kind, hand.advance, {"made": sorted(made)})


def _noted(tx: Tx, hand: Hand, step: StepPlan, items: list[Item]) -> None:
    """Records that somebody else made meanwhile are not this instance's."""
    lost = {str(item.canonical_id) for item in items if item.lost}
    known = steps_of(tx, hand.one.id)[step.number]
    result: Fields = {"made": [one for one in known.result["made"] if one not in lost]}
    if step.plan is not None and step.plan.source.mapping.onto is not None:
        result["onto"] = [str(item.canonical_id) for item in items if not item.lost]
    note_result(tx, hand.one.id, step.number, result)


def _failed(step: StepPlan, item: Item) -> Outcome:
    trouble = item.trouble
    assert trouble is not None
    told = trouble.problem
    problem = Problem(told.code, f"{step.name}: {told.message}", told.at, told.hint)
    if trouble.exception_class in FOR_A_PERSON or trouble.state != "open":
        return Waits(
            "repair", told.message, problem=problem, exception_class=trouble.exception_class, reads=trouble.reads
        )
    return Fails(problem, trouble.exception_class)
