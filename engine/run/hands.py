"""Instances taken in hand one after the other: leases, the documents that each began with, and what stops one for good."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from engine.compile.process import ProcessPlan, compile_process
from engine.run.connectors import Connectors
from engine.run.faults import fingerprint
from engine.run.hand import Hand, Passed
from engine.run.journal import Lost
from engine.run.meanwhile import meanwhile
from engine.run.pinned import pinned
from engine.run.session import Options, Session
from engine.run.steps import go_on
from engine.sdk.errors import CrosswalkError, Problem
from engine.state import exceptions, leases, processes
from engine.state.leases import Lease
from engine.state.processes import Instance
from engine.state.store import Store

if TYPE_CHECKING:
    from engine.run.runner import Runner


class Hands:
    """Instances of one flow in hand, one after the other: connectors are shared, leases held on to."""

    def __init__(
        self, runner: Runner, connectors: Connectors, plans: dict[bytes, ProcessPlan], actor: str = "",
        now: datetime | None = None,
    ) -> None:  # fmt: skip
        self.runner, self.connectors, self.plans, self.actor, self.now = runner, connectors, plans, actor, now
        self.lease: Lease | None = None
        self._made: dict[bytes, float] = {}
        """Plans that were compiled from kept documents → when."""

    @contextmanager
    def kept(self) -> Iterator[None]:
        """While this lasts, the lease at hand is held on to; plans are given back at its end."""

        def renew() -> None:
            lease = self.lease
            if lease is not None:
                with self.runner.store.begin("renew") as tx:
                    leases.renew(tx, lease)

        with meanwhile("instances", leases.LIFE.total_seconds() / 3, renew):
            try:
                yield
            finally:
                for logic, made in self._made.items():
                    self.runner.plans.keep(logic, self.plans[logic], made)
                self._made.clear()

    def advance(self, id: str) -> Hand | None:
        """Move an instance on; None where somebody else has it, or it is over."""
        store = self.runner.store
        with store.begin("take") as tx:
            lease = leases.claim(tx, f"process:{id}")
            one = processes.take(tx, id, f"{id}.{lease.fence}") if lease is not None else None
        if lease is None:
            return None
        hand = None
        try:
            if one is None or not one.live or one.state in processes.STILL:
                return None
            self.lease = lease
            try:
                plan, make = self._plan(one)
            except CrosswalkError as error:
                _stuck(store, one, error)
                return None
            hand = Hand(
                self.runner.workspace, store, self.connectors, plan, one, f"{id}.{lease.fence}", lease, make, self.actor,
                now=self.now,
            )  # fmt: skip
            go_on(hand)
        except (Passed, Lost):
            pass  # whoever has it now goes on
        finally:
            self.lease = None
            with store.begin("let go") as tx:
                processes.let_go(tx, id, f"{id}.{lease.fence}")
                leases.release(tx, lease)
        return hand

    def _plan(self, one: Instance) -> tuple[ProcessPlan, Callable[[Hand, Options], Session]]:
        """The plan that an instance began with, and how its surroundings are made."""
        workspace = self.runner.workspace
        if one.logic not in self.plans:
            lent = self.runner.plans.lend(one.logic)
            if lent is None:
                variant = pinned(workspace, self.runner.store, one.logic)
                documents = type(self.runner)(variant, self.runner.store).registry()
                flow = variant.document("flow", one.flow)
                lent = compile_process(flow, documents, self.connectors.describe), time.monotonic()
            self.plans[one.logic], self._made[one.logic] = lent
        plan = self.plans[one.logic]
        registry = plan.registry

        def make(hand: Hand, options: Options) -> Session:
            session = Session(registry.workspace, self.runner.store, registry, self.connectors, hand.advance, options)
            session.cancelled = self.runner.cancelled
            return session

        return plan, make


def _stuck(store: Store, one: Instance, error: CrosswalkError) -> None:
    """The documents that an instance began with are not to be had, or do not fit any more: it waits for a person."""
    told = error.problem
    problem = Problem(
        "R641", f"{one.id} cannot go on with the documents that it began with: {told.message}", told.at, told.hint
    )
    detail = {"message": problem.message, "code": problem.code}
    if one.waiting == "repair" and one.detail == detail:
        return
    with store.begin("process") as tx:
        failure = exceptions.Failure(
            one.flow, one.id, one.entity, one.canonical_id, one.canonical_id, "", "step", "process", "mapping", problem.code,
            problem.message, problem.hint, str(problem.at) if problem.at else None, None, "open",
            fingerprint(problem, one.canonical_id, ""), None, None, one.logic, None, None, None,
        )  # fmt: skip
        id = exceptions.record(tx, [failure])[0]
        state = "needs_person" if one.state == "compensating" else "waiting"
        waiting = "repair" if state == "waiting" else None
        processes.move(tx, one, problem.message, state=state, waiting=waiting, detail=detail, exception=id)
