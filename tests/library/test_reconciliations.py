"""The library's reconciliations: the page names them all, and each says who sees to what it finds."""

from __future__ import annotations

import re
from pathlib import Path

from engine.compile.workspace import problems_of
from engine.spec.reconcile import ReconcileFlow
from engine.spec.workspace import Workspace
from tests.conftest import Make

WORKSPACE = Path(__file__).parent / "workspace"
PAGE = Path(__file__).parents[2] / "docs/reconciliations.md"


ROUNDED = {("time-nightly", "hours"), ("tax-nightly", "tax"), ("tax-nightly", "total")}
"""What may be apart: minutes as hours, and tax that is rounded line by line. All other money may not."""


def flows() -> dict[str, ReconcileFlow]:
    """Every reconciliation of the library."""
    workspace = Workspace.open(WORKSPACE)
    models = {name: workspace.document("flow", name).model for name in workspace.names("flow")}
    return {name: model for name, model in models.items() if isinstance(model, ReconcileFlow)}


def test_the_page_tells_of_every_reconciliation() -> None:
    page = PAGE.read_text("utf-8")
    assert set(re.findall(r"`([a-z-]+-nightly)`", page)) == set(flows())
    commands = [line.split()[2:] for line in page.splitlines() if line.startswith("crosswalk run ")]
    assert sorted(name for names in commands for name in names) == sorted(flows())


def test_the_flow_of_the_page_is_sound(make: Make) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    own = (WORKSPACE / "crosswalk.yaml").read_text("utf-8") + "queues: { finance-ops: {}, pmo: {} }\n"
    workspace = Workspace.open(make({"crosswalk.yaml": own, "flows/time-nightly.yaml": block}))
    assert problems_of(workspace) == []
    assert workspace.document("flow", "time-nightly").model.compare["hours"].tolerance == 0


def test_every_reconciliation_runs_at_night_has_an_owner_a_limit_and_a_report() -> None:
    found = flows()
    assert len(found) == 10
    for name, flow in found.items():
        (trigger,) = flow.trigger
        assert re.match(r"\d+ [1-4] \* \* \*", str(trigger.schedule)), name
        assert flow.owner and flow.report and flow.about and flow.totals, name
        assert flow.expect is not None and flow.expect.breaks_below and flow.expect.fresh_within, name
        assert all(rule.tolerance is None for path, rule in flow.compare.items() if (name, path) not in ROUNDED), name
        assert flow.heal.missing_left == "report" or flow.heal.missing_right == "report", "no flow mends both ways"
