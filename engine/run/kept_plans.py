"""Compiled process flows that are kept from one instance to the next, by the digest of the documents that they came from."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from engine.compile.process import ProcessPlan

MOST = 16
"""Plans that are kept at once; the longest unused goes first."""
LIFE = 300.0
"""Seconds after which one is made anew: what its systems say of their objects may have changed."""


class KeptPlans:
    """Lends each plan to one thread at a time, for a plan remembers what was asked of it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, tuple[bytes, float, ProcessPlan]] = OrderedDict()
        self._number = 0

    def lend(self, logic: bytes) -> tuple[ProcessPlan, float] | None:
        """A plan with that digest that nobody has in hand, and when it was made; None where there is none."""
        with self._lock:
            for number, (known, made, plan) in reversed(self._kept.items()):
                if known == logic and time.monotonic() - made < LIFE:
                    del self._kept[number]
                    return plan, made
        return None

    def keep(self, logic: bytes, plan: ProcessPlan, made: float) -> None:
        """It is not needed any more, for now. made: in monotonic seconds."""
        with self._lock:
            self._number += 1
            self._kept[self._number] = (logic, made, plan)
            while len(self._kept) > MOST:
                self._kept.popitem(last=False)

    def __len__(self) -> int:
        return len(self._kept)
