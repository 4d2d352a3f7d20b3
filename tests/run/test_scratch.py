"""Scratch folders: their owner's alone, gone with it, and what a killed process left is removed by the next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from engine.run.scratch import PREFIX, Scratch

CODE = "from engine.run.scratch import Scratch; it = Scratch(); print(it.name, flush=True); input()"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_only_its_owner_can_read_it_and_it_goes_with_it(tmp_path: Path) -> None:
    it = Scratch()
    (Path(it.name) / "1").write_text("x")
    assert Path(it.name).stat().st_mode & 0o777 == 0o700
    it.cleanup()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_what_a_live_one_uses_is_not(tmp_path: Path) -> None:
    here = [
        subprocess.Popen([sys.executable, "-c", CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    names = []
    for process in here:
        assert process.stdout is not None
        names.append(Path(process.stdout.readline().strip()))
    dead, alive = here
    os.kill(dead.pid, signal.SIGKILL)
    dead.communicate()
    assert names[0].exists()
    it = Scratch()
    assert not names[0].exists() and names[1].exists()
    alive.communicate("\n")
    it.cleanup()
    Scratch().cleanup()
    assert list(tmp_path.iterdir()) == []


def test_one_that_is_being_made_and_links_are_left_alone(tmp_path: Path) -> None:
    young, elsewhere = tmp_path / f"{PREFIX}young", tmp_path / "mine"
    young.mkdir()
    elsewhere.mkdir()
    (elsewhere / "owner").touch()
    (tmp_path / f"{PREFIX}link").symlink_to(elsewhere)
    Scratch().cleanup()
    assert young.exists() and (elsewhere / "owner").exists()
