"""Something done every so many seconds beside a piece of work: a lease held on to, an ear for who wants it stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def meanwhile(name: str, seconds: float, do: Callable[[], None]) -> Iterator[None]:
    """While this lasts, a thread `name` calls `do` every so many seconds; it is over when this is.

    A call that fails is no reason to stop: what it failed for may pass, and the next one may be in time.

    Raises:
        What the last call raised, at the end; where the work has an error of its own, that one, with this as a note.
    """
    over = threading.Event()
    failed: Exception | None = None

    def again() -> None:
        nonlocal failed
        while not over.wait(seconds):
            try:
                do()
                failed = None
            except Exception as error:  # noqa: BLE001 - whatever it is, the thread whose work this is raises it
                failed = error

    thread = threading.Thread(target=again, name=name, daemon=True)
    thread.start()
    try:
        yield
    except BaseException as error:
        _end(over, thread)
        if failed is not None:
            error.add_note(f"meanwhile, {name}: {failed}")
        raise
    _end(over, thread)
    if failed is not None:
        raise failed


def _end(over: threading.Event, thread: threading.Thread) -> None:
    over.set()
    thread.join()
