"""Operations whose outcome is unknown, settled by their class once the target has had time to finish and index."""

from __future__ import annotations

from datetime import datetime, timedelta

from engine.compile.sync import SyncPlan, TargetPlan
from engine.run.echo import ends_of
from engine.run.jobs import settle_jobs
from engine.run.journal import MARKER, settling, spread
from engine.run.session import Session
from engine.run.shared import EMPTY
from engine.sdk.clock import boot
from engine.sdk.connector import Operation
from engine.sdk.errors import ConnectorError, SpecError
from engine.sdk.record import Fields, Record, decode_json
from engine.spec.process import ProcessFlow
from engine.state import exceptions, inputs, ledger, links, operations
from engine.state.ledger import Delivered
from engine.state.links import Link
from engine.state.operations import SAFE_AGAIN, Open
from engine.state.store import Tx, moment_of


def resolve_in_doubt(session: Session, plan: SyncPlan) -> None:
    """By class: A and whatever may safely go again is let go once nothing of it can arrive late any more, B is sent
    again under its key, C is searched for, D waits for a person."""
    for target in plan.targets:
        with session.store.read() as tx:
            if not operations.in_doubt(tx, target.connection, target.info.name):
                continue
        _abandoned(session, target)
        with session.store.read() as tx:
            everything = operations.in_doubt(tx, target.connection, target.info.name)
            now = moment_of(tx.now())

        def ours(flow: str) -> bool:
            return _ours(session, plan, flow)

        free = settle_jobs(session, plan, target, everything, ours)
        found = [one for one in free if one.state == "in_doubt" and ours(one.flow)]
        ripe = {one.op_key for one in found if _ripe(one, session, target, now)}
        _let_go(session, [one for one in found if one.kind in SAFE_AGAIN and one.op_key in ripe])
        creates = [one for one in found if one.kind not in SAFE_AGAIN and not one.found]
        keyed = [one for one in creates if one.write_class == "B" and _remembered(one, target, now)]
        if keyed:
            _resend(session, plan, target, keyed)
        forgotten = [one for one in creates if one.write_class == "B" and one not in keyed]
        rules = _searched_by(target)
        if forgotten and not rules:
            with settling(session) as tx:
                operations.give_up_key(tx, [one.op_key for one in forgotten])
            forgotten = []
        wanted = [one for one in [*creates, *forgotten] if one.write_class == "C" or one in forgotten]
        wanted = [one for one in wanted if one.op_key in ripe]
        if wanted and rules:
            _search(session, plan, target, rules, wanted)


def _abandoned(session: Session, target: TargetPlan) -> None:
    """What runs that are gone had sent: in doubt from now on; what an update of theirs left is unknown."""
    with settling(session) as tx:
        left = operations.abandoned(tx, target.connection, target.info.name)
        for one in left:
            if one.kind == MARKER:
                spread(tx, target, one, session.run)
        updates = {(one.canonical_id, one.part): list(decode_json(one.body)) for one in left if one.kind == "update"}
        if updates:
            ledger.doubt(tx, target.connection, target.info.name, updates)
        inputs.forget(tx, [one.canonical_id for one in left])  # what was read of them was not finished


def _ours(session: Session, plan: SyncPlan, flow: str) -> bool:
    """Whether it is a flow of this entity: another entity's records may go to the same object."""
    if flow == plan.name:
        return True
    workspace = session.workspace
    try:
        model = workspace.document("flow", flow).model
        if isinstance(model, ProcessFlow):
            entities = {workspace.document("mapping", one.mapping).model.entity for one in ends_of(model)[1]}
            return plan.schema.entity in entities
    except SpecError:
        return True  # the flow is gone; somebody must settle what it left
    return bool(model.entity == plan.schema.entity)


def _remembered(one: Open, target: TargetPlan, now: datetime) -> bool:
    """Whether the system surely knows the key still: within four fifths of its documented life."""
    return now - moment_of(one.created_at) < timedelta(seconds=target.info.key_life * 0.8)


def _ripe(one: Open, session: Session, target: TargetPlan, now: datetime) -> bool:
    """send_by + request timeout + late + index has passed."""
    timeout = session.connectors[target.connection].config.timeout
    wait = timeout + timedelta(seconds=target.info.late + target.info.index)
    return bool(now > moment_of(one.send_by or one.updated_at) + wait)


def _let_go(session: Session, found: list[Open]) -> None:
    """Nothing of it can arrive any more; the next diff sends what the record is by now."""
    if found:
        with settling(session) as tx:
            operations.settle(tx, [(one.op_key, "dropped", None, None) for one in found])


def _resend(session: Session, plan: SyncPlan, target: TargetPlan, found: list[Open]) -> None:
    """Class B: the same bytes under the same key. What the record is by now goes out as an update afterwards."""
    connector = session.connectors[target.connection]
    send_by = boot() + connector.config.timeout.total_seconds()
    sent = [
        Operation(one.op_key, "append" if one.kind == "append" else "create", decode_json(one.body), mark=one.mark,
                  idempotency_key=one.idempotency_key or one.op_key, send_by=send_by)
        for one in found
    ]  # fmt: skip
    session.store.crashpoint("before resend")
    try:
        outcomes = {one.id: one for one in connector.write(target.info.name, sent)}
        session.store.crashpoint("after resend")
    except ConnectorError as error:
        if not error.transient:
            raise
        return  # still in doubt; the next run asks again
    with settling(session) as tx:
        for one in found:
            outcome = outcomes.get(one.op_key)
            if outcome is not None and outcome.state in ("created", "matched") and outcome.key:
                _adopt(session, plan, target, tx, one, outcome.key, "delivered")
            elif outcome is not None and outcome.state == "refused":
                operations.settle(tx, [(one.op_key, "refused", None, None)])


def _adopt(session: Session, plan: SyncPlan, target: TargetPlan, tx: Tx, one: Open, key: str, state: str) -> None:
    """The target has it: link and ledger say so. The hash equals none, so that the next diff compares fields."""
    if one.kind == "append":
        operations.settle(tx, [(one.op_key, "confirmed", key, None)])
        return
    link = Link(
        plan.schema.entity, target.connection, target.info.name, key, one.canonical_id, one.part, "live", session.run
    )
    taken = [] if target.mapping.onto else links.put(tx, [link])
    if taken:
        other = taken[0].standing
        operations.note_found(tx, one.op_key, f"{key} for it, but {other.native_id} is linked to {other.canonical_id}")
        return
    place = (target.connection, target.info.name, target.mapping.name)
    known = ledger.get(tx, *place, [one.canonical_id]).get((one.canonical_id, one.part))
    row = Delivered(one.canonical_id, one.part, ledger.NO_HASH, one.body, key, None, (known.revision if known else 0) + 1,
                    known.generation if known else 0, state)  # fmt: skip
    ledger.put(tx, *place, [row])
    operations.settle(tx, [(one.op_key, "confirmed", key, None)])
    entity = plan.schema.entity
    session.woken += exceptions.wake(tx, [(entity, one.canonical_id), (entity, f"{target.connection}:{key}")])


def _searched_by(target: TargetPlan) -> list[tuple[str, ...]]:
    """What a lost create is searched by, in the target's own fields: its mark, else the rules of `match`."""
    if target.marker:
        return [(target.marker,)]
    return [paths for rule in target.match if (paths := target.native_paths(rule)) is not None]


def _search(
    session: Session, plan: SyncPlan, target: TargetPlan, rules: list[tuple[str, ...]], found: list[Open]
) -> None:
    """Class C, after the settle time: one hit adopts, none lets it be made again, several go to review."""
    connector, hits = session.connectors[target.connection], dict[str, dict[str, Record]]()
    marked, asked_for = bool(target.marker), set[str]()
    session.store.crashpoint("before search")
    for rule in rules:
        asked, by = list[Open](), list[Fields]()
        for one in found:
            body = decode_json(one.body)
            values = {rule[0]: one.mark} if marked else {path: body.get(path) for path in rule}
            if all(value not in EMPTY for value in values.values()):
                asked.append(one)
                by.append(values)
        asked_for |= {one.op_key for one in asked}
        for one, records in zip(asked, connector.find(target.info.name, by) if by else [], strict=True):
            hits.setdefault(one.op_key, {}).update((record.key, record) for record in records)
    session.store.crashpoint("after search")
    with settling(session) as tx:
        for one in found:
            keys = list(hits.get(one.op_key, ()))
            if len(keys) == 1:
                _adopt(session, plan, target, tx, one, keys[0], "stale")
            elif keys:
                operations.note_found(tx, one.op_key, f"{len(keys)} of it: {', '.join(keys[:5])}")
            elif one.op_key in asked_for:
                operations.settle(tx, [(one.op_key, "dropped", None, None)])
            else:  # it has no value to search by
                operations.give_up_key(tx, [one.op_key])
