"""The promises of every connector, kept by `files` in each format."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from connectors.files import FilesConnector
from connectors.files.formulas import guarded, unguarded
from connectors.files.settings import FilesConfig
from engine.sdk.config import ConnectionContext
from engine.sdk.connector import Operation, Read
from engine.sdk.errors import ConnectorError
from engine.sdk.testing import ConnectorContract


def files(folder: Path, form: str = "ndjson", **objects: object) -> FilesConnector:
    config = FilesConfig.model_validate({"connector": "files", "path": str(folder), "format": form, "objects": objects})
    return FilesConnector(config, ConnectionContext("drop", folder))


class FilesContract(ConnectorContract):
    form: ClassVar[str]

    @pytest.fixture
    def connector(self, tmp_path: Path) -> FilesConnector:
        return files(tmp_path, self.form, things={"modified": "at"})


class TestCsv(FilesContract):
    form, keeps = "csv", frozenset({"blank"})


class TestXlsx(FilesContract):
    form, keeps = "xlsx", frozenset({"null"})


class TestJson(FilesContract):
    form, keeps = "json", frozenset({"null", "missing", "blank"})


class TestNdjson(FilesContract):
    form, keeps = "ndjson", frozenset({"null", "missing", "blank"})


@pytest.mark.parametrize("path", ["../x.csv", "/etc/passwd", "a\\..\\x", "a\0b", "c:x"])
def test_no_path_leads_outside_the_folder(tmp_path: Path, path: str) -> None:
    with pytest.raises(ConnectorError, match="C580"):
        list(files(tmp_path, x={"path": path}).read(Read("x")))


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").symlink_to("/etc/passwd")
    with pytest.raises(ConnectorError, match="C580"):
        list(files(tmp_path, "csv").read(Read("x")))


def test_a_ragged_row_is_a_problem_and_never_shifted(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("id,a,b\n1,x,y\n2,x\n3,x,y,z\n4,p,q\n")
    records = [record for batch in files(tmp_path, "csv").read(Read("x")) for record in batch.records]
    assert [(record.key, bool(record.problem)) for record in records] == [
        ("1", False),
        ("x.csv:3", True),
        ("x.csv:4", True),
        ("4", False),
    ]


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+cmd|x", "-1", "@SUM", "\tx", "'=x", "plain", "", "－1", "''x"])
def test_formulas_are_guarded_and_come_back(text: str) -> None:
    assert unguarded(guarded(text)) == text
    assert guarded(text)[:1] not in ("=", "+", "-", "@", "\t", "－")


def test_windows_are_half_open(tmp_path: Path) -> None:
    connector = files(tmp_path, x={"modified": "at"})
    connector.write("x", [Operation(str(n), "upsert", {"id": str(n), "at": f"2026-01-0{n}"}) for n in range(1, 5)])
    request = Read("x", since="2026-01-02", until="2026-01-04")
    assert [record.key for batch in connector.read(request) for record in batch.records] == ["2", "3"]
