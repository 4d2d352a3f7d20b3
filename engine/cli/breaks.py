"""Which breaks a command is about, and how one is told: named one by one, or all that fit."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import click

from engine.cli.chosen import age_option
from engine.cli.main import Context
from engine.sdk.errors import Problem, UsageError, nearest, unknown_name
from engine.sdk.record import Fields
from engine.state import breaks as state
from engine.state import reconciliations
from engine.state.breaks import Break, Wanted
from engine.state.store import Tx, moment_of

SEE = "see `crosswalk reconcile breaks`"
CLASSES = ("duplicate", "mismatch", "stale", "wrong_owner", "in_flight")


def _class(context: click.Context, option: Any, given: str | None) -> str | None:
    if given is None or given in CLASSES or given.startswith("missing_"):
        return given
    hint = nearest(given, [*CLASSES, "missing_left", "missing_right"]) or f"write missing_<side>, {', '.join(CLASSES)}"
    raise UsageError(Problem("X900", f"there is no class {given!r}", None, hint))


OPTIONS = {
    "flow": click.option("--flow", help="Of one reconciliation."),
    "name": click.option("--class", "name", callback=_class, help="Of one class: missing_<side> duplicate mismatch stale wrong_owner in_flight."),
    "queue": click.option("--queue", help="In one queue."),
    "owner": click.option("--owner", help="Taken by one person; `--owner ''` is nobody."),
    "before": click.option("--older-than", "before", callback=age_option, help="First found longer ago, such as 7d."),
    "record": click.option("--record", help="Of one record: canonical id, connection:native_id, or its name."),
}  # fmt: skip
RENAMED = {
    "queue": click.option("--in-queue", "queue", help="In one queue."),
    "owner": click.option("--owned-by", "owner", help="Taken by one person; '' is nobody."),
}
Chosen = dict[str, Any]


def narrowed(*left_out: str, renamed: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options that choose breaks; it gets them as `chosen`, without those not given."""
    options = {**OPTIONS, **(RENAMED if renamed else {})}

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def called(*arguments: Any, **given: Any) -> Any:
            names = [name for name in options if name not in left_out]
            chosen = {name: value for name in names if (value := given.pop(name)) is not None}
            return command(*arguments, chosen=chosen, **given)

        decorated: Callable[..., Any] = called
        for name, option in reversed(options.items()):
            if name not in left_out:
                decorated = option(decorated)
        return decorated

    return decorate


class Covers:
    """What is hidden of each flow's breaks; looked up once a command."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._known: dict[tuple[str, str], Any] = {}

    def of(self, one: Break) -> Any:
        from engine.run.cover import Cover

        place = (one.flow, one.entity)
        if place not in self._known:
            self._known[place] = Cover.of(self.context.workspace, *place)
        return self._known[place]


def told(one: Break, cover: Any) -> Fields:
    """A break as programs read it. age: whole days since it was first found, or until it was closed."""
    shown = cover.over(one)
    return {
        "id": one.id, "flow": one.flow, "entity": one.entity, "key": cover.key_of(one.key), "class": one.name,
        "cause": one.cause, "state": one.state, "record": one.canonical_id, "label": shown.label, "natives": one.natives,
        "fields": shown.fields, "why": shown.why,
        "amount": Decimal(shown.amount) if shown.amount is not None else None, "currency": shown.currency,
        "queue": one.queue, "owner": one.owner, "first_seen": one.first_seen, "last_seen": one.last_seen,
        "age": age(one), "runs": one.runs, "first_run": one.first_run, "last_run": one.last_run,
        "accepted_by": one.accepted_by, "accepted_because": one.accepted_because, "accepted_until": one.accepted_until,
        "closed_at": one.closed_at, "closed_how": one.closed_how,
    }  # fmt: skip


def age(one: Break) -> int:
    """Whole days."""
    end = moment_of(one.closed_at) if one.closed_at else datetime.now(UTC)
    return max((end - moment_of(one.first_seen)).days, 0)


def found(tx: Tx, chosen: Chosen, states: tuple[str, ...] = state.LIVE) -> Iterator[Break]:
    """Breaks that fit, the oldest first."""
    given = {name: value for name, value in chosen.items() if name != "record"}
    wanted, record = chosen.get("record"), _Known(tx)
    for one in state.each(tx, Wanted(**given, states=states)):
        if wanted is None or record.matches(one, wanted):
            yield one


class _Known:
    """By which words a record of a break is known."""

    def __init__(self, tx: Tx) -> None:
        self._connections: dict[str, dict[str, str]] = {}
        for one in reconciliations.listed(tx, limit=200):
            sides = {name: side["connection"] for name, side in one.told["sides"].items()}
            self._connections.setdefault(one.flow, sides)

    def matches(self, one: Break, word: str) -> bool:
        connections = self._connections.get(one.flow, {})
        natives = {f"{connections.get(side, side)}:{each}" for side, ids in one.natives.items() for each in ids}
        return word in (one.canonical_id, one.label) or word in natives


def break_of(context: Context, id: str) -> Break:
    """One break. Raises UsageError X933."""
    with context.store.read() as tx:
        one = state.get(tx, id)
    if one is None:
        raise UsageError(Problem("X933", f"there is no break {id!r}", None, SEE))
    return one


def meant(context: Context, ids: Sequence[str], chosen: Chosen, what: str, fit: Callable[[Break], str | None],
          states: tuple[str, ...] = state.LIVE) -> list[Break]:  # fmt: skip
    """Breaks that are named, or all that fit. fit: why one cannot be meant; None where it can. Raises UsageError X900, X933,
    X934 (a named one is in another state)."""
    if bool(ids) == bool(chosen):
        problem = "both names and a choice are given" if ids else f"nothing to be {what} is named"
        hint = "name breaks, or choose them with --flow, --class, --queue and the like"
        raise UsageError(Problem("X900", problem, None, hint))
    if chosen:
        known_flow(context, chosen.get("flow"))
        with context.store.read() as tx:
            return [one for one in found(tx, chosen, states) if fit(one) is None]
    rows = [break_of(context, id) for id in dict.fromkeys(ids)]
    for one in rows:
        why = fit(one)
        if why is not None:
            raise refused(one, why)
    return rows


def refused(one: Break, why: str) -> UsageError:
    """A break's state does not allow it; why: with what to do instead, after a dash."""
    how = f" ({one.closed_how})" if one.state == "closed" and one.closed_how else ""
    state_of = "in flight" if one.name == "in_flight" and one.state == "open" else one.state
    return UsageError(Problem("X934", f"{one.id} is {state_of}{how}", None, why))


def known_flow(context: Context, flow: str | None) -> None:
    """Raises UsageError X935 where a name is no reconciliation, in the workspace or with kept results."""
    if flow is None:
        return
    names = []
    for name in context.workspace.names("flow"):
        if name == flow:
            if context.workspace.document("flow", name).model.kind == "reconcile":
                return
            hint = "`crosswalk runs list` has the runs of other flows"
            raise UsageError(Problem("X935", f"{flow!r} is no reconciliation", None, hint))
        names.append(name)
    with context.store.read() as tx:
        if not reconciliations.listed(tx, flow, 1):
            raise UsageError(unknown_name("flow", flow, names, None))


def agreed(context: Context, rows: Sequence[Break], chosen: Chosen, yes: bool, what: str) -> None:
    """Where breaks were chosen and not named, say how many, and go on only with a yes. Raises UsageError X914."""
    if not chosen or yes or not rows:
        return
    count = f"{len(rows)} break{'s' * (len(rows) != 1)}"
    if sys.stdin.isatty() and not context.json:
        click.confirm(f"{count} will be {what}. Go on?", abort=True)
        return
    raise UsageError(
        Problem(
            "X914", f"{count} would be {what}", None, "look at them with `crosswalk reconcile breaks`, then add --yes"
        )
    )
