"""`exceptions edit`: a person's correction of a record; the original is kept, who and why is audited."""

from __future__ import annotations

import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import click

from engine.cli.answer import plain
from engine.cli.chosen import row_of, still_open
from engine.cli.main import Context, common, pass_context
from engine.cli.masks import EVERYTHING, MASK, masked, snapshots_hidden
from engine.sdk.errors import Position, Problem, UsageError, unknown_name
from engine.sdk.record import Fields, decode_json, encode_json, fingerprint, same
from engine.state import audit, corrections
from engine.state import exceptions as state
from engine.state.corrections import Correction
from engine.state.kept import kept_of


@click.command()
@click.argument("id")
@click.option("--from", "stage", type=click.Choice(["raw", "canonical"]), default="raw", show_default=True,
              help="Correct the record as read, or its canonical form.")  # fmt: skip
@click.option("--set", "sets", multiple=True, metavar="FIELD=JSON", help="A field's new value; may be repeated.")
@click.option("--file", type=click.Path(path_type=Path, dir_okay=False), help="A file with the corrected JSON object.")
@click.option("--because", required=True, help="Why; kept in the audit trail.")
@common
@pass_context
def edit(context: Context, id: str, stage: str, sets: tuple[str, ...], file: Path | None, because: str) -> None:
    """Correct a record that cannot go on; then replay it. The original stays as it was read.

    The correction holds for this version of the record, whenever it is read again; a newer version takes its place.
    Without --set and --file it opens $EDITOR, with sensitive values masked.

    \b
      crosswalk exceptions edit x-1 --set pay=12.50 --because "payroll confirmed"
      crosswalk exceptions edit x-1 --from canonical --set address.city='"York"' --because "customer called"
    """
    row = row_of(context, id)
    still_open(row, "edited")
    before, raw = _standing(context, row, stage)
    after = _edited(context, row, stage, before, sets, file)
    changed = [
        name for name in dict.fromkeys([*before, *after])
        if (name in before) != (name in after) or not same(before.get(name), after.get(name))
    ]  # fmt: skip
    if not changed:
        raise UsageError(Problem("X900", "nothing is changed by that", None, "give other values than the record has"))
    if stage == "canonical":
        known = context.workspace.document("schema", row.entity).data.get("properties", {})
        for name in changed:
            if name not in known:
                raise UsageError(unknown_name("field", name, known, None))
        before = {name: before.get(name) for name in changed}
        after = {name: after.get(name) for name in changed}
    one = Correction(id, row.flow, row.key, stage, fingerprint(raw)[0], encode_json(after), encode_json(before),
                     context.actor, because)  # fmt: skip
    with context.store.begin("edit") as tx:
        corrections.add(tx, one)
        audit.append(
            tx, context.actor, "exceptions edit", id, {"from": stage, "fields": ", ".join(changed), "because": because}
        )
    context.answer({"edited": id, "from": stage, "fields": changed}, lambda: click.echo(
        plain(f"{id}: {', '.join(changed)} corrected; try it: crosswalk exceptions replay {id}")))  # fmt: skip


def _standing(context: Context, row: state.Row, stage: str) -> tuple[Fields, Fields]:
    """(the record at that stage with earlier corrections, the raw record as it was read)."""
    from engine.run.replay import replayable

    with context.store.read() as tx:
        (kept,) = kept_of(tx, [row.id])
        earlier = [one for one in corrections.of_exception(tx, row.id) if not one.past]
    replayable(kept, "raw")
    flow = context.workspace.document("flow", row.flow).model
    if stage == "raw" and context.workspace.document("mapping", flow.source.mapping).model.each is not None:
        problem = Problem(
            "X915", f"{row.id} is one element of the record that was read", None, "add `--from canonical`"
        )
        raise UsageError(problem)
    raw = decode_json(kept.raw or b"{}")
    original = fingerprint(raw)[0]
    standing = raw if stage == "raw" else decode_json(kept.canonical or b"{}")
    for one in earlier:
        if one.stage == stage and one.original == original:
            value = decode_json(one.value)
            standing = value if stage == "raw" else {**standing, **value}
    return standing, raw


def _edited(
    context: Context, row: state.Row, stage: str, before: Fields, sets: tuple[str, ...], file: Path | None
) -> Fields:
    if bool(sets) and file is not None:
        raise UsageError(Problem("X900", "both --set and --file are given", None, "use one of them"))
    if sets:
        after = deepcopy(before)
        for one in sets:
            _put(after, one)
        return after
    if file is not None:
        try:
            data = file.read_bytes()
        except OSError as error:
            raise UsageError(Problem("X912", f"{file.name} cannot be read: {error.strerror}", Position(file.name),
                                     "give one JSON object")) from None  # fmt: skip
        found = _object(data, file.name)
        return found if stage == "raw" else {**before, **found}
    if not sys.stdin.isatty():
        raise UsageError(Problem("X900", "no correction is given", None, "add --set FIELD=JSON or --file FILE"))
    return _in_editor(context, row, stage, before)


def _put(record: Fields, text: str) -> None:
    path, equals, told = text.partition("=")
    try:
        if not equals or not path:
            raise ValueError("there is no `=` in it")
        value = decode_json(told)
    except ValueError as error:
        raise UsageError(Problem("X900", f"--set {path}: {error}", None,
                                 "write FIELD=JSON, and text in double quotes: name='\"Ada\"'")) from None  # fmt: skip
    place: Any = record
    *above, last = path.split(".")
    for name in above:
        if not isinstance(place.get(name), dict):
            place[name] = {}
        place = place[name]
    place[last] = value


def _object(data: bytes, name: str) -> Fields:
    try:
        found = decode_json(data)
        if not isinstance(found, dict):
            raise ValueError("it is no object")
    except ValueError as error:
        raise UsageError(
            Problem("X912", f"{name} cannot be read: {error}", Position(name), "give one JSON object")
        ) from None
    return found


def _in_editor(context: Context, row: state.Row, stage: str, before: Fields) -> Fields:
    """$EDITOR on the record; a mask that is left as it is stands for the value behind it."""
    import msgspec

    hidden = snapshots_hidden(context.workspace, row)[stage]
    shown = masked(before, hidden)
    text = msgspec.json.format(encode_json(shown), indent=2).decode()
    told = click.edit(text, extension=".json")
    after = _object((told or text).encode(), "the edited record")
    names = frozenset(before) if frozenset(hidden) == EVERYTHING else frozenset(hidden)
    return {
        name: before[name] if name in names and value == MASK and name in before else value
        for name, value in after.items()
    }
