"""Fields that several systems share: a three-way merge against what each side was last known to have.

One side changed: its value is taken. Both changed to the same: fine. Both changed differently: the flow's `conflict`
decides, per field, inside objects per member, inside keyed lists per element (DELIVERY.md section 4).
"""

from __future__ import annotations

from typing import Any, Literal

from engine.compile.sync import SyncPlan
from engine.run.items import EVERY, Item
from engine.sdk.errors import Problem
from engine.sdk.record import JSON, Fields, same

MISSING: Any = object()
"""No base is known: the two sides meet for the first time."""
EMPTY: tuple[JSON, ...] = (None, "", [], {})
Side = Literal["stored", "incoming"]


def three_way(base: JSON, stored: JSON, incoming: JSON, prefer: Side, key: str | None = None) -> tuple[JSON, bool]:
    """The merged value, and whether both sides changed differently; there the side to prefer gives the value.

    base: `MISSING` where none is known. key: the field that tells elements of a list apart.
    """
    if same(stored, incoming) or (base is not MISSING and same(base, incoming)):
        return stored, False
    if base is not MISSING and same(base, stored):
        return incoming, False
    if stored.__class__ is dict and incoming.__class__ is dict:
        return _members(base if base.__class__ is dict else {}, stored, incoming, prefer)
    if key is not None and stored.__class__ is list and incoming.__class__ is list:
        return _elements(base if base.__class__ is list else MISSING, stored, incoming, prefer, key)
    preferred = incoming if prefer == "incoming" else stored
    if base is MISSING and (stored in EMPTY or incoming in EMPTY):
        return (preferred if incoming in EMPTY and stored in EMPTY else incoming if stored in EMPTY else stored), False
    return preferred, True


def _members(base: Fields, stored: Fields, incoming: Fields, prefer: Side) -> tuple[Fields, bool]:
    """Objects member by member; a member that a side leaves out says nothing."""
    merged, clash = dict(stored), False
    for name, value in incoming.items():
        if name not in stored:
            merged[name] = value
            continue
        merged[name], one = three_way(base.get(name, MISSING), stored[name], value, prefer)
        clash = clash or one
    return merged, clash


def _elements(base: JSON, stored: list[JSON], incoming: list[JSON], prefer: Side, key: str) -> tuple[list[JSON], bool]:
    """Lists element by element, in the stored order, additions at the end."""
    old = {} if base is MISSING else _by_key(base, key)
    ours, theirs = _by_key(stored, key), _by_key(incoming, key)
    merged: list[JSON] = []
    clash = False
    for name in dict.fromkeys([*ours, *theirs]):
        mine, yours, before = ours.get(name, MISSING), theirs.get(name, MISSING), old.get(name, MISSING)
        if mine is not MISSING and yours is not MISSING:
            value, one = three_way(before, mine, yours, prefer)
            merged.append(value)
            clash = clash or one
            continue
        kept, side = (mine, "stored") if yours is MISSING else (yours, "incoming")
        if before is MISSING:
            merged.append(kept)  # one side added it
        elif not same(before, kept):  # one side removed what the other changed
            clash = True
            if prefer == side:
                merged.append(kept)
    return merged, clash


def _by_key(elements: list[JSON], key: str) -> dict[JSON, JSON]:
    return {
        str(one.get(key)) if isinstance(one, dict) and key in one else f"#{number}": one
        for number, one in enumerate(elements)
    }


def merge_shared(plan: SyncPlan, item: Item, name: str, stored: JSON, incoming: JSON) -> JSON:
    """A shared field's value after the merge. Where people must decide the item leaves the line."""
    policy = plan.flow.conflict
    prefer: Side = "incoming" if _incoming_wins(plan, item, name) else "stored"
    base = item.image.meaning(name, MISSING)
    merged, clash = three_way(base, stored, incoming, prefer, element_key(plan, name))
    if clash and policy == "quarantine" and item.trouble is None:
        place = plan.source.mapping.document.at("fields", name)
        values = f": {plan.source.connection} has {incoming!r}, the others have {stored!r}"
        problem = Problem(
            "E414", f"{item.key}: {name} was changed on both sides{'' if name in plan.schema.sensitive else values}", place,
            "make both sides alike, or say `conflict: owner` or `latest` in the flow",
        )  # fmt: skip
        item.stop("merge", problem, "conflict")
    return merged


def element_key(plan: SyncPlan, name: str) -> str | None:
    """The field that tells elements of a list apart, where the mapping names one."""
    rule = plan.source.mapping.model.fields.get(name)
    return rule.key if rule is not None and isinstance(rule.key, str) else None


def _incoming_wins(plan: SyncPlan, item: Item, name: str) -> bool:
    """Who is right where both changed: the role that the record came from first, or the newer version."""
    if plan.flow.conflict == "owner":
        general = item.provenance.get(EVERY)
        return bool(general and general[0] == plan.source.role)
    return newer(item, name)


def newer(item: Item, name: str) -> bool:
    """Whether the item's version is not older than the one that gave the stored value; what cannot be compared is newer."""
    given = item.provenance.get(name, item.provenance.get(EVERY))
    known = given[2] if given else None
    return not (known and item.record.modified and item.record.modified < known)
