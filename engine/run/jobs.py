"""Jobs of a system: noted before a row is uploaded, asked for their rows after a crash, and never uploaded twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from engine.compile.sync import SyncPlan, TargetPlan
from engine.run.items import Delivery, Item
from engine.run.journal import JOB, frozen, settling
from engine.run.session import Session
from engine.sdk.connector import Operation, Outcome
from engine.sdk.errors import ConnectorError
from engine.sdk.record import decode_json, digest, encode_json
from engine.state import jobs, leases, ledger, links, operations
from engine.state.ledger import Delivered
from engine.state.links import Link
from engine.state.store import Tx, moment_of

GOOD = ("created", "updated", "matched")
BECOMES = {"retry": "dropped", "in_doubt": "in_doubt", "refused": "refused", "conflict": "refused"}
"""Outcome of a row → state of its operation; others are confirmed."""


def note_jobs(session: Session, plan: SyncPlan, target: TargetPlan, pairs: Sequence[tuple[Item, Delivery]]) -> None:
    """From now on a job that the target's connector tells of is committed before its rows are uploaded."""

    def opened(object: str, job: str, ids: list[str], uploaded: bool) -> None:
        wanted = set(ids)
        if object != target.info.name:
            return

        def intent(key: str, id: str, part: str, kind: str, body: bytes, send_by: str) -> operations.Intent:
            return operations.Intent(key, session.run, plan.name, target.name, target.connection, object, id, part, kind,
                                     target.write_class, None, body, session.fence, send_by)  # fmt: skip

        rows = [
            intent(one.op_key, str(item.canonical_id), one.part, str(one.kind), frozen(one), one.send_by)
            for item, one in pairs if one.op_key in wanted
        ]  # fmt: skip
        with session.store.begin("job", durable=True) as tx:
            if not uploaded or job not in session.jobs:
                operations.send(tx, rows)  # of class A; the others stand there since T1
            key = digest([target.connection, object, job]).hex()
            mark = intent(key, f"job {job}", "", JOB, b"", pairs[0][1].send_by)
            jobs.put(tx, mark, job, ids, uploaded=uploaded)
        session.jobs[job] = wanted

    session.connectors.jobs[target.connection] = opened


def close_jobs(session: Session, tx: Tx, target: TargetPlan) -> None:
    """A job of this run is over once none of its operations is open."""
    for job in jobs.open_jobs(tx, target.connection, target.info.name):
        if job.id not in session.jobs:
            continue
        if not operations.still_open(tx, job.ops):
            operations.settle(tx, [(job.op_key, "confirmed", job.id, None)])
            del session.jobs[job.id]


def settle_jobs(
    session: Session, plan: SyncPlan, target: TargetPlan, found: list[operations.Open], ours: Callable[[str], bool]
) -> list[operations.Open]:
    """Ask for the rows of jobs that a run left behind. Of the operations found those that no job holds any more."""
    with session.store.read() as tx:
        left, now = jobs.open_jobs(tx, target.connection, target.info.name), tx.now()
        alive = {one.flow for one in left if one.flow != plan.name and leases.taken(tx, f"flow:{one.flow}")}
    standing = {one.op_key: one for one in found if one.kind != JOB}
    for job in left:
        if not ours(job.flow):
            continue
        mine = [standing[key] for key in job.ops if key in standing]
        outcomes = None if job.flow in alive else _asked(session, plan, target, job, mine) if mine else []
        over = _past(job.send_by, session.connectors[target.connection].config.timeout, now)
        if outcomes is None or (not over and any(one.state == "retry" for one in outcomes)):
            session.in_jobs.update(job.ops)
            for one in mine:  # the job goes on, or may yet get its rows: nobody else touches them
                del standing[one.op_key]
            continue
        with settling(session) as tx:
            _settle(session, plan, target, tx, mine, outcomes)
            operations.settle(tx, [(job.op_key, "confirmed", job.id, None)])
        for outcome in outcomes:
            if outcome.state != "in_doubt":
                standing.pop(outcome.id, None)
    return list(standing.values())


def _asked(
    session: Session, plan: SyncPlan, target: TargetPlan, job: jobs.Job, mine: Sequence[operations.Open]
) -> list[Outcome] | None:
    """The job's outcomes; none of them where the system no longer knows the job; None while it goes on or cannot be asked."""
    connector = session.connectors[target.connection]
    with session.store.read() as tx:
        ids = [one.canonical_id for one in mine]
        known = ledger.get(tx, target.connection, target.info.name, target.mapping.name, ids)
    natives = {place: one.native_id for place, one in known.items()}
    sent = [
        Operation(one.op_key, one.kind, decode_json(one.body), natives.get((one.canonical_id, one.part)), mark=one.mark)  # type: ignore[arg-type]
        for one in mine
    ]  # fmt: skip
    session.store.crashpoint("before outcomes")
    try:
        outcomes = connector.outcomes(target.info.name, job.id, sent, uploaded=job.uploaded)
        session.store.crashpoint("after outcomes")
    except ConnectorError as error:
        return [] if error.trouble == "refused" else None
    return outcomes


def _settle(
    session: Session, plan: SyncPlan, target: TargetPlan, tx: Tx, mine: Sequence[operations.Open], outcomes: Sequence[Outcome]
) -> None:  # fmt: skip
    """What the rows became: links and ledger of what was written; a refusal is met again by the record itself."""
    ids = [one.canonical_id for one in mine]
    known = ledger.get(tx, target.connection, target.info.name, target.mapping.name, ids)
    by_id = {one.op_key: one for one in mine}
    rows, fresh, settled = [], [], []
    for outcome in outcomes:
        one = by_id[outcome.id]
        key = outcome.key
        if outcome.state in GOOD and key:
            before = known.get((one.canonical_id, one.part))
            fields = {**(decode_json(before.fields) if before else {}), **decode_json(one.body)}
            rows.append(
                Delivered(one.canonical_id, one.part, ledger.NO_HASH, encode_json(fields), key, outcome.version,
                          (before.revision if before else 0) + 1, before.generation if before else 0)
            )  # fmt: skip
            fresh.append(Link(plan.schema.entity, target.connection, target.info.name, key, one.canonical_id, one.part, "live",
                              session.run))  # fmt: skip
        settled.append((outcome.id, BECOMES.get(outcome.state, "confirmed"), key, None))
    links.put(tx, fresh)
    ledger.put(tx, target.connection, target.info.name, target.mapping.name, rows)
    operations.settle(tx, settled)


def _past(send_by: str, timeout: timedelta, now: str) -> bool:
    """Whether nobody can be sending any more."""
    return moment_of(now) > moment_of(send_by) + timeout
