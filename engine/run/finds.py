"""`find` steps: one record of a system, read through a connection and a mapping, in canonical fields."""

from __future__ import annotations

from engine.compile.schema import value_at
from engine.compile.steps import FindPlan, StepPlan
from engine.run.hand import Ended, Hand, Outcome, Waits
from engine.run.session import Session
from engine.run.shared import EMPTY
from engine.sdk.errors import Problem
from engine.sdk.record import JSON, Fields, Record
from engine.state import links


def find(hand: Hand, step: StepPlan) -> Outcome:
    """The one record that holds all of `by`; null where there is none. Several go to review."""
    plan = step.find
    assert plan is not None
    with hand.looking(step) as (session, fields):
        session.env.followed.clear()
        wanted = {name: value.evaluate(fields, session.env) for name, (_, value) in plan.by.items()}
        empty = [name for name, value in wanted.items() if value in EMPTY]
        if empty:
            problem = Problem("R634", f"{step.name}: there is no {' and no '.join(empty)} to search by", step.at,
                              "complete the record: the process goes on by itself")  # fmt: skip
            return Waits("repair", "has nothing to search by", problem=problem, reads=tuple(session.env.followed))
        criteria = _there(session, plan, wanted)
        connector = session.connectors[plan.connection]
        session.store.crashpoint("before find")
        found = connector.find(plan.object, [criteria], plan.inbound.reads)[0]
        session.store.crashpoint("after find")
        if len(found) > 1 and not _parts_of_one(session, plan, found):
            keys = ", ".join(record.key for record in found[:5])
            problem = Problem("R633", f"{step.name}: {plan.connection} has several {plan.object} like it: {keys}", step.at,
                              "merge them there, or search by a field that tells them apart")  # fmt: skip
            return Waits("repair", "found several", problem=problem, exception_class="ambiguous_match")
        if not found:
            return Ended(None, "found none")
        return Ended(_canonical(session, plan, found[0]), f"found {found[0].key}")


def _parts_of_one(session: Session, plan: FindPlan, found: list[Record]) -> bool:
    """Whether all that was found stands for one record of ours, such as its customer for each of several entities."""
    keys = [record.key for record in found]
    known = links.by_native(session.tx, plan.connection, plan.inbound.model.entity, keys, plan.object)
    owners = [{link.canonical_id for link in known.get(key, ()) if link.state == "live"} for key in keys]
    return all(owners) and len(set.union(*owners)) == 1


def _there(session: Session, plan: FindPlan, wanted: Fields) -> Fields:
    """The values as the system has them: through the mapping's outbound rules, where those give one."""
    outbound = plan.outbound.outbound
    assert outbound is not None
    slots = session.link_slots(outbound.slots, plan.connection, inward=False)
    payload, once, _ = outbound.outward(wanted, session.env, slots)
    criteria = {}
    for name, (path, _) in plan.by.items():
        given: JSON = value_at(payload, path)
        given = value_at(once, path) if given is None else given
        criteria[path] = wanted[name] if given is None else given
    return criteria


def _canonical(session: Session, plan: FindPlan, record: Record) -> Fields:
    """What was found, in canonical fields, with the id of the record that it is linked to. What cannot be told is left out."""
    inbound = plan.inbound.inbound
    assert inbound is not None
    slots = session.link_slots(inbound.slots, plan.connection, inward=True)
    fields, faults = inbound.inward(record.value, session.env, slots)
    broken = {inbound.rules[fault[0]].path.split(".")[0] for fault in faults}
    known = links.by_native(session.tx, plan.connection, plan.inbound.model.entity, [record.key], plan.object)
    live = [link.canonical_id for link in known.get(record.key, ()) if link.state == "live"]
    told = {name: value for name, value in fields.items() if name not in broken}
    return {**told, "id": live[0] if live else None, "native_id": record.key}
