"""A state to try things on: what is written there is gone afterwards, and nobody else waits for it."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from engine.state.store import Store, Tx


class PassingTx(Tx):
    """A part of a transaction that is rolled back."""

    def alone(self, name: str) -> None:
        """Nothing of it stays, so nobody has to wait for it."""


class PassingStore(Store):
    """A state whose transactions are all parts of one, which is rolled back in the end. For one thread."""

    passing = True

    def __init__(self, real: Store, connection: Connection) -> None:
        super().__init__(real.engine, real.url)
        self._connection = connection

    @contextmanager
    def begin(self, name: str = "", *, durable: bool = False) -> Iterator[Tx]:
        with self._worded(), self._part():
            yield PassingTx(self._connection, self.style)

    @contextmanager
    def read(self) -> Iterator[Tx]:
        with self._worded():
            yield PassingTx(self._connection, self.style)

    @contextmanager
    def _part(self) -> Iterator[None]:
        if not self.sqlite:
            with self._connection.begin_nested():
                yield
            return
        self._connection.exec_driver_sql("SAVEPOINT part")
        try:
            yield
        except BaseException:
            self._connection.exec_driver_sql("ROLLBACK TO part")
            self._connection.exec_driver_sql("RELEASE part")
            raise
        self._connection.exec_driver_sql("RELEASE part")

    def close(self) -> None:
        """It is not its own engine."""


@contextmanager
def apart(store: Store) -> Iterator[Store]:
    """The state, where trying things holds up nobody: SQLite has one writer at a time, so a copy of its file."""
    if not store.sqlite:
        yield store
        return
    with tempfile.TemporaryDirectory(prefix="crosswalk-try-") as folder:
        with store.engine.connect() as connection:
            real: Any = connection.connection.driver_connection
            copy = sqlite3.connect(Path(folder) / "state.db")
            real.backup(copy)
            copy.close()
        found = Store.open("sqlite:///state.db", Path(folder))
        try:
            yield found
        finally:
            found.close()


@contextmanager
def undone(store: Store) -> Iterator[Store]:
    """The state, to be written to as one likes: all of it is rolled back."""
    with store.engine.connect() as connection:
        if store.sqlite:
            connection.exec_driver_sql("BEGIN")
        try:
            yield PassingStore(store, connection)
        finally:
            connection.rollback()
