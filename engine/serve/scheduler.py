"""Schedules: which ticks have come due, each noted once together with the unit that runs its flow.

Nothing is stored of a schedule but how far it was looked at: the schedules themselves are the YAML's. The leader looks;
a unique row a tick makes that harmless where two believe to be it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from engine.run.work import Tell
from engine.serve.leader import Leader
from engine.serve.ticks import Schedule, put_off
from engine.spec.workspace import Workspace
from engine.state import leases, ticks, units
from engine.state.store import Store, Tx, instant, moment_of

ON_TIME = timedelta(seconds=60)
"""A tick that is seen later than this was missed, and `catch_up` says what becomes of it."""
CAUGHT_UP = 100
"""Missed ticks of a flow that are made up for at most, and ticks that `overlap: queue` lets wait."""
FAR = 3600.0
"""Seconds after which schedules are looked at, whether or not one is due."""


@dataclass
class Entry:
    """One schedule of a flow. next: its first tick that was not looked at yet, where that is known."""

    flow: str
    text: str
    schedule: Schedule
    jitter: timedelta | None
    catch_up: str
    overlap: str
    lane: str
    next: datetime | None = None


def entries(workspace: Workspace) -> Iterator[Entry]:
    """Every schedule of the workspace's own flows that are not off. Documents that are wrong raise SpecError."""
    for name in workspace.names("flow", own=True):
        flow: Any = workspace.document("flow", name).model
        for one in flow.trigger if flow.mode != "off" else ():
            if one.schedule is not None:
                zone = one.timezone or getattr(flow, "timezone", None) or "UTC"
                text = f"{' '.join(one.schedule.split())} {zone}"
                yield Entry(name, text, Schedule.of(one.schedule, zone), one.jitter, flow.catch_up, flow.overlap,
                            flow.policy.lane)  # fmt: skip


class Scheduler:
    """Notes ticks while this process is the leader."""

    def __init__(self, workspace: Workspace, store: Store, leader: Leader, tell: Tell) -> None:
        self.store, self.leader, self.tell = store, leader, tell
        self.entries = list(entries(workspace))
        self._told = False

    def look(self, *, patient: bool = False) -> float:
        """Note every tick that has come due; seconds until the next one. patient: looks are rare (`--once`), so the latest
        tick since the last look is on time, however long ago it was."""
        if self.leader.lease is None or not self.entries:
            return FAR
        said: list[dict[str, Any]] = []
        with self.store.begin("tick") as tx:
            if not leases.held(tx, self.leader.lease):
                return FAR
            text = tx.now()
            now = moment_of(text)
            ripe = [one for one in self.entries if one.next is None or one.next <= now]
            if ripe:
                self._note(tx, ripe, now, patient, said)
        for facts in said:
            self.tell(**facts)
        following = [one.next for one in self.entries if one.next is not None]
        return min([FAR, *((one - now).total_seconds() for one in following)])

    def forget(self) -> None:
        """What is known of the next ticks may be another leader's affair by now."""
        self._told = False
        for one in self.entries:
            one.next = None

    def _note(self, tx: Tx, ripe: list[Entry], now: datetime, patient: bool, said: list[dict[str, Any]]) -> None:
        known, paused, busy = ticks.upto(tx), ticks.paused(tx), ticks.open_flows(tx)
        if not self._told:  # a schedule that was taken away and comes back is new
            ticks.forget(tx, known.keys() - {(one.flow, one.text) for one in self.entries})
            self._told = True
        moved = []
        for one in ripe:
            upto = known.get((one.flow, one.text))
            since = moment_of(upto) if upto is not None else now  # a new schedule has missed nothing
            if one.flow not in paused:
                self._due(tx, one, since, now, patient, busy, said)
            moved.append((one.flow, one.text, instant(now)))
            one.next = one.schedule.next(now)
        ticks.look(tx, moved)

    def _due(self, tx: Tx, one: Entry, since: datetime, now: datetime, patient: bool, busy: dict[str, int],
             said: list[dict[str, Any]]) -> None:  # fmt: skip
        """Note the ticks of a schedule in (since, now] as its flow says."""
        count, latest = 0, deque[datetime](maxlen=CAUGHT_UP + 1)
        for tick in one.schedule.between(since, now):
            count += 1
            latest.append(tick)
        if not count:
            return
        chosen = _chosen(list(latest), one.catch_up, now, patient)
        if count > len(chosen):
            last = chosen[0] if chosen else None
            dropped = next((tick for tick in reversed(latest) if last is None or tick < last), latest[0])
            why = f"{count - len(chosen)} missed while nothing ran; catch_up is {one.catch_up}"
            ticks.note(tx, one.flow, instant(dropped), "dropped", instant(now), why)
            said.append(
                {"event": "ticks dropped", "flow": one.flow, "count": count - len(chosen), "catch_up": one.catch_up}
            )
        running = one.overlap == "skip" and busy.get(one.flow, 0) > 0
        for tick in chosen:
            waiting = busy.get(one.flow, 0)
            if running or waiting >= CAUGHT_UP:
                why = "the run of an earlier tick is not over"
                if ticks.note(tx, one.flow, instant(tick), "skipped", instant(now), why):
                    said.append({"event": "tick skipped", "flow": one.flow, "scheduled_for": instant(tick)})
            elif ticks.note(tx, one.flow, instant(tick), "due", instant(now)):
                busy[one.flow] = waiting + 1
                due = instant(put_off(one.flow, tick, one.jitter))
                units.put(tx, "flow", one.flow, lane=one.lane, due=due, payload={"trigger": "schedule"})


def _chosen(latest: list[datetime], catch_up: str, now: datetime, patient: bool) -> list[datetime]:
    """Which ticks get a run: those on time, and of the missed ones what `catch_up` says."""
    if catch_up == "all":
        return latest[-CAUGHT_UP:]
    on_time = [tick for tick in latest if now - tick <= ON_TIME]
    if on_time or (catch_up == "skip" and not patient):
        return on_time
    return latest[-1:]
