"""Docs that are run: YAML in Markdown validates, the onboarding guide works, the reference is the code's."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from engine.cli.reference import reference
from engine.compile.workspace import problems_of
from engine.sdk.manifest_webhooks import Webhooks
from engine.spec.source import read_yaml
from engine.spec.workspace import Workspace
from tests.conftest import Make

ROOT = Path(__file__).parents[2]
CROSSWALK = str(Path(sys.executable).parent / "crosswalk")


def blocks(path: Path) -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", path.read_text("utf-8"), re.DOTALL)


def test_the_reference_is_what_the_code_says() -> None:
    page = ROOT / "docs/reference.md"
    if os.environ.get("CROSSWALK_WRITE_REFERENCE") == "1":
        page.write_text(reference(), "utf-8")
    assert page.read_text("utf-8") == reference()


def test_yaml_in_the_readme_and_the_guide_is_sound(make: Make) -> None:
    (mapping,) = blocks(ROOT / "README.md")
    workspace, history, expected, out, back = blocks(ROOT / "docs/guide.md")
    flows = {
        "flows/t.yaml": WATCHED + expected,
        "flows/deal-history.yaml": history,
        "flows/clients-out.yaml": out,
        "flows/clients-back.yaml": back,
    }
    folder = make({"crosswalk.yaml": workspace, "mappings/salesforce/account.yaml": mapping, **flows})
    assert problems_of(Workspace.open(folder)) == []


def test_yaml_of_the_page_on_events_is_sound(make: Make) -> None:
    flow, workspace = blocks(ROOT / "docs/events.md")
    folder = make({"crosswalk.yaml": workspace, "flows/people-to-desk.yaml": flow})
    assert problems_of(Workspace.open(folder)) == []
    hooks = re.findall(r"```\n(webhooks:.*?)```", (ROOT / "docs/events.md").read_text("utf-8"), re.DOTALL)
    data, _ = read_yaml(hooks[0].encode(), "events.md")
    assert Webhooks.model_validate(data["webhooks"]).verify.secret == ["webhook_secret", "webhook_secret_next"]


WATCHED = "flow: t\nkind: sync\nentity: client\nsource: { connection: crm, mapping: salesforce/account }\ntargets: []\n"


class Desk(BaseHTTPRequestHandler):
    """The ticket system of the guide."""

    rows = [
        {
            "id": n,
            "title": f" Ticket {n} ",
            "minutes": 90 if n != 3 else 9000,
            "state": "new",
            "updated_at": f"2026-01-0{n}T00:00:00Z",
        }
        for n in range(1, 6)
    ]

    def do_GET(self) -> None:
        good = self.headers.get("Authorization") == "Bearer desk-token"
        after = int(re.search(r"after=(\d+)", self.path)[1]) if "after=" in self.path else 0  # type: ignore[index]
        page = [row for row in self.rows if row["id"] > after][:2]
        body: dict[str, Any] = {"tickets": page, "next": str(page[-1]["id"]) if page and page[-1]["id"] < 5 else None}
        data = json.dumps(body if good else {"error": "who are you?"}).encode()
        self.send_response(200 if good else 403)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def desk() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Desk)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_onboarding_guide_works_as_written(make: Make, desk: str) -> None:
    text = (ROOT / "docs/onboard.md").read_text("utf-8")
    names = re.findall(r"`((?:connectors|schemas|mappings|flows)/[\w/]+\.yaml|crosswalk\.yaml)`", text)
    documents = blocks(ROOT / "docs/onboard.md")
    assert len(names) == len(documents) == 6
    folder = make(dict(zip(names, documents, strict=True)))
    import sqlite3

    db = sqlite3.connect(folder / "warehouse.db")
    db.execute("create table tickets (id text primary key, subject text, hours numeric, status text)")
    db.commit()

    def call(*words: str) -> tuple[int, Any]:
        env = {**os.environ, "DESK_URL": desk, "DESK": "desk-token"}
        done = subprocess.run(
            [CROSSWALK, *words, "--json"], cwd=folder, capture_output=True, text=True, env=env, timeout=60
        )
        return done.returncode, json.loads(done.stdout)

    assert call("validate") == (0, {"errors": []})
    code, preview = call("mapping", "preview", "tickets/ticket", "--record", "desk:1")
    assert code == 0 and preview["preview"]["fields"][0] == {
        "field": "subject", "reads": "title", "source": " Ticket 1 ", "canonical": "Ticket 1", "at": "mappings/tickets/ticket.yaml:5:12"}  # fmt: skip
    code, plan = call("plan", "tickets")
    assert code == 0 and plan["plans"][0]["created"] == 4
    code, run = call("run", "tickets")
    assert code == 3 and (run["runs"][0]["created"], run["runs"][0]["quarantined"]) == (4, 1)
    assert db.execute("select subject, hours, status from tickets order by subject limit 1").fetchall() == [
        ("Ticket 1", 1.5, "open")
    ]
    db.close()


def test_every_yaml_of_the_library_and_examples_reads() -> None:
    files = [
        path
        for folder in ("schemas", "mappings", "flows", "connectors", "examples")
        for path in (ROOT / folder).rglob("*.yaml")
    ]
    assert len(files) > 40
    for path in files:
        read_yaml(path.read_bytes(), path.name)
