"""Replays: chosen exceptions through the same line, from the stage that was asked for, older ones of a record first.

raw: the whole line. canonical: from the merge on. payload: what a target was to get, against the ledger, under the same
operation keys. What was delivered in a newer version since is closed as superseded and never applied.
"""

from __future__ import annotations

from engine.compile.sync import SyncPlan, TargetPlan
from engine.run.corrections import fields_of
from engine.run.diff import decide
from engine.run.items import Counts, Delivery, Item
from engine.run.journal import wait_for_open
from engine.run.mapping import make_items, twins
from engine.run.resolve import resolve_in_doubt
from engine.run.session import Session
from engine.run.sync import Slots, finish_batch, onward, prepare, process, repeat
from engine.sdk.errors import Problem, UsageError
from engine.sdk.record import Record, decode_json, fingerprint
from engine.state import canonical, exceptions, inputs, ledger, links, operations
from engine.state.kept import Kept, kept_of

REFUSED = {
    "raw": ("the source's record could not be read at all", "mend it there: the next run that reads it closes this"),
    "canonical": ("it left the line before it had a canonical form", "replay it with `--from raw`"),
    "payload": ("it left the line before there was a payload for its target", "replay it with `--from raw`"),
}


def replayable(kept: Kept, stage: str) -> None:
    """Raises UsageError X915 where an exception does not hold what the stage begins with."""
    held = {"raw": kept.raw not in (None, b"{}"), "canonical": bool(kept.canonical), "payload": bool(kept.payload)}
    if not held[stage]:
        why, hint = REFUSED[stage]
        raise UsageError(Problem("X915", f"{kept.id} cannot be replayed from {stage}: {why}", None, hint))


def run_replay(session: Session, plan: SyncPlan) -> Counts:
    """Replay the chosen exceptions of a flow to their end."""
    session.plan, session.counts = plan, Counts.of(target.name for target in plan.targets)
    options = session.options
    if options.logic is not None and plan.logic != options.logic:
        raise UsageError(Problem("X915", f"{plan.name} does not compile to the logic {options.logic.hex()[:12]} any more",
                                 None, "replay with `--logic current`"))  # fmt: skip
    resolve_in_doubt(session, plan)
    slots, totals = prepare(session, plan)
    with session.reading():
        kept = _current(session, plan, kept_of(session.tx, options.chosen))
    session.counts.records["read"] = len({one.key for one in kept})
    size = plan.flow.policy.batch
    for start in range(0, len(kept), size):
        with session.reading():
            items = _items(session, plan, kept[start : start + size], slots)
            if options.stage == "raw":
                process(session, plan, items, slots, totals)
            elif options.stage == "canonical":
                onward(session, plan, items, slots, totals)
        finish_batch(session, plan, items, None)
        repeat(session, plan, slots, totals, None)
        if session.cancelled.is_set():
            break
    return session.counts


def _current(session: Session, plan: SyncPlan, found: list[Kept]) -> list[Kept]:
    """Without those whose record has been delivered in a newer version since: they are closed."""
    seen = inputs.get(session.tx, plan.name, [one.key for one in found])
    passed, current = list[Kept](), list[Kept]()
    for one in found:
        newer = seen.get(one.key)
        late = newer is not None and newer.modified and one.modified and newer.modified > one.modified
        if session.options.stage == "payload":
            target = _target(plan, one)
            known = ledger.get(
                session.tx, target.connection, target.info.name, target.mapping.name, [str(one.canonical_id)]
            )
            row = known.get((str(one.canonical_id), one.part))
            late = late or (row is not None and row.revision > (one.revision or 0))
        (passed if late else current).append(one)
    if passed:
        with session.store.begin("supersede") as tx:
            exceptions.set_state(
                tx, [one.id for one in passed], "superseded", "its record was delivered in a newer version"
            )
        session.counts.records["skipped"] += len(passed)
        session.live -= {(one.key, one.target, one.part) for one in passed}
    return current


def _items(session: Session, plan: SyncPlan, kept: list[Kept], slots: Slots) -> list[Item]:
    if session.options.stage == "payload":
        session.live &= {
            (one.key, one.target, one.part) for one in kept
        }  # the record's other troubles stay as they are
        return _deliveries(session, plan, kept, slots)
    records = {one.key: one for one in kept}
    raws = {key: decode_json(one.raw or b"{}") for key, one in records.items()}
    session.retried |= {key: fingerprint(value or {})[0] for key, value in raws.items()}
    items = make_items(
        session, plan,
        [Record(key, raws[key] or {}, one.modified, deleted=raws[key] is None) for key, one in records.items()],
    )  # fmt: skip
    twins(items)
    if session.options.stage == "canonical":
        given = (
            {rule.path.split(".")[0] for rule in plan.source.mapping.inbound.rules}
            if plan.source.mapping.inbound
            else {""}
        )
        items = [item for item in items if item.key in records]
        for item in items:
            item.value = item.value or item.record.value
            stored = decode_json(records[item.key].canonical or b"{}")
            item.mapped = {name: value for name, value in stored.items() if name in given}
            item.mapped |= fields_of(session, item)
    return items


def _deliveries(session: Session, plan: SyncPlan, kept: list[Kept], slots: Slots) -> list[Item]:
    """What single targets were to get, judged against the ledger as it is now."""
    items: list[Item] = []
    for target in plan.targets:
        pairs: list[tuple[Item, Delivery]] = []
        chosen = [one for one in kept if one.target == target.name]
        ids = [str(one.canonical_id) for one in chosen]
        known = ledger.get(session.tx, target.connection, target.info.name, target.mapping.name, ids)
        native = links.by_canonical(session.tx, target.connection, plan.schema.entity, ids, target.info.name)
        stored = canonical.get(session.tx, plan.schema.entity, ids)
        busy = operations.open_for(session.tx, target.connection, target.info.name, ids)
        for slot in slots[1][target.name]:
            slot.clear()
        for one in chosen:
            id = str(one.canonical_id)
            row = stored.get(id)
            merged = decode_json(row.data if row else one.canonical or b"{}")
            record = Record(one.key, decode_json(one.raw or b"{}") or {}, one.modified)
            item = Item(record, one.key, b"", canonical_id=id, merged=merged, before=merged, stored=row, changed=False)
            link = next((one_ for one_ in native.get(id, ()) if one_.part == one.part and one_.state == "live"), None)
            delivery = Delivery(
                target, one.part, known=known.get((id, one.part)), native=link.native_id if link else None
            )
            item.deliveries.append(delivery)
            items.append(item)
            _fill(session, target, item, delivery, decode_json(one.payload or b"{}"), slots)
            pairs.append((item, delivery))
        decide(session, plan, target, slots[1][target.name], pairs)
        for item, delivery in pairs:
            standing = busy.get((str(item.canonical_id), delivery.part))
            if standing is not None and delivery.kind is not None:
                wait_for_open(session, item, delivery, standing)
    return items


def _fill(
    session: Session, target: TargetPlan, item: Item, delivery: Delivery, payload: dict[str, object], slots: Slots
) -> None:
    delivery.payload, delivery.before = payload, decode_json(delivery.known.fields) if delivery.known else {}
    delivery.hash, delivery.encoded = fingerprint(payload)
    if target.mapping.outbound is not None:  # fields of creates only are no part of the payload
        delivery.once = target.mapping.outbound.outward(item.merged, session.env, slots[1][target.name], delivery.part)[
            1
        ]


def _target(plan: SyncPlan, kept: Kept) -> TargetPlan:
    """The target of an exception. Raises UsageError X915 where the flow has it no more, or it writes on others' records."""
    found = next((one for one in plan.targets if one.name == kept.target), None)
    if found is None or found.mapping.onto is not None:
        raise UsageError(Problem("X915", f"{kept.id} cannot be replayed from payload: the flow has no such target of its own",
                                 None, "replay it with `--from canonical`"))  # fmt: skip
    return found
