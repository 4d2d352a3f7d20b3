"""What became of what was mended: looked at again, closed or left with its reason, noted, and told with the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.compile.reconcile import ReconcilePlan
from engine.run.errand import Healed
from engine.run.look import Look, Subject, look_again
from engine.run.session import Session
from engine.sdk.errors import ConnectorError
from engine.sdk.record import Fields
from engine.state import audit, breaks, reconciliations
from engine.state.breaks import ENGINE, Break, Found, Place
from engine.state.reconciliations import Reconciliation
from engine.state.store import Tx

UNSEEN = "a side did not give its record again: the next run tells"
TOLD = 1_000
"""Breaks that a result names."""


def settle_healed(
    session: Session, plan: ReconcilePlan, found: Sequence[Break], told: dict[str, Healed], compared: str,
    ending: set[str],
) -> None:  # fmt: skip
    """Look again at what was touched; close what is gone, and note why the rest is left. ending: breaks whose records are
    gone where all went well."""
    touched = [one for one in found if one.id in told and told[one.id].outcome == "planned"]
    if not touched:
        return
    places = {_place(one): one for one in touched}
    try:
        subjects = [Subject(one.key, one.canonical_id, one.natives) for one in touched]
        look = look_again(session, plan, subjects, set(places))
    except ConnectorError as error:
        why = f"it could not be looked at again: {error.problem.message} ({error.problem.code})"
        for one in touched:
            told[one.id].outcome, told[one.id].why = "left", why
        with session.store.begin("heal") as tx:
            _note(tx, session, touched, told)
        return
    _judge(places, look, told, ending)
    still = {one.place for one in look.found}
    with session.store.begin("heal") as tx:
        breaks.record(tx, plan.name, plan.schema.entity, compared, look.found, anew=False)
        for place, one in places.items():
            if place not in still and told[one.id].why != UNSEEN:
                gone = told[one.id].outcome == "healed"
                how = f"healed by {told[one.id].how} in {session.run}" if gone else "it is another break by now"
                breaks.close(tx, [one.id], compared, how)
        _note(tx, session, touched, told)
        _amended(tx, session, touched, told, compared)


def _judge(places: Mapping[Place, Break], look: Look, told: dict[str, Healed], ending: set[str]) -> None:
    """Whether each break is healed, and why not."""
    there = look.found
    still, again = {one.place: one for one in there}, _as_others(there)
    for place, one in places.items():
        if one.key in look.unseen and one.id not in ending:
            told[one.id].outcome, told[one.id].why = "left", UNSEEN
            continue
        natives = [(side, native) for side, ids in one.natives.items() for native in ids]
        others = [each for native in natives for each in again.get(native, ()) if each.key != one.key]
        mine, standing = told[one.id], still.get(place) or next(iter(others), None)
        mine.outcome = "left" if standing is not None else "healed"
        if standing is None:
            mine.why = None
        elif standing.name == "in_flight":
            mine.why = standing.why
        else:
            mine.why = mine.why or "it still differs"


def _place(one: Break) -> breaks.Place:
    return (breaks.key_digest(one.key), one.kind, one.side)


def _as_others(there: Iterable[Found]) -> dict[tuple[str, str], list[Found]]:
    """(side, native id) → what differs of it. Records that were linked meanwhile go by another key."""
    found: dict[tuple[str, str], list[Found]] = {}
    for one in there:
        for side, natives in one.natives.items():
            for native in natives:
                found.setdefault((side, native), []).append(one)
    return found


def _note(tx: Tx, session: Session, touched: Sequence[Break], told: dict[str, Healed]) -> None:
    """History of each break, and the audit trail."""
    person = session.options.actor or ENGINE
    rows = []
    for one in touched:
        mine = told[one.id]
        healed = mine.outcome == "healed"
        what = f"healed by {mine.how}" if healed else f"not healed by {mine.how}: {mine.why}"
        last = breaks.history(tx, one.id)
        if not any(each["what"] == what for each in last[-1:]):
            rows.append((one.id, session.run, person, what, one.name))
        audit.append(
            tx, person, "reconcile heal", one.id, {"run": session.run, "outcome": mine.outcome, "how": mine.how}
        )
    breaks.note(tx, rows)


# ---------------------------------------------------------------------- telling
def _amended(tx: Tx, session: Session, touched: Sequence[Break], told: dict[str, Healed], compared: str) -> None:
    kept = reconciliations.get(tx, compared)
    if kept is None:
        return
    rows = [told[one.id] for one in touched]
    records = [{"break": one.id, "label": one.label, "class": one.name, "outcome": mine.outcome, "how": mine.how, "why": mine.why}
               for one, mine in zip(touched, rows, strict=True)]  # fmt: skip
    _keep(tx, kept, {"run": session.run, **figures(rows), "records": records[:TOLD]})


def note_over(session: Session, run: str, entry: Fields) -> None:
    with session.store.begin("heal") as tx:
        kept = reconciliations.get(tx, run)
        if kept is not None:
            _keep(tx, kept, {"run": session.run, **entry})


def _keep(tx: Tx, kept: Reconciliation, entry: Fields) -> None:
    reconciliations.amend(tx, kept.run, {**kept.told, "healing": [*kept.told.get("healing", []), entry]})


def figures(told: Iterable[Healed]) -> Fields:
    outcomes = [one.outcome for one in told]
    return {"healed": outcomes.count("healed"), "left": outcomes.count("left"), "over_limit": 0}


def row_of(one: Break, mine: Healed) -> dict[str, Any]:
    """One line of the answer."""
    return {"break": one.id, "record": one.canonical_id, "label": one.label, "class": one.name, "side": one.side or None,
            "outcome": mine.outcome, "how": mine.how, "why": mine.why,
            "writes": [{key: value for key, value in change.items() if key != "planned"} for change in mine.writes]}  # fmt: skip
