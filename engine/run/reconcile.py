"""A reconciliation: both sides read in full, met key by key, compared by typed values, and every difference kept as a break.

read and map each side → sort → meet → compare → classify → keep breaks and totals. Nothing is concluded before every side
has come to its end, and nothing is kept where one did not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from zoneinfo import ZoneInfo

from engine.compile.casts import EXACT
from engine.compile.reconcile import ReconcilePlan
from engine.run.breaks import Judge, Met, near
from engine.run.control import Controls
from engine.run.extract import Extract, extract
from engine.run.guards import Held
from engine.run.join import Join
from engine.run.pushdown import Pushed, push_down
from engine.run.rows import IN
from engine.run.session import Session
from engine.run.windows import complete, slices
from engine.sdk.record import JSON, Fields, decode_json
from engine.state import breaks, reconciliations
from engine.state.breaks import Found, Place, key_digest
from engine.state.reconciliations import Reconciliation
from engine.state.store import instant

BATCH = 500
CAUSES = 20
"""Causes that a result names."""
SILENT_CLASSES = ("in_flight",)
"""Explained by what is under way: they do not make a run partial."""


@dataclass
class Outcome:
    """What a comparison found. counts: open breaks by class, all of them; amounts: class → currency → sum."""

    keys: int = 0
    compared: int = 0
    equal: int = 0
    outside: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    amounts: dict[str, dict[str, Decimal]] = field(default_factory=dict)
    causes: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    found: list[Found] = field(default_factory=list)
    places: dict[Place, int] = field(default_factory=dict)
    """Where each of them stands in `found`."""
    left_out: int = 0
    """New breaks over `keep_breaks`: counted, not kept."""
    left_over: int = 0
    """Of those, what nothing explains."""
    seen: set[Place] = field(default_factory=set)
    """Live breaks that are still there."""

    pushed: Pushed = field(default_factory=Pushed)
    """What the databases compared; or why they did not."""

    def alike(self, count: int) -> None:
        """Count records that nobody had to read."""
        self.keys += count
        self.compared += count
        self.equal += count

    def uncount(self, one: Found) -> None:
        """A kept break turns out to be another one."""
        self.counts[one.name] -= 1
        self.causes[one.name, one.cause][0] -= 1
        if one.amount is not None:
            self.amounts[one.name][one.currency or ""] -= abs(Decimal(one.amount))

    def count(self, one: Found) -> None:
        """Count a break, kept or not."""
        self.counts[one.name] += 1
        self.causes.setdefault((one.name, one.cause), [0])[0] += 1
        if one.amount is not None:
            sums = self.amounts.setdefault(one.name, {})
            currency = one.currency or ""
            sums[currency] = EXACT.add(sums.get(currency, Decimal(0)), abs(Decimal(one.amount)))


def run_reconcile(session: Session, plan: ReconcilePlan) -> Outcome:
    """Compare, keep breaks and totals. Raises Held where a side gives nothing, ConnectorError where one fails."""
    from engine.run.look import look_at_moving  # it compares

    controls = Controls(plan)
    low = window_start(plan, session.now)
    with ExitStack() as stack:
        extracts: dict[str, Extract] = {}
        pushed = push_down(session, plan)
        for side in plan.sides:
            cut = slices(session, plan, side, low)
            found = extracts[side.name] = extract(
                session, plan, side, low, controls, pushed.only.get(side.name), slices=cut
            )
            stack.callback(found.lines.close)
            if session.cancelled.is_set():
                return Outcome()
        for found in complete(session, plan, low, extracts, controls):
            stack.callback(found.lines.close)
            extracts[found.side.name] = found
            if session.cancelled.is_set():
                return Outcome()
        if not pushed.rows:
            _judge_empty(session, plan, extracts)
        with session.reading() as tx:
            live = breaks.live(tx, plan.name)
        outcome = compare(session, plan, extracts, controls, set(live))
        outcome.pushed = pushed
        if pushed.rows:
            first = plan.sides[0].name
            outcome.alike(pushed.rows[first] - extracts[first].read)
        if session.cancelled.is_set():  # what was not looked at is not gone
            return Outcome()
    look_at_moving(session, plan, outcome, set(live))
    if not session.options.plan:
        _keep(session, plan, extracts, outcome, controls)
    session.counts.breaks = told_counts(session, plan, outcome)
    return outcome


def window_start(plan: ReconcilePlan, now: datetime) -> str | None:
    """The first day of the window; None where there is none."""
    window = plan.flow.window
    if window is None:
        return None
    return (now.astimezone(ZoneInfo(str(window.timezone))) - window.last).date().isoformat()


def _judge_empty(session: Session, plan: ReconcilePlan, extracts: dict[str, Extract]) -> None:
    """A side without a record beside one that has some is more likely broken than empty."""
    if plan.flow.guard.empty_source != "hold" or "empty_source" in session.options.approved or session.options.records:
        return
    most = max(one.read for one in extracts.values())
    for name, one in extracts.items():
        if most and not one.read:
            raise Held("empty_source", 0, most, f"guard `empty_source: hold`: {name} ({one.side.connection}) gave no record, "
                                                f"and another side gave {most}: nothing was compared")  # fmt: skip


def compare(
    session: Session, plan: ReconcilePlan, extracts: dict[str, Extract], controls: Controls, live: set[Place]
) -> Outcome:
    """Meet the sides key by key. live: breaks that are looked at again wherever they are, also outside of the window."""
    outcome, judge = Outcome(), Judge(session, plan, extracts)
    join = Join([extracts[side.name].lines.pieces() for side in plan.sides])
    again = {place[0] for place in live}
    nears: dict[bytes, Found] = {}
    for batch in _batches(_in_scope(join, plan, again, controls, outcome)):
        for _, found in judge.judge(batch):
            outcome.equal += not found  # a tolerance covers it, or it is compared for its partner only
            for one in found:
                one = _noted(plan, one, nears, outcome)
                outcome.count(one)
                if one.place in live:
                    outcome.seen.add(one.place)
                elif len(outcome.found) - len(outcome.seen) >= plan.flow.keep_breaks:
                    outcome.left_out += 1
                    outcome.left_over += one.name not in SILENT_CLASSES
                    continue
                outcome.places[one.place] = len(outcome.found)
                outcome.found.append(one)
        if session.cancelled.is_set():
            break
    outcome.keys, outcome.equal = join.keys, outcome.equal + join.equal
    outcome.outside += join.aside
    outcome.compared = outcome.keys - outcome.outside
    return outcome


def _in_scope(join: Join, plan: ReconcilePlan, again: set[str], controls: Controls, outcome: Outcome) -> Iterator[Met]:
    """Keys to look at: those that a side has in the window, and those with a live break."""
    for key, lines in join:
        met = Met.of(key, plan.sides, lines)
        if not met.rows:
            outcome.outside += 1
            continue
        if met.inside:
            for name, rows in met.rows.items():
                for row in rows:
                    if row.standing != IN:  # its partner is compared, so it counts
                        controls.add(name, row.parts)
                        row.standing = IN
            controls.part(met.key, met.rows)
        elif not met.expected or key_digest(met.key) not in again:
            outcome.outside += 1
            continue
        yield met


def _batches(found: Iterable[Met]) -> Iterator[list[Met]]:
    each = iter(found)
    while batch := list(islice(each, BATCH)):
        yield batch


def _noted(plan: ReconcilePlan, one: Found, nears: dict[bytes, Found], outcome: Outcome) -> Found:
    """Two records that miss each other by case or blanks of their keys only say so."""
    if one.kind != "missing" or not plan.key or len(nears) > plan.flow.keep_breaks:
        return one
    other = nears.setdefault(near(one.key), one)
    if other is one or other.side == one.side:
        return one
    hint = "only case or blanks differ; see `text` under `compare` if they mean the same"
    place = outcome.places.get(other.place)
    if place is not None and outcome.found[place] == other:
        outcome.uncount(other)
        changed = other._replace(cause="key differs", why=f"{other.side} has it as {_spoken(one.key)}: {hint}")
        outcome.found[place] = changed
        outcome.count(changed)
    return one._replace(cause="key differs", why=f"{one.side} has it as {_spoken(other.key)}: {hint}")


def _spoken(key: str) -> str:
    values = decode_json(key)
    return ", ".join(repr(one) for one in (values if isinstance(values, list) else [values]))


def _keep(
    session: Session, plan: ReconcilePlan, extracts: dict[str, Extract], outcome: Outcome, controls: Controls
) -> None:
    """Breaks, totals and figures in one transaction: a run that dies before it has changed nothing."""
    cells, parts = [], []
    for cell, behind in controls.cells():
        cells.append(cell)
        parts += behind
    with session.store.begin("breaks") as tx:
        live = breaks.live(tx, plan.name)
        fresh, reopened = breaks.record(tx, plan.name, plan.schema.entity, session.run, outcome.found)
        gone = [kept[0] for place, kept in live.items() if place not in outcome.seen]
        breaks.close(tx, gone, session.run, "gone")
        told = {
            "window": {"from": window_start(plan, session.now)} if plan.flow.window is not None else None,
            "sides": {name: _told_side(one) for name, one in extracts.items()},
            "keys": outcome.keys, "compared": outcome.compared, "equal": outcome.equal, "outside": outcome.outside,
            "classes": dict(outcome.counts), "amounts": outcome.amounts, "causes": _told_causes(outcome),
            "new": fresh, "closed": len(gone), "reopened": reopened, "left_out": outcome.left_out, "pushdown": _told_pushdown(outcome),
        }  # fmt: skip
        began = min(one.began for one in extracts.values())
        reconciliations.keep(
            tx, Reconciliation(session.run, plan.name, plan.schema.entity, instant(began), told), cells, parts
        )
    outcome.counts["closed"] = len(gone)


def _told_pushdown(outcome: Outcome) -> Fields | None:
    pushed = outcome.pushed
    return {"why": pushed.why} if pushed.why is not None else {"rows": pushed.rows} if pushed.rows else None


def _told_side(one: Extract) -> Fields:
    side = one.side
    mapping = side.intake.source.mapping.name if side.intake is not None else None
    return {"connection": side.connection, "mapping": mapping, "object": side.object, "read": one.read, "compared": one.admitted,
            "pushed_down": _told_cut(one), "left_out": one.unwanted, "ended": one.deleted, "unreadable": one.faulty,
            "began": one.began.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}  # fmt: skip


def _told_cut(one: Extract) -> JSON:
    """To what a side was cut, and how many records were read beside; None where it was read in full."""
    if one.slices is None:
        return None
    return {"field": one.slices[-1].field, "from": one.slices[-1].low, "looked_up": one.looked_up}


def _told_causes(outcome: Outcome) -> list[JSON]:
    ordered = sorted(outcome.causes.items(), key=lambda one: (-one[1][0], one[0]))
    return [{"class": name, "cause": cause, "count": count[0]} for (name, cause), count in ordered[:CAUSES] if count[0]]


def told_counts(session: Session, plan: ReconcilePlan, outcome: Outcome) -> Fields:
    """The figures of a run's breaks, as `run` tells them. remaining: open ones that nothing explains; at_stake: their amounts
    by currency. A plan keeps nothing, so for it all of them are new."""
    closed = outcome.counts.pop("closed", 0)
    found, explained = sum(outcome.counts.values()), sum(outcome.counts[name] for name in SILENT_CLASSES)
    if session.options.plan:
        amounts = [sums for name, sums in outcome.amounts.items() if name not in SILENT_CLASSES]
        currencies = sorted({currency for sums in amounts for currency in sums})
        at_stake = {one: sum((sums.get(one, Decimal(0)) for sums in amounts), Decimal(0)) for one in currencies}
        remaining, accepted = found - explained, 0
    else:
        with session.store.read() as tx:
            remaining, accepted, at_stake = breaks.remaining(tx, plan.name)
        remaining += outcome.left_over
    return {
        "compared": outcome.compared, "equal": outcome.equal, "found": found, "in_flight": explained, "accepted": accepted,
        "remaining": remaining, "at_stake": at_stake, "closed": closed, "left_out": outcome.left_out,
        "healed": 0, "left": 0, "over_limit": 0,
        "classes": dict(sorted(outcome.counts.items())),
    }  # fmt: skip
