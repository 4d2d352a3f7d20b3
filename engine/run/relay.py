"""The relay: brings events from the outbox to those who want them, in order per key, at least once.

An event is sent, then marked; who dies in between sends it again under the same id. A destination that is out of reach
keeps everything waiting; an event that it refuses for good holds the later ones of its key only, until somebody looks.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta

from engine.run.connectors import Connectors
from engine.run.disclosure import disclosed
from engine.run.events import Event, Listener, Routes
from engine.run.process import hear
from engine.sdk.cloudevents import CloudEvent
from engine.sdk.connector import Outcome
from engine.sdk.errors import ConnectorError, CrosswalkError, SpecError
from engine.sdk.record import Fields, decode_json
from engine.spec.workspace import Workspace
from engine.state import outbox, units
from engine.state.outbox import Outgoing
from engine.state.store import Store, Tx, instant, moment_of

BATCH = 200
"""Events that are taken from the outbox at once."""
TRIES = 20
"""Tries of an event that its destination neither takes nor refuses; beyond, a person looks. One that is out of reach
as a whole is tried for ever."""
TAKEN = ("created", "updated", "matched")
DOWN = 30.0
"""Seconds, about, after which a destination that is out of reach is tried again."""


def relay(workspace: Workspace, store: Store, destination: str) -> int:
    """Deliver all that is due of one destination (`connection:NAME`, `flow:NAME`, `process:NAME`); how many were taken."""
    return relayed(workspace, store, destination)[0]


def relayed(workspace: Workspace, store: Store, destination: str) -> tuple[int, str | None]:
    """Like `relay`; with the instant at which the destination is to be looked at again, None where nothing waits."""
    kind, _, name = destination.partition(":")
    if kind == "connection":
        return _Sender(workspace, store, destination, name).send()
    count = 0
    while True:
        with store.begin("relay") as tx:
            found = outbox.due(tx, destination, BATCH)
            if found:
                handed, problem = _handed(tx, workspace, kind, name, found)
                outbox.delivered(tx, destination, [one.seq for one in found[:handed]])
                if problem is not None:
                    outbox.refused(tx, destination, [(one.seq, problem) for one in _heads(found[handed:])])
                count += handed
            again = outbox.next_due(tx, destination)
        if not found:
            return count, again


def _heads(found: Sequence[Outgoing]) -> list[Outgoing]:
    """The first event of each key."""
    first: dict[str, Outgoing] = {}
    for one in found:
        first.setdefault(one.key, one)
    return list(first.values())


def _handed(tx: Tx, workspace: Workspace, kind: str, name: str, found: list[Outgoing]) -> tuple[int, str | None]:
    """Hand events to a flow or process of this workspace, in the transaction that marks them: how many; why no more."""
    try:
        document = workspace.document("flow", name)
    except SpecError as error:
        return 0, str(error.problem)
    if kind == "flow":
        lane = document.model.policy.lane if hasattr(document.model, "policy") else "bulk"
        units.put(tx, "flow", name, lane=lane, payload=_start(workspace, name, found))
        return len(found), None
    for one in found:
        hear(tx, name, Event(one.type, one.entity, one.subject, decode_json(one.data), one.correlation, one.source,
                                     one.key, one.id))  # fmt: skip
    return len(found), None


def _start(workspace: Workspace, name: str, found: list[Outgoing]) -> Fields:
    """What starts a flow: our own events of its records name them; others make it read what is new."""
    flow = workspace.document("flow", name).model
    payload: Fields = {"trigger": f"event {found[0].type}"}
    belonging = {one.correlation for one in found}
    if len(belonging) == 1 and None not in belonging:
        payload["correlation"] = belonging.pop()
    source = getattr(flow, "source", None)
    entity = getattr(flow, "entity", None)
    if source is not None and source.connection == "canonical":
        entity = workspace.document("mapping", source.mapping).model.of
    ours = Routes.of(workspace).source
    if source is not None and all(one.entity == entity and one.source == ours for one in found):
        payload["records"] = list(dict.fromkeys(one.subject for one in found))
    return payload


class _Sender:
    """Events to one connection."""

    def __init__(self, workspace: Workspace, store: Store, destination: str, name: str) -> None:
        self.workspace, self.store, self.destination, self.name = workspace, store, destination, name
        self.routes = Routes.of(workspace)
        self.count = 0
        self.until: str | None = None

    def send(self) -> tuple[int, str | None]:
        connectors = Connectors(self.workspace, None, self.store)
        try:
            connector = connectors[self.name]
            shortest = connector.config.backoff.shortest.total_seconds()
            longest = connector.config.backoff.longest.total_seconds()
            self.backoff = (shortest, longest)
            while self.until is None:
                with self.store.read() as tx:
                    found = outbox.due(tx, self.destination, BATCH)
                if not found:
                    break
                self._batch(connectors, found)
        except CrosswalkError as error:  # it cannot be opened: everything waits
            with self.store.begin("relay") as tx:
                self.until = instant(moment_of(tx.now()) + timedelta(seconds=DOWN))
                found = outbox.due(tx, self.destination, BATCH)
                again = [(one.seq, self.until, str(error.problem)) for one in _heads(found)]
                outbox.put_back(tx, self.destination, again, counted=False)
        finally:
            connectors.close()
        if self.until is not None:
            return self.count, self.until
        with self.store.read() as tx:
            return self.count, outbox.next_due(tx, self.destination)

    def _batch(self, connectors: Connectors, found: list[Outgoing]) -> None:
        """Wave by wave: each holds one event of a key, so that none passes an earlier one that was not taken."""
        held: set[str] = set()
        while found and self.until is None:
            wave = [one for one in _heads(found) if one.key not in held]
            numbers = {one.seq for one in wave}
            found = [one for one in found if one.seq not in numbers and one.key not in held]
            for topic in dict.fromkeys(one.topic for one in wave):
                if self.until is None:
                    held |= self._wave(connectors, topic, [one for one in wave if one.topic == topic])

    def _wave(self, connectors: Connectors, topic: str, wave: list[Outgoing]) -> set[str]:
        """Publish events and note what became of each; the keys that cannot go on."""
        told = [self._told(one) for one in wave]
        self.store.crashpoint("before publish")
        try:
            outcomes = {one.id: one for one in connectors[self.name].publish(topic, told)}
            self.store.crashpoint("after publish")
        except ConnectorError as error:
            outcomes = {
                one.id: Outcome(one.id, "retry", problem=error.problem, wait=error.wait, trouble=error.trouble)
                for one in told
            }
        taken = [one for one in wave if outcomes[one.id].state in TAKEN]
        rest = [one for one in wave if one not in taken]
        with self.store.begin("relay") as tx:
            outbox.delivered(tx, self.destination, [one.seq for one in taken])
            self._put_back(tx, [(one, outcomes[one.id]) for one in rest])
        self.count += len(taken)
        return {one.key for one in rest}

    def _put_back(self, tx: Tx, pairs: list[tuple[Outgoing, Outcome]]) -> None:
        now, definite, later, down = moment_of(tx.now()), [], [], []
        for one, outcome in pairs:
            why = str(outcome.problem) if outcome.problem is not None else "it gave no reason"
            if outcome.state not in ("retry", "in_doubt"):
                definite.append((one.seq, why))
            elif outcome.trouble is not None:
                wait = max(outcome.wait or 0.0, random.uniform(0.5, 1) * min(DOWN, self.backoff[1]))  # noqa: S311 - jitter
                down.append((one.seq, instant(now + timedelta(seconds=wait)), why))
            elif one.attempts + 1 >= TRIES:
                definite.append((one.seq, f"given up after {TRIES} tries: {why}"))
            else:
                longest = min(self.backoff[1], self.backoff[0] * 2**one.attempts)
                wait = max(outcome.wait or 0.0, random.uniform(0, longest))  # noqa: S311 - jitter, not a secret
                later.append((one.seq, instant(now + timedelta(seconds=wait)), why))
        outbox.refused(tx, self.destination, definite)
        outbox.put_back(tx, self.destination, later)
        outbox.put_back(tx, self.destination, down, counted=False)
        if down:
            self.until = max(due for _, due, _ in down)

    def _told(self, one: Outgoing) -> CloudEvent:
        data = disclosed(self.workspace, one.entity, decode_json(one.data), self._clearance(one.type))
        extensions: dict[str, str | int | bool] = {"sequence": f"{one.seq:020d}"}
        if one.correlation:
            extensions["correlationid"] = one.correlation
        return CloudEvent(one.id, one.source, one.type, one.subject, one.at, data, extensions)

    def _clearance(self, type: str) -> frozenset[str]:
        mine: list[Listener] = [one for one in self.routes.listeners if one.destination == self.destination]
        return next((one.clearance for one in mine if one.wants(type)), frozenset())


def relay_all(workspace: Workspace, store: Store) -> dict[str, int]:
    """Deliver what is due of every destination; destination → events taken."""
    with store.read() as tx:
        waiting = outbox.waiting(tx)
    return {destination: relay(workspace, store, destination) for destination in waiting}
