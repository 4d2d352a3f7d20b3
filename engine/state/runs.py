"""Runs, their units of work, how far flows have read, and who may work: one row each."""

from __future__ import annotations

from typing import Any, NamedTuple

from engine.sdk.errors import Problem
from engine.sdk.record import JSON, decode_json, encode_json
from engine.state.store import StaleState, Tx, instant, new_id


class Run(NamedTuple):
    """A run as lists show it. counts, error, options: decoded JSON."""

    id: str
    flow: str
    kind: str
    state: str
    trigger: str
    counts: Any
    held_because: str | None
    error: Any
    started_at: str
    finished_at: str | None
    options: Any


_COLUMNS = "id, flow, kind, state, trigger, counts, held_because, error, started_at, finished_at, options"


def start(tx: Tx, flow: str, kind: str, trigger: str, options: JSON, lane: str) -> str:
    """A new run with the unit that an executor is woken for; its id."""
    run, now = new_id("r"), instant()
    tx.run(
        "INSERT INTO runs (id, flow, kind, state, trigger, options, counts, started_at) VALUES (?, ?, ?, 'running', ?, ?, ?, ?)",
        (run, flow, kind, trigger, encode_json(options), b"{}", now),
    )
    tx.run(
        "INSERT INTO units (id, kind, key, run, lane, state, due, payload) VALUES (?, 'run', ?, ?, ?, 'ready', ?, ?)",
        (new_id("u"), run, run, lane, now, encode_json({"flow": flow})),
    )
    return run


def claim_unit(tx: Tx, run: str) -> bool:
    """Take the run's unit; False where somebody has it."""
    return (
        tx.run("UPDATE units SET state = 'leased', attempts = attempts + 1 WHERE run = ? AND state = 'ready'", (run,))
        == 1
    )


def pin(tx: Tx, run: str, logic: bytes, documents: bytes) -> None:
    """Pin a run to the digest of its documents; the documents are stored once."""
    tx.run(
        "INSERT INTO logic (digest, documents, first_seen) VALUES (?, ?, ?) ON CONFLICT (digest) DO NOTHING",
        (logic, documents, instant()),
    )
    tx.run("UPDATE runs SET logic = ? WHERE id = ?", (logic, run))


def pinned(tx: Tx, logic: bytes) -> bytes | None:
    """The documents that were pinned under a digest."""
    row = tx.one("SELECT documents FROM logic WHERE digest = ?", (logic,))
    return bytes(row[0]) if row else None


def progress(tx: Tx, run: str, counts: JSON) -> None:
    """Counts so far."""
    tx.run("UPDATE runs SET counts = ? WHERE id = ?", (encode_json(counts), run))


def finish(tx: Tx, run: str, state: str, counts: JSON, held: str | None = None, error: JSON = None) -> None:
    """The run is over."""
    tx.run(
        "UPDATE runs SET state = ?, counts = ?, held_because = ?, error = ?, finished_at = ? WHERE id = ?",
        (state, encode_json(counts), held, encode_json(error) if error else None, instant(), run),
    )
    tx.run("UPDATE units SET state = ? WHERE run = ?", ("failed" if state == "failed" else "done", run))


def abandoned(tx: Tx, flow: str) -> int:
    """Runs of a flow that were running when their process died: failed, so that lists tell the truth. How many."""
    error = encode_json(
        {
            "code": "R602",
            "message": "the process ended in the middle of the run — the next run goes on from what was committed",
            "at": None,
        }
    )
    return tx.run(
        "UPDATE runs SET state = 'failed', error = ?, finished_at = ? WHERE flow = ? AND state = 'running'",
        (error, instant(), flow),
    )


def flow_of(tx: Tx, run: str) -> str:
    """The flow of a run that there is."""
    row = tx.one("SELECT flow FROM runs WHERE id = ?", (run,))
    assert row is not None
    return str(row[0])


def going_on(tx: Tx, flow: str) -> Run | None:
    """The run of a flow that goes on, or whose process died."""
    row = tx.one(
        f"SELECT {_COLUMNS} FROM runs WHERE flow = ? AND state = 'running' ORDER BY started_at DESC LIMIT 1", (flow,)
    )
    return _run(row) if row else None


def note_hold(tx: Tx, run: str, guard: str, part: int, whole: int) -> None:
    """The figures that held a run: what an approval of it is for."""
    set_fact(tx, f"held:{run}", {"guard": guard, "part": part, "whole": whole})


def hold_of(tx: Tx, run: str) -> tuple[str, int, int] | None:
    """(guard, part, whole) of a held run."""
    found = fact(tx, f"held:{run}")
    return (found["guard"], found["part"], found["whole"]) if isinstance(found, dict) else None


def ask_to_stop(tx: Tx, run: str) -> None:
    """Ask a run that goes on elsewhere to end after its batch."""
    set_fact(tx, f"stop:{run}", True)


def asked_to_stop(tx: Tx, run: str) -> bool:
    """Whether somebody asked."""
    return fact(tx, f"stop:{run}") is True


def listed(tx: Tx, flow: str | None = None, limit: int = 50, state: str | None = None) -> list[Run]:
    """Runs, newest first."""
    tests = {"flow": flow, "state": state}
    values = [given for given in tests.values() if given]
    where = " AND ".join(f"{name} = ?" for name, given in tests.items() if given)
    where = f" WHERE {where}" if where else ""
    rows = tx.rows(f"SELECT {_COLUMNS} FROM runs{where} ORDER BY started_at DESC, id DESC LIMIT {int(limit)}", values)
    return [_run(row) for row in rows]


def flows(tx: Tx) -> list[str]:
    """Names of the flows that have run."""
    return [row[0] for row in tx.rows("SELECT DISTINCT flow FROM runs ORDER BY flow")]


def last_finished(tx: Tx, flow: str) -> str | None:
    """When a run of the flow last read its source to the end; plans, replays, healing and single records do not count."""
    row = tx.one(
        "SELECT max(finished_at) FROM runs WHERE flow = ? AND state IN ('succeeded', 'partial') "
        "AND trigger NOT IN ('plan', 'replay') AND trigger NOT LIKE 'webhook %' AND trigger NOT LIKE 'event %' "
        "AND trigger NOT LIKE 'heal%'",
        (flow,),
    )
    return str(row[0]) if row and row[0] else None


def get(tx: Tx, id: str) -> Run | None:
    """One run."""
    row = tx.one(f"SELECT {_COLUMNS} FROM runs WHERE id = ?", (id,))
    return _run(row) if row else None


def _run(row: tuple[Any, ...]) -> Run:
    run = Run(*row)
    return run._replace(
        counts=decode_json(bytes(run.counts)),
        error=decode_json(bytes(run.error)) if run.error else None,
        options=decode_json(bytes(run.options)),
    )


# ---------------------------------------------------------------------- cursors
def cursor(tx: Tx, flow: str, partition: str = "") -> tuple[JSON, int]:
    """(position, version) of a flow's cursor; (None, 0) where it has none."""
    row = tx.one("SELECT position, version FROM cursors WHERE flow = ? AND partition = ?", (flow, partition))
    return (decode_json(bytes(row[0])), int(row[1])) if row else (None, 0)


def save_cursor(tx: Tx, flow: str, position: JSON, version: int, partition: str = "") -> int:
    """Move a cursor; its new version. Raises StaleState where somebody moved it meanwhile."""
    body, now = encode_json(position), instant()
    if version == 0:
        moved = tx.run(
            "INSERT INTO cursors (flow, partition, position, version, updated_at) VALUES (?, ?, ?, 1, ?) "
            "ON CONFLICT (flow, partition) DO NOTHING",
            (flow, partition, body, now),
        )
    else:
        moved = tx.run(
            "UPDATE cursors SET position = ?, version = version + 1, updated_at = ? WHERE flow = ? AND partition = ? AND version = ?",
            (body, now, flow, partition, version),
        )
    if moved != 1:
        raise StaleState(Problem("S705", f"{flow}: another run has moved the cursor meanwhile", None, "run it again"))
    return version + 1


# ---------------------------------------------------------------------- facts
def fact(tx: Tx, name: str) -> JSON:
    """A small fact; None where it is not known."""
    row = tx.one("SELECT value FROM facts WHERE name = ?", (name,))
    return decode_json(bytes(row[0])) if row else None


def set_fact(tx: Tx, name: str, value: JSON) -> None:
    """Remember a small fact."""
    tx.run(
        "INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, encode_json(value)),
    )
