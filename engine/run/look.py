"""A second look: the records of some breaks, read again on every side and compared again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from threading import Event

from engine.compile.reconcile import ReconcilePlan
from engine.run.control import Controls
from engine.run.errands import beside
from engine.run.extract import Extract, extract
from engine.run.reconcile import Outcome, compare, window_start
from engine.run.session import Options, Session
from engine.sdk.errors import ConnectorError
from engine.sdk.record import Fields
from engine.state import links
from engine.state.breaks import Found, Place

LOOK = 1_000
"""Records that are looked at again at a time."""
NEWER = "newer change"
"""Cause of a difference that only the time of a change explains."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a break is about. natives: side → native ids."""

    key: str
    canonical_id: str | None
    natives: Fields


@dataclass(slots=True)
class Look:
    """found: what differs. unseen: keys of subjects of which a side did not give a record that it had: nothing is known."""

    found: list[Found] = field(default_factory=list)
    unseen: set[str] = field(default_factory=set)


def look_again(session: Session, plan: ReconcilePlan, subjects: Sequence[Subject], live: set[Place]) -> Look:
    """What differs now of these records and of no others. live: breaks that are told wherever their record is.

    Raises ConnectorError where a side cannot be read.
    """
    look = Look()
    low = window_start(plan, session.now)
    for start in range(0, len(subjects), LOOK):
        chunk = subjects[start : start + LOOK]
        inner = beside(session, Options(trigger=session.options.trigger, now=session.options.now))
        inner.cancelled = Event()  # what was written is looked at, also by a run that is to stop
        wanted = _wanted(inner, plan, chunk)
        with ExitStack() as stack:
            extracts: dict[str, Extract] = {}
            for side in plan.sides:
                one = extracts[side.name] = extract(inner, plan, side, low, Controls(plan), wanted[side.name])
                stack.callback(one.lines.close)
            outcome = compare(inner, plan, extracts, Controls(plan), live)
        known = [one for one in chunk if _all_given(one, extracts)]
        look.unseen |= {one.key for one in chunk} - {one.key for one in known}
        look.found += [one for one in outcome.found if _theirs(plan, one, known)]
    return look


def _all_given(subject: Subject, extracts: Mapping[str, Extract]) -> bool:
    """Whether every record of it that a side had was there."""
    return all(
        extracts[side].given.issuperset(natives) for side, natives in subject.natives.items() if side in extracts
    )


def _theirs(plan: ReconcilePlan, one: Found, subjects: Sequence[Subject]) -> bool:
    """Whether a difference is about one of the subjects, and not about a record that was only read beside them."""
    mine = {(side, native) for side, natives in one.natives.items() for native in natives}
    for subject in subjects:
        if one.key == subject.key or (not plan.key and one.canonical_id and one.canonical_id == subject.canonical_id):
            return True
        if any((side, native) in mine for side, natives in subject.natives.items() for native in natives):
            return True
    return False


def _wanted(session: Session, plan: ReconcilePlan, subjects: Sequence[Subject]) -> dict[str, Sequence[str]]:
    """What each side is asked for: what it had, and what that is linked to there by now."""
    entity, ids = plan.schema.entity, {one.canonical_id for one in subjects if one.canonical_id is not None}
    found: dict[str, dict[str, None]] = {}
    with session.reading() as tx:
        for side in plan.sides:
            mine = [native for one in subjects for native in one.natives.get(side.name, ())]
            found[side.name] = dict.fromkeys(mine)
            if side.object:
                known = links.by_native(tx, side.connection, entity, mine, side.object)
                ids |= {link.canonical_id for rows in known.values() for link in rows}
            else:
                ids |= set(mine)
        for side in plan.sides:
            if not side.object:
                found[side.name] |= dict.fromkeys(ids)
                continue
            linked = links.by_canonical(tx, side.connection, entity, sorted(ids), side.object)
            found[side.name] |= {link.native_id: None for rows in linked.values() for link in rows}
    return {
        side.name: tuple(f"{side.connection}:{one}" if side.intake is not None and not side.intake.source.canonical else one
                         for one in found[side.name])
        for side in plan.sides
    }  # fmt: skip


def look_at_moving(session: Session, plan: ReconcilePlan, outcome: Outcome, live: set[Place]) -> None:
    """Differences that only a newer change explains are looked at once more, so that what was merely being written is
    not told. They stay in flight where a side cannot be asked."""
    moving = [one for one in outcome.found if one.name == "in_flight" and one.cause == NEWER][:LOOK]
    if not moving or any(side.group for side in plan.sides):
        return
    try:
        look = look_again(session, plan, [Subject(one.key, one.canonical_id, one.natives) for one in moving], live)
    except ConnectorError:
        return
    now = look.found
    keys, still = {one.key for one in moving} - look.unseen, {one.key for one in now}
    for one in outcome.found:
        if one.key in keys:
            outcome.uncount(one)
            outcome.seen.discard(one.place)
    outcome.found = [one for one in outcome.found if one.key not in keys] + now
    for one in now:
        outcome.count(one)
        if one.place in live:
            outcome.seen.add(one.place)
    outcome.equal += len(keys - still)
