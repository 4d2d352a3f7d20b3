"""One record through a mapping, for people: what each rule read, what it gave, and where it stands."""

from __future__ import annotations

from typing import Any

from engine.compile.expression import compile_expression
from engine.compile.mapping import CompiledMapping, Direction, compile_inbound, compile_outbound
from engine.compile.registry import Registry
from engine.compile.rules import LinkSlot
from engine.run.connectors import Connectors
from engine.run.identity import new_identity
from engine.run.session import Options, Session
from engine.sdk.errors import Position
from engine.sdk.record import Fields
from engine.spec.workspace import Workspace
from engine.state.store import Store


def preview(workspace: Workspace, name: str, sample: Fields, target: str | None, store: Store) -> Fields:
    """`{fields: [{field, reads, source, canonical, at}], payload: [{field, value, at}], faults}`."""
    registry = Registry(workspace)
    session = Session(workspace, store, registry, Connectors(workspace), "preview", Options())
    compiled = compile_inbound(registry.document("mapping", name, None), registry)
    direction = compiled.inbound
    assert direction is not None
    with session.reading():
        source = _connection(workspace, compiled)
        slots = session.link_slots(direction.slots, source, inward=True)
        canonical, faults = direction.inward(sample, session.env, slots)
        told = [str(direction.problem(fault)[0]) for fault in faults if fault[1] != "later"]
        model, document = compiled.model, compiled.document
        tops = {
            (name, document.at(section, name))
            for section in ("fields", "inbound")
            for name in getattr(model, section) or {}
        }
        fields = [
            _row(rule.path, rule.reads, rule.at, sample, canonical)
            for rule in direction.rules if (rule.path, rule.at) in tops
        ]  # fmt: skip
        payload: list[Fields] = []
        if target is not None:
            record = {
                "id": new_identity(compiled.model.entity, source, compiled.model.object or "", "preview"),
                **canonical,
            }
            payload, more = _payload(session, registry, target, record)
            told += more
    session.connectors.close()
    return {"mapping": name, "fields": fields, "payload": payload, "faults": told}


def _connection(workspace: Workspace, compiled: CompiledMapping) -> str:
    """The connection whose connector this mapping's folder names, else the first."""
    system = compiled.name.split("/")[0]
    names = list(workspace.settings.connections)
    return next((one for one in names if workspace.connection(one).connector == system), names[0] if names else "")


def _row(path: str, reads: str, at: Position, sample: Fields, canonical: Fields) -> Fields:
    source: Any = None
    if reads and ", " not in reads:
        expression = compile_expression(reads, at)
        source = None if expression.functions else expression.evaluate(sample, None)
    return {"field": path, "reads": reads, "source": source, "canonical": canonical.get(path), "at": str(at)}


def _payload(session: Session, registry: Registry, target: str, record: Fields) -> tuple[list[Fields], list[str]]:
    compiled = compile_outbound(registry.document("mapping", target, None), registry, role="")
    direction: Direction | None = compiled.outbound
    assert direction is not None
    slots: list[LinkSlot] = session.link_slots(direction.slots, _connection(session.workspace, compiled), inward=False)
    payload, once, faults = direction.outward(record, session.env, slots)
    places = {rule.reads: str(rule.at) for rule in direction.rules} | {
        rule.path: str(rule.at) for rule in direction.rules
    }
    rows = [{"field": name, "value": value, "at": places.get(name)} for name, value in {**payload, **once}.items()]
    return rows, [str(direction.problem(fault)[0]) for fault in faults if fault[1] != "later"]
