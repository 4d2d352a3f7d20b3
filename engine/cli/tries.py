"""`exceptions try`: a candidate mapping on stored failures, before it is released."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.answer import inline, printable
from engine.cli.chosen import Chosen, narrowed, rows_of
from engine.cli.main import Context, common, pass_context
from engine.cli.masks import MASK, sensitive
from engine.sdk.record import Fields
from engine.state.kept import kept_of


@click.command("try")
@click.argument("ids", nargs=-1)
@click.option("--mapping", "file", required=True, type=click.Path(path_type=Path, dir_okay=False),
              help="The candidate: a mapping's file, of the flow's own name or in the place of its source mapping.")  # fmt: skip
@narrowed
@common
@pass_context
def try_mapping(context: Context, ids: tuple[str, ...], file: Path, chosen: Chosen) -> int:
    """Run stored failures through a candidate mapping. Writes nothing; exits 3 while some would still fail.

    \b
      crosswalk exceptions try --fingerprint 3fa9 --mapping people.new.yaml
    """
    from engine.run.candidate import try_candidate

    rows = rows_of(context, ids, chosen, "tried")
    with context.store.read() as tx:
        kept = [one for one in kept_of(tx, [row.id for row in rows]) if one.raw not in (None, b"{}", b"null")]
    told: list[Fields] = []
    for flow in dict.fromkeys(one.flow for one in kept):
        mine = [one for one in kept if one.flow == flow]
        told.append(_masked(context, try_candidate(context.workspace, context.store, flow, mine, file)))
    context.answer({"tries": told}, lambda: _show(told, file.name))
    return 3 if any(one["fails"] for one in told) else 0


def _masked(context: Context, one: Fields) -> Fields:
    hidden = sensitive(context.workspace, context.workspace.document("flow", one["flow"]).model.entity)
    for field in one["fields"]:
        if field["field"] in hidden:
            field["old"], field["new"] = (MASK if value is not None else None for value in (field["old"], field["new"]))
    return one


def _show(told: list[Fields], name: str) -> None:
    if not told:
        click.echo("nothing to try: no stored record")
    for one in told:
        more = "".join(
            f", {one[what]} {word}"
            for what, word in (("waits", "would wait"), ("skipped", "would be left out"))
            if one[what]
        )
        click.echo(f"{one['flow']} with {printable(name)} as {one['mapping']}: {one['passes']} of {one['tried']} would pass, "
                   f"{one['fails']} would fail{more}")  # fmt: skip
        for reason in one["reasons"]:
            where = " ".join(filter(None, (reason["code"], reason["at"], reason["target"] and f"→ {reason['target']}")))
            click.echo(printable(f"  {reason['count']} × {where} {reason['message']}, such as {reason['example']}"))
        for field in one["fields"]:
            click.echo(printable(f"  {field['field']} differs in {field['count']}: {inline(field['old'])} → {inline(field['new'])}"
                                 f" in {field['example']}"))  # fmt: skip
        if one["writes"]:
            click.echo("  writes: " + ", ".join(f"{count} {kind}" for kind, count in sorted(one["writes"].items())))
