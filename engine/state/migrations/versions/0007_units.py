"""`units`: a key, a lease and a fence, so that any worker may do what is due."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
OPEN = "state in ('ready', 'leased')"


def upgrade() -> None:
    """Remake the table. The units of runs that are over tell nothing that the runs do not; one that goes on keeps its own."""
    old = sa.table("units", *(sa.column(name) for name in ("id", "run", "lane", "state", "due", "attempts", "payload")))
    kept = op.get_bind().execute(sa.select(old).where(old.c.state.in_(("ready", "leased")))).fetchall()
    op.drop_table("units")
    made = op.create_table(
        "units",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column(
            "key", sa.String(500), nullable=False, comment="what it is about; a run's id, a flow's name, an instance"
        ),
        sa.Column("run", sa.String(64)),
        sa.Column("lane", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False, comment="ready leased done failed"),
        sa.Column("due", sa.String(32), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("owner", sa.String(200)),
        sa.Column(
            "expires_at",
            sa.String(32),
            comment="leased: until when its worker has it; null: its run has a lease of its own",
        ),
        sa.Column("fence", sa.Integer, nullable=False, server_default="0"),
        sa.Column(
            "again", sa.Integer, nullable=False, server_default="0", comment="1: asked for while somebody works on it"
        ),
        sa.Column("error", sa.Text),
        sa.Index("units_ready", "state", "due"),
        sa.Index("units_by_run", "run"),
        sa.Index("units_open", "kind", "key", unique=True, sqlite_where=sa.text(OPEN), postgresql_where=sa.text(OPEN)),
        comment="work that an executor is woken for",
    )
    rows = [{**dict(row._mapping), "kind": "run", "key": row.run} for row in kept]
    if rows:
        op.bulk_insert(made, rows)


def downgrade() -> None:
    """The table as it was."""
    op.drop_table("units")
    op.create_table(
        "units",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("run", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("lane", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False, comment="ready leased done failed"),
        sa.Column("due", sa.String(32), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Index("units_ready", "state", "due"),
        comment="work that an executor is woken for",
    )
