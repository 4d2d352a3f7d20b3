"""`approvals`: what processes ask people to decide, about what was shown and nothing else."""

from __future__ import annotations

import click

from engine.cli.answer import inline, plain, printable, table
from engine.cli.main import Context, common, pass_context
from engine.cli.masks import masked, sensitive
from engine.sdk.record import Fields, decode_json
from engine.state import approvals as state
from engine.state import canonical, processes
from engine.state.approvals import Approval

BECAUSE = click.option("--because", required=True, help="Why; it stays in the timeline and the audit trail.")


@click.group()
@common
def approvals() -> None:
    """Decisions that process flows ask for. Whoever asked does not decide; what has changed is asked anew."""


def told(one: Approval) -> Fields:
    """An approval as every command prints it."""
    return {
        "id": one.id, "flow": one.flow, "process": one.instance, "step": one.step, "queue": one.queue, "message": one.message,
        "state": one.state, "digest": one.digest.hex(), "requested_by": one.requested_by, "requested_at": one.requested_at,
        "expires": one.expires, "escalated": bool(one.escalated), "decided_by": one.decided_by, "decided_at": one.decided_at,
        "because": one.because,
    }  # fmt: skip


@approvals.command("list")
@click.option("--queue", help="Of one queue.")
@click.option("--flow", help="Of one flow.")
@click.option("--all", "everything", is_flag=True, help="Those that are decided, too.")
@common
@pass_context
def list_approvals(context: Context, queue: str | None, flow: str | None, everything: bool) -> None:
    """Decisions that are asked for, the oldest first."""
    with context.store.read() as tx:
        rows = [told(one) for one in state.listed(tx, queue, flow, everything=everything)]

    def text() -> None:
        head = ("id", "queue", "flow", "step", "state", "expires", "message")
        table(head, [[plain(one[name]) for name in head] for one in rows])

    context.answer({"approvals": rows}, text)


@approvals.command("show")
@click.argument("id")
@common
@pass_context
def show(context: Context, id: str) -> None:
    """One decision with the record that it is about; sensitive fields are masked."""
    from engine.run.decisions import approval_of, instance_of

    with context.store.read() as tx:
        one = approval_of(tx, id)
        about = instance_of(tx, one.instance)
        stored = canonical.get(tx, about.entity, [about.canonical_id]).get(about.canonical_id)
        moments = [moment for moment in processes.timeline(tx, about.id) if moment.step == one.step]
    record = masked(decode_json(stored.data), sensitive(context.workspace, about.entity)) if stored else {}

    def text() -> None:
        for name, value in told(one).items():
            click.echo(f"{name}: {inline(value) if not isinstance(value, str) else plain(value)}")
        click.echo(f"{about.entity} {about.canonical_id}:")
        for name, value in record.items():
            click.echo(f"    {name}: {inline(value, width=400)}")
        for moment in moments:
            click.echo(printable(f"{moment.at}  {moment.what}"))

    context.answer({"approval": {**told(one), "entity": about.entity, "record": record}}, text)


def _decide(context: Context, id: str, verdict: str, because: str) -> None:
    from engine.run.decisions import decide

    one = decide(context.runner(), id, verdict, context.actor, because)
    text = f"{id} is {one.state}: {one.instance} goes on with `crosswalk serve`, or with the next `crosswalk run {one.flow}`"
    context.answer({"approval": told(one)}, lambda: click.echo(text))


@approvals.command("approve")
@click.argument("id")
@BECAUSE
@common
@pass_context
def approve(context: Context, id: str, because: str) -> None:
    """Approve what was shown, once. Refused where it has changed meanwhile, or where you asked for it yourself.

    \b
      crosswalk approvals list --queue pmo
      crosswalk approvals approve v-1 --because "within the budget"
    """
    _decide(context, id, "approve", because)


@approvals.command("reject")
@click.argument("id")
@BECAUSE
@common
@pass_context
def reject(context: Context, id: str, because: str) -> None:
    """Reject it: what the process did so far is taken back. A record that changes afterwards starts anew."""
    _decide(context, id, "reject", because)
