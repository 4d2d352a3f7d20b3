"""Exceptions as work: who has them, in which queue, with which words; and what people corrected."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns and tables; open exceptions start in their queue, with nobody."""
    revision_of = "deliveries that the target had got of the record; null: none in particular"
    op.add_column("exceptions", sa.Column("revision", sa.Integer, comment=revision_of))
    op.add_column("exceptions", sa.Column("owner", sa.String(200), comment="the person who has taken it"))
    op.add_column(
        "exceptions", sa.Column("routed", sa.String(200), comment="the queue that a person moved it to; else `queue`")
    )
    op.create_table(
        "exception_tags",
        sa.Column("exception", sa.String(64), primary_key=True),
        sa.Column("tag", sa.String(200), primary_key=True),
        comment="words that people put on exceptions",
    )
    op.create_table(
        "corrections",
        sa.Column("exception", sa.String(64), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, comment="counts the corrections of an exception"),
        sa.Column("flow", sa.String(200), nullable=False),
        sa.Column("key", sa.String(500), nullable=False),
        sa.Column("stage", sa.String(16), nullable=False, comment="raw, canonical"),
        sa.Column("original", sa.LargeBinary(16), nullable=False, comment="digest of the raw record that it is for"),
        sa.Column(
            "value", sa.LargeBinary, nullable=False, comment="raw: the whole record; canonical: the corrected fields"
        ),
        sa.Column("before", sa.LargeBinary, nullable=False, comment="what `value` takes the place of"),
        sa.Column("person", sa.String(200), nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("because", sa.Text, nullable=False),
        sa.Column(
            "past",
            sa.Integer,
            nullable=False,
            server_default="0",
            comment="1: the source has given another version since",
        ),
        comment="what people corrected: holds for that version of the record, whenever it is read again",
    )
    op.create_index("corrections_by_flow", "corrections", ["flow", "past"])


def downgrade() -> None:
    """Drop them."""
    op.drop_table("corrections")
    op.drop_table("exception_tags")
    for name in ("routed", "owner", "revision"):
        op.drop_column("exceptions", name)
