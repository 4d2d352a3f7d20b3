"""docs/processes.md: its flow runs, its commands work, and people decide with them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from engine.compile.workspace import problems_of
from engine.spec.workspace import Workspace
from tests.conftest import Make
from tests.forks import forks
from tests.run.process_world import files

PAGE = Path(__file__).parents[2] / "docs/processes.md"
ROWS = {
    "accounts": [{"id": "a1", "name": "Acme", "tax": "T1"}],
    "deals": [{"id": "d1", "name": "Mill", "stage": "won", "account": "a1", "amount": 300000},
              {"id": "d2", "name": "Dam", "stage": "won", "account": "a1", "amount": 10}],
    "customers": [], "jobs": [], "projects": [],
}  # fmt: skip


def test_the_guide_works_as_written(make: Make) -> None:
    text = PAGE.read_text("utf-8")
    (flow,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    commands = [
        line[2:] for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL) for line in block.splitlines()
    ]
    sent = {
        name: text + "outbound: { id: id }\n"
        for name, text in files().items()
        if name.startswith(("mappings/erp", "mappings/psa"))
    }
    folder = make({**files(), **sent, "flows/deals.yaml": flow})
    (folder / "data").mkdir()
    for name, rows in ROWS.items():
        (folder / f"data/{name}.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = folder / "crosswalk.yaml"
    settings.write_text(settings.read_text().replace("path: data }", "path: data, format: ndjson }"))
    assert problems_of(Workspace.open(folder)) == []

    def told(person: str, *words: str) -> dict[str, Any]:
        code, out, err = forks().run(folder, [*words, "--json"], 60, LOGNAME=person)
        assert code == 0, err or out
        found: dict[str, Any] = json.loads(out)
        return found

    told("bob", "run", "clients")
    known: dict[str, str] = {}
    paused = False
    for command in commands:
        if re.search(r" p-\d{8}-", command) and "p" not in known:  # from here on: an instance that waits
            known["p"] = _waiting(told, folder)
        words = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', command)][1:]
        words = [known[word[0]] if re.match(r"[vp]-\d{8}-", word) else word for word in words]
        person = "ann" if words[0] == "approvals" else "bob"
        if words[:2] == ["processes", "resume"] and not paused:
            code, _, err = forks().run(folder, words, 60, LOGNAME="bob")
            assert code == 2 and "X924" in err, "what waits for an approval is not resumed"
            continue
        if words[:2] == ["plan", "deals"]:
            out = forks().run(folder, words, 60)[1]
            assert "Mill is worth 300000" in out and "+ psa" in out and "customer: erp created" in out
            continue
        found, paused = told(person, *words), words[:2] == ["processes", "pause"]
        if words[:2] == ["processes", "pause"]:
            one = found["process"] if "process" in found else found["processes"][0]
            assert (one["state"], one["waiting"]) == ("paused", "approval")
            assert told("bob", "run", "deals")["runs"][0]["processes"] == {}, "it does no step"
        if words[:2] == ["approvals", "list"]:
            (asked,) = found["approvals"]
            assert asked["message"] == "Mill is worth 300000"
            known["v"] = asked["id"]
        if words[:2] == ["approvals", "approve"]:
            assert found["approval"]["decided_by"] == "ann"
            assert told("bob", "run", "deals")["runs"][0]["processes"] == {"done": 1}
    states = [one["state"] for one in told("bob", "processes", "list", "--all")["processes"]]
    assert sorted(states) == ["compensating", "done", "done"]
    jobs = (folder / "data/jobs.ndjson").read_text()
    assert jobs.count('"Mill"') == 1 == jobs.count('"Dam"')
    told("bob", "run", "deals")
    (last, *_) = told("bob", "processes", "list", "--all")["processes"]
    assert (last["state"], last["message"]) == ("cancelled", "cancelled by bob: the deal fell through")
    story = forks().run(folder, ["processes", "show", last["id"]], 60)[1]
    assert "cancelled: the deal fell through  (bob)" in story
    record = told("bob", "trace", "crm:d3")["trace"]
    assert [one["id"] for one in record["processes"]] == [last["id"]]


def _waiting(told: Any, folder: Path) -> str:
    with (folder / "data/deals.ndjson").open("a") as rows:
        rows.write(json.dumps({"id": "d3", "name": "Bridge", "stage": "won", "account": "a1", "amount": 999999}) + "\n")
    assert told("bob", "run", "deals")["runs"][0]["waiting"] == 1
    (one,) = told("bob", "processes", "list", "--state", "waiting")["processes"]
    assert (one["step"], one["waiting"], one["message"]) == ("large", "approval", "Bridge is worth 999999")
    return str(one["id"])


def test_a_flow_in_the_shadow_tells_with_each_run_what_it_would_do(make: Make) -> None:
    folder = make(files(mode="shadow"))
    (folder / "data").mkdir()
    for name, rows in ROWS.items():
        (folder / f"data/{name}.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = folder / "crosswalk.yaml"
    settings.write_text(settings.read_text().replace("path: data }", "path: data, format: ndjson }"))
    out = json.loads(forks().run(folder, ["run", "clients", "deals", "--json"], 60)[1])
    shown = json.loads(forks().run(folder, ["runs", "show", out["runs"][1]["run"], "--json"], 60)[1])["run"]
    assert [one["state"] for one in shown["instances"]] == ["done", "done"], shown
    assert shown["processes"] == {"done": 2}
    text = forks().run(folder, ["runs", "show", out["runs"][1]["run"]], 60)[1]
    assert "a new instance for" in text and "complete: holds" in text
    assert json.loads(forks().run(folder, ["processes", "list", "--all", "--json"], 60)[1]) == {"processes": []}
