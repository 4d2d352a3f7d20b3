"""Approvals: what process instances ask people to decide. One decision each; bound to what was shown."""

from __future__ import annotations

from typing import Any, NamedTuple

from engine.state.store import Tx, new_id


class Approval(NamedTuple):
    """A decision that is asked for, or was made. digest: of what is to be approved."""

    id: str
    instance: str
    flow: str
    step: str
    queue: str
    digest: bytes
    message: str
    requested_by: str
    requested_at: str
    expires: str | None
    state: str
    escalated: int
    decided_by: str | None
    decided_at: str | None
    because: str | None


_COLUMNS = ", ".join(Approval._fields)


def _approval(row: Any) -> Approval:
    one = Approval(*row)
    return one._replace(digest=bytes(one.digest))


def ask(tx: Tx, instance: str, flow: str, step: str, queue: str, digest: bytes, message: str, person: str,
        expires: str | None) -> str:  # fmt: skip
    """Ask for a decision; its id. The same question asked twice stays the one that stands."""
    id = new_id("v")
    tx.run(
        "INSERT INTO approvals (id, instance, flow, step, queue, digest, message, requested_by, requested_at, expires, state) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'open') ON CONFLICT DO NOTHING",
        (id, instance, flow, step, queue, digest, message, person, tx.now(), expires),
    )
    standing = open_of(tx, instance, step)
    assert standing is not None
    return standing.id


def get(tx: Tx, id: str) -> Approval | None:
    """One approval."""
    row = tx.one(f"SELECT {_COLUMNS} FROM approvals WHERE id = ?", (id,))
    return _approval(row) if row else None


def open_of(tx: Tx, instance: str, step: str) -> Approval | None:
    """The decision that a step waits for."""
    row = tx.one(
        f"SELECT {_COLUMNS} FROM approvals WHERE instance = ? AND step = ? AND state = 'open'", (instance, step)
    )
    return _approval(row) if row else None


def last_of(tx: Tx, instance: str, step: str) -> Approval | None:
    """The latest approval of a step, whatever became of it."""
    row = tx.one(
        f"SELECT {_COLUMNS} FROM approvals WHERE instance = ? AND step = ? ORDER BY requested_at DESC, id DESC LIMIT 1",
        (instance, step),
    )
    return _approval(row) if row else None


def of_instance(tx: Tx, instance: str) -> list[Approval]:
    """Every approval of an instance, oldest first."""
    sql = f"SELECT {_COLUMNS} FROM approvals WHERE instance = ? ORDER BY requested_at, id"
    return [_approval(row) for row in tx.rows(sql, (instance,))]


def listed(tx: Tx, queue: str | None = None, flow: str | None = None, *, everything: bool = False) -> list[Approval]:
    """Approvals, the longest asked for first; open ones unless everything is asked for."""
    given = {"queue": queue, "flow": flow}
    tests = [*([] if everything else ["state = 'open'"]), *(f"{name} = ?" for name, value in given.items() if value)]
    where = f" WHERE {' AND '.join(tests)}" if tests else ""
    sql = f"SELECT {_COLUMNS} FROM approvals{where} ORDER BY requested_at, id LIMIT 1000"
    return [_approval(row) for row in tx.rows(sql, [value for value in given.values() if value])]


def decide(tx: Tx, one: Approval, state: str, person: str, because: str | None) -> bool:
    """The one decision on it; False where it is decided, or asked of other content, already."""
    return (
        tx.run(
            "UPDATE approvals SET state = ?, decided_by = ?, decided_at = ?, because = ? "
            "WHERE id = ? AND state = 'open' AND digest = ?",
            (state, person, tx.now(), because, one.id, one.digest),
        )
        == 1
    )


def escalate(tx: Tx, one: Approval, queue: str) -> None:
    """Nobody decided in time: it waits in another queue, for as long as it takes."""
    tx.run(
        "UPDATE approvals SET queue = ?, escalated = 1, expires = NULL WHERE id = ? AND state = 'open'", (queue, one.id)
    )


def withdraw(tx: Tx, instance: str, state: str) -> None:
    """What an instance asked is not to be decided any more."""
    tx.run(
        "UPDATE approvals SET state = ?, decided_at = ? WHERE instance = ? AND state = 'open'",
        (state, tx.now(), instance),
    )
