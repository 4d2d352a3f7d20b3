"""Jobs under `kill -9`: what was uploaded is asked for, never uploaded again. The fake's own journal is the oracle."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.sandbox import Sandbox, start
from engine.state import exceptions, operations
from tests.conftest import Make
from tests.connectors.rest.test_jobs import ASYNC
from tests.run.folder import Folder
from tests.run.test_sync import SCHEMA

MANIFESTS = {
    "connectors/bulk.yaml": "connector: bulk\nextends: salesforce\nobjects:\n"
    "  Account: { late: 100ms, index: 100ms, jobs: { upsert: { above: 2, size: 8, poll: { every: 10ms..20ms, within: 300ms } } } }\n",
    "connectors/async.yaml": ASYNC.replace("ns_async", "async").replace("size: 100", "size: 8").replace("within: 2s", "within: 300ms"),
}  # fmt: skip
FILES = {
    "schemas/thing.yaml": SCHEMA + "properties: { name: { type: string }, note: { type: string } }\n",
    "mappings/src/things.yaml": "mapping: src/things\nobject: things\nentity: thing\nfields: { name: name, note: note }\n",
    "mappings/sf/things.yaml": "mapping: sf/things\nobject: Account\nentity: thing\nfields: { name: Name, note: Description }\n",
    "mappings/ns/things.yaml": 'mapping: ns/things\nobject: customer\nentity: thing\nfields: { name: companyName, note: comments }\noutbound: { subsidiary.id: { value: "1" } }\n',
    "flows/sf.yaml": "flow: sf\nkind: sync\nentity: thing\nsource: { connection: src, mapping: src/things }\ntargets: [{ connection: sf, mapping: sf/things, match: [] }]\n",
    "flows/ns.yaml": "flow: ns\nkind: sync\nentity: thing\nsource: { connection: src, mapping: src/things }\ntargets: [{ connection: ns, mapping: ns/things, match: [] }]\n",
    **MANIFESTS,
}  # fmt: skip
DYING = """
import os, signal, sys
from pathlib import Path
from connectors.rest.jobs import Job
from engine.run.runner import Runner
from engine.run.session import Options
from engine.spec.workspace import Workspace
from engine.state.store import Store

flow, step = sys.argv[1:]
after = getattr(Job, step)
def dying(self, *given, **named):
    after(self, *given, **named)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(Job, step, dying)
Runner(Workspace.open(Path(".")), Store.open("sqlite:///.crosswalk/state.db", Path("."))).run(flow, Options(full=True))
"""


class World(Folder):
    """A workspace whose writes go through jobs of the two fakes."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        super().__init__(folder)
        self.sandbox = sandbox

    def give(self, note: str, count: int = 20) -> None:
        self.put({"id": str(n), "name": f"Firm {n}", "note": note} for n in range(count))

    def die(self, flow: str, step: str) -> None:
        done = subprocess.run(
            [sys.executable, "-c", DYING, flow, step], cwd=self.folder, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == -signal.SIGKILL, done.stderr

    def run(self, flow: str | None = None, **options: Any) -> dict[str, Any]:
        return super().run(flow, **{"full": True, **options})

    def state(self, connection: str, object: str) -> tuple[list[operations.Open], list[exceptions.Row]]:
        """Open operations but for bytes that may arrive late and would change nothing; exceptions."""
        with self.store() as store, store.read() as tx:
            found, told = operations.in_doubt(tx, connection, object), exceptions.listed(tx)
        return [one for one in found if one.kind not in operations.SAFE_AGAIN], told

    def uploads(self) -> Counter[str]:
        """Firm → uploads that held it."""
        jobs = self.sandbox.store.scan("salesforce", "job ingest")
        lines = [line for job in jobs for line in job.get("data", "").splitlines()[1:]]
        return Counter(name for line in lines for name in line.split(",") if name.startswith("Firm"))

    def journal(self, system: str, object: str) -> Counter[tuple[str, str]]:
        """(write, firm) → how often the system accepted it."""
        given = [one for one in self.sandbox.journal(system) if one.object == object]
        return Counter((one.op, str(one.body.get("Name") or one.body.get("companyName"))) for one in given)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with start(systems=("salesforce", "netsuite")) as running:
        yield running


@pytest.fixture
def world(sandbox: Sandbox, make: Make, monkeypatch: pytest.MonkeyPatch) -> World:
    for name, value in {**sandbox.credentials("salesforce"), **sandbox.credentials("netsuite")}.items():
        monkeypatch.setenv(f"CROSSWALK_SECRET_{name.upper()}", value)
    monkeypatch.setenv("NS_TOKEN", sandbox.credentials("netsuite")["token"])
    monkeypatch.delenv("CROSSWALK_SECRET_TOKEN", raising=False)
    limits = "timeout: 1s, retries: 1, backoff: 1ms..5ms"
    settings = f"""
        crosswalk: 1
        name: jobs
        connections:
          src: {{ connector: files, path: data, format: ndjson }}
          sf: {{ connector: bulk, url: "{sandbox.url("salesforce")}", {limits}, auth: {{ client_id: "${{secret:client_id}}", client_secret: "${{secret:client_secret}}" }} }}
          ns: {{ connector: async, url: "{sandbox.url("netsuite")}", account: SANDBOX_SB1, {limits}, auth: {{ consumer_key: "${{secret:consumer_key}}", consumer_secret: "${{secret:consumer_secret}}", token: "${{secret:ns_token}}", token_secret: "${{secret:token_secret}}" }} }}
    """
    line = World(make({**FILES, "crosswalk.yaml": settings}), sandbox)
    line.give("first")
    return line


EVERYBODY = {f"Firm {n}" for n in range(20)}


@pytest.mark.parametrize("step", ["_fill", "_start", "_wait"])
def test_after_a_kill_the_rows_of_a_job_are_asked_for_and_not_uploaded_again(world: World, step: str) -> None:
    world.die("sf", step)
    told = world.run("sf")
    assert told["state"] == "succeeded", told
    assert world.uploads() == Counter(dict.fromkeys(EVERYBODY, 1))
    assert world.journal("salesforce", "Account") == Counter({("create", name): 1 for name in EVERYBODY})
    assert world.state("sf", "Account") == ([], [])
    again = world.run("sf")
    assert again["unchanged"] == 20 and sum(world.uploads().values()) == 20
    world.give("second")
    time.sleep(2.4)  # what was on its way may arrive until then
    assert world.run("sf")["updated"] == 20, "what the job took is known as delivered"


def test_a_job_that_never_got_its_rows_is_left_and_they_go_in_another(world: World) -> None:
    world.die("sf", "_open")
    first = world.run("sf")
    assert first["waiting"] == 8, "until nobody can be uploading any more"
    (job, *_) = [one for one in world.state("sf", "Account")[0] if one.kind == "job"]
    with world.store() as store, store.begin("job") as tx:
        tx.run("UPDATE operations SET send_by = '2026-01-01T00:00:00.000000Z' WHERE op_key = ?", (job.op_key,))
    assert world.run("sf")["waiting"] == 0
    assert world.uploads() == Counter(dict.fromkeys(EVERYBODY, 1)) and world.state("sf", "Account") == ([], [])


def test_a_job_that_goes_on_is_waited_for_by_later_runs(world: World, sandbox: Sandbox) -> None:
    sandbox.fakes["salesforce"].bulk.polls = 1000
    first = world.run("sf")
    assert (first["state"], first["waiting"], first["created"]) == ("succeeded", 20, 0)
    second = world.run("sf")
    assert second["waiting"] == 20 and sum(world.uploads().values()) == 20, "nothing goes a second time"
    for job in list(sandbox.store.scan("salesforce", "job ingest")):
        sandbox.store.put("salesforce", "job ingest", job["id"], {**job, "polls": 0})
    third = world.run("sf")
    assert third["waiting"] == 0 and sum(world.uploads().values()) == 20
    assert world.journal("salesforce", "Account") == Counter({("create", name): 1 for name in EVERYBODY})
    assert world.state("sf", "Account") == ([], [])


def test_a_job_that_the_system_no_longer_knows_leaves_its_rows_to_the_class(world: World, sandbox: Sandbox) -> None:
    world.die("sf", "_fill")
    for job in list(sandbox.store.scan("salesforce", "job ingest")):
        sandbox.store.purge("salesforce", "job ingest", job["id"])
    assert world.run("sf")["created"] == 20
    assert world.journal("salesforce", "Account") == Counter({("create", name): 1 for name in EVERYBODY})
    assert world.state("sf", "Account") == ([], [])


@pytest.mark.parametrize("step", ["_open", "_wait"])
def test_an_asynchronous_batch_is_asked_for_its_tasks_after_a_kill(world: World, step: str) -> None:
    world.die("ns", step)
    jobs = len(list(world.sandbox.store.scan("netsuite", "job queue")))
    told = world.run("ns")
    assert told["state"] == "succeeded" and world.state("ns", "customer") == ([], [])
    assert len(list(world.sandbox.store.scan("netsuite", "job queue"))) - jobs == 2, "the 12 that had not gone yet"
    found = {name: count for (op, name), count in world.journal("netsuite", "customer").items() if op == "create"}
    assert {name: found.get(name) for name in EVERYBODY} == dict.fromkeys(EVERYBODY, 1)
    assert world.run("ns")["unchanged"] == 20
