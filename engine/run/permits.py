"""Budgets of accounts, shared by every process that uses this state."""

from __future__ import annotations

from dataclasses import dataclass

from engine.sdk.account import SECOND, Ask, Grant
from engine.state import budgets
from engine.state.store import Store


@dataclass(frozen=True)
class SharedPermits:
    """What connectors ask before they call a system (`engine.sdk.account.Permits`). Equal where the state is the same."""

    store: Store

    def claim(self, account: str, ask: Ask) -> Grant:
        with self.store.begin("budget") as tx:
            return budgets.claim(tx, account, ask)

    def hold(self, account: str, wait: float, seen: int | None) -> None:
        with self.store.begin("budget") as tx:
            budgets.hold(tx, account, round(wait * SECOND), seen)

    def release(self, account: str, owner: str) -> None:
        with self.store.begin("budget") as tx:
            budgets.release(tx, account, owner)
