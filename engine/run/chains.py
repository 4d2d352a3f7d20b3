"""Chains: flows that begin when another one has ended (`after:`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.spec.workspace import Workspace
from engine.state import units
from engine.state.store import Tx


def ask_followers(tx: Tx, workspace: Workspace, name: str) -> None:
    """Flows with `after: name` are next."""
    for one in followers(workspace, name):
        lane = workspace.document("flow", one).model.policy.lane
        units.put(tx, "flow", one, lane=lane, payload={"trigger": f"after {name}"})


def followers(workspace: Workspace, name: str) -> Iterator[str]:
    """Flows of the workspace that begin when this one has ended."""
    for one in workspace.names("flow", own=True):
        flow: Any = workspace.document("flow", one).model
        if flow.mode != "off" and any(trigger.after == name for trigger in flow.trigger):
            yield one
