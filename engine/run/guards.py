"""Guards: limits over which a run is held before it does harm."""

from __future__ import annotations

from decimal import Decimal

from engine.compile.sync import SyncPlan
from engine.run.items import Item
from engine.run.session import Session
from engine.sdk.errors import CrosswalkError, Problem
from engine.state import links

JUDGED_FROM = 100


class Held(CrosswalkError):
    """The run is held by a guard: nothing more is written, and it is over."""

    exit_code = 4

    def __init__(self, guard: str, part: int, whole: int, message: str) -> None:
        hint = "look at the figures; if they are right: crosswalk runs resume RUN --approve"
        super().__init__(Problem("R610", message, None, hint))
        self.guard, self.part, self.whole = guard, part, whole


def share_of(part: int, whole: int) -> Decimal:
    """What a guard judges, and what an approval lifts its limit to."""
    return Decimal(part) / Decimal(max(whole, 1))


def _known_at_start(session: Session, plan: SyncPlan) -> int:
    """Links that other runs made: what changes and deletes are measured against. Counted when first asked for."""
    if session.known_links is None:
        with session.store.read() as tx:
            session.known_links = max(
                links.count(tx, one.connection, one.mapping.model.object or "", plan.schema.entity, but=session.run)
                for one in plan.targets
            )
    return session.known_links


def _over(session: Session, guard: str, limit: Decimal | None, part: int, whole: int) -> Decimal | None:
    """The share reached, where it is over the limit and was not approved."""
    if limit is None or part == 0:
        return None
    share = share_of(part, whole)
    limit = max(limit, session.options.approved.get(guard, Decimal(0)))
    return share if share > limit else None


def judge_writes(session: Session, plan: SyncPlan, items: list[Item]) -> None:
    """Before anything of a batch is sent: deletes and updates so far against what was known."""
    deletes = updates = 0
    for item in items:
        for delivery in item.deliveries:
            if delivery.trouble is None:
                deletes += delivery.kind == "delete" or delivery.counted == "deactivated"
                updates += delivery.kind == "update" and delivery.counted != "deactivated"
    session.sent_deletes += deletes
    session.sent_updates += updates
    guard = plan.flow.guard
    for name, limit, part in (
        ("deletes", guard.deletes, session.sent_deletes),
        ("changes", guard.changes, session.sent_updates),
    ):
        if limit is None or part == 0:
            continue
        known = _known_at_start(session, plan)
        share = _over(session, name, limit, part, known)
        if share is not None:
            raise Held(
                name, part, known, f"guard `{name}: {shown(limit)}`: {part} of {known} known records ({shown(share)})"
            )


def judge_errors(session: Session, plan: SyncPlan, *, end: bool = False) -> None:
    """Quarantined against read, from the 100th record on and at the end; records chosen one by one are not judged."""
    read, bad = session.counts.records["read"], session.counts.records["quarantined"]
    chosen = session.options.replay or session.options.records
    if chosen or (read < JUDGED_FROM and not end):
        return
    limit = plan.flow.guard.errors
    share = _over(session, "errors", limit, bad, read)
    if share is not None and limit is not None:
        told = f"{bad} of {read} records are quarantined ({shown(share)})"
        raise Held("errors", bad, read, f"guard `errors: {shown(limit)}`: {told}")


def judge_empty(session: Session, plan: SyncPlan, *, whole: bool) -> None:
    """A source that was read whole and gave nothing is more likely broken than empty."""
    empty = whole and session.counts.records["read"] == 0 and plan.flow.guard.empty_source == "hold"
    if empty and "empty_source" not in session.options.approved:
        message = f"guard `empty_source: hold`: {plan.source.connection} gave no record at all"
        raise Held("empty_source", 0, 0, message)


def shown(share: Decimal) -> str:
    """A share in percent, with as many decimals as tell it from nothing: 20%, 0.5%."""
    return f"{share:.0%}" if share >= Decimal("0.1") or share == 0 else f"{share:.2%}".replace(".00%", "%")
