"""`crosswalk test --chaos`: a user's flows on failing systems, judged by what the systems took."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.cli.demo import example_folder
from engine.cli.sandboxes import fresh
from engine.run.chaos import run_chaos
from engine.spec.workspace import Workspace
from tests.conftest import Make
from tests.run.test_sync import SCHEMA

CROSSWALK = str(Path(sys.executable).parent / "crosswalk")
MEMORY = {
    "crosswalk.yaml": "crosswalk: 1\nname: t\nconnections:\n  crm: { connector: files, path: in, format: ndjson }\n"
    "  erp: { connector: files, path: out, format: ndjson }\n",
    "schemas/firm.yaml": SCHEMA + "properties: { name: { type: string } }\n",
    "mappings/crm/firms.yaml": "mapping: crm/firms\nobject: firms\nentity: firm\nfields: { name: name }\n",
    "mappings/erp/firms.yaml": "mapping: erp/firms\nobject: customers\nentity: firm\nfields: { name: name }\n",
    "flows/firms.yaml": "flow: firms\nkind: sync\nentity: firm\nsource: { connection: crm, mapping: crm/firms }\n"
    "targets: [{ connection: erp, mapping: erp/firms, match: [] }]\n",
    "tests/firms.yaml": "test: firms\nflow: firms\ngiven:\n  crm:\n    firms:\n"
    + "".join(f"      - {{ id: '{number}', name: Firm {number} }}\n" for number in range(60))
    + "expect_writes: { erp: [] }\n",
}  # fmt: skip


def test_the_command_says_what_went_wrong_and_that_every_record_is_there_once(make: Make) -> None:
    folder = make(MEMORY)
    done = subprocess.run(
        [CROSSWALK, "test", "--chaos", "--seed", "4", "--json"], cwd=folder, capture_output=True, text=True
    )
    told: dict[str, Any] = json.loads(done.stdout)["chaos"]
    assert done.returncode == 0, done.stdout
    assert told["seed"] == 4 and told["records"] == 60 and told["good"]
    assert sum(told["faults"].values()) > 5 and sum(told["deaths"].values()) > 0 and told["exceptions"] == 0
    assert not any(told[name] for name in ("doubled", "lost", "changed", "failed"))
    assert not (folder / "out").exists() and not (folder / ".crosswalk").exists(), "nothing real was touched"
    text = subprocess.run(
        [CROSSWALK, "test", "--chaos", "--seed", "4"], cwd=folder, capture_output=True, text=True
    ).stdout
    assert "seed 4: every record is there once; again: crosswalk test --chaos --seed 4" in text


def test_a_workspace_without_flows_of_its_own_says_so(make: Make) -> None:
    folder = make({"crosswalk.yaml": "crosswalk: 1\nname: t\n"})
    done = subprocess.run([CROSSWALK, "test", "--chaos"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 2 and "name flows of the library" in done.stderr


@pytest.mark.parametrize("seed", [2])
def test_flows_of_the_library_on_the_bundled_systems_hold(make: Make, seed: int) -> None:
    workspace = Workspace.open(make({"crosswalk.yaml": (example_folder() / "crosswalk.yaml").read_text("utf-8")}))
    report = run_chaos(workspace, ["clients"], seed, fresh)
    assert report.good, report.as_json()
    assert report.records > 50 and report.faults and report.deaths, report.as_json()
