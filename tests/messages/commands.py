"""Cases of runs (R6), the state (S7) and commands called wrongly (X9)."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from typing import Any
from unittest.mock import patch

import pytest

from engine.run.runner import STOPPED
from engine.sdk.errors import Problem
from engine.state import leases, runs
from engine.state.store import StaleState, Store
from tests.messages.case import CROSSWALK, Place, case
from tests.messages.records import ADA, Line
from tests.run.reconcile_world import Systems, bill, invoice

EMPTY = {"crosswalk.yaml": "crosswalk: 1\nname: t\n"}


def _store(place: Place) -> Store:
    return Store.open("sqlite:///.crosswalk/state.db", place.folder)


@case("R602")
def the_process_died(place: Place) -> str:
    line = Line(place, "name: name").put(ADA)
    store = _store(place)
    with store.begin("died") as tx:
        run = runs.start(tx, "people", "sync", "command", {}, "bulk")
    store.close()
    line.run()
    error = line.place.told("runs", "show", run)["run"]["error"]
    return f"{error['code']} {error['message']}"


@case("R603")
def stopped(place: Place) -> Problem:
    return STOPPED


@case("R604")
def taken_over(place: Place) -> str:
    line = Line(place, "name: name").put(ADA)
    with patch("engine.run.journal.leases.held", lambda tx, lease: False):
        line.run()
    (run,) = line.place.told("runs", "list")["runs"]
    return f"{run['error']['code']} {run['error']['message']}"


@case("R605")
def changed_at_this_moment(place: Place) -> Problem:
    from engine.state import canonical, relinks

    changes = [canonical.Change("a", 1, b"{}", b"{}")]
    store = _store(Line(place, "name: name").place)
    with pytest.raises(StaleState) as caught, store.begin() as tx:
        relinks.put(tx, "person", changes, "merge")
    return caught.value.problem


@case("R606")
def a_run_is_going_on(place: Place) -> str:
    line = Line(place, "name: name").put(ADA)
    line.run()
    with _store(place).begin("held") as tx:
        leases.claim(tx, "flow:people")
    return place.command("links", "remap", "src", "people", _csv(place, "old,new\n1,2\n"))


def _csv(place: Place, text: str) -> str:
    place.write({"ids.csv": text})
    return "ids.csv"


@case("R610")
def held(place: Place) -> str:
    line = Line(place, "name: name", flow="targets: []\nguard: { errors: 5% }\n")
    path = place.folder / "flows/people.yaml"
    path.write_text(path.read_text().replace("guard: { errors: 100% }\n", ""))
    line.put({**ADA, "name": ""})
    done = subprocess.run([CROSSWALK, "run", "people"], cwd=place.folder, capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    number = next(number for number, line in enumerate(lines) if "held:" in line)
    return f"{lines[number].strip().replace('held:', 'R610')} — {lines[number + 1].strip()}"


@case("S700")
def not_a_database_url(place: Place) -> Any:
    return Store.open("state.db", place.folder)


@case("S701")
def no_driver(place: Place) -> Any:
    with patch.dict("sys.modules", {"psycopg": None}):
        return Store.open("postgresql+psycopg://127.0.0.1/x", place.folder)


def _version(place: Place, version: str) -> None:
    _store(place).close()
    with sqlite3.connect(place.folder / ".crosswalk/state.db") as db:
        db.execute("update alembic_version set version_num = ?", (version,))
    db.close()


@case("S702")
def made_by_a_newer_version(place: Place) -> str:
    place.write(EMPTY)
    _version(place, "9999")
    return place.command("runs", "list")


@case("S703")
def must_be_upgraded(place: Place) -> Any:
    _version(place, "0001")
    with patch("engine.state.migrations._known", lambda: ["0001", "0002"]):
        return _store(place)


@case("S704")
def state_that_fails(place: Place) -> Any:
    store = _store(place)
    try:
        with store.begin() as tx:
            tx.run("PRAGMA query_only = on")
            runs.save_cursor(tx, "people", "2026", 0)
    finally:
        store.close()


@case("S705")
def cursor_moved(place: Place) -> Any:
    store = _store(place)
    try:
        with store.begin("cursor") as tx:
            runs.save_cursor(tx, "people", "2026", 0)
            runs.save_cursor(tx, "people", "2027", 7)
    finally:
        store.close()


@case("S706")
def backup_of_postgresql(place: Place) -> Any:
    from engine.state.care import backup

    store = _store(place)
    store.sqlite = False
    try:
        return backup(store, place.folder / "copy.db")
    finally:
        store.close()


@case("X900")
def no_such_option(place: Place) -> str:
    return place.command("run", "--ful")


@case("X901")
def no_workspace(place: Place) -> str:
    return place.command("validate")


@case("X902")
def no_such_environment(place: Place) -> str:
    place.write({"crosswalk.yaml": "crosswalk: 1\nname: t\nenvironments: { test: {} }\n"})
    return place.command("validate", "--env", "tset")


@case("X903")
def not_a_plan(place: Place) -> str:
    place.write(EMPTY)
    return place.command("run", "--plan", "crosswalk.yaml")


@case("X904")
def logic_changed_since_the_plan(place: Place) -> str:
    Line(place, "name: name").put(ADA)
    place.command("plan", "people", "--save", "p.plan")
    path = place.folder / "mappings/src/people.yaml"
    path.write_text(path.read_text() + "  code: code\n")
    answer = place.told("run", "people", "--plan", "p.plan")
    error = answer["runs"][0]["error"]
    return f"{error['code']} {error['at']} {error['message']}"


@case("X905")
def stopped_at_once(place: Place) -> str:
    place.write(EMPTY)
    process = subprocess.Popen([CROSSWALK, "sandbox", "start"], cwd=place.folder, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(2)
    return process.communicate(timeout=30)[1].strip()


@case("X906")
def no_such_run(place: Place) -> str:
    place.write(EMPTY)
    return place.command("runs", "show", "r-1")


@case("X907")
def not_held(place: Place) -> str:
    Line(place, "name: name").put(ADA)
    run = place.told("run", "people")["runs"][0]["run"]
    return place.command("runs", "resume", run)


@case("X908")
def no_such_record(place: Place) -> str:
    Line(place, "name: name")
    return place.command("trace", "src:77")


@case("X909")
def link_is_taken(place: Place) -> str:
    Line(place, "name: name").put(ADA)
    place.told("run", "people")
    return place.command("links", "add", "person", "people", "src:1", "0" * 32)


@case("X911")
def there_already(place: Place) -> str:
    place.write(EMPTY)
    return place.command("init")


@case("X912")
def sample_cannot_be_read(place: Place) -> str:
    Line(place, "name: name")
    place.write({"sample.json": "{name: Ada}"})
    return place.command("mapping", "preview", "src/people", "--file", "sample.json")


@case("X913")
def refused_by_the_system(place: Place) -> str:
    place.write({**EMPTY, "mappings": "a file where a folder should be\n"})
    return place.command("new", "table", "codes")


@case("X914")
def many_are_meant(place: Place) -> str:
    Line(place, "name: name").put({**ADA, "name": ""}, {**ADA, "id": "2", "name": ""}).run()
    return place.command("exceptions", "discard", "--flow", "people", "--because", "old")


@case("X915")
def nothing_to_replay(place: Place) -> str:
    Line(place, "name: name").put("no json").run()
    id = place.told("exceptions", "list")["exceptions"][0]["id"]
    return place.command("exceptions", "replay", id).replace(id, "x-1")


@case("X999")
def our_own_fault(place: Place) -> str:
    import io
    from contextlib import redirect_stderr

    from engine.cli.answer import ended
    from engine.cli.main import Context

    def broken() -> None:
        raise ZeroDivisionError("division by zero")

    told = io.StringIO()
    with redirect_stderr(told):
        ended(Context(), broken)
    return told.getvalue().strip()


@case("X916")
def served_to_other_machines(place: Place) -> str:
    place.write(EMPTY)
    return place.command("serve", "--host", "0.0.0.0", "--port", "0")


@case("X917")
def certificate_without_a_key(place: Place) -> str:
    place.write(EMPTY)
    return place.command("serve", "--certificate", "server.pem")


@case("X918")
def port_that_is_taken(place: Place) -> str:
    import socket

    place.write(EMPTY)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return place.command("serve", "--port", str(taken.getsockname()[1]))


def _compared(place: Place) -> Place:
    """A workspace with a reconciliation that found something."""
    systems = Systems(place.folder)
    systems.put([invoice(1), invoice(2)], [bill(1)])
    systems.run()
    with systems.store.begin() as tx:
        tx.run("UPDATE breaks SET id = 'b-1'")
    systems.close()
    return place


@case("X933")
def no_such_break(place: Place) -> str:
    return _compared(place).command("reconcile", "show", "b-2")


@case("X934")
def accepted_already(place: Place) -> str:
    _compared(place).told("reconcile", "accept", "b-1", "--reason", "x")
    return place.command("reconcile", "accept", "b-1", "--reason", "x")


@case("X935")
def no_reconciliation(place: Place) -> str:
    return _compared(place).command("reconcile", "breaks", "push")


@case("R654")
def no_room_for_rows(place: Place) -> Any:
    import errno

    from engine.run.spill import Spill

    full = OSError(errno.ENOSPC, "No space left on device")
    with patch("engine.run.spill._write_all", side_effect=full), patch("engine.run.spill.gettempdir", lambda: "/tmp"):
        it = Spill(1)
        try:
            it.add(b"a line\n")
        finally:
            it.close()


@case("X936")
def a_report_that_cannot_be_written(place: Place) -> str:
    systems = Systems(place.folder)
    systems.flow("report: [csv]\n")
    systems.put([invoice(1), invoice(2)], [bill(1)])
    (place.folder / ".crosswalk/reports").write_text("")
    run = systems.run()
    systems.close()
    return f"{run['error']['code']} {run['error']['message'].replace(run['run'], 'r-ID')}"


@case("X937")
def not_to_be_healed(place: Place) -> str:
    return _compared(place).command("reconcile", "heal", "nightly", "b-2")
