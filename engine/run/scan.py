"""The look back at marks: what a target committed later than it promised shows as two records with one mark.

A create in doubt is searched for once the target has had time to finish and index (class C). Should it take longer, the
search finds nothing, the record is created again, and the late one appears as well. So after a run that created, or
while something was in doubt lately, what changed in the target since the last look is read: only keys and marks.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from engine.compile.schema import value_at
from engine.compile.sync import SyncPlan, TargetPlan
from engine.run.faults import fingerprint
from engine.run.reading import earlier
from engine.run.session import Session
from engine.sdk.connector import Read
from engine.sdk.errors import ConnectorError, Problem
from engine.state import exceptions, links, operations, runs
from engine.state.exceptions import Failure
from engine.state.store import Tx, instant

CODE = "E456"
WATCH = timedelta(days=1)
"""So long after a doubt every run looks."""


def scan_marks(session: Session, plan: SyncPlan) -> int:
    """Open an exception for each record that the target holds twice; close those whose second record is gone. How many are new."""
    found = 0
    for target in plan.targets:
        marker = target.marker
        readable = target.info.modified is not None and target.info.modified_type in ("instant", "date")
        if target.info.write_class != "C" or marker is None or not readable or "read" not in target.info.operations:
            continue
        name = f"marks:{target.connection}:{target.info.name}"
        with session.store.read() as tx:
            fact: Any = runs.fact(tx, name) or {}
            told = exceptions.listed(tx, flow=plan.name, code=CODE)
            told = [one for one in told if one.target == target.name]
            since = instant(datetime.now(UTC) - WATCH)
            doubted = operations.doubted_since(tx, target.connection, target.info.name, since)
        created = session.counts.targets[target.name]["created"]
        if not (created or doubted or told or fact.get("owed")):
            continue
        try:
            found += _scan(session, plan, target, marker, name, fact.get("at"), told)
        except ConnectorError as error:
            if not error.transient:
                raise
            with session.store.begin("scan") as tx:  # the next run looks
                runs.set_fact(tx, name, {"at": fact.get("at") or _start(session, target), "owed": True})
    return found


def _scan(
    session: Session, plan: SyncPlan, target: TargetPlan, marker: str, name: str, at: str | None, told: list[exceptions.Row]
) -> int:  # fmt: skip
    connector = session.connectors[target.connection]
    reached = instant(connector.now())
    lag = timedelta(seconds=target.info.late + target.info.index)
    since = earlier(at or _start(session, target), lag)
    since = since[:10] if target.info.modified_type == "date" else since
    fields = tuple(dict.fromkeys((*target.info.key, str(target.info.modified), marker)))
    held: dict[str, dict[str, None]] = {}
    session.store.crashpoint("before read")
    for batch in connector.read(Read(target.info.name, since=since, fields=fields)):
        for record in batch.records:
            for mark in _marks(value_at(record.value, marker)) if not record.deleted else ():
                held.setdefault(mark, {})[record.key] = None
    seconds = [one.key.removeprefix(f"{target.connection}:") for one in told]
    session.store.crashpoint("after read")
    session.store.crashpoint("before get")
    standing = connector.get(target.info.name, seconds, fields) if seconds else {}
    session.store.crashpoint("after get")
    with session.store.begin("scan") as tx:
        failures = [_failure(session, plan, target, *one) for one in _twice(tx, plan, target, held)]
        known = {(one.key, one.part) for one in told}
        exceptions.record(tx, failures)
        gone = [(one.key, one.target, one.part) for one, key in zip(told, seconds, strict=True) if key not in standing]
        exceptions.close(tx, plan.name, gone, f"{target.name} has one of them only")
        runs.set_fact(tx, name, {"at": reached})
    return sum((one.key, one.part) not in known for one in failures)


def _start(session: Session, target: TargetPlan) -> str:
    """The first look begins with this run, by the target's clock."""
    ahead = session.connectors[target.connection].now() - datetime.now(UTC)
    return instant(session.now + ahead - timedelta(seconds=1))


def _marks(value: Any) -> Iterator[str]:
    """The texts in a marker field: it may be one, or a list of references."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _marks(one)


def _twice(
    tx: Tx, plan: SyncPlan, target: TargetPlan, held: dict[str, dict[str, None]]
) -> Iterator[tuple[str, str, str, str]]:
    """(canonical id, part, native id that is linked or came first, the other) of records that are there twice."""
    ids = [mark.partition("-")[0] for mark in held]
    known = links.by_canonical(tx, target.connection, plan.schema.entity, ids, target.info.name)
    open_ = operations.open_for(tx, target.connection, target.info.name, ids)
    for mark, keys in held.items():
        id, _, part = mark.partition("-")
        linked = next((one.native_id for one in known.get(id, ()) if one.part == part and one.state == "live"), None)
        if linked is None and ((id, part) in open_ or len(keys) < 2):
            continue  # nobody has said yet which one it is
        first = linked if linked is not None else next(iter(keys))
        yield from ((id, part, first, key) for key in keys if key != first)


def _failure(
    session: Session, plan: SyncPlan, target: TargetPlan, id: str, part: str, first: str, second: str
) -> Failure:
    key = f"{target.connection}:{second}"
    problem = Problem(
        CODE, f"{target.name} holds {id} twice: as {first} and as {second}", target.at,
        f"merge the two in {target.name} and keep {first}, which is linked (else `links remap` first); "
        "it closes by itself once the other is gone",
    )  # fmt: skip
    return Failure(
        plan.name, session.run, plan.schema.entity, key, id, target.name, part, "commit", "conflict", CODE,
        problem.message, problem.hint, str(target.at), plan.flow.owner, "open", fingerprint(problem, key, target.name),
        None, None, plan.logic, None, None, None,
    )  # fmt: skip
