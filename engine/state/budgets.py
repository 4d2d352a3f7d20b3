"""Budgets: one row an account, with the figures that all processes share. Judged in database time only."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from engine.sdk.account import Account, Ask, Grant
from engine.sdk.record import decode_json, encode_json
from engine.state.leases import gone
from engine.state.store import Tx, microseconds

T = TypeVar("T")


def claim(tx: Tx, account: str, ask: Ask) -> Grant:
    """Turns and places of an account for one owner. What a process of this machine held that is gone is free."""
    return _changed(tx, account, lambda held, now: held.claim(now, ask, _gone))


def hold(tx: Tx, account: str, wait: int, seen: int | None) -> None:
    """Nobody calls for `wait` µs. seen: see `Account.hold`."""
    _changed(tx, account, lambda held, now: held.hold(now, wait, seen))


def release(tx: Tx, account: str, owner: str) -> None:
    """The owner calls no more."""
    _changed(tx, account, lambda held, now: held.holders.pop(owner, None))


def _changed(tx: Tx, account: str, change: Callable[[Account, int], T]) -> T:
    """The account's row with a change made to it, whoever else changes it at the same time."""
    while True:
        row = tx.one("SELECT figures, version FROM budgets WHERE account = ?", (account,))
        if row is None:
            tx.run(
                "INSERT INTO budgets (account, figures, version) VALUES (?, ?, 1) ON CONFLICT (account) DO NOTHING",
                (account, encode_json(Account().as_json())),
            )
            continue
        held, version = Account.of(decode_json(bytes(row[0]))), int(row[1])
        result = change(held, microseconds(tx.now()))
        taken = tx.run(
            "UPDATE budgets SET figures = ?, version = version + 1 WHERE account = ? AND version = ?",
            (encode_json(held.as_json()), account, version),
        )
        if taken == 1:
            return result


def _gone(owner: str) -> bool:
    """An owner is a process (as leases name it) and a number within it."""
    return gone(owner.rpartition(":")[0])
