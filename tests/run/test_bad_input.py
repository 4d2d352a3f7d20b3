"""Bad input through the real command: a clear message or a kept record, the right exit code, and a next run that ends it.

The target's own content is the oracle: after the last run it holds every record once.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Make
from tests.forks import forks

CROSSWALK = str(Path(sys.executable).parent / "crosswalk")
SCHEMA = "$schema: https://json-schema.org/draft/2020-12/schema\ntype: object\nadditionalProperties: false\n"
FILES = {
    "crosswalk.yaml": """
        crosswalk: 1
        name: bad
        connections:
          src: { connector: files, path: data, format: ndjson, timezone: Europe/Berlin, objects: { people: { key: id, modified: at } } }
          dw: { connector: sql, url: "${env:DW:-sqlite:///dw.db}", retries: 0 }
    """,
    "schemas/person.yaml": SCHEMA
    + "required: [name]\nproperties:\n  name: { type: string, minLength: 1 }\n  pay: { type: number }\n  seen: { type: string, format: date-time }\n",
    "mappings/src/people.yaml": """
        mapping: src/people
        object: people
        entity: person
        fields:
          name: name
          pay: { from: pay, as: decimal }
          seen: { from: seen, as: datetime }
    """,
    "mappings/dw/people.yaml": "mapping: dw/people\nobject: people\nentity: person\nfields: { name: name, pay: pay, seen: seen }\noutbound: { key: id }\n",
    "flows/people.yaml": """
        flow: people
        kind: sync
        entity: person
        source: { connection: src, mapping: src/people }
        targets: [{ connection: dw, mapping: dw/people }]
        guard: { errors: 60% }
    """,
}  # fmt: skip
TABLE = "create table people (key text primary key, name text check (name <> 'Refused'), pay numeric, seen text)"


class World:
    """A workspace with a file as source and a database as target, and the command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sql(TABLE)

    def sql(self, text: str, path: str = "dw.db") -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.folder / path, timeout=30) as db:
            rows = db.execute(text).fetchall()
        db.close()
        return rows

    def put(self, *rows: Any, name: str = "people.ndjson") -> None:
        lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
        self.write(name, "".join(f"{line}\n" for line in lines).encode())

    def write(self, name: str, data: bytes) -> None:
        (self.folder / "data").mkdir(exist_ok=True)
        (self.folder / "data" / name).write_bytes(data)

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def command(self, *words: str) -> list[str]:
        return [CROSSWALK, *words, "--workspace", str(self.folder), "--json"]

    def call(self, *words: str, limit: int | None = None, bound: bool = False, **env: str) -> tuple[int, Any]:
        """(exit code, the JSON answer). No stack trace may be printed, whatever happens.

        limit: bytes that a file may have. bound: the rights of files hold, even for root.
        """

        def limited() -> None:
            if bound:
                ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        if limit is None and not bound:
            code, out, err = forks().run(self.folder, self.command(*words)[1:], 300, **env)
            assert "Traceback" not in err + out, err
            return code, json.loads(out)
        done = subprocess.run(self.command(*words), capture_output=True, text=True, timeout=300,
                              env={**os.environ, **env}, preexec_fn=limited)  # fmt: skip
        assert "Traceback" not in done.stderr + done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def run(self, **env: str) -> tuple[int, dict[str, Any]]:
        """Run the flow: (exit code, its answer)."""
        code, answer = self.call("run", "people", **env)
        return code, answer["runs"][0] if "runs" in answer else answer["errors"][0]

    def names(self) -> list[str]:
        return sorted(row[0] for row in self.sql("select name from people"))

    def ends(self, *names: str) -> None:
        """The next run finishes the job, and the one after it writes nothing."""
        code, run = self.run()
        assert code in (0, 3), run
        assert self.names() == sorted(names)
        code, again = self.run()
        assert (again["created"], again["updated"], again["deleted"]) == (0, 0, 0), again

    def exceptions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("exceptions", "list")[1]["exceptions"]
        return found


def person(id: str, name: str = "Ada", **more: Any) -> dict[str, Any]:
    return {"id": id, "name": name, "pay": 1, "at": "2026-01-01T00:00:00Z", **more}


@pytest.fixture
def world(make: Make) -> World:
    return World(make(FILES))


# ---------------------------------------------------------------------- documents and connections
@pytest.mark.parametrize(
    ("file", "good", "bad", "code", "words"),
    [
        ("flows/people.yaml", "kind: sync", "kind: [sync", "E100", "flows/people.yaml:3:7"),
        ("flows/people.yaml", "mapping: src/people", "mapping: src/peolpe", "E101", "did you mean 'src/people'"),
        ("flows/people.yaml", "connection: src", "connection: scr", "E101", "did you mean 'src'"),
        ("mappings/src/people.yaml", "pay: { from: pay", "pay: { frm: pay", "E140", "did you mean 'from'"),
        ("crosswalk.yaml", "connector: files", "connector: fiels", "E101", "did you mean 'files'"),
    ],
)
def test_wrong_documents(world: World, file: str, good: str, bad: str, code: str, words: str) -> None:
    world.put(person("1"))
    world.edit(file, good, bad)
    exit_code, error = world.run()
    assert (exit_code, error["code"]) == (2, code)
    assert words in f"{error['file']}:{error['line']}:{error['column']} {error['message']} {error['hint']}"
    assert error["file"] == file and not Path(world.folder / ".crosswalk/people.db").exists()
    world.edit(file, bad, good)
    world.ends("Ada")


def test_a_missing_secret(world: World) -> None:
    world.put(person("1"))
    world.edit("crosswalk.yaml", "${env:DW:-sqlite:///dw.db}", "${secret:dw}")
    code, run = world.run()
    assert (code, run["state"], run["error"]["code"]) == (1, "failed", "C501")
    assert "CROSSWALK_SECRET_DW" in run["error"]["message"] and "crosswalk.yaml:5:" in run["error"]["at"]
    code, run = world.run(CROSSWALK_SECRET_DW="sqlite:///dw.db")
    assert code == 0 and world.names() == ["Ada"]


def test_an_unreachable_target_and_then_one_that_answers(world: World) -> None:
    world.put(person("1"), person("2", "Bo"))
    code, run = world.run(DW="postgresql+psycopg://nobody@127.0.0.1:1/none")
    assert (code, run["state"], run["error"]["code"]) == (1, "failed", "C592")
    assert world.names() == []
    world.ends("Ada", "Bo")


def test_a_source_file_that_is_not_there(world: World) -> None:
    world.write("other.ndjson", b"")
    code, run = world.run()
    assert (code, run["error"]["code"]) == (1, "C584") and "people.ndjson" in run["error"]["message"]
    world.put(person("1"))
    world.ends("Ada")


# ---------------------------------------------------------------------- a source over HTTP
class Pages(BaseHTTPRequestHandler):
    """Pages of two records; `mode` says what is wrong with the second page or with the position asked for."""

    mode = ""
    rows: list[dict[str, Any]] = []

    def do_GET(self) -> None:
        at = int(re.search(r"page=(\d+)", self.path)[1]) if "page=" in self.path else 1  # type: ignore[index]
        rows, status = self.rows[2 * at - 2 : 2 * at], 200
        body = json.dumps({"rows": rows, "next": at + 1 if 2 * at < len(self.rows) else None}).encode()
        if self.mode == "html" and at == 2:
            body = b"<html>We are down for maintenance</html>"
        elif self.mode == "cut" and at == 2:
            body = body[:20]
        elif self.mode == "500" and at == 2:
            body, status = b"{}", 500
        elif self.mode == "gone" and "since=" in self.path:
            body, status = b'{"error": "that position is no longer kept"}', 410
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def pages(make: Make) -> Iterator[World]:
    Pages.mode, Pages.rows = "", [person(str(n), f"P{n}", at=f"2026-01-0{n}T00:00:00Z") for n in range(1, 6)]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    settings = FILES["crosswalk.yaml"]
    start, end = settings.index("src:"), settings.index("          dw:")
    source = f'src: {{ connector: api, url: "http://127.0.0.1:{server.server_address[1]}", retries: 1, backoff: 1ms..2ms }}\n'
    manifest = """
        connector: api
        settings: { url: { required: true } }
        base: "{url}"
        message: body.error
        page: { kind: cursor, next: body.next, param: page }
        objects:
          people: { key: id, modified: { field: at }, read: { get: /people, records: body.rows, since: { param: since } } }
    """
    yield World(
        make({**FILES, "crosswalk.yaml": settings[:start] + source + settings[end:], "connectors/api.yaml": manifest})
    )
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(("mode", "code"), [("html", "C516"), ("cut", "C516"), ("500", "C531")])
def test_a_page_that_is_broken(pages: World, mode: str, code: str) -> None:
    Pages.mode = mode
    exit_code, run = pages.run()
    assert (exit_code, run["state"], run["error"]["code"]) == (1, "failed", code), run["error"]
    Pages.mode = ""
    pages.ends("P1", "P2", "P3", "P4", "P5")


def test_a_position_that_the_source_no_longer_has(pages: World) -> None:
    pages.ends("P1", "P2", "P3", "P4", "P5")
    Pages.mode = "gone"
    Pages.rows = [*Pages.rows, person("6", "P6", at="2026-01-06T00:00:00Z")]
    code, run = pages.run()
    assert (code, run["state"]) == (1, "failed")
    assert "that position is no longer kept" in run["error"]["message"] and "--full" in run["error"]["message"]
    code, answer = pages.call("run", "people", "--full")
    assert code == 0 and answer["runs"][0]["created"] == 1
    Pages.mode = ""
    pages.ends("P1", "P2", "P3", "P4", "P5", "P6")


# ---------------------------------------------------------------------- records
def test_records_of_the_wrong_type_wait_with_their_reason(world: World) -> None:
    world.put(person("1"), person("2", pay="much"), person("3", name=None), person("4", "Di"), person("5", "Ed"))
    code, run = world.run()
    assert (code, run["state"], run["created"], run["quarantined"]) == (3, "partial", 3, 2)
    assert {(one["key"], one["code"]) for one in world.exceptions()} == {("2", "E401"), ("3", "E420")}
    world.put(person("1"), person("2", "Bo", at="2026-01-02T00:00:00Z"), person("3", "Cy", at="2026-01-02T00:00:00Z"),
              person("4", "Di"), person("5", "Ed"))  # fmt: skip
    world.ends("Ada", "Bo", "Cy", "Di", "Ed")
    assert world.exceptions() == []


def test_a_target_that_refuses_one_of_two_hundred(world: World) -> None:
    world.put(*[person(str(n), "Refused" if n == 77 else f"P{n}") for n in range(200)])
    code, run = world.run()
    assert (code, run["created"], run["quarantined"]) == (3, 199, 1)
    (refused,) = world.exceptions()
    assert (refused["key"], refused["code"], refused["target"]) == ("77", "E450", "dw") and "CHECK" in refused[
        "message"
    ]
    world.put(
        *[person(str(n), f"P{n}", at="2026-01-02T00:00:00Z" if n == 77 else "2026-01-01T00:00:00Z") for n in range(200)]
    )
    world.ends(*[f"P{n}" for n in range(200)])


NUMBERS = ['{"id": "2", "name": "Bo", "pay": NaN}', '{"id": "2", "name": "Bo", "pay": Infinity}', '{"id": "2", "name": "Bo", "pay": -Infinity}',
           '{"id": "2", "name": "Bo", "pay": 1e999999}', '{"id": "2", "name": "Bo", "pay": 01}', '{"id": "2", "name": "Bo",']  # fmt: skip


def test_numbers_that_are_none_and_lines_that_end_early(world: World) -> None:
    for number, line in enumerate(NUMBERS):
        world.put(person("1"), person("3", "Cy"), line)
        code, run = world.run()
        assert (code, run["quarantined"]) == (3, 1), (line, run)
        assert any(one["code"] in ("E400", "E401", "E450") for one in world.exceptions()), number
        assert world.names() == ["Ada", "Cy"]
    world.put(person("1"), person("3", "Cy"), person("2", "Bo"))
    world.ends("Ada", "Bo", "Cy")


def test_a_file_that_was_cut_in_the_middle_of_a_line(world: World) -> None:
    whole = "".join(json.dumps(person(str(n), f"P{n}")) + "\n" for n in range(50)).encode()
    world.write("people.ndjson", whole[: len(whole) // 2])
    code, run = world.run()
    assert (code, run["quarantined"]) == (3, 1) and 20 <= run["created"] <= 30
    assert world.exceptions()[0]["code"] == "E400"
    world.write("people.ndjson", whole)
    world.ends(*[f"P{n}" for n in range(50)])


def test_names_that_stand_twice_in_one_object_can_be_refused(world: World) -> None:
    world.edit("crosswalk.yaml", "modified: at }", "modified: at, repeated: refuse }")
    world.put(person("1"), person("3", "Cy"), '{"id": "2", "name": "Bo", "pay": 1, "pay": 2}')
    code, run = world.run()
    assert (code, run["created"], run["quarantined"]) == (3, 2, 1)
    assert "'pay' stands twice" in world.exceptions()[0]["message"]
    world.put(person("1"), person("3", "Cy"), person("2", "Bo"))
    world.ends("Ada", "Bo", "Cy")


def test_a_record_of_ten_megabytes(world: World) -> None:
    world.put(person("1", notes="x" * 10_000_000), person("2", "Bo"))
    code, run = world.run()
    assert (code, run["created"]) == (0, 2)
    world.edit("crosswalk.yaml", "path: data,", "path: data, max_line: 1 MiB,")
    world.put(person("3", "Cy", notes="x" * 10_000_000), person("2", "Bo"), person("4", "Di"))
    code, run = world.run()
    assert (code, run["created"], run["quarantined"]) == (3, 1, 1)
    assert "longer than 1,048,576 bytes" in world.exceptions()[0]["message"]
    world.put(person("3", "Cy"), person("2", "Bo"), person("4", "Di"))
    world.ends("Ada", "Bo", "Cy", "Di")


def test_a_local_time_that_stood_twice_on_the_clock(world: World) -> None:
    world.put(person("1"), person("3", "Cy"), person("2", "Bo", seen="2025-10-26T02:30:00"))
    code, run = world.run()
    assert (code, run["created"], run["quarantined"]) == (3, 2, 1)
    (told,) = world.exceptions()
    assert told["code"] == "E401" and "2025-10-26T02:30:00" in told["message"] and "Europe/Berlin" in told["message"]
    world.put(
        person("1"), person("3", "Cy"), person("2", "Bo", seen="2025-10-26T02:30:00+01:00", at="2026-01-02T00:00:00Z")
    )
    world.ends("Ada", "Bo", "Cy")
    assert world.sql("select seen from people where name = 'Bo'") == [("2025-10-26T01:30:00Z",)]


# ---------------------------------------------------------------------- files as people make them
def as_csv(world: World, more: str = "") -> None:
    world.edit("crosswalk.yaml", "format: ndjson", "format: csv")
    world.edit("crosswalk.yaml", "modified: at }", f"modified: at{more} }}")
    world.edit(
        "mappings/src/people.yaml", "pay: { from: pay, as: decimal }", "pay: { from: pay, as: decimal, blank: clear }"
    )
    world.edit(
        "mappings/src/people.yaml",
        "seen: { from: seen, as: datetime }",
        "seen: { from: seen, as: datetime, blank: clear }",
    )


def test_csv_with_a_mark_with_crlf_in_latin_1_and_ragged(world: World) -> None:
    as_csv(world)
    head = "id,name,pay,at,seen"
    rows = ["1,Zoë,1,2026-01-01T00:00:00Z,", "2,Bo,2,2026-01-01T00:00:00Z,"]
    world.write("people.csv", ("\ufeff" + "\r\n".join([head, *rows]) + "\r\n").encode())
    world.ends("Bo", "Zoë")
    world.write("people.csv", ("\n".join([head, *rows, "3,Łucja,3,2026-01-01T00:00:00Z,"]) + "\n").encode("cp1250"))
    code, run = world.run()
    assert (code, run["state"], run["error"]["code"]) == (1, "failed", "C583"), run
    assert "people.csv" in run["error"]["message"] and "encoding" in run["error"]["message"]
    world.edit("crosswalk.yaml", "modified: at }", "modified: at, encoding: cp1250 }")
    world.ends("Bo", "Zoë", "Łucja")
    world.write("people.csv", "\n".join([head, *rows, "4,Di,4", "5,Ed,5,2026-01-01T00:00:00Z,,extra"]).encode("cp1250"))
    code, run = world.run()
    assert (code, run["quarantined"]) == (3, 2)
    assert all("values" in one["message"] or "cells" in one["message"] for one in world.exceptions())
    world.write(
        "people.csv",
        "\n".join([head, *rows, "4,Di,4,2026-01-01T00:00:00Z,", "5,Ed,5,2026-01-01T00:00:00Z,"]).encode("cp1250"),
    )
    world.ends("Bo", "Di", "Ed", "Zoë", "Łucja")


def test_csv_with_a_column_twice(world: World) -> None:
    as_csv(world)
    world.write("people.csv", b"id,name,name,pay,at,seen\n1,Ada,Bo,1,2026-01-01T00:00:00Z,\n")
    code, run = world.run()
    assert (code, run["error"]["code"]) == (1, "C583") and "'name'" in run["error"]["message"]
    world.write("people.csv", b"id,name,pay,at,seen\n1,Ada,1,2026-01-01T00:00:00Z,\n")
    world.ends("Ada")


def test_a_workbook_with_formulas_and_dates(world: World) -> None:
    from datetime import datetime

    from openpyxl import Workbook

    world.edit("crosswalk.yaml", "format: ndjson", "format: xlsx")
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["id", "name", "pay", "at", "seen"])
    sheet.append(["1", "Ada", 10.1, "2026-01-01T00:00:00Z", datetime(2026, 1, 5, 9, 30)])
    sheet.append(["2", "Bo", "=1+1", "2026-01-01T00:00:00Z", None])
    (world.folder / "data").mkdir()
    book.save(world.folder / "data/people.xlsx")
    code, run = world.run()
    assert (code, run["quarantined"]) == (3, 1), run
    assert "formula" in world.exceptions()[0]["message"]
    assert world.sql("select name, pay, seen from people") == [("Ada", 10.1, "2026-01-05T08:30:00Z")]
    sheet["C3"] = 2
    book.save(world.folder / "data/people.xlsx")
    world.ends("Ada", "Bo")


# ---------------------------------------------------------------------- runs that are stopped
def many(world: World, count: int) -> list[str]:
    world.put(*[person(f"{n:05d}", f"P{n:05d}") for n in range(count)])
    return [f"P{n:05d}" for n in range(count)]


def started(world: World, done: Callable[[], bool]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(world.command("run", "people"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    end = time.monotonic() + 60
    while process.poll() is None and not done() and time.monotonic() < end:
        time.sleep(0.01)
    return process


def test_two_runs_of_one_flow_at_once(world: World) -> None:
    names = many(world, 3000)
    first = started(world, lambda: world.sql("select count(*) from people")[0][0] > 0)
    code, run = world.run()
    first.communicate()
    assert first.returncode == 0
    assert (code, run["state"]) in ((4, "skipped"), (0, "succeeded"))
    world.ends(*names)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_in_the_middle(world: World, number: int) -> None:
    names = many(world, 20_000)
    process = started(world, lambda: world.sql("select count(*) from people")[0][0] > 0)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert b"Traceback" not in err
    run = json.loads(out)["runs"][0]
    assert run["state"] == "cancelled" and process.returncode != 0, (run, process.returncode)
    assert 0 < len(world.names()) < 20_000
    world.ends(*names)


def test_kill_at_random_moments(world: World) -> None:
    names = many(world, 3_000)
    chance = random.Random(11)
    for _ in range(6):
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(world.command("run", "people"), stdout=quiet, stderr=quiet)
        time.sleep(chance.uniform(0.2, 1.5))
        process.kill()
        process.wait()
        assert len(world.names()) == len(set(world.names()))
    world.ends(*names)
    assert world.exceptions() == []


# ---------------------------------------------------------------------- the state and the target
def test_a_full_disk(world: World) -> None:
    names = many(world, 5_000)
    world.call("runs", "list")
    size = max(path.stat().st_size for path in (world.folder / ".crosswalk").iterdir())
    code, answer = world.call("run", "people", limit=size + 200_000)
    text = json.dumps(answer)
    assert code == 1 and "S704" in text and ("full" in text or "I/O" in text or "large" in text), answer
    world.ends(*names)


def test_a_state_that_cannot_be_written(world: World) -> None:
    world.put(person("1"))
    world.call("runs", "list")
    places = [world.folder / ".crosswalk", *(world.folder / ".crosswalk").iterdir()]
    modes = {path: path.stat().st_mode for path in places}
    for path in places:
        path.chmod(0o555 if path.is_dir() else 0o444)
    code, answer = world.call("run", "people", bound=True)
    for path, mode in modes.items():
        path.chmod(mode)
    (error,) = answer["errors"]
    assert (code, error["code"]) in ((1, "S700"), (1, "S704")) and "read" in error["message"] and error["hint"], error
    assert world.names() == []
    world.ends("Ada")


def test_a_state_of_a_newer_version(world: World) -> None:
    world.put(person("1"))
    world.call("runs", "list")
    (before,) = world.sql("select version_num from alembic_version", ".crosswalk/state.db")
    world.sql("update alembic_version set version_num = '9999'", ".crosswalk/state.db")
    code, error = world.run()
    assert (code, error["code"]) == (1, "S702") and "9999" in error["message"] and error["hint"]
    assert world.names() == []
    world.sql(f"update alembic_version set version_num = '{before[0]}'", ".crosswalk/state.db")
    world.ends("Ada")


def test_a_target_table_that_is_gone(world: World) -> None:
    world.put(person("1"), person("2", "Bo"))
    world.ends("Ada", "Bo")
    world.sql("alter table people rename to away")
    world.put(person("1"), person("2", "Bo B.", at="2026-01-02T00:00:00Z"), person("3", "Cy"))
    code, run = world.run()
    assert (code, run["state"], run["error"]["code"]) == (1, "failed", "C504"), run
    assert "people" in run["error"]["message"]
    world.sql("alter table away rename to people")
    world.ends("Ada", "Bo B.", "Cy")
