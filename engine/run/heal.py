"""Healing: what the policy allows is mended through the ordinary line, looked at again, and told.

choose (remedies) → run (errands) → look again → close what is gone, say why the rest is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from engine.compile.heal import between, mendings
from engine.compile.reconcile import ReconcilePlan
from engine.run.errand import Healed
from engine.run.errands import beside, run_errand
from engine.run.guards import Held
from engine.run.look import Subject, look_again
from engine.run.reconcile import Outcome, told_counts
from engine.run.remedies import Remedies, remedies
from engine.run.resolve import resolve_in_doubt
from engine.run.session import Options, Session
from engine.sdk.errors import ConnectorError, Problem, UsageError
from engine.sdk.record import Fields
from engine.state import audit, breaks, operations, reconciliations
from engine.state.breaks import ENGINE, Break, Found
from engine.state.reconciliations import Reconciliation
from engine.state.store import Tx

AT_ONCE = 20_000
"""Breaks that are chosen from at a time."""
TOLD = 1_000
"""Breaks that a result names."""


def settle(session: Session, plan: ReconcilePlan) -> None:
    """What mending sent and had no answer to comes to its end before anything is compared."""
    if not _acts(session, plan):
        return
    for side in plan.sides:
        with session.store.read() as tx:
            left = operations.in_doubt(tx, side.connection, side.object) if side.object else []
        if any(one.flow == plan.name for one in left):
            spec = plan.flow.all_sides()[side.name]
            bound = between(plan.document, session.registry, session.connectors.describe, spec, spec)
            inner = beside(session, Options())
            inner.plan = bound
            resolve_in_doubt(inner, bound)


def _acts(session: Session, plan: ReconcilePlan) -> bool:
    """Whether a run writes anything."""
    named = any(mending not in (None, "report") for _, mending in mendings(plan.flow.heal))
    return named and not session.options.plan and plan.flow.mode == "live"


def heal_after(runner: Any, session: Session, plan: ReconcilePlan, outcome: Outcome) -> None:
    """What a run mends by itself, up to the flow's limit; over it, it mends nothing and says so."""
    heal = plan.flow.heal
    if not _acts(session, plan) or session.cancelled.is_set():
        return
    found = _open(session, plan, session.run)
    chosen = remedies(session, plan, found)
    count = len(_keys(found, chosen.records()))
    if not count:
        return
    counts = session.counts.breaks or {}
    if count > heal.limit and "heal" not in session.options.approved:
        counts["over_limit"] = count
        _amend(session, session.run, {"over_limit": count, "limit": heal.limit})
        return
    told = _heal(runner, session, plan, found, chosen, session.run)
    session.counts.breaks = {**told_counts(session, plan, outcome), **_figures(told), "closed": counts.get("closed", 0)}


def run_heal(runner: Any, session: Session, plan: ReconcilePlan) -> None:
    """What a person asked for. The rows of the answer are the session's changes.

    Raises Held over the flow's limit, UsageError X937 for breaks that cannot be meant.
    """
    asked, heal = session.options.heal, plan.flow.heal
    assert asked is not None
    if plan.flow.mode != "live":
        session.options.plan = True
    with session.store.read() as tx:
        last = next(iter(reconciliations.listed(tx, plan.name, 1)), None)
    if last is None:
        raise UsageError(Problem("X937", f"{plan.name} has compared nothing yet", None, f"crosswalk run {plan.name}"))
    found = _named(session, plan, asked.breaks) if asked.breaks else _open(session, plan, None)
    found = [one for one in found if not asked.names or one.name in asked.names]
    old = {one.id: "the last run did not look at it: compare first" for one in found if one.last_run != last.run}
    chosen = remedies(session, plan, [one for one in found if one.id not in old])
    chosen.forbidden |= old
    keys = _keys(found, chosen.records())
    if asked.limit is not None:
        keys = _cut(chosen, found, keys[: asked.limit])
    if len(keys) > heal.limit and not (session.options.plan or asked.approved):
        raise Held("heal", len(keys), heal.limit, f"{len(keys)} records are more than `heal: {{ limit: {heal.limit} }}` mends without "
                                                  f"a yes: crosswalk reconcile heal {plan.name} --yes")  # fmt: skip
    told = _heal(runner, session, plan, found, chosen, last.run)
    by_id = {one.id: one for one in found}
    session.changes = [_row(by_id[one.id], one) for one in told]
    outcome = Outcome(keys=len(keys), compared=len(keys))
    session.counts.breaks = {**told_counts(session, plan, outcome), **_figures(told)}


def _open(session: Session, plan: ReconcilePlan, run: str | None) -> list[Break]:
    with session.store.read() as tx:
        return breaks.listed(tx, plan.name, states=("open",), run=run, limit=AT_ONCE)


def _named(session: Session, plan: ReconcilePlan, ids: Iterable[str]) -> list[Break]:
    found = []
    with session.store.read() as tx:
        for id in dict.fromkeys(ids):
            one = breaks.get(tx, id)
            if one is None or one.flow != plan.name or one.state == "closed":
                why = (
                    "there is no such break"
                    if one is None
                    else f"it is one of {one.flow}"
                    if one.flow != plan.name
                    else "it is closed"
                )
                raise UsageError(
                    Problem(
                        "X937", f"{id} cannot be healed: {why}", None, f"see `crosswalk reconcile breaks {plan.name}`"
                    )
                )
            found.append(one)
    return found


def _keys(found: Sequence[Break], ids: set[str]) -> list[str]:
    """The records of breaks, the oldest first: a limit counts them once, however many of their breaks are mended."""
    return list(dict.fromkeys(one.key for one in found if one.id in ids))


def _cut(chosen: Remedies, found: Sequence[Break], keys: list[str]) -> list[str]:
    """Leave out the records beyond a limit."""
    kept = {one.id for one in found if one.key in set(keys)}
    for errand in chosen.errands:
        for key, one in list(errand.wanted.items()):
            if not set(one.breaks) & kept:
                del errand.wanted[key]
                chosen.forbidden |= dict.fromkeys(one.breaks, "it is beyond the limit that was given")
    return keys


# ---------------------------------------------------------------------- doing
def _heal(
    runner: Any, session: Session, plan: ReconcilePlan, found: Sequence[Break], chosen: Remedies, compared: str
) -> list[Healed]:
    """Run the errands; what became of each break. compared: the run that found them."""
    told = {id: Healed(id, "forbidden", why=why) for id, why in chosen.forbidden.items()}
    for errand in chosen.errands:
        if not errand.wanted or session.cancelled.is_set():
            continue
        ids = {key: one.breaks for key, one in errand.wanted.items()}
        changes = run_errand(runner, session, plan, errand)
        for key, mine in ids.items():
            for id in mine:
                one = told.setdefault(id, Healed(id, "planned"))
                one.how = f"{one.how}, {errand.spoken}" if one.how else errand.spoken
                one.writes += [change for change in changes if change["key"] == key]
                why = errand.left.get(key)
                one.why = "; ".join(dict.fromkeys(part for part in (one.why, why) if part)) or None
    for id, left in chosen.left.items():
        one = told.setdefault(id, Healed(id, "forbidden"))
        one.why = "; ".join(dict.fromkeys(part for part in (one.why, *left) if part))
    if session.options.plan:
        for one in told.values():
            one.outcome = "forbidden" if one.outcome == "forbidden" or not one.writes else "planned"
    else:
        _settle(session, plan, found, told, compared)
    return [told[one.id] for one in found if one.id in told]


def _settle(
    session: Session, plan: ReconcilePlan, found: Sequence[Break], told: dict[str, Healed], compared: str
) -> None:
    """Look again at what was touched; close what is gone, and note why the rest is left."""
    touched = [one for one in found if one.id in told and told[one.id].outcome == "planned"]
    if not touched:
        return
    places = {_place(one): one for one in touched}
    try:
        there = look_again(
            session, plan, [Subject(one.key, one.canonical_id, one.natives) for one in touched], set(places)
        )
    except ConnectorError as error:
        for one in touched:
            mine = told[one.id]
            mine.outcome, mine.why = (
                "left",
                f"it could not be looked at again: {error.problem.message} ({error.problem.code})",
            )
        with session.store.begin("heal") as tx:
            _note(tx, session, touched, told)
        return
    still, again = {one.place: one for one in there}, _as_others(there)
    for place, one in places.items():
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
    with session.store.begin("heal") as tx:
        breaks.record(tx, plan.name, plan.schema.entity, compared, there, anew=False)
        for place, one in places.items():
            if place not in still:
                gone = told[one.id].outcome == "healed"
                how = f"healed by {told[one.id].how} in {session.run}" if gone else "it is another break by now"
                breaks.close(tx, [one.id], compared, how)
        _note(tx, session, touched, told)
        _amended(tx, session, touched, told, compared)


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
    _keep(tx, kept, {"run": session.run, **_figures(rows), "records": records[:TOLD]})


def _amend(session: Session, run: str, entry: Fields) -> None:
    with session.store.begin("heal") as tx:
        kept = reconciliations.get(tx, run)
        if kept is not None:
            _keep(tx, kept, {"run": session.run, **entry})


def _keep(tx: Tx, kept: Reconciliation, entry: Fields) -> None:
    reconciliations.amend(tx, kept.run, {**kept.told, "healing": [*kept.told.get("healing", []), entry]})


def _figures(told: Iterable[Healed]) -> Fields:
    outcomes = [one.outcome for one in told]
    return {"healed": outcomes.count("healed"), "left": outcomes.count("left"), "over_limit": 0}


def _row(one: Break, mine: Healed) -> dict[str, Any]:
    """One line of the answer."""
    return {"break": one.id, "record": one.canonical_id, "label": one.label, "class": one.name, "side": one.side or None,
            "outcome": mine.outcome, "how": mine.how, "why": mine.why,
            "writes": [{key: value for key, value in change.items() if key != "planned"} for change in mine.writes]}  # fmt: skip
