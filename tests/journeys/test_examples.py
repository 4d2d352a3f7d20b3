"""The examples as their READMEs tell them."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[2] / "examples"
CROSSWALK = str(Path(sys.executable).parent / "crosswalk")


def test_quickstart(tmp_path: Path) -> None:
    folder = tmp_path / "quickstart"
    shutil.copytree(EXAMPLES / "quickstart", folder)
    text = (folder / "README.md").read_text()
    db = sqlite3.connect(folder / "warehouse.db")
    db.execute(text.split('warehouse.db "')[1].split('"\n')[0])
    db.commit()

    def call(*words: str) -> tuple[int, Any]:
        done = subprocess.run([CROSSWALK, *words, "--json"], cwd=folder, capture_output=True, text=True, timeout=300)
        return done.returncode, json.loads(done.stdout)

    told = [line.split()[1:] for line in text.splitlines() if line.startswith("crosswalk ")]
    assert [call(*words)[0] for words in told] == [0, 0, 0, 3, 0]
    assert [one["key"] for one in call("exceptions", "list")[1]["exceptions"]] in (["1005", "1003"], ["1003", "1005"])
    assert db.execute("select count(*), min(hired), sum(day_rate) from people").fetchone()[:2] == (8, "2018-12-02")
    lines = (
        (folder / "data/people.csv")
        .read_text()
        .replace("31.02.2025", "28.02.2025")
        .replace("01-05T09:00:00Z\n1004", "01-06T09:00:00Z\n1004")
    )
    (folder / "data/people.csv").write_text(lines)
    code, run = call("run", "people")
    assert (code, run["runs"][0]["created"], run["runs"][0]["quarantined"]) == (3, 1, 1)
    assert call("run", "people", "--full")[1]["runs"][0]["created"] == 0
    db.close()


def test_quote_to_cash_names_every_flow_of_the_story_and_of_the_library(tmp_path: Path) -> None:
    from engine.cli.story import FLOWS
    from engine.compile.workspace import problems_of
    from engine.spec.workspace import Workspace

    folder = tmp_path / "quote_to_cash"
    shutil.copytree(EXAMPLES / "quote_to_cash", folder, ignore=shutil.ignore_patterns(".crosswalk"))
    workspace = Workspace.open(folder)
    assert problems_of(workspace) == []
    readme, guide = (folder / "README.md").read_text(), (EXAMPLES.parent / "docs/quote-to-cash.md").read_text()
    lines = [line.split()[1:] for line in readme.splitlines() if line.startswith("crosswalk ")]
    named = {name for words in lines if words[0] in ("run", "plan") for name in words[1:]}
    nightly = {name for name in workspace.names("flow") if workspace.document("flow", name).model.kind == "reconcile"}
    known = {*workspace.names("flow")} - nightly
    assert set(FLOWS) <= named - nightly == known and nightly <= named
    assert {name for name in known if f"`{name}`" not in guide} <= {
        "sellers", "clients", "contacts", "contracts", "projects-to-erp", "project-facts", "tasks", "legal-entity-choices",
    }, "the guide tells of every flow"  # fmt: skip
    words = {words[0] for words in lines}
    assert words == {"validate", "run", "plan", "exceptions", "events"}


def test_the_table_of_the_guide_is_sound(tmp_path: Path) -> None:
    import re

    from engine.compile.workspace import problems_of
    from engine.spec.workspace import Workspace

    (block,) = re.findall(r"```yaml\n(.*?)```", (EXAMPLES.parent / "docs/quote-to-cash.md").read_text(), re.DOTALL)
    (tmp_path / "crosswalk.yaml").write_text("crosswalk: 1\nname: own\n")
    (tmp_path / "mappings/tables").mkdir(parents=True)
    (tmp_path / "mappings/tables/billing_rules.yaml").write_text(block)
    assert problems_of(Workspace.open(tmp_path)) == []
