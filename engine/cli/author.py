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

SCAFFOLDS = {
    "flow": "flow: {name}\nkind: sync\nentity: client\nsource: {{ connection: files, mapping: files/{base} }}\n"
            "targets:\n  - {{ connection: warehouse, mapping: warehouse/{base} }}\n",
    "mapping": "mapping: {name}\nobject: {base}\nentity: client\nfields:\n  name: {{ from: name, transform: [trim] }}\n",
    "schema": "$schema: https://json-schema.org/draft/2020-12/schema\ntitle: {base}\nx-version: 1.0.0\ntype: object\n"
              "additionalProperties: false\nrequired: [name]\nproperties:\n  name: {{ type: string, minLength: 1 }}\n",
    "table": "table: {name}\nkey: code\ncolumns: [code, name]\nrows:\n  - [A, First]\n",
    "connector": "connector: {name}\nsettings: {{ url: {{ required: true, doc: Address of the API }} }}\nbase: \"{{url}}\"\n"
                 "auth: {{ kinds: [bearer] }}\nobjects:\n  things:\n    key: id\n    read: {{ get: /things, records: body }}\n",
    "test": "test: a first case\nmapping: files/clients\ngiven: {{ name: \" Acme \" }}\nexpect: {{ name: Acme }}\n",
    "indicator": "indicator: {name}\nentity: client\nmeasure: count\n",
}  # fmt: skip


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".", required=False)
@common
@pass_context
def init(context: Context, folder: Path) -> None:
    """Start a workspace: crosswalk.yaml and the folders that documents live in."""
    if (folder / "crosswalk.yaml").exists():
        raise UsageError(Problem("X911", "there is a crosswalk.yaml already", None, "name another folder"))
    for name in ("flows", "mappings", "schemas", "connectors", "tests", "data"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    name = folder.resolve().name
    (folder / "crosswalk.yaml").write_text(STARTER.format(name=name if name.isidentifier() else "workspace"), "utf-8")
    (folder / ".gitignore").write_text(".crosswalk/\n", "utf-8")

    def text() -> None:
        click.echo("a workspace: crosswalk.yaml, flows/, mappings/, schemas/, connectors/, tests/, data/")
        click.echo(
            "next: crosswalk new schema NAME · crosswalk new mapping files/NAME · crosswalk new flow NAME · crosswalk validate"
        )

    context.answer({"workspace": folder.name}, text)


@click.command()
@click.argument("kind", type=click.Choice(sorted(SCAFFOLDS)))
@click.argument("name")
@common
@pass_context
def new(context: Context, kind: str, name: str) -> None:
    """Write a document to start from."""
    from engine.spec.load import FOLDERS

    if any(part in ("", ".", "..") for part in name.split("/")):
        raise UsageError(
            Problem("X900", f"{name!r} is not a name", None, "write letters, digits and hyphens, such as clients")
        )
    path = context.workspace.folder / FOLDERS[kind] / f"{name}.yaml"
    if path.exists():
        raise UsageError(Problem("X911", f"{FOLDERS[kind]}/{name}.yaml is there already", None, "choose another name"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SCAFFOLDS[kind].format(name=name, base=name.split("/")[-1]), "utf-8")
    shown = f"{FOLDERS[kind]}/{name}.yaml"
    context.answer({"written": shown}, lambda: click.echo(f"written: {shown}"))


@click.command()
@click.argument("names", nargs=-1)
@common
@pass_context
def validate(context: Context, names: tuple[str, ...]) -> int:
    """Every static check of documents; opens no connection and reads no secret.

    Reports every fault, not just the first, and exits 2 if there are any.
    """
    from engine.compile.workspace import problems_of
    from engine.sdk.errors import SpecError

    problems = problems_of(context.workspace, names)
    if problems:
        found = SpecError(problems)

        def text() -> None:
            for problem in problems:
                click.echo(printable(str(problem)))
            click.echo(f"{len(problems)} faults", err=True)

        context.answer(as_json(found), text)
        return 2
    context.answer({"errors": []}, lambda: click.echo("every document is sound"))
    return 0


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
