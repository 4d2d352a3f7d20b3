"""Running an errand: through the ordinary line, with its journal, ledger, links and guards; never by a write of its own."""

from __future__ import annotations

from typing import Any

from engine.compile.heal import between
from engine.compile.reconcile import ReconcilePlan, SidePlan
from engine.compile.sync import SyncPlan
from engine.run.commit import commit_items
from engine.run.deliver import deliver_items
from engine.run.diff import diff_items
from engine.run.errand import Errand, Wanted
from engine.run.guards import Held, judge_writes
from engine.run.items import Counts, Item
from engine.run.plan import note_changes
from engine.run.resolve import resolve_in_doubt
from engine.run.session import Options, Session
from engine.run.sync import run_sync
from engine.run.within import note_left
from engine.run.writes import TRIES, slots_of, surroundings
from engine.sdk.errors import ConnectorError, SpecError
from engine.sdk.record import Record, decode_json
from engine.state import canonical, ledger, links
from engine.state.links import Link
from engine.state.store import Tx

Change = dict[str, Any]
ENDED = ("deleted", "deactivated")


def beside(session: Session, options: Options) -> Session:
    """Surroundings of their own for a part of a run, with its systems and its lease."""
    made = Session(session.workspace, session.store, session.registry, session.connectors, session.run, options)
    made.lease, made.cancelled, made.now = session.lease, session.cancelled, session.now
    return made


def run_errand(runner: Any, session: Session, plan: ReconcilePlan, errand: Errand) -> list[Change]:
    """Write what the errand is for; what is not written is noted in `errand.left`. Returns what a plan would write."""
    try:
        _really_missing(session, plan, errand)
        if not errand.wanted:
            return []
        if errand.flow is not None:
            return _by_flow(runner, session, plan, errand)
        source, target = (plan.flow.all_sides()[name] for name in (errand.source, errand.target))
        bound = between(plan.document, session.registry, session.connectors.describe, source,
                        None if errand.how == "take" else target)  # fmt: skip
        bound.logic = plan.logic
        if errand.how == "end":
            return _end(session, plan, errand, bound)
        if source.mapping is None:
            return _send_stored(session, errand, bound)
        return _send(session, plan, errand, bound)
    except (Held, ConnectorError, SpecError) as error:
        _all_left(errand, f"{error.problem.message} ({error.problem.code})")
        return []


def _all_left(errand: Errand, why: str) -> None:
    for key in errand.wanted:
        errand.left.setdefault(key, why)


def _options(session: Session, plan: ReconcilePlan, errand: Errand) -> Options:
    """The records of an errand, as their source names them."""
    side = next(one for one in plan.sides if one.name == errand.source)
    stored = side.intake is None or side.intake.source.canonical
    records = tuple(key if stored else f"{side.connection}:{key}" for key in errand.wanted)
    given = session.options
    return Options(records=records, plan=given.plan, fresh=True, errand=errand, trigger=f"heal {session.run}",
                   actor=given.actor, now=given.now)  # fmt: skip


def _by_flow(runner: Any, session: Session, plan: ReconcilePlan, errand: Errand) -> list[Change]:
    """A run of its own, under the flow's lease and with its guards."""
    assert errand.flow is not None
    result = runner.run(errand.flow, _options(session, plan, errand))
    told = result.run
    if told["state"] not in ("succeeded", "partial"):
        reason = told["held_because"] or (told["error"] or {}).get("message") or ""
        _all_left(errand, f"{errand.flow} was {told['state']}: {reason}")
    changes: list[Change] = result.changes
    return changes


def _send(session: Session, plan: ReconcilePlan, errand: Errand, bound: SyncPlan) -> list[Change]:
    """Read again at the source, merge, and send."""
    inner = beside(session, _options(session, plan, errand))
    run_sync(inner, bound)
    return inner.changes


def _send_stored(session: Session, errand: Errand, bound: SyncPlan) -> list[Change]:
    """Canonical records as they are kept."""
    return _outward(session, errand, bound, {key: key for key in errand.wanted}, ended=False)


def _end(session: Session, plan: ReconcilePlan, errand: Errand, bound: SyncPlan) -> list[Change]:
    """Records that only this side has are ended there; one that nobody has linked yet is taken in first."""
    ids = _linked(session, plan, errand)
    fresh = [key for key in errand.wanted if key not in ids]
    planned: list[Change] = []
    if fresh and session.options.plan:
        target = bound.targets[0]
        planned = [{"target": target.name, "key": key, "operation": "deactivate",
                    "fields": {name: [None, value] for name, value in target.mapping.deactivate.items()}} for key in fresh]  # fmt: skip
    elif fresh:
        side = plan.flow.all_sides()[errand.source]
        intake = between(plan.document, session.registry, session.connectors.describe, side, None)
        intake.logic = plan.logic
        part = Errand(
            "take", errand.source, errand.target, None, errand.place, {key: errand.wanted[key] for key in fresh}
        )
        run_sync(beside(session, _options(session, plan, part)), intake)
        errand.left.update(part.left)
        ids = _linked(session, plan, errand)
    return [*planned, *_outward(session, errand, bound, ids, ended=True)]


def _linked(session: Session, plan: ReconcilePlan, errand: Errand) -> dict[str, str]:
    """Native id → canonical id, of those that are linked."""
    with session.reading() as tx:
        known = links.by_native(tx, errand.place[0], plan.schema.entity, list(errand.wanted), errand.place[1])
    return {key: found[0].canonical_id for key, found in known.items()}


def _outward(session: Session, errand: Errand, bound: SyncPlan, ids: dict[str, str], *, ended: bool) -> list[Change]:
    """From the canonical record on: diff against what the target holds, deliver, commit."""
    options = Options(
        plan=session.options.plan, fresh=True, errand=errand, records=tuple(ids), actor=session.options.actor
    )
    inner = beside(session, options)
    inner.plan, inner.counts = bound, Counts.of(target.name for target in bound.targets)
    if not options.plan:
        resolve_in_doubt(inner, bound)
    left = dict(ids)
    for _ in range(TRIES):
        with inner.reading() as tx:
            stored = canonical.get(tx, bound.schema.entity, list(left.values()))
            items = [_item(key, id, stored[id], ended=ended) for key, id in left.items() if id in stored]
            surroundings(inner, bound)
            diff_items(inner, bound, items, slots_of(inner, bound))
        if options.plan:
            note_left(inner, items)
            note_changes(inner, items)
            return inner.changes
        _written(inner, bound, items)
        left = {item.key: ids[item.key] for item in inner.redo}
        inner.redo = []
        if not left:
            return inner.changes
    for key in left:
        errand.left[key] = "its record is changed again and again meanwhile"
    return inner.changes


def _written(session: Session, bound: SyncPlan, items: list[Item]) -> None:
    """Deliver and commit. A record that was not ended there is not kept as ended."""
    judge_writes(session, bound, items)
    deliver_items(session, bound, items)
    for item in items:
        trouble = next((one.trouble for one in item.deliveries if one.trouble is not None), None)
        if item.deleted and trouble is not None:
            item.trouble = trouble
        elif item.deleted and not any(one.outcome for one in item.deliveries):
            item.ended = "skipped"
    commit_items(session, bound, items)
    note_left(session, items)
    for error in session.parked.values():
        raise error


def _item(key: str, id: str, stored: canonical.Stored, *, ended: bool) -> Item:
    merged = decode_json(stored.data)
    return Item(
        Record(key, {}), key, canonical_id=id, merged=merged, before=merged, stored=stored, deleted=ended,
        provenance=decode_json(stored.provenance), changed=ended and not stored.deleted, from_exception=True,
    )  # fmt: skip


# ---------------------------------------------------------------------- what is missing, and what only seems to be
def _really_missing(session: Session, plan: ReconcilePlan, errand: Errand) -> None:
    """A record that is linked to the side that lacks it is asked for there: one that is there all the same is left alone;
    one that is gone is forgotten, so that it can be made anew under another generation."""
    by_side: dict[str, dict[str, Wanted]] = {}
    for key, one in errand.wanted.items():
        if one.lacking and one.canonical_id:
            by_side.setdefault(one.lacking, {})[key] = one
    for side in plan.sides:
        if side.name in by_side and side.object:
            _asked_for(session, plan, errand, side, by_side[side.name])


def _asked_for(session: Session, plan: ReconcilePlan, errand: Errand, side: SidePlan, asked: dict[str, Wanted]) -> None:
    connection, object = side.connection, side.object
    with session.reading() as tx:
        known = links.by_canonical(
            tx, connection, plan.schema.entity, [str(one.canonical_id) for one in asked.values()], object
        )
        live = {id: [link for link in found if link.state == "live"] for id, found in known.items()}
        ended = {str(one.canonical_id) for one in asked.values() if _ended(tx, side, one)}
    natives = [link.native_id for found in live.values() for link in found]
    session.store.crashpoint("before get")
    held = session.connectors[connection].get(object, natives) if natives else {}
    session.store.crashpoint("after get")
    gone: list[Link] = []
    for key, one in asked.items():
        mine = live.get(str(one.canonical_id), [])
        there = [link.native_id for link in mine if link.native_id in held]
        if there:
            errand.drop(key, f"{side.name} has it as {there[0]}, which its `query` or its mapping leaves out")
        elif str(one.canonical_id) in ended and errand.how != "end":
            errand.drop(key, f"it was ended in {side.name} by a flow: it is not made again")
        elif errand.how != "end":
            gone += mine
    if gone and not session.options.plan:
        with session.store.begin("heal") as tx:
            links.set_state(tx, gone, "deleted")
            ledger.mark(tx, connection, object, [(link.canonical_id, link.part) for link in gone], "missing")


def _ended(tx: Tx, side: SidePlan, one: Wanted) -> bool:
    """Whether the state knows that the record was ended there on purpose."""
    rows = ledger.of_record(tx, str(one.canonical_id))
    place = (side.connection, side.object)
    return any((connection, object) == place and row.state in ENDED for connection, object, _, row in rows)
