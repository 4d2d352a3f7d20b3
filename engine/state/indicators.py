"""What indicators are computed from beside canonical records, and the values that they had."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from engine.sdk.record import JSON, Fields, decode_json, encode_json
from engine.state.store import Tx, moment_of

_EXCEPTIONS = (
    "id flow entity key canonical_id target stage class code message queue owner state opened_at closed_at closed_how "
    "fingerprint attempts"
).split()
_PROCESSES = "id flow entity key canonical_id state step waiting queue started_at finished_at".split()
_DELIVERIES = (
    "flow target connection object kind state class canonical_id native_id created_at updated_at attempts".split()
)


class Reading(NamedTuple):
    """An indicator as it was: value in its unit, how many rows, amounts by currency, whether it was over its limit."""

    at: str
    value: Decimal | None
    rows: int
    amount: Fields
    over: bool


def rows(tx: Tx, over: str) -> Iterator[Fields]:
    """Rows that are no records, as expressions see them. hours, seconds: exact decimals."""
    return {"exceptions": _exceptions, "runs": _runs, "links": _links, "processes": _processes, "deliveries": _deliveries,
            "units": _units, "audit": _audit, "breaks": _breaks}[over](tx)  # fmt: skip


def _span(begin: str | None, end: str | None, unit: int) -> Decimal | None:
    if not begin or not end:
        return None
    length = moment_of(end) - moment_of(begin)
    return Decimal(length.days * 86_400_000_000 + length.seconds * 1_000_000 + length.microseconds) / (unit * 1_000_000)


def _exceptions(tx: Tx) -> Iterator[Fields]:
    now = tx.now()
    columns = ", ".join("coalesce(routed, queue)" if name == "queue" else name for name in _EXCEPTIONS)
    for row in tx.stream(f"SELECT {columns} FROM exceptions ORDER BY opened_at, id"):
        told: Fields = dict(zip(_EXCEPTIONS, row, strict=True))
        yield {**told, "hours": _span(told["opened_at"], told["closed_at"] or now, 3600)}


def _runs(tx: Tx) -> Iterator[Fields]:
    names = ("id", "flow", "kind", "state", "trigger", "started_at", "finished_at", "held_because")
    now = tx.now()
    for row in tx.stream(f"SELECT {', '.join(names)}, counts FROM runs ORDER BY started_at, id"):
        told: Fields = dict(zip(names, row[:-1], strict=True))
        counts = decode_json(bytes(row[-1]))
        for name in ("read", "created", "updated", "unchanged", "deleted", "quarantined", "waiting", "skipped"):
            told[name] = counts.get(name, 0)
        yield {**told, "seconds": _span(told["started_at"], told["finished_at"] or now, 1)}


def _links(tx: Tx) -> Iterator[Fields]:
    names = ("entity", "connection", "object", "native_id", "canonical_id", "part", "state")
    for row in tx.stream(f"SELECT {', '.join(names)} FROM links ORDER BY canonical_id, connection, object, native_id"):
        yield dict(zip(names, row, strict=True))


def _processes(tx: Tx) -> Iterator[Fields]:
    now = tx.now()
    for row in tx.stream(f"SELECT {', '.join(_PROCESSES)} FROM processes ORDER BY started_at, id"):
        told: Fields = dict(zip(_PROCESSES, row, strict=True))
        yield {**told, "hours": _span(told["started_at"], told["finished_at"] or now, 3600)}


def _deliveries(tx: Tx) -> Iterator[Fields]:
    for row in tx.stream(f"SELECT {', '.join(_DELIVERIES)} FROM operations ORDER BY created_at, op_key"):
        told: Fields = dict(zip(_DELIVERIES, row, strict=True))
        yield {**told, "seconds": _span(told["created_at"], told["updated_at"], 1)}


def _breaks(tx: Tx) -> Iterator[Fields]:
    names = ("id", "flow", "entity", "key", "class", "cause", "side", "state", "canonical_id", "label", "queue", "owner",
             "first_seen", "last_seen", "closed_at", "closed_how", "runs")  # fmt: skip
    now = tx.now()
    for *row, amount, currency in tx.stream(
        f"SELECT {', '.join(names)}, amount, currency FROM breaks ORDER BY first_seen, id"
    ):
        told: Fields = dict(zip(names, row, strict=True))
        money = None if amount is None else {"amount": Decimal(amount), "currency": currency}
        yield {**told, "money": money, "hours": _span(told["first_seen"], told["closed_at"] or now, 3600)}


def _units(tx: Tx) -> Iterator[Fields]:
    names = ("kind", "key", "lane", "state", "due", "attempts")
    for row in tx.stream(f"SELECT {', '.join(names)} FROM units ORDER BY due, id"):
        yield dict(zip(names, row, strict=True))


def _audit(tx: Tx) -> Iterator[Fields]:
    names = ("actor", "action", "subject", "at")
    for row in tx.stream(f"SELECT {', '.join(names)} FROM audit ORDER BY seq"):
        yield dict(zip(names, row, strict=True))


# ---------------------------------------------------------------------- records
def entered(tx: Tx, entity: str, field: str, state: str) -> dict[str, str]:
    """When records first came into a state (`*`: into any), by canonical id."""
    which, values = ("", []) if state == "*" else (" AND new = ?", [encode_json(state)])
    sql = f"SELECT id, min(at) FROM history WHERE entity = ? AND field = ?{which} GROUP BY id"
    rows = tx.rows(sql, (entity, field, *values))
    return {str(id): str(at) for id, at in rows}


def troubles(tx: Tx, entity: str) -> dict[str, list[Fields]]:
    """Live exceptions of an entity's records, by canonical id."""
    names = ("class", "code", "stage", "target", "queue", "flow", "state", "opened_at")
    columns = ", ".join("coalesce(routed, queue)" if name == "queue" else name for name in names)
    found: dict[str, list[Fields]] = {}
    sql = (
        f"SELECT canonical_id, {columns} FROM exceptions WHERE entity = ? AND canonical_id IS NOT NULL "
        "AND state IN ('open', 'waiting', 'due') ORDER BY opened_at"
    )
    for id, *row in tx.stream(sql, (entity,)):
        found.setdefault(str(id), []).append(dict(zip(names, row, strict=True)))
    return found


def instances(tx: Tx, entity: str) -> dict[str, list[Fields]]:
    """Process instances of an entity's records, by canonical id, the newest last."""
    found: dict[str, list[Fields]] = {}
    sql = f"SELECT {', '.join(_PROCESSES)} FROM processes WHERE entity = ? ORDER BY started_at"
    for row in tx.stream(sql, (entity,)):
        told: Fields = dict(zip(_PROCESSES, row, strict=True))
        found.setdefault(str(told["canonical_id"]), []).append(told)
    return found


def holders(tx: Tx, entity: str) -> dict[str, list[str]]:
    """Connections that have an entity's records, by canonical id."""
    found: dict[str, list[str]] = {}
    sql = "SELECT DISTINCT canonical_id, connection FROM links WHERE entity = ? AND state = 'live' ORDER BY canonical_id, connection"
    for id, connection in tx.stream(sql, (entity,)):
        found.setdefault(str(id), []).append(str(connection))
    return found


# ---------------------------------------------------------------------- values
def keep(tx: Tx, name: str, value: Decimal | None, count: int, amount: JSON, over: bool) -> None:
    """Note what an indicator is now."""
    tx.run(
        "INSERT INTO indicator_values (indicator, at, value, count, amount, over) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (indicator, at) DO NOTHING",
        (name, tx.now(), None if value is None else str(value), count, encode_json(amount), int(over)),
    )


def readings(tx: Tx, name: str, limit: int = 30) -> list[Reading]:
    """What an indicator was, newest first."""
    sql = f"SELECT at, value, count, amount, over FROM indicator_values WHERE indicator = ? ORDER BY at DESC LIMIT {int(limit)}"
    return [
        Reading(at, None if value is None else Decimal(value), int(count), _decoded(amount), bool(over))
        for at, value, count, amount, over in tx.rows(sql, (name,))
    ]


def _decoded(data: Any) -> Fields:
    value: Fields = decode_json(bytes(data))
    return value
