"""Deliveries against what a target really holds: records to adopt, links without a delivery, values that stand for one."""

from __future__ import annotations

from collections.abc import Sequence

from engine.compile.mapping import Direction
from engine.compile.rules import LinkSlot, key_text
from engine.compile.sync import SyncPlan, TargetPlan
from engine.run.echo import as_meant, followed, place_of, readback, shown_by
from engine.run.items import EVERY, Delivery, Item, Trouble
from engine.run.session import Session
from engine.run.shared import EMPTY, MISSING, Side, element_key, three_way
from engine.sdk.errors import Problem
from engine.sdk.record import JSON, Fields, Record, same
from engine.state import images, ledger
from engine.state.images import Image

Pair = tuple[Item, Delivery]


def changed(payload: Fields, before: Fields) -> Fields:
    """Top-level fields that differ from what was delivered."""
    return {name: value for name, value in payload.items() if name not in before or not same(value, before[name])}


def adopt(session: Session, plan: SyncPlan, target: TargetPlan, pairs: list[Pair]) -> list[Pair]:
    """Existing target records that match are adopted before any create; several go to review."""
    adopted: list[Pair] = []
    connector = session.connectors[target.connection]
    left = [pair for pair in pairs if str(pair[0].canonical_id) not in session.options.apart]
    for rule in target.match:
        asked, criteria = [], []
        for item, delivery in left:
            wanted = criterion(target, rule, delivery)
            if wanted is not None:
                asked.append((item, delivery))
                criteria.append(wanted)
        if not criteria:
            continue
        session.store.crashpoint("before find")
        hits = connector.find(target.info.name, criteria)
        session.store.crashpoint("after find")
        for (item, delivery), hit in zip(asked, hits, strict=True):
            found = [record for record in hit if _same_part(target, delivery, record)]
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
    """What both sides may change is read before it is overwritten: what the target changed meanwhile is kept or judged."""
    outbound, place = target.mapping.outbound, place_of(target.connection, target.mapping)
    if outbound is None or target.mapping.onto is not None:
        return
    owners = plan.schema.ownership.owners
    names = {one for one in followed(session, plan, place, outbound.tops)
             if one not in owners or one in plan.schema.ownership.shared}  # fmt: skip
    tops = {top for name in names for top in outbound.tops[name]}
    asked = [(item, one) for item, one in pairs if one.kind == "update" and tops & one.changes.keys()]
    if not asked:
        return
    paths = readback(session, target).mapping.reads
    found = held_by_target(session, target, [one for _, one in asked], paths)
    known = images.get(session.tx, *place, [str(item.canonical_id) for item, _ in asked])
    for item, delivery in asked:
        record = found.get(delivery.native or "")
        if record is not None:
            image = known.get((str(item.canonical_id), delivery.part), images.UNKNOWN)
            mixed, clashes = _mixed(session, plan, item, delivery, record, image, names)
            if clashes and plan.flow.conflict == "quarantine":
                problem = Problem(
                    "E414", f"{item.key}: {', '.join(sorted(clashes))} was changed in {target.name} as well", target.at,
                    "make both sides alike, or say `conflict: owner` or `latest` in the flow",
                )  # fmt: skip
                delivery.kind, delivery.trouble = None, Trouble("diff", problem, "conflict")
            else:
                _leave(session, outbound, slots, item, delivery, record, mixed)


def _mixed(
    session: Session, plan: SyncPlan, item: Item, delivery: Delivery, record: Record, image: Image, names: set[str]
) -> tuple[Fields, set[str]]:
    """What the target should have, against its image: (fields that are not simply ours, `MISSING` where they stay as they
    are there; shared fields that both sides changed). Notes on the delivery where it differs from us, and where not."""
    target = delivery.target
    shown, shared = shown_by(session, target, record), plan.schema.ownership.shared
    mixed, clashes, left = Fields(), set[str](), set[str]()
    for name in names & shown.keys() & item.merged.keys():
        base, ours = image.meaning(name, MISSING), item.merged[name]
        theirs = as_meant(image, name, shown[name])
        policy = plan.flow.conflict if name in shared else "latest"
        side: Side = "incoming" if _ours_wins(policy, target, item, record) else "stored"
        value, clash = three_way(base, theirs, ours, side, element_key(plan, name))
        if same(value, theirs):
            mixed[name] = MISSING
            if clash and name in shared:
                clashes.add(name)
            if same(value, ours):
                delivery.shown[name] = shown[name]
            else:
                left.add(name)
        elif not same(value, ours):
            mixed[name] = value
            left.add(name)
    delivery.left_out = frozenset(left)
    return mixed, clashes


def _leave(
    session: Session, outbound: Direction, slots: Sequence[LinkSlot], item: Item, delivery: Delivery, record: Record,
    mixed: Fields,
) -> None:  # fmt: skip
    """Send what the target should have and does not: what it changed, or has already, stays in its own spelling."""
    stay = {name for name, value in mixed.items() if value is MISSING}
    both = {name: value for name, value in mixed.items() if value is not MISSING}
    combined = outbound.outward({**item.merged, **both}, session.env, slots, delivery.part)[0] if both else {}
    payload, changes = dict(delivery.payload), dict(delivery.changes)
    for top in delivery.changes:
        feeding = {name for name, tops in outbound.tops.items() if top in tops}
        if feeding and feeding <= stay:
            payload[top] = record.value.get(top)
            del changes[top]
        elif feeding & both.keys():
            payload[top] = changes[top] = combined.get(top)
    delivery.payload, delivery.changes = payload, changes
    if delivery.left_out:
        delivery.hash = ledger.NO_HASH  # what was left out is looked at again
    if not changes:
        delivery.kind, delivery.counted = None, "unchanged"


def _ours_wins(policy: str, target: TargetPlan, item: Item, record: Record) -> bool:
    """Whether our value goes over one that the target changed: the same judgement as when that one is read."""
    if policy == "owner":
        general = item.provenance.get(EVERY)
        return not (general and general[0] == target.role)
    if policy == "latest":
        return bool(record.modified and item.record.modified and record.modified < item.record.modified)
    return False


def _same_part(target: TargetPlan, delivery: Delivery, record: Record) -> bool:
    """With `per`: whether a record that was found is that of the part at hand, not of another one."""
    for rule in (target.mapping.model.per or {}).values():
        path = rule.to or rule.from_
        if isinstance(path, str) and key_text(_held(delivery.record, path)) != key_text(_held(record.value, path)):
            return False
    return True


def _held(record: JSON, path: str) -> JSON:
    for name in path.split("."):
        record = record.get(name) if isinstance(record, dict) else None
    return record


def criterion(target: TargetPlan, rule: tuple[str, ...], delivery: Delivery) -> Fields | None:
    """A match rule in the target's own fields; None where a field has no value or no plain path."""
    record = delivery.record
    wanted = {path: record.get(path) for path in target.native_paths(rule) or ()}
    return None if any(value in EMPTY for value in wanted.values()) else wanted or None


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


def held_by_target(
    session: Session, target: TargetPlan, deliveries: list[Delivery], more: Sequence[str] = ()
) -> dict[str, Record]:
    """What the target holds now of these deliveries' records, by native id. more: fields to read beside the written."""
    wanted = [one.native for one in deliveries if one.native is not None]
    if not wanted:
        return {}
    paths = tuple(dict.fromkeys([*target.mapping.reads, *more]))
    session.store.crashpoint("before get")
    found = session.connectors[target.connection].get(target.info.name, wanted, paths)
    session.store.crashpoint("after get")
    return found


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
    delivery.version = record.version
    changes = changed(delivery.payload, record.value)
    changes = {
        name: value for name, value in changes.items() if value is not None or record.value.get(name) is not None
    }
    delivery.before = {name: record.value.get(name) for name in delivery.payload}
    if changes and delivery.target.operation != "create":
        delivery.kind, delivery.changes = "update", changes
    else:
        delivery.counted = "unchanged"
