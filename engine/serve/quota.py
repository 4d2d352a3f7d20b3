"""How many calls a connection may make to us: a bucket that fills at an even rate, asked before anything is read."""

from __future__ import annotations

import time
from collections.abc import Callable


class Bucket:
    """So many calls a span, all at once or spread. Not for several threads: the event loop asks."""

    def __init__(self, calls: int, span: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.calls, self.span, self._clock = calls, span, clock
        self._left, self._at = float(calls), clock()

    def take(self) -> float:
        """Take one; seconds to wait where none is left, else 0."""
        now = self._clock()
        self._left = min(float(self.calls), self._left + (now - self._at) * self.calls / self.span)
        self._at = now
        if self._left >= 1:
            self._left -= 1
            return 0.0
        return (1 - self._left) * self.span / self.calls
