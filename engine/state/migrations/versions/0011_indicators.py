"""`indicator_values`: what the business indicators were; records are found by what they belong together under."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Make the table, and the index."""
    some = sa.text("correlation IS NOT NULL")
    op.create_index("canonical_by_correlation", "canonical", ["correlation"], sqlite_where=some, postgresql_where=some)
    op.create_table(
        "indicator_values",
        sa.Column("indicator", sa.String(200), primary_key=True),
        sa.Column("at", sa.String(32), primary_key=True),
        sa.Column("value", sa.String(64), comment="in the indicator's unit, exact"),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("amount", sa.LargeBinary, nullable=False, comment="currency → amount at risk"),
        sa.Column("over", sa.Integer, nullable=False, comment="1: on the wrong side of its limit"),
        comment="what the business indicators were",
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop both."""
    op.drop_index("canonical_by_correlation", "canonical")
    op.drop_table("indicator_values")
