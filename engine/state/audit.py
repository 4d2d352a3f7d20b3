"""The audit trail: append-only, each row chained to the one before by SHA-256."""

from __future__ import annotations

import hashlib

from engine.sdk.record import JSON, canonical_json, decode_json
from engine.state.store import Tx, instant


def append(tx: Tx, actor: str, action: str, subject: str, detail: JSON = None) -> None:
    """Note what somebody did. detail: ids and digests, never contents."""
    last = tx.one("SELECT seq, chain FROM audit ORDER BY seq DESC LIMIT 1")
    seq, before = (int(last[0]) + 1, bytes(last[1])) if last else (1, b"\0" * 32)
    at, body = instant(), canonical_json(detail)
    chain = _link(before, seq, at, actor, action, subject, body)
    tx.run(
        "INSERT INTO audit (seq, at, actor, action, subject, detail, chain) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (seq, at, actor, action, subject, body, chain),
    )


def _link(before: bytes, seq: int, at: str, actor: str, action: str, subject: str, body: bytes) -> bytes:
    parts = [before, str(seq).encode(), at.encode(), actor.encode(), action.encode(), subject.encode(), body]
    return hashlib.sha256(b"\0".join(parts)).digest()


def of(tx: Tx, subject: str) -> list[tuple[str, str, str, JSON]]:
    """What was done to something, oldest first: (at, actor, action, detail)."""
    rows = tx.rows("SELECT at, actor, action, detail FROM audit WHERE subject = ? ORDER BY seq", (subject,))
    return [(row[0], row[1], row[2], decode_json(bytes(row[3]))) for row in rows]


def verify(tx: Tx) -> int | None:
    """The number of the first row that was changed, removed or moved; None where the chain holds."""
    before, expected = b"\0" * 32, 1
    for seq, at, actor, action, subject, body, chain in tx.stream(
        "SELECT seq, at, actor, action, subject, detail, chain FROM audit ORDER BY seq"
    ):
        if seq != expected or bytes(chain) != _link(before, seq, at, actor, action, subject, bytes(body)):
            return expected
        before, expected = bytes(chain), expected + 1
    return None
