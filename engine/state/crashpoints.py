"""Places where a process may die: every commit, every call to a system. Tests kill it at each of them.

A commit passes `before commit:NAME` and `after commit:NAME`, a call `before NAME` and `after NAME`.
"""

from __future__ import annotations

LINE = ("lease", "pin", "resolve", "T1", "T2", "finish", "release")
"""Commits of a run, in the order in which it comes to them."""
PROCESS = ("take", "step", "process", "approval", "let go")
"""Commits of a process instance that is moved on, beside those of its writes."""
RECONCILE = ("breaks", "heal")
"""Commits of a reconciliation, beside those of the runs that mend."""
BESIDE = ("renew", "budget", "job", "scan", "careful", "relay")
"""Commits beside the line: of the thread that holds the lease, of whoever calls a system, opens a job."""
COMMANDS = (
    "seed", "links add", "links remove", "links import", "links review", "links merge", "links split", "links remap",
    "cancel", "approve", "note", "replay", "discard", "assign", "tag", "edit", "supersede", "prune", "prune reads", "age",
    "alerts", "pause", "resume", "indicators", "event", "decide", "resume process", "pause process",
    "each process", "cancel process", "accept", "reopen", "test",
)  # fmt: skip
"""Commits of commands: each is one transaction of its own."""
SERVE = ("leader", "tick", "sweep", "claim", "unit", "units", "inbox put", "inbox")
"""Commits of `serve`, beside those of the runs that it starts."""
CALLS = ("read", "find", "get", "send", "resend", "search", "outcomes", "publish")
"""Calls to systems."""


def around(names: tuple[str, ...], what: str = "") -> list[str]:
    """The points before and after each of these commits (`commit:`) or calls."""
    return [f"{when} {what}{name}" for name in names for when in ("before", "after")]


POINTS = [
    *around(LINE, "commit:"),
    *around(PROCESS, "commit:"),
    *around(RECONCILE, "commit:"),
    *around(BESIDE, "commit:"),
    *around(COMMANDS, "commit:"),
    *around(SERVE, "commit:"),
    *around(CALLS),
]
"""Every point that there is."""
