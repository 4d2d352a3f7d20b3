"""Writes without an answer: looked for by their mark before anything is sent again; the fake's own journal is the oracle."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from connectors.sandbox import Sandbox, start
from connectors.sandbox.server import Reply, Request
from engine.run.runner import Runner
from engine.run.session import Options
from engine.spec.workspace import Workspace
from engine.state.store import Store
from tests.conftest import Make
from tests.run.test_sync import SCHEMA

FILES = {
    "schemas/firm.yaml": SCHEMA + "required: [name]\nproperties: { name: { type: string } }\n",
    "connectors/kantata.yaml": "connector: kantata\nextends: kantata\nobjects: { workspace_groups: { late: 2s, index: 1s } }\n",
    "mappings/src/firms.yaml": "mapping: src/firms\nobject: firms\nentity: firm\nfields: { name: name }\n",
    "mappings/psa/firms.yaml": "mapping: psa/firms\nobject: workspace_groups\nentity: firm\nfields: { name: name }\noutbound: { company: { value: true, on: create } }\n",
    "flows/firms.yaml": "flow: firms\nkind: sync\nentity: firm\nsource: { connection: src, mapping: src/firms }\ntargets: [{ connection: psa, mapping: psa/firms }]\n",
}  # fmt: skip


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with start(systems=("kantata",)) as running:
        yield running


@pytest.fixture
def run(make: Make, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("KANTATA_TOKEN", sandbox.credentials("kantata")["token"])
    settings = f"""
        crosswalk: 1
        name: doubt
        connections:
          src: {{ connector: files, path: data, format: ndjson }}
          psa: {{ connector: kantata, url: "{sandbox.url("kantata")}", auth: {{ token: "${{secret:kantata_token}}" }}, timeout: 500ms, retries: 1, backoff: 1ms..5ms }}
    """
    folder = make({**FILES, "crosswalk.yaml": settings})
    (folder / "data").mkdir()
    (folder / "data/firms.ndjson").write_text(
        "".join(json.dumps({"id": str(n), "name": f"Firm {n}"}) + "\n" for n in range(20))
    )

    def once() -> dict[str, Any]:
        store = Store.open("sqlite:///.crosswalk/state.db", folder)
        try:
            return Runner(Workspace.open(folder), store).run("firms", Options(full=True)).run
        finally:
            store.close()

    return once


def made(sandbox: Sandbox) -> list[str]:
    entries = [one for one in sandbox.journal("kantata") if (one.object, one.op) == ("workspace_groups", "create")]
    return sorted(one.body["name"] for one in entries)


def everybody() -> list[str]:
    return sorted(f"Firm {n}" for n in range(20))


@pytest.mark.parametrize("when", ["after", "before"])
def test_an_answer_lost_after_or_before_the_commit_makes_no_second_record_and_loses_none(
    sandbox: Sandbox, run: Any, when: str
) -> None:
    server, count = sandbox.servers["kantata"], 0

    def faults(request: Request, handle: Any) -> Reply:
        nonlocal count
        if request.method != "POST":
            return handle(request)
        count += 1
        if count % 3:
            return handle(request)
        if when == "after":
            handle(request)
        return Reply(502, {"errors": [{"type": "system", "message": "bad gateway"}]})

    server.faults = faults
    first = run()
    assert first["waiting"] == 6 and first["created"] == 14
    server.faults = None
    second = run()
    assert second["created"] == 0 and second["waiting"] == 6, (
        "nothing is sent again before the target had time to finish"
    )
    time.sleep(4.1)
    last = run()
    assert last["waiting"] == 0 and last["quarantined"] == 0
    assert made(sandbox) == everybody()
    assert run()["unchanged"] == 20


def test_a_busy_system_is_asked_again_and_takes_each_record_once(sandbox: Sandbox, run: Any) -> None:
    server, count = sandbox.servers["kantata"], 0

    def faults(request: Request, handle: Any) -> Reply:
        nonlocal count
        count += 1
        return Reply(429, {"errors": []}, {"Retry-After": "0"}) if count % 4 == 0 else handle(request)

    server.faults = faults
    for _ in range(20):
        if run()["state"] == "succeeded":
            break
    assert made(sandbox) == everybody()


def test_a_refused_record_is_told_in_the_system_words(sandbox: Sandbox, run: Any) -> None:
    server = sandbox.servers["kantata"]

    def faults(request: Request, handle: Any) -> Reply:
        if request.method == "POST" and b"Firm 7" in request.data:
            return Reply(422, {"errors": [{"type": "validation", "message": "Name is taken", "field": "name"}]})
        return handle(request)

    server.faults = faults
    result = run()
    assert (result["created"], result["quarantined"], result["state"]) == (19, 1, "partial")
