"""`runs`: what happened; stopping what goes on; going on after a hold or a stop."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import click

from engine.cli.answer import inline, plain, table
from engine.cli.main import Context, common, pass_context
from engine.cli.operate import exit_code, options_of, progress, show_alerts, show_runs, stop_gently
from engine.cli.processes import instance_lines
from engine.sdk.errors import Problem, UsageError
from engine.sdk.record import Fields

COUNTS = ("read", "created", "updated", "unchanged", "deleted", "quarantined", "waiting", "skipped")
STATES = ("running", "succeeded", "partial", "failed", "held", "skipped", "cancelled")
_ENDED = {"running": "goes on", "succeeded": "succeeded", "partial": "came to its end", "skipped": "was skipped"}
PATIENCE = 60.0
"""Seconds that `runs cancel` waits for the batch at hand."""


@click.group()
@common
def runs() -> None:
    """Runs: what happened, stopping one that goes on, going on after a hold."""


@runs.command("list")
@click.option("--flow", help="Runs of one flow.")
@click.option("--state", "wanted", type=click.Choice(STATES), help="Runs in this state.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1))
@common
@pass_context
def list_runs(context: Context, flow: str | None, wanted: str | None, limit: int) -> None:
    """The latest runs, newest first."""
    from engine.state import runs as state

    with context.store.read() as tx:
        found = state.listed(tx, flow, limit, wanted)
    rows = [_told(one) for one in found]
    alerts = open_alerts(context)

    def text() -> None:
        show_alerts(alerts)
        if not rows:
            click.echo("no run yet: crosswalk run FLOW" if wanted is None and flow is None else "no such run")
            return
        table(
            ("run", "started", "flow", "state", *COUNTS, "why"),
            [[one["run"], one["started_at"][:19] + "Z", one["flow"], one["state"],
              *[f"{one.get(name, 0):,}" for name in COUNTS], one["trigger"]] for one in rows],
            right=COUNTS,
        )  # fmt: skip

    context.answer({"runs": rows, "alerts": alerts}, text)


def open_alerts(context: Context) -> list[Fields]:
    """Expectations that are missed, freshness judged at this moment."""
    from engine.run.expectations import judge_freshness, told

    return [told(one) for one in judge_freshness(context.store, context.workspace)]


def _told(one: Any) -> Fields:
    """A run as lists print it, in the words of `run`, with why it was started."""
    counts = {name: one.counts.get(name, 0) for name in COUNTS}
    return {"run": one.id, "flow": one.flow, "state": one.state, "trigger": one.trigger, **counts,
            "held_because": one.held_because, "error": one.error, "started_at": one.started_at,
            "finished_at": one.finished_at, "targets": one.counts.get("targets", {})}  # fmt: skip


def _run_of(context: Context, id: str) -> Any:
    from engine.state import runs as state

    with context.store.read() as tx:
        found = state.get(tx, id)
    if found is None:
        raise UsageError(Problem("X906", f"there is no run {id!r}", None, "see `crosswalk runs list`"))
    return found


@runs.command("show")
@click.argument("run")
@common
@pass_context
def show_run(context: Context, run: str) -> None:
    """One run: how it was asked for, how it ended, and what each target got."""
    row = _run_of(context, run)
    more = {name: row.counts[name] for name in ("processes", "instances") if name in row.counts}
    told = {**_told(row), "options": row.options, **more}

    def text() -> None:
        for name in ("run", "flow", "state", "trigger", "started_at", "finished_at", "held_because"):
            click.echo(f"{name.replace('_', ' ')}: {plain(told[name])}")
        asked = {name: given for name, given in row.options.items() if given and name != "trigger"}
        click.echo(f"asked for: {inline(asked) if asked else 'what changed since the last run'}")
        if row.error:
            error = row.error
            click.echo(f"error: {error['code']} {error['at'] + ' ' if error['at'] else ''}{plain(error['message'])}")
        names = ("created", "updated", "unchanged", "deleted", "quarantined", "waiting", "skipped")
        click.echo("records: " + ", ".join(f"{told[name]:,} {name}" for name in ("read", *names[4:])))
        rows = [[target, *[f"{counts.get(name, 0):,}" for name in names]] for target, counts in told["targets"].items()]
        table(("target", *names), rows, right=names)
        for line in instance_lines(told.get("instances", [])):
            click.echo(line)
        if told["quarantined"] or told["waiting"]:
            click.echo(f"see: crosswalk exceptions list --flow {row.flow}")
        if row.state == "held":
            click.echo(f"if the figures are right: crosswalk runs resume {row.id} --approve")

    context.answer({"run": told}, text)


@runs.command("cancel")
@click.argument("run")
@common
@pass_context
def cancel(context: Context, run: str) -> int:
    """Stop a run that goes on, here or in another process: after the batch at hand, nothing is left half done."""
    from engine.run.runner import STOPPED
    from engine.state import audit, leases
    from engine.state import runs as state

    found = _run_of(context, run)
    if found.state != "running":
        raise UsageError(
            Problem("X907", f"the run is over: {found.state}", None, "only a running one can be cancelled")
        )
    with context.store.begin("cancel") as tx:
        if leases.claim(tx, f"flow:{found.flow}") is None:
            state.ask_to_stop(tx, run)
        else:  # its process is gone
            told = {"code": STOPPED.code, "message": f"{STOPPED.message} — {STOPPED.hint}", "at": None}
            state.finish(tx, run, "cancelled", found.counts, None, told)
            tx.run("UPDATE leases SET expires_at = '' WHERE name = ?", (f"flow:{found.flow}",))
        audit.append(tx, context.actor, "runs cancel", run)
    end = time.monotonic() + PATIENCE
    while (found := _run_of(context, run)).state == "running" and time.monotonic() < end:
        time.sleep(0.2)
    told_now = _told(found)
    context.answer({"run": told_now}, lambda: click.echo(
        f"{run} is {found.state}" if found.state != "running" else f"{run} was asked to stop and is still at its batch"))  # fmt: skip
    return 0 if found.state != "running" else 1


@runs.command("resume")
@click.argument("run")
@click.option("--approve", is_flag=True, help="Lift the guard that held it, up to the figures shown.")
@common
@pass_context
def resume(context: Context, run: str, approve: bool) -> int:
    """Go on after a run that was held (with --approve), cancelled or failed, asked for as it was."""
    from engine.run.guards import share_of
    from engine.state import audit
    from engine.state import runs as runs_state

    found = _run_of(context, run)
    if found.state not in ("held", "cancelled", "failed"):
        raise UsageError(
            Problem(
                "X907",
                f"there is nothing to resume: the run {_ENDED[found.state]}",
                None,
                f"run the flow anew: crosswalk run {found.flow}",
            )
        )
    asked = found.options
    given: dict[str, Any] = {"full": bool(asked.get("full")), "limit": asked.get("limit"), "since": asked.get("since"),
                             "until": asked.get("until"), "records": tuple(asked.get("records") or ()), "gone": frozenset(asked.get("gone") or ()),
                             "approved": {name: Decimal(share) for name, share in (asked.get("approved") or {}).items()}}  # fmt: skip
    if asked.get("heal"):
        from engine.run.errand import Asked

        given["heal"] = Asked(**{**asked["heal"], "approved": approve or asked["heal"]["approved"]})
    if found.state == "held":
        if not approve:
            raise UsageError(
                Problem("X907", f"it is held: {found.held_because}", None, "look at it, then add --approve")
            )
        with context.store.begin("approve") as tx:
            guard, part, whole = runs_state.hold_of(tx, run) or ("errors", 0, 0)
            given["approved"][guard] = share_of(part, whole)
            detail = {"guard": guard, "part": part, "whole": whole, "because": found.held_because}
            audit.append(tx, context.actor, "runs resume --approve", run, detail)
    runner = context.runner(progress)
    stop_gently(runner)
    trigger = f"heal: resume {run}" if asked.get("heal") else f"resume {run}"
    result = runner.run(found.flow, options_of(**given, trigger=trigger, actor=context.actor))
    context.answer({"runs": [result.run], "alerts": result.alerts}, lambda: show_runs([result.run], [], result.alerts))
    return exit_code([str(result.run["state"])])
