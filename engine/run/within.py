"""Limits of a run that mends: of what a diff would send, only what the errand is for is kept."""

from __future__ import annotations

from collections.abc import Iterable

from engine.run.errand import Errand, Wanted
from engine.run.items import Delivery, Item
from engine.run.session import Session
from engine.sdk.record import decode_json
from engine.state import ledger

MAKES = ("create", "upsert", "append")


def keep_within(session: Session, items: Iterable[Item]) -> None:
    """Take out of the deliveries what no break calls for; why is noted with the errand."""
    errand = session.options.errand
    assert errand is not None
    for item in items:
        wanted = errand.wanted.get(item.key)
        for delivery in item.deliveries:
            if delivery.kind is None or delivery.trouble is not None:
                continue
            if wanted is None or _place(delivery) != errand.place:
                if errand.how != "flow":
                    delivery.kind = delivery.counted = None
                continue
            why = _refused(errand, wanted, delivery)
            if why is not None:
                errand.left[item.key] = why
                delivery.kind = delivery.counted = None
            elif wanted.fields is not None and delivery.counted != "deactivated":
                _narrow(wanted.fields, wanted.others, delivery)


def _place(delivery: Delivery) -> tuple[str, str]:
    return delivery.target.connection, delivery.target.mapping.model.object or ""


def _refused(errand: Errand, wanted: Wanted, delivery: Delivery) -> str | None:
    """Why this write is not what the break calls for."""
    name = delivery.target.name
    ending = delivery.kind == "delete" or delivery.counted == "deactivated"
    if ending and errand.how == "flow":
        return None
    if ending != (errand.how == "end"):
        return f"the flow would end it in {name}" if ending else f"{name} would be changed, not ended"
    if delivery.kind == "append":
        return f"what was appended to {name} is not appended again"
    if delivery.kind in MAKES:
        if wanted.fields is not None or wanted.natives:
            return f"{name} no longer has it: compare again"
        if errand.flow is None and delivery.target.write_class == "D":
            return f"nobody could find out whether a create in {name} went through: name a flow that makes it"
        return None
    if wanted.natives and delivery.native not in wanted.natives:
        return f"it is linked to {delivery.native} in {name}, and was compared with {', '.join(sorted(wanted.natives))}"
    return None


def _narrow(fields: frozenset[str], others: frozenset[str], delivery: Delivery) -> None:
    """Keep the system's fields that the wanted ones are written to. What is not sent stays as the target has it, and the
    ledger goes on to say of it what it said."""
    outbound = delivery.target.mapping.outbound
    if outbound is None:
        return
    mine = frozenset[str]().union(*(outbound.tops.get(name, frozenset()) for name in fields))
    theirs = frozenset[str]().union(*(outbound.tops.get(name, frozenset()) for name in others))
    dropped = [top for top in delivery.changes if top not in mine or top in theirs]
    if not dropped:
        return
    known = decode_json(delivery.known.fields) if delivery.known is not None else {}
    delivery.payload = {**delivery.payload, **{top: delivery.before.get(top) for top in dropped}}
    delivery.kept = {top: known[top] for top in dropped if top in known}
    delivery.left_out |= {name for name, tops in outbound.tops.items() if tops & set(dropped)}
    delivery.changes = {top: value for top, value in delivery.changes.items() if top not in dropped}
    delivery.hash = ledger.NO_HASH
    if not delivery.changes:
        delivery.kind = delivery.counted = None


def note_left(session: Session, items: Iterable[Item]) -> None:
    """Why records of an errand did not come to their end."""
    errand = session.options.errand
    if errand is None:
        return
    for item in items:
        if item.ended == "redo" or item.goes_again or item.key not in errand.wanted:
            continue
        troubles = [item.trouble, *(one.trouble for one in item.deliveries)]
        told = next((one for one in troubles if one is not None), None)
        if told is not None:
            errand.left[item.key] = f"{told.problem.message} ({told.problem.code})"
        elif item.ended == "skipped" or item.left:
            errand.left[item.key] = "the flow does not send it: see its `where`"
        elif item.deliveries and all(one.counted == "unchanged" for one in item.deliveries):
            errand.left[item.key] = "it is there already as it would be sent"
