"""What heals a break, bound: whether a side can be written at all, and the flow from one side to another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from engine.compile.mapping import compile_outbound
from engine.compile.registry import Registry
from engine.compile.sync import Describe, SourcePlan, SyncPlan, bind_target, compile_sync
from engine.sdk.errors import Problems, SpecError
from engine.spec.load import Document
from engine.spec.mapping import Onto
from engine.spec.reconcile import Heal, HealFlow, Mending, ReconcileFlow, Side
from engine.spec.sync import SyncFlow

CANONICAL = "canonical"
DIFFERS = ("mismatch", "stale", "wrong_owner")


def mendings(heal: Heal) -> Iterator[tuple[tuple[str, ...], Mending | None]]:
    """Every action that is written, with its place under `heal`."""
    for name in ("missing_right", "missing_left", *DIFFERS):
        yield (name,), getattr(heal, name)
    for name, mending in heal.missing.items():
        yield ("missing", name), mending


def heal_faults(document: Document, registry: Registry, problems: Problems) -> None:
    """Faults E397: actions that the sides cannot do, whatever a break is like."""
    flow: ReconcileFlow = document.model
    sides = flow.all_sides()
    for place, mending in mendings(flow.heal):
        if mending in (None, "report"):
            continue
        why = _unable(registry, sides, place, mending)
        if why is not None:
            at = document.at("heal", *place)
            problems.add("E397", f"`{'.'.join(place)}: {_spoken(mending)}` {why[0]}", at, why[1])


def _spoken(mending: Mending | None) -> str:
    return f"{{ flow: {mending.flow} }}" if isinstance(mending, HealFlow) else str(mending)


def _unable(
    registry: Registry, sides: dict[str, Side], place: tuple[str, ...], mending: Mending | None
) -> tuple[str, str] | None:
    """Why nothing can be done, and what to write instead."""
    if any(side.group is not None for side in sides.values()):
        return "mends nothing, for groups are compared and not records", "leave it out: sums are nobody's to write"
    lacks = place[-1].removeprefix("missing_")
    if place[0] in DIFFERS:
        if mending == "deactivate":
            return "ends records that all sides have", "write `owner`, `report` or a flow"
        if mending == "owner" and not any(writable(registry, side) for side in sides.values()):
            return (
                "needs a side that can be written, and no mapping here writes",
                "write `report`, or a mapping that goes both ways",
            )
    elif mending == "owner" and lacks in sides and not writable(registry, sides[lacks]):
        return (
            f"needs {lacks} to be written, and {sides[lacks].mapping} writes nothing",
            "write `report`, or name a flow",
        )
    elif mending == "deactivate" and not any(ends(registry, side) for name, side in sides.items() if name != lacks):
        return "needs to know how a record is ended", "add `deleted: { set: … }` to the mapping of the side that has it"
    return None


def writable(registry: Registry, side: Side) -> bool:
    """Whether something of a record can be written to a side."""
    if side.mapping is None:
        return True
    if side.connection == CANONICAL:
        return False
    try:
        document = registry.document("mapping", side.mapping, None)
        if isinstance(document.model.onto, Onto):
            return False
        role = registry.workspace.connection(side.connection).role
        outbound = compile_outbound(document, registry, role=role).outbound
    except SpecError:
        return False
    return outbound is not None and bool(outbound.tops)


def ends(registry: Registry, side: Side) -> bool:
    """Whether the side's mapping says how a record is ended there."""
    if side.mapping is None or side.connection == CANONICAL:
        return False
    deleted = registry.document("mapping", side.mapping, None).model.deleted
    return deleted is not None and bool(deleted.set)


def between(
    document: Document, registry: Registry, describe: Describe | None, source: Side, target: Side | None
) -> SyncPlan:
    """The flow that goes from one side to another, through their mappings. target: None reads into the canonical store only.

    Raises SpecError where the mappings cannot do it.
    """
    flow: ReconcileFlow = document.model
    stored = source.mapping is None
    mapping = target.mapping if stored and target is not None else source.mapping
    targets: list[dict[str, Any]] = []
    if target is not None:
        ending = "deactivate" if ends(registry, target) else "ignore"
        targets = [{"connection": target.connection, "mapping": target.mapping, "on_delete": ending}]
    data = {
        "flow": document.name, "kind": "sync", "entity": flow.entity, "targets": targets, "owner": flow.owner,
        "source": {"connection": source.connection, "mapping": mapping, "query": source.query, "incremental": False},
        "policy": document.data.get("policy", {}), "guard": {"deletes": "100%", "errors": "100%"},
    }  # fmt: skip
    inner = replace(document, model=SyncFlow.model_validate(data))
    if not stored:
        return compile_sync(inner, registry, describe)
    schema, shape = registry.schema(flow.entity), registry.shape(flow.entity)
    bound = bind_target(inner, 0, registry, describe, shape, schema)
    given = SourcePlan(CANONICAL, CANONICAL, bound.mapping, None, None, None, "UTC")
    return SyncPlan(document.name, inner, inner.model, schema, given, (), (bound,), (), b"")
