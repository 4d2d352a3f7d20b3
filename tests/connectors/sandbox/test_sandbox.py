"""The house around the fakes: data that stays, processes that share it, the journal, the hook for faults, the clock."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path

import pytest
import urllib3

from connectors.sandbox import Sandbox, start
from connectors.sandbox.clock import instant
from connectors.sandbox.server import Handle, Reply, Request
from tests.connectors.sandbox.conftest import Call


def test_it_starts_fast_and_holds_what_it_promises(sandbox: Sandbox) -> None:
    began = time.perf_counter()
    with start(systems=("kantata",)):
        took = time.perf_counter() - began
    assert took < 1.0  # a third of this on an idle machine
    accounts = sandbox.all("salesforce", "Account")
    assert len(accounts) == 40 and len({one["BillingCountry"] for one in accounts}) >= 8
    assert {"JPY", "KWD"} < {one["CurrencyIsoCode"] for one in accounts}
    assert sandbox.store.count("kantata", "time_entries") == 1500
    amounts = {one["Amount"] for one in sandbox.all("salesforce", "Opportunity")}
    assert {Decimal("0.1"), Decimal("1.005"), Decimal("90071992547409.93")} <= amounts
    for row in sandbox.all("kantata", "time_entries"):
        assert sandbox.get("kantata", "workspaces", row["workspace_id"]), row


def test_data_stays_in_its_folder_until_a_reset(tmp_path: Path) -> None:
    with start(tmp_path) as first:
        id = first.add("kantata", "workspace_groups", {"name": "Kept"})
        first.delete("salesforce", "Contact", "003000000000001AAA")
    with start(tmp_path) as again:
        assert again.get("kantata", "workspace_groups", id) is not None
        assert again.get("salesforce", "Contact", "003000000000001AAA") is None
        assert [entry.op for entry in again.store.journal()] == ["create", "delete"]
        again.reset()
        assert again.get("kantata", "workspace_groups", id) is None and again.store.journal() == []
        assert again.get("salesforce", "Contact", "003000000000001AAA") is not None


def test_two_processes_share_it(tmp_path: Path, pool: urllib3.PoolManager) -> None:
    code = f"""
from pathlib import Path; from connectors.sandbox import start
with start(Path({str(tmp_path)!r}), systems=("kantata",)) as box:
    for n in range(50): box.add("kantata", "workspace_groups", {{"name": f"there {{n}}"}})
"""
    with start(tmp_path) as box:
        other = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[3])
        for n in range(50):
            box.add("kantata", "workspace_groups", {"name": f"here {n}"})
        assert other.wait(30) == 0
        headers = {"Authorization": f"Bearer {box.credentials('kantata')['token']}"}
        url = f"{box.url('kantata')}/api/v1/workspace_groups?per_page=200"
        names = [row["name"] for row in pool.request("GET", url, headers=headers).json()["workspace_groups"].values()]
        assert len(names) == 14 + 100 and len(box.journal("kantata")) == 100


def test_threads_write_each_row_once(kantata: Call, sandbox: Sandbox) -> None:
    wrong = []

    def write(thread: int) -> None:
        for n in range(10):
            made = kantata("POST", "/roles", {"role": {"name": f"{thread}-{n}"}})[0]
            listed = kantata("GET", "/roles", order="name:asc", page="1")[0]
            wrong.extend(status for status in (made, listed) if status != 200)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    rows = sandbox.all("kantata", "roles")
    assert not wrong and len(rows) == 5 + 60 and len({row["id"] for row in rows}) == 65


def test_the_journal_tells_requests_from_users(kantata: Call, sandbox: Sandbox) -> None:
    kantata("POST", "/roles", {"role": {"name": "a"}})
    kantata("POST", "/roles", {"role": {"name": ""}})
    sandbox.add("kantata", "roles", {"name": "b"})
    first, second = sandbox.journal("kantata")
    assert (first.object, first.op, first.body, first.system) == ("roles", "create", {"name": "a"}, "kantata")
    assert first.headers is not None and second.headers is None and first.seq < second.seq


def test_the_fault_hook_stands_between_wire_and_fake(kantata: Call, sandbox: Sandbox) -> None:
    def lose_the_answer(request: Request, handle: Handle) -> Reply | None:
        handle(request)
        return None

    sandbox.servers["kantata"].faults = lose_the_answer
    with pytest.raises(urllib3.exceptions.HTTPError):
        kantata("POST", "/roles", {"role": {"name": "lost"}})
    sandbox.servers["kantata"].faults = lambda request, handle: Reply(503, {"errors": []})
    assert kantata("GET", "/roles")[0] == 503
    sandbox.servers["kantata"].faults = None
    assert [entry.body for entry in sandbox.journal("kantata")] == [{"name": "lost"}]


def test_the_clock_moves_and_stops(sandbox: Sandbox) -> None:
    sandbox.clock.stop()
    stamps = {sandbox.store.now() for _ in range(3)}
    for id in ("1", "2"):
        sandbox.set("kantata", "roles", id, {"name": "x"})
    assert len(stamps) == 1
    rows = [sandbox.get("kantata", "roles", id) for id in ("1", "2")]
    assert rows[0] and rows[1] and rows[0]["updated_at"] == rows[1]["updated_at"]
    sandbox.clock.move(3600)
    assert sandbox.store.now() > max(stamps)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-11-01T08:00:00.000+0000", "2026-11-01T08:00:00.000Z"),
        ("2026-11-01T08:00:00Z", "2026-11-01T08:00:00.000Z"),
        ("2026-11-01T01:00:00-07:00", "2026-11-01T08:00:00.000Z"),
        ("2026-11-01 08:00:00", "2026-11-01T08:00:00.000Z"),
        ("2026-11-01T08:00:00.123456+00:00", "2026-11-01T08:00:00.123Z"),
    ],
)
def test_instants_have_one_form(text: str, wanted: str) -> None:
    assert instant(text) == wanted


def test_a_folder_of_an_earlier_layout_is_taken_over(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "systems.db") as old:
        old.executescript("""
            CREATE TABLE docs (system TEXT, object TEXT, id TEXT, body BLOB, modified TEXT, deleted INTEGER DEFAULT 0,
              PRIMARY KEY (system, object, id));
            CREATE INDEX docs_modified ON docs (system, object, modified);
            CREATE TABLE journal (seq INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT, system TEXT, object TEXT, op TEXT, id TEXT, body BLOB);
            CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER);
        """)
        body = json.dumps(
            {
                "id": "7",
                "name": "Old",
                "company": True,
                "updated_at": "2026-10-01T09:00:00+00:00",
                "created_at": "2026-10-01T09:00:00+00:00",
            }
        )
        old.execute("INSERT INTO docs VALUES ('kantata', 'workspace_groups', '7', ?, '2020', 0)", (body,))
        old.execute("INSERT INTO journal VALUES (1, '2026', 'kantata', 'workspace_groups', 'create', '7', '{}')")
    old.close()
    with start(tmp_path) as box:
        assert [row["name"] for row in box.store.keyed("kantata", "workspace_groups", "name", "old")] == ["Old"]
        assert box.journal("kantata")[0].headers is None


def test_a_large_seed_is_streamed(tmp_path: Path) -> None:
    with start(tmp_path, size=4) as box:
        # 25 × 4 people, twice a day on 30 working days
        assert box.store.count("kantata", "time_entries") == 6000 and box.store.count("salesforce", "Account") == 160
