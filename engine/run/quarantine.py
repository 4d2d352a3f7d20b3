"""Records that left the line: kept with everything that is needed to look at them and try again, and closed when they pass."""

from __future__ import annotations

from typing import Any

from engine.compile.sync import SyncPlan
from engine.run.behind import over
from engine.run.faults import fingerprint
from engine.run.items import Item, Trouble
from engine.run.mapping import snapshot
from engine.run.session import Session
from engine.sdk.errors import Problem
from engine.sdk.record import encode_json
from engine.state import exceptions
from engine.state.store import Tx

WITHOUT = "it goes out again by itself once that record is known"


def keep_troubles(tx: Tx, session: Session, plan: SyncPlan, items: list[Item]) -> None:
    """Exceptions of a batch: new ones, old ones with their new reason, and those that are over."""
    failures, healed, replaced = [], [], list[tuple[str, str, str]]()
    for item in items:
        if item.lost:
            continue
        troubles: list[tuple[Trouble, str, str, Any]] = [(item.trouble, "", _place(item), None)] if item.trouble else []
        troubles += [(one.trouble, one.target.name, one.part, one.payload) for one in item.deliveries if one.trouble]
        later = (*item.later, *(one for delivery in item.deliveries for one in delivery.later))
        if later and item.trouble is None:
            problem = Problem(
                "E405", f"{item.key}: went on without {later[0][1]}", plan.source.mapping.document.at(), WITHOUT
            )
            trouble = Trouble("map", problem, "missing_reference", "waiting", reads=tuple(dict.fromkeys(later)))
            troubles.append((trouble, "", "later", None))
        for trouble, target, part, payload in troubles:
            if trouble.state == "parked":
                continue
            if trouble.until is not None and (item.key, target, part) in session.overdue:
                _waited(trouble)
            failures.append(_failure(session, plan, item, trouble, target, part, payload))
        if session.live and item.ended not in ("redo", "superseded") and not item.lost:
            bad = {(target, part) for _, target, part, _ in troubles}
            closed = over(session, item, bad)
            if item.trouble is None:
                healed += closed
            else:  # it does not come as far as its targets any more
                replaced += closed
    if failures:
        exceptions.record(tx, failures)
        session.live |= {(one.key, one.target, one.part) for one in failures}
    for keys, how in ((healed, f"succeeded in {session.run}"), (replaced, f"it fails before that since {session.run}")):
        if keys:
            exceptions.close(tx, plan.name, keys, how)
            session.live -= set(keys)


def _place(item: Item) -> str:
    """The `part` of a record's own trouble: its version's, where it waits for earlier ones."""
    return item.behind if item.trouble is not None and item.trouble.problem.code == "E418" else ""


def _waited(trouble: Trouble) -> None:
    """A wait that is over: a person is to look, and it still goes on by itself should the record arrive."""
    told = trouble.problem
    message = f"{told.message}, which did not come in the time that it may wait"
    trouble.state = "open"
    trouble.problem = Problem(told.code, message, told.at, "sync that record, or raise `wait_for`")


def _failure(
    session: Session, plan: SyncPlan, item: Item, trouble: Trouble, target: str, part: str, payload: Any
) -> exceptions.Failure:
    problem = trouble.problem
    known = next((one.known for one in item.deliveries if (one.target.name, one.part) == (target, part)), None)
    return exceptions.Failure(
        plan.name, session.run, plan.schema.entity, item.key, item.canonical_id, target, part, trouble.stage,
        trouble.exception_class, problem.code, problem.message, problem.hint, str(problem.at) if problem.at else None,
        trouble.queue or plan.flow.owner, trouble.state,
        fingerprint(problem, item.key, target), trouble.until, item.record.modified, plan.logic,
        snapshot(item), encode_json(item.merged) if item.merged else None, encode_json(payload) if payload else None,
        trouble.reads, (known.revision if known else 0) if target else None,
    )  # fmt: skip
