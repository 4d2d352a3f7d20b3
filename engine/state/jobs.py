"""Jobs of systems that take many rows at once: an operation of its own for each, until its rows are settled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine.sdk.record import decode_json, encode_json
from engine.state import operations
from engine.state.store import Tx


class Job(NamedTuple):
    """A job of a system that is not known to be over. ops: keys of its operations."""

    op_key: str
    flow: str
    id: str
    ops: list[str]
    uploaded: bool
    send_by: str


def open_jobs(tx: Tx, connection: str, object: str) -> list[Job]:
    """Jobs of an object whose rows nobody has settled, oldest first."""
    sql = (
        "SELECT op_key, flow, native_id, body, send_by FROM operations WHERE connection = ? AND object = ? AND kind = 'job' "
        f"AND state IN {operations.OPEN} ORDER BY created_at, op_key"
    )
    found = []
    for key, flow, id, body, send_by in tx.rows(sql, (connection, object)):
        held = decode_json(bytes(body))
        found.append(Job(key, flow, id, held["operations"], held["uploaded"], send_by))
    return found


def put(tx: Tx, intent: operations.Intent, id: str, ops: Sequence[str], *, uploaded: bool) -> None:
    """Note a job before its rows are uploaded, and again once they are."""
    body = encode_json({"operations": list(ops), "uploaded": uploaded})
    operations.send(tx, [intent._replace(body=body)])
    tx.run("UPDATE operations SET native_id = ?, body = ? WHERE op_key = ?", (id, body, intent.op_key))
