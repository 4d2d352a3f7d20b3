"""A candidate mapping on stored failures: how many would pass, why the others would not; nothing is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.compile.sync import SyncPlan, compile_sync
from engine.run.connectors import Connectors
from engine.run.faults import shape
from engine.run.items import Item, Trouble
from engine.run.mapping import make_items, map_items
from engine.run.pinned import Variant
from engine.run.runner import Runner
from engine.run.session import Options, Session
from engine.run.sync import prepare, process
from engine.sdk.errors import Problem, SpecError, UsageError
from engine.sdk.record import Fields, Record, decode_json, fingerprint, same
from engine.spec.source import read_yaml
from engine.spec.sync import SyncFlow
from engine.spec.workspace import Workspace
from engine.state.kept import Kept
from engine.state.store import Store


def with_candidate(workspace: Workspace, flow: SyncFlow, file: Path) -> tuple[Workspace, str]:
    """The workspace with a mapping's file in the place of the flow's own, and the name of what it takes the place of.

    A file that bears another name than the flow's mappings stands for the source's. Raises SpecError, UsageError X912.
    """
    try:
        data, _ = read_yaml(file.read_bytes(), file.name)
    except OSError as error:
        raise UsageError(
            Problem("X912", f"{file.name} cannot be read: {error.strerror}", None, "name a mapping's file")
        ) from None
    name = str(data.get("mapping")) if isinstance(data, dict) else ""
    used = [flow.source.mapping, *(target.mapping for target in flow.targets)]
    place = name if name in used else flow.source.mapping
    document = replace(workspace.candidate("mapping", name, file), name=place)
    return Variant(workspace, [document]), place


def try_candidate(workspace: Workspace, store: Store, flow: str, kept: Sequence[Kept], file: Path) -> Fields:
    """Run stored raw records from map in to diff, as they would go with the candidate.

    Returns: `{flow, mapping, tried, passes, fails, waits, skipped, reasons: [{code, at, message, count, example}],
    fields: [{field, count, example, old, new}], writes: {create, update, …}}`.
    """
    document = workspace.document("flow", flow)
    variant, place = with_candidate(workspace, document.model, file)
    connectors = Connectors(variant, document.model, store)
    try:
        items = _run(variant, store, document.name, connectors, kept)
        before = _mapped_today(workspace, store, document.name, connectors, kept)
    finally:
        connectors.close()
    return {"flow": flow, "mapping": place, **_verdict(items, before, {one.key: one.id for one in kept})}


def _session(workspace: Workspace, store: Store, flow: str, connectors: Connectors) -> tuple[Session, SyncPlan]:
    session = Session(
        workspace, store, Runner(workspace, store).registry(), connectors, "try", Options(plan=True, trigger="try")
    )
    session.plan = compile_sync(workspace.document("flow", flow), session.registry, connectors.describe)
    return session, session.plan


def _records(kept: Sequence[Kept]) -> list[Record]:
    return [
        Record(one.key, decode_json(one.raw or b"{}") or {}, one.modified)
        for one in {one.key: one for one in kept}.values()
    ]


def _run(workspace: Workspace, store: Store, flow: str, connectors: Connectors, kept: Sequence[Kept]) -> list[Item]:
    session, plan = _session(workspace, store, flow, connectors)
    slots, totals = prepare(session, plan)
    keys, done = {one.key for one in kept}, list[Item]()
    records, size = _records(kept), plan.flow.policy.batch
    session.retried.update({one.key: fingerprint(one.value)[0] for one in records})
    for start in range(0, len(records), size):
        with session.reading():
            items = [one for one in make_items(session, plan, records[start : start + size]) if one.key in keys]
            done += process(session, plan, items, slots, totals)
    return done


def _mapped_today(
    workspace: Workspace, store: Store, flow: str, connectors: Connectors, kept: Sequence[Kept]
) -> dict[str, Fields] | None:
    """What the mapping of today makes of the records, by key; None where it does not even compile."""
    try:
        session, plan = _session(workspace, store, flow, connectors)
    except SpecError:
        return None
    slots, _ = prepare(session, plan)
    with session.reading():
        items = make_items(session, plan, _records(kept))
        map_items(session, plan, items, slots[0])
    return {item.key: item.mapped for item in items}


def _verdict(items: Iterable[Item], before: dict[str, Fields] | None, ids: dict[str, str]) -> Fields:
    counts = dict.fromkeys(("tried", "passes", "fails", "waits", "skipped"), 0)
    reasons: dict[tuple[str, str, str, str], Fields] = {}
    fields: dict[str, Fields] = {}
    writes: dict[str, int] = {}
    for item in items:
        counts["tried"] += 1
        troubles = [("", item.trouble)] if item.trouble else []
        troubles += [(one.target.name, one.trouble) for one in item.deliveries if one.trouble]
        if any(one.state == "open" for _, one in troubles):
            counts["fails"] += 1
        elif troubles:
            counts["waits"] += 1
        elif item.ended == "skipped":
            counts["skipped"] += 1
        else:
            counts["passes"] += 1
            for delivery in item.deliveries:
                if delivery.kind is not None:
                    writes[delivery.kind] = writes.get(delivery.kind, 0) + 1
            _note_fields(fields, item, (before or {}).get(item.key) if before is not None else None, ids[item.key])
        for target, trouble in troubles:
            _note_reason(reasons, item, target, trouble, ids[item.key])
    return {
        **counts, "writes": writes,
        "reasons": sorted(reasons.values(), key=lambda one: (-one["count"], one["code"], str(one["at"]))),
        "fields": [fields[name] for name in sorted(fields)],
    }  # fmt: skip


def _note_reason(
    reasons: dict[tuple[str, str, str, str], Fields], item: Item, target: str, trouble: Trouble, id: str
) -> None:
    problem = trouble.problem
    at = str(problem.at) if problem.at else None
    found = reasons.setdefault((problem.code, str(at), target, shape(problem, item.key)), {
        "code": problem.code, "at": at, "target": target or None, "message": problem.message, "count": 0, "example": id})  # fmt: skip
    found["count"] += 1


def _note_fields(fields: dict[str, Fields], item: Item, before: Fields | None, id: str) -> None:
    """Canonical fields that the candidate gives otherwise than today's mapping."""
    if before is None:
        return
    for name in dict.fromkeys([*before, *item.mapped]):
        old, new = before.get(name), item.mapped.get(name)
        if (name in before) != (name in item.mapped) or not same(old, new):
            found: Any = fields.setdefault(name, {"field": name, "count": 0, "example": id, "old": old, "new": new})
            found["count"] += 1
