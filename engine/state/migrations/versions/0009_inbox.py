"""`inbox`, `ticks`, `schedules`, `pauses`: what starts flows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
TABLES = ("inbox", "ticks", "schedules", "pauses")


def upgrade() -> None:
    """Make the tables as they are described today; later changes have migrations of their own."""
    _inbox()
    due = sa.text("state in ('due', 'started')")
    op.create_table(
        "ticks",
        sa.Column("flow", sa.String(200), primary_key=True),
        sa.Column(
            "scheduled_for", sa.String(32), primary_key=True, comment="UTC; a tick starts one run, whoever saw it"
        ),
        sa.Column("state", sa.String(16), nullable=False, comment="due started over skipped dropped"),
        sa.Column("why", sa.Text, comment="of skipped and dropped ones"),
        sa.Column("run", sa.String(64)),
        sa.Column("at", sa.String(32), nullable=False, comment="when it was noted"),
        sa.Index("ticks_open", "flow", sqlite_where=due, postgresql_where=due),
        sa.Index("ticks_at", "at"),
        comment="schedules that came due",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "schedules",
        sa.Column("flow", sa.String(200), primary_key=True),
        sa.Column("schedule", sa.String(200), primary_key=True, comment="cron expression and zone"),
        sa.Column("upto", sa.String(32), nullable=False, comment="every tick up to then is noted"),
        comment="how far each schedule has been looked at",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "pauses",
        sa.Column("flow", sa.String(200), primary_key=True),
        sa.Column("since", sa.String(32), nullable=False),
        sa.Column("person", sa.String(200), nullable=False),
        sa.Column("because", sa.Text, nullable=False),
        comment="flows that nothing starts but a person",
    )


def _inbox() -> None:
    waiting = sa.text("state <> 'done'")
    op.create_table(
        "inbox",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=True,
            comment="order of arrival",
        ),
        sa.Column("connection", sa.String(200), nullable=False),
        sa.Column("event_id", sa.String(200), nullable=False, comment="the system's own, or a digest"),
        sa.Column(
            "path", sa.String(200), nullable=False, comment="where it came: a webhook's path; empty: as an event"
        ),
        sa.Column("object", sa.String(200)),
        sa.Column(
            "key", sa.String(500), comment="native id of the record that it is about; null: the call does not say"
        ),
        sa.Column("type", sa.String(200), comment="CloudEvents type"),
        sa.Column("deleted", sa.Integer, nullable=False, server_default="0"),
        sa.Column("at", sa.String(200), comment="when it happened, as the system says"),
        sa.Column("record", sa.LargeBinary, comment="the record itself, where events are complete and versioned"),
        sa.Column("body", sa.LargeBinary, comment="the call's raw body; of several events of a call the first has it"),
        sa.Column("unit", sa.String(500), nullable=False, comment="key of the unit that drains it"),
        sa.Column("state", sa.String(16), nullable=False, comment="new held done"),
        sa.Column("flows", sa.Text, comment="JSON: flows that it is still for; null: all that its path starts"),
        sa.Column("received_at", sa.String(32), nullable=False),
        sa.Column("done_at", sa.String(32)),
        sa.Index("inbox_events", "connection", "event_id", unique=True),
        sa.Index("inbox_waiting", "unit", "seq", sqlite_where=waiting, postgresql_where=waiting),
        sa.Index("inbox_done", "done_at"),
        comment="what systems told us, before anything is done about it",
    )


def downgrade() -> None:
    """Drop them."""
    for name in TABLES:
        op.drop_table(name)
