"""What `serve` says: one JSON object a line. Names, counts and codes; never a header, a body or a value of a record."""

from __future__ import annotations

import logging
import sys
import threading
from datetime import UTC, datetime
from typing import Any, TextIO

from engine.sdk.record import encode_json


class Log:
    """Lines of JSON: `at`, `event`, and facts. A control character in a fact is escaped by JSON."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream, self._lock = stream, threading.Lock()

    def __call__(self, event: str, **facts: Any) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = encode_json({"at": at, "event": event, **facts}).decode()
        stream = self._stream or sys.stderr
        with self._lock:
            try:
                stream.write(f"{line}\n")
                stream.flush()
            except (OSError, ValueError):
                return  # whoever read it has gone; the work goes on


class Handler(logging.Handler):
    """Warnings of libraries as lines of the log: who says it and what went wrong, in one sentence."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage().splitlines()[0][:300] if record.getMessage() else ""
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        self._log("library", name=record.name, level=record.levelname.lower(), text=text, error=error)


def attach(log: Log) -> None:
    """Let the libraries that serve uses speak through the log, and nowhere else."""
    for name in ("apscheduler", "uvicorn", "uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [Handler(log)], False
