"""Deliveries against what a target really holds: records to adopt, links without a delivery, values that stand for one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.compile.rules import LinkSlot
from engine.compile.sync import SyncPlan, TargetPlan
from engine.run.items import EVERY, Delivery, Item, Trouble
from engine.run.session import Session
from engine.run.shared import MISSING, shared_names, three_way
from engine.sdk.errors import Problem
from engine.sdk.record import Fields, Record, same
from engine.state import bases

Pair = tuple[Item, Delivery]


def changed(payload: Fields, before: Fields) -> Fields:
    """Top-level fields that differ from what was delivered."""
    return {name: value for name, value in payload.items() if name not in before or not same(value, before[name])}


def adopt(session: Session, plan: SyncPlan, target: TargetPlan, pairs: list[Pair]) -> list[Pair]:
    """Existing target records that match are adopted before any create; several go to review."""
    adopted: list[Pair] = []
    connector = session.connectors[target.connection]
    left = pairs
    for rule in target.match:
        asked, criteria = [], []
        for item, delivery in left:
            wanted = _criterion(target, rule, delivery)
            if wanted is not None:
                asked.append((item, delivery))
                criteria.append(wanted)
        if not criteria:
            continue
        for (item, delivery), found in zip(asked, connector.find(target.info.name, criteria), strict=True):
            if len(found) > 1:
                keys = ", ".join(record.key for record in found[:5])
                problem = Problem("E413", f"{item.key}: several records of {target.name} match it: {keys}", target.at,
                                  "merge them there, or link the right one by hand")  # fmt: skip
                delivery.kind, delivery.trouble = None, Trouble("diff", problem, "ambiguous_match")
            elif found:
                delivery.kind, delivery.native, delivery.adopted = None, found[0].key, True
                _against_found(delivery, found[0])
                adopted.append((item, delivery))
        left = [pair for pair in left if pair[1].kind == "create"]
    return adopted


def leave_changed(
    session: Session, plan: SyncPlan, target: TargetPlan, slots: Sequence[LinkSlot], pairs: list[Pair]
) -> None:
    """Shared fields are read before they are overwritten: what the target changed meanwhile is judged by `conflict`."""
    outbound, names = target.mapping.outbound, shared_names(plan)
    if outbound is None or not names:
        return
    tops = {top: name for name in names for top in outbound.tops.get(name, ())}
    asked = [(item, one) for item, one in pairs if one.kind == "update" and tops.keys() & one.changes.keys()]
    found = held_by_target(session, target, [one for _, one in asked])
    known = bases.get(session.tx, target.connection, [str(item.canonical_id) for item, _ in asked])
    for item, delivery in asked:
        record = found.get(delivery.native or "")
        if record is None:
            continue
        base = known.get(str(item.canonical_id), {})
        image, _, _ = outbound.outward({**item.merged, **base}, session.env, slots, delivery.part)
        before = {top: image.get(top) if name in base else MISSING for top, name in tops.items()}
        meanwhile = {
            top
            for top in tops.keys() & delivery.changes.keys()
            if three_way(before[top], record.value.get(top), delivery.payload[top], "stored")[1]
        }
        if not meanwhile or _ours_wins(plan, target, item, record):
            continue
        if plan.flow.conflict == "quarantine":
            problem = Problem(
                "E414", f"{item.key}: {', '.join(sorted(meanwhile))} was changed in {target.name} as well", target.at,
                "make both sides alike, or say `conflict: owner` or `latest` in the flow",
            )  # fmt: skip
            delivery.kind, delivery.trouble = None, Trouble("diff", problem, "conflict")
            continue
        delivery.left_out = frozenset(tops[top] for top in meanwhile)
        delivery.hash = b"\0" * 16  # what was left out is looked at again
        delivery.changes = {name: value for name, value in delivery.changes.items() if name not in meanwhile}
        delivery.payload = {**delivery.payload, **{top: record.value.get(top) for top in meanwhile}}
        if not delivery.changes:
            delivery.kind, delivery.counted = None, "unchanged"


def _ours_wins(plan: SyncPlan, target: TargetPlan, item: Item, record: Record) -> bool:
    """Whether our value goes over one that the target changed: the same judgement as when that one is read."""
    if plan.flow.conflict == "owner":
        general = item.provenance.get(EVERY)
        return not (general and general[0] == target.role)
    if plan.flow.conflict == "latest":
        return bool(record.modified and item.record.modified and record.modified < item.record.modified)
    return False


def _criterion(target: TargetPlan, rule: tuple[str, ...], delivery: Delivery) -> Fields | None:
    """A match rule in the target's own fields; None where a field has no value or no plain path."""
    wanted: Fields = {}
    record = delivery.record
    for name in rule:
        field: Any = target.mapping.model.fields.get(name)
        path = field.to or field.from_ if field is not None else None
        value = record.get(path) if isinstance(path, str) else None
        if value in (None, "", {}, []):
            return None
        wanted[str(path)] = value
    return wanted or None


def compare_with_target(session: Session, target: TargetPlan, pairs: list[Pair]) -> None:
    """Linked records without a ledger row: read what the target holds, send only what differs."""
    found = held_by_target(session, target, [one for _, one in pairs if not one.adopted])
    for item, delivery in pairs:
        if delivery.adopted or delivery.native is None:
            continue
        record = found.get(delivery.native)
        if record is not None:
            _against_found(delivery, record)
        elif target.mapping.onto is None:
            delivery.kind = "create"
        else:
            problem = Problem("E452", f"{item.key}: {target.name} no longer has {delivery.native}", target.at,
                              "restore it there, or mend the link")  # fmt: skip
            delivery.trouble = Trouble("diff", problem, "conflict")


def held_by_target(session: Session, target: TargetPlan, deliveries: list[Delivery]) -> dict[str, Record]:
    """What the target holds now of these deliveries' records, by native id."""
    wanted = [one.native for one in deliveries if one.native is not None]
    if not wanted:
        return {}
    return session.connectors[target.connection].get(target.info.name, wanted, tuple(target.mapping.reads))


def keep_alike(session: Session, target: TargetPlan, pairs: list[Pair]) -> None:
    """Where several system values mean one canonical value, an update leaves alone one that means the same already."""
    outbound = target.mapping.outbound
    if outbound is None or not outbound.alike:
        return
    tops = {path.split(".")[0] for path in outbound.alike}
    asked = [one for _, one in pairs if one.kind == "update" and tops & one.changes.keys()]
    found = held_by_target(session, target, asked)
    for delivery in asked:
        record = found.get(delivery.native or "")
        if record is None:
            continue
        payload = outbound.keeping(delivery.payload, record.value)
        delivery.changes = {
            name: payload[name]
            for name in delivery.changes
            if name not in tops or not same(payload[name], record.value.get(name))
        }
        delivery.payload = payload
        if not delivery.changes:
            delivery.kind, delivery.counted = None, "unchanged"


def _against_found(delivery: Delivery, record: Record) -> None:
    outbound = delivery.target.mapping.outbound
    if outbound is not None:
        delivery.payload = outbound.keeping(delivery.payload, record.value)
    changes = changed(delivery.payload, record.value)
    changes = {
        name: value for name, value in changes.items() if value is not None or record.value.get(name) is not None
    }
    delivery.before = {name: record.value.get(name) for name in delivery.payload}
    if changes and delivery.target.operation != "create":
        delivery.kind, delivery.changes = "update", changes
    else:
        delivery.counted = "unchanged"
