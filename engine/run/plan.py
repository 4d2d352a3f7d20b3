"""`plan`: what would happen, field by field; saved as digests, and applied only where nothing has moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.run.items import Delivery, Item
from engine.run.session import Session
from engine.sdk.errors import Position, Problem, UsageError
from engine.sdk.record import decode_json, digest, encode_json

ENDS = {"create": "created", "upsert": "created", "append": "created", "update": "updated", "delete": "deleted"}


def note_changes(session: Session, items: list[Item]) -> None:
    """Turn deliveries into what would be counted, and list each change with old and new values."""
    for item in items:
        for delivery in item.deliveries:
            if delivery.kind is None or delivery.trouble is not None:
                continue
            session.planned[delivery.target.name, delivery.kind] += 1
            deactivated = delivery.counted == "deactivated"
            delivery.counted = "deleted" if deactivated else ENDS[delivery.kind]
            session.changes.append(
                {
                    "target": delivery.target.name,
                    "key": item.key,
                    "operation": "deactivate" if deactivated else ENDS[delivery.kind].removesuffix("d"),
                    "fields": _fields(delivery),
                    "planned": [_place(item, delivery), _digest(item, delivery)],
                }
            )


def planned_calls(session: Session) -> dict[str, int]:
    """Calls to each target's system that the writes would take."""
    plan, calls = session.plan, {}
    for target in plan.targets if plan is not None else ():
        writes = {kind: count for (name, kind), count in session.planned.items() if name == target.name}
        calls[target.name] = sum(target.info.calls(kind, count) for kind, count in writes.items())
    return calls


def _fields(delivery: Delivery) -> dict[str, list[Any]]:
    """Field → [old, new]."""
    if delivery.kind == "delete":
        return {}
    sent = delivery.changes if delivery.kind == "update" else delivery.record
    return {
        name: [delivery.before.get(name) if delivery.kind == "update" else None, value] for name, value in sent.items()
    }


def _place(item: Item, delivery: Delivery) -> str:
    return f"{delivery.target.name}/{item.canonical_id}/{delivery.part}"


def _digest(item: Item, delivery: Delivery) -> str:
    """Source, payload and what the target was last known to hold: what must not move between plan and run."""
    known = delivery.known
    facts = [delivery.kind, item.raw_hash.hex(), delivery.record, known.hash.hex() if known else None,
             known.version if known else None, delivery.native]  # fmt: skip
    return digest(facts).hex()


def keep_planned(session: Session, items: list[Item]) -> None:
    """Of what would be sent, keep what the plan has, digest for digest; the rest has moved and waits."""
    planned = session.options.only or {}
    for item in items:
        moved = []
        for delivery in item.deliveries:
            if delivery.kind is None or delivery.trouble is not None:
                continue
            place = _place(item, delivery)
            if planned.get(place) != _digest(item, delivery):
                moved.append(delivery)
            else:
                session.applied.add(place)
        if moved:
            for delivery in moved:
                session.moved.append({"target": delivery.target.name, "key": item.key, "operation": delivery.kind})
            item.ended = "superseded"
            item.deliveries = []


def save_plan(path: Path, plans: list[dict[str, Any]]) -> None:
    """Write digests only, no contents."""
    body = [
        {
            "flow": plan["flow"],
            "logic": plan["logic"],
            "operations": dict(change["planned"] for change in plan["changes"]),
        }
        for plan in plans
    ]
    path.write_bytes(encode_json({"plan": 1, "flows": body}) + b"\n")


def load_plan(path: Path) -> dict[str, tuple[str, dict[str, str]]]:
    """Flow → (digest of its logic, operations). Raises UsageError X903."""
    try:
        body = decode_json(path.read_bytes())
        return {one["flow"]: (one["logic"], dict(one["operations"])) for one in body["flows"]}
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(Problem("X903", f"{path.name} is not a saved plan", Position(path.name),
                                 "make one with `crosswalk plan FLOW --save FILE`")) from None  # fmt: skip
