"""Alembic's entry: the caller gives the connection and owns the transaction."""

from __future__ import annotations

from alembic import context

from engine.state.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
