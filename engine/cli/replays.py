"""`exceptions replay` and `edit`: try records again from what was stored, as it is or corrected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from engine.cli.chosen import Chosen, narrowed, rows_of
from engine.cli.main import Context, common, pass_context
from engine.cli.operate import exit_code, options_of, progress, show_runs
from engine.sdk.record import Fields
from engine.state import audit, operations, processes
from engine.state import exceptions as state
from engine.state.kept import kept_of

if TYPE_CHECKING:
    from engine.spec.workspace import Workspace

STAGES = ("raw", "canonical", "payload")


@click.command()
@click.argument("ids", nargs=-1)
@click.option("--from", "stage", type=click.Choice(STAGES), default="raw", show_default=True,
              help="Begin with the record as read, its canonical form, or what the target was to get.")  # fmt: skip
@click.option("--logic", type=click.Choice(["current", "pinned"]), default="current", show_default=True,
              help="Documents as they are now, or as they were when it failed.")  # fmt: skip
@narrowed
@common
@pass_context
def replay(context: Context, ids: tuple[str, ...], stage: str, logic: str, chosen: Chosen) -> int:
    """Try records again from what was stored. What was delivered already is not sent again.

    Older exceptions of the same records go first. One whose record was delivered in a newer version since is closed.

    \b
      crosswalk exceptions replay x-1
      crosswalk exceptions replay --fingerprint 3fa9 --from canonical
      crosswalk exceptions replay x-1 --logic pinned
    """
    rows = rows_of(context, ids, chosen, "replayed")
    groups = _groups(context, rows, stage, logic, forced=bool(ids))
    with context.store.begin("replay") as tx:
        for row in rows:
            if row.id in ids and row.exception_class == "in_doubt":  # by name only: it is sent a second time
                operations.decide(tx, str(row.canonical_id), row.part, "dropped", where=(row.flow, row.target))
            audit.append(tx, context.actor, "exceptions replay", row.id, {"from": stage, "logic": logic})
    told: list[Fields] = []
    for (flow, digest, begins), names in groups.items():
        runner = context.runner(progress)
        runner.workspace = _workspace(context, digest)
        options = options_of(
            trigger="replay", replay=True, chosen=tuple(names), stage=begins, logic=digest, actor=context.actor
        )
        told.append(runner.run(flow, options).run)
    context.answer({"runs": told}, lambda: show_runs(told, []))
    return exit_code([str(one["state"]) for one in told])


def _workspace(context: Context, digest: bytes | None) -> Workspace:
    from engine.run.pinned import pinned

    return context.workspace if digest is None else pinned(context.workspace, context.store, digest)


def _groups(
    context: Context, rows: list[state.Row], stage: str, logic: str, *, forced: bool
) -> dict[tuple[str, bytes | None, str], list[str]]:
    """(flow, logic, stage) → ids, in the order in which they are to run: the oldest exception first.

    What was chosen and cannot be replayed so is left as it is; what was named is refused.
    """
    from engine.run.replay import replayable
    from engine.sdk.errors import UsageError

    groups: dict[tuple[str, bytes | None, str], list[str]] = {}
    with context.store.read() as tx:
        older = {row.id for row in state.older_of(tx, rows)}
        told_of = processes.of_exception(tx, [row.id for row in rows])
        for one in kept_of(tx, [*older, *(row.id for row in rows)]):
            begins = "raw" if one.id in older else stage
            if one.id in told_of:  # the instance is resumed: it goes on at its open step
                groups.setdefault((one.flow, None, "raw"), []).append(one.id)
                continue
            try:
                replayable(one, begins)
            except UsageError:
                if forced and one.id not in older:
                    raise
                continue
            pinned = one.logic if logic == "pinned" and one.id not in older else None
            groups.setdefault((one.flow, pinned, begins), []).append(one.id)
    return groups
