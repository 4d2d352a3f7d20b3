"""`publish` steps: an event over a connection, in the transaction that ends the step."""

from __future__ import annotations

from engine.compile.process import StepPlan
from engine.run.hand import Hand, Outcome


def publish(hand: Hand, step: StepPlan) -> Outcome:
    """Tell the connection; see engine.run.events for what that promises."""
    raise NotImplementedError(step.name)
