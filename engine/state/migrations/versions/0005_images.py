"""`images` in place of `bases`: every field, by object and part; `swings` and `alerts`."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the tables; what was known of shared fields is kept, for the objects that the links name."""
    op.create_table(
        "images",
        sa.Column("canonical_id", sa.String(64), primary_key=True),
        sa.Column("connection", sa.String(200), primary_key=True),
        sa.Column("object", sa.String(200), primary_key=True),
        sa.Column("part", sa.String(200), primary_key=True, server_default=""),
        sa.Column("fields", sa.LargeBinary, nullable=False, comment="canonical fields as reading the record back should give them"),
        sa.Column("means", sa.LargeBinary, nullable=False, comment="of those, what the system spells otherwise than we know it"),
        sa.Column("revision", sa.Integer, nullable=False, comment="counts changes; compare-and-set"),
        sa.Column("delivered_at", sa.String(32), comment="database time of a write that was not read back yet"),
        comment="what each system is known to have: what equals it is nothing new",
        sqlite_with_rowid=False,
    )  # fmt: skip
    op.execute(
        "INSERT INTO images (canonical_id, connection, object, part, fields, means, revision) "
        "SELECT DISTINCT b.canonical_id, b.connection, l.object, '', b.fields, CAST('{}' AS %s), 1 FROM bases b JOIN links l "
        "ON l.canonical_id = b.canonical_id AND l.connection = b.connection AND l.part = '' AND l.state = 'live'"
        % ("BYTEA" if op.get_bind().dialect.name == "postgresql" else "BLOB")
    )
    op.drop_table("bases")
    op.create_table(
        "swings",
        sa.Column("canonical_id", sa.String(64), primary_key=True),
        sa.Column("field", sa.String(200), primary_key=True),
        sa.Column("connection", sa.String(200), nullable=False, comment="who wrote last"),
        sa.Column("was", sa.LargeBinary(16), nullable=False, comment="digest of the value that the last write replaced"),
        sa.Column("times", sa.LargeBinary, nullable=False, comment="when opposite writes came"),
        sa.Column("held", sa.Integer, nullable=False, server_default="0", comment="1: the record is held"),
        comment="fields that two systems overwrite in turn",
        sqlite_with_rowid=False,
    )  # fmt: skip
    op.create_table(
        "alerts",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("flow", sa.String(200), nullable=False),
        sa.Column("expectation", sa.String(32), nullable=False, comment="fresh_within, errors_below, delivered_within"),
        sa.Column("bound", sa.String(200), nullable=False, comment="the limit as the flow says it"),
        sa.Column("reached", sa.String(200), nullable=False),
        sa.Column("state", sa.String(16), nullable=False, comment="open closed"),
        sa.Column("run", sa.String(64), comment="the run that was judged last"),
        sa.Column("since", sa.String(32), nullable=False),
        sa.Column("updated_at", sa.String(32), nullable=False),
        sa.Column("closed_at", sa.String(32)),
        comment="expectations that flows have missed",
    )  # fmt: skip
    op.create_index(
        "alerts_open", "alerts", ["flow", "expectation"], unique=True,
        sqlite_where=sa.text("state = 'open'"), postgresql_where=sa.text("state = 'open'"),
    )  # fmt: skip


def downgrade() -> None:
    """Drop the tables. `bases` comes back empty: both sides count as changed, and the flow's `conflict` decides."""
    for name in ("alerts", "swings", "images"):
        op.drop_table(name)
    op.create_table(
        "bases",
        sa.Column("canonical_id", sa.String(64), primary_key=True),
        sa.Column("connection", sa.String(200), primary_key=True),
        sa.Column("fields", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
