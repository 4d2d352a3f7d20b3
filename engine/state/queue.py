"""Exceptions as work: in which queue they wait, who has taken them, with which words, and which are alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.state.store import Tx


def route(tx: Tx, ids: Sequence[str], queue: str) -> None:
    """Move exceptions to a queue; they stay there, whatever the flow or the check says."""
    tx.many("UPDATE exceptions SET routed = ? WHERE id = ?", [(queue, id) for id in ids])


def take(tx: Tx, ids: Sequence[str], owner: str | None) -> None:
    """Give exceptions to a person, or (None) back to everybody."""
    tx.many("UPDATE exceptions SET owner = ? WHERE id = ?", [(owner, id) for id in ids])


def tag(tx: Tx, ids: Sequence[str], add: Iterable[str], remove: Iterable[str]) -> None:
    """Put words on exceptions and take words off."""
    tx.many("DELETE FROM exception_tags WHERE exception = ? AND tag = ?", [(id, one) for one in remove for id in ids])
    tx.many(
        "INSERT INTO exception_tags (exception, tag) VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(id, one) for one in add for id in ids],
    )


def tags_of(tx: Tx, ids: Iterable[str]) -> dict[str, list[str]]:
    """The words on exceptions, sorted; those without any are left out."""
    sql = "SELECT exception, tag FROM exception_tags WHERE exception IN (…)"
    found: dict[str, list[str]] = {}
    for id, word in sorted(tx.by_keys(sql, (), ids)):
        found.setdefault(id, []).append(word)
    return found
