"""`crosswalk` as a process of its own without the half second of its start: forked from one that has imported everything.

Run as a module it is that process: one JSON order a line on stdin, one answer a line on stdout.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


class Forks:
    """The process that commands are forked from."""

    def __init__(self) -> None:
        words = [sys.executable, "-m", "tests.forks"]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        atexit.register(self.process.communicate)

    def run(self, folder: Path, words: Sequence[str], timeout: float, **env: str) -> tuple[int, str, str]:
        """(exit code, stdout, stderr) of `crosswalk WORDS…` in a folder, with more in its environment."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with tempfile.TemporaryDirectory() as kept:
            out, err = Path(kept, "out"), Path(kept, "err")
            order = {"folder": str(folder), "words": list(words), "out": str(out), "err": str(err), "env": {**os.environ, **env},
                     "timeout": int(timeout)}  # fmt: skip
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
            code = int(json.loads(self.process.stdout.readline()))
            return code, out.read_text("utf-8"), err.read_text("utf-8")


@lru_cache(maxsize=1)
def forks() -> Forks:
    """The one of this process."""
    return Forks()


def crosswalk(order: dict[str, Any]) -> int:
    """The command, in the forked process."""
    from engine.cli.main import run

    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["env"])
    for number, path in ((0, os.devnull), (1, order["out"]), (2, order["err"])):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), number)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(one, mode, encoding="utf-8") for one, mode in ((0, "r"), (1, "w"), (2, "w"))
    )
    sys.argv = ["crosswalk", *order["words"]]
    sys.modules["__main__"].__package__ = ""  # else click takes the command for `python -m`
    signal.alarm(order["timeout"])
    try:
        run()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def serve() -> None:
    """Fork a command for each order."""
    from engine.cli.main import COMMANDS

    for name in {*COMMANDS.values(), "engine.run.runner", "connectors.files", "connectors.sql", "connectors.rest"}:
        import_module(name)
    gc.collect()
    gc.freeze()  # a child that looks for garbage would copy every page of it
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(crosswalk(json.loads(line)))
        _, status = os.waitpid(child, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)


if __name__ == "__main__":
    serve()
