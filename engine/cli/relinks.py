"""`links merge|split|remap`: two records that are one, a link that belongs to another record, native ids that changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from engine.cli.answer import printable
from engine.cli.main import Context, common, pass_context
from engine.cli.records import link_told, record_id
from engine.cli.samples import rows_of
from engine.sdk.errors import Position, Problem, Problems, UsageError
from engine.state import audit, canonical, leases, relinks
from engine.state import links as state
from engine.state.store import Tx

PLAN = click.option("--plan", "plan", is_flag=True, help="Say what would change, and change nothing.")


class Planned(Exception):
    """The end of a command that only plans."""


@contextmanager
def _alone(tx: Tx, flows: Iterable[str], plan: bool) -> Iterator[None]:
    """While none of these flows runs. Raises UsageError R606; where it is only a plan, Planned at the end."""
    held = []
    for flow in sorted(flows):
        lease = leases.claim(tx, f"flow:{flow}")
        if lease is None:
            hint = "wait until it is over, or stop it with `crosswalk runs cancel`"
            raise UsageError(Problem("R606", f"a run of {flow} is going on", None, hint))
        held.append(lease)
    yield
    for lease in held:
        leases.release(tx, lease)
    if plan:
        raise Planned


def _settled(tx: Tx, ids: Iterable[str]) -> None:
    count = relinks.open_writes(tx, ids)
    if count:
        raise UsageError(Problem("R606", f"{count} of its writes have no known outcome yet", None,
                                 "run the flow until they are settled; see `crosswalk exceptions list`"))  # fmt: skip


def _flows_of(context: Context, entity: str) -> list[str]:
    return [name for name in context.workspace.names("flow")
            if getattr(context.workspace.document("flow", name).model, "entity", None) == entity]  # fmt: skip


def _references(context: Context, entity: str) -> dict[str, list[str]]:
    """Entity → paths of its fields that name this one."""
    from engine.compile.registry import Registry

    registry = Registry(context.workspace)
    found = {
        name: [path for path, entities in registry.schema(name).refs.items() if {entity, "any"} & set(entities)]
        for name in context.workspace.names("schema")
    }
    return {name: paths for name, paths in found.items() if paths}


@click.command()
@click.argument("double")
@click.argument("record")
@PLAN
@common
@pass_context
def merge(context: Context, double: str, record: str, plan: bool) -> None:
    """Make one record of two: DOUBLE becomes RECORD, with its links, deliveries and what refers to it.

    Fields that RECORD lacks come from DOUBLE; its id goes on to mean RECORD, and nothing makes it again.

    \b
      crosswalk links merge crm:002 crm:001 --plan
    """
    with context.store.read() as tx:
        entity, old = record_id(context, tx, double)
        other, kept = record_id(context, tx, record)
    if entity != other or old == kept:
        code, why = "X907", f"{double} is {record} already"
        if entity != other:
            code, why = "X908", f"{double} is a {entity}, {record} is a {other}"
        raise UsageError(Problem(code, why, None, "name two records of one kind"))
    refs = _references(context, entity)
    with suppress(Planned), context.store.begin("links merge") as tx, _alone(tx, _flows_of(context, entity), plan):
        _settled(tx, (old, kept))
        clashes = relinks.clashes(tx, old, kept)
        if clashes:
            one, two = clashes[0]
            raise UsageError(Problem("X909", f"{one.connection} has both: {one.native_id} and {two.native_id}", None,
                                     f"merge them there, then take the one that went off: crosswalk links split "
                                     f"{one.connection}:{one.native_id}"))  # fmt: skip
        counts = relinks.merge(tx, entity, old, kept, refs, "merge")
        audit.append(tx, context.actor, "links merge", kept, {"double": old, **counts})
    told = {"record": kept, "double": old, "entity": entity, **counts, "plan": plan}

    def text() -> None:
        click.echo(f"{entity} {old} {'would become' if plan else 'is now'} {kept}: {_counted(counts)}")

    context.answer({"merged": told}, text)


@click.command()
@click.argument("native")
@PLAN
@common
@pass_context
def split(context: Context, native: str, plan: bool) -> None:
    """Take a native record off its record: it becomes one of its own, and the other may get another in its place.

    \b
      crosswalk links split erp:17 --plan
    """
    connection, _, native_id = native.partition(":")
    with context.store.read() as tx:
        found = [one for one in state.of_native(tx, connection, native_id) if one.connection != state.ALIAS]
    if not found:
        raise UsageError(Problem("X908", f"{native!r} is not linked", None, "write connection:native_id"))
    flows = {flow for one in found for flow in _flows_of(context, one.entity)}
    told = []
    with suppress(Planned), context.store.begin("links split") as tx, _alone(tx, flows, plan):
        for one in found:
            _settled(tx, (one.canonical_id,))
            others = [two for two in state.of_record(tx, one.canonical_id) if two != one and two.state == "live"]
            if not others:
                hint = "nothing else is linked to it; `links remove` forgets a link"
                raise UsageError(Problem("X907", f"{native} is all that its {one.entity} is linked to", None, hint))
            fresh = _fresh(tx, one)
            relinks.split(tx, one, fresh, "split")
            audit.append(tx, context.actor, "links split", native, {"from": one.canonical_id, "to": fresh})
            told.append({**link_told(one._replace(canonical_id=fresh, part="")), "was": one.canonical_id})

    def text() -> None:
        for row in told:
            how = "would become" if plan else "is now"
            click.echo(printable(f"{native} {how} {row['entity']} {row['canonical_id']}; it was {row['was']}"))

    context.answer({"split": told, "plan": plan}, text)


def _fresh(tx: Tx, link: state.Link) -> str:
    """An id for a record of its own, that no other one has or had."""
    from engine.run.identity import new_identity

    salt = ""
    while True:
        id = new_identity(link.entity, link.connection, link.object, link.native_id + salt)
        known = id == link.canonical_id or state.of_record(tx, id) or state.merged(tx, link.entity, [id])
        if not known and not canonical.get(tx, link.entity, [id]):
            return id
        salt += "\x1f"


@click.command()
@click.argument("connection")
@click.argument("object")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@PLAN
@common
@pass_context
def remap(context: Context, connection: str, object: str, file: Path, plan: bool) -> None:
    """Replace the native ids of an object, as when a system is replaced: a CSV with `old,new`, all of it or nothing.

    \b
      crosswalk links remap erp customers new_ids.csv --plan
    """
    context.workspace.connection(connection)
    rows = rows_of(file, ("old", "new"))
    documents = {name: context.workspace.document("flow", name).model for name in context.workspace.names("flow")}
    readers = [name for name, flow in documents.items() if _reads(context, flow, connection, object)]
    with suppress(Planned), context.store.begin("links remap") as tx, _alone(tx, documents, plan):
        pairs = _pairs(tx, connection, object, rows)
        linked = state.of_places(tx, connection, object, pairs)
        _settled(tx, [one.canonical_id for one in linked])
        counts = relinks.remap(tx, connection, object, readers, pairs)
        audit.append(tx, context.actor, "links remap", f"{connection} {object}", {"file": file.name, **counts})
    told = {"connection": connection, "object": object, **counts, "plan": plan}

    def text() -> None:
        click.echo(f"{connection} {object}: {_counted(counts)} {'would get' if plan else 'have'} new ids")

    context.answer({"remapped": told}, text)


def _reads(context: Context, flow: object, connection: str, object: str) -> bool:
    source = getattr(flow, "source", None)
    if source is None or source.connection != connection:
        return False
    return bool(context.workspace.document("mapping", source.mapping).model.object == object)


def _pairs(tx: Tx, connection: str, object: str, rows: list[tuple[Position, dict[str, str]]]) -> dict[str, str]:
    """Old id → new id. Every fault of the file is told with its line."""
    problems, pairs, given = Problems(), dict[str, str](), dict[str, Position]()
    known = {one.native_id for one in state.of_places(tx, connection, object, [row["old"] for _, row in rows])}
    taken = {one.native_id: one for one in state.of_places(tx, connection, object, [row["new"] for _, row in rows])}
    leaving = {row["old"] for _, row in rows}
    for at, row in rows:
        old, new = row["old"], row["new"]
        if not old or not new:
            problems.add("X912", "a cell is empty", at, "write an old and a new id in each line")
        elif old in pairs or new in given:
            twice = old if old in pairs else new
            problems.add(
                "X912", f"{twice!r} stands there twice", at, "an id becomes one id, and no two become the same"
            )
        elif old not in known:
            problems.add(
                "X908", f"{connection}:{old} is not linked", at, f"take the line out, or look for it in {object}"
            )
        elif new in taken and new not in leaving:
            other = taken[new]
            problems.add("X909", f"{connection}:{new} is linked to {other.canonical_id}", at, "remove that link first")
        else:
            pairs[old], given[new] = new, at
    problems.raise_any(UsageError)
    return pairs


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())
