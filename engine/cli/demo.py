"""`demo` and `sandbox`: the whole thing on the bundled fake systems, over real HTTP on loopback."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import click

from engine.cli.main import Context, common, pass_context
from engine.cli.operate import options_of, show_plans, show_runs
from engine.sdk.errors import Problem, UsageError, unknown_name
from engine.sdk.library import library_folder
from engine.sdk.record import Fields, decode_json

CHAPTERS = {
    "reference data": (
        "legal-entities", "legal-entity-choices", "accounting-periods", "exchange-rates", "cost-centres", "practices", "locations",
        "services", "tax-codes", "vendors", "labour-categories", "rate-cards", "rate-card-versions",
    ),
    "people and clients": ("sellers", "clients", "contacts", "resources-to-erp", "people", "invitations"),
    "contracts and projects": ("contracts", "projects-to-erp", "project-facts", "tasks", "milestones",
                               "contract-terms", "change-requests"),
    "work done": ("time-to-erp", "expenses-to-erp", "usage", "vendor-bills"),
    "billing": (
        "billing-time", "billing-expenses", "billing-milestones", "milestone-billing", "billing-schedules", "billing-usage", "billing-changes",
        "billing-pass-through", "intercompany", "billing-to-invoices", "invoices-to-psa", "invoice-status-to-crm",
    ),
    "cash and books": ("payments", "payments-to-psa", "credit-status", "journals-to-erp", "revenue-schedules", "period-close"),
}  # fmt: skip
FLOWS = tuple(flow for flows in CHAPTERS.values() for flow in flows)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default="crosswalk-demo", required=False)
@common
@pass_context
def demo(context: Context, folder: Path) -> int:
    """Clients, projects, people, approved time and expenses flow from a CRM and a PSA into an ERP, invoices back.

    Makes a workspace in FOLDER, runs its flows twice (the second run writes nothing), changes one field in the CRM,
    shows the plan, and runs again.
    """
    from engine.cli.sandboxes import running

    if (folder / "crosswalk.yaml").exists():
        raise UsageError(
            Problem("X911", f"there is a workspace in {folder.name} already", None, "name another folder, or remove it")
        )
    shutil.copytree(example_folder(), folder, dirs_exist_ok=True)
    context.folder = folder
    runner, told = context.runner(), {}
    said = (lambda text: None) if context.json else click.echo

    said(
        f"A workspace in {folder.name}/, three systems on loopback, {len(FLOWS)} flows from the library.\n\nFirst run:"
    )
    told["first"] = [runner.run(name, options_of()).run for name in FLOWS]
    if not context.json:
        show_runs(told["first"], [])
    said("\nSecond run of the same flows, read in full — nothing is to be written:")
    told["second"] = [runner.run(name, options_of(full=True)).run for name in FLOWS]
    if not context.json:
        show_runs(told["second"], [])

    sandbox = running(context.workspace.folder)
    account = sandbox.get("salesforce", "Account", "001000000000003AAA")
    sandbox.set("salesforce", "Account", account["Id"], {"Phone": "+44 20 5550 9999"})
    said(f"\nSomebody changes the telephone of {account['Name']} in the CRM. `crosswalk plan clients` says:")
    plan = runner.run("clients", options_of(plan=True))
    shown = [{key: value for key, value in one.items() if key != "planned"} for one in plan.changes]
    told["plan"] = [{**plan.run, "calls": plan.calls, "changes": shown}]
    if not context.json:
        show_plans(told["plan"])
    said("\nand `crosswalk run clients` does it:")
    told["third"] = [runner.run("clients", options_of()).run]
    if not context.json:
        show_runs(told["third"], [])
        _next_steps(folder)
    writes = sum(one[name] for one in told["second"] for name in ("created", "updated", "deleted"))
    good = writes == 0 and told["third"][0]["updated"] == len(shown) == 2
    context.answer({"demo": {**told, "workspace": folder.name, "as_expected": good}}, lambda: None)
    return 0 if good else 1


def example_folder() -> Path:
    """The workspace that the demo copies: examples/quote_to_cash."""
    return library_folder() / "examples/quote_to_cash"


def _next_steps(folder: Path) -> None:
    click.echo(f"""
Try next, in {folder.name}/:
  1. crosswalk exceptions list
       what is not right, line by line; `crosswalk exceptions show ID` has the whole record
  2. crosswalk sandbox edit kantata workspaces 3 '{{"status": {{"key": "active"}}}}' && crosswalk run projects-to-erp time-to-erp
       open the closed project: its time goes to the ERP by itself
  3. edit mappings/netsuite/customer.yaml, then crosswalk plan clients --full
       every client that your change would touch, old → new, before anything is written
Look around: crosswalk trace crm:001000000000003AAA · crosswalk explain crm:001000000000003AAA.phone · crosswalk validate""")


@click.group()
@common
def sandbox() -> None:
    """The bundled fake systems of this workspace; their data stays in .crosswalk/sandbox."""


@sandbox.command("start")
@click.option("--for", "seconds", type=float, help="Stop after so many seconds.")
@click.option("--faults", type=click.Path(path_type=Path, dir_okay=False), help="YAML list of what goes wrong.")
@click.option("--seed", type=int, default=1, show_default=True, help="Decides the faults that are left to chance.")
@common
@pass_context
def start(context: Context, seconds: float | None, faults: Path | None, seed: int) -> None:
    """Serve the fake systems until Ctrl-C, for other clients (commands start them by themselves).

    With --faults they fail on purpose, the same way for the same seed; docs/delivery.md says what for.
    """
    from engine.cli.sandboxes import inject, running

    box = running(context.workspace.folder)
    if faults is not None:
        inject(box, faults, seed)
    rows = {name: {"url": box.url(name), "credentials": box.credentials(name)} for name in box.servers}

    def text() -> None:
        for name, row in rows.items():
            click.echo(f"{name}: {row['url']}  {row['credentials']}")

    context.answer({"sandbox": rows}, text)
    end = time.monotonic() + seconds if seconds is not None else None
    while end is None or time.monotonic() < end:
        time.sleep(0.1)


def _object(context: Context, system: str, object: str) -> Any:
    from engine.cli.sandboxes import running

    box = running(context.workspace.folder)
    if system not in box.servers:
        raise UsageError(unknown_name("sandbox", system, box.servers, None))
    return box


@sandbox.command("edit")
@click.argument("system")
@click.argument("object")
@click.argument("id")
@click.argument("fields")
@common
@pass_context
def edit(context: Context, system: str, object: str, id: str, fields: str) -> None:
    """Change a record as its user would: sandbox edit salesforce Account ID '{"Phone": "1"}'."""
    box = _object(context, system, object)
    try:
        given: Fields = decode_json(fields)
    except ValueError as error:
        raise UsageError(
            Problem("X900", f"the fields are not JSON: {error}", None, 'write \'{"Phone": "1"}\'')
        ) from None
    if box.get(system, object, id) is None:
        raise UsageError(
            Problem("X908", f"{system} has no {object} {id!r}", None, f"see `crosswalk sandbox list {system} {object}`")
        )
    box.set(system, object, id, given)
    context.answer({"edited": id}, lambda: click.echo(f"{system} {object} {id}: {', '.join(given)} changed"))


@sandbox.command("list")
@click.argument("system")
@click.argument("object")
@common
@pass_context
def list_records(context: Context, system: str, object: str) -> None:
    """The records of an object."""
    rows = _object(context, system, object).all(system, object)

    def text() -> None:
        for row in rows:
            key = row.get("Id") or row.get("id")
            label = next(
                (
                    row[name]
                    for name in ("Name", "title", "name", "full_name", "companyName", "tranId")
                    if row.get(name)
                ),
                "",
            )
            click.echo(f"{key}  {label}")

    context.answer({"records": rows}, text)
