"""`crosswalk` in a process of its own, whose `files` connections take signed webhooks: `python -m tests.serve.process WORDS…`"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.serve.world import signed, until

ROOT = Path(__file__).parents[2]


class Process:
    """A `serve` that runs."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.log = folder / f"serve-{os.urandom(3).hex()}.log"
        with self.log.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.serve.process", "serve", "--port", "0", *words, "--workspace", str(folder)],
                cwd=ROOT, stdout=subprocess.DEVNULL, stderr=err, env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
        try:
            until(lambda: self.told("listening") != [] or self.process.poll() is not None, 300)
        except AssertionError:
            self.kill()
            raise
        assert self.process.poll() is None, self.log.read_text()
        self.url = self.told("listening")[0]["url"]

    def told(self, event: str) -> list[dict[str, Any]]:
        """What its log says of something; every whole line of it is JSON."""
        lines = self.log.read_text().split("\n")[:-1]
        return [one for one in map(json.loads, lines) if one["event"] == event]

    def get(self, path: str) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"null")

    def post(self, *events: dict[str, Any], path: str = "/hooks/src/people") -> int:
        body = json.dumps({"events": events}).encode()
        request = urllib.request.Request(f"{self.url}{path}", body, signed(body), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return int(error.code)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it gently; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def main() -> None:
    from engine.cli.main import run
    from tests.serve.world import taking_webhooks

    with taking_webhooks():
        run()


if __name__ == "__main__":
    main()
