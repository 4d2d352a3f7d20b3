"""`connectors`, `state`, `doctor`: what a connection offers, and care of the installation."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.answer import printable
from engine.cli.main import Context, common, pass_context
from engine.sdk.errors import CrosswalkError
from engine.sdk.record import Fields


@click.group()
@common
def connectors() -> None:
    """What the connections of the workspace offer."""


@connectors.command("list")
@common
@pass_context
def list_connectors(context: Context) -> None:
    """Connectors that are installed, and the workspace's connections."""
    from engine.spec.connection import installed

    workspace = context.workspace
    manifests = workspace.names("connector")
    rows = [{"connection": name, "connector": workspace.connection(name).connector, "role": workspace.connection(name).role}
            for name in workspace.settings.connections]  # fmt: skip
    known = sorted({*installed(), *manifests} - {"rest"})

    def text() -> None:
        for row in rows:
            click.echo(f"{row['connection']}: {row['connector']} (role {row['role']})")
        click.echo(f"connectors: {', '.join(known)}")

    context.answer({"connections": rows, "connectors": known}, text)


@connectors.command("describe")
@click.argument("connection")
@click.argument("object", required=False)
@common
@pass_context
def describe(context: Context, connection: str, object: str | None) -> None:
    """The objects of a connection, or one object's fields."""
    with context.workspace.connector(connection) as connector:
        if object is None:
            names = connector.objects()
            context.answer({"objects": names}, lambda: click.echo("\n".join(names)))
            return
        info = connector.metadata(object)
    told: Fields = {
        "object": info.name, "key": list(info.key), "modified": info.modified, "class": info.write_class,
        "operations": sorted(info.operations), "marker": info.marker, "late": f"{info.late:g}s", "index": f"{info.index:g}s",
        "fields": [{"name": one.name, "type": one.type, "required": one.required, "writable": one.writable,
                    "max_length": one.max_length, "values": list(one.values) if one.values else None}
                   for one in info.fields],
    }  # fmt: skip

    def text() -> None:
        for name in ("object", "key", "modified", "class", "operations", "marker"):
            click.echo(f"{name}: {told[name]}")
        for one in told["fields"]:
            click.echo(f"  {one['name']}: {one['type']}{' required' if one['required'] else ''}")

    context.answer({"describe": told}, text)


@connectors.command("check")
@click.argument("connections", nargs=-1)
@common
@pass_context
def check(context: Context, connections: tuple[str, ...]) -> int:
    """Try connections: reachable, credentials, rights."""
    rows = []
    for name in connections or tuple(context.workspace.settings.connections):
        try:
            with context.workspace.connector(name) as connector:
                found = connector.check()
            rows += [{"connection": name, "ok": one.ok, "what": one.what, "hint": one.hint} for one in found]
        except CrosswalkError as error:
            rows.append({"connection": name, "ok": False, "what": str(error.problem), "hint": error.problem.hint})

    def text() -> None:
        for row in rows:
            click.echo(printable(f"{'ok  ' if row['ok'] else 'FAIL'} {row['connection']}: {row['what']}"))

    context.answer({"checks": rows}, text)
    return 0 if all(row["ok"] for row in rows) else 1


@click.group()
@common
def state() -> None:
    """The state's database."""


@state.command("upgrade")
@common
@pass_context
def upgrade(context: Context) -> None:
    """Bring the state to this version."""
    from engine.state.migrations import migrate
    from engine.state.store import Store

    workspace = context.workspace
    store = Store.open(workspace.settings.state, workspace.folder, migrate_later=True)
    try:
        version = migrate(store)
    finally:
        store.close()
    context.answer({"version": version}, lambda: click.echo(f"the state is at version {version}"))


@state.command("backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@common
@pass_context
def backup(context: Context, file: Path) -> None:
    """A consistent copy of a SQLite state, while others write."""
    from engine.state.care import backup as copy

    path = copy(context.store, file)
    context.answer({"backup": path.name}, lambda: click.echo(f"written: {path.name}"))


@state.command("prune")
@common
@pass_context
def prune(context: Context) -> None:
    """Remove what is older than its retention."""
    from engine.state.care import prune as remove

    retention = context.workspace.settings.retention
    keep = {
        name: span
        for name in ("exceptions", "inputs", "operations", "history", "inbox", "events", "reconciliations")
        if (span := getattr(retention, name)) is not None
    }
    removed = remove(context.store, keep)
    context.answer(
        {"removed": removed}, lambda: click.echo(", ".join(f"{count} {name}" for name, count in removed.items()))
    )


@click.command()
@common
@pass_context
def doctor(context: Context) -> int:
    """Look the installation over: documents, state, runs that died, exceptions that wait."""
    from engine.cli.runs import open_alerts
    from engine.compile.workspace import problems_of
    from engine.state import ticks, units
    from engine.state.care import sizes

    problems = problems_of(context.workspace)
    counts = sizes(context.store)
    with context.store.read() as tx:
        died = tx.rows("SELECT id FROM runs WHERE state = 'running'")
        given_up, rests = units.given_up(tx), ticks.paused(tx)
        doubt = tx.rows("SELECT op_key FROM operations WHERE state IN ('sent', 'in_doubt')")
    checks = [
        {"ok": not problems, "what": f"{len(problems)} faults in documents" if problems else "documents are sound"},
        {
            "ok": True,
            "what": f"the state at {context.store.url} holds {counts['canonical']:,} records, {counts['links']:,} links",
        },
        {"ok": True, "what": f"{counts['exceptions']:,} exceptions in all"},
        {"ok": not doubt, "what": f"{len(doubt)} writes without a known outcome"},
        {"ok": True, "what": f"{len(died)} runs are going on"},
        *({"ok": False, "what": f"given up: {kind} {key}: {why}"} for kind, key, why in given_up),
        *(
            {"ok": True, "what": f"{one.flow} is paused since {one.since[:19]}Z by {one.person}: {one.because}"}
            for one in rests.values()
        ),
        *(
            {
                "ok": False,
                "what": f"{one['flow']}: `{one['expectation']}: {one['limit']}` is missed: {one['reached']}, "
                f"since {one['since'][:19]}Z",
            }
            for one in open_alerts(context)
        ),
    ]

    def text() -> None:
        for one in checks:
            click.echo(printable(f"{'ok  ' if one['ok'] else 'LOOK'} {one['what']}"))

    context.answer({"checks": checks}, text)
    return 0 if all(one["ok"] for one in checks) else 1
