"""`crosswalk`: the command line. Commands are thin; text goes to stdout, logs and progress to stderr.

Heavy parts are imported by the command that needs them, so that `--help` is quick.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.answer import ended, speak_plainly, write_json
from engine.sdk.errors import Problem, UsageError, nearest

if TYPE_CHECKING:
    from engine.run.runner import Runner
    from engine.spec.workspace import Workspace
    from engine.state.store import Store

COMMANDS = {
    "demo": "engine.cli.demo", "sandbox": "engine.cli.fakes",
    "init": "engine.cli.author", "new": "engine.cli.author", "validate": "engine.cli.author", "show": "engine.cli.author",
    "schema": "engine.cli.author", "mapping": "engine.cli.preview", "test": "engine.cli.preview",
    "plan": "engine.cli.operate", "run": "engine.cli.operate", "runs": "engine.cli.runs",
    "serve": "engine.cli.serve", "schedule": "engine.cli.schedule",
    "exceptions": "engine.cli.exceptions",
    "events": "engine.cli.events",
    "processes": "engine.cli.processes", "approvals": "engine.cli.approvals",
    "links": "engine.cli.links", "trace": "engine.cli.records", "explain": "engine.cli.records",
    "reconcile": "engine.cli.reconcile", "indicators": "engine.cli.indicators",
    "connectors": "engine.cli.care", "state": "engine.cli.care", "doctor": "engine.cli.care",
}  # fmt: skip


class Context:
    """What a command is given: the workspace, its state, and how to answer."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.environment: str | None = None
        self.json = False
        self.debug = False
        self._workspace: Workspace | None = None
        self._store: Store | None = None

    @property
    def workspace(self) -> Workspace:
        """The workspace; opened once."""
        if self._workspace is None:
            from engine.spec.workspace import Workspace

            self._workspace = Workspace.open(self.folder, self.environment)
            self._workspace.sandbox = self._sandbox
        return self._workspace

    def _sandbox(self, name: str) -> str:
        """`${sandbox:system}` and `${sandbox:system.setting}`: the bundled fake systems, started when first asked for."""
        from engine.cli.sandboxes import setting

        return setting(self.workspace.folder, name)

    @property
    def store(self) -> Store:
        """The state; opened once, closed with the command."""
        if self._store is None:
            from engine.state.store import Store

            self._store = Store.open(self.workspace.settings.state, self.workspace.folder)
            click.get_current_context().find_root().call_on_close(self._store.close)
        return self._store

    @property
    def actor(self) -> str:
        """Who acts, as the audit trail names people of the command line."""
        import getpass

        try:
            return getpass.getuser()
        except (KeyError, OSError):  # a container without a name for its user
            return "operator"

    def runner(self, progress: Any = None) -> Runner:
        """Runs flows of the workspace on its state."""
        from engine.run.runner import Runner

        return Runner(self.workspace, self.store, progress)

    def answer(self, value: Any, text: Callable[[], None]) -> None:
        """One JSON object for programs, or text for people."""
        if self.json:
            write_json(value)
        else:
            text()


pass_context = click.make_pass_decorator(Context, ensure=True)


def common(command: Any) -> Any:
    """The options that every command takes."""

    def folder(context: click.Context, _: Any, value: Path | None) -> None:
        state = context.ensure_object(Context)
        state.folder = value if value is not None else state.folder

    def environment(context: click.Context, _: Any, value: str | None) -> None:
        state = context.ensure_object(Context)
        state.environment = value or state.environment

    def flag(name: str) -> Any:
        def put(context: click.Context, _: Any, value: bool) -> None:
            state = context.ensure_object(Context)
            setattr(state, name, getattr(state, name) or value)

        return put

    options = [
        click.option("--workspace", type=click.Path(path_type=Path, file_okay=False), callback=folder, expose_value=False,
                     is_eager=True, help="Folder with crosswalk.yaml; the nearest parent otherwise."),
        click.option("--env", callback=environment, expose_value=False, help="Environment of crosswalk.yaml."),
        click.option("--json", is_flag=True, callback=flag("json"), expose_value=False, is_eager=True,
                     help="Answer with one JSON object."),
        click.option("--debug", is_flag=True, callback=flag("debug"), expose_value=False, help="Show stack traces."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


class Lazy(click.Group):
    """Commands by name; each is imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        found: click.Command = getattr(import_module(module), cmd_name)
        return found

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS:
            raise UsageError(Problem("X900", f"there is no command {args[0]!r}", None, nearest(args[0], COMMANDS)))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, SUMMARIES[name]) for name in COMMANDS])


SUMMARIES = {
    "demo": "Create and run a quote-to-cash workspace on the bundled sandbox systems.",
    "sandbox": "The bundled fake systems: start, edit.",
    "init": "Start a workspace.",
    "new": "Scaffold a flow, mapping, schema, connector or test.",
    "validate": "Every static check; opens no connection.",
    "show": "Print a document as it will really run.",
    "schema": "JSON Schemas of every kind of document, for editors.",
    "mapping": "Preview a mapping on a record; its field coverage.",
    "test": "Run the workspace's tests.",
    "plan": "What a run would change; writes nothing.",
    "run": "Run flows.",
    "runs": "Runs: list, show, cancel, resume.",
    "serve": "Schedules, webhooks and their runs, in one process.",
    "schedule": "Schedules: list, next, pause, resume.",
    "exceptions": "Records that need a person: list, show, assign, tag, note, edit, replay, try, discard.",
    "events": "What happened and who was told: list, show, retry, drop, relay.",
    "processes": "Instances of process flows: list, show, resume, cancel.",
    "approvals": "Decisions that processes ask for: list, show, approve, reject.",
    "links": "The crosswalk: find, add, import, remove, review, merge, split, remap.",
    "trace": "A record's journey across systems.",
    "explain": "Where a value came from.",
    "reconcile": "Differences between systems: breaks, show, accept, reopen, assign, report.",
    "indicators": "Business measures against their limits.",
    "connectors": "Connections: list, describe, check.",
    "state": "The state's database: upgrade, backup, prune.",
    "doctor": "Look the installation over.",
}


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="crosswalk", prog_name="crosswalk")
@common
def main() -> None:
    """Keep CRM, PSA, ERP, HR and expense systems in step, from YAML.

    \b
      crosswalk demo            see it work on bundled systems
      crosswalk init DIR        start a workspace
      crosswalk plan FLOW       see what a run would change
      crosswalk run FLOW        run it
    """


def run() -> None:
    """The console script."""
    context = Context()
    speak_plainly()
    sys.exit(ended(context, lambda: main.main(standalone_mode=False, obj=context)))
