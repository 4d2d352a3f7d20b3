"""Leases: who may work on what. Claimed and judged in database time only; each claim has a greater fence."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from typing import NamedTuple

from engine.state.store import Tx, instant, moment_of

LIFE = timedelta(seconds=60)


class Lease(NamedTuple):
    """A lease that is held. The fence tells a later holder from a frozen earlier one."""

    name: str
    owner: str
    fence: int


def me() -> str:
    """This process, as lease rows name it."""
    return f"{socket.gethostname()}:{os.getpid()}"


def claim(tx: Tx, name: str, owner: str | None = None, life: timedelta = LIFE) -> Lease | None:
    """Take a lease that is free, run out, or held by a process of this machine that is gone; else None."""
    owner = owner or me()
    now = tx.now()
    expires = instant(moment_of(now) + life)
    row = tx.one("SELECT owner, fence, expires_at FROM leases WHERE name = ?", (name,))
    if row is None:
        taken = tx.run(
            "INSERT INTO leases (name, owner, fence, expires_at) VALUES (?, ?, 1, ?) ON CONFLICT (name) DO NOTHING",
            (name, owner, expires),
        )
        return Lease(name, owner, 1) if taken == 1 else None
    holder, fence, until = str(row[0]), int(row[1]), str(row[2])
    if until > now and not gone(holder):
        return None
    taken = tx.run(
        "UPDATE leases SET owner = ?, fence = fence + 1, expires_at = ? WHERE name = ? AND fence = ?",
        (owner, expires, name, fence),
    )
    return Lease(name, owner, fence + 1) if taken == 1 else None


def taken(tx: Tx, name: str) -> bool:
    """Whether somebody who lives holds it."""
    row = tx.one("SELECT owner, expires_at FROM leases WHERE name = ?", (name,))
    return row is not None and str(row[1]) > tx.now() and not gone(str(row[0]))


def renew(tx: Tx, lease: Lease, life: timedelta = LIFE) -> bool:
    """Hold on to a lease; False where it was lost."""
    expires = instant(moment_of(tx.now()) + life)
    return (
        tx.run("UPDATE leases SET expires_at = ? WHERE name = ? AND fence = ?", (expires, lease.name, lease.fence)) == 1
    )


def held(tx: Tx, lease: Lease) -> bool:
    """Whether the fence is still ours; where it is, nobody else claims it before this transaction ends."""
    lock = " FOR SHARE" if tx.connection.dialect.name == "postgresql" else ""
    row = tx.one(f"SELECT fence FROM leases WHERE name = ?{lock}", (lease.name,))
    return row is not None and int(row[0]) == lease.fence


def release(tx: Tx, lease: Lease) -> None:
    """Let go; the fence stays, so that the next claim gets a greater one."""
    tx.run("UPDATE leases SET expires_at = '' WHERE name = ? AND fence = ?", (lease.name, lease.fence))


def gone(owner: str) -> bool:
    """Whether an owner is a process of this machine that has ended."""
    host, _, process = owner.partition(":")
    if host != socket.gethostname() or not process.isdigit():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
