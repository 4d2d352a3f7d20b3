"""A target that takes nothing at all: the flow is parked, and no record gets the blame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from engine.compile.sync import TargetPlan
from engine.run.items import Delivery, Item, Trouble
from engine.run.outcome import conclude
from engine.run.session import Session
from engine.sdk.connector import Outcome
from engine.sdk.errors import ConnectorError

OPEN = "C517"
"""Outcome code: the connection's breaker is open."""


def parks(session: Session, target: TargetPlan, outcomes: Mapping[str, Outcome], *, last: bool) -> bool:
    """Whether the system as a whole takes nothing, and waiting here will not help: then no record is to blame."""
    errors = [
        ConnectorError(one.trouble, one.problem, wait=one.wait)
        for one in outcomes.values() if one.state == "retry" and one.trouble is not None and one.problem is not None
    ]  # fmt: skip
    longest = session.connectors[target.connection].config.backoff.longest.total_seconds()
    over = [one for one in errors if last or not one.transient or (one.wait or 0) > longest or one.problem.code == OPEN]
    if over:  # why the breaker opened says more than that it did
        told = next((one for one in errors if one.problem.code != OPEN), over[0])
        session.parked[target.connection] = told
    return bool(over)


def park(session: Session, target: TargetPlan, item: Item, delivery: Delivery, outcome: Outcome | None) -> None:
    """Nothing is kept of a record that the next run reads again; one whose batch was committed before must wait in the state."""
    error = session.parked[target.connection]
    if item.from_exception:
        outcome = outcome or Outcome(delivery.op_key, "retry", problem=error.problem)
        conclude(target, item, delivery, replace(outcome, state="retry", trouble=error.trouble))
        return
    delivery.outcome = replace(outcome, state="retry") if outcome else None
    delivery.trouble = Trouble("deliver", error.problem, "connection", "parked")


def queued(outcome: Outcome) -> bool:
    """Whether only the account's budget kept it back: a queue that moves on is no failure, however slow it is."""
    return outcome.trouble == "rate_limited" or (outcome.problem is not None and outcome.problem.code == "C515")


def still_doubted(target: TargetPlan, delivery: Delivery, outcome: Outcome) -> Outcome:
    """A try that was not processed says nothing of an earlier one that may have been. Class A may forget: it upserts."""
    if outcome.state == "in_doubt":
        delivery.doubted = True
    elif outcome.state == "retry" and delivery.doubted and target.write_class != "A":
        return replace(outcome, state="in_doubt")
    return outcome
