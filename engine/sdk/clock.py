"""The clock that bounds sending: it only moves forward, and goes on while the machine sleeps or the process is frozen."""

from __future__ import annotations

import time

_BOOT = getattr(time, "CLOCK_BOOTTIME", None)


def boot() -> float:
    """Seconds since the machine started, its sleep counted where the system can tell (else since some fixed point)."""
    return time.clock_gettime(_BOOT) if _BOOT is not None else time.monotonic()
