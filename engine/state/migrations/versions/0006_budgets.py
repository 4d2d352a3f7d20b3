"""`budgets`: what all processes together may call of an account."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the table. An account without a row has called nothing yet."""
    op.create_table(
        "budgets",
        sa.Column("account", sa.String(200), primary_key=True, comment="host and port"),
        sa.Column(
            "figures",
            sa.LargeBinary,
            nullable=False,
            comment="pauses, pace, turns taken, places held; see engine.sdk.account",
        ),
        sa.Column("version", sa.Integer, nullable=False, comment="counts changes; compare-and-set"),
        comment="what all processes together may call",
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("budgets")
