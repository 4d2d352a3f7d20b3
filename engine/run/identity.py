"""Who a record is: its link, a match, or a new canonical id; and whether somebody else said so meanwhile."""

from __future__ import annotations

import xxhash

from engine.compile.functions import FunctionFault
from engine.compile.rules import key_text
from engine.compile.sync import SyncPlan
from engine.run.items import Item, going
from engine.run.session import Session
from engine.sdk.errors import Problem
from engine.spec.mapping import Onto
from engine.state import canonical, links
from engine.state.store import Tx

NEIGHBOURS = -3
"""Native ids that differ in their last three characters only get ids that sort side by side."""


def new_identity(entity: str, connection: str, object: str, native: str) -> str:
    """The canonical id of a record at first sight: the same for the same record, whoever computes it.

    32 hex digits: 6 of the native id's beginning, so that records made one after the other lie on the same pages
    of the state's indexes, and 26 of the whole.
    """
    space = "\x1f".join((entity, connection, object, ""))
    near = xxhash.xxh3_64_hexdigest((space + native[:NEIGHBOURS]).encode())
    return near[:6] + xxhash.xxh3_128_hexdigest((space + native).encode())[:26]


def identify(session: Session, plan: SyncPlan, items: list[Item]) -> None:
    """Give each item its canonical id: by its link, else by the match rules, else a new one."""
    source, entity = plan.source, plan.schema.entity
    object = source.mapping.model.object or ""
    live = going(items)
    if source.canonical and source.mapping.onto is not None:
        _named(session, plan, live)
        return
    if source.canonical:
        for item in live:
            item.canonical_id = new_identity(entity, source.mapping.name, source.mapping.model.of or "", item.key)
        return
    if isinstance(source.mapping.model.onto, Onto):
        _onto(session, plan, live, source.mapping.model.onto)
        return
    known = links.by_native(session.tx, source.connection, entity, [item.key for item in live], object)
    fresh = []
    for item in live:
        found = known.get(item.key)
        if found:
            item.canonical_id, item.part = found[0].canonical_id, found[0].part
            if found[0].state == "deleted" and not item.deleted:
                item.fresh_link = True
        elif item.deleted:
            item.ended = "skipped"
        else:
            fresh.append(item)
    if fresh:
        _match(session, plan, fresh, object)


def _onto(session: Session, plan: SyncPlan, items: list[Item], onto: Onto) -> None:
    """A mapping that adds to a record that another made: never creates."""
    source, entity = plan.source, onto.ref.entities[0]
    natives = {id(item): key_text(item.value.get(onto.from_)) for item in items}
    wanted = [native for native in natives.values() if native]
    found = links.by_native(session.tx, source.connection, entity, wanted, onto.ref.object)
    for item in items:
        native = natives[id(item)]
        known = found.get(native or "")
        if known:
            item.canonical_id = known[0].canonical_id
        else:
            place = source.mapping.document.at("onto")
            problem = Problem("E404", f"onto: no {entity} is known for {native!r}", place, "sync that record first")
            item.stop("merge", problem, "missing_reference", reads=((entity, f"{source.connection}:{native}"),))


def _named(session: Session, plan: SyncPlan, items: list[Item]) -> None:
    """Between entities: the record that `onto` names, never a new one."""
    onto, entity = plan.source.mapping.onto, plan.schema.entity
    assert onto is not None
    for item in items:
        session.env.followed.clear()
        try:
            name = key_text(onto.evaluate(item.value, session.env))
        except FunctionFault as fault:
            problem = Problem("E406", f"onto: {fault}", onto.at, "correct the expression, or the record")
            item.stop("merge", problem, "mapping", reads=tuple(session.env.followed))
            continue
        stored = canonical.get(session.tx, entity, [name]).get(name) if name else None
        if stored is None or stored.deleted:
            what = f"the {entity} {name} is not known" if name else f"{onto.text} names no {entity}"
            problem = Problem("E404", f"onto: {what}", onto.at, "complete the record, or sync what it names")
            reads = (*session.env.followed, *(((entity, name),) if name else ()))
            item.stop("merge", problem, "missing_reference", reads=reads)
            continue
        item.canonical_id = name


def _match(session: Session, plan: SyncPlan, items: list[Item], object: str) -> None:
    """The `x-match` rules in order: exactly one hit links, none creates, several go to review."""
    schema, source = plan.schema, plan.source
    keys = {id(item): schema.match_keys(item.mapped) for item in items}
    hits = (
        canonical.match(session.tx, schema.entity, [key for found in keys.values() for key in found])
        if schema.match
        else {}
    )
    here: dict[tuple[int, bytes], str] = {}
    own = {id(item): new_identity(schema.entity, source.connection, object, item.key) for item in items}
    merged = links.merged(session.tx, schema.entity, own.values())
    for item in items:
        found: list[str] = []
        for key in keys[id(item)]:
            found = [*hits.get(key, ()), *([here[key]] if key in here else [])]
            if found:
                break
        ids = list(dict.fromkeys(found)) or [merged[one] for one in (own[id(item)],) if one in merged]
        if len(ids) > 1:
            _review(item, plan, f"{len(ids)} {schema.entity} records match it")
            continue
        if ids and _linked_here(session, plan, ids[0], object, item, here):
            continue
        item.canonical_id = ids[0] if ids else own[id(item)]
        item.fresh_link = True
        for key in keys[id(item)]:
            here.setdefault(key, item.canonical_id)


def _linked_here(
    session: Session, plan: SyncPlan, id: str, object: str, item: Item, here: dict[tuple[int, bytes], str]
) -> bool:
    """A hit that this system already has another record of: a suspected duplicate."""
    standing = links.by_canonical(session.tx, plan.source.connection, plan.schema.entity, [id], object).get(id, [])
    others = [link.native_id for link in standing if link.state == "live" and link.native_id != item.key]
    if not others and id not in here.values():
        return False
    other = others[0] if others else "another record of this batch"
    _review(item, plan, f"it matches {other}, which is already linked: a suspected duplicate")
    return True


def _review(item: Item, plan: SyncPlan, why: str) -> None:
    problem = Problem(
        "E413", f"{item.key}: {why}", plan.schema.document.at("x-match"), "merge them in the source, or link it by hand"
    )
    item.stop("merge", problem, "ambiguous_match")


def recognised_meanwhile(tx: Tx, plan: SyncPlan, items: list[Item]) -> None:
    """Items that another run linked, or made, since this one looked: they are lost here and go through again.

    Asked within the closing transaction. What was delivered for such an item is kept under the id that stands.
    """
    source, entity = plan.source, plan.schema.entity
    fresh = [item for item in items if item.fresh_link and not item.deleted]
    if not fresh or source.canonical or isinstance(source.mapping.model.onto, Onto):
        return
    object = source.mapping.model.object or ""
    keys = {id(item): plan.schema.match_keys(item.merged) for item in fresh if item.stored is None}
    if any(keys.values()):
        tx.alone(f"match:{entity}")
    native = links.by_native(tx, source.connection, entity, [item.key for item in fresh], object)
    known = links.by_canonical(tx, source.connection, entity, [str(item.canonical_id) for item in fresh], object)
    hits = canonical.match(tx, entity, [key for found in keys.values() for key in found])
    for item in fresh:
        linked = [link.canonical_id for link in native.get(item.key, ()) if link.state == "live"]
        others = [
            one for one in known.get(str(item.canonical_id), ()) if one.state == "live" and one.native_id != item.key
        ]
        alike = [one for key in keys.get(id(item), ()) for one in hits.get(key, ())]
        standing = [one for one in dict.fromkeys([*linked, *alike]) if one != item.canonical_id]
        item.lost = bool(standing or others)
        if len(standing) == 1:
            item.canonical_id = standing[0]
