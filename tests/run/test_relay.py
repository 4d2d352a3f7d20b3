"""The relay: in order per record, at least once under one id, and one refused event holds its own record only."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.cli.main import main
from engine.run.relay import TRIES, relay, relay_all, relayed
from engine.sdk.cloudevents import CloudEvent, parse
from engine.sdk.connector import Connector, Outcome
from engine.sdk.errors import ConnectorError, Problem
from engine.spec.workspace import Workspace
from engine.state import outbox
from engine.state.crashpoints import around
from engine.state.store import Store
from tests.conftest import Make
from tests.run.test_sync import FILES, World, person

BUS = "connection:bus"


class Receiver:
    """An HTTP address that takes events, and answers as it is told."""

    def __init__(self) -> None:
        self.got: list[CloudEvent] = []
        self.answers: dict[str, list[int]] = {}
        """Subject or type → the next answers; 202 after them."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                (event,) = parse({name.lower(): value for name, value in self.headers.items()}, body)
                planned = outer.answers.get(str(event.subject)) or outer.answers.get(event.type) or []
                status = planned.pop(0) if planned else 202
                if status < 300:
                    outer.got.append(event)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/in"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


class Told(World):
    """A world whose events go to a receiver."""

    def __init__(self, folder: Path, receiver: Receiver, more: str = "") -> None:
        super().__init__(folder)
        path, line = folder / "crosswalk.yaml", f'events: [{{ to: bus, types: ["person.*"]{more} }}]\n'
        text = path.read_text().replace(
            "connections:\n", f'connections:\n  bus: {{ connector: cloudevents, url: "{receiver.url}", hosts: [127.0.0.1], backoff: 1ms..1ms }}\n'
        )  # fmt: skip
        path.write_text(text + line)
        self.receiver = receiver
        self.run("teams")

    def store(self) -> Store:
        return Store.open("sqlite:///.crosswalk/state.db", self.folder)

    def relay(self, **more: Any) -> int:
        store = self.store()
        try:
            return relay(Workspace.open(self.folder), store, BUS, **more)
        finally:
            store.close()

    def command(self, *words: str) -> Any:
        return CliRunner().invoke(main, [*words, "--workspace", str(self.folder)], standalone_mode=False)

    def told(self, *words: str) -> Any:
        return json.loads(self.command("events", *words, "--json").output)


@pytest.fixture
def world(make: Make, receiver: Receiver) -> Told:
    return Told(make(FILES), receiver)


def test_events_arrive_in_order_with_all_that_tells_them_apart(world: Told) -> None:
    world.put("people", [person("1", state="new"), person("2", state=None)])
    world.run()
    world.put("people", [person("1", "Eve", state="on", at="2026-02-01T00:00:00Z"), person("2", state=None)])
    world.run()
    assert world.relay() == 5
    first, *_ = world.receiver.got
    assert [one.type for one in world.receiver.got if one.subject == first.subject] == [
        "person.created.v1", "person.new.v1", "person.updated.v1", "person.on.v1",
    ]  # fmt: skip
    assert first.source == "/crosswalk/t" and first.correlation == first.subject and first.time is not None
    assert first.data["name"] == "Ada" and first.data["id"] == first.subject
    assert len({one.id for one in world.receiver.got}) == 5
    by_number = sorted(world.receiver.got, key=lambda one: str(one.extensions["sequence"]))
    assert [one.id for one in by_number if one.subject == first.subject] == [
        one.id for one in world.receiver.got if one.subject == first.subject
    ]
    assert world.relay() == 0


def test_what_a_schema_calls_sensitive_stays_here_without_clearance(make: Make, receiver: Receiver) -> None:
    files = {**FILES, "schemas/person.yaml": FILES["schemas/person.yaml"].replace(
        "pay: { type: number }", "pay: { type: number, x-sensitive: compensation }")}  # fmt: skip
    world = Told(make(files), receiver)
    world.put("people", [person("1", pay=5, state=None)])
    world.run()
    world.relay()
    assert "pay" not in receiver.got[0].data and receiver.got[0].data["name"] == "Ada"
    shown = world.told("show", receiver.got[0].id)["event"]
    assert "pay" not in shown["data"]
    world.edit("crosswalk.yaml", "types:", "clearance: [compensation], types:")
    world.put("people", [person("1", pay=6, state=None, at="2026-02-01T00:00:00Z")])
    world.run()
    world.relay()
    assert receiver.got[1].data["pay"] == 6


@pytest.mark.parametrize("point", around(("publish",)) + around(("relay",), "commit:"))
def test_whoever_dies_between_sending_and_marking_sends_it_again_under_its_id(world: Told, point: str) -> None:
    world.put("people", [person("1"), person("2")])
    world.run()
    store = world.store()

    def die(name: str) -> None:
        if name == point:
            raise KeyboardInterrupt

    store.crashpoint = die
    with pytest.raises(KeyboardInterrupt):
        relay(Workspace.open(world.folder), store, BUS)
    store.close()
    world.relay()
    with world.store().read() as tx:
        ids = [row[0] for row in tx.rows("SELECT id FROM events ORDER BY seq")]
    seen = [one.id for one in world.receiver.got]
    assert set(seen) == set(ids), "none is lost"
    first_time = list(dict.fromkeys(seen))
    for subject in {one.subject for one in world.receiver.got}:
        mine = [one for one in first_time if next(e for e in world.receiver.got if e.id == one).subject == subject]
        assert mine == [one for one in ids if one in mine], "in the order in which they happened"


def test_a_refused_event_holds_its_own_record_and_is_seen_until_somebody_decides(world: Told) -> None:
    world.put("people", [person("1", state=None), person("2", state=None)])
    world.receiver.answers["person.created.v1"] = [400]
    world.run()
    world.relay()
    world.put("people", [person(one, "Eve", state=None, at="2026-02-01T00:00:00Z") for one in ("1", "2")])
    world.run()
    world.relay()
    (refused,) = world.told("list", "--state", "refused")["events"]
    assert refused["attempts"] == 1 and "C556" in refused["error"] and "400" in refused["error"]
    assert {one.subject for one in world.receiver.got} == {one.subject for one in world.receiver.got} - {
        refused["record"]
    }
    assert [one.type for one in world.receiver.got] == ["person.created.v1", "person.updated.v1"]
    assert len(world.told("list")["events"]) == 2, "the refused one, and the one that waits behind it"
    assert "refused" in world.command("events", "list").output
    assert "is sent again to" in world.command("events", "retry", refused["id"]).output
    assert world.told("relay") == {"sent": {BUS: 2}}
    assert [one.type for one in world.receiver.got[2:]] == ["person.created.v1", "person.updated.v1"]
    assert "nothing waits" in world.command("events", "relay").output
    assert world.told("list")["events"] == []
    assert "delivered" in world.command("events", "show", refused["id"]).output


def test_a_dropped_event_lets_the_later_ones_go(world: Told) -> None:
    world.receiver.answers["person.created.v1"] = [400]
    world.put("people", [person("1", state="new")])
    world.run()
    world.relay()
    (refused,) = world.told("list", "--state", "refused")["events"]
    world.command("events", "drop", refused["id"], "--because", "the receiver has it")
    world.relay()
    assert [one.type for one in world.receiver.got] == ["person.new.v1"]


def test_a_destination_out_of_reach_keeps_everything_and_counts_no_try(world: Told) -> None:
    world.put("people", [person("1"), person("2")])
    world.run()
    world.edit("crosswalk.yaml", world.receiver.url, "http://127.0.0.1:9/in")
    store = world.store()
    sent, again = relayed(Workspace.open(world.folder), store, BUS)
    assert sent == 0 and again is not None
    with store.read() as tx:
        assert {(one.state, one.attempts) for one in outbox.listed(tx)} == {("ready", 0)}
        assert "C510" in str(outbox.listed(tx)[-1].error)
    with store.begin() as tx:
        tx.run("UPDATE event_deliveries SET due = ''")
    store.close()
    world.edit("crosswalk.yaml", "http://127.0.0.1:9/in", world.receiver.url)
    assert world.relay() == 4


def test_an_event_that_is_never_taken_is_given_up_in_the_end(world: Told) -> None:
    world.put("people", [person("1", state=None)])
    world.run()
    world.receiver.answers["person.created.v1"] = [500] * 50
    with world.store().begin() as tx:
        tx.run("UPDATE event_deliveries SET attempts = ?", (TRIES - 1,))
    world.relay()
    (refused,) = world.told("list", "--state", "refused")["events"]
    assert f"after {TRIES} tries" in refused["error"]


def test_an_event_starts_a_flow_for_its_records(world: Told) -> None:
    copy = (world.folder / "flows/people.yaml").read_text().replace("flow: people", "flow: copy")
    (world.folder / "flows/copy.yaml").write_text(copy.replace("entity:", "trigger: [{ event: person.on }]\nentity:"))
    world.put("people", [person("1"), person("2")])
    world.run()
    store = world.store()
    assert relay_all(Workspace.open(world.folder), store) == {BUS: 4, "flow:copy": 2}
    with store.read() as tx:
        ((payload,),) = tx.rows("SELECT payload FROM units WHERE kind = 'flow'")
    store.close()
    told = json.loads(bytes(payload))
    assert told["trigger"] == "event person.on.v1" and len(told["records"]) == 2 and "correlation" not in told


class Flaky(Connector[Any]):
    """Answers as a list says; keeps what it took."""

    name = "flaky"

    def __init__(self, script: list[str]) -> None:
        self.script, self.got = script, []  # type: ignore[var-annotated]
        self.config = type("C", (), {"backoff": type("B", (), {"shortest": _zero(), "longest": _zero()})})()

    check = objects = describe = read = find = write = lambda *_: None  # type: ignore[assignment]

    def publish(self, topic: str, events: Any) -> list[Outcome]:
        if self.script and self.script[0] == "raise":
            self.script.pop(0)
            raise ConnectorError("unreachable", Problem("C555", "it is away"))
        outcomes = []
        for event in events:
            state = self.script.pop(0) if self.script else "created"
            state = "retry" if state == "raise" else state
            if state in ("created", "in_doubt"):
                self.got.append((event.subject, event.id))
            outcomes.append(Outcome(event.id, state, problem=Problem("C556", state)))  # type: ignore[arg-type]
        return outcomes


def _zero() -> Any:
    from datetime import timedelta

    return timedelta(0)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keys=st.lists(st.sampled_from("abc"), min_size=1, max_size=12),
    script=st.lists(st.sampled_from(["created", "retry", "in_doubt", "raise", "created"]), max_size=20),
)
def test_law_whatever_fails_the_order_of_each_record_stands_and_nothing_is_lost(
    tmp_path_factory: Any, keys: list[str], script: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("law")
    (folder / "crosswalk.yaml").write_text("crosswalk: 1\nname: t\nconnections: { bus: { connector: files } }\n")
    store, workspace = Store.open("sqlite:///s.db", folder), Workspace.open(folder)
    flaky = Flaky(list(script))
    workspace.connector = lambda *_, **__: flaky  # type: ignore[method-assign]
    with store.begin() as tx:
        outbox.put(tx, [outbox.Fresh("p.x.v1", "p", key, key, b"{}", None, "/", ((BUS, ""),), f"{key}{number}")
                        for number, key in enumerate(keys)])  # fmt: skip
    for _ in range(len(script) + 2):
        relay(workspace, store, BUS)
        with store.begin() as tx:
            tx.run("UPDATE event_deliveries SET due = ''")
    with store.read() as tx:
        assert outbox.listed(tx) == [], "all are delivered"
    store.close()
    for key in set(keys):
        seen = list(dict.fromkeys(id for subject, id in flaky.got if subject == key))
        assert seen == [f"{key}{number}" for number, one in enumerate(keys) if one == key]
