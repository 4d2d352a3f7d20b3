"""`bases`: shared fields as each connection was last known to have them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table. Where it is empty both sides count as changed, and the flow's `conflict` decides."""
    op.create_table(
        "bases",
        sa.Column("canonical_id", sa.String(64), primary_key=True),
        sa.Column("connection", sa.String(200), primary_key=True),
        sa.Column(
            "fields",
            sa.LargeBinary,
            nullable=False,
            comment="shared fields as the connection was last known to have them",
        ),
        comment="what three-way merges start from",
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("bases")
