"""`sandbox`: the bundled fake systems of a workspace, for people and for other clients."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from engine.cli.main import Context, common, pass_context
from engine.sdk.errors import Problem, UsageError, unknown_name
from engine.sdk.record import Fields, decode_json


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


def _given(text: str) -> Fields:
    """The fields of a record as the command line gives them. Raises UsageError."""
    try:
        fields: Fields = decode_json(text)
    except ValueError as error:
        raise UsageError(
            Problem("X900", f"the fields are not JSON: {error}", None, 'write \'{"Phone": "1"}\'')
        ) from None
    return fields


@sandbox.command("add")
@click.argument("system")
@click.argument("object")
@click.argument("fields")
@common
@pass_context
def add(context: Context, system: str, object: str, fields: str) -> None:
    """Add a record as a user of the system would, by its rules: sandbox add netsuite customerPayment '{…}'."""
    box, given = _object(context, system, object), _given(fields)
    try:
        made = box.add(system, object, given)
    except Exception as error:  # noqa: BLE001 - each fake has refusals of its own
        told = str(error) or type(error).__name__
        raise UsageError(
            Problem(
                "X908", f"{system} does not take it: {told}", None, f"see `crosswalk sandbox list {system} {object}`"
            )
        ) from None
    context.answer({"added": made}, lambda: click.echo(f"{system} {object} {made} added"))


@sandbox.command("edit")
@click.argument("system")
@click.argument("object")
@click.argument("id")
@click.argument("fields")
@common
@pass_context
def edit(context: Context, system: str, object: str, id: str, fields: str) -> None:
    """Change a record as its user would: sandbox edit salesforce Account ID '{"Phone": "1"}'."""
    box, given = _object(context, system, object), _given(fields)
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
