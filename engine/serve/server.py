"""`serve`: scheduler, leader, sweeper, executor and HTTP in one process, from its start to its end."""

from __future__ import annotations

import gc
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from engine.run.runner import quiet
from engine.run.work import Work
from engine.sdk.errors import CrosswalkError
from engine.serve import consumers, log
from engine.serve.executor import CONCURRENCY, LocalExecutor
from engine.serve.leader import Leader
from engine.serve.scheduler import FAR, Scheduler
from engine.serve.sweeper import EVERY, Sweeper
from engine.spec.workspace import Workspace
from engine.state import inbox, units
from engine.state.store import Store, instant, moment_of

SOON = 1.5
"""Seconds that `once` waits for work which is put back for a moment."""
TIDY = 60.0
"""Seconds between two looks for garbage: runs of a process that stays do not look for themselves."""
PARKING = 60.0
"""Seconds that runs get to end after their batch, once the grace is over."""


class Server:
    """One process that serves. `start`, then `stop`; or `once`."""

    def __init__(self, workspace: Workspace, store: Store, tell: log.Log) -> None:
        self.workspace, self.store, self.tell = workspace, store, tell
        self.work = Work(workspace, store, tell)
        self.executor = LocalExecutor(self.work)
        self.leader = Leader(store)
        self.scheduler = Scheduler(workspace, store, self.leader, tell)
        self.sweeper = Sweeper(self.work)
        self._clock: Any = None
        self._http: Any = None
        self._receiver: Any = None
        self._end_reading: Callable[[], None] = lambda: None
        self._thread: threading.Thread | None = None
        self._quiet = ExitStack()
        self._round = threading.Lock()
        """Held by a round in hand: a stop waits for it outside of the clock, which the round may call."""

    # ------------------------------------------------------------------ start and stop
    def start(self, listening: socket.socket | None = None, tls: tuple[Path, Path] | None = None) -> None:
        """Begin. listening: a bound socket that HTTP is spoken on. tls: certificate and key."""
        from apscheduler.executors.pool import ThreadPoolExecutor
        from apscheduler.schedulers.background import BackgroundScheduler

        log.attach(self.tell)
        self._quiet.enter_context(quiet)
        if listening is not None:
            self._listen(listening, tls)
        self.executor.serve(tuple(CONCURRENCY), self._hands())
        self._clock = BackgroundScheduler(
            timezone=UTC, executors={"default": ThreadPoolExecutor(2)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )  # fmt: skip
        self._clock.add_job(self._beat, "interval", seconds=EVERY, id="beat", next_run_time=datetime.now(UTC))
        self._clock.add_job(gc.collect, "interval", seconds=TIDY, id="tidy")
        self._clock.start()
        self._end_reading = consumers.start(self.workspace, self.store, self.tell, self.executor.dispatch)

    def _listen(self, listening: socket.socket, tls: tuple[Path, Path] | None) -> None:
        import uvicorn

        from engine.serve.app import app_of
        from engine.serve.webhooks import Receiver

        self._receiver = Receiver(self.workspace, self.store, self.tell, self.executor.dispatch)
        secure = {"ssl_certfile": str(tls[0]), "ssl_keyfile": str(tls[1])} if tls is not None else {}
        config = uvicorn.Config(
            app_of(self, self._receiver), log_config=None, access_log=False, server_header=False, proxy_headers=False,
            lifespan="off", http="h11", ws="none", limit_concurrency=2000, timeout_graceful_shutdown=10, **secure,  # type: ignore[arg-type]
        )  # fmt: skip
        self._http = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._http.run, kwargs={"sockets": [listening]}, name="http", daemon=True
        )
        self._thread.start()

    def stop(self, grace: float) -> None:
        """Take nothing more, give what is in hand that many seconds, then let runs end after their batch."""
        self.tell("stopping", in_hand=self.executor.health()["in_hand"], grace=grace)
        if self._clock is not None:
            self._clock.shutdown(wait=False)
            with self._round:
                self._clock = None
        self._end_reading()
        if self._http is not None and self._thread is not None:
            self._http.should_exit = True
            self._thread.join()
            self._receiver.close()
        self.executor.stop_taking()
        self._quietly(self.leader.step_down)
        if not self._until(lambda: self.executor.idle, grace):
            self.work.park()
            self._until(lambda: self.executor.idle, PARKING)
        if self.executor.idle:
            self.executor.close()
        self._quiet.close()
        self.tell("stopped", parked=self.work.parked, in_hand=self.executor.health()["in_hand"])

    def _hands(self) -> dict[str, int]:
        given = self.workspace.settings.serve.workers
        return {**CONCURRENCY, **{str(lane): count for lane, count in given.items()}}

    def _until(self, done: Callable[[], bool], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not done() and time.monotonic() < end:
            time.sleep(0.02)
        return done()

    # ------------------------------------------------------------------ rounds
    def _beat(self) -> None:
        """Every few seconds: stay or become the leader, and do what a leader does."""
        self._quietly(self._lead)

    def _lead(self) -> None:
        was = self.leader.lease is not None
        if self._clock is None or not self.leader.stand():
            return
        if not was:
            self.scheduler.forget()
            self.tell("leader", owner=self.executor.owner)
        self._tick()
        self.sweeper.sweep()

    def _tick(self) -> None:
        """Note what is due, and wake when the next tick is; in database time, so by how long it is until then."""
        if self._clock is None:  # it stops: nobody takes what would be noted now
            return
        seconds = self.scheduler.look()
        self.executor.dispatch()
        if seconds < FAR:
            at = datetime.now(UTC) + timedelta(seconds=max(seconds, 0) + 0.002)
            self._clock.add_job(
                self._quietly, "date", run_date=at, args=(self._tick,), id="tick", replace_existing=True
            )

    def _quietly(self, do: Callable[[], Any]) -> None:
        """A round that fails is told, and the next one tries again."""
        try:
            with self._round:
                do()
        except CrosswalkError as error:
            self.tell("round failed", code=error.problem.code)

    # ------------------------------------------------------------------ once
    def once(self, stopping: Callable[[], bool] = lambda: False) -> list[dict[str, Any]]:
        """Do everything that is due, and stop; the runs. Another process may be the leader: then it notes the ticks."""
        log.attach(self.tell)
        self.work.collects = True
        if self.leader.stand():
            self.scheduler.look(patient=True)
            self.sweeper.sweep()
        self.executor.serve(tuple(CONCURRENCY), self._hands())
        while not stopping() and not self._all_done():
            self.executor.dispatch()
            time.sleep(0.02)
        self.executor.stop_taking()
        if stopping():
            self.work.park()
        self.executor.close()
        self.leader.step_down()
        return self.work.results

    def _all_done(self) -> bool:
        """Whether nothing is in hand and nothing is due, and nothing was taken in hand between the two looks."""
        begun = self.executor.begun
        return self.executor.idle and not self._more() and self.executor.idle and self.executor.begun == begun

    def _more(self) -> bool:
        """Whether something is due now or in a moment."""
        with self.store.read() as tx:
            return units.ready_by(tx, tuple(CONCURRENCY), instant(moment_of(tx.now()) + timedelta(seconds=SOON)))

    # ------------------------------------------------------------------ how it is
    def readiness(self) -> dict[str, Any]:
        """State reachable, leader known, workers taking; what waits. No names: anybody who can connect may ask."""
        told: dict[str, Any] = {
            "ready": False,
            "state": False,
            "leader": False,
            "workers": bool(self.executor.health()["taking"]),
        }
        try:
            with self.store.read() as tx:
                told["backlog"], told["inbox"] = units.backlog(tx), inbox.backlog(tx)
            told["state"], told["leader"] = True, self.leader.known()
        except CrosswalkError:
            return told
        return {**told, "ready": told["workers"] and told["leader"]}
