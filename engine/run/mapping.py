"""The first stages: records into canonical form, skipping what was read before unchanged."""

from __future__ import annotations

from datetime import timedelta

from engine.compile.functions import FunctionFault
from engine.compile.mapping import CompiledMapping, Direction
from engine.compile.operators import true
from engine.compile.rules import LinkSlot, key_text
from engine.compile.sync import SyncPlan
from engine.run.corrections import correct_raw
from engine.run.faults import internal, too_large
from engine.run.items import Item, going
from engine.run.session import Session
from engine.sdk.errors import Problem
from engine.sdk.record import Record, digest, digest_bytes, encode_json, fingerprint
from engine.spec.mapping import Mapping
from engine.state import inputs, links
from engine.state.store import instant


def make_items(session: Session, plan: SyncPlan, records: list[Record]) -> list[Item]:
    """One Item a record, or one for each element where the mapping says `each`. Two records with one key: see twins."""
    items: list[Item] = []
    limit = plan.flow.policy.max_record
    for record in records:
        if record.raw is not None:
            hash, size = digest_bytes(record.raw), len(record.raw)
        else:
            hash, text = fingerprint(record.value)
            size = len(text)
        item = Item(record, record.key, hash)
        if size > limit:
            item.stop(
                "read",
                too_large(record.key, "record", size, limit, plan.document.at("policy", "max_record")),
                "too_large",
            )
        items.append(item)
    return expanded(session, plan.source.mapping, items)


def expanded(session: Session, mapping: CompiledMapping, items: list[Item]) -> list[Item]:
    """`each`: one item an element; its key is the mapping's own."""
    if mapping.each is None:
        return items
    found: list[Item] = []
    for item in items:
        if item.trouble is not None or item.record.problem is not None:
            found.append(item)
            continue
        item.value = item.record.value
        elements = mapping.each.evaluate(item.value, session.env) or []
        for element in elements if isinstance(elements, list) else []:
            session.env.root = item.value
            parts = [expression.evaluate(element, session.env) for expression in mapping.key]
            key = key_text(parts[0] if len(parts) == 1 else parts)
            one = Item(item.record, key or item.key, digest([item.raw_hash.hex(), element]), element)
            if key is None:
                place = mapping.document.at("key")
                one.stop(
                    "map",
                    Problem("E411", f"{item.key}: an element has no key", place, "name fields that every element has"),
                    "mapping",
                )
            found.append(one)
    return found


def twins(items: list[Item]) -> None:
    """Two records with one key in one read: the newer wins; where that cannot be told, neither goes on."""
    seen: dict[str, Item] = {}
    for item in items:
        other = seen.get(item.key)
        if other is None or item.record.problem is not None:
            seen.setdefault(item.key, item)
            continue
        mine, theirs = item.record.modified, other.record.modified
        if item.raw_hash == other.raw_hash:
            item.ended = "superseded"
        elif mine is not None and theirs is not None and mine != theirs:
            (other if mine > theirs else item).ended = "superseded"
            seen[item.key] = item if mine > theirs else other
        else:
            problem = Problem(
                "E412", f"two records have the key {item.key}", None, "correct the source: keys are unique"
            )
            for one in (item, other):
                if one.trouble is None:
                    one.stop("read", problem, "conflict")


def skip_unchanged(session: Session, plan: SyncPlan, items: list[Item]) -> None:
    """What was read before, byte for byte, with the same logic, is done; older versions than the one seen, too."""
    seen = session.seen if session.seen is not None else inputs.get(session.tx, plan.name, [item.key for item in items])
    for item in items:
        known, stuck = seen.get(item.key), session.versions.get(item.key)
        if stuck and item.going and item.record.modified and item.record.modified < stuck:
            item.ended = "superseded"
        asked = session.options.records and item.key not in session.options.given
        if known is None or item.key in session.retried or not item.going or asked:
            continue
        if known.hash == item.raw_hash and known.logic == plan.logic and not plan.follows:
            item.ended = "unchanged" if known.canonical_id is not None else "skipped"
        elif known.modified and item.record.modified and item.record.modified < known.modified:
            item.ended = "superseded"


def map_items(session: Session, plan: SyncPlan, items: list[Item], slots: list[LinkSlot]) -> None:
    """System → canonical. A rule that cannot give its value takes the record off the line with its line in the YAML."""
    mapping, env = plan.source.mapping, session.env
    direction = mapping.inbound
    assert direction is not None
    if mapping.each is None:
        for item in going(items):
            item.value = item.record.value  # decoded here and not before: what was read before unchanged never is
        correct_raw(session, items)
    _prefetch(session, plan, items, slots)
    for item in items:
        if not item.going:
            continue
        if item.record.problem is not None:
            problem = Problem(
                "E400", f"the record {item.key} cannot be read: {item.record.problem}", None, "correct the source"
            )
            item.stop("read", problem, "parse")
            continue
        if item.record.deleted:  # a tombstone holds nothing to judge: whether the record is ours is told by its link
            item.deleted = True
            continue
        if mapping.each is not None:
            env.root = item.record.value
        whole = item.value if mapping.each is None else item.record.value  # both ask of the native record
        try:
            if mapping.where is not None and not true(mapping.where.evaluate(whole, env)):
                item.ended = "skipped"
                continue
            item.deleted = mapping.deleted is not None and true(mapping.deleted.evaluate(whole, env))
        except FunctionFault as fault:
            item.stop(
                "map", Problem("E406", str(fault), mapping.document.at("where"), "correct the expression"), "mapping"
            )
            continue
        if item.record.deleted:
            continue
        try:
            item.mapped, item.faults = direction.inward(item.value, env, slots)
        except Exception as error:  # noqa: BLE001 - one record must not end the run of all
            item.stop("map", internal(item.key, error), "internal")


def judge_faults(session: Session, plan: SyncPlan, items: list[Item]) -> None:
    """Faults become troubles, once `where` has had its say on records that it leaves out anyway."""
    direction = plan.source.mapping.inbound
    assert direction is not None
    for item in going(items):
        faults = [fault for fault in item.faults if fault[1] != "later"]
        item.later = tuple(
            (entity, f"{plan.source.connection}:{fault[2]}")
            for fault in item.faults
            if fault[1] == "later"
            for entity in fault[3].split(" or ")
        )
        if not faults:
            continue
        problems = [direction.problem(fault) for fault in faults]
        first, exception_class = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        problem = Problem(first.code, first.message + more, first.at, first.hint)
        waiting = all(fault[1] == "wait" for fault in faults)
        reads = tuple(
            (entity, f"{plan.source.connection}:{fault[2]}")
            for fault in faults
            if fault[1] in ("wait", "reference")
            for entity in fault[3].split(" or ")
        )
        item.stop("map", problem, exception_class, state="waiting" if waiting else "open", reads=reads)
        if waiting and item.trouble is not None:
            item.trouble.until = instant(session.now + patience(plan.source.mapping.model, direction, faults[0][0]))


def patience(model: Mapping, direction: Direction, rule: int) -> timedelta:
    """How long `on_missing: wait` of a rule waits."""
    path = direction.rules[rule].path
    given = next(
        (rules[path] for rules in (model.fields, model.inbound, model.outbound) if rules and path in rules), None
    )
    return given.wait_for if given is not None and given.wait_for is not None else timedelta(days=3)


def _prefetch(session: Session, plan: SyncPlan, items: list[Item], slots: list[LinkSlot]) -> None:
    """The links of the whole batch in one question a reference."""
    direction = plan.source.mapping.inbound
    assert direction is not None
    for slot, known in zip(direction.slots, slots, strict=True):
        known.clear()
        if slot.path is None or len(slot.entities) != 1 or slot.entities[0] == "any":
            continue
        wanted = {key_text(item.value.get(slot.path)) for item in items if item.going}
        natives = [native for native in wanted if native]
        found = links.by_native(session.tx, plan.source.connection, slot.entities[0], natives, slot.object)
        for native in natives:
            ids = {link.canonical_id for link in found.get(native, ())}
            if len(ids) <= 1:
                known[native] = next(iter(ids), None)


def snapshot(item: Item) -> bytes:
    """The raw record as exceptions keep it; null for one of which only is known that it is gone."""
    return encode_json(None if item.record.deleted and not item.record.value else item.record.value)
