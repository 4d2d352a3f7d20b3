"""What the answer to a write means for its delivery: delivered, or the trouble that it is in."""

from __future__ import annotations

from engine.compile.sync import TargetPlan
from engine.run.items import Delivery, Item, Trouble
from engine.sdk.connector import Outcome
from engine.sdk.errors import NOT_TAKEN, ExceptionClass, Problem
from engine.state.operations import SAFE_AGAIN

ENDS = {"created": "created", "updated": "updated", "matched": "updated", "deleted": "deleted"}
"""Outcome → what it is counted as."""
TRIED_AGAIN = "it is tried again in the next run"
TROUBLES: dict[str, tuple[str, str, str, ExceptionClass, str]] = {
    "missing": ("E452", "no longer has {native}", "replay it to create it again", "conflict", "open"),
    "conflict": ("E453", "was changed meanwhile: {reason}", "it is compared with what is there now, and tried again", "conflict",
                 "waiting"),
    "refused": ("E450", "refused it: {reason}", "correct the record or the mapping, then replay it", "rejected", "open"),
    "retry": ("E454", "did not take it: {reason}", TRIED_AGAIN, "intermittent", "waiting"),
}  # fmt: skip
"""Outcome → code, what the target did, what to do, class of the exception, its state."""


def in_doubt_hint(target: TargetPlan, id: str) -> str:
    """What a person is to look for, and the three ways to decide."""
    return (
        f"look for {id} in {target.info.name} of {target.name}; adopt it with `links add`, send it again with "
        "`exceptions replay`, or drop it with `exceptions discard`"
    )


def in_doubt(target: TargetPlan, item: Item, kind: str, reason: str, code: str = "E455") -> Trouble:
    """Whether the target has it is not known. Where it cannot be asked either, a person decides."""
    problem = Problem(code, f"{item.key}: whether {target.name} has it is not known: {reason}", target.mapping.document.at(),
                      in_doubt_hint(target, str(item.canonical_id)))  # fmt: skip
    alone = undecidable(class_of(target, kind), kind)
    return Trouble("deliver", problem, "in_doubt", "open" if alone else "waiting")


def several(target: TargetPlan, item: Item, found: str) -> Trouble:
    """The search for a write without an answer found what cannot be told apart, or what is another record's."""
    problem = Problem(
        "E457", f"{item.key}: its create at {target.name} had no answer, and {target.info.name} has {found}",
        target.mapping.document.at(), "merge them there, then say which one it is with `links add`",
    )  # fmt: skip
    return Trouble("deliver", problem, "ambiguous_match")


def class_of(target: TargetPlan, kind: str) -> str:
    """The class of one write. What was appended bears no mark of its own, so it is never searched for."""
    return "D" if kind == "append" and target.write_class != "B" else target.write_class


def undecidable(write_class: str, kind: str) -> bool:
    """A create that the target cannot be asked about: a person decides."""
    return write_class == "D" and kind not in SAFE_AGAIN


def conclude(target: TargetPlan, item: Item, delivery: Delivery, outcome: Outcome) -> None:
    """Note an outcome on its delivery."""
    delivery.outcome = outcome
    state = outcome.state
    if state in ENDS:
        delivery.native = outcome.key or delivery.native
        delivery.counted = "deleted" if delivery.counted == "deactivated" else ENDS[state]
        return
    if state == "missing" and delivery.kind == "delete":
        delivery.counted = "deleted"
        return
    given = outcome.problem
    reason = given.message if given else "no reason given"
    if state == "in_doubt":
        code = "E451" if given is not None and given.code == "E451" else "E455"
        delivery.trouble = in_doubt(target, item, str(delivery.kind), reason, code)
        return
    code, did, hint, exception_class, open_ = TROUBLES[state]
    if state == "retry":
        exception_class = NOT_TAKEN.get(outcome.trouble or "server", exception_class)
    message = f"{item.key}: {target.name} {did.format(native=delivery.native, reason=reason)}"
    problem = Problem(code, message, target.mapping.document.at(), hint)
    delivery.trouble = Trouble("deliver", problem, exception_class, open_)
    delivery.again = state == "conflict"
