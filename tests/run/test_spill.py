"""Sorting in bounded memory: the order, the files, and what is left of them."""

from __future__ import annotations

import errno
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.run import spill
from engine.run.spill import Spill
from engine.sdk.errors import CrosswalkError


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which temporary files are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path


@given(words=st.lists(st.binary(max_size=12), max_size=200), memory=st.integers(1, 4000))
def test_lines_come_in_the_order_of_their_bytes(words: list[bytes], memory: int) -> None:
    lines = [word.hex().encode() + b"\n" for word in words]
    it = Spill(memory)
    for line in lines:
        it.add(line)
    try:
        assert list(it) == sorted(lines)
        it.add(b"00\n")
        assert list(it) == sorted([*lines, b"00\n"]), "again, with what came since"
    finally:
        it.close()


def test_many_files_are_merged_a_few_at_a_time(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "WIDTH", 3)
    it = Spill(200)
    for number in range(500):
        it.add(b"%06d\n" % (number * 7919 % 500))
    most = 0
    for place, line in enumerate(it):
        assert line == b"%06d\n" % place
        most = max(most, len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0)
    held = (
        sum(
            str(room) in (name := _target(one)) and not name.endswith("/owner")
            for one in Path("/proc/self/fd").iterdir()
        )
        if most
        else 0
    )
    assert held <= 3
    it.close()
    assert list(room.iterdir()) == []


def _target(one: Path) -> str:
    try:
        return str(one.readlink())
    except OSError:
        return ""


def test_the_folder_is_gone_after_an_error(room: Path) -> None:
    it = Spill(10)
    it.add(b"a" * 100 + b"\n")
    assert len(list(room.iterdir())) == 1 and (next(room.iterdir()).stat().st_mode & 0o77) == 0
    it.close()
    it.close()
    assert list(room.iterdir()) == []


def test_memory_is_bounded_however_wide_the_lines_are(room: Path) -> None:
    tracemalloc.start()
    it = Spill(2**20)
    for number in range(60):
        it.add(b"%08d" % (number * 37 % 60) + b"x" * 300_000 + b"\n")
    assert sum(1 for _ in it.pieces()) > 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    it.close()
    assert peak < 2**20 + 3 * spill.PIECE + 60 * 300_000 // 2


def test_a_full_disk_is_told_as_what_it_is(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(stream: Any, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(spill, "_write_all", full)
    it = Spill(10)
    with pytest.raises(CrosswalkError) as caught:
        it.add(b"a" * 100 + b"\n")
    assert caught.value.problem.code == "R654" and "TMPDIR" in caught.value.problem.hint
    it.close()
    assert list(room.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
def test_a_device_that_is_full_says_so_while_it_is_written() -> None:
    with Path("/dev/full").open("wb", buffering=0) as stream, pytest.raises(OSError) as caught:
        spill._write_all(stream, b"a")
    assert caught.value.errno == errno.ENOSPC
