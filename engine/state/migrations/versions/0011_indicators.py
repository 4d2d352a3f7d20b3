"""`indicator_values`: what the business indicators were."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "indicator_values",
        sa.Column("indicator", sa.String(200), primary_key=True),
        sa.Column("at", sa.String(32), primary_key=True),
        sa.Column("value", sa.String(64), comment="in the indicator's unit, exact"),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("amount", sa.LargeBinary, nullable=False, comment="currency → amount at risk"),
        sa.Column("over", sa.Integer, nullable=False, comment="1: on the wrong side of its limit"),
        comment="what the business indicators were",
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("indicator_values")
