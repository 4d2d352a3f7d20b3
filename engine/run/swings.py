"""The loop breaker: a record whose field two systems keep overwriting is held, before they do so forever."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from engine.compile.sync import SyncPlan
from engine.run.echo import place_of
from engine.run.items import Item
from engine.run.session import Session
from engine.sdk.errors import Problem
from engine.sdk.record import JSON, digest, same
from engine.state import exceptions, swings
from engine.state.store import Tx, instant
from engine.state.swings import Swing

OPPOSITE = 5
"""Writes that undo the one before which are let pass,"""
WITHIN = timedelta(minutes=10)
"""in this time."""
CODE = "E416"


def judge_swings(session: Session, plan: SyncPlan, items: Sequence[Item]) -> None:
    """Count the writes that undo what another system wrote; stop a record at one too many.

    Judged by content: a value that comes back is what counts, whoever wrote it for whatever reason.
    """
    if place_of(plan.source.connection, plan.source.mapping) not in session.mirrored:
        return
    judged = [item for item in items if item.stored is not None and not item.deleted and item.trouble is None]
    known = swings.get(session.tx, [str(item.canonical_id) for item in judged])
    now = session.tx.now() if any(item.overwrites for item in judged) else ""
    for item in judged:
        standing = known.get(str(item.canonical_id), {})
        for name, giver in item.overwrites.items():
            _judge(session, plan, item, name, giver, standing.get(name), now)
        for name, swing in standing.items():
            held_here = swing.held and swing.connection == plan.source.connection and name not in item.overwrites
            if held_here and name in item.mapped and same(item.mapped[name], (item.before or {}).get(name)):
                item.agreed.append(swing)


def _judge(session: Session, plan: SyncPlan, item: Item, name: str, giver: str, swing: Swing | None, now: str) -> None:
    me, id = plan.source.connection, str(item.canonical_id)
    old, new = (item.before or {}).get(name), item.merged.get(name)
    back = swing is not None and swing.connection != me and swing.was == digest(new)
    if swing is not None and swing.held:
        if (
            item.key in session.retried or back
        ):  # a person decided, or this side takes the value that waits at the other
            item.agreed.append(swing)
        else:
            _stop(plan, item, name, giver, old, new)
        return
    since = instant(datetime.fromisoformat(now) - WITHIN)
    times = (*[one for one in swing.times if one > since], now) if swing is not None and back else ()
    if len(times) > OPPOSITE:
        item.swings.append(Swing(id, name, me, digest(new), times, True))
        _stop(plan, item, name, giver, old, new)
    else:
        item.swings.append(Swing(id, name, me, digest(old), times, False))


def _stop(plan: SyncPlan, item: Item, name: str, giver: str, old: JSON, new: JSON) -> None:
    if item.trouble is not None:
        return
    values = "" if name in plan.schema.sensitive else f": {plan.source.connection} has {new!r}, {giver} has {old!r}"
    problem = Problem(
        CODE, f"{item.key}: {name} goes back and forth between {plan.source.connection} and {giver}{values}",
        plan.source.mapping.document.at("fields", name),
        "find what keeps setting it on one side; then make both alike, or replay it to let this value through",
    )  # fmt: skip
    item.stop("merge", problem, "conflict")


def keep_swings(tx: Tx, items: Sequence[Item]) -> None:
    """Remember what was counted; where a hold is over, whatever it kept waiting in any flow is tried again."""
    told = [item for item in items if not item.goes_again and item.ended is None]
    swings.put(tx, [one for item in told for one in item.swings])
    agreed = [one for item in told if item.trouble is None for one in item.agreed]
    if agreed:
        swings.forget(tx, agreed)
        exceptions.try_again(tx, CODE, {one.canonical_id for one in agreed})
