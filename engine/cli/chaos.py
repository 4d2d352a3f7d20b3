"""`test --chaos`: what went wrong, what came of it, and the seed that makes it happen again."""

from __future__ import annotations

import click

from engine.cli.answer import printable
from engine.cli.main import Context

SHOWN = 20


def run_and_tell(context: Context, names: tuple[str, ...], seed: int) -> int:
    """Play chaos on flows and say what came of it; 0 where each record is there once, as it should be."""
    from engine.cli.sandboxes import fresh
    from engine.run.chaos import run_chaos

    report = run_chaos(context.workspace, names, seed, fresh)

    def text() -> None:
        made = ", ".join(f"{count} {what}" for what, count in sorted(report.faults.items())) or "none"
        died = ", ".join(f"{count} {what}" for what, count in sorted(report.deaths.items())) or "none"
        click.echo(f"faults: {made}")
        click.echo(f"deaths: {died}")
        click.echo(f"{report.runs} runs, {report.records} records written without faults")
        for name in ("doubled", "lost", "changed", "failed"):
            found: list[str] = getattr(report, name)
            click.echo(f"{name}: {len(found)}")
            for one in found[:SHOWN]:
                click.echo(printable(f"  {one}"))
        click.echo(f"exceptions: {report.exceptions}")
        again = " ".join(["crosswalk test --chaos --seed", str(seed), *names])
        click.echo(f"seed {seed}: {'every record is there once' if report.good else 'NOT GOOD'}; again: {again}")

    context.answer({"chaos": report.as_json()}, text)
    return 0 if report.good else 1
