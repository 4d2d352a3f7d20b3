"""From a flow's name to its end: lease, run row, unit, connectors, the line, and what to tell the caller."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from engine.compile.process import ProcessPlan, compile_process
from engine.compile.reconcile import ReconcilePlan, compile_reconcile
from engine.compile.registry import Registry
from engine.compile.sync import Describe, SyncPlan, compile_sync
from engine.run.connectors import Connectors
from engine.run.expectations import judge_run
from engine.run.expectations import told as told_alert
from engine.run.guards import Held
from engine.run.heal import heal_after, run_heal, settle
from engine.run.isolate import note_death
from engine.run.items import Counts
from engine.run.kept_plans import KeptPlans
from engine.run.meanwhile import meanwhile
from engine.run.pinned import PINNED, sources_of
from engine.run.plan import planned_calls
from engine.run.process import run_process
from engine.run.reconcile import run_reconcile
from engine.run.replay import run_replay
from engine.run.session import Options, Session
from engine.run.sync import run_sync
from engine.sdk.errors import ConnectorError, CrosswalkError, Problem, SpecError, UsageError
from engine.sdk.record import Fields, decode_json, encode_json
from engine.spec.load import Document
from engine.spec.process import ProcessFlow
from engine.spec.reconcile import ReconcileFlow
from engine.spec.sync import SyncFlow
from engine.spec.workspace import Workspace
from engine.state import alerts, canonical, corrections, exceptions, leases, runs, ticks
from engine.state.store import Store

LISTEN = 1.0
"""Seconds between two looks whether the run is to stop."""
Progress = Callable[[str, Counts], None]
STOPPED = Problem("R603", "the run was stopped", None, "the next one goes on from here")


@dataclass
class Result:
    """How a run ended, in the words of the JSON contract; `changes` and `moved` for plans."""

    run: Fields
    changes: list[dict[str, Any]]
    moved: list[dict[str, Any]]
    logic: str
    calls: dict[str, int] = field(default_factory=dict)
    """Of a plan: target → calls to its system."""
    instances: list[Fields] | None = None
    """Of the plan of a process flow: what each instance would do."""
    alerts: list[Fields] = field(default_factory=list)
    """Expectations of the flow that are missed now."""
    passing: bool = False
    """Of a failed run: its system may answer another time."""


class Runner:
    """Runs flows of one workspace on one state."""

    def __init__(
        self, workspace: Workspace, store: Store, progress: Progress | None = None, plans: KeptPlans | None = None
    ) -> None:
        self.workspace, self.store, self.progress = workspace, store, progress
        self.plans = plans if plans is not None else KeptPlans()
        self.cancelled = threading.Event()

    def registry(self) -> Registry:
        """Compiled documents; tables that read the store see it as it is now."""
        return Registry(self.workspace, self._rows)

    def _rows(self, entity: str) -> Iterable[Fields]:
        with self.store.read() as tx:
            return [decode_json(stored.data) for stored in canonical.scan(tx, entity) if not stored.deleted]

    def flow(self, name: str) -> Document:
        """A flow, checked in full before anything is opened. Raises SpecError."""
        document = self.workspace.document("flow", name)
        compile_flow(document, self.registry(), None)
        return document

    def run(self, name: str, options: Options) -> Result:
        """Run one flow; every end is a Result. Documents that are wrong raise SpecError before a run exists."""
        document = self.flow(name)
        flow: SyncFlow | ProcessFlow | ReconcileFlow = document.model
        asked = {"--since": options.since, "--until": options.until, "--limit": options.limit, "--plan": options.only}
        given = next((name for name, value in asked.items() if value is not None), None)
        if given is not None and isinstance(flow, ReconcileFlow):
            raise UsageError(Problem("X900", f"{name!r} is a reconciliation, which compares all records: it takes no {given}",
                                     document.at("kind"), "leave it out; `window` says which records count"))  # fmt: skip
        with self.store.begin("lease") as tx:
            lease = leases.claim(tx, f"flow:{name}")
            if lease is None or flow.mode == "off":
                run = runs.start(tx, name, flow.kind, options.trigger, options.as_json(), flow.policy.lane)
                reason = "another run of it is going on" if lease is None else "the flow's mode is off"
                runs.finish(tx, run, "skipped", {}, held=reason)
            else:
                if not options.plan:
                    note_death(tx, name, died=runs.abandoned(tx, name) > 0)
                run = runs.start(tx, name, flow.kind, options.trigger, options.as_json(), flow.policy.lane)
                runs.claim_unit(tx, run)
                if options.tick is not None:
                    ticks.move(tx, name, options.tick, "started", run=run)
        if lease is None or flow.mode == "off":
            if lease is not None:
                self._release(lease)
            return self._result(run, Counts.of(()), None)
        options.plan = options.plan or (flow.mode == "shadow" and not isinstance(flow, ReconcileFlow))
        try:
            with self._renewed(lease, run):
                return self._execute(document, run, options, lease)
        finally:
            self._release(lease)

    def _release(self, lease: leases.Lease) -> None:
        with self.store.begin("release") as tx:
            leases.release(tx, lease)

    def _execute(self, document: Document, run: str, options: Options, lease: leases.Lease) -> Result:
        connectors = Connectors(
            self.workspace, document.model if isinstance(document.model, SyncFlow) else None, self.store
        )
        session = Session(self.workspace, self.store, self.registry(), connectors, run, options)
        session.cancelled, session.lease = self.cancelled, lease
        if self.progress is not None:
            progress = self.progress
            session.progress = lambda counts: progress(document.name, counts)
        state, stopped, error, passing = "succeeded", None, None, False
        try:
            plan = compile_flow(document, session.registry, connectors.describe)
            self._pin(run, plan, session.registry)
            session.document = document
            if not isinstance(plan, ReconcilePlan):
                session.plan = plan.intake if isinstance(plan, ProcessPlan) else plan
            if options.only is not None and options.moved is not None and plan.logic.hex() not in options.moved:
                raise UsageError(Problem("X904", "the flow or what it uses was changed since the plan", document.at(),
                                         "plan again"))  # fmt: skip
            with _quiet_collector():
                if isinstance(plan, ReconcilePlan) and options.heal is not None:
                    run_heal(self, session, plan)
                elif isinstance(plan, ReconcilePlan):
                    settle(session, plan)
                    heal_after(self, session, plan, run_reconcile(session, plan))
                    self._report(session, plan)
                elif isinstance(plan, ProcessPlan):
                    run_process(self, session, plan)
                else:
                    run_replay(session, plan) if options.chosen else run_sync(session, plan)
            state = "partial" if session.counts.left_to_people else "succeeded"
            if self.cancelled.is_set():
                state, error = "cancelled", STOPPED
        except Held as stop:
            state, stopped = "held", stop
        except SpecError:
            self._finish(session, run, "failed", None, None)
            raise
        except CrosswalkError as fault:
            state, error = "failed", fault.problem
            passing = isinstance(fault, ConnectorError) and fault.transient
        except KeyboardInterrupt:
            self._finish(session, run, "cancelled", None, STOPPED)
            raise
        finally:
            connectors.close()
        self._finish(session, run, state, stopped, error)
        return replace(self._result(run, session.counts, session), passing=passing)

    def _pin(self, run: str, plan: Plan, registry: Registry) -> None:
        sources = sources_of(registry, plan)
        with self.store.begin("pin") as tx:
            runs.pin(tx, run, plan.logic, encode_json({**plan.documents, PINNED: sources}))

    def _report(self, session: Session, plan: ReconcilePlan) -> None:
        """The files that a reconciliation asks for, once its result is kept."""
        if not plan.flow.report or session.options.plan or self.cancelled.is_set():
            return
        from engine.run.report_files import write_reports  # heavy, and most runs have none

        session.reports = write_reports(
            self.store, self.workspace, session.run, plan.flow.report, session.counts.breaks or {}
        )

    def _finish(self, session: Session, run: str, state: str, held: Held | None, error: Problem | None) -> None:
        secrets = self.workspace.secrets.seen
        told = None
        if error is not None:
            text = f"{error.message} — {error.hint}" if error.hint else error.message
            told = {"code": error.code, "message": _redacted(text, secrets), "at": str(error.at) if error.at else None}
        with self.store.begin("finish") as tx:
            runs.finish(tx, run, state, session.counts.as_json(), held.problem.message if held else None, told)
            if session.options.tick is not None and state not in ("failed", "cancelled"):
                ticks.move(tx, runs.flow_of(tx, run), session.options.tick, "over", run=run)
            if held is not None:
                runs.note_hold(tx, run, held.guard, held.part, held.whole)
            options = session.options
            if session.document is not None and not (options.plan or options.replay or options.records):
                judge_run(tx, session.routes, session.document, run, session.counts.as_json(), session.delays)
            if state in ("succeeded", "partial") and not session.options.plan:
                for name, position in session.positions.items():
                    runs.set_fact(tx, name, position)
                if session.reread and session.plan is not None:
                    exceptions.close_mended(tx, session.plan.name, run)
            corrections.pass_by(tx, sorted(session.past))

    def _result(self, run: str, counts: Counts, session: Session | None) -> Result:
        with self.store.read() as tx:
            row = runs.get(tx, run)
            assert row is not None
            missed = [told_alert(one) for one in alerts.listed(tx, row.flow)]
        told: Fields = {"run": run, "flow": row.flow, "state": row.state, **counts.as_json()}
        told |= {
            "held_because": row.held_because,
            "error": row.error,
            "started_at": row.started_at,
            "finished_at": row.finished_at,
        }
        told["targets"] = told.pop("targets")
        if session is None:
            return Result(told, [], [], "", alerts=missed)
        if session.reports:
            told["reports"] = session.reports
        moved = list(session.moved)
        for place in sorted(set(session.options.only or ()) - session.applied):
            if not any(place.startswith(f"{one['target']}/") for one in moved):
                target, _, rest = place.partition("/")
                moved.append({"target": target, "key": rest.split("/")[0], "operation": "gone"})
        logic = session.plan.logic.hex() if session.plan else ""
        return Result(told, session.changes, moved, logic, planned_calls(session), session.instances, missed)

    def _renewed(self, lease: leases.Lease, run: str) -> AbstractContextManager[None]:
        """Hold on to the lease while the run goes on, and hear whether somebody wants it to stop."""
        renewed = time.monotonic()

        def renew() -> None:
            nonlocal renewed
            with self.store.read() as tx:
                if runs.asked_to_stop(tx, run):
                    self.cancelled.set()
            if time.monotonic() - renewed > leases.LIFE.total_seconds() / 3:
                with self.store.begin("renew") as tx:
                    leases.renew(tx, lease)
                renewed = time.monotonic()

        return meanwhile("lease", LISTEN, renew)


Plan = SyncPlan | ProcessPlan | ReconcilePlan
COMPILERS: dict[type, Callable[[Document, Registry, Describe | None], Plan]] = {
    SyncFlow: compile_sync,
    ProcessFlow: compile_process,
    ReconcileFlow: compile_reconcile,
}


def compile_flow(document: Document, registry: Registry, describe: Describe | None) -> Plan:
    """A flow bound for a run, by its kind."""
    return COMPILERS[type(document.model)](document, registry, describe)


class _Quiet:
    """The garbage collector walks every young object again and again in a loop like ours; let it look rarely, from the
    first of several runs of a process to the last."""

    def __init__(self) -> None:
        self._lock, self._runs, self._usual = threading.Lock(), 0, gc.get_threshold()

    def __enter__(self) -> None:
        with self._lock:
            self._runs += 1
            if self._runs == 1:
                self._usual = gc.get_threshold()
                gc.collect()
                gc.freeze()
                gc.set_threshold(200_000, 50, 50)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._runs -= 1
            if self._runs == 0:
                gc.set_threshold(*self._usual)
                gc.unfreeze()


quiet = _Quiet()
"""Whoever has many runs enters it once; each of them looks for garbage before it begins otherwise."""


def _quiet_collector() -> AbstractContextManager[None]:
    return quiet


def _redacted(text: str, secrets: set[str]) -> str:
    for secret in secrets:
        if len(secret) >= 4:
            text = text.replace(secret, "••••")
    return text
