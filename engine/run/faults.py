"""What records fail of beside their rules: their size, faults of code; and which failures are one and the same."""

from __future__ import annotations

import re

from engine.sdk.errors import Position, Problem
from engine.sdk.record import digest

AUTHORED = frozenset({"E430"})
"""Codes whose message a person wrote, with values anywhere in it: their place says enough."""
_VALUES = re.compile(r"""'[^']*'|"[^"]*"|\{.*\}|\[.*\]|[\w.@:/+-]*\d[\w.@:/+-]*""", re.DOTALL)


def fingerprint(problem: Problem, key: str, target: str) -> str:
    """32 hex digits, equal for failures alike: code, place, target, and the message without its values."""
    return digest([problem.code, str(problem.at), target, shape(problem, key)]).hex()


def shape(problem: Problem, key: str) -> str:
    """The message without what differs from record to record: the key, quoted values, whatever holds a digit."""
    return "" if problem.code in AUTHORED else _VALUES.sub("…", problem.message.removeprefix(f"{key}: "))


def too_large(key: str, what: str, size: int, limit: int, at: Position) -> Problem:
    """The problem of a record or payload over the flow's limit."""
    return Problem(
        "E415", f"{key}: the {what} has {size:,} bytes, {limit:,} are allowed", at,
        "make it smaller in the source, or raise `policy: { max_record: … }` of the flow",
    )  # fmt: skip


def internal(key: str, error: Exception, at: Position | None = None) -> Problem:
    """The problem of a record that code fell over: ours, or a function of the workspace."""
    text = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    return Problem("E499", f"{key}: a fault of crosswalk itself, or of the workspace's functions: {text}", at,
                   "see the function that its rule calls; else report it with the record's shape")  # fmt: skip
