"""Two tables compared by their databases: where both mappings take their columns alike, only what is not alike is read.

What checksums call equal is the same in every column that is compared, and so in every canonical value; what they do not is
read on both sides and compared as ever. Breaks that are live are looked at again, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from engine.compile.reconcile import ReconcilePlan
from engine.run.session import Session
from engine.sdk.connector import Rows
from engine.spec import mapping as spec
from engine.state import breaks

PLAIN = {"from_", "as_", "to", "on", "on_null"}
"""What a key's rule may say."""
DIRECTION = {"from_", "to", "on", "on_null", "currency"}
"""What may differ between two rules that give one value for one column's value."""
EARLY = {"ref", "by", "at", "template", "value", "when", "each", "fields", "lookup"}
"""What reads more than a column."""


class _Unable(Exception):
    """Why a comparison is not pushed down."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """only: side → records to read. rows: how many there are on each side. Both are empty where nothing was pushed down;
    then why says the reason, where anybody wanted it."""

    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    why: str | None = None


def push_down(session: Session, plan: ReconcilePlan) -> Pushed:
    """What is left to read."""
    if plan.flow.pushdown == "never" or session.options.records:
        return Pushed()
    try:
        _suits(plan)
        key, fields = _pair(plan, plan.key[0].path, key=True), list(dict.fromkeys(_columns(plan)))
    except _Unable as why:
        return Pushed(why=str(why))
    mine, theirs = (
        Rows(side.object, key[place], tuple(each[place] for each in fields)) for place, side in enumerate(plan.sides)
    )
    here, there = (session.connectors[side.connection] for side in plan.sides)
    session.store.crashpoint("before read")
    found = here.unlike(mine, there, theirs)
    session.store.crashpoint("after read")
    if found.why is not None:
        return Pushed(why=found.why)
    with session.reading() as tx:
        live = {native for one in breaks.listed(tx, plan.name) for ids in one.natives.values() for native in ids}
    wanted = sorted(live | set(found.keys))
    only = {side.name: tuple(f"{side.connection}:{native}" for native in wanted) for side in plan.sides}
    return Pushed(only, dict(zip((side.name for side in plan.sides), found.rows, strict=True)))


def _suits(plan: ReconcilePlan) -> None:
    """Raises _Unable where a flow asks for more than what differs between two systems."""
    sides = plan.flow.all_sides().values()
    reasons = {
        "records are joined by their links": not plan.key,
        "it is not two systems": len(plan.sides) != 2 or any(one.connection == "canonical" for one in sides),
        "totals are of all records": bool(plan.totals),
        "a window is set": plan.flow.window is not None,
        "the key has several parts": len(plan.key) > 1,
        "a side chooses or groups its records": any(
            one.where or one.expected or one.query or one.group for one in sides
        ),
    }
    for why, holds in reasons.items():
        if holds:
            raise _Unable(why)
    for model in _models(plan):
        if model.where or model.deleted or model.each or model.onto or model.per:
            raise _Unable(f"{model.mapping} chooses its records")


def _columns(plan: ReconcilePlan) -> Iterator[tuple[str, str]]:
    """The columns that are compared, on the left and on the right."""
    for one in plan.fields:
        yield _pair(plan, one.leaf.path)
        yield from _currencies(plan, one.leaf.path)


def _models(plan: ReconcilePlan) -> list[spec.Mapping]:
    return [side.intake.source.mapping.model for side in plan.sides if side.intake is not None]


def _rules(plan: ReconcilePlan, path: str) -> tuple[spec.FieldRule, spec.FieldRule]:
    found = []
    for model in _models(plan):
        rule = model.column(path)
        if rule is None:
            raise _Unable(f"{model.mapping} does not take {path} from one column")
        found.append(rule)
    return found[0], found[1]


def _pair(plan: ReconcilePlan, path: str, *, key: bool = False) -> tuple[str, str]:
    left, right = _rules(plan, path)
    for rule in (left, right):
        if rule.model_fields_set & EARLY or (key and rule.model_fields_set - PLAIN):
            raise _Unable(f"{path} is more than a column")
    if left.model_dump(exclude=DIRECTION) != right.model_dump(exclude=DIRECTION):
        raise _Unable(f"the mappings do not read {path} alike")
    return str(left.from_), str(right.from_)


def _currencies(plan: ReconcilePlan, path: str) -> Iterator[tuple[str, str]]:
    """The columns of an amount's currency; one that is written out has to be the same."""
    left, right = (rule.currency for rule in _rules(plan, path))
    if left is not None and right is not None and left.isidentifier() and right.isidentifier():
        yield left, right
    elif left != right:
        raise _Unable(f"the mappings do not read the currency of {path} alike")
