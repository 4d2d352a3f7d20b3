"""`reconcile heal`: mend breaks as the flow's `heal` says, or see what that would write."""

from __future__ import annotations

from typing import Any

import click

from engine.cli.answer import inline, plain, printable
from engine.cli.breaks import known_flow
from engine.cli.main import Context, common, pass_context
from engine.cli.masks import EVERYTHING, MASK, in_system
from engine.cli.operate import exit_code, options_of, progress, stop_gently
from engine.sdk.record import Fields

MARKS = {"planned": "~", "healed": "+", "left": "!", "forbidden": "-"}
SAID = {"planned": "to heal", "healed": "healed", "left": "left", "forbidden": "not to be healed"}


@click.command()
@click.argument("flow")
@click.argument("breaks", nargs=-1, metavar="[BREAK]...")
@click.option("--plan", is_flag=True, help="Show what would be written where, and what policy forbids; write nothing.")
@click.option("--class", "names", multiple=True, help="Only breaks of this class; may be given again.")
@click.option("--limit", type=click.IntRange(min=1), help="So many records at most, the oldest breaks first.")
@click.option("--yes", is_flag=True, help="Also more records than the flow's `heal: { limit: … }`.")
@common
@pass_context
def heal(context: Context, flow: str, breaks: tuple[str, ...], plan: bool, names: tuple[str, ...], limit: int | None,
         yes: bool) -> int:  # fmt: skip
    """Mend breaks that the last run found, as the flow's `heal` says.

    Each record goes through the ordinary line: ownership, checks, guards, journal. Then it is read again on every side:
    a break that is gone is closed, one that is left says why. Accepted, double and explained breaks are never touched.

    \b
      crosswalk reconcile heal invoices-nightly --plan
      crosswalk reconcile heal invoices-nightly --class mismatch --limit 20
      crosswalk reconcile heal invoices-nightly b_01h…
    """
    from engine.run.errand import Asked

    known_flow(context, flow)
    runner = context.runner(progress)
    stop_gently(runner)
    options = options_of(plan=plan, heal=Asked(breaks, names, limit, yes), trigger="heal", actor=context.actor)
    result = runner.run(flow, options)
    told, rows = result.run, _covered(context, flow, result.changes)
    context.answer({"run": told, "breaks": rows}, lambda: _show(flow, told, rows, plan=plan))
    return exit_code([str(told["state"])])


def _covered(context: Context, flow: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without values that the schema calls sensitive."""
    from engine.run.cover import Cover

    workspace = context.workspace
    model = workspace.document("flow", flow).model
    cover = Cover.of(workspace, flow, model.entity)
    if cover.nothing:
        return rows
    mappings = [side.mapping for side in model.all_sides().values() if side.mapping is not None]
    hidden = frozenset[str]().union(*(in_system(workspace, one, set(cover.fields)) for one in mappings))
    every = cover.all or hidden >= EVERYTHING
    return [
        {**row, "label": MASK if cover.label and row["label"] is not None else row["label"], "why": MASK if every and row["why"] else row["why"],
         "writes": [{**one, "fields": {name: [MASK, MASK] if every or name in hidden else pair
                                       for name, pair in one["fields"].items()}} for one in row["writes"]]}
        for row in rows
    ]  # fmt: skip


def _show(flow: str, told: Fields, rows: list[dict[str, Any]], *, plan: bool) -> None:
    for row in rows:
        how = f" by {row['how']}" if row["how"] and row["outcome"] != "forbidden" else ""
        click.echo(printable(f"{MARKS[row['outcome']]} {row['break']}  {row['class']}  {plain(row['label'])}: "
                             f"{SAID[row['outcome']]}{how}"))  # fmt: skip
        for change in row["writes"]:
            click.echo(printable(f"    {change['operation']} {change['target']}"))
            for name, (old, new) in change["fields"].items():
                arrow = f"{inline(old)} → " if change["operation"] == "update" else ""
                click.echo(printable(f"      {name}: {arrow}{inline(new)}"))
        if row["why"]:
            click.echo(printable(f"    {row['why']}"))
    if told["held_because"]:
        click.echo(f"held: {told['held_because']}")
    elif told["error"]:
        click.echo(printable(f"{told['error']['code']} {told['error']['message']}"))
    elif not told.get("breaks"):
        click.echo(f"{flow}: {told['state']}")
    else:
        counted = ", ".join(f"{sum(row['outcome'] == name for row in rows):,} {said}" for name, said in SAID.items()
                            if any(row["outcome"] == name for row in rows))  # fmt: skip
        tail = "" if plan else f"; {told['breaks']['remaining']:,} breaks remain"
        click.echo(f"{flow}: {counted or 'nothing to heal'}{tail}")
