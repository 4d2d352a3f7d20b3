"""What a flow is expected to keep (`expect`), judged when a run is over; freshness also when nobody runs it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import ceil
from typing import Any, NamedTuple

from engine.run.events import Event, Routes, emit
from engine.run.items import Item
from engine.run.report_words import amount
from engine.run.session import Session
from engine.sdk.errors import SpecError
from engine.sdk.event_types import CLOSED, OPENED
from engine.sdk.instants import zoned_moment
from engine.sdk.record import Fields
from engine.spec.load import Document
from engine.spec.process import ProcessFlow
from engine.spec.reconcile import ReconcileExpect, ReconcileFlow
from engine.spec.sync import Expect, SyncFlow
from engine.spec.workspace import Workspace
from engine.state import alerts, runs
from engine.state.store import Store, Tx

EXPECTATIONS = ("fresh_within", "errors_below", "delivered_within", "breaks_below", "amount_below")
NEVER = "never ran"


class Verdict(NamedTuple):
    """One expectation judged. reached: as people read it."""

    expectation: str
    kept: bool
    reached: str


def note_delays(session: Session, items: Iterable[Item]) -> None:
    """How long it took from the change at its source to the confirmed write, in seconds, where that can be told."""
    if session.delays is None:
        return
    now = datetime.now(UTC)
    for item in items:
        if item.goes_again or item.record.modified is None:
            continue
        if any(one.outcome is not None and one.trouble is None for one in item.deliveries):
            moment = zoned_moment(item.record.modified)
            if moment is not None:
                session.delays.append(max((now - moment).total_seconds(), 0.0))


def judge_run(tx: Tx, routes: Routes, document: Document, run: str, counts: Fields, delays: list[float] | None) -> None:
    """Open and close the flow's alerts by what a run that is over did, in the transaction that ends it."""
    flow: SyncFlow | ReconcileFlow | ProcessFlow = document.model
    if isinstance(flow, ReconcileFlow):
        verdicts = _reconciled(tx, document.name, flow.expect or ReconcileExpect(), counts)
    else:
        expect = getattr(flow, "expect", None) or Expect()
        verdicts = [_fresh(tx, document.name, expect), _errors(expect, counts), _delivered(expect, delays or [])]
    _settle(tx, routes, document, [one for one in verdicts if one is not None], run)


def judge_freshness(store: Store, workspace: Workspace) -> list[alerts.Alert]:
    """Every open alert, after looking whether flows have come to their end in time: one that never starts cannot tell."""
    late: list[tuple[Document, Verdict]] = []
    with store.read() as tx:
        known = {(one.flow, one.expectation) for one in alerts.listed(tx)}
        for document in _expecting(workspace):
            verdict = _fresh(tx, document.name, document.model.expect)
            if verdict is not None and (not verdict.kept or (document.name, verdict.expectation) in known):
                late.append((document, verdict))
    if late:
        routes = Routes.of(workspace)
        with store.begin("alerts") as tx:
            for document, verdict in late:
                _settle(tx, routes, document, [verdict], None)
    with store.read() as tx:
        return alerts.listed(tx)


def _expecting(workspace: Workspace) -> Iterable[Document]:
    for name in workspace.names("flow", own=True):
        try:
            document = workspace.document("flow", name)
        except SpecError:
            continue
        flow = document.model
        if isinstance(flow, (SyncFlow, ReconcileFlow)) and flow.expect is not None and flow.mode != "off":
            yield document


def _settle(tx: Tx, routes: Routes, document: Document, verdicts: list[Verdict], run: str | None) -> None:
    given: dict[str, Any] = document.data.get("expect") or {}
    for one in verdicts:
        settle(tx, routes, document.name, one, given.get(one.expectation), run)
    for name in EXPECTATIONS:
        if name not in given:  # it is expected no more
            settle(tx, routes, document.name, Verdict(name, True, ""), None, run)


def settle(tx: Tx, routes: Routes, subject: str, verdict: Verdict, bound: Any, run: str | None = None) -> None:
    """Open or close an alert of a flow or indicator, and tell whoever listens. Events of one expectation come in order."""
    expectation, kept = verdict.expectation, verdict.kept
    changed = (
        alerts.met(tx, subject, expectation, run)
        if kept
        else alerts.missed(tx, subject, expectation, str(bound), verdict.reached, run)
    )
    if changed:
        data = {"flow": subject, "expectation": expectation, "limit": str(bound) if bound is not None else None,
                "reached": verdict.reached, "run": run}  # fmt: skip
        emit(tx, routes, [Event((CLOSED if kept else OPENED).type, "alert", f"{subject}:{expectation}", data, run)])


def _reconciled(tx: Tx, flow: str, expect: ReconcileExpect, counts: Fields) -> list[Verdict | None]:
    """Open breaks, without those in flight and accepted ones; not judged by a run that came to no end."""
    verdicts = [_fresh(tx, flow, expect)]
    figures = counts.get("breaks")
    if figures is None:
        return verdicts
    if expect.breaks_below is not None:
        remaining = figures["remaining"]
        verdicts.append(Verdict("breaks_below", remaining < expect.breaks_below, f"{remaining:,} breaks"))
    if expect.amount_below is not None:
        limit, currency = expect.amount_below
        at_stake = figures["at_stake"].get(currency, Decimal(0))
        verdicts.append(Verdict("amount_below", at_stake < limit, amount(at_stake, currency)))
    return verdicts


def _fresh(tx: Tx, flow: str, expect: Expect | ReconcileExpect) -> Verdict | None:
    if expect.fresh_within is None:
        return None
    last = runs.last_finished(tx, flow)
    if last is None:
        return Verdict("fresh_within", False, NEVER)
    age = datetime.fromisoformat(tx.now()) - datetime.fromisoformat(last)
    return Verdict("fresh_within", age <= expect.fresh_within, spoken(age))


def _errors(expect: Expect, counts: Fields) -> Verdict | None:
    read, bad = counts.get("read", 0), counts.get("quarantined", 0)
    if expect.errors_below is None or not read:
        return None
    share = Decimal(bad) / Decimal(read)
    return Verdict("errors_below", not bad or share < expect.errors_below, f"{share:.2%} ({bad} of {read})")


def _delivered(expect: Expect, delays: list[float]) -> Verdict | None:
    if expect.delivered_within is None or not delays:
        return None
    limit, which = expect.delivered_within
    share = 1.0 if which == "max" else int(which[1:]) / 100
    reached = timedelta(seconds=sorted(delays)[ceil(share * len(delays)) - 1])
    return Verdict("delivered_within", reached <= limit, f"{spoken(reached)} {which}")


def spoken(span: timedelta) -> str:
    """A time as people say it, in its two largest units: 1d 3h, 15m 20s, 0s."""
    left, parts = int(span.total_seconds()), []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def spoken_hours(hours: Decimal) -> str:
    """The same of exact hours."""
    return spoken(timedelta(seconds=int(hours * 3600)))


def told(alert: alerts.Alert) -> Fields:
    """An alert as commands print it."""
    return {"flow": alert.flow, "expectation": alert.expectation, "limit": alert.bound, "reached": alert.reached,
            "since": alert.since, "state": alert.state}  # fmt: skip
