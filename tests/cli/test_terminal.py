"""The command line where things are not as they should be: closed pipes, old locales, narrow terminals, rights, Ctrl-C."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import Make
from tests.run.test_sync import FILES, World, person

CROSSWALK = str(Path(sys.executable).parent / "crosswalk")
ENV = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}


@pytest.fixture
def world(make: Make) -> World:
    made = World(make(FILES))
    made.put("people", [person("1", "Zoë → 東京"), *[person(str(n), f"P{n}", pay="x") for n in range(2, 400)]])
    return made


def call(folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([CROSSWALK, *words], cwd=folder, capture_output=True, timeout=60, env={**ENV, **env})


def test_a_reader_that_goes_away_is_no_fault(world: World) -> None:
    world.edit("flows/people.yaml", "errors: 90%", "errors: 100%")
    call(world.folder, "run", "people")
    for words in ("exceptions list", "exceptions list --json"):
        pipe = f"{CROSSWALK} {words} | head -c 10; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", pipe], cwd=world.folder, capture_output=True, text=True, timeout=60)
        assert done.stderr == "" and done.stdout.endswith("\n"), done


def test_a_locale_without_the_characters_shows_escapes_and_json_stays_utf_8(world: World) -> None:
    for coding, seen in (("ascii", "東京".encode()), ("latin-1", b"\\u6771\\u4eac")):  # ASCII is taken for a mistake
        done = call(world.folder, "plan", "people", PYTHONIOENCODING=coding)
        assert done.returncode == 0 and seen in done.stdout, done.stdout[:300]
        done = call(world.folder, "plan", "people", "--json", PYTHONIOENCODING=coding)
        assert json.loads(done.stdout.decode("utf-8"))["plans"][0]["changes"][0]["fields"]["name"] == [
            None,
            "Zoë → 東京",
        ]
        done = call(world.folder, "run", "naïve", PYTHONIOENCODING=coding)
        assert done.returncode == 2 and done.stderr.startswith(b"E101 there is no flow called 'na"), done


def test_a_narrow_terminal_folds_and_colours_can_be_switched_off(world: World) -> None:
    def on_terminal(**env: str) -> str:
        ours, theirs = pty.openpty()
        done = subprocess.Popen([CROSSWALK, "run", "people", "teams"], cwd=world.folder, stdout=theirs, stderr=subprocess.DEVNULL,
                                env={**ENV, "TERM": "xterm-256color", **env})  # fmt: skip
        os.close(theirs)
        told = b""
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError:
                break
            if not chunk:
                break
            told += chunk
        os.close(ours)
        assert done.wait(60) in (0, 3, 4)
        return told.decode()

    told = on_terminal(COLUMNS="40", NO_COLOR="1")
    assert "\x1b" not in told and told.startswith("flow: people\r\nstate: held\r\nread: 399\r\n")
    assert on_terminal(COLUMNS="140").startswith("flow ")


def test_ctrl_c_before_a_run_and_the_signal_during_one(world: World) -> None:
    process = subprocess.Popen([CROSSWALK, "sandbox", "start"], cwd=world.folder, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, env=ENV)  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and err.strip().startswith("X905 stopped at once"), err


POWERLESS = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


def without_power(folder: Path, *words: str) -> tuple[int, str]:
    """As somebody for whom the rights of files count, which for root they do not."""
    done = subprocess.run(
        [*POWERLESS, CROSSWALK, *words], cwd=folder, capture_output=True, text=True, env=ENV, timeout=60
    )
    assert "Traceback" not in done.stderr
    return done.returncode, (done.stdout + done.stderr).strip()


@pytest.mark.skipif(bool(POWERLESS) and shutil.which("setpriv") is None, reason="root, and no setpriv")
def test_what_may_not_be_read_or_written_is_one_line(make: Make) -> None:
    folder = make({"crosswalk.yaml": "crosswalk: 1\nname: t\n", "flows/a.yaml": "flow: a\nkind: sync\n"})
    folder.chmod(0o555)
    (folder / "flows/a.yaml").chmod(0)
    code, told = without_power(folder, "validate")
    assert code == 2 and told.startswith("E100 flows/a.yaml:1:1 it cannot be read: permission denied — give yourself")
    (folder / "flows").chmod(0)
    code, told = without_power(folder, "validate")
    assert code == 2 and told.startswith("E100 flows:1:1 it cannot be read: permission denied"), told
    (folder / "flows").chmod(0o755)
    code, told = without_power(folder, "runs", "list")
    assert code == 1 and told.startswith(("S700", "X913")) and str(folder) not in told, told
    code, told = without_power(folder, "new", "table", "codes")
    assert code == 1 and told.startswith("X913 mappings: permission denied — "), told
    (folder / "crosswalk.yaml").chmod(0)
    code, told = without_power(folder, "validate", "--json")
    folder.chmod(0o755)
    assert code == 2 and json.loads(told)["errors"][0]["file"] == "crosswalk.yaml"


def test_a_folder_in_place_of_a_document_and_bytes_that_are_no_text(make: Make) -> None:
    folder = make({"crosswalk.yaml": "crosswalk: 1\nname: t\n"})
    (folder / "flows").mkdir()
    (folder / "flows/b.yaml").write_bytes(b"flow: b\nabout: { notes: \xff\xfe }\n")
    (folder / "tables.yaml").mkdir()
    done = call(folder, "validate")
    assert done.returncode == 2 and done.stdout.startswith(b"E100 flows/b.yaml:"), done
