"""`publish` steps: an event over a connection, written down in the transaction that ends the step."""

from __future__ import annotations

from engine.compile.steps import StepPlan
from engine.run.events import Event, Routes, emit
from engine.run.hand import Ended, Hand, Outcome
from engine.run.waits import subject_of
from engine.sdk.event_types import versioned
from engine.sdk.record import Fields
from engine.state.store import Tx


def publish(hand: Hand, step: StepPlan) -> Outcome:
    """Tell the connection: of the record that a step gave under the type's first word, else of the flow's own.

    The event's data are the step's `data`, else the record. It is sent at least once, in order per record.
    """
    if step.model.optional and step.model.connection not in hand.workspace.settings.connections:
        return Ended(None, f"left out: there is no connection {step.model.connection}")
    with hand.looking(step) as (session, fields):
        named = step.name.split(".")[0]
        given = fields.get(named)
        id = subject_of(given) if named in session.workspace.names("schema") else None
        entity, subject = (named, id) if id is not None else (hand.one.entity, hand.one.canonical_id)
        data: Fields = {name: one.evaluate(fields, session.env) for name, one in step.data.items()}
        if not step.data:
            data = given if id is not None and isinstance(given, dict) else hand.record(session.tx)
        version = session.registry.schema(entity).version
    event = Event(versioned(step.name, version), entity, str(subject), data, hand.one.correlation)
    routes = Routes.of(hand.workspace)

    def tell(tx: Tx) -> None:
        emit(tx, routes, [event], to=str(step.model.connection))

    return Ended({"type": event.type}, f"told {step.model.connection} of {event.type}", tell)
