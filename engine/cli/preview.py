"""`mapping preview|coverage` and `test`: what a mapping makes of records, field by field, and proof that it stays so."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.answer import inline, printable
from engine.cli.main import Context, common, pass_context
from engine.cli.masks import EVERYTHING, MASK, in_system, sensitive
from engine.sdk.errors import Position, Problem, UsageError
from engine.sdk.record import Fields, decode_json


@click.group()
@common
def mapping() -> None:
    """Mappings: what they make of a record, and which fields they cover."""


@mapping.command("preview")
@click.argument("name")
@click.option("--record", help="A record of a system: connection:native_id.")
@click.option("--file", type=click.Path(path_type=Path, dir_okay=False), help="A file with one JSON record.")
@click.option("--to", "target", help="Mapping of a target, for the payload.")
@common
@pass_context
def preview(context: Context, name: str, record: str | None, file: Path | None, target: str | None) -> int:
    """Source, canonical and payload of a sample record, field by field, with each rule's line.

    \b
      crosswalk mapping preview salesforce/account --record crm:001000000000003AAA --to netsuite/customer
    """
    from engine.run.preview import preview as make

    told = make(context.workspace, name, _sample(context, name, record, file), target, context.store)
    _mask(context, name, target, told)

    def text() -> None:
        for row in told["fields"]:
            source = f"{row['reads']} = {inline(row['source'])}" if row["reads"] else "—"
            click.echo(f"{row['field']:<18} {inline(row['canonical']):<30} ← {printable(source)}   {row['at']}")
        for row in told["payload"]:
            click.echo(f"→ {row['field']:<16} {inline(row['value']):<30}   {row['at'] or ''}")
        for fault in told["faults"]:
            click.echo(printable(fault))

    context.answer({"preview": told}, text)
    return 3 if told["faults"] else 0


def _mask(context: Context, name: str, target: str | None, told: Fields) -> None:
    """Sensitive values are not shown; that there is one is."""
    workspace = context.workspace
    hidden = sensitive(workspace, workspace.document("mapping", name).model.entity)
    for row in told["fields"]:
        if row["field"] in hidden:
            row["source"], row["canonical"] = (
                MASK if one is not None else None for one in (row["source"], row["canonical"])
            )
    payload = in_system(workspace, target, hidden) if target else frozenset()
    for row in told["payload"]:
        if row["value"] is not None and (row["field"].split(".")[0] in payload or payload == EVERYTHING):
            row["value"] = MASK


def _sample(context: Context, name: str, record: str | None, file: Path | None) -> Fields:
    from engine.compile.mapping import compile_inbound
    from engine.compile.registry import Registry

    document = context.workspace.document("mapping", name)
    if file is not None:
        try:
            found: Fields = decode_json(file.read_bytes())
        except (OSError, ValueError) as error:
            raise UsageError(
                Problem("X912", f"{file.name} cannot be read: {error}", Position(file.name), "give one JSON object")
            ) from None
        return found
    if record is None:
        raise UsageError(
            Problem("X900", "no record is given", None, "add --record connection:native_id or --file sample.json")
        )
    connection, _, native = record.partition(":")
    with context.workspace.connector(connection) as connector:
        rows = connector.get(
            document.model.object, [native], compile_inbound(document, Registry(context.workspace)).reads
        )
    if native not in rows:
        raise UsageError(
            Problem(
                "X908", f"{connection} has no {document.model.object} {native!r}", None, "see `connectors describe`"
            )
        )
    value: Fields = rows[native].value
    return value


@mapping.command("coverage")
@click.argument("names", nargs=-1)
@common
@pass_context
def coverage(context: Context, names: tuple[str, ...]) -> None:
    """Which canonical fields mappings give, and which they leave out."""
    rows = []
    for name in names or tuple(context.workspace.names("mapping", own=True)):
        model = context.workspace.document("mapping", name).model
        known = list(context.workspace.document("schema", model.entity).data.get("properties", {}))
        given = {one.split(".")[0] for one in (*model.fields, *(model.inbound or {}))}
        rows.append({"mapping": name, "entity": model.entity, "covered": [one for one in known if one in given],
                     "missing": [one for one in known if one not in given]})  # fmt: skip

    def text() -> None:
        for row in rows:
            total = len(row["covered"]) + len(row["missing"])
            click.echo(f"{row['mapping']}: {len(row['covered'])} of {total} fields of {row['entity']}")
            click.echo(f"  not given: {', '.join(row['missing']) or 'none'}")

    context.answer({"coverage": rows}, text)


@click.command()
@click.argument("names", nargs=-1)
@click.option("--chaos", is_flag=True, help="Run flows (NAMES) on systems that fail and in processes that die.")
@click.option("--seed", type=int, default=1, show_default=True, help="With --chaos: decides what goes wrong.")
@common
@pass_context
def test(context: Context, names: tuple[str, ...], chaos: bool, seed: int) -> int:
    """Run the tests of the workspace (tests/*.yaml): mappings record by record, whole flows on systems in memory.

    Exits 1 where a case does not hold. Says for each mapping which of its fields the cases prove. With --chaos: exits 1
    where a record is doubled, lost, or not as a run without faults leaves it; docs/delivery.md tells how that is judged.
    """
    from engine.run.testing import run_tests

    if chaos:
        from engine.cli.chaos import run_and_tell

        return run_and_tell(context, names, seed)
    report = run_tests(context.workspace, names)
    failed = [one for one in report.cases if one["problem"]]
    coverage = report.coverage.as_json()

    def text() -> None:
        for one in report.cases:
            click.echo(printable(f"{'FAIL' if one['problem'] else 'ok  '} {one['test']}: {one['case']}"))
            for line in (one["problem"] or "").splitlines():
                click.echo(f"     {printable(line)}")
        for row in coverage:
            missing = f"; not: {', '.join(row['missing'])}" if row["missing"] else ""
            click.echo(
                f"{row['mapping']} {row['direction']}: {row['proven']} of {row['fields']} fields proven{missing}"
            )
        click.echo(f"{len(report.cases) - len(failed)} passed, {len(failed)} failed")

    passed = len(report.cases) - len(failed)
    context.answer({"tests": report.cases, "passed": passed, "failed": len(failed), "coverage": coverage}, text)
    return 1 if failed else 0
