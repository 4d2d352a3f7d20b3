"""`plan` and `run`: what would change, and changing it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from engine.cli.answer import inline, printable, table
from engine.cli.main import Context, common, pass_context
from engine.cli.processes import instance_lines
from engine.sdk.errors import Position, Problem, UsageError
from engine.sdk.record import Fields

ORDER = ("failed", "cancelled"), ("held", "skipped"), ("partial",)
CODES = (1, 4, 3)


def exit_code(states: list[str], moved: bool = False) -> int:
    """Several runs: 1 before 4 before 3 before 0."""
    for names, code in zip(ORDER, CODES, strict=True):
        if any(state in names for state in states) or (code == 4 and moved):
            return code
    return 0


def progress(name: str, counts: Any) -> None:
    if sys.stderr.isatty():
        read = counts.records["read"]
        click.echo(f"\r{name}: {read:,} read, {counts.records['quarantined']:,} quarantined", nl=False, err=True)


def _flows(context: Context, names: tuple[str, ...]) -> list[str]:
    known = context.workspace.names("flow")
    if not names:
        raise UsageError(Problem("X900", "no flow is named", None, f"known: {', '.join(known) or 'none'}"))
    for name in names:
        context.workspace.document("flow", name)
    return list(names)


def options_of(**given: Any) -> Any:
    from engine.run.session import Options

    return Options(**given)


@click.command()
@click.argument("flows", nargs=-1)
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), help="Keep the plan for `run --plan`.")
@click.option("--full", is_flag=True, help="Read everything, not only what changed.")
@click.option("--limit", type=click.IntRange(min=1), help="Read so many records.")
@click.option("--record", "records", multiple=True, help="Only this record: canonical id or connection:native_id.")
@common
@pass_context
def plan(context: Context, flows: tuple[str, ...], save: Path | None, full: bool, limit: int | None,
         records: tuple[str, ...]) -> int:  # fmt: skip
    """What a run would create, update (old → new), delete and quarantine. Writes nothing.

    \b
      crosswalk plan clients
      crosswalk plan clients --save today.plan && crosswalk run clients --plan today.plan
    """
    from engine.run.plan import save_plan
    from engine.spec.process import ProcessFlow

    for name in _flows(context, flows) if save is not None else ():
        document = context.workspace.document("flow", name)
        if isinstance(document.model, ProcessFlow):
            raise UsageError(Problem("X930", f"a plan of the process flow {name!r} cannot be saved", document.at("kind"),
                                     "look at it with `crosswalk plan`; its steps decide anew when they come"))  # fmt: skip
    runner, plans, failed = context.runner(progress), [], []
    for name in _flows(context, flows):
        result = runner.run(name, options_of(plan=True, full=full, limit=limit, records=records, trigger="plan"))
        told = {key: value for key, value in result.run.items() if key not in ("run", "started_at", "finished_at")}
        plans.append({**told, "calls": result.calls, "logic": result.logic, "changes": result.changes,
                      **({"instances": result.instances} if result.instances is not None else {})})  # fmt: skip
        failed += [told] if told["state"] == "failed" else []
    if save is not None:
        save_plan(save, plans)
    shown = [
        {**{key: value for key, value in one.items() if key != "logic"},
         "changes": [{key: value for key, value in change.items() if key != "planned"} for change in one["changes"]]}
        for one in plans
    ]  # fmt: skip
    context.answer({"plans": shown}, lambda: show_plans(shown))
    return 1 if failed else 0


def show_plans(plans: list[Fields]) -> None:
    for told in plans:
        _show_plan(told)


def _show_plan(told: Fields) -> None:
    if told.get("breaks"):
        show_breaks(told)
        _end(told)
        return
    click.echo(f"{told['flow']}: {told['created']} to create, {told['updated']} to update, {told['deleted']} to delete, "
               f"{told['unchanged']} unchanged, {told['quarantined']} to quarantine, {told['skipped']} skipped")  # fmt: skip
    marks = {"create": "+", "update": "~", "delete": "-", "deactivate": "-"}
    for change in told["changes"][:200]:
        click.echo(f"  {marks[change['operation']]} {change['target']} {printable(str(change['key']))}")
        for name, (old, new) in change["fields"].items():
            arrow = f"{inline(old)} → " if change["operation"] == "update" else ""
            click.echo(f"      {name}: {arrow}{inline(new)}")
    if len(told["changes"]) > 200:
        click.echo(f"  … and {len(told['changes']) - 200} more (all of them with --json)")
    for line in instance_lines(told.get("instances", [])[:200]):
        click.echo(line)
    calls = {target: count for target, count in told["calls"].items() if count}
    if calls:
        click.echo(f"  API calls: {', '.join(f'{target} {count:,}' for target, count in calls.items())}")
    _end(told)


def _end(told: Fields) -> None:
    if told.get("held_because"):
        click.echo(f"  {told['state']}: {told['held_because']}")
        if told["state"] == "held" and "run" in told:
            click.echo(f"  look at the figures; if they are right: crosswalk runs resume {told['run']} --approve")
    if told.get("error"):
        error = told["error"]
        click.echo(f"  {error['code']} {error['at'] or ''} {error['message']}".replace("  ", " "))


@click.command()
@click.argument("flows", nargs=-1)
@click.option("--full", is_flag=True, help="Read everything, not only what changed.")
@click.option("--since", help="Read what was modified at or after this instant.")
@click.option("--until", help="Read what was modified before this instant.")
@click.option("--limit", type=click.IntRange(min=1), help="Read so many records.")
@click.option("--record", "records", multiple=True, help="Only this record: canonical id or connection:native_id.")
@click.option(
    "--plan", "plan_file", type=click.Path(path_type=Path, dir_okay=False), help="Write only what a saved plan has."
)
@common
@pass_context
def run(context: Context, flows: tuple[str, ...], full: bool, since: str | None, until: str | None, limit: int | None,
        records: tuple[str, ...], plan_file: Path | None) -> int:  # fmt: skip
    """Run flows, one after the other.

    \b
      crosswalk run clients time-to-erp
      crosswalk run time-to-erp --record psa:123 --json
    """
    planned: dict[str, Any] = {}
    if plan_file is not None:
        from engine.run.plan import load_plan

        planned = load_plan(plan_file)
        flows = flows or tuple(planned)
    runner = context.runner(progress)
    stop_gently(runner)
    told: list[Fields] = []
    moved: list[Fields] = []
    alerts: list[Fields] = []
    for name in _flows(context, flows):
        options = options_of(full=full, since=since, until=until, limit=limit, records=records, actor=context.actor)
        if plan_file is not None:
            if name not in planned:
                raise UsageError(
                    Problem("X903", f"the plan has nothing for {name!r}", Position(plan_file.name), "plan it first")
                )
            options.moved, options.only = frozenset([planned[name][0]]), planned[name][1]
        result = runner.run(name, options)
        told.append(result.run)
        moved += [{"flow": name, **one} for one in result.moved]
        alerts += result.alerts
        if runner.cancelled.is_set():
            break
    answer: Fields = {"runs": told, "alerts": alerts}
    if plan_file is not None:
        answer["moved"] = moved
    context.answer(answer, lambda: show_runs(told, moved, alerts))
    return exit_code([str(one["state"]) for one in told], bool(moved))


def stop_gently(runner: Any) -> None:
    """Ctrl-C ends the run after the batch at hand; a second one ends it at once."""

    def stop(number: int, frame: Any) -> None:
        if runner.cancelled.is_set():
            raise KeyboardInterrupt
        runner.cancelled.set()
        click.echo("\nfinishing the batch at hand; press Ctrl-C again to stop at once", err=True)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)


def show_alerts(alerts: Sequence[Fields]) -> None:
    for one in alerts:
        click.echo(printable(f"ALERT {one['flow']}: `{one['expectation']}: {one['limit']}` is missed: {one['reached']}, "
                             f"since {one['since'][:19]}Z"))  # fmt: skip


def show_breaks(told: Fields) -> None:
    """What a reconciliation found, in a line or two."""
    from engine.run.report_words import amounts

    found = told["breaks"]
    stake = amounts(found["at_stake"])
    classes = ", ".join(f"{count:,} {name}" for name, count in found["classes"].items())
    click.echo(f"{told['flow']}: {found['compared']:,} compared, {found['equal']:,} equal, {found['remaining']:,} breaks remain"
               f"{f' ({stake})' if stake else ''}{f': {classes}' if classes else ''}")  # fmt: skip
    more = [f"{found[name]:,} {text}" for name, text in (("accepted", "accepted"), ("in_flight", "in flight"), ("closed", "closed"))
            if found[name]]  # fmt: skip
    if more:
        click.echo(f"  {', '.join(more)}")
    if found["healed"] or found["left"]:
        why = (
            f", {found['left']:,} left: crosswalk reconcile heal {told['flow']} --plan says why"
            if found["left"]
            else ""
        )
        click.echo(f"  {found['healed']:,} healed{why}")
    if found["over_limit"]:
        click.echo(f"  {found['over_limit']:,} records could be healed, more than `heal: {{ limit }}`: nothing was; look at "
                   f"crosswalk reconcile heal {told['flow']} --plan, then add --yes")  # fmt: skip
    if found["left_out"]:
        click.echo(f"  {found['left_out']:,} more than `keep_breaks` are counted here and not kept one by one")
    if found["remaining"] and "run" in told:
        click.echo(f"  crosswalk reconcile breaks {told['flow']}")


def show_runs(told: list[Fields], moved: list[Fields], alerts: Sequence[Fields] = ()) -> None:
    names = ("read", "created", "updated", "unchanged", "deleted", "quarantined", "waiting", "skipped")
    rows = [[one["flow"], one["state"], *[f"{one[name]:,}" for name in names]] for one in told]
    table(("flow", "state", *names), rows, right=names)
    for one in told:
        _end(one)
        if one.get("breaks"):
            show_breaks(one)
        for written in one.get("reports", ()):
            click.echo(f"  report: {written['path']}")
        if one["quarantined"]:
            click.echo(
                f"  {one['quarantined']} of {one['flow']} for a person: crosswalk exceptions list --flow {one['flow']}"
            )
    for one in moved:
        click.echo(f"  moved since the plan: {one['flow']} {one['target']} {one['key']}")
    show_alerts(alerts)
