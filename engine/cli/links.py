"""`links`: which native records are one canonical record; found, said, imported, decided."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.answer import plain, printable
from engine.cli.chosen import row_of, still_open
from engine.cli.main import Context, common, pass_context
from engine.cli.operate import exit_code, options_of, progress, show_runs
from engine.cli.records import link_told, record_id
from engine.cli.relinks import merge, remap, split
from engine.cli.samples import rows_of
from engine.sdk.errors import CrosswalkError, Position, Problem, Problems, UsageError
from engine.sdk.record import Fields
from engine.state import audit, exceptions, inputs, operations
from engine.state import links as state
from engine.state.kept import kept_of
from engine.state.store import Tx

if TYPE_CHECKING:
    from engine.spec.sync import SyncFlow

COLUMNS = ("entity", "connection", "object", "native_id", "record")


@click.group()
@common
def links() -> None:
    """The crosswalk: which native ids are one canonical record."""


for command in (merge, split, remap):
    links.add_command(command)


@links.command("find")
@click.argument("record")
@common
@pass_context
def find(context: Context, record: str) -> None:
    """Every link of a record."""
    with context.store.read() as tx:
        _, id = record_id(context, tx, record)
        rows = [link_told(one) for one in state.of_record(tx, id)]

    def text() -> None:
        click.echo(f"canonical id {id}")
        for row in rows:
            click.echo(f"  {row['connection']}:{printable(row['native_id'])}  {row['object']} ({row['state']})")

    context.answer({"links": rows}, text)


@links.command("add")
@click.argument("entity")
@click.argument("object")
@click.argument("native")
@click.argument("canonical_id")
@common
@pass_context
def add(context: Context, entity: str, object: str, native: str, canonical_id: str) -> None:
    """Say that a native record is a canonical one: links add client Account crm:001 CANONICAL_ID."""
    connection, _, native_id = native.partition(":")
    context.workspace.connection(connection)
    context.workspace.document("schema", entity)
    with context.store.begin("links add") as tx:
        _put(
            tx,
            state.Link(entity, connection, object, native_id, canonical_id, "", "live", "by hand"),
            "remove that link first",
        )
        operations.decide(tx, canonical_id, "", "confirmed", where=(connection, object), native=native_id)
        audit.append(tx, context.actor, "links add", f"{native} = {canonical_id}")
    context.answer({"added": native}, lambda: click.echo("added"))


def _put(tx: Tx, link: state.Link, hint: str) -> None:
    conflicts = state.put(tx, [link])
    if conflicts:
        raise UsageError(_taken(conflicts[0].standing, None, hint))


def _taken(standing: state.Link, at: Position | None, hint: str) -> Problem:
    return Problem("X909", f"{standing.connection}:{standing.native_id} is linked to {standing.canonical_id}", at, hint)


@links.command("remove")
@click.argument("native")
@common
@pass_context
def remove(context: Context, native: str) -> None:
    """Forget what a native record is linked to."""
    connection, _, native_id = native.partition(":")
    with context.store.begin("links remove") as tx:
        found = state.of_native(tx, connection, native_id)
        if not found:
            raise UsageError(Problem("X908", f"{native!r} is not linked", None, "write connection:native_id"))
        for one in found:
            state.remove(tx, one)
        inputs.forget(tx, [one.canonical_id for one in found])
        audit.append(tx, context.actor, "links remove", native)
    context.answer({"removed": len(found)}, lambda: click.echo(f"{len(found)} removed"))


@links.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@common
@pass_context
def import_links(context: Context, file: Path) -> None:
    """Say of many records at once which are one: a CSV file, all of it or nothing.

    Columns: entity, connection, object, native_id, record; `part` where there are parts. `record` is a canonical id or
    connection:native_id of a record that is linked, or stands further up in the file; empty for a record of its own.
    """
    rows = rows_of(file, COLUMNS)
    problems, wanted = Problems(), list[tuple[Position, state.Link]]()
    here: dict[tuple[str, str, str], str] = {}
    with context.store.begin("links import") as tx:
        for at, row in rows:
            try:
                link = _link(context, tx, row, here)
                here[link.entity, link.connection, link.native_id] = link.canonical_id
                wanted.append((at, link))
            except CrosswalkError as error:
                problems.extend(Problem(one.code, one.message, at, one.hint) for one in error.problems)
        places = {link: at for at, link in wanted}
        conflicts = state.put(tx, list(places))
        problems.extend(
            _taken(one.standing, places[one.wanted], "remove that link first, or take the line out")
            for one in conflicts
        )
        problems.raise_any(UsageError)
        audit.append(tx, context.actor, "links import", file.name, {"links": len(places)})
    context.answer({"imported": len(places)}, lambda: click.echo(f"{len(places)} links imported"))


def _link(context: Context, tx: Tx, row: dict[str, str], here: dict[tuple[str, str, str], str]) -> state.Link:
    from engine.run.identity import new_identity

    entity, connection, object, native = (row[name] for name in COLUMNS[:4])
    if not all((entity, connection, object, native)):
        raise UsageError(Problem("X912", "a cell is empty", None, "only `record` and `part` may be"))
    if entity not in context.workspace.names("schema") or connection not in context.workspace.settings.connections:
        raise UsageError(Problem("X908", f"there is no entity {entity!r} or no connection {connection!r}", None,
                                 "write them as the workspace has them"))  # fmt: skip
    system, colon, other = row["record"].partition(":")
    if not row["record"]:
        id = new_identity(entity, connection, object, native)
    elif colon and (entity, system, other) in here:
        id = here[entity, system, other]
    else:
        found, id = record_id(context, tx, row["record"])
        if found != entity:
            raise UsageError(
                Problem("X908", f"{row['record']} is a {found}, not a {entity}", None, "write one of its own kind")
            )
    return state.Link(entity, connection, object, native, id, row.get("part", ""), "live", "import")


@links.command("review")
@click.argument("id", required=False)
@click.option("--link", "what", help="It is this one: a canonical id or connection:native_id.")
@click.option("--new", "anew", is_flag=True, help="It is none of them: a record of its own.")
@common
@pass_context
def review(context: Context, id: str | None, what: str | None, anew: bool) -> int:
    """Records that may be several others: list them with their candidates, or decide one, which then goes on.

    \b
      crosswalk links review
      crosswalk links review x-1 --link crm:001
      crosswalk links review x-1 --new
    """
    if id is None:
        _list(context)
        return 0
    row = row_of(context, id)
    still_open(row, "decided")
    if row.exception_class != "ambiguous_match":
        raise UsageError(
            Problem(
                "X907", f"{id} is of the class {row.exception_class}", None, "only an ambiguous match is decided here"
            )
        )
    if (what is None) != anew:
        raise UsageError(Problem("X900", "it is not said which one it is", None, "add --link RECORD or --new"))
    flow = context.workspace.document("flow", row.flow).model
    with context.store.begin("links review") as tx:
        target = next((one for one in flow.targets if (one.name or one.connection) == row.target), None)
        link = _decided(context, tx, row, flow, target, what)
        if link is not None:
            _put(tx, link, "merge the two in their system, or decide with --new")
        told = {"link": what} if what else {"link": "new"}
        audit.append(tx, context.actor, "links review", id, told)
    runner = context.runner(progress)
    apart = (link.canonical_id if link is not None else str(row.canonical_id),) if anew else ()
    ended = runner.run(row.flow, options_of(trigger="review", replay=True, chosen=(id,), apart=apart)).run
    context.answer({"runs": [ended]}, lambda: show_runs([ended], []))
    return exit_code([str(ended["state"])])


def _decided(
    context: Context, tx: Tx, row: exceptions.Row, flow: SyncFlow, target: Any, what: str | None
) -> state.Link | None:
    """The link that a decision makes; None where the target is to make a record of its own."""
    from engine.run.identity import new_identity

    if target is not None:
        if what is None:
            return None
        object = context.workspace.document("mapping", target.mapping).model.object
        native = what.removeprefix(f"{target.connection}:")
        return state.Link(
            flow.entity, target.connection, object, native, str(row.canonical_id), row.part, "live", "review"
        )
    source = flow.source.connection
    object = context.workspace.document("mapping", flow.source.mapping).model.object or ""
    if what is None:
        record = new_identity(flow.entity, source, object, row.key)
    else:
        entity, record = record_id(context, tx, what)
        if entity != flow.entity:
            raise UsageError(
                Problem("X908", f"{what} is a {entity}, not a {flow.entity}", None, "name one of its candidates")
            )
    return state.Link(flow.entity, source, object, row.key, record, "", "live", "review")


def _list(context: Context) -> None:
    from engine.run.review import candidates

    with context.store.read() as tx:
        rows = exceptions.listed(tx, exception_class="ambiguous_match")
        kept = kept_of(tx, [row.id for row in rows])
    found: dict[str, list[Fields]] = {}
    for flow in dict.fromkeys(one.flow for one in kept):
        found |= candidates(context.workspace, context.store, flow, [one for one in kept if one.flow == flow])
    told: list[Fields] = [{"id": row.id, "flow": row.flow, "key": row.key, "target": row.target or None, "message": row.message,
             "candidates": found.get(row.id, [])} for row in rows]  # fmt: skip

    def text() -> None:
        for one in told:
            click.echo(printable(f"{one['id']}  {one['flow']}  {one['message']}"))
            for each in one["candidates"]:
                known = (
                    f"{each['record']}  {plain(each['label'])}  {' '.join(each['links'])}"
                    if "record" in each
                    else each["native"]
                )
                click.echo(printable(f"    {known}"))
        click.echo(
            f"{len(told)} to decide: crosswalk links review ID --link RECORD, or --new" if told else "nothing to decide"
        )

    context.answer({"reviews": told}, text)
