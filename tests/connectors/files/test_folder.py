"""The folder: nothing leads outside it, one writer at a time, and a crash leaves the old file or the new one."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from connectors.files import FilesConnector
from connectors.files.settings import FilesConfig
from engine.sdk.config import ConnectionContext
from engine.sdk.connector import Operation, Read
from engine.sdk.errors import ConnectorError
from tests.connectors.files.test_formats import files, records, upsert

OUTSIDE = [
    "../x.csv",
    "/etc/passwd",
    "a/../../x",
    "a\\..\\x",
    "a\0b",
    "c:x",
    "a:b",
    ".",
    "nul",
    "con.csv",
    "a/LPT1.txt",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_path_leads_outside(tmp_path: Path, path: str) -> None:
    connector = files(tmp_path / "in", x={"path": path})
    for call in (lambda: records(connector), lambda: upsert(connector, {"id": "1"}), lambda: connector.describe("x")):
        with pytest.raises(ConnectorError, match="C580"):
            call()


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a\0b", "..\\x"])
def test_no_object_name_leads_outside(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConnectorError, match="C580"):
        records(files(tmp_path), name)


def test_links_are_refused_wherever_they_stand(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    (inside / "real").mkdir(parents=True)
    outside.mkdir()
    (outside / "x.ndjson").write_text('{"id": "1"}\n')
    (inside / "x.ndjson").symlink_to(outside / "x.ndjson")
    (inside / "linked").symlink_to(outside)
    for path in ("x.ndjson", "linked/x.ndjson", "*.ndjson", "linked/*.ndjson"):
        with pytest.raises(ConnectorError, match="C580"):
            records(files(inside, x={"path": path}))
    with pytest.raises(ConnectorError, match="C580"):
        upsert(files(inside), {"id": "2"})
    assert (outside / "x.ndjson").read_text() == '{"id": "1"}\n'


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.ndjson")
    with pytest.raises(ConnectorError, match="C58"):
        records(files(tmp_path))


def test_patterns_are_read_in_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "time").mkdir()
    for name, id in (("b", "2"), ("a", "1"), ("c", "3")):
        (tmp_path / "time" / f"{name}.csv").write_text(f"id,a\n{id},{name}\n")
    connector = files(tmp_path, time={"path": "time/*.csv"}, none={"path": "none/*.csv"})
    assert [one.key for one in records(connector, "time")] == ["1", "2", "3"]
    assert records(connector, "none") == []
    with pytest.raises(ConnectorError, match="C585"):
        upsert(connector, {"id": "4"}, "time")


def test_composite_keys_and_marks(tmp_path: Path) -> None:
    connector = files(tmp_path, x={"key": ["project", "day"], "marker": "mark"})
    (outcome,) = connector.write("x", [Operation("o", "create", {"project": "P", "day": 3}, mark="abc")])
    assert outcome.key == '["P","3"]'
    (record,) = records(connector, keys=(outcome.key,))
    assert record.value == {"project": "P", "day": 3, "mark": "abc"}
    assert connector.describe("x").marker == "mark" and connector.describe("x").key == ("project", "day")
    (outcome,) = connector.write("x", [Operation("o", "update", {}, key=outcome.key, changes={"day": 4})])
    assert outcome.state == "refused" and outcome.problem is not None and outcome.problem.code == "C586"


def test_what_is_appended_twice_stands_once_and_versions_stand_beside(tmp_path: Path) -> None:
    for form in ("ndjson", "csv", "json", "xlsx"):
        connector = files(tmp_path, form)
        first, again = (connector.write("x", [Operation("o", "append", {"id": "1", "a": "x"})])[0] for _ in range(2))
        assert (first.state, again.state) == ("created", "matched")
        connector.write("x", [Operation("o", "append", {"id": "1", "a": "y"})])
        assert [one.value["a"] for one in records(connector)] == ["x", "y"]


def test_a_crash_before_the_exchange_leaves_the_old_file(tmp_path: Path) -> None:
    def crash(name: str) -> None:
        raise RuntimeError(name)

    upsert(files(tmp_path), {"id": "1"})
    config = FilesConfig.model_validate({"connector": "files", "path": str(tmp_path), "format": "ndjson"})
    with pytest.raises(RuntimeError, match="files.replace"):
        upsert(FilesConnector(config, ConnectionContext("drop", tmp_path, crashpoint=crash)), {"id": "2"})
    assert [one.key for one in records(files(tmp_path))] == ["1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".x.ndjson.lock", "x.ndjson"]


def test_a_second_writer_waits_and_then_says_so(tmp_path: Path) -> None:
    upsert(files(tmp_path), {"id": "1"})
    with (tmp_path / ".x.ndjson.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConnectorError, match="C587") as caught:
            upsert(files(tmp_path, settings={"timeout": "50ms"}), {"id": "2"})
    assert caught.value.transient
    assert upsert(files(tmp_path), {"id": "2"}).state == "created"


@pytest.mark.parametrize(("stamps", "since", "until", "found"), [
    (["2026-01-01T10:00:00+02:00", "2026-01-01T08:00:00Z", "2026-01-01 07:59:59.999"], "2026-01-01T08:00:00Z", None, [0, 1]),
    (["2026-01-01T08:00:00Z", "2026-01-01T08:00:00.5Z", "2026-01-01T08:00:01Z"], "2026-01-01T08:00:00.5Z", "2026-01-01T08:00:01Z", [1]),
    (["2026-01-01", "2026-01-02", "2026-01-03"], "2026-01-02", "2026-01-03", [1]),
    (["2026-01-01", "2026-01-02", "2026-01-03"], "2026-01-02T15:00:00Z", None, [1, 2]),
    ([9, 10, 11], "00000000000000000010", None, [1, 2]),
    (["9", "10", "11"], "10", None, [1, 2]),
    (["yesterday", "", None, "2026-01-01T00:00:00Z"], "2026-01-02T00:00:00Z", None, [0, 1, 2]),
])  # fmt: skip
def test_windows_go_by_time_and_not_by_text(
    tmp_path: Path, stamps: list[Any], since: str, until: str | None, found: list[int]
) -> None:
    connector = files(tmp_path, x={"modified": "at"})
    connector.write("x", [Operation(str(n), "upsert", {"id": str(n), "at": at}) for n, at in enumerate(stamps)])
    assert [int(one.key) for one in records(connector, since=since, until=until)] == found
    given = [one.modified for one in records(connector) if one.modified]
    assert sorted(given) == sorted(given, key=lambda text: (len(text), text)), "stamps of one object sort as text"


def test_names_of_objects_and_fields_are_described(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,b\n")
    (tmp_path / "c.jsonl").write_text('{"id": 1, "d": {}}\n{"id": 2, "e": 1}\n')
    connector = files(tmp_path, "ndjson", a={"format": "csv"}, c={"path": "c.jsonl"})
    assert connector.objects() == ["a", "c"]
    assert [field.name for field in connector.describe("a").fields] == ["id", "b"]
    assert [field.name for field in connector.describe("c").fields] == ["id", "d", "e"]
    with pytest.raises(ConnectorError, match="did you mean 'a'") as caught:
        list(connector.read(Read("a1")))
    assert caught.value.problem.code == "C584"


def test_a_folder_that_is_not_there_or_not_writable(tmp_path: Path) -> None:
    (finding,) = files(tmp_path / "none").check()
    assert not finding.ok and "not there" in finding.what
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "y.ndjson").mkdir()
    with pytest.raises(ConnectorError):
        upsert(files(tmp_path / "x"), {"id": "1"}, "y")
    assert files(tmp_path, settings={"path": "nosuch://host/x"}).check()[0].ok is False


def test_another_file_system_is_read_by_its_url() -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/box/x.ndjson", b'{"id": "1"}\n{"id": "2"}\n')
    config = FilesConfig.model_validate({"connector": "files", "path": "memory://box", "format": "ndjson"})
    connector = FilesConnector(config, ConnectionContext("box"))
    assert [one.key for one in records(connector)] == ["1", "2"] and connector.objects() == ["x"]
    with pytest.raises(ConnectorError, match="C585"):
        upsert(connector, {"id": "3"})
    memory.rm("/box", recursive=True)
