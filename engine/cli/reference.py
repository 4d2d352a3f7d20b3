"""The generated reference: every key, function, error code and command, from the classes that define them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from engine.sdk.codes import CODES
from engine.sdk.config import Config
from engine.sdk.event_types import TYPES


def reference() -> str:
    """The whole page as Markdown."""
    from engine.compile.functions import builtin

    parts = ["# Reference", "", "Generated; a test compares it with the code.", ""]
    for title, model in _models():
        parts += [f"## {title}", "", *_rows(model), ""]
    parts += ["## Functions", "", "| function | does | example |", "|---|---|---|"]
    for one in sorted(builtin().values(), key=lambda each: each.name):
        example = f"`{one.examples[0][0]}`".replace("|", "\\|") if one.examples else ""
        parts.append(
            f"| `{one.signature}` | {one.doc} | {example} |".replace("string|", "string\\|").replace(
                "number|", "number\\|"
            )
        )
    parts += [
        "",
        "## Error codes",
        "",
        "| code | means |",
        "|---|---|",
        *[f"| {code} | {text} |" for code, text in CODES.items()],
    ]
    parts += ["", "## Event types", "", "| type | told when |", "|---|---|"]
    parts += [f"| `{one.type}` | {one.when} |" for one in TYPES]
    parts += ["", "## Commands", "", *_commands()]
    return "\n".join(parts) + "\n"


def _models() -> Iterator[tuple[str, type[Config]]]:
    from engine.sdk import manifest as m
    from engine.sdk import manifest_jobs as j
    from engine.sdk import manifest_requests as r
    from engine.sdk.config import Breaker, ConnectionConfig, Limits
    from engine.sdk.manifest_auth import Auth
    from engine.spec.indicator import Indicator
    from engine.spec.mapping import FieldRule, Mapping
    from engine.spec.process import ProcessFlow, Step
    from engine.spec.reconcile import ReconcileFlow
    from engine.spec.settings import Settings
    from engine.spec.sync import Check, Collect, Guard, SyncFlow, SyncSource, Target
    from engine.spec.table import Table
    from engine.spec.testcase import TestFile
    from engine.spec.trigger import Trigger

    yield from (
        ("Workspace", Settings), ("Connection", ConnectionConfig), ("Limits", Limits), ("Breaker", Breaker), ("Mapping", Mapping),
        ("Rule of a mapping", FieldRule), ("Table", Table), ("Sync flow", SyncFlow), ("Source", SyncSource), ("Check", Check),
        ("Collect", Collect), ("Target", Target), ("Guard", Guard), ("Trigger", Trigger), ("Reconcile flow", ReconcileFlow),
        ("Process flow", ProcessFlow), ("Step", Step), ("Indicator", Indicator), ("Test", TestFile), ("Manifest", m.Manifest),
        ("Object of a manifest", m.ObjectSpec), ("Authentication of a manifest", Auth), ("Paging of a manifest", r.Page),
        ("Setting of a manifest", m.Setting), ("Limits of a manifest", m.ManifestLimits), ("Error rule", m.ErrorRule), ("Field", m.FieldSpec),
        ("Modified field", m.Modified), ("Request", r.Request), ("Read", r.ReadSpec), ("Bound of a window", r.SinceParam), ("Query", r.Query),
        ("Detail", r.Detail), ("Find", r.FindSpec), ("Searched field", r.FindParam), ("Write", r.WriteSpec), ("Batch", r.BatchSpec),
        ("Job", j.JobSpec), ("Opening of a job", j.JobOpen), ("Polling of a job", j.JobPoll), ("Results of a job", j.JobResults),
        ("Deletes", r.Deletes), ("Description", r.Describe), ("Marker", r.Marker), ("Idempotency", m.Idempotency),
    )  # fmt: skip


def _rows(model: type[Config]) -> Iterator[str]:
    yield "| key | default | means |"
    yield "|---|---|---|"
    for name, field in model.model_fields.items():
        default = (
            "required"
            if field.is_required()
            else _default(field.get_default(call_default_factory=True, validated_data={}))
        )
        yield f"| `{field.alias or name.strip('_')}` | {default} | {field.description or ''} |"


def _default(value: Any) -> str:
    if value is None or value in ({}, [], ()):
        return ""
    if isinstance(value, Config):
        return "see there"
    return f"`{value}`"


def _commands() -> Iterator[str]:
    from engine.cli.main import COMMANDS, main

    with click.Context(main, info_name="crosswalk") as context:
        for name in COMMANDS:
            command = main.get_command(context, name)
            assert command is not None
            yield from _command(name, command, context)


def _command(name: str, command: click.Command, parent: click.Context) -> Iterator[str]:
    with click.Context(command, info_name=name, parent=parent) as context:
        words = " ".join([context.command_path, *command.collect_usage_pieces(context)])
        yield f"- `{words}` {command.get_short_help_str(200)}"
        if isinstance(command, click.Group):
            for child in command.list_commands(context):
                found = command.get_command(context, child)
                assert found is not None
                yield from _command(child, found, context)
