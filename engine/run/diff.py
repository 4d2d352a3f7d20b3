"""What each target is to get: the payload against the ledger. Unchanged payloads are never sent."""

from __future__ import annotations

from collections.abc import Sequence

from engine.compile.expression import Expression
from engine.compile.functions import FunctionFault
from engine.compile.mapping import Direction
from engine.compile.operators import true
from engine.compile.rules import LinkSlot, key_text
from engine.compile.sync import SyncPlan, TargetPlan
from engine.run.adopt import adopt, changed, compare_with_target, keep_alike, leave_changed
from engine.run.echo import unlike_images
from engine.run.faults import internal, too_large
from engine.run.handover import hand_over
from engine.run.items import Delivery, Item, Trouble, going
from engine.run.journal import wait_for_open
from engine.run.mapping import patience
from engine.run.session import Session
from engine.run.within import keep_within
from engine.sdk.errors import Problem
from engine.sdk.record import Fields, decode_json, fingerprint
from engine.state import canonical, ledger, links, operations
from engine.state.store import instant

GONE = ("deleted", "deactivated", "missing")
"""States of a delivery after which there is nothing to delete."""


def diff_items(session: Session, plan: SyncPlan, items: list[Item], slots: dict[str, list[LinkSlot]]) -> None:
    """Deliveries of every item for every target."""
    live = [item for item in going(items) if item.canonical_id is not None]
    taken: set[int] = set()
    for target in plan.targets:
        _for_target(session, plan, target, live, slots[target.name], taken)
    if session.options.errand is not None:
        keep_within(session, live)
    if plan.targets:
        for item in live:
            if id(item) not in taken and not item.deleted and not item.left and item.trouble is None:
                problem = Problem(
                    "E440", f"{item.key}: no target's `when` admits it", plan.targets[0].at, "widen one, or use `where`"
                )
                item.stop("map_out", problem, "check")


def _for_target(
    session: Session, plan: SyncPlan, target: TargetPlan, items: list[Item], slots: list[LinkSlot], taken: set[int]
) -> None:
    object, ids = target.mapping.model.object or "", [str(item.canonical_id) for item in items]
    known = ledger.get(session.tx, target.connection, object, target.mapping.name, ids)
    onto, troubles = target.mapping.onto, dict[str, Trouble]()
    if onto is not None:
        native, troubles = _onto(session, target, onto, items)
    else:
        native = links.by_canonical(session.tx, target.connection, plan.schema.entity, ids, object)
    busy = operations.open_for(session.tx, target.connection, object, ids)
    parts_of: dict[str, list[str]] = {}
    for known_id, part in known:
        parts_of.setdefault(known_id, []).append(part)
    for slot in slots:
        slot.clear()
    fresh: list[tuple[Item, Delivery]] = []
    for item in items:
        id_ = str(item.canonical_id)
        if _admits(session, target, item):
            taken.add(id(item))
            wanted = _parts(target, item)
        elif item.deliveries and item.deliveries[-1].target is target:
            taken.add(id(item))  # whether it takes the record cannot be told
            continue
        else:
            wanted = []
        for part in dict.fromkeys([*wanted, *parts_of.get(id_, ())]):
            delivery = Delivery(target, part, known=known.get((id_, part)))
            link = next((one for one in native.get(id_, ()) if one.part == part or onto is not None), None)
            delivery.native = link.native_id if link and link.state == "live" else None
            item.deliveries.append(delivery)
            delivery.version = delivery.known.version if delivery.known else None
            if onto is not None and (item.deleted or not wanted):
                item.deliveries.pop()  # the record is another's: it only stops adding to it
            elif id_ in troubles:
                delivery.trouble = troubles[id_]
            elif item.deleted:
                _ending(delivery, target.on_delete, target)
            elif part not in wanted:
                _ending(delivery, target.on_leave if not wanted else "deactivate", target)
            else:
                _outward(session, plan, target.mapping.outbound, item, delivery, slots)
                if delivery.trouble is None:
                    fresh.append((item, delivery))
    decide(session, plan, target, slots, fresh)
    for item in items if busy else ():
        for delivery in item.deliveries:
            standing = busy.get((str(item.canonical_id), delivery.part))
            if standing is not None and delivery.target is target and delivery.kind is not None:
                wait_for_open(session, item, delivery, standing)


def _onto(
    session: Session, target: TargetPlan, onto: Expression, items: list[Item]
) -> tuple[dict[str, list[links.Link]], dict[str, Trouble]]:
    """The target's record that each item adds to: the link of the record that `onto` names, never a new one."""
    object, named, troubles = target.mapping.model.object or "", {}, {}
    for item in items:
        if item.deleted:
            continue
        session.env.followed.clear()
        try:
            named[str(item.canonical_id)] = key_text(onto.evaluate(item.merged, session.env))
        except FunctionFault as fault:
            problem = Problem("E406", f"onto: {fault}", onto.at, "correct the expression, or the record")
            troubles[str(item.canonical_id)] = Trouble("map_out", problem, "mapping", reads=tuple(session.env.followed))
    found = links.of_records(session.tx, target.connection, object, [one for one in named.values() if one])
    for id, one in named.items():
        if one is None:
            problem = Problem("E404", f"onto: {onto.text} names no record", onto.at,
                              "fill it in the source, or leave such records out with the target's `when`")  # fmt: skip
            troubles[id] = Trouble("map_out", problem, "missing_reference", reads=tuple(session.env.followed))
        elif one not in found:
            problem = Problem("E404", f"onto: {target.name} has no {object} for {one}", onto.at,
                              "it goes out by itself once that record is linked")  # fmt: skip
            entity = canonical.entity_of(session.tx, one, session.workspace.names("schema"))
            troubles[id] = Trouble("map_out", problem, "missing_reference", "waiting", reads=((entity or "", one),))
    return {id: found.get(one or "", []) for id, one in named.items()}, troubles


def _admits(session: Session, target: TargetPlan, item: Item) -> bool:
    """Whether a target takes a record. Where that cannot be told the record stays away from this target alone."""
    if item.deleted:
        return True
    if item.left:
        return False
    if target.when is None:
        return True
    session.env.followed.clear()
    try:
        return true(target.when.evaluate(item.merged, session.env))
    except FunctionFault as fault:
        problem = Problem("E406", f"when: {fault}", target.when.at, "correct the expression, or the record")
        trouble = Trouble("map_out", problem, "mapping", reads=tuple(session.env.followed))
        item.deliveries.append(Delivery(target, trouble=trouble))
        return False


def _parts(target: TargetPlan, item: Item) -> list[str]:
    per = target.mapping.per
    if per is None or item.deleted:
        return [""] if per is None else []
    return [part for part in (key_text(one) for one in item.merged.get(per) or ()) if part]


def _ending(delivery: Delivery, how: str, target: TargetPlan) -> None:
    """A record that was deleted, or that left: what the target is to do with its copy."""
    if how in ("ignore", "keep") or delivery.native is None or (delivery.known and delivery.known.state in GONE):
        return
    if how == "delete":
        delivery.kind = "delete"
    elif not target.mapping.deactivate:
        problem = Problem("E442", "the mapping does not say how to deactivate", target.mapping.document.at("deleted"),
                          "add `deleted: { set: … }`")  # fmt: skip
        delivery.trouble = Trouble("map_out", problem, "mapping")
    else:
        delivery.kind, delivery.changes = "update", dict(target.mapping.deactivate)
        delivery.payload, delivery.counted = dict(target.mapping.deactivate), "deactivated"


def _outward(
    session: Session,
    plan: SyncPlan,
    direction: Direction | None,
    item: Item,
    delivery: Delivery,
    slots: Sequence[LinkSlot],
) -> None:
    assert direction is not None
    try:
        payload, once, faults = direction.outward(item.merged, session.env, slots, delivery.part)
    except Exception as error:  # noqa: BLE001 - one record must not end the run of all
        delivery.trouble = Trouble("map_out", internal(item.key, error), "internal")
        return
    hard = [fault for fault in faults if fault[1] != "later"]
    delivery.later = tuple(
        (entity, str(fault[2])) for fault in faults if fault[1] == "later" for entity in fault[3].split(" or ")
    )
    if hard:
        problem, exception_class = direction.problem(hard[0])
        reads = tuple((entity, str(fault[2])) for fault in hard if fault[1] in ("reference", "wait")
                      for entity in fault[3].split(" or "))  # fmt: skip
        waiting = all(fault[1] == "wait" for fault in hard)
        trouble = Trouble("map_out", problem, exception_class, "waiting" if waiting else "open", reads=reads)
        if waiting:
            trouble.until = instant(session.now + patience(delivery.target.mapping.model, direction, hard[0][0]))
        delivery.trouble = trouble
        return
    before = decode_json(delivery.known.fields) if delivery.known else {}
    delivery.before = before
    errand = session.options.errand
    clears = errand is not None and item.key in errand.wanted and errand.wanted[item.key].fields is not None
    delivery.payload = payload if clears else without_nulls(payload, before, direction.clears)
    delivery.once = without_nulls(once, {}, direction.clears)
    delivery.hash, delivery.encoded = fingerprint(delivery.payload)
    limit = plan.flow.policy.max_record
    if len(delivery.encoded) > limit:
        at = plan.document.at("policy", "max_record")
        problem = too_large(item.key, "payload", len(delivery.encoded), limit, at)
        delivery.trouble = Trouble("map_out", problem, "too_large")


def without_nulls(payload: Fields, before: Fields, clears: frozenset[str], path: str = "") -> Fields:
    """Null is sent once a value had been delivered, or where the rule says `on_null: clear`; else it is left out."""
    for value in payload.values():
        if value is None or value.__class__ is dict:
            break
    else:
        return payload
    found: Fields = {}
    for name, value in payload.items():
        here = f"{path}.{name}".strip(".")
        if value is None:
            if name in before or here in clears:
                found[name] = None
        elif isinstance(value, dict):
            inner = before.get(name)
            kept = without_nulls(value, inner if isinstance(inner, dict) else {}, clears, here)
            if kept or not value:
                found[name] = kept
        else:
            found[name] = value
    return found


def decide(
    session: Session, plan: SyncPlan, target: TargetPlan, slots: Sequence[LinkSlot], pairs: list[tuple[Item, Delivery]]
) -> None:
    """Create, update, or nothing. Records that are linked but were never delivered are compared with what is there."""
    unknown: list[tuple[Item, Delivery]] = []
    fresh = session.options.fresh
    for item, delivery in pairs:
        known = delivery.known
        if target.operation == "append":
            if known is None or known.hash != delivery.hash:
                delivery.kind = "append"
            else:
                delivery.counted = "unchanged"
        elif known is not None and known.state == "delivered" and not (fresh and delivery.native is not None):
            _against_ledger(target, delivery)
        elif delivery.native is not None:
            unknown.append((item, delivery))
        elif (
            known is not None
            and known.state == "missing"
            and not (fresh or (session.options.replay and item.key in session.retried))
        ):
            problem = Problem(
                "E452", f"{item.key}: {target.name} no longer has it", target.at, "replay it to create it again"
            )
            delivery.trouble = Trouble("diff", problem, "conflict")
        else:
            delivery.kind = "create"
    creating = [pair for pair in pairs if pair[1].kind == "create"]
    if creating and target.match and target.operation != "create":
        unknown += adopt(session, plan, target, creating)
    compare_with_target(session, target, [pair for pair in unknown if not pair[1].adopted or not pair[1].before])
    if not fresh:  # what the target holds was read
        unlike_images(session, plan, target, pairs)
    leave_changed(session, plan, target, slots, pairs)
    hand_over(session, plan, target, pairs)
    keep_alike(session, target, [pair for pair in pairs if pair[1].known is not None])
    for _, delivery in pairs:
        if delivery.kind == "create":
            if target.operation == "update":
                delivery.kind, delivery.counted = None, "skipped"
            elif target.write_class == "A":
                delivery.kind = "upsert"


def _against_ledger(target: TargetPlan, delivery: Delivery) -> None:
    assert delivery.known is not None
    if target.mapping.onto is not None and delivery.known.native_id != delivery.native:
        delivery.kind, delivery.changes, delivery.before = "update", delivery.payload, {}  # it adds to another one now
        return
    changes = changed(delivery.payload, delivery.before) if delivery.known.hash != delivery.hash else {}
    if not changes or target.operation == "create":
        delivery.counted = "unchanged"
    else:
        delivery.kind, delivery.changes = "update", changes
        delivery.native = delivery.native or delivery.known.native_id
