"""Validation and business checks: the merged record against its schema, its lifecycle and the flow's rules."""

from __future__ import annotations

from typing import Any

from engine.compile.functions import FunctionFault
from engine.compile.rules import RuleInfo
from engine.compile.sync import SyncPlan
from engine.run.faults import internal
from engine.run.items import Item, going
from engine.run.session import Session
from engine.sdk.errors import Position, Problem


def validate_items(session: Session, plan: SyncPlan, items: list[Item]) -> None:
    """JSON Schema on the merged record, then lifecycles. The problem names the rule that produced the value."""
    accepts = plan.schema.accepts
    for item in going(items):
        if item.deleted or not item.changed:
            continue
        if not accepts(item.merged):
            problems = [_fault(plan, path, what) for path, what in plan.schema.faults(item.merged)]
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            first = problems[0]
            item.stop("validate", Problem(first.code, first.message + more, first.at, first.hint), "validation")
            continue
        if item.before is not None:
            _transitions(plan, item)


def _fault(plan: SyncPlan, path: str, what: str) -> Problem:
    at = place_of(plan, path)
    return Problem("E420", f"{path}: {what}", at, "correct the value in the source, or the rule")


def place_of(plan: SyncPlan, path: str) -> Position:
    """The mapping's line for a canonical path, else the schema's."""
    direction = plan.source.mapping.inbound
    rules: list[RuleInfo] = direction.rules if direction else []
    parts = [part for part in path.split(".") if not part.isdigit()]
    for length in range(len(parts), 0, -1):
        for rule in rules:
            if rule.path == parts[length - 1] or rule.path == ".".join(parts[:length]):
                return rule.at
    return plan.schema.document.at("properties", *parts[:1])


def _transitions(plan: SyncPlan, item: Item) -> None:
    assert item.before is not None
    for name in plan.schema.transitions:
        if name not in item.mapped:
            continue
        at = place_of(plan, name)
        problem = plan.schema.transition_problem(name, item.before.get(name), item.merged.get(name), at)
        if problem is not None:
            item.stop("validate", problem, "validation")
            return


def check_items(session: Session, plan: SyncPlan, items: list[Item], totals: dict[str, Any]) -> None:
    """The flow's checks in order; the first that fails decides. `totals` are the values of `collect`."""
    if not plan.checks:
        return
    env = session.env
    for item in going(items):
        if item.deleted or item.left:
            continue
        try:
            record = {**item.merged, **{name: total.of(item.merged, env) for name, total in totals.items()}}
        except FunctionFault as fault:
            at = plan.document.at("collect")
            item.stop("check", Problem("E431", f"collect: {fault}", at, "correct the total, or the record"), "check")
            continue
        for check in plan.checks:
            env.followed.clear()
            try:
                holds = check.holds(record, env)
                problem = None if holds else check.problem(record, env)
            except FunctionFault as fault:
                problem = Problem("E431", f"{check.name}: {fault}", check.at, "correct the check, or the record")
            except Exception as error:  # noqa: BLE001 - one record must not end the run of all
                item.stop("check", internal(item.key, error, check.at), "internal")
                break
            if problem is None:
                continue
            if check.severity == "warn":
                item.warnings.append(problem)
                continue
            if check.severity == "skip":
                item.ended = "skipped"
            else:
                item.stop("check", problem, "check", queue=check.queue, reads=tuple(env.followed))
            break
