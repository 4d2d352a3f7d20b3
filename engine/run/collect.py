"""`collect`: totals over the canonical store with this run's records counted in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from engine.compile.functions.numbers import total
from engine.compile.operators import true
from engine.compile.sync import CollectPlan, SyncPlan
from engine.run.items import Item
from engine.run.session import Session
from engine.sdk.record import JSON, Fields, canonical_json, decode_json
from engine.state import canonical

Group = bytes


class Total:
    """One `collect`: group → sum, kept up to date while records pass. Money stays money of one currency."""

    def __init__(self, plan: CollectPlan, session: Session) -> None:
        self.plan = plan
        self._values: dict[Group, dict[str, JSON]] = {}
        self._groups: dict[str, Group] = {}
        for stored in canonical.scan(session.tx, plan.entity):
            if not stored.deleted:
                self.put(decode_json(stored.data), session.env)

    def put(self, record: Fields, env: Any) -> None:
        """Count a record in, in place of what it counted before."""
        id = str(record.get("id"))
        before = self._groups.pop(id, None)
        if before is not None:
            self._values[before].pop(id, None)
        if self.plan.where is not None and not true(self.plan.where.evaluate(record, env)):
            return
        group = canonical_json(self.plan.by.evaluate(record, env))
        value = 1 if self.plan.value is None else self.plan.value.evaluate(record, env)
        if value is not None:
            self._values.setdefault(group, {})[id] = value
            self._groups[id] = group

    def of(self, record: Fields, env: Any) -> JSON:
        """The total of a record's group; 0 where nothing counts."""
        group = canonical_json(self.plan.by.evaluate(record, env)) if self.plan.by else b""
        return total(list(self._values.get(group, {}).values()), self.plan.name)


def open_totals(session: Session, plan: SyncPlan) -> dict[str, Total]:
    """The flow's totals as the canonical store has them now."""
    return {one.name: Total(one, session) for one in plan.collects}


def count_in(totals: dict[str, Total], session: Session, plan: SyncPlan, items: Iterable[Item]) -> None:
    """Count this batch's records in, before they are checked."""
    for name in totals:
        if totals[name].plan.entity != plan.schema.entity:
            continue
        for item in items:
            if item.going and not item.deleted:
                totals[name].put(item.merged, session.env)
