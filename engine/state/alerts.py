"""Alerts: expectations that flows have missed. One open row a flow and expectation, until it is met again."""

from __future__ import annotations

from typing import NamedTuple

from engine.state.store import Tx, new_id


class Alert(NamedTuple):
    """A missed expectation. bound: the limit as the flow says it. run: the one that was judged last."""

    id: str
    flow: str
    expectation: str
    bound: str
    reached: str
    state: str
    run: str | None
    since: str
    updated_at: str
    closed_at: str | None


_COLUMNS = ", ".join(Alert._fields)


def missed(tx: Tx, flow: str, expectation: str, bound: str, reached: str, run: str | None) -> bool:
    """Open an alert; one that is open gets the newest figures and keeps its beginning. Whether it is a new one."""
    now = tx.now()
    changed = tx.run(
        "UPDATE alerts SET bound = ?, reached = ?, run = ?, updated_at = ? "
        "WHERE flow = ? AND expectation = ? AND state = 'open'",
        (bound, reached, run, now, flow, expectation),
    )
    if changed:
        return False
    return (
        tx.run(
            f"INSERT INTO alerts ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, 'open', ?, ?, ?, NULL) ON CONFLICT DO NOTHING",
            (new_id("a"), flow, expectation, bound, reached, run, now, now),
        )
        == 1
    )


def met(tx: Tx, flow: str, expectation: str, run: str | None) -> bool:
    """Close the alert; whether one was open."""
    now = tx.now()
    closed = tx.run(
        "UPDATE alerts SET state = 'closed', run = ?, updated_at = ?, closed_at = ? "
        "WHERE flow = ? AND expectation = ? AND state = 'open'",
        (run, now, now, flow, expectation),
    )
    return closed > 0


def listed(tx: Tx, flow: str | None = None, *, everything: bool = False) -> list[Alert]:
    """Alerts, oldest first; open ones unless everything is asked for."""
    tests = [*([] if everything else ["state = 'open'"]), *(["flow = ?"] if flow else [])]
    where = f" WHERE {' AND '.join(tests)}" if tests else ""
    rows = tx.rows(f"SELECT {_COLUMNS} FROM alerts{where} ORDER BY since, flow, expectation", [flow] if flow else [])
    return [Alert(*row) for row in rows]
