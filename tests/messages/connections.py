"""Cases of connections: C50x settings, C51x HTTP, C52x credentials, C53x and C54x answers, C58x files, C59x databases."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from unittest.mock import patch

from engine.sdk.connector import Operation, Read
from engine.sdk.errors import ConnectorError, Problem
from engine.sdk.record import Fields
from engine.sdk.webhook import WebhookRequest
from tests.messages.case import Answer, Place, case, server

MANIFEST = """connector: api
settings: { url: { required: true }, company: { doc: Number of the company } }
base: "{url}"
auth: { kinds: [bearer] }
message: body.error
objects:
  things:
    key: id
    read: { get: /things, records: body.items }
    find: { get: /things, records: body.items, by: { code: { param: code } } }
    create: { post: /things, body: "@record", id: body.id }
"""
GOOD = b'{"items": [{"id": "1"}]}'


def _settings(url: str, more: str = "", auth: str = 'auth: { token: "${secret:t}" }, ') -> str:
    return (
        "crosswalk: 1\nname: t\nsecrets: { files: secrets }\nconnections:\n"
        f'  api: {{ connector: api, url: "{url}", {auth}retries: 0, timeout: 500ms{more} }}\n'
    )


def _api(place: Place, url: str, manifest: str = MANIFEST, more: str = "", **given: str) -> Any:
    files = {"crosswalk.yaml": _settings(url, more, **given), "connectors/api.yaml": manifest, "secrets/t": "SEKRET"}
    return place.workspace(files).connector("api")


def _read(
    place: Place, answer: Callable[[str, str, bytes], Answer | None], manifest: str = MANIFEST, more: str = ""
) -> Any:
    """Read every record of an API that answers so; raises what the connector raises."""
    with server(answer) as url, _api(place, url, manifest, more) as connector:
        return [record for batch in connector.read(Read("things")) for record in batch.records]


def _write(place: Place, answer: Callable[[str, str, bytes], Answer | None], manifest: str = MANIFEST, kind: Any = "create",
           record: Fields | None = None) -> Problem:  # fmt: skip
    with server(answer) as url, _api(place, url, manifest) as connector:
        (outcome,) = connector.write("things", [Operation("o1", kind, record or {"name": "A"}, key="1")])
    assert outcome.problem is not None
    return outcome.problem


def _always(status: int = 200, body: bytes = GOOD, **headers: str) -> Callable[[str, str, bytes], Answer]:
    return lambda method, path, data: (status, headers, body)


@case("C501")
def secret_not_set(place: Place) -> Any:
    files = {"crosswalk.yaml": _settings("http://127.0.0.1:9"), "connectors/api.yaml": MANIFEST}
    return place.workspace(files).connector("api")


@case("C502")
def vault_not_installed(place: Place) -> Any:
    settings = _settings("http://127.0.0.1:9").replace(
        "{ files: secrets }", "{ vault: { url: 'http://127.0.0.1:9', mount: kv } }"
    )
    with patch.dict("sys.modules", {"hvac": None}):
        return place.workspace({"crosswalk.yaml": settings, "connectors/api.yaml": MANIFEST}).connector("api")


@case("C503")
def no_such_sandbox(place: Place) -> str:
    place.write(
        {"crosswalk.yaml": _settings("${sandbox:salesfroce}"), "connectors/api.yaml": MANIFEST, "secrets/t": "x"}
    )
    return place.command("connectors", "describe", "api", "things")


@case("C504")
def no_such_object(place: Place) -> Any:
    return _api(place, "http://127.0.0.1:9").describe("thing")


@case("C505")
def not_read_by_that(place: Place) -> Any:
    return _api(place, "http://127.0.0.1:9", more=", objects: { things: { modified: touched_at } }").describe("things")


@case("C510")
def nobody_there(place: Place) -> Any:
    with _api(place, "http://127.0.0.1:9") as connector:
        return list(connector.read(Read("things")))


@case("C511")
def next_link_to_another_host(place: Place) -> Any:
    paged = MANIFEST.replace("message: ", "page: { kind: next_url, next: body.next }\nmessage: ")
    return _read(place, _always(body=b'{"items": [{"id": "1"}], "next": "http://evil.example/x"}'), paged)


@case("C512")
def not_tls(place: Place) -> Any:
    with server(_always()) as url, _api(place, url.replace("http:", "https:")) as connector:
        return list(connector.read(Read("things")))


@case("C513")
def too_slow(place: Place) -> Any:
    def slow(method: str, path: str, body: bytes) -> None:
        time.sleep(0.8)

    return _read(place, slow)


@case("C514")
def packed_otherwise(place: Place) -> Any:
    return _read(place, _always(**{"Content-Encoding": "br"}))


@case("C515")
def too_late_to_send(place: Place) -> Any:
    with server(_always()) as url, _api(place, url) as connector:
        late = Operation("o1", "create", {"name": "A"}, send_by=time.monotonic() - 1)
        (outcome,) = connector.write("things", [late])
        return outcome.problem


@case("C516")
def a_login_page(place: Place) -> Any:
    return _read(place, _always(body=b"<html>Sign in</html>", **{"Content-Type": "text/html"}))


@case("C517")
def fails_too_often(place: Place) -> Any:
    with server(_always(503, b'{"error": "down"}')) as url, \
         _api(place, url, more=", breaker: { failures: 50%, of: 2, reset: 50s }") as connector:  # fmt: skip
        for _ in range(9):
            try:
                list(connector.read(Read("things")))
            except ConnectorError as error:
                if error.problem.code == "C517":
                    return Problem("C517", re.sub(r"\d\d s", "50 s", error.problem.message), None, error.problem.hint)
    raise AssertionError("it was called every time")


@case("C518")
def an_odd_address(place: Place) -> Any:
    return _api(place, "http://2130706433")


@case("C519")
def asks_for_a_long_pause(place: Place) -> Any:
    with (
        server(_always(429, b'{"error": "daily quota"}', **{"Retry-After": "7200"})) as url,
        _api(place, url) as connector,
    ):
        for _ in range(2):
            try:
                list(connector.read(Read("things")))
            except ConnectorError as error:
                if error.problem.code == "C519":
                    return Problem(
                        "C519", re.sub(r"7\d\d\d s", "7200 s", error.problem.message), None, error.problem.hint
                    )
    raise AssertionError("it was called in spite of the pause")


@case("C520")
def no_token(place: Place) -> Any:
    with server(_always()) as url, _api(place, url, auth="") as connector:
        return list(connector.read(Read("things")))


@case("C521")
def refused_token(place: Place) -> Any:
    return _read(place, _always(401, b'{"error": "bad token"}'))


@case("C522")
def setting_without_value(place: Place) -> Any:
    return _read(place, _always(), MANIFEST.replace("get: /things", 'get: "/{company}/things"'))


@case("C523")
def required_setting_missing(place: Place) -> Any:
    settings = _settings("x").replace('url: "x", ', "")
    return place.workspace({"crosswalk.yaml": settings, "connectors/api.yaml": MANIFEST, "secrets/t": "x"}).connector(
        "api"
    )


@case("C524")
def no_web_address(place: Place) -> Any:
    return _api(place, "api.example.com")


@case("C530")
def no_records_there(place: Place) -> Any:
    return _read(place, _always(body=b'{"data": []}'))


@case("C531")
def request_refused(place: Place) -> Any:
    return _read(place, _always(400, b'{"error": "no such view"}'))


@case("C532")
def cannot_be_read(place: Place) -> Any:
    return _read(place, _always(), MANIFEST.replace("    read: { get: /things, records: body.items }\n", ""))


@case("C533")
def the_same_page_again(place: Place) -> Any:
    paged = MANIFEST.replace("message: ", "page: { kind: cursor, next: body.next, param: after }\nmessage: ")
    return _read(place, _always(body=b'{"items": [{"id": "1"}], "next": "a"}'), paged)


@case("C534")
def fewer_than_it_says(place: Place) -> Any:
    paged = MANIFEST.replace(
        "message: ",
        "page: { kind: offset, param: offset, total: body.total, size: { param: limit, max: 2 } }\nmessage: ",
    )

    def answer(method: str, path: str, body: bytes) -> Answer:
        return (
            200,
            {},
            b'{"total": 9, "items": ' + (b'[{"id": "1"}, {"id": "2"}]' if "offset=0" in path else b"[]") + b"}",
        )

    return _read(place, answer, paged)


@case("C535")
def not_searchable_by_that(place: Place) -> Any:
    with server(_always()) as url, _api(place, url) as connector:
        return connector.find("things", [{"name": "A"}])


@case("C536")
def deletes_that_the_feed_forgot(place: Place) -> Any:
    feed = MANIFEST + "    deletes: { kind: feed, get: /gone, records: body.gone, key: id, earliest: body.since }\n"
    answer = _always(body=b'{"gone": [], "since": "2026-11-01T00:00:00Z"}')
    with server(answer) as url, _api(place, url, feed) as connector:
        return list(connector.read(Read("things", deletes=True, deleted_since="2026-10-01T00:00:00Z")))


@case("C540")
def takes_no_delete(place: Place) -> Problem:
    return _write(place, _always(), kind="delete")


@case("C541")
def record_refused(place: Place) -> Problem:
    return _write(place, _always(422, b'{"error": "name is too short"}'))


@case("C542")
def another_version(place: Place) -> Problem:
    return _write(place, _always(409, b'{"error": "changed by another user"}'))


BATCH = (
    MANIFEST
    + '    batch: { create: { post: /batch, body: { items: "@records" }, size: 10, results: body.results, by: position, ok: "status < `300`", id: id } }\n'
)


@case("C543")
def answer_without_the_record(place: Place) -> Problem:
    with server(_always(body=b'{"results": []}')) as url, _api(place, url, BATCH) as connector:
        outcomes = connector.write("things", [Operation(f"o{n}", "create", {"name": "A"}) for n in range(2)])
    assert outcomes[0].problem is not None
    return outcomes[0].problem


@case("C544")
def not_in_that_form(place: Place) -> Problem:
    timed = MANIFEST.replace("    key: id\n", '    key: id\n    fields: { hours: { type: decimal, form: "h:mm" } }\n')
    return _write(place, _always(), timed, record={"hours": Decimal("0.335")})


@case("C545")
def a_job_that_failed(place: Place) -> Problem:
    jobs = (
        MANIFEST
        + """    jobs:
      create:
        open: { post: /jobs, body: { rows: "@records" }, id: body.id }
        poll: { get: "/jobs/{job}", done: "`false`", failed: "body.state == 'failed'", message: body.why }
        results: [{ get: "/jobs/{job}/rows", rows: body.rows }]
"""
    )
    body = b'{"id": "7", "state": "failed", "why": "out of storage", "rows": []}'
    with server(_always(body=body)) as url, _api(place, url, jobs) as connector:
        outcomes = connector.write("things", [Operation(f"o{n}", "create", {"name": "A"}) for n in range(2)])
    assert outcomes[0].problem is not None
    return outcomes[0].problem


@case("C550")
def no_webhooks(place: Place) -> Problem:
    call = WebhookRequest("POST", "drop/things", {}, b"{}", datetime(2026, 1, 1, tzinfo=UTC))
    with _api(place, "http://127.0.0.1:9") as connector:
        answer = connector.webhook(call)
    assert answer.problem is not None and (answer.state, answer.status) == ("refused", 404)
    return answer.problem


@case("C560")
def whole_batch_refused(place: Place) -> Problem:
    with server(_always(400, b'{"error": "item 2 is wrong"}')) as url, _api(place, url, BATCH) as connector:
        outcomes = connector.write("things", [Operation(f"o{n}", "create", {"name": "A"}) for n in range(2)])
    assert outcomes[0].problem is not None
    return outcomes[0].problem


# ------------------------------------------------------------------------------------------------ files
def _files(place: Place, settings: str, files: dict[str, str]) -> Any:
    text = f"crosswalk: 1\nname: t\nconnections:\n  drop: {{ connector: files, {settings} }}\n"
    return place.workspace({"crosswalk.yaml": text, **files}).connector("drop")


def _rows(connector: Any, name: str = "a") -> Any:
    return [record for batch in connector.read(Read(name)) for record in batch.records]


def _change(connector: Any, record: Fields, kind: Any = "create", name: str = "a", key: str | None = None) -> Any:
    (outcome,) = connector.write(name, [Operation("o1", kind, record, key=key)])
    return outcome.problem


@case("C580")
def outside_the_folder(place: Place) -> Any:
    return _rows(
        _files(
            place,
            "path: data, objects: { a: { path: ../../etc/passwd, format: csv, key: id } }",
            {"data/a.csv": "id\n1\n"},
        )
    )


@case("C581")
def no_driver_for_the_file_system(place: Place) -> Any:
    with patch("fsspec.filesystem", side_effect=ImportError("Install s3fs to access S3")):
        return _rows(_files(place, "path: 's3://bucket/x', format: csv, objects: { a: { key: id } }", {}))


@case("C582")
def file_too_large(place: Place) -> Any:
    connector = _files(
        place,
        "path: data, max_file: 20 B, objects: { a: { format: json, key: id } }",
        {"data/a.json": '[{"id": 1, "name": "Ada"}]'},
    )
    return _rows(connector)


@case("C583")
def not_that_format(place: Place) -> Any:
    return _rows(
        _files(place, "path: data, format: csv, objects: { a: { key: code } }", {"data/a.csv": "id,name\n1,A\n"})
    )


@case("C584")
def no_such_file(place: Place) -> Any:
    return _rows(_files(place, "path: data, format: csv, objects: { a: { key: id } }", {"data/b.csv": "id\n1\n"}))


@case("C585")
def a_pattern_cannot_be_written(place: Place) -> Any:
    connector = _files(
        place, "path: data, format: csv, objects: { a: { path: 'a/*.csv', key: id } }", {"data/a/1.csv": "id\n1\n"}
    )
    return _change(connector, {"id": "2"})


@case("C586")
def record_without_key(place: Place) -> Any:
    return _change(
        _files(place, "path: data, format: csv, objects: { a: { key: id } }", {"data/a.csv": "id,name\n1,A\n"}),
        {"name": "B"},
    )


@case("C587")
def another_writer(place: Place) -> Any:
    import fcntl

    connector = _files(
        place, "path: data, format: csv, timeout: 200ms, objects: { a: { key: id } }", {"data/a.csv": "id,name\n1,A\n"}
    )
    with patch.object(fcntl, "flock", side_effect=BlockingIOError(11, "held")):
        return _change(connector, {"id": "2", "name": "B"})


@case("C588")
def two_under_one_key(place: Place) -> Any:
    connector = _files(
        place, "path: data, format: csv, objects: { a: { key: id } }", {"data/a.csv": "id,name\n1,A\n1,B\n"}
    )
    return _change(connector, {"id": "1", "name": "C"}, "update", key="1")


@case("C589")
def a_value_that_csv_cannot_hold(place: Place) -> Any:
    connector = _files(
        place, "path: data, format: csv, objects: { a: { key: id, encoding: ascii } }", {"data/a.csv": "id,name\n1,A\n"}
    )
    return _change(connector, {"id": "2", "name": "Zoë"})


# ------------------------------------------------------------------------------------------------ databases
def _sql(place: Place, url: str = "sqlite:///x.db", schema: str = "", more: str = "") -> Any:
    if schema:
        with sqlite3.connect(place.folder / "x.db") as db:
            db.executescript(schema)
        db.close()
    text = f'crosswalk: 1\nname: t\nconnections:\n  dw: {{ connector: sql, url: "{url}"{more} }}\n'
    return place.workspace({"crosswalk.yaml": text}).connector("dw")


PEOPLE = "create table people (id text primary key, name text not null, pay numeric(8, 2));"


@case("C590")
def not_a_database_url(place: Place) -> Any:
    with _sql(place, "x.db") as connector:
        return connector.objects()


@case("C591")
def no_database_driver(place: Place) -> Any:
    with patch.dict("sys.modules", {"pymysql": None}):
        return _sql(place, "mysql+pymysql://127.0.0.1/x").objects()


@case("C592")
def no_database(place: Place) -> Any:
    with _sql(place) as connector:
        return connector.objects()


@case("C593")
def query_refused(place: Place) -> Any:
    with _sql(
        place, schema=PEOPLE, more=", objects: { a: { query: 'select id, nme from people', key: id } }"
    ) as connector:
        return _rows(connector)


@case("C594")
def no_primary_key(place: Place) -> Any:
    with _sql(place, schema="create table log (line text);") as connector:
        return _rows(connector, "log")


@case("C595")
def no_such_column(place: Place) -> Any:
    with _sql(place, schema=PEOPLE) as connector:
        return connector.find("people", [{"nme": "A"}])


@case("C597")
def value_does_not_fit(place: Place) -> Any:
    with _sql(place, schema=PEOPLE) as connector:
        return _change(connector, {"id": "1", "name": "A", "pay": "much"}, "upsert", "people")


@case("C598")
def row_refused(place: Place) -> Any:
    with _sql(place, schema=PEOPLE) as connector:
        return _change(connector, {"id": "1", "name": None}, "upsert", "people")


@case("C599")
def no_upsert_there(place: Place) -> Any:
    with _sql(place, schema=PEOPLE) as connector:
        connector.engine.dialect.name = "oracle"
        return _change(connector, {"id": "1", "name": "A"}, "upsert", "people")


assert json.loads(GOOD)
