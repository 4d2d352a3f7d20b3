"""People's corrections on the line: they stand for that version of a record, whenever it comes, and are judged like any value."""

from __future__ import annotations

from engine.compile.sync import SyncPlan
from engine.run.items import Item, going
from engine.run.session import Session
from engine.sdk.errors import Problem
from engine.sdk.record import Fields, decode_json, fingerprint, same
from engine.state import corrections
from engine.state.corrections import Correction


def load_corrections(session: Session, plan: SyncPlan) -> None:
    """What holds in this flow, by the record's key."""
    for one in corrections.of_flow(session.tx, plan.name):
        session.corrections.setdefault(one.key, []).append(one)


def correct_raw(session: Session, items: list[Item]) -> None:
    """Records whose raw value somebody corrected are read as corrected."""
    for item in going(items) if session.corrections else ():
        for one in _holding(session, item):
            if one.stage == "raw":
                item.value = decode_json(one.value)


def correct_mapped(session: Session, plan: SyncPlan, items: list[Item]) -> None:
    """Canonical fields that somebody corrected: the rules that could not give them are no fault any more."""
    direction = plan.source.mapping.inbound
    for item in going(items) if session.corrections else ():
        fields = fields_of(session, item)
        if fields and direction is not None:
            item.mapped = {**item.mapped, **fields}
            rules = direction.rules
            item.faults = [one for one in item.faults if rules[one[0]].path.split(".")[0] not in fields]


def see_taken(session: Session, plan: SyncPlan, items: list[Item]) -> None:
    """A correction that ownership does not let in is told, not dropped."""
    for item in going(items) if session.corrections else ():
        for name, value in fields_of(session, item).items():
            if not same(item.merged.get(name), value):
                problem = Problem(
                    "E417", f"{item.key}: the correction of {name} is not taken: the field belongs to another system",
                    plan.schema.document.at("properties", name), "correct it in the system that owns it",
                )  # fmt: skip
                item.stop("merge", problem, "conflict")
                break


def _holding(session: Session, item: Item) -> list[Correction]:
    """The corrections that are for this very version; of others it is remembered that they are past."""
    found = session.corrections.get(item.key)
    if not found or item.record.problem is not None or item.deleted or item.record.deleted:
        return []
    original = fingerprint(item.record.value)[0]
    session.past.update(one.exception for one in found if one.original != original)
    return [one for one in found if one.original == original]


def fields_of(session: Session, item: Item) -> Fields:
    fields: Fields = {}
    for one in _holding(session, item):
        if one.stage == "canonical":
            fields |= decode_json(one.value)
    return fields
