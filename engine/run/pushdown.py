"""Two tables compared by their databases: where both mappings take their columns alike, only what is not alike is read.

What checksums call equal is the same in every column that is compared, and so in every canonical value; what they do not is
read on both sides and compared as ever. Breaks that are live are looked at again, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from engine.compile.reconcile import ReconcilePlan
from engine.run.session import Session
from engine.sdk.connector import Rows
from engine.spec.mapping import FieldRule, Mapping
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
    """only: side → records to read. rows: how many there are on each side."""

    only: dict[str, tuple[str, ...]]
    rows: dict[str, int]


def push_down(session: Session, plan: ReconcilePlan) -> Pushed | str | None:
    """What is left to read; why it cannot be pushed down; None where nobody wants it."""
    if plan.flow.pushdown == "never" or session.options.records:
        return None
    try:
        pairs = [(_pair(plan, plan.key[0].path, key=True) if plan.key else None), *_columns(plan)]
        if pairs[0] is None:
            raise _Unable("records are joined by their links")
    except _Unable as why:
        return str(why)
    here, there = (session.connectors[side.connection] for side in plan.sides)
    (key, *fields) = dict.fromkeys(one for one in pairs if one is not None)
    mine, theirs = (
        Rows(side.object, key[place], tuple(each[place] for each in fields)) for place, side in enumerate(plan.sides)
    )
    session.store.crashpoint("before read")
    found = here.unlike(mine, there, theirs)
    session.store.crashpoint("after read")
    if found.why is not None:
        return found.why
    with session.reading() as tx:
        live = {native for one in breaks.listed(tx, plan.name) for ids in one.natives.values() for native in ids}
    wanted = sorted(live | set(found.keys))
    left, right = plan.sides
    return Pushed(
        {side.name: tuple(f"{side.connection}:{native}" for native in wanted) for side in plan.sides},
        {left.name: found.rows[0], right.name: found.rows[1]},
    )


def _columns(plan: ReconcilePlan) -> Iterator[tuple[str, str]]:
    """The columns that are compared, on the left and on the right."""
    flow, sides = plan.flow, plan.flow.all_sides().values()
    if len(plan.sides) != 2 or any(side.intake is None or side.intake.source.canonical for side in plan.sides):
        raise _Unable("it is not two systems")
    if len(plan.key) != 1 or plan.totals or flow.window is not None:
        what = (
            "totals are of all records"
            if plan.totals
            else "a window is set"
            if flow.window
            else "the key has several parts"
        )
        raise _Unable(what)
    if any(one.where or one.expected or one.query or one.group for one in sides):
        raise _Unable("a side chooses or groups its records")
    for model in _models(plan):
        if model.where or model.deleted or model.each or model.onto or model.per:
            raise _Unable(f"{model.mapping} chooses its records")
    for one in plan.fields:
        yield _pair(plan, one.leaf.path)
        yield from _currencies(plan, one.leaf.path)


def _models(plan: ReconcilePlan) -> list[Mapping]:
    return [side.intake.source.mapping.model for side in plan.sides if side.intake is not None]


def _rules(plan: ReconcilePlan, path: str) -> tuple[FieldRule, FieldRule]:
    found = []
    for model in _models(plan):
        first, *rest = path.split(".")
        if first in (model.inbound or {}):
            raise _Unable(f"{model.mapping} makes {path} inbound")
        rule: FieldRule | None = model.fields.get(first)
        for name in rest:
            rule = (rule.fields or {}).get(name) if rule is not None and rule.each is None else None
        if rule is None or not isinstance(rule.from_, str) or not rule.from_.isidentifier():
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
