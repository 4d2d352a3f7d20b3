"""Faults of the fakes: each does what it says, the same seed makes the same ones, and each is journaled."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import ValidationError

from connectors.sandbox import Sandbox, start
from connectors.sandbox.faults import deliveries, rules_of
from tests.conftest import Make


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with start(systems=("kantata", "netsuite", "salesforce")) as running:
        yield running


def call(sandbox: Sandbox, method: str, path: str, body: Any = None, system: str = "kantata") -> tuple[int, Any, Any]:
    """(status, body, headers); status 0 where the connection was cut."""
    url = urlsplit(sandbox.url(system))
    line = http.client.HTTPConnection(str(url.hostname), url.port, timeout=5)
    try:
        token = {"Authorization": "Bearer sandbox-kantata-token"}
        line.request(method, f"/api/v1{path}", json.dumps(body) if body is not None else None, token)
        reply = line.getresponse()
        data = reply.read()
        return reply.status, json.loads(data) if "json" in str(reply.getheader("Content-Type")) else data, reply.headers
    except http.client.RemoteDisconnected:
        return 0, None, None
    finally:
        line.close()


def group(sandbox: Sandbox, name: str) -> int:
    return call(sandbox, "POST", "/workspace_groups", {"workspace_group": {"name": name, "company": True}})[0]


def names(sandbox: Sandbox) -> list[str]:
    entries = [one for one in sandbox.journal("kantata") if (one.object, one.op) == ("workspace_groups", "create")]
    return [one.body["name"] for one in entries]


def test_a_cut_before_leaves_nothing_and_one_after_leaves_the_record(sandbox: Sandbox) -> None:
    sandbox.inject(
        [{"do": "cut", "method": "POST", "nth": 1}, {"do": "cut", "method": "POST", "nth": 1, "when": "after"}]
    )
    assert [group(sandbox, name) for name in ("one", "two", "three")] == [0, 0, 200]
    assert names(sandbox) == ["two", "three"]
    assert [(one.system, one.method, one.what) for one in sandbox.faults()] == [
        ("kantata", "POST", "cut before"), ("kantata", "POST", "cut after")]  # fmt: skip


def test_errors_before_and_after_and_busy_with_and_without_a_wait(sandbox: Sandbox) -> None:
    sandbox.inject([
        {"do": "error", "status": 502, "method": "POST", "nth": 1},
        {"do": "error", "status": 500, "when": "after", "method": "POST", "nth": 1},
        {"do": "busy", "nth": [1], "wait": "2s"},
        {"do": "busy", "nth": 1},
    ])  # fmt: skip
    assert [group(sandbox, name) for name in ("one", "two")] == [502, 500]
    assert names(sandbox) == ["two"]
    status, body, headers = call(sandbox, "GET", "/workspace_groups")
    assert (status, headers["Retry-After"], body["errors"][0]["type"]) == (429, "2", "system")
    status, _, headers = call(sandbox, "GET", "/workspace_groups")
    assert (status, headers["Retry-After"]) == (429, None)
    assert call(sandbox, "GET", "/workspace_groups")[0] == 200


@pytest.mark.parametrize(("system", "status"), [("salesforce", 403), ("netsuite", 429)])
def test_busy_is_said_in_the_systems_own_words(sandbox: Sandbox, system: str, status: int) -> None:
    sandbox.inject([{"do": "busy", "system": system}])
    got, body, _ = call(sandbox, "GET", "/anything", system=system)
    assert got == status and "LIMIT_EXCEEDED" in json.dumps(body)


def test_a_stale_read_does_not_see_the_last_writes_and_a_later_one_does(sandbox: Sandbox) -> None:
    sandbox.inject([{"do": "stale", "seconds": "1h", "times": 3}])
    assert group(sandbox, "fresh") == 200
    id = next(one["id"] for one in sandbox.all("kantata", "workspace_groups") if one["name"] == "fresh")
    other = next(one for one in sandbox.all("kantata", "workspace_groups") if one["name"] != "fresh")
    sandbox.set("kantata", "workspace_groups", other["id"], {"name": "renamed"})
    listed = call(sandbox, "GET", "/workspace_groups?per_page=200")[1]["workspace_groups"]
    assert id not in listed and listed[other["id"]]["name"] == other["name"]
    assert call(sandbox, "GET", "/workspace_groups?name=fresh")[1]["count"] == 0
    assert call(sandbox, "GET", "/workspace_groups?name=renamed")[1]["count"] == 0
    listed = call(sandbox, "GET", "/workspace_groups?per_page=200")[1]["workspace_groups"]
    assert listed[id]["name"] == "fresh" and listed[other["id"]]["name"] == "renamed"


def test_tokens_end_in_the_middle_of_a_read(sandbox: Sandbox) -> None:
    sandbox.inject([{"do": "expire", "path": "*/time_entries", "nth": 2}])
    pages = [call(sandbox, "GET", f"/time_entries?per_page=20&page={page}")[0] for page in (1, 2, 3)]
    assert pages == [200, 401, 200]


def test_rows_shift_between_pages_and_keep_their_content(sandbox: Sandbox) -> None:
    def page(number: int) -> list[str]:
        found = call(sandbox, "GET", f"/users?order=updated_at:asc&per_page=3&page={number}")[1]
        return [one["id"] for one in found["results"]]

    whole = page(1) + page(2)
    before = sandbox.get("kantata", "users", whole[0])
    sandbox.inject([{"do": "shift", "object": "users", "path": "*/users", "nth": 2}])
    first, second = page(1), page(2)
    assert first == whole[:3] and second[0] == whole[4], "the fourth row was never shown"
    after = sandbox.get("kantata", "users", whole[0])
    assert after is not None and before is not None
    assert {**after, "updated_at": ""} == {**before, "updated_at": ""}


def test_lists_are_cut_short_and_results_of_a_batch_are_missing_or_turned_round(sandbox: Sandbox) -> None:
    rows = {"workspace_groups": [{"name": name, "company": True} for name in ("a", "b", "c")]}
    whole = call(sandbox, "POST", "/workspace_groups", rows)[1]["results"]
    assert len(whole) == 3
    sandbox.inject([
        {"do": "cap", "rows": 2, "path": "*/users"}, {"do": "partial", "rows": 1, "times": 1}, {"do": "reorder", "times": 1},
    ])  # fmt: skip
    capped = call(sandbox, "GET", "/users")[1]
    assert len(capped["results"]) == 2 and capped["count"] > 2, "as a system that does not tell"
    assert len(call(sandbox, "POST", "/workspace_groups", rows)[1]["results"]) == 2
    turned = [int(one["id"]) for one in call(sandbox, "POST", "/workspace_groups", rows)[1]["results"]]
    assert turned == sorted(turned, reverse=True)
    assert names(sandbox).count("c") == 3, "every row was made all the same"


def test_the_same_seed_makes_the_same_faults_in_whatever_order_requests_come(sandbox: Sandbox) -> None:
    def made(seed: int, order: list[str]) -> dict[str, int]:
        sandbox.reset()
        sandbox.inject([{"do": "any", "chance": "40%", "method": "POST"}], seed)
        return {name: group(sandbox, name) for name in order}

    order = [f"n{number}" for number in range(30)]
    first = made(7, order)
    assert made(7, order[::-1]) == first
    assert made(8, order) != first
    assert len(sandbox.faults()) > 5 and len(set(first.values())) > 2
    sandbox.inject([])
    assert group(sandbox, "after") == 200


def test_a_script_is_checked_before_it_begins(sandbox: Sandbox) -> None:
    with pytest.raises(ValidationError, match="do"):
        sandbox.inject([{"do": "explode"}])
    with pytest.raises(ValidationError, match="chance"):
        rules_of([{"do": "cut", "chance": "often"}])


def test_the_command_serves_systems_that_fail_by_a_script(make: Make) -> None:
    files = {"crosswalk.yaml": "crosswalk: 1\nname: t\n", "f.yaml": "- { do: busy, chance: 100% }\n- { do: stael }\n"}
    folder = make(files)

    def said(*words: str) -> subprocess.CompletedProcess[str]:
        crosswalk = Path(sys.executable).parent / "crosswalk"
        return subprocess.run(
            [crosswalk, "sandbox", "start", "--faults", *words], cwd=folder, capture_output=True, text=True
        )

    done = said("f.yaml")
    assert done.returncode == 2 and "f.yaml:2:9 `do` cannot have that value — write one of busy" in done.stderr
    (folder / "f.yaml").write_text("do: busy\n")
    assert "a script of faults is a list" in said("f.yaml").stderr
    (folder / "f.yaml").write_text("- { do: busy, chance: 100% }\n")
    crosswalk = Path(sys.executable).parent / "crosswalk"
    words = [crosswalk, "sandbox", "start", "--faults", "f.yaml", "--seed", "3", "--for", "20", "--json"]
    serving = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        assert serving.stdout is not None
        url = json.loads(serving.stdout.readline())["sandbox"]["kantata"]["url"]
        with pytest.raises(urllib.error.HTTPError, match="429"):
            urllib.request.urlopen(f"{url}/api/v1/users", timeout=5)
    finally:
        serving.terminate()
        serving.communicate()


def test_webhooks_arrive_twice_late_or_never() -> None:
    events = list(range(200))
    assert list(deliveries(events, 1, again=0, late=0)) == events
    arrived = list(deliveries(events, 3, again=0.2, lost=0.1, late=5))
    assert arrived == list(deliveries(events, 3, again=0.2, lost=0.1, late=5))
    assert (
        len(set(arrived)) < 200 < len(arrived) + 40 and len(arrived) > len(set(arrived)) and arrived != sorted(arrived)
    )
    assert all(abs(place - len([e for e in arrived if e < event])) < 12 for place, event in enumerate(arrived))
