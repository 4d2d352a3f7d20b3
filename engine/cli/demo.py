"""`demo`: quote to cash on the bundled fake systems, over real HTTP on loopback."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from engine.cli.main import Context, common, pass_context
from engine.cli.story import Story
from engine.sdk.errors import Problem, UsageError
from engine.sdk.library import library_folder


def example_folder() -> Path:
    """The workspace that the demo copies: examples/quote_to_cash."""
    return library_folder() / "examples/quote_to_cash"


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default="crosswalk-demo", required=False)
@common
@pass_context
def demo(context: Context, folder: Path) -> int:
    """Quote to cash: a deal closes, a project appears, time is booked, an invoice is raised, cash comes in.

    Makes a workspace in FOLDER, runs every flow of the library on the bundled fake systems twice (the second run
    writes nothing), then follows one deal through them.
    """
    if (folder / "crosswalk.yaml").exists():
        raise UsageError(
            Problem("X911", f"there is a workspace in {folder.name} already", None, "name another folder, or remove it")
        )
    leave = shutil.ignore_patterns(".crosswalk")  # what was run in the example itself
    shutil.copytree(example_folder(), folder, ignore=leave, dirs_exist_ok=True)
    context.folder = folder
    story = Story(context)
    chapters = (story.night, story.deal, story.work, story.closed_project, story.invoice, story.cash, story.figures,
                story.compare)  # fmt: skip
    for chapter in chapters:
        chapter()
        if not all(story.good.values()):
            break
    good = all(story.good.values())
    if not context.json:
        for what in (name for name, came in story.good.items() if not came):
            click.echo(f"   not as it should be: {what}")
        _next_steps(folder, story)
    context.answer(
        {"demo": {**story.told, "checks": story.good, "workspace": folder.name, "as_expected": good}}, lambda: None
    )
    return 0 if good else 1


def _next_steps(folder: Path, story: Story) -> None:
    click.echo(f"""
Try next, in {folder.name}/:
  1. crosswalk exceptions list --group
       what is not right, most frequent first; `crosswalk exceptions show ID` has the whole record
  2. crosswalk sandbox edit salesforce Account 001000000000003AAA '{{"Phone": "+44 20 5550 9999"}}' && crosswalk plan clients
       somebody changes a telephone: what would be written where, old → new
  3. edit mappings/netsuite/customer.yaml, then crosswalk plan clients --full
       every client that your change would touch, before anything is written
Look around: crosswalk trace crm:{story.deal_id} · crosswalk explain crm:001000000000003AAA.phone \
· crosswalk reconcile report invoice-totals-nightly""")
