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
from engine.run.healed import figures, note_over, row_of, settle_healed
from engine.run.reconcile import Outcome, told_counts
from engine.run.remedies import Remedies, remedies
from engine.run.resolve import resolve_in_doubt
from engine.run.session import Options, Session
from engine.sdk.errors import Problem, UsageError
from engine.state import breaks, operations, reconciliations
from engine.state.breaks import Break

AT_ONCE = 20_000
"""Breaks that are chosen from at a time."""


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
        note_over(session, session.run, {"over_limit": count, "limit": heal.limit})
        return
    told = _heal(runner, session, plan, found, chosen, session.run)
    session.counts.breaks = {**told_counts(session, plan, outcome), **figures(told), "closed": counts.get("closed", 0)}


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
    session.changes = [row_of(by_id[one.id], one) for one in told]
    outcome = Outcome(keys=len(keys), compared=len(keys))
    session.counts.breaks = {**told_counts(session, plan, outcome), **figures(told)}


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
            if one.outcome == "planned" and not one.writes:
                one.outcome, one.why = "forbidden", one.why or "nothing of what differs would be sent"
    else:
        ending = {
            id
            for errand in chosen.errands
            if errand.how == "end"
            for one in errand.wanted.values()
            for id in one.breaks
        }
        settle_healed(session, plan, found, told, compared, ending)
    return [told[one.id] for one in found if one.id in told]
