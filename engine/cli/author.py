"""`init`, `new`, `validate`, `show`: writing documents and checking them."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.answer import printable
from engine.cli.main import Context, common, pass_context
from engine.sdk.errors import Problem, UsageError, as_json, nearest

STARTER = """crosswalk: 1
name: {name}
connections:
  # where records come from: every CSV file in data/ is an object
  files: {{ connector: files, path: data, format: csv }}
  # where they go: every table is an object
  warehouse: {{ connector: sql, url: "sqlite:///warehouse.db" }}
queues:
  stewards: {{}}
"""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".", required=False)
@common
@pass_context
def init(context: Context, folder: Path) -> None:
    """Start a workspace: crosswalk.yaml and the folders that documents live in."""
    from engine.spec.export import FOLDER, export, modeline

    if (folder / "crosswalk.yaml").exists():
        raise UsageError(Problem("X911", "there is a crosswalk.yaml already", None, "name another folder"))
    for name in ("flows", "mappings", "schemas", "connectors", "tests", "data"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    name = folder.resolve().name
    text_of = modeline("workspace", "") + STARTER.format(name=name if name.isidentifier() else "workspace")
    (folder / "crosswalk.yaml").write_text(text_of, "utf-8")
    export(folder / FOLDER)
    (folder / ".gitignore").write_text(".crosswalk/\n", "utf-8")

    def text() -> None:
        click.echo("a workspace: crosswalk.yaml, flows/, mappings/, schemas/, connectors/, tests/, data/")
        click.echo(
            "next: crosswalk new schema NAME · crosswalk new mapping files/NAME · crosswalk new flow NAME · crosswalk validate"
        )

    context.answer({"workspace": folder.name}, text)


@click.command()
@click.argument(
    "kind",
    type=click.Choice(("flow", "reconciliation", "mapping", "schema", "table", "connector", "test", "indicator")),
)
@click.argument("name")
@click.option("--entity", help="Entity that it is for; the schema that resembles the name otherwise.")
@click.option("--connection", help="Connection to ask for fields, or that a flow reads.")
@click.option("--object", help="Object of the connection.")
@click.option("--mapping", help="Mapping that a flow reads through, or that a test is of.")
@common
@pass_context
def new(context: Context, /, kind: str, name: str, **given: str | None) -> None:
    """Write a document to start from. A mapping is proposed from both sides' fields, each match with its score.

    \b
      crosswalk new mapping salesforce/account --connection crm --entity client
      crosswalk new flow clients --mapping salesforce/account
      crosswalk new reconciliation clients-nightly --mapping salesforce/account
    """
    from engine.cli.scaffold import scaffold
    from engine.spec.export import modeline
    from engine.spec.load import FOLDERS

    if not all(part.strip(".") and part.isprintable() and "\\" not in part for part in name.split("/")):
        raise UsageError(
            Problem("X900", f"{name!r} is not a name", None, "write letters, digits and hyphens, such as clients")
        )
    folder = "flow" if kind == "reconciliation" else kind
    shown = f"{FOLDERS[folder]}/{name}.yaml"
    path = context.workspace.folder / shown
    if path.exists():
        raise UsageError(Problem("X911", f"{shown} is there already", None, "choose another name"))
    text, left = scaffold(context.workspace, kind, name, given)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(modeline(folder, shown) + text, "utf-8")

    def say() -> None:
        click.echo(f"written: {shown}")
        for one in left:
            click.echo(f"  to do: {one}")

    context.answer({"written": shown, "todo": left}, say)


@click.command()
@click.argument("names", nargs=-1)
@common
@pass_context
def validate(context: Context, names: tuple[str, ...]) -> int:
    """Every static check of documents (all, or those named by name or file); opens no connection, reads no secret.

    Reports every fault, not just the first, and exits 2 if there are any.
    """
    from engine.compile.workspace import problems_of
    from engine.sdk.errors import SpecError

    problems = problems_of(context.workspace, [_name_of(one) for one in names])
    if problems:
        found = SpecError(problems)

        def text() -> None:
            for problem in problems:
                click.echo(printable(str(problem)))
            click.echo(f"{len(problems)} fault{'s' * (len(problems) != 1)}", err=True)

        context.answer(as_json(found), text)
        return 2
    context.answer({"errors": []}, lambda: click.echo("every document is sound"))
    return 0


def _name_of(given: str) -> str:
    """A document's `kind/name` from its file, as an editor hands it over; other names as they are."""
    from engine.spec.load import FOLDERS

    if not given.endswith(".yaml"):
        return given
    path = given.removeprefix("./").removesuffix(".yaml")
    kind = next((kind for kind, folder in FOLDERS.items() if path.startswith(f"{folder}/")), None)
    return f"{kind}/{path.removeprefix(f'{FOLDERS[kind]}/')}" if kind else given


@click.group()
@common
def schema() -> None:
    """JSON Schemas of every kind of document, for editors that complete and check as you type."""


@schema.command("export")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), required=False)
@common
@pass_context
def export_schemas(context: Context, folder: Path | None) -> None:
    """Write one JSON Schema a kind of document; `init` does it, and documents name theirs in their first line.

    \b
      crosswalk schema export              into .crosswalk/schemas of the workspace
      crosswalk schema export /tmp/schemas
    """
    from engine.spec.export import FOLDER, export

    names = export(folder or context.workspace.folder / FOLDER)
    shown = folder.as_posix() if folder else FOLDER
    context.answer({"written": [f"{shown}/{one}" for one in names]},
                   lambda: click.echo(f"written to {shown}: {', '.join(names)}"))  # fmt: skip


@click.command()
@click.argument("name")
@click.option("--resolved", is_flag=True, help="With what it extends, as it will run.")
@common
@pass_context
def show(context: Context, name: str, resolved: bool) -> None:
    """Print a document: KIND/NAME or NAME."""
    import yaml

    from engine.spec.load import FOLDERS

    workspace = context.workspace
    kind, _, rest = name.partition("/")
    kinds = [kind] if kind in FOLDERS and rest else [one for one in FOLDERS if name in workspace.names(one)]
    if not kinds:
        known = [one for each in FOLDERS for one in workspace.names(each)]
        raise UsageError(Problem("E101", f"there is no document {name!r}", None, nearest(name, known)))
    document = workspace.document(kinds[0], rest if kind in FOLDERS and rest else name)
    if not resolved and document.path is not None:
        text = document.path.read_text("utf-8")
    else:
        text = yaml.dump(_plain(document.data), sort_keys=False, allow_unicode=True, width=110)
    data = _plain(document.data)
    context.answer({"document": {"kind": document.kind, "name": document.name, "file": document.file, "data": data}},
                   lambda: click.echo(f"# {document.file}\n{text}", nl=False))  # fmt: skip


def _plain(data: object) -> object:
    from decimal import Decimal

    if isinstance(data, dict):
        return {key if isinstance(key, str) else str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_plain(one) for one in data]
    return str(data) if isinstance(data, Decimal) else data
