"""The leader: of all replicas on one state, the one that notes ticks and sweeps. Elected by a lease in database time."""

from __future__ import annotations

from datetime import timedelta

from engine.state import leases
from engine.state.store import Store

NAME = "serve:leader"
LIFE = timedelta(seconds=15)
"""How long a leader that tells nothing stays it; a process of this machine that is gone loses it at once."""


class Leader:
    """This process's part in the election."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.lease: leases.Lease | None = None

    def stand(self) -> bool:
        """Stay the leader, or become it where nobody is; whether this process is it now."""
        with self.store.begin("leader") as tx:
            if self.lease is not None and leases.held(tx, self.lease) and leases.renew(tx, self.lease, LIFE):
                return True
            self.lease = leases.claim(tx, NAME, life=LIFE)
        return self.lease is not None

    def known(self) -> bool:
        """Whether there is a leader, here or elsewhere."""
        with self.store.read() as tx:
            return leases.taken(tx, NAME)

    def step_down(self) -> None:
        """Let another replica take over at once."""
        if self.lease is not None:
            with self.store.begin("leader") as tx:
                leases.release(tx, self.lease)
            self.lease = None
