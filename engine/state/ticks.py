"""Ticks: schedules that came due, each one once; how far each schedule was looked at; flows that are paused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from engine.state.store import Tx


class Tick(NamedTuple):
    """A tick. state: due, started, over, skipped, dropped; why: of the last two."""

    flow: str
    scheduled_for: str
    state: str
    why: str | None
    run: str | None


class Pause(NamedTuple):
    """A flow that nothing starts but a person."""

    flow: str
    since: str
    person: str
    because: str


# ---------------------------------------------------------------------- how far
def upto(tx: Tx) -> dict[tuple[str, str], str]:
    """(flow, schedule) → instant up to which its ticks are noted."""
    return {
        (str(flow), str(schedule)): str(at)
        for flow, schedule, at in tx.rows("SELECT flow, schedule, upto FROM schedules")
    }


def look(tx: Tx, moved: Iterable[tuple[str, str, str]]) -> None:
    """Note (flow, schedule, instant up to which it was looked at)."""
    tx.many(
        "INSERT INTO schedules (flow, schedule, upto) VALUES (?, ?, ?) "
        "ON CONFLICT (flow, schedule) DO UPDATE SET upto = excluded.upto",
        sorted(moved),
    )


def forget(tx: Tx, gone: Iterable[tuple[str, str]]) -> None:
    """Schedules that no flow has any more: one that comes back is new."""
    tx.many("DELETE FROM schedules WHERE flow = ? AND schedule = ?", sorted(gone))


# ---------------------------------------------------------------------- ticks
def note(tx: Tx, flow: str, scheduled_for: str, state: str, now: str, why: str | None = None) -> bool:
    """Note a tick; False where it was noted before. now: database time."""
    return (
        tx.run(
            "INSERT INTO ticks (flow, scheduled_for, state, why, at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (flow, scheduled_for, state, why, now),
        )
        == 1
    )


def first_due(tx: Tx, flow: str) -> str | None:
    """The earliest tick of a flow that waits for its run, or whose worker is gone."""
    row = tx.one("SELECT min(scheduled_for) FROM ticks WHERE flow = ? AND state IN ('due', 'started')", (flow,))
    return str(row[0]) if row and row[0] else None


def more_due(tx: Tx, flow: str) -> bool:
    """Whether a tick of the flow waits for its run."""
    return tx.one("SELECT 1 FROM ticks WHERE flow = ? AND state = 'due' LIMIT 1", (flow,)) is not None


def open_flows(tx: Tx) -> dict[str, int]:
    """Flow → ticks whose run has not ended."""
    rows = tx.rows("SELECT flow, count(*) FROM ticks WHERE state IN ('due', 'started') GROUP BY flow")
    return {str(flow): int(count) for flow, count in rows}


def close(tx: Tx, flow: str, why: str) -> None:
    """The work on a flow's ticks was given up."""
    tx.run("UPDATE ticks SET state = 'over', why = ? WHERE flow = ? AND state IN ('due', 'started')", (why, flow))


def move(tx: Tx, flow: str, scheduled_for: str, state: str, *, why: str | None = None, run: str | None = None) -> None:
    """A tick's new state."""
    tx.run(
        "UPDATE ticks SET state = ?, why = ?, run = ? WHERE flow = ? AND scheduled_for = ?",
        (state, why, run, flow, scheduled_for),
    )


def last(tx: Tx) -> dict[str, Tick]:
    """Flow → its latest tick."""
    rows = tx.rows(
        "SELECT flow, scheduled_for, state, why, run FROM ticks t WHERE scheduled_for = "
        "(SELECT max(scheduled_for) FROM ticks WHERE flow = t.flow)"
    )
    return {str(row[0]): Tick(*row) for row in rows}


def of_flow(tx: Tx, flow: str) -> list[Tick]:
    """Every tick of a flow that is kept, in order."""
    rows = tx.rows(
        "SELECT flow, scheduled_for, state, why, run FROM ticks WHERE flow = ? ORDER BY scheduled_for", (flow,)
    )
    return [Tick(*row) for row in rows]


# ---------------------------------------------------------------------- pauses
def pause(tx: Tx, flow: str, person: str, because: str) -> bool:
    """Let nothing start a flow but a person; False where it was paused before."""
    return (
        tx.run(
            "INSERT INTO pauses (flow, since, person, because) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (flow, tx.now(), person, because),
        )
        == 1
    )


def resume(tx: Tx, flow: str) -> bool:
    """End a pause; False where there was none."""
    return tx.run("DELETE FROM pauses WHERE flow = ?", (flow,)) == 1


def paused(tx: Tx) -> dict[str, Pause]:
    """Flow → its pause."""
    return {str(row[0]): Pause(*row) for row in tx.rows("SELECT flow, since, person, because FROM pauses")}
