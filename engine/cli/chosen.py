"""Which exceptions a command is about: named one by one, or all that fit."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from engine.cli.main import Context
from engine.sdk.config import duration
from engine.sdk.errors import EXCEPTION_CLASSES, Problem, UsageError
from engine.sdk.record import Fields
from engine.state import exceptions as state
from engine.state.store import instant

Chosen = dict[str, Any]
NOT_THERE = "see `crosswalk exceptions list`"


def age_option(context: click.Context, option: Any, value: str | None) -> str | None:
    if value is None:
        return None
    try:
        return instant(datetime.now(UTC) - duration(value))
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(str(error)) from None


OPTIONS = {
    "flow": click.option("--flow", help="Of one flow."),
    "queue": click.option("--queue", help="In one queue."),
    "owner": click.option("--owner", help="Taken by one person; `--owner ''` is nobody."),
    "tag": click.option("--tag", help="With one tag."),
    "exception_class": click.option(
        "--class", "exception_class", type=click.Choice(EXCEPTION_CLASSES), help="Of one class."
    ),
    "code": click.option("--code", help="With one code."),
    "fingerprint": click.option("--fingerprint", help="Alike: a fingerprint, or how it begins."),
    "before": click.option("--older-than", "before", callback=age_option, help="Opened longer ago, such as 3d."),
    "key": click.option("--key", help="Of one record, by its native id in the source."),
}
RENAMED = {"queue": click.option("--in-queue", "queue", help="In one queue."),
           "tag": click.option("--tagged", "tag", help="With one tag."),
           "owner": click.option("--owned-by", "owner", help="Taken by one person; '' is nobody.")}  # fmt: skip
"""For commands whose own options have these names."""


def narrowed(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that choose exceptions; it gets them as `chosen`, without those not given."""
    return _with(command, OPTIONS)


def narrowed_otherwise(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same under other names, where the command says itself what becomes of queue, owner and tags."""
    return _with(command, {**OPTIONS, **RENAMED})


def _with(command: Callable[..., Any], options: dict[str, Callable[..., Any]]) -> Callable[..., Any]:
    @functools.wraps(command)
    def called(*arguments: Any, **given: Any) -> Any:
        chosen = {name: value for name in OPTIONS if (value := given.pop(name)) is not None}
        if "fingerprint" in chosen:
            chosen["fingerprint"] += "%"
        return command(*arguments, chosen=chosen, **given)

    decorated: Callable[..., Any] = called
    for option in reversed(options.values()):
        decorated = option(decorated)
    return decorated


def told(row: state.Row, tags: Sequence[str] = ()) -> Fields:
    """The JSON contract's exception."""
    return {
        "id": row.id, "flow": row.flow, "entity": row.entity, "record": row.canonical_id, "key": row.key,
        "target": row.target or None, "stage": row.stage, "class": row.exception_class, "code": row.code,
        "message": row.message, "at": row.at, "queue": row.queue, "state": row.state, "opened_at": row.opened_at,
        "owner": row.owner, "tags": list(tags), "fingerprint": row.fingerprint,
    }  # fmt: skip


def row_of(context: Context, id: str) -> state.Row:
    """One exception. Raises UsageError X906."""
    with context.store.read() as tx:
        row = state.get(tx, id)
    if row is None:
        raise UsageError(Problem("X906", f"there is no exception {id!r}", None, NOT_THERE))
    return row


def rows_of(context: Context, ids: tuple[str, ...], chosen: Chosen, what: str) -> list[state.Row]:
    """Open exceptions that are named, or all that fit. Raises UsageError X900, X906, X907 (not open any more)."""
    if bool(ids) == bool(chosen):
        problem = "both names and a choice are given" if ids else f"nothing to be {what} is named"
        hint = "name exceptions, or choose them with --flow, --fingerprint, --queue and the like"
        raise UsageError(Problem("X900", problem, None, hint))
    if ids:
        rows = [row_of(context, id) for id in dict.fromkeys(ids)]
        for row in rows:
            still_open(row, what)
        return rows
    with context.store.read() as tx:
        return state.listed(tx, limit=10**9, everything=False, **chosen)


def still_open(row: state.Row, what: str) -> None:
    """Raises UsageError X907 where an exception is over."""
    if row.state not in ("open", "waiting", "due"):
        how = f": {row.closed_how}" if row.closed_how else ""
        raise UsageError(Problem("X907", f"{row.id} is {row.state}{how}", None, f"only open ones can be {what}"))


def agreed(context: Context, rows: Sequence[state.Row], chosen: Chosen, yes: bool, what: str) -> None:
    """Where exceptions were chosen and not named, say how many, and go on only with a yes. Raises UsageError X914."""
    if not chosen or yes or not rows:
        return
    count = f"{len(rows)} exception{'s' * (len(rows) != 1)}"
    if sys.stdin.isatty() and not context.json:
        click.confirm(f"{count} will be {what}. Go on?", abort=True)
        return
    hint = "look at them with `crosswalk exceptions list`, then add --yes"
    raise UsageError(Problem("X914", f"{count} would be {what}", None, hint))
