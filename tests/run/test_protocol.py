"""The write protocol under races, late commits, lost leases and vanished records; the target's own list is the oracle."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.sandbox.server import Reply, Request
from engine.run.journal import intend
from engine.run.runner import Runner
from engine.run.session import Options
from engine.spec.workspace import Workspace
from engine.state import leases
from engine.state.store import Store
from tests.conftest import Make
from tests.run.folder import Folder
from tests.run.test_classes import FILES, Box, Line, box, line  # noqa: F401

Target = tuple[Box, str]


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSWALK_SECRET_BOX", "t")


def until_settled(world: Line, runs: int = 6, wait: float = 1.2) -> dict[str, Any]:
    """Runs until nothing waits any more; the last one."""
    for _ in range(runs):
        last = world.run()
        if last["waiting"] == 0:
            return last
        time.sleep(wait)
    raise AssertionError(f"still waiting: {world.open()}")


def second_flow(world: Line) -> None:
    text = FILES["flows/things.yaml"].replace("flow: things", "flow: other")
    (world.folder / "flows/other.yaml").write_text(text)


def run(world: Line, flow: str, crashpoint: Any = None, hold: dict[str, Any] | None = None) -> dict[str, Any]:
    store = Store.open("sqlite:///.crosswalk/state.db", world.folder)
    if crashpoint is not None:
        store.crashpoint = crashpoint
    try:
        result = Runner(Workspace.open(world.folder), store).run(flow, Options(full=True)).run
        if hold is not None:
            hold.update(result)
        return result
    finally:
        store.close()


def test_two_flows_that_create_one_record_at_once_make_one(make: Make, box: Target) -> None:  # noqa: F811
    held, url = box
    world = line(make, url, "C")
    world.give(["n0", "n1"])
    second_flow(world)
    settings = world.folder / "crosswalk.yaml"
    settings.write_text(settings.read_text().replace("timeout: 500ms", "timeout: 20s"))
    first: dict[str, Any] = {}
    sending, go = threading.Event(), threading.Event()

    def wait(name: str) -> None:
        if name == "before send":
            sending.set()
            assert go.wait(20)

    thread = threading.Thread(target=run, args=(world, "things", wait, first))
    thread.start()
    assert sending.wait(20)
    other = run(world, "other")
    assert (other["created"], other["waiting"]) == (0, 2), "the other's write has no known end yet"
    go.set()
    thread.join()
    assert first["created"] == 2
    last = run(world, "other")
    assert (last["created"], last["waiting"], last["unchanged"]) == (0, 0, 2)
    assert held.creates == Counter({"n0": 1, "n1": 1}) and world.open() == []


def test_a_record_that_another_flow_made_between_diff_and_intent_is_no_create_any_more(
    make: Make,
    box: Target,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held, url = box
    world = line(make, url, "C")
    world.give(["n0"])
    second_flow(world)
    done = False

    def before_intent(*given: Any, **more: Any) -> Any:
        nonlocal done
        if not done:
            done = True
            assert run(world, "other")["created"] == 1
        return intend(*given, **more)

    monkeypatch.setattr("engine.run.deliver.intend", before_intent)
    result = run(world, "things")
    assert done and (result["created"], result["waiting"], result["quarantined"]) == (0, 0, 0)
    assert held.creates == Counter({"n0": 1}) and world.open() == []


@pytest.mark.parametrize("kind", ["A", "B", "C", "D"])
def test_an_update_without_an_answer_leaves_no_field_unknown(make: Make, box: Target, kind: str) -> None:  # noqa: F811
    """A → B in doubt → the source goes back to A: the target must end with A, whatever became of B."""
    held, url = box
    world = line(make, url, kind)
    world.give(["a"])
    assert world.run()["created"] == 1
    held.lose = lambda call: "after"
    world.give(["b"])
    assert world.run()["waiting"] == 1
    held.lose = lambda call: None
    world.give(["a"])
    until_settled(world)
    assert [one["name"] for one in held.items.values()] == ["a"] and world.open() == []


def test_after_a_crash_between_send_and_commit_the_fields_of_an_update_are_unknown(make: Make, box: Target) -> None:  # noqa: F811
    held, url = box
    world = line(make, url, "C")
    world.give(["a"])
    world.run()
    world.give(["b"])

    def die(name: str) -> None:
        if name == "after send":
            raise SystemExit("killed")

    with pytest.raises(SystemExit):
        run(world, "things", die)
    assert held.items["1"]["name"] == "b"
    world.give(["a"])
    until_settled(world)
    assert held.items["1"]["name"] == "a" and world.open() == []


def test_an_old_body_that_arrives_late_does_not_stay_over_a_newer_one(make: Make, box: Target) -> None:  # noqa: F811
    """Class A: the write without an answer is applied 0.7 s later; the next body waits the doubt out."""
    held, url = box
    world = line(make, url, "A")
    world.give(["old"])
    ref: list[Any] = []

    def late(call: int) -> str:
        ref.append(call)
        return "before"

    held.lose = late
    assert world.run()["waiting"] == 1
    mark = world.open()[0].canonical_id
    timer = threading.Timer(0.7, lambda: held.write("PUT", f"/items/by-ref/{mark}", {}, b'{"name": "old"}'))
    timer.start()
    held.lose = lambda call: None
    world.give(["new"])
    assert world.run()["waiting"] == 1, "another body waits until the doubt is over"
    until_settled(world)
    timer.join()
    assert [one["name"] for one in held.items.values()] == ["new"] and world.open() == []


def test_the_same_body_need_not_wait(make: Make, box: Target) -> None:  # noqa: F811
    held, url = box
    world = line(make, url, "A")
    held.lose = lambda call: "after" if call % 2 else None
    assert world.run()["waiting"] == 15
    held.lose = lambda call: None
    assert world.run()["waiting"] == 0
    assert max(held.creates.values()) == 1


@pytest.mark.parametrize("at", ["after read", "after send"])
def test_a_frozen_run_neither_sends_nor_commits_once_another_took_over(make: Make, box: Target, at: str) -> None:  # noqa: F811
    held, url = box
    world = line(make, url, "C")
    world.give(["n0", "n1"])
    stolen = False

    def freeze(name: str) -> None:
        nonlocal stolen
        if name == at and not stolen:
            stolen = True
            other = Store.open("sqlite:///.crosswalk/state.db", world.folder)
            with other.begin() as tx:
                tx.run("UPDATE leases SET expires_at = '' WHERE name = 'flow:things'")
                assert leases.claim(tx, "flow:things", "elsewhere:1") is not None
                tx.run("UPDATE leases SET expires_at = ''")
            other.close()

    result = run(world, "things", freeze)
    assert result["state"] == "failed" and result["error"]["code"] == "R604"
    assert held.calls == (0 if at == "after read" else 2)
    last = until_settled(world)
    assert last["created"] == (2 if at == "after read" else 0), "what it had sent is known all the same"
    assert held.creates == Counter({"n0": 1, "n1": 1}) and world.open() == []


def test_a_create_found_several_times_is_for_a_person(make: Make, box: Target) -> None:  # noqa: F811
    held, url = box
    world = line(make, url, "C")
    world.give(["n0"])
    held.lose = lambda call: "after"
    world.run()
    held.lose = lambda call: None
    held.create(dict(held.items["1"]))
    time.sleep(2.2)
    assert world.run()["quarantined"] == 1
    (told,) = world.open()
    assert (told.code, told.exception_class) == ("E457", "ambiguous_match") and "2 of it: 1, 2" in told.message
    del held.items["2"]
    added = world.command("links", "add", "thing", "items", "box:1", str(told.canonical_id))
    assert added.returncode == 0, added.stderr
    assert until_settled(world)["quarantined"] == 0 and world.open() == []


def test_without_a_mark_a_lost_create_is_searched_by_the_match_fields(make: Make, box: Target) -> None:  # noqa: F811
    held, url = box
    world = line(make, url, "C")
    manifest = world.folder / "connectors/box.yaml"
    manifest.write_text(
        manifest.read_text().replace("    marker: ref\n", "").replace("ref: { param: ref }", "name: { param: name }")
    )
    flow = world.folder / "flows/things.yaml"
    flow.write_text(flow.read_text().replace("match: []", "match: [[name]]"))
    by_name = held.handle

    def handle(request: Request) -> Reply | None:
        wanted = request.query.get("name")
        if request.method == "GET" and wanted:
            return Reply(200, {"items": [one for one in held.items.values() if one["name"] == wanted]})
        return by_name(request)

    held.handle = handle  # type: ignore[method-assign]
    hidden = held.items
    held.lose = lambda call: ["after", "before", None][call % 3]
    world.run()
    held.lose = lambda call: None
    assert 0 < len(hidden) < 30
    until_settled(world, wait=2.2)
    assert held.creates == Counter({f"n{n}": 1 for n in range(30)}) and world.open() == []


def test_where_neither_mark_nor_match_finds_it_a_person_decides(make: Make, box: Target) -> None:  # noqa: F811
    held, url = box
    world = line(make, url, "C")
    manifest = world.folder / "connectors/box.yaml"
    manifest.write_text(manifest.read_text().replace("    marker: ref\n", ""))
    world.give(["n0"])
    held.lose = lambda call: "after"
    assert world.run()["quarantined"] == 1
    (told,) = world.open()
    assert (told.code, told.state) == ("E455", "open")
    replayed = world.command("exceptions", "replay", told.id)
    assert replayed.returncode == 3 and sum(held.creates.values()) == 2, "sent again on a person's word alone"


def test_a_record_that_is_gone_is_made_again_only_on_a_person_s_word(make: Make, box: Target) -> None:  # noqa: F811
    held, url = box
    world = line(make, url, "C")
    world.give(["a"])
    world.run()
    real = held.write

    def write(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any]:
        if method == "PATCH" and path.rsplit("/", 1)[1] not in held.items:
            return 404, {"error": "gone"}
        return real(method, path, headers, body)

    held.write = write  # type: ignore[method-assign]
    held.items.clear()
    world.give(["b"])
    assert world.run()["quarantined"] == 1
    world.give(["c"])
    assert world.run()["quarantined"] == 1 and held.items == {}
    (told,) = world.open()
    assert told.code == "E452"
    replayed = world.command("exceptions", "replay", told.id)
    assert replayed.returncode == 0, replayed.stdout
    assert [one["name"] for one in held.items.values()] == ["c"] and world.open() == []
    world.give(["d"])
    assert world.run()["updated"] == 1 and [one["name"] for one in held.items.values()] == ["d"]


@pytest.fixture
def feed(make: Make, box: Target) -> Iterator[tuple[Box, Path]]:  # noqa: F811
    """A source with versions and a tombstone flag."""
    held, url = box
    world = line(make, url, "C")
    manifest = world.folder / "connectors/box.yaml"
    manifest.write_text(manifest.read_text() + '    delete: { delete: "/items/{id}" }\n')
    settings = world.folder / "crosswalk.yaml"
    settings.write_text(
        settings.read_text().replace(
            "format: ndjson }", "format: ndjson, objects: { things: { key: id, modified: at } } }"
        )
    )
    mapping = world.folder / "mappings/src/things.yaml"
    mapping.write_text(mapping.read_text() + 'deleted: { when: "gone" }\n')
    flow = world.folder / "flows/things.yaml"
    flow.write_text(flow.read_text().replace("mapping: src/things }", "mapping: src/things, deletes: tombstones }").replace(
        "match: [] }", "match: [], on_delete: delete }") .replace("errors: 100%", "errors: 100%, deletes: 100%"))  # fmt: skip
    real = held.write

    def write(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any]:
        if method == "DELETE":
            return (200, {}) if held.items.pop(path.rsplit("/", 1)[1], None) else (404, {"error": "gone"})
        return real(method, path, headers, body)

    held.write = write  # type: ignore[method-assign]
    yield held, world.folder


def put(folder: Path, at: int, name: str, *, gone: bool = False, full: bool = True) -> dict[str, Any]:
    row = {"id": "1", "name": name, "at": f"2026-01-01T00:00:{at:02}Z", "gone": gone}
    (folder / "data/things.ndjson").write_text(json.dumps(row) + "\n")
    store = Store.open("sqlite:///.crosswalk/state.db", folder)
    try:
        return Runner(Workspace.open(folder), store).run("things", Options(full=full)).run
    finally:
        store.close()


def test_a_tombstone_stops_a_late_event_and_a_newer_version_clears_it(feed: tuple[Box, Path]) -> None:
    held, folder = feed
    assert put(folder, 10, "a")["created"] == 1
    assert put(folder, 20, "a", gone=True)["deleted"] == 1 and held.items == {}
    late = put(folder, 15, "late")
    assert (late["created"], late["skipped"]) == (0, 1) and held.items == {}
    again = put(folder, 30, "b")
    assert again["created"] == 1 and [one["name"] for one in held.items.values()] == ["b"]


def test_a_delete_that_did_not_reach_its_target_is_tried_again(feed: tuple[Box, Path]) -> None:
    held, folder = feed
    put(folder, 10, "a")
    held.lose = lambda call: "before"
    assert put(folder, 20, "a", gone=True)["waiting"] == 1 and len(held.items) == 1
    held.lose = lambda call: None
    (folder / "data/things.ndjson").write_text("")
    for _ in range(4):
        store = Store.open("sqlite:///.crosswalk/state.db", folder)
        last = Runner(Workspace.open(folder), store).run("things", Options()).run
        store.close()
        if last["waiting"] == 0 and not held.items:
            break
        time.sleep(1.2)
    assert held.items == {}


def test_a_delete_that_was_made_before_its_answer_was_lost_is_success(feed: tuple[Box, Path]) -> None:
    held, folder = feed
    put(folder, 10, "a")
    held.lose = lambda call: "after"
    put(folder, 20, "a", gone=True)
    held.lose = lambda call: None
    for _ in range(4):
        last = put(folder, 20, "a", gone=True)
        if last["waiting"] == 0:
            break
        time.sleep(1.2)
    assert last["waiting"] == last["quarantined"] == 0 and held.items == {}


def test_an_update_in_doubt_goes_again_though_the_source_does_not_give_its_record_again(feed: tuple[Box, Path]) -> None:
    held, folder = feed
    put(folder, 10, "a", full=False)
    held.lose = lambda call: "before"
    assert put(folder, 20, "b", full=False)["waiting"] == 1
    held.lose = lambda call: None
    (folder / "data/things.ndjson").write_text("")
    for _ in range(5):
        store = Store.open("sqlite:///.crosswalk/state.db", folder)
        last = Runner(Workspace.open(folder), store).run("things", Options()).run
        store.close()
        if last["waiting"] == 0:
            break
        time.sleep(0.6)
    assert last["updated"] == 1 and held.items["1"]["name"] == "b"


@pytest.mark.parametrize("how", ["sweep", "refused"])
def test_a_record_that_is_simply_gone_is_deleted_though_the_first_try_failed(feed: tuple[Box, Path], how: str) -> None:
    """What is missing from a sweep has no content to keep; its delete is tried again all the same."""
    held, folder = feed
    flow = folder / "flows/things.yaml"
    flow.write_text(
        flow.read_text().replace("deletes: tombstones", "deletes: sweep, incremental: none") + "  empty_source: go\n"
    )
    flow.write_text(
        flow.read_text().replace(
            "guard: { errors: 100%, deletes: 100% }\n  empty_source: go\n",
            "guard: { errors: 100%, deletes: 100%, empty_source: ignore }\n",
        )
    )
    rows = [{"id": str(n), "name": f"n{n}", "at": "2026-01-01T00:00:00Z"} for n in range(2)]

    def give(*some: dict[str, Any]) -> dict[str, Any]:
        (folder / "data/things.ndjson").write_text("".join(json.dumps(row) + "\n" for row in some))
        store = Store.open("sqlite:///.crosswalk/state.db", folder)
        try:
            return Runner(Workspace.open(folder), store).run("things", Options()).run
        finally:
            store.close()

    assert give(*rows)["created"] == 2
    real = held.write
    if how == "sweep":
        held.lose = lambda call: "before"
    else:
        held.write = lambda *given: (422, {"error": "locked"})  # type: ignore[method-assign]
    first = give(rows[0])
    assert first["deleted"] == 0 and len(held.items) == 2
    held.lose, held.write = lambda call: None, real  # type: ignore[method-assign]
    if how == "refused":
        (told,) = Folder(folder).open()
        crosswalk = Path(sys.executable).parent / "crosswalk"
        subprocess.run([crosswalk, "exceptions", "replay", told.id], cwd=folder, check=True, capture_output=True)
    for _ in range(5):
        if len(held.items) == 1:
            break
        give(rows[0])
        time.sleep(0.6)
    assert [one["name"] for one in held.items.values()] == ["n0"]


def test_a_conditional_update_that_met_another_version_is_compared_anew(make: Make, box: Target) -> None:  # noqa: F811
    held, url = box
    world = line(make, url, "C")
    manifest = world.folder / "connectors/box.yaml"
    manifest.write_text(manifest.read_text().replace('body: "@changes" }', 'body: "@changes", if_match: etag }'))
    world.give(["a"])
    world.run()
    real, refused = held.write, []

    def write(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any]:
        if method == "PATCH" and not refused:
            refused.append(headers.get("If-Match"))
            held.items["1"]["other"] = "by a person"
            return 412, {"error": "changed"}
        return real(method, path, headers, body)

    held.write = write  # type: ignore[method-assign]
    world.give(["b"])
    last = world.run()
    assert refused and (last["updated"], last["waiting"]) == (1, 0)
    assert held.items["1"] | {"ref": ""} == {"id": "1", "name": "b", "other": "by a person", "ref": ""}
    assert world.open() == []
