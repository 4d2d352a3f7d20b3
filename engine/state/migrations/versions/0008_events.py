"""Events that wait to be sent, whom they go to, and what records belong together under."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")
READY, OPEN = "state = 'ready'", "state in ('ready', 'refused')"


def upgrade() -> None:
    """Two tables, and a column that says nothing of records that there are: their own id stands for them."""
    op.add_column(
        "canonical",
        sa.Column(
            "correlation", sa.String(200), comment="what it belongs together with others under; null: its own id"
        ),
    )
    op.create_table(
        "events",
        sa.Column("seq", SERIAL, primary_key=True, autoincrement=True, comment="order in which they happened, per key"),
        sa.Column(
            "id",
            sa.String(64),
            nullable=False,
            unique=True,
            comment="the CloudEvents id; the same however often it is sent",
        ),
        sa.Column("type", sa.String(200), nullable=False, comment="such as project.created.v1"),
        sa.Column("entity", sa.String(200), nullable=False),
        sa.Column("subject", sa.String(500), nullable=False, comment="what it is about; a canonical id"),
        sa.Column("key", sa.String(500), nullable=False, comment="events of one key are sent in order"),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("correlation", sa.String(200)),
        sa.Column("source", sa.String(200), nullable=False, comment="CloudEvents source"),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Index("events_by_time", "at"),
        comment="what happened and somebody wants to know of",
    )
    op.create_table(
        "event_deliveries",
        sa.Column(
            "destination", sa.String(200), primary_key=True, comment="connection:NAME, flow:NAME or process:NAME"
        ),
        sa.Column("seq", SERIAL, primary_key=True, autoincrement=False),
        sa.Column("key", sa.String(500), nullable=False),
        sa.Column("topic", sa.String(200), nullable=False, server_default=""),
        sa.Column("state", sa.String(16), nullable=False, comment="ready delivered refused dropped"),
        sa.Column("due", sa.String(32), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("error", sa.Text),
        sa.Column("updated_at", sa.String(32), nullable=False),
        sa.Index(
            "event_deliveries_ready",
            "destination",
            "seq",
            sqlite_where=sa.text(READY),
            postgresql_where=sa.text(READY),
        ),
        sa.Index(
            "event_deliveries_open",
            "destination",
            "key",
            "seq",
            sqlite_where=sa.text(OPEN),
            postgresql_where=sa.text(OPEN),
        ),
        sa.Index("event_deliveries_by_event", "seq"),
        comment="whom each event goes to, and how far it got",
    )


def downgrade() -> None:
    """Without them."""
    op.drop_table("event_deliveries")
    op.drop_table("events")
    with op.batch_alter_table("canonical") as table:
        table.drop_column("correlation")
