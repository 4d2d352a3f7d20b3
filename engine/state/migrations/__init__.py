"""Migrations of the state with Alembic, run from wherever the package is installed; no configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.sdk.errors import Problem

if TYPE_CHECKING:
    from engine.state.store import Store


def _config(connection: Any) -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def prepare(store: Store) -> None:
    """Make a new state, or see that an old one fits. Raises StateError S702, S703."""
    from engine.state.store import StateError

    current, newest = versions(store)
    if current == newest:
        return
    if current is None:
        make(store)
    elif current not in _known():
        raise StateError(Problem("S702", f"the state was made by a newer version ({current})", None,
                                 "install that version of crosswalk, or restore a backup"))  # fmt: skip
    else:
        raise StateError(Problem("S703", f"the state is at version {current}, this version needs {newest}", None,
                                 "run `crosswalk state upgrade`"))  # fmt: skip


def make(store: Store) -> None:
    """A new state at this code's version: its tables as they are now, without the way there. One process makes it, others
    that come at the same moment wait."""
    from engine.state.tables import metadata

    with store.engine.connect() as connection:
        if store.sqlite:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtextextended('new state', 0))")
        if not store.engine.dialect.has_table(connection, "alembic_version"):
            metadata.create_all(connection, checkfirst=False)
            connection.exec_driver_sql(
                "CREATE TABLE alembic_version "
                "(version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
            )
            connection.exec_driver_sql(f"INSERT INTO alembic_version VALUES ('{_known()[-1]}')")
        connection.commit()


def versions(store: Store) -> tuple[str | None, str]:
    """(version of the database, version of this code)."""
    newest = _known()[-1]
    with store.engine.connect() as connection:
        if not store.engine.dialect.has_table(connection, "alembic_version"):
            return None, newest
        row = connection.exec_driver_sql("SELECT version_num FROM alembic_version").first()
    return (str(row[0]) if row else None), newest


def _known() -> list[str]:
    folder = Path(__file__).parent / "versions"
    return sorted(path.stem.split("_")[0] for path in folder.glob("[0-9]*.py"))


def migrate(store: Store) -> str:
    """Bring a state, also an empty one, to this code's version step by step; the new version."""
    from alembic import command

    with store.engine.connect() as connection:
        if store.sqlite:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        command.upgrade(_config(connection), "head")
        connection.commit()
    return versions(store)[1]
