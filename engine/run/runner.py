"""From a flow's name to its end: lease, run row, unit, connectors, the line, and what to tell the caller."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from engine.compile.registry import Registry
from engine.compile.sync import SyncPlan, compile_sync
from engine.run.guards import Held
from engine.run.items import Counts
from engine.run.plan import planned_calls
from engine.run.session import Connectors, Options, Session
from engine.run.sync import run_sync
from engine.sdk.errors import CrosswalkError, Problem, SpecError, UsageError
from engine.sdk.record import Fields, decode_json, encode_json
from engine.spec.load import Document
from engine.spec.sync import SyncFlow
from engine.spec.workspace import Workspace
from engine.state import canonical, leases, runs
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


class Runner:
    """Runs flows of one workspace on one state."""

    def __init__(self, workspace: Workspace, store: Store, progress: Progress | None = None) -> None:
        self.workspace, self.store, self.progress = workspace, store, progress
        self.cancelled = threading.Event()

    def registry(self) -> Registry:
        """Compiled documents; tables that read the store see it as it is now."""
        return Registry(self.workspace, self._rows)

    def _rows(self, entity: str) -> Iterable[Fields]:
        with self.store.read() as tx:
            return [decode_json(stored.data) for stored in canonical.scan(tx, entity) if not stored.deleted]

    def flow(self, name: str) -> Document:
        """A sync flow, checked in full before anything is opened. Raises SpecError, UsageError."""
        document = self.workspace.document("flow", name)
        if not isinstance(document.model, SyncFlow):
            kind = document.data.get("kind")
            raise UsageError(Problem("X910", f"{name!r} is a {kind} flow, and running those is not there yet",
                                     document.at("kind"), "it is validated in full; sync flows run"))  # fmt: skip
        compile_sync(document, self.registry(), None)
        return document

    def run(self, name: str, options: Options) -> Result:
        """Run one flow; every end is a Result. Documents that are wrong raise SpecError before a run exists."""
        document = self.flow(name)
        flow: SyncFlow = document.model
        with self.store.begin("lease") as tx:
            lease = leases.claim(tx, f"flow:{name}")
            if lease is None or flow.mode == "off":
                run = runs.start(tx, name, "sync", options.trigger, options.as_json(), flow.policy.lane)
                reason = "another run of it is going on" if lease is None else "the flow's mode is off"
                runs.finish(tx, run, "skipped", {}, held=reason)
            else:
                if not options.plan:
                    runs.abandoned(tx, name)
                run = runs.start(tx, name, "sync", options.trigger, options.as_json(), flow.policy.lane)
                runs.claim_unit(tx, run)
        if lease is None or flow.mode == "off":
            if lease is not None:
                self._release(lease)
            return self._result(run, Counts.of(()), None)
        options.plan = options.plan or flow.mode == "shadow"
        try:
            with self._renewed(lease, run):
                return self._execute(document, run, options, lease.fence)
        finally:
            self._release(lease)

    def _release(self, lease: leases.Lease) -> None:
        with self.store.begin("release") as tx:
            leases.release(tx, lease)

    def _execute(self, document: Document, run: str, options: Options, fence: int) -> Result:
        connectors = Connectors(self.workspace, document.model)
        session = Session(self.workspace, self.store, self.registry(), connectors, run, options)
        session.cancelled = self.cancelled
        if self.progress is not None:
            progress = self.progress
            session.progress = lambda counts: progress(document.name, counts)
        state, held, error = "succeeded", None, None
        try:
            plan = compile_sync(document, session.registry, connectors.describe)
            self._pin(run, plan)
            session.plan = plan
            if options.only is not None and options.moved is not None and plan.logic.hex() not in options.moved:
                raise UsageError(Problem("X904", "the flow or what it uses was changed since the plan", document.at(),
                                         "plan again"))  # fmt: skip
            with _quiet_collector():
                run_sync(session, plan, fence)
            state = "partial" if session.counts.records["quarantined"] else "succeeded"
            if self.cancelled.is_set():
                state, error = "cancelled", STOPPED
        except Held as stop:
            state, held = "held", stop.problem.message
        except SpecError:
            self._finish(session, run, "failed", None, None)
            raise
        except CrosswalkError as fault:
            state, error = "failed", fault.problem
        except KeyboardInterrupt:
            self._finish(session, run, "cancelled", None, STOPPED)
            raise
        finally:
            connectors.close()
        self._finish(session, run, state, held, error)
        return self._result(run, session.counts, session)

    def _pin(self, run: str, plan: SyncPlan) -> None:
        with self.store.begin("pin") as tx:
            runs.pin(tx, run, plan.logic, encode_json(plan.documents))

    def _finish(self, session: Session, run: str, state: str, held: str | None, error: Problem | None) -> None:
        secrets = self.workspace.secrets.seen
        told = None
        if error is not None:
            text = f"{error.message} — {error.hint}" if error.hint else error.message
            told = {"code": error.code, "message": _redacted(text, secrets), "at": str(error.at) if error.at else None}
        with self.store.begin("finish") as tx:
            runs.finish(tx, run, state, session.counts.as_json(), held, told)
            if state in ("succeeded", "partial") and not session.options.plan:
                for name, position in session.positions.items():
                    runs.set_fact(tx, name, position)

    def _result(self, run: str, counts: Counts, session: Session | None) -> Result:
        with self.store.read() as tx:
            row = runs.get(tx, run)
        assert row is not None
        told: Fields = {"run": run, "flow": row.flow, "state": row.state, **counts.as_json()}
        told |= {
            "held_because": row.held_because,
            "error": row.error,
            "started_at": row.started_at,
            "finished_at": row.finished_at,
        }
        told["targets"] = told.pop("targets")
        if session is None:
            return Result(told, [], [], "")
        moved = list(session.moved)
        for place in sorted(set(session.options.only or ()) - session.applied):
            if not any(place.startswith(f"{one['target']}/") for one in moved):
                target, _, rest = place.partition("/")
                moved.append({"target": target, "key": rest.split("/")[0], "operation": "gone"})
        logic = session.plan.logic.hex() if session.plan else ""
        return Result(told, session.changes, moved, logic, planned_calls(session))

    @contextmanager
    def _renewed(self, lease: leases.Lease, run: str) -> Any:
        """Hold on to the lease while the run goes on, and hear whether somebody wants it to stop."""
        over = threading.Event()

        def renew() -> None:
            renewed = time.monotonic()
            while not over.wait(LISTEN):
                with self.store.read() as tx:
                    if runs.asked_to_stop(tx, run):
                        self.cancelled.set()
                if time.monotonic() - renewed > leases.LIFE.total_seconds() / 3:
                    renewed = time.monotonic()
                    with self.store.begin("renew") as tx:
                        leases.renew(tx, lease)

        thread = threading.Thread(target=renew, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@contextmanager
def _quiet_collector() -> Any:
    """The garbage collector walks every young object again and again in a loop like ours; let it look rarely."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 50, 50)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def _redacted(text: str, secrets: set[str]) -> str:
    for secret in secrets:
        if len(secret) >= 4:
            text = text.replace(secret, "••••")
    return text
