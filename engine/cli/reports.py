"""`reconcile report`: what a run of a reconciliation found, for people and as files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from engine.cli.answer import printable, table
from engine.cli.breaks import known_flow
from engine.cli.main import Context, common, pass_context
from engine.run.disclosure import MASK
from engine.run.report_words import amounts, number, said
from engine.sdk.errors import Problem, UsageError
from engine.state import reconciliations
from engine.state.reconciliations import Reconciliation
from engine.state.store import Tx

LINES = 20


@click.command()
@click.argument("flow")
@click.option("--run", help="Of this run; the latest otherwise.")
@click.option("--format", "style", type=click.Choice(["html", "xlsx", "csv", "json"]), help="As a file.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
              help="Where to; `-` is stdout. Below .crosswalk/reports otherwise.")  # fmt: skip
@click.option("--history", is_flag=True, help="List the runs that are kept.")
@common
@pass_context
def report(context: Context, flow: str, run: str | None, style: str | None, output: Path | None, history: bool) -> None:
    """What a run found: verdict, control totals, breaks by class and age. Files are never overwritten.

    \b
      crosswalk reconcile report invoices-nightly
      crosswalk reconcile report invoices-nightly --format xlsx --output march.xlsx
      crosswalk reconcile report invoices-nightly --history
    """
    known_flow(context, flow)
    if output is not None and style is None:
        raise UsageError(Problem("X900", "--output needs a format", None, "add --format html, xlsx, csv or json"))
    if history:
        _history(context, flow)
        return
    with context.store.read() as tx:
        one = _kept(tx, flow, run)
        if style is not None:
            _file(context, tx, one, style, output)
        else:
            _summary(context, tx, one)


def _kept(tx: Tx, flow: str, run: str | None) -> Reconciliation:
    """Raises UsageError X935."""
    from engine.run.reports import of_run

    one = of_run(tx, flow, run)
    if one is None:
        kept = reconciliations.listed(tx, flow, 5)
        hint = f"kept are {', '.join(each.run for each in kept)}" if kept else f"run it first: crosswalk run {flow}"
        what = f"{flow!r} has no kept run {run!r}" if run is not None else f"{flow!r} has no kept run"
        raise UsageError(Problem("X935", what, None, hint))
    return one


def _file(context: Context, tx: Tx, one: Reconciliation, style: str, output: Path | None) -> None:
    from engine.run.report_files import WRITERS, free, saving, write
    from engine.run.reports import gather

    made = gather(tx, context.workspace, one)
    if str(output) == "-":
        WRITERS[style](made, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    place = output if output is not None else free(context.workspace.folder, one.flow, one.run, style)
    if place.exists():
        raise UsageError(Problem("X911", f"{place.name} is there already", None, "name another file, or remove it"))
    with saving(place, context.workspace.folder):
        write(made, style, place)
    shown = place.relative_to(context.workspace.folder).as_posix() if output is None else str(output)
    context.answer(
        {"report": {"flow": one.flow, "run": one.run, "format": style, "path": shown}}, lambda: click.echo(shown)
    )


def _summary(context: Context, tx: Tx, one: Reconciliation) -> None:
    from engine.run.report_json import as_json
    from engine.run.reports import gather

    made = gather(tx, context.workspace, one, rows=LINES)
    if context.json:
        whole, _ = as_json(made, behind=LINES)
        context.answer({"report": whole}, lambda: None)
        return
    _show(made)


def _show(made: Any) -> None:
    """A page of text."""
    from engine.run.reports import moment

    hidden = made.cover.amount

    def sums(given: dict[str, Any]) -> str:
        return MASK if hidden else amounts(given)

    click.echo(
        printable(f"{made.flow}  {moment(made.at)}  run {made.run}{'' if made.latest else '  (not the latest)'}")
    )
    click.echo(printable(made.verdict))
    for name, side in made.sides.items():
        click.echo(printable(f"  {name}: {side['connection']}, {number(side['read'])} read, {number(side['compared'])} compared, "
                             f"from {moment(side['began'])}"))  # fmt: skip
    for limit in made.limits:
        click.echo(f"  {limit.name}: {limit.reached}, expected {limit.limit}: {'kept' if limit.kept else 'MISSED'}")
    _totals(made)
    if made.classes:
        click.echo("")
        table(("open breaks", "count", "at stake"), [(one.name, number(one.count), sums(one.sums)) for one in made.classes],
              right=("count", "at stake"))  # fmt: skip
        click.echo("")
        table(("age", "count", "at stake"), [(one.name, number(one.count), sums(one.sums)) for one in made.ages],
              right=("count", "at stake"))  # fmt: skip
    others = [f"{number(made.sections[name].total)} {text}"
              for name, text in (("accepted", "accepted"), ("in_flight", "in flight"), ("closed", "closed since"))
              if made.sections[name].total]  # fmt: skip
    if others:
        click.echo(f"{', '.join(others)}")
    if made.figures["left_out"]:
        click.echo(f"{number(made.figures['left_out'])} more are counted, and not kept one by one (`keep_breaks`)")
    click.echo(printable(f"each of them: crosswalk reconcile breaks {made.flow}"))


def _totals(made: Any) -> None:
    """The lines of control totals that differ."""
    from engine.run.report_html import Page

    page, off = Page(made), [cell for cell in made.cells if cell.differs]
    if not made.cells:
        return
    click.echo("")
    if not off:
        click.echo(f"all {len(made.cells)} control totals agree")
        return
    rows = []
    for cell in off[:LINES]:
        gap, share = page.variance(cell)
        by = ", ".join(said(value) for value in cell.by.values())
        rows.append((cell.name, by, *[page.sum(cell, cell.sums.get(side)) for side in made.sides], gap, share))
    table(
        ("control total", "of", *map(made.side, made.sides), "variance", "%"),
        rows,
        right=(*map(made.side, made.sides), "variance", "%"),
    )
    click.echo(
        f"{len(off)} of {len(made.cells)} control totals differ" + (f", {LINES} shown" if len(off) > LINES else "")
    )
    for name, part in made.parts(off[0], 5):
        sums = ", ".join(f"{side} {page.sum(off[0], part.sums.get(side))}" for side in made.sides)
        click.echo(printable(f"  behind the first: {name}: {sums}"))


def _history(context: Context, flow: str) -> None:
    from engine.run.cover import Cover
    from engine.run.reports import history, moment

    with context.store.read() as tx:
        points = history(tx, flow, 1000)
        newest = next(iter(reconciliations.listed(tx, flow, 1)), None)
    hidden = newest is not None and Cover.of(context.workspace, flow, newest.entity).amount
    told = [
        {"run": one.run, "at": one.at, "remaining": one.remaining, "at_stake": MASK if hidden else one.sums}
        for one in points
    ]

    def text() -> None:
        rows = [
            (one.run, moment(one.at), number(one.remaining), MASK if hidden else amounts(one.sums)) for one in points
        ]
        table(("run", "read", "unexplained", "at stake"), rows, right=("unexplained", "at stake"))

    context.answer({"reports": told}, text)
