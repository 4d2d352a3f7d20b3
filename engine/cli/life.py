"""The life of a record across systems: where it is in its lifecycle, and what has come of the deal that it belongs to."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import click

from engine.cli.answer import plain, printable
from engine.cli.main import Context
from engine.cli.masks import sensitive
from engine.sdk.record import Fields, decode_json
from engine.state import canonical, correlation, links
from engine.state.store import Tx

SHOWN = 5
"""Records of an entity that are shown one by one; more are counted."""
MONEY = ("amount", "total", "value", "budget")
"""Fields that say what a record is worth, the first that it has."""


def life(context: Context, tx: Tx, entity: str, id: str, data: Fields) -> Fields:
    """Where a record is: its own lifecycle, and everything under its correlation, in the order in which it came.

    stages: entity, count, states (how many in each), amount (by currency), records (the newest few).
    """
    whole = correlation.of(tx, entity, [id])[id]
    members: dict[str, list[str]] = {}
    for kind, member in correlation.members(tx, whole, context.workspace.names("schema")):
        members.setdefault(kind, []).append(member)
    since = _first_seen(tx, [one for ids in members.values() for one in ids])
    stages = [_stage(context, tx, kind, ids, since) for kind, ids in members.items()]
    stages.sort(key=lambda stage: (stage["since"] or "", stage["entity"]))
    return {"correlation": whole, "lifecycle": lifecycle(context, entity, data), "stages": stages}


def lifecycle(context: Context, entity: str, data: Fields) -> Fields | None:
    """The states that a record can have, and the one that it has; None where its schema knows none."""
    properties = context.workspace.document("schema", entity).data.get("properties", {})
    for name, schema in properties.items():
        moves = schema.get("x-transitions")
        if moves is not None:
            known = [one for one in schema.get("enum") or () if one is not None]
            states = list(dict.fromkeys([*known, *moves, *(state for after in moves.values() for state in after)]))
            now = data.get(name)
            return {"field": name, "state": now, "states": states, "next": list(moves.get(now, ()))}
    return None


def _first_seen(tx: Tx, ids: list[str]) -> dict[str, str]:
    rows = tx.by_keys("SELECT id, at FROM history WHERE id IN (…)", (), ids)
    found: dict[str, str] = {}
    for id, at in rows:
        found[id] = min(at, found.get(id, at))
    return found


def _stage(context: Context, tx: Tx, entity: str, ids: list[str], since: dict[str, str]) -> Fields:
    """One entity's records under a correlation."""
    schema = context.workspace.document("schema", entity).data
    label, hidden = schema.get("x-label"), sensitive(context.workspace, entity)
    field = next((name for name, one in schema.get("properties", {}).items() if "x-transitions" in one), None)
    worth = next((name for name in MONEY if name in schema.get("properties", {}) and name not in hidden), None)
    stored = {key: one for key, one in canonical.get(tx, entity, ids).items() if not one.deleted}
    states: dict[str, int] = {}
    amounts: dict[str, Decimal] = {}
    told: list[Fields] = []
    for id in sorted(stored, key=lambda one: since.get(one, ""), reverse=True):
        data: Fields = decode_json(stored[id].data)
        state = data.get(field) if field else None
        if state is not None:
            states[str(state)] = states.get(str(state), 0) + 1
        money: Any = data.get(worth) if worth else None
        if isinstance(money, dict) and money.get("amount") is not None:
            currency = str(money.get("currency"))
            amounts[currency] = amounts.get(currency, Decimal(0)) + Decimal(money["amount"])
        if len(told) < SHOWN:
            known = data.get(label) if label and label not in hidden else None
            told.append({"id": id, "label": known, "state": state, "held_in": _held(tx, id)})
    first = min((since[one] for one in stored if one in since), default=None)
    return {
        "entity": entity,
        "count": len(stored),
        "since": first,
        "states": states,
        "amount": amounts,
        "records": told,
    }


def _held(tx: Tx, id: str) -> list[str]:
    return sorted({f"{one.connection}:{one.native_id}" for one in links.of_record(tx, id) if one.state == "live"})


def show_life(told: Fields) -> None:
    """The lifecycle as a line, then one line for each entity that belongs to the record, and its newest records."""
    own = told["lifecycle"]
    if own is not None:
        states = " · ".join(f"[{one}]" if one == own["state"] else one for one in own["states"])
        click.echo(printable(f"  {own['field']}: {states}"))
    if sum(stage["count"] for stage in told["stages"]) < 2:
        return
    click.echo(f"  belongs together under {told['correlation']}:")
    for stage in told["stages"]:
        states = ", ".join(f"{count} {state}" for state, count in stage["states"].items())
        worth = ", ".join(f"{amount:,.2f} {currency}" for currency, amount in sorted(stage["amount"].items()))
        facts = "; ".join(part for part in (states, worth) if part)
        click.echo(printable(f"    {stage['entity']}: {stage['count']:,}{f' ({facts})' if facts else ''}"))
        for row in stage["records"]:
            places = ", ".join(row["held_in"]) or "no system"
            state = f", {plain(row['state'])}" if row["state"] is not None else ""
            click.echo(printable(f"      {plain(row['label']) if row['label'] else row['id']}{state}  in {places}"))
        if stage["count"] > len(stage["records"]):
            click.echo(f"      … and {stage['count'] - len(stage['records']):,} more")
