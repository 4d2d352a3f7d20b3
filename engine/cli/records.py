"""`trace`, `explain`: where a record has been, where a value came from."""

from __future__ import annotations

from typing import Any

import click

from engine.cli.answer import inline, plain, printable
from engine.cli.life import life, show_life
from engine.cli.main import Context, common, pass_context
from engine.cli.masks import MASK, sensitive
from engine.sdk.errors import Problem, UsageError
from engine.sdk.record import Fields, decode_json
from engine.state import breaks, canonical, ledger, operations, processes
from engine.state import links as state
from engine.state.store import Tx


def record_id(context: Context, tx: Tx, text: str) -> tuple[str, str]:
    """(entity, canonical id) of RECORD: a canonical id, or `connection:native_id`."""
    connection, colon, native = text.partition(":")
    if colon:
        context.workspace.connection(connection)
        found = state.of_native(tx, connection, native)
        if found:
            return found[0].entity, found[0].canonical_id
    else:
        text = next((one.canonical_id for one in state.of_native(tx, state.ALIAS, text)), text)  # it was merged
        entity = canonical.entity_of(tx, text, context.workspace.names("schema"))
        if entity is not None:
            return entity, text
    raise UsageError(
        Problem("X908", f"no record {text!r} is known", None, "write a canonical id or connection:native_id")
    )


def link_told(one: state.Link) -> Fields:
    """A link as every command prints it."""
    return {"entity": one.entity, "connection": one.connection, "object": one.object, "native_id": one.native_id,
            "canonical_id": one.canonical_id, "part": one.part or None, "state": one.state}  # fmt: skip


@click.command()
@click.argument("record")
@common
@pass_context
def trace(context: Context, record: str) -> None:
    """A record's journey: where it is in its life and what belongs to it, where it is linked, what each target got, its
    history, writes and exceptions."""
    with context.store.read() as tx:
        entity, id = record_id(context, tx, record)
        stored = canonical.get(tx, entity, [id]).get(id)
        told: Fields = {
            "record": id,
            "entity": entity,
            "version": stored.version if stored else None,
            "deleted": stored.deleted if stored else None,
            **life(context, tx, entity, id, decode_json(stored.data) if stored else {}),
            "links": [link_told(one) for one in state.of_record(tx, id)],
            "deliveries": [
                {"connection": connection, "object": object, "mapping": mapping, "part": row.part or None,
                 "native_id": row.native_id, "deliveries": row.revision, "state": row.state}
                for connection, object, mapping, row in ledger.of_record(tx, id)
            ],
            "history": [
                {"field": field, "old": _decoded(old), "new": _decoded(new), "at": at, "source": source, "run": run}
                for field, old, new, at, source, run in canonical.history_of(tx, id)
            ],
            "writes": [dict(zip(("at", "connection", "object", "kind", "state", "native_id", "run"), row, strict=True))
                       for row in operations.of_record(tx, id)],
            "exceptions": [
                {"id": row[0], "flow": row[1], "code": row[2], "message": row[3], "state": row[4], "opened_at": row[5]}
                for row in tx.rows("SELECT id, flow, code, message, state, opened_at FROM exceptions WHERE canonical_id = ? "
                                   "ORDER BY opened_at", (id,))
            ],
            "breaks": [
                {"id": one.id, "flow": one.flow, "class": one.name, "state": one.state, "first_seen": one.first_seen,
                 "why": one.why or one.cause, "closed_at": one.closed_at}
                for one in breaks.listed(tx, states=("open", "accepted", "closed"), record=id)
            ],
            "processes": [
                {"id": one.id, "flow": one.flow, "state": one.state, "started_at": one.started_at, "finished_at": one.finished_at}
                for one in processes.of_record(tx, id)
            ],
        }  # fmt: skip
    hidden = sensitive(context.workspace, entity)
    for one in told["history"]:
        if one["field"] in hidden:
            one["old"], one["new"] = (MASK if value is not None else None for value in (one["old"], one["new"]))
    context.answer({"trace": told}, lambda: _show_trace(told))


def _decoded(data: Any) -> Any:
    return decode_json(bytes(data)) if data is not None else None


def _show_trace(told: Fields) -> None:
    """Where it is and what each target has, then everything that happened to it in order of time."""
    state = "deleted" if told["deleted"] else f"version {told['version']}" if told["version"] else "not stored yet"
    click.echo(f"{told['entity']} {told['record']} ({state})")
    show_life(told)
    sent = {(one["connection"], one["object"], one["native_id"]): one for one in told["deliveries"]}
    for one in told["links"]:
        delivery = sent.get((one["connection"], one["object"], one["native_id"]))
        times = f", sent {delivery['deliveries']} times, {delivery['state']}" if delivery else ""
        click.echo(printable(f"  is {one['connection']}:{one['native_id']}  {one['object']} ({one['state']}{times})"))
    events = [(one["at"], f"{one['field']}: {plain(one['old'])} → {plain(one['new'])}  (from {one['source']}, run {one['run']})")
              for one in told["history"]]  # fmt: skip
    events += [(one["at"], f"{one['kind']} in {one['connection']} {one['object']}: {one['state']}  (run {one['run']})")
               for one in told["writes"]]  # fmt: skip
    events += [
        (one["opened_at"], f"{one['code']} {one['message']}  ({one['id']}, {one['state']})")
        for one in told["exceptions"]
    ]
    events += [
        (one["started_at"], f"process {one['flow']} began  ({one['id']}, {one['state']})") for one in told["processes"]
    ]
    events += [
        (one["first_seen"], f"{one['flow']} found {one['class']}: {one['why']}  ({one['id']}, {one['state']})")
        for one in told["breaks"]
    ]
    for at, what in sorted(events):
        click.echo(printable(f"  {at}  {what}"))


@click.command()
@click.argument("path", metavar="RECORD.FIELD")
@common
@pass_context
def explain(context: Context, path: str) -> None:
    """Where a value came from: role, connection, version, and the mapping's line."""
    record, dot, name = path.rpartition(".")
    if not dot:
        raise UsageError(Problem("X900", "a field is missing", None, "write RECORD.FIELD, such as crm:001.status"))
    with context.store.read() as tx:
        entity, id = record_id(context, tx, record)
        stored = canonical.get(tx, entity, [id]).get(id)
        since = tx.one("SELECT run, changed_at FROM canonical WHERE entity = ? AND id = ?", (entity, id))
        known = state.of_record(tx, id)
        history = [one for one in canonical.history_of(tx, id) if one[0] == name]
    data = decode_json(stored.data) if stored else {}
    schema = context.workspace.document("schema", entity)
    properties = schema.data.get("properties", {})
    if name not in properties:
        from engine.sdk.errors import unknown_name

        raise UsageError(unknown_name("field", name, properties, None))
    provenance = decode_json(stored.provenance) if stored else {}
    role, connection, version = provenance.get(name) or provenance.get("*") or (None, None, None)
    masked = "x-sensitive" in properties[name]
    value = "••••" if masked and data.get(name) is not None else data.get(name)
    rules = _rules(context, entity, name, connection)
    sources = [
        f"{one.connection}:{one.native_id}" for one in known if one.connection == connection and one.state == "live"
    ]
    run, changed = (history[-1][5], history[-1][3]) if history else since or (None, None)
    told = {"record": id, "field": name, "value": value, "known": name in data, "role": role, "connection": connection,
            "version": version, "source_records": sources, "run": run, "changed_at": changed,
            "exact_run": bool(history), "owner": properties[name].get("x-owner"), "rules": rules}  # fmt: skip

    def text() -> None:
        click.echo(f"{name} = {inline(value, width=400)}" if told["known"] else f"{name} has no value yet")
        if role:
            click.echo(
                printable(f"  from {', '.join(sources) or connection} (role {role}), version {version or 'unknown'}")
            )
        if run:
            what = "the field changed in" if history else "the record changed last in"
            click.echo(f"  {what} run {run} at {changed}")
        click.echo(f"  owner: {told['owner'] or 'none: the latest version wins'}")
        for rule in rules:
            click.echo(f"  rule: {rule['at']}  {rule['reads']}")

    context.answer({"explain": told}, text)


def _rules(context: Context, entity: str, name: str, connection: str | None) -> list[Fields]:
    """The rules that could have given the field: of the mappings that flows read this connection through."""
    found, seen = [], set()
    for flow in context.workspace.names("flow"):
        source = getattr(context.workspace.document("flow", flow).model, "source", None)
        if source is None or source.connection != connection or source.mapping in seen:
            continue
        seen.add(source.mapping)
        document = context.workspace.document("mapping", source.mapping)
        for section in ("inbound", "fields") if document.model.entity == entity else ():
            rule = (getattr(document.model, section) or {}).get(name)
            if rule is not None:
                found.append({"at": str(document.at(section, name)), "reads": rule.from_ or rule.template or rule.each})
                break
    return found
