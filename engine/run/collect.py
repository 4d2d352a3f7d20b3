"""`collect`: totals over the canonical store with this run's records counted in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from engine.compile.functions import FunctionFault
from engine.compile.functions.numbers import total
from engine.compile.operators import true
from engine.compile.sync import CollectPlan, SyncPlan
from engine.run.items import Item
from engine.run.session import Session
from engine.sdk.record import JSON, Fields, canonical_json, decode_json
from engine.state import canonical

Group = bytes
EVERY: Group = b""
"""Where shares stand whose group cannot be told: no total is known then."""


class Total:
    """One `collect`: group → sum, kept up to date while records pass. Money stays money of one currency.

    A record whose share cannot be told (a rate of exchange is missing) makes the total of its group unknown, never less.
    """

    def __init__(self, plan: CollectPlan, session: Session) -> None:
        self.plan = plan
        self._values: dict[Group, dict[str, JSON | FunctionFault]] = {}
        self._groups: dict[str, Group] = {}
        self._sums: dict[Group, JSON] = {}
        for stored in canonical.scan(session.tx, plan.entity):
            if not stored.deleted:
                self.put(decode_json(stored.data), session.env)

    def put(self, record: Fields, env: Any) -> None:
        """Count a record in, in place of what it counted before."""
        id = str(record.get("id"))
        before = self._groups.pop(id, None)
        if before is not None:
            self._values[before].pop(id, None)
            self._sums.pop(before, None)
        group, value = self._share(record, env)
        if value is not None:
            self._values.setdefault(group, {})[id] = value
            self._groups[id] = group
            self._sums.pop(group, None)

    def _share(self, record: Fields, env: Any) -> tuple[Group, JSON | FunctionFault]:
        """The record's group and what it adds to its total; None where it does not count."""
        group = EVERY
        try:
            if self.plan.where is not None and not true(self.plan.where.evaluate(record, env)):
                return group, None
            group = canonical_json(self.plan.by.evaluate(record, env))
            return group, 1 if self.plan.value is None else self.plan.value.evaluate(record, env)
        except FunctionFault as fault:
            return group, fault

    def of(self, record: Fields, env: Any) -> JSON:
        """The total of a record's group; 0 where nothing counts. Raises FunctionFault where it cannot be told."""
        group = canonical_json(self.plan.by.evaluate(record, env)) if self.plan.by else EVERY
        if group not in self._sums:
            values = [*self._values.get(group, {}).values(), *self._values.get(EVERY, {}).values()]
            for value in values:
                if isinstance(value, FunctionFault):
                    raise FunctionFault(f"{self.plan.name}: {value}")
            self._sums[group] = total(values, self.plan.name)
        return self._sums[group]


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
