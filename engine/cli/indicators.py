"""`indicators`: what the business measures say, what is over its limit, and which records are behind it."""

from __future__ import annotations

from typing import Any

import click

from engine.cli.answer import plain, printable, table
from engine.cli.main import Context, common, pass_context
from engine.cli.masks import sensitive
from engine.sdk.record import Fields


@click.command()
@click.argument("names", nargs=-1)
@click.option("--dashboard", help="Only those of this dashboard, such as quote-to-cash.")
@click.option(
    "--records", type=click.IntRange(1, 1000), help="Show so many of the records behind each, the oldest first."
)
@click.option("--history", is_flag=True, help="Show what each was before.")
@common
@pass_context
def indicators(
    context: Context, names: tuple[str, ...], dashboard: str | None, records: int | None, history: bool
) -> int:
    """Business indicators as they are now, with causes and amounts at risk. What is over its limit opens an alert.

    \b
      crosswalk indicators
      crosswalk indicators time-not-invoiced --records 20
    """
    from engine.run.indicators import judge, relevant
    from engine.state.indicators import readings

    workspace = context.workspace
    for name in names:
        workspace.document("indicator", name)
    with context.store.read() as tx:
        wanted = list(names) or relevant(tx, workspace)
    if dashboard is not None:
        wanted = [one for one in wanted if dashboard in workspace.document("indicator", one).model.dashboards]
    values = judge(context.store, workspace, wanted, keep=records or 0)
    told = []
    for value in values:
        one = value.told()
        if records:
            one["records"] = [_row(context, value, row) for row in value.rows]
        if history:
            with context.store.read() as tx:
                past = readings(tx, value.plan.name)
            one["history"] = [{"at": row.at, "value": row.value, "count": row.rows, "amount": row.amount, "over": row.over}
                              for row in past]  # fmt: skip
        told.append(one)
    context.answer({"indicators": told}, lambda: _show(told))
    return 3 if any(one["error"] for one in told) else 0


def _row(context: Context, value: Any, row: Any) -> Fields:
    """A record behind an indicator, by the name that people know it by."""
    entity = value.plan.indicator.entity
    label = None
    if entity is not None:
        name = context.workspace.document("schema", entity).data.get("x-label")
        label = row.record.get(name) if name and name not in sensitive(context.workspace, entity) else None
    else:
        label = row.record.get("key") or row.record.get("flow") or row.record.get("native_id")
    return {"id": row.id, "label": label, "hours": row.hours, "cause": row.cause, "amount": row.amount}


def _show(told: list[Fields]) -> None:
    from engine.run.measures import shown

    rows = [
        ["!" if one["over"] else "", str(one["title"]), "?" if one["error"] else shown(one["value"], one["unit"]), one["limit"] or "",
         f"{one['count']:,}", _money(one["amount"]), one["owner"] or ""]
        for one in told
    ]  # fmt: skip
    table(("", "indicator", "now", "limit", "rows", "amount at risk", "owner"), rows, right=("now", "limit", "rows"))
    for one in told:
        if one["causes"] or one["groups"] or one.get("records") or one.get("history"):
            _show_one(one)
    for one in told:
        if one["error"]:
            click.echo(printable(one["error"]["message"]))
    over = [one["title"] for one in told if one["over"]]
    if over:
        click.echo(f"{len(over)} over the limit: {', '.join(over)}")


def _show_one(one: Fields) -> None:
    from engine.run.measures import shown

    click.echo(printable(f"{one['title']} ({one['indicator']})"))
    for cause in one["causes"]:
        click.echo(printable(f"  because: {cause['cause']}: {cause['count']:,} {_money(cause['amount'])}".rstrip()))
    for group in one["groups"]:
        by = ", ".join(f"{name} {plain(value)}" for name, value in group["by"].items())
        said = group["value"] is None or group["value"] == group["count"]
        value = "" if said else f", {shown(group['value'], one['unit'])}"
        click.echo(printable(f"  {by}: {group['count']:,}{value} {_money(group['amount'])}".rstrip()))
    for row in one.get("records", ()):
        parts = [row["id"], str(row["label"] or ""), shown(row["hours"], "hours") if row["hours"] is not None else "",
                 str(row["cause"] or ""), _money({row["amount"]["currency"]: row["amount"]["amount"]} if row["amount"] else {})]  # fmt: skip
        click.echo(printable("  " + "  ".join(part for part in parts if part)))
    for past in one.get("history", ()):
        click.echo(f"  {past['at'][:19]}Z  {shown(past['value'], one['unit'])}  ({past['count']:,} rows)")


def _money(amounts: Fields) -> str:
    return ", ".join(f"{amount:,.2f} {currency}" for currency, amount in sorted(amounts.items()))
