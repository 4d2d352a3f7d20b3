"""What the leader looks after every few seconds: dead workers' units, what was left behind, expectations, old rows."""

from __future__ import annotations

import time
from datetime import timedelta

from engine.run.expectations import judge_freshness
from engine.run.work import Work
from engine.state import inbox, leases, operations, ticks, units
from engine.state.care import prune_serve
from engine.state.store import Tx, instant, moment_of

EVERY = 5.0
"""Seconds between two sweeps."""
MINUTE, HOUR = 60.0, 3600.0
INDICATORS = 600.0
"""Seconds between two computations of the indicators."""
LEFT = timedelta(hours=1)
"""After this, events whose work was given up are tried anew."""
SETTLED = timedelta(minutes=5)
"""After this, writes in doubt are looked at, should no run of their flow have done it."""


class Sweeper:
    """Keeps the leader's house. Each part may be done twice without harm."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self._last: dict[str, float] = {}

    def sweep(self) -> None:
        """One round."""
        with self.work.store.begin("sweep") as tx:
            self._free_units(tx)
            self._ask_again(tx)
        if self._time_for("freshness", MINUTE):
            judge_freshness(self.work.store, self.work.workspace)
        if self._time_for("prune", HOUR):
            prune_serve(self.work.store, self.work.workspace.settings.retention.inbox)

    def _time_for(self, what: str, every: float) -> bool:
        now = time.monotonic()
        if what in self._last and now - self._last[what] < every:
            return False
        self._last[what] = now
        return True

    def _free_units(self, tx: Tx) -> None:
        for owner in units.owners(tx):
            if leases.gone(owner):
                count = units.abandon(tx, owner)
                self.work.tell("worker gone", owner=owner, units=count)

    def _ask_again(self, tx: Tx) -> None:
        """Work that somebody waits for, and that has no unit: it was given up, or lost with an older version."""
        now = moment_of(tx.now())
        asked = units.open_keys(tx, "flow")
        for flow in ticks.open_flows(tx):
            if flow not in asked:
                units.put(tx, "flow", flow, lane=self._lane(flow), payload={"trigger": "schedule"})
        if self._time_for("indicators", INDICATORS):  # that there are none is soon seen
            units.put(tx, "measure", "indicators", lane="bulk")
        if self._time_for("left behind", MINUTE):
            left = inbox.left_behind(tx, instant(now - LEFT))
            units.put_many(tx, "inbox", left, lane=inbox.LANE, due=instant(now))
            for connection, touched in operations.doubts(tx).items():
                due = max(moment_of(touched) + SETTLED, now)
                units.put(tx, "resolve", connection, lane="bulk", due=instant(due))

    def _lane(self, flow: str) -> str:
        known = self.work.workspace.names("flow", own=True)
        return str(self.work.workspace.document("flow", flow).model.policy.lane) if flow in known else "bulk"
