"""Null on the way out: what is in an element of a list by its number is left out, everything else is for the diff to judge."""

from __future__ import annotations

from typing import Any

import pytest

from engine.compile.environment import StaticEnv
from engine.compile.mapping import compile_outbound
from engine.compile.registry import Registry
from engine.compile.rules import LinkSlot
from engine.spec.workspace import Workspace
from tests.conftest import Make

MAPPING = """
mapping: x/expense
object: reports
entity: expense
fields:
  task: { from: "items[0].task.id", ref: { entity: task, object: tasks }, on_missing: clear }
  category: "items[0].category"
  notes: memo
"""


@pytest.mark.parametrize(
    ("record", "payload"),
    [
        ({"category": "a", "task": "unknown", "notes": None}, {"items": [{"category": "a"}], "memo": None}),
        ({"category": "a", "task": None}, {"items": [{"category": "a"}]}),
        ({"category": None, "task": "t1"}, {"items": [{"task": {"id": "9"}}]}),
    ],
)
def test_a_null_within_a_list_is_left_out(make: Make, record: dict[str, Any], payload: dict[str, Any]) -> None:
    workspace = Workspace.open(make({"crosswalk.yaml": "crosswalk: 1\nname: x\n", "mappings/x/expense.yaml": MAPPING}))
    direction = compile_outbound(workspace.document("mapping", "x/expense"), Registry(workspace), role="").outbound
    assert direction is not None
    found, _, faults = direction.outward({"id": "1", **record}, StaticEnv({}, {}), [LinkSlot({"t1": "9"}.get)])
    assert (found, faults) == (payload, [])
