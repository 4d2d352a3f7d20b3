"""docs/reconcile.md: its YAML is sound."""

from __future__ import annotations

import re
from pathlib import Path

from engine.compile.workspace import problems_of
from engine.spec.workspace import Workspace
from tests.conftest import Make

PAGE = Path(__file__).parents[2] / "docs/reconcile.md"
WORKSPACE = """
crosswalk: 1
name: t
connections:
  psa: { connector: kantata, auth: { kind: bearer, token: "${secret:t}" } }
  erp: { connector: netsuite, account: "1", auth: { kind: bearer, token: "${secret:t}" } }
queues: { finance-ops: {} }
"""


def test_the_flow_of_the_page_is_sound(make: Make) -> None:
    flow = re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[0]
    folder = make({"crosswalk.yaml": WORKSPACE, "flows/invoices-nightly.yaml": flow})
    assert [str(one) for one in problems_of(Workspace.open(folder))] == []
