"""Sides that are read within the window only (`window: { read: window }`), made complete before anything is concluded.

A record in the window may have its partner outside of it. What a side does not give of such keys is looked up: by the links of
the record, by the native fields behind the key where those hold it as it is, and, where neither can tell, by reading the
side in full after all. So a record is called missing only where a full read would have called it so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta

from engine.compile.reconcile import ReconcilePlan, SidePlan
from engine.run.breaks import Met
from engine.run.control import Controls
from engine.run.extract import Extract, extract
from engine.run.join import Join
from engine.run.rows import Row
from engine.run.session import Session
from engine.sdk.connector import Slice
from engine.sdk.record import JSON, Fields, decode_json
from engine.state import breaks, links
from engine.state.breaks import Break

MARGIN = timedelta(days=2)
"""What zones may move a day by, and more."""
FEW = 5_000
"""Keys that are looked up; for more, the side is read in full."""
DATED = ("date", "datetime")
"""Casts that cannot fail where the native field is of that type: what cannot be read is compared whatever its day."""


def slices(session: Session, plan: ReconcilePlan, side: SidePlan, low: str | None) -> tuple[Slice, ...] | None:
    """What is read of a side that can be cut by its window: what has no day there, and what is not before its beginning.

    None: the side is read in full. A side of groups is cut too: its groups are of records in the window only.
    """
    window, intake = plan.flow.window, side.intake
    if low is None or window is None or window.read == "all" or intake is None or intake.source.canonical:
        return None
    grouped = {bool(one.group) for one in plan.sides}
    info = session.connectors[side.connection].describe(side.object)
    name = next((name for kind in DATED if (name := _native(side, window.field, (None, kind))) is not None
                 and (held := info.field(name)) is not None and held.type == kind), None)  # fmt: skip
    if name is None or name not in info.slices or len(grouped) > 1:
        return None
    return Slice(name), Slice(name, (date.fromisoformat(low) - MARGIN).isoformat())


def _native(side: SidePlan, path: str, casts: Sequence[str | None]) -> str | None:
    """The native field that a canonical one is taken from as it is, but for such a cast."""
    assert side.intake is not None
    model = side.intake.source.mapping.model
    rule = model.column(path) if model.each is None and "." not in path else None
    if rule is None:
        return None
    more = rule.model_fields_set - {"from_", "as_", "to", "on", "on_null", "timezone"}
    return str(rule.from_) if not more and rule.as_ in casts else None


def complete(
    session: Session, plan: ReconcilePlan, low: str | None, extracts: Mapping[str, Extract], controls: Controls
) -> Iterator[Extract]:
    """Look up what the cut sides lack; gives anew each side that has to be read in full."""
    cut = [one for one in extracts.values() if one.slices is not None and not one.side.group]
    if not cut:
        return
    with session.reading() as tx:
        live = breaks.listed(tx, plan.name)
    keys = {one.key: one.canonical_id for one in live}
    lacking = _lacking(plan, extracts, cut, keys)
    for one in cut:
        wanted = lacking[one.side.name]
        if len(wanted) > FEW:
            continue
        found = _candidates(session, plan, one.side, wanted, live)
        one.searched = _search(session, plan, one.side, wanted, found)
        fresh = found - _given(one, found)
        if fresh:
            _add(
                one,
                extract(
                    session, plan, one.side, low, controls, [f"{one.side.connection}:{id}" for id in sorted(fresh)]
                ),
            )
    lacking = _lacking(plan, extracts, cut, keys)
    for one in cut:
        if lacking[one.side.name].keys() - one.searched:
            controls.forget(one.side.name)
            yield extract(session, plan, one.side, low, controls)


def _lacking(
    plan: ReconcilePlan, extracts: Mapping[str, Extract], cut: Iterable[Extract], live: Mapping[str, str | None]
) -> dict[str, dict[str, str | None]]:
    """Cut side → key that it gives no record of, though the key is looked at → the canonical record, if known.

    live: keys that are looked at wherever they are, in the window or not.
    """
    found: dict[str, dict[str, str | None]] = {}
    for one in cut:
        names = (line.partition(b"\t")[0].decode() for line in one.lines) if live else ()
        there = {key for key in names if key in live}
        found[one.side.name] = {key: id for key, id in live.items() if key not in there and _joins(plan, key)}
    for key, lines in Join([extracts[side.name].lines.pieces() for side in plan.sides]):
        met = Met.of(key, plan.sides, lines)
        if met.inside and _joins(plan, met.key):
            for name, mine in found.items():
                if name not in met.rows and len(mine) <= FEW:
                    mine[met.key] = met.id
    return found


def _joins(plan: ReconcilePlan, key: str) -> bool:
    """Whether it is a key; a record without one has no partner anywhere."""
    return not plan.key or bool(decode_json(key)[:1] != ["?"])


def _candidates(
    session: Session, plan: ReconcilePlan, side: SidePlan, wanted: Mapping[str, str | None], live: Iterable[Break]
) -> set[str]:
    """Native ids of a side that may belong to what is wanted: by links, and as breaks remember them."""
    found = {native for one in live for native in one.natives.get(side.name, ())}
    ids = {id for id in (*wanted.values(), *(one.canonical_id for one in live)) if id is not None}
    with session.reading() as tx:
        known = links.by_canonical(tx, side.connection, plan.schema.entity, ids, side.object)
    return found | {one.native_id for standing in known.values() for one in standing}


def _search(
    session: Session, plan: ReconcilePlan, side: SidePlan, keys: Iterable[str], found: set[str]
) -> set[str]:  # fmt: skip
    """Search the side by the native fields of the key, add what is there to `found`, and tell which keys were searched."""
    names = [_native(side, leaf.path, (None,)) for leaf in plan.key]
    exact = all(leaf.kind == "text" and leaf.former() is None for leaf in plan.key)
    info = session.connectors[side.connection].describe(side.object)
    if (
        not names
        or not exact
        or any(name is None or (info.matches is not None and name not in info.matches) for name in names)
    ):
        return set()
    searched = {key: by for key in dict.fromkeys(keys) if (by := _condition(names, decode_json(key))) is not None}
    connector, object = session.connectors[side.connection], side.object
    session.store.crashpoint("before find")
    for records in connector.find(object, list(searched.values()), side.intake.source.mapping.reads):  # type: ignore[union-attr]
        found.update(record.key for record in records)
    session.store.crashpoint("after find")
    return set(searched)


def _condition(names: Sequence[str | None], values: JSON) -> Fields | None:
    """Native field → text; None where the key is not made of texts."""
    texts = values if isinstance(values, list) else [values]
    if len(texts) != len(names) or not all(isinstance(one, str) and one.strip() for one in texts):
        return None
    return {str(name): text for name, text in zip(names, texts, strict=True)}


def _given(one: Extract, natives: set[str]) -> set[str]:
    """Those of the native ids that the side has given already."""
    return {id for line in one.lines for id in Row.of(line).natives if id in natives} if natives else set()


def _add(one: Extract, more: Extract) -> None:
    """Rows that were looked up belong to the side."""
    try:
        for line in more.lines:
            one.lines.add(line)
    finally:
        more.lines.close()
    for name in ("read", "admitted", "unwanted", "deleted", "faulty"):
        setattr(one, name, getattr(one, name) + getattr(more, name))
    one.looked_up += more.read
