"""docs/reconcile.md: its YAML is sound."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click

from engine.cli.main import main
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


TO_ERP = """
flow: invoices-to-erp
kind: sync
entity: invoice
source: { connection: psa, mapping: kantata/invoice }
targets: [{ connection: erp, mapping: netsuite/invoice }]
"""


def test_what_the_page_heals_is_sound(make: Make) -> None:
    flow, heal = re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[:2]
    files = {"flows/invoices-nightly.yaml": flow + heal, "flows/invoices-to-erp.yaml": TO_ERP}
    folder = make({"crosswalk.yaml": WORKSPACE, **files})
    assert [str(one) for one in problems_of(Workspace.open(folder))] == []


def test_what_the_page_reports_is_sound_and_its_commands_are_there(make: Make) -> None:
    text = PAGE.read_text("utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (report,) = [one for one in blocks if one.startswith("report:")]
    folder = make({"crosswalk.yaml": WORKSPACE, "flows/invoices-nightly.yaml": blocks[0] + report})
    assert [str(one) for one in problems_of(Workspace.open(folder))] == []
    lines = [line.partition("#")[0].strip() for line in text.splitlines() if line.startswith("crosswalk reconcile ")]
    assert len(lines) >= 10
    for line in lines:
        words = shlex.split(line)[1:]
        command: click.Command = main
        while isinstance(command, click.Group):
            found = command.get_command(click.Context(command), words[0])
            assert found is not None, line
            command, words = found, words[1:]
        command.make_parser(click.Context(command)).parse_args(args=words)


def test_the_window_of_the_page_is_sound(make: Make) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (window,) = [one for one in blocks if one.startswith("window:")]
    flow = re.sub(r"^window:.*\n", window, blocks[0], flags=re.MULTILINE)
    assert "read: window" in flow
    folder = make({"crosswalk.yaml": WORKSPACE, "flows/invoices-nightly.yaml": flow})
    assert [str(one) for one in problems_of(Workspace.open(folder))] == []
