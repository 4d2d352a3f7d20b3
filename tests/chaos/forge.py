"""Runs in processes that may die: forked from one that has everything imported, killed at crash points or by the clock.

A forked child runs `crosswalk run` on a workspace; `os._exit` at a crash point is a true crash: no finally, no rollback,
no goodbye to the database or to the target. Run as a program it takes a JSON list of orders a line, performs them at the
same time and answers with a list.
Order: {folder, env, flow, crash: [point, nth], kill: seconds}. Answer: {died, reached: {point: count}, run}.
Order: {folder, env, ask: exceptions}. Answer: {exceptions: [key]}. Order: {folder, env, ask: age, age: seconds} passes time in
the state. Further: freeze: [point, file, other file]: at the point it
makes the one and waits for the other; begin: a file to wait for before the run, and delay: seconds after it; done: a file
that it makes when it is over; age: seconds that pass in the state before the run, mutate: a part of the protocol that is left out.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine

from engine.compile.registry import Registry
from engine.compile.sync import compile_sync
from engine.run import commit, journal, resolve
from engine.run.runner import Runner
from engine.run.session import Options
from engine.sdk.http import HttpClient
from engine.spec.workspace import Workspace
from engine.state import care, exceptions, operations
from engine.state.store import Store

DIED = 137


def without_intent() -> None:
    """T1 writes nothing down."""
    operations.send = lambda tx, intents: {}


def without_settling() -> None:
    """A write in doubt is judged at once."""
    resolve._ripe = lambda *_: True


def without_deadline() -> None:
    """A write is sent however late it has become."""
    HttpClient._in_time = lambda *_: None  # type: ignore[method-assign]


def without_fence() -> None:
    """A worker goes on whoever has the lease."""
    journal.mine = commit.mine = lambda *_: True


MUTATIONS = {"T1": without_intent, "fence": without_fence, "settle": without_settling, "send_by": without_deadline}


def awaited(file: str) -> None:
    """Wait until somebody has made it."""
    until = time.monotonic() + 60
    while not Path(file).exists():
        assert time.monotonic() < until, f"nobody made {file}"
        time.sleep(0.005)


def child(order: dict[str, Any], out: int) -> None:
    """One run; what it reached goes to the pipe even when it dies."""
    if order.get("mutate"):
        MUTATIONS[order["mutate"]]()
    if order.get("begin"):
        awaited(order["begin"])
    time.sleep(order.get("delay", 0))
    os.environ.update(order.get("env", {}))
    folder = Path(order["folder"])
    crash = tuple(order["crash"]) if order.get("crash") else None
    freeze = order.get("freeze")
    reached: Counter[str] = Counter()

    def passed(name: str) -> None:
        reached[name] += 1
        if freeze and (name, reached[name]) == (freeze[0], 1):
            Path(freeze[1]).touch()
            awaited(freeze[2])
        if (name, reached[name]) == crash:
            os.write(out, json.dumps({"died": name, "reached": reached}).encode())
            os._exit(DIED)

    workspace = Workspace.open(folder)
    workspace._documents.update(READ.get(order["folder"], {}))
    store = Store.open(workspace.settings.state, folder)
    if order.get("age"):
        care.age(store, order["age"])
    if order.get("ask") == "age":
        os.write(out, b"{}")
        os._exit(0)
    if order.get("ask") == "exceptions":
        with store.read() as tx:
            keys = [row.key for row in exceptions.listed(tx)]
        os.write(out, json.dumps({"exceptions": keys}).encode())
        os._exit(0)
    store.crashpoint = passed
    run = Runner(workspace, store).run(order.get("flow", "things"), Options(full=True)).run
    os.write(out, json.dumps({"died": None, "reached": reached, "run": run}, default=str).encode())
    if order.get("done"):
        Path(order["done"]).touch()
    os._exit(0)


READ: dict[str, Any] = {}
"""Folder → its documents, read once before the children are forked."""


def read(order: dict[str, Any]) -> None:
    if order["folder"] not in READ:
        os.environ.update(order["env"])
        workspace = Workspace.open(Path(order["folder"]))
        compile_sync(
            workspace.document("flow", order.get("flow", "things")), Registry(workspace, lambda entity: ()), None
        )
        READ[order["folder"]] = workspace._documents


def started(order: dict[str, Any]) -> tuple[int, int]:
    """Fork a child: (process, pipe that it answers to)."""
    ear, mouth = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(ear)
        try:
            child(order, mouth)
        except BaseException as error:  # the answer is the only way to tell
            os.write(mouth, json.dumps({"error": f"{type(error).__name__}: {error}"}).encode())
        finally:
            os._exit(1)
    os.close(mouth)
    return process, ear


def perform(orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Runs at the same time, each killed when that is ordered; what became of them."""
    for order in orders:
        read(order)
    running = [started(order) for order in orders]
    said = [b"" for _ in orders]
    begun = time.monotonic()
    ends = {ear: begun + orders[n]["kill"] for n, (_, ear) in enumerate(running) if orders[n].get("kill") is not None}
    left = {ear: n for n, (_, ear) in enumerate(running)}
    while left:
        wait = min((ends[ear] for ear in left if ear in ends), default=None)
        ready, _, _ = select.select(list(left), [], [], None if wait is None else max(0.0, wait - time.monotonic()))
        for ear in ready:
            ends.pop(ear, None)
            part = os.read(ear, 65536)
            said[left[ear]] += part
            if not part:
                os.close(ear)
                del left[ear]
        for ear in [one for one in left if ends.get(one, time.monotonic() + 1) <= time.monotonic()]:
            del ends[ear]
            os.kill(running[left[ear]][0], signal.SIGKILL)
    answers = []
    for (process, _), text in zip(running, said, strict=True):
        _, status = os.waitpid(process, 0)
        how = "kill -9" if os.WIFSIGNALED(status) else f"exit {status}"
        answers.append(json.loads(text) if text else {"died": how, "reached": {}})
    return answers


def warm() -> None:
    """One run that ends at a closed door: whatever a run imports and compiles is there for every child."""
    from tests.chaos import line

    with tempfile.TemporaryDirectory() as place:
        folder = line.workspace(Path(place), "C")
        (folder / "data").mkdir()
        (folder / "data/things.ndjson").write_text('{"id": "n", "name": "n", "n": 1}\n')
        os.environ |= {"CHAOS_STATE": "sqlite:///state.db", "CHAOS_DATA": "data", "CHAOS_URL": "http://127.0.0.1:9"}
        workspace = Workspace.open(folder)
        store = Store.open(workspace.settings.state, folder)
        Runner(workspace, store).run("things", Options())
        store.close()
    with suppress(ModuleNotFoundError):
        create_engine("postgresql+psycopg://127.0.0.1/none").dispose()


def main() -> None:
    warm()
    gc.collect()
    gc.freeze()
    print("[]", flush=True)
    for text in sys.stdin:
        print(json.dumps(perform(json.loads(text))), flush=True)


if __name__ == "__main__":
    main()
