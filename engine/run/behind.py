"""Order where every version counts: what a target only appends to gets a record's versions one after the other.

Elsewhere a newer version passes an older one that is in trouble, and closes it. Where a target appends, that would lose
the older one; so later versions wait behind it, each kept whole, and follow by themselves in their order.
"""

from __future__ import annotations

from engine.compile.sync import SyncPlan
from engine.run.items import Item, going
from engine.run.session import Session
from engine.sdk.errors import Problem
from engine.sdk.record import Record, decode_json, fingerprint
from engine.state import behind
from engine.state.exceptions import BEHIND as PART


def keeps_order(plan: SyncPlan) -> bool:
    """Whether a target of the flow appends."""
    return any(target.operation == "append" for target in plan.targets)


def hold_behind(session: Session, plan: SyncPlan, items: list[Item]) -> None:
    """Later versions of records that are in trouble leave the line until their turn."""
    if not keeps_order(plan) or not session.live:
        return
    troubled = {key for key, _, _ in session.live}
    for item in going(items):
        if item.key not in troubled:
            continue
        if session.retried.get(item.key) == fingerprint(item.record.value)[0]:
            item.behind = session.turns.get(item.key, "")  # it is its turn
            continue
        item.behind = f"{PART}{item.record.modified or item.raw_hash.hex()}"
        problem = Problem("E418", f"{item.key}: an earlier version of it is in trouble, and they go in order",
                          plan.source.mapping.document.at(), "see to that one; this one follows by itself")  # fmt: skip
        item.stop("read", problem, "conflict", state="waiting")


def own_troubles(live: set[tuple[str, str, str]]) -> set[str]:
    """Keys of the records that could not be taken as they came, whatever their targets say."""
    return {key for key, target, part in live if not target and not part}


def over(session: Session, item: Item, troubles: set[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """The exceptions of a record that its passing closes: its own, and never those of versions that wait behind it."""
    live = [one for one in session.live if one[0] == item.key and (one[1], one[2]) not in troubles]
    if item.ended == "superseded":  # a newer version was here, and what is open may be about that one
        return []
    if item.ended == "unchanged":  # what became of it on its way since then is another matter
        return [one for one in live if one[1:] == ("", "")]
    if item.behind and item.trouble is not None and item.trouble.problem.code == "E418":
        return []
    return [one for one in live if not one[2].startswith(PART) or one[2] == item.behind]


def next_in_line(session: Session, plan: SyncPlan) -> list[Record]:
    """Of each record whose earlier versions are through, the next that waited."""
    records = []
    for row in behind.next_behind(session.tx, plan.name) if keeps_order(plan) else ():
        if row.raw:
            records.append(Record(row.key, decode_json(row.raw), row.modified))
            session.turns[row.key] = row.part
    return records
