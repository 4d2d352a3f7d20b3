"""How a case of a message is written: a function per error code that makes the thing go wrong, for real."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from engine.compile.workspace import problems_of
from engine.sdk.errors import Problem
from engine.spec.workspace import Workspace
from tests.forks import forks

CROSSWALK = str(Path(sys.executable).parent / "crosswalk")
SCHEMA = "$schema: https://json-schema.org/draft/2020-12/schema\ntype: object\nadditionalProperties: false\n"
Answer = tuple[int, dict[str, str], bytes]
Case = Callable[["Place"], "str | Problem"]
CASES: dict[str, Case] = {}


def case(code: str) -> Callable[[Case], Case]:
    """Register the case of a code."""

    def put(function: Case) -> Case:
        assert code not in CASES, f"{code} has two cases"
        CASES[code] = function
        return function

    return put


class Place:
    """A fresh folder, and what cases do in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, files: dict[str, str]) -> Path:
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(content).lstrip("\n"), "utf-8")
        return self.folder

    def workspace(self, files: dict[str, str] | None = None) -> Workspace:
        return Workspace.open(self.write(files or {}))

    def fault(self, code: str, files: dict[str, str]) -> Problem:
        """The first fault with that code that `validate` finds."""
        found = problems_of(self.workspace(files))
        return next(
            (one for one in found if one.code == code), Problem("none", f"instead: {[str(one) for one in found]}")
        )

    def command(self, *words: str, env: dict[str, str] | None = None) -> str:
        """The first line that a command prints on stderr."""
        if env is None:
            _, out, err = forks().run(self.folder, words, 60)
            return (err.strip() or out.strip()).splitlines()[0]
        done = subprocess.run([CROSSWALK, *words], cwd=self.folder, capture_output=True, text=True, timeout=60, env=env)
        return (done.stderr.strip() or done.stdout.strip()).splitlines()[0]

    def told(self, *words: str) -> Any:
        """What a command answers with --json."""
        return json.loads(forks().run(self.folder, [*words, "--json"], 60)[1])


@contextmanager
def server(answer: Callable[[str, str, bytes], Answer | None]) -> Iterator[str]:
    """An HTTP server whose answers are a function of (method, path, body); None closes the connection."""

    class Handler(BaseHTTPRequestHandler):
        def reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            given = answer(self.command, self.path, body)
            if given is None:
                self.close_connection = True
                return
            status, headers, data = given
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = reply

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_address[1]}"
    finally:
        running.shutdown()
        running.server_close()
        thread.join()
