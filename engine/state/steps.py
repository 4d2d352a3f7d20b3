"""What became of each step of an instance: begun before it acts, with what takes it back, and ended with its result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from engine.sdk.record import JSON, Fields, decode_json, encode_json
from engine.state.store import Tx


class StepRow(NamedTuple):
    """What became of a step. result, undo: decoded JSON."""

    number: int
    step: str
    kind: str
    state: str
    result: Any
    undo: Any
    run: str
    began_at: str
    ended_at: str | None


_STEP = "number, step, kind, state, result, undo, run, began_at, ended_at"


def steps_of(tx: Tx, id: str) -> dict[int, StepRow]:
    """The steps that an instance has come to, by number."""
    rows = tx.rows(f"SELECT {_STEP} FROM process_steps WHERE instance = ? ORDER BY number", (id,))
    return {
        row[0]: StepRow._make(
            (*row[:4], decode_json(bytes(row[4])), decode_json(bytes(row[5])) if row[5] else None, *row[6:])
        )
        for row in rows
    }


def begin_step(tx: Tx, id: str, number: int, step: str, kind: str, run: str, result: Mapping[str, JSON],
               undo: JSON = None) -> None:  # fmt: skip
    """A step that is about to act, with what takes it back."""
    tx.run(
        "INSERT INTO process_steps (instance, number, step, kind, state, result, undo, run, began_at) "
        "VALUES (?, ?, ?, ?, 'begun', ?, ?, ?, ?) ON CONFLICT (instance, number) DO UPDATE SET state = 'begun', "
        "result = excluded.result, undo = excluded.undo, run = excluded.run, ended_at = NULL",
        (
            id,
            number,
            step,
            kind,
            encode_json(dict(result)),
            encode_json(undo) if undo is not None else None,
            run,
            tx.now(),
        ),
    )


def note_result(tx: Tx, id: str, number: int, result: Fields) -> None:
    """What is known so far of what a step did."""
    tx.run("UPDATE process_steps SET result = ? WHERE instance = ? AND number = ?", (encode_json(result), id, number))


def end_step(tx: Tx, id: str, number: int, state: str) -> None:
    """How a step ended."""
    tx.run(
        "UPDATE process_steps SET state = ?, ended_at = ? WHERE instance = ? AND number = ?",
        (state, tx.now(), id, number),
    )
