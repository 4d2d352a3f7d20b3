"""A `serve` that does everything due and, where it is told to, is killed at a point of a process's way.

python served.py FOLDER SETTINGS POINT: what the sandbox's names stand for, as JSON; the number of the point, 0 for none.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import sys
from pathlib import Path

from engine.serve.log import Log
from engine.serve.server import Server
from engine.spec.workspace import Workspace
from engine.state.crashpoints import PROCESS, around
from engine.state.store import Store

POINTS = {*around(PROCESS, "commit:"), *around(("T1", "T2"), "commit:"), *around(("send", "find"))}


def main(folder: Path, settings: dict[str, str], point: int) -> None:
    workspace = Workspace.open(folder)
    workspace.sandbox = settings.__getitem__
    store = Store.open(workspace.settings.state, folder)
    count = itertools.count(1)

    def fuse(name: str) -> None:
        if name in POINTS and next(count) == point:
            os.kill(os.getpid(), signal.SIGKILL)

    store.crashpoint = fuse  # type: ignore[method-assign]
    Server(workspace, store, Log(io.StringIO())).once()
    store.close()
    print(next(count) - 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3]))
