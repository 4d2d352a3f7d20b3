"""Chains: flows that begin when another one has ended (`after:`)."""

from __future__ import annotations

from typing import Any

from engine.run.work import Work
from engine.spec.workspace import Workspace
from engine.state import units
from engine.state.store import Tx


def ask_followers(tx: Tx, work: Work, name: str) -> None:
    """Flows with `after: name` are next."""
    for one, lane in work.kept("followers", followers).get(name, ()):
        units.put(tx, "flow", one, lane=lane, payload={"trigger": f"after {name}"})


def followers(workspace: Workspace) -> dict[str, list[tuple[str, str]]]:
    """Flow → (flow, lane) of the workspace's own that begin when it has ended."""
    found: dict[str, list[tuple[str, str]]] = {}
    for one in workspace.names("flow", own=True):
        flow: Any = workspace.document("flow", one).model
        for trigger in flow.trigger if flow.mode != "off" else ():
            if trigger.after is not None:
                found.setdefault(trigger.after, []).append((one, flow.policy.lane))
    return found
