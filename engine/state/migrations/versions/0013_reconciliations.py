"""Tables of reconciliations: runs, control totals with the records behind them, breaks and their history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0011"
LIVE = sa.text("state in ('open', 'accepted')")


def upgrade() -> None:
    """Make the tables."""
    _reconciliations()
    _reconcile_totals()
    _reconcile_parts()
    _breaks()
    _break_history()


def _reconciliations() -> None:
    op.create_table(
        "reconciliations",
        sa.Column("run", sa.String(64), primary_key=True),
        sa.Column("flow", sa.String(200), nullable=False),
        sa.Column("entity", sa.String(200), nullable=False),
        sa.Column("at", sa.String(32), nullable=False, comment="when its first read began"),
        sa.Column("told", sa.LargeBinary, nullable=False, comment="sides, window, counts, amounts, ages, causes"),
        comment="what each run of a reconciliation compared and found",
    )  # fmt: skip
    op.create_index("reconciliations_by_flow", "reconciliations", ["flow", "at"])


def _reconcile_totals() -> None:
    op.create_table(
        "reconcile_totals",
        sa.Column("run", sa.String(64), primary_key=True),
        sa.Column("total", sa.Integer, primary_key=True, comment="number of the control total in the flow"),
        sa.Column("cell", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("by", sa.LargeBinary, nullable=False, comment="dimension → value"),
        sa.Column("sums", sa.LargeBinary, nullable=False, comment="side → exact sum, or number of records"),
        sa.Column("records", sa.LargeBinary, nullable=False, comment="side → number of records"),
        sa.Column("differs", sa.Integer, nullable=False, comment="1: the sides do not agree"),
        sa.Column("parts", sa.Integer, nullable=False, comment="records that make it differ, kept or not"),
        comment="control totals of a reconciliation",
        sqlite_with_rowid=False,
    )  # fmt: skip


def _reconcile_parts() -> None:
    op.create_table(
        "reconcile_parts",
        sa.Column("run", sa.String(64), primary_key=True),
        sa.Column("total", sa.Integer, primary_key=True),
        sa.Column("cell", sa.Integer, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("sums", sa.LargeBinary, nullable=False, comment="side → what the record adds to the cell"),
        sa.Column("natives", sa.LargeBinary, nullable=False, comment="side → native ids"),
        comment="records that make a control total differ",
        sqlite_with_rowid=False,
    )  # fmt: skip


def _breaks() -> None:
    op.create_table(
        "breaks",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("flow", sa.String(200), nullable=False),
        sa.Column("entity", sa.String(200), nullable=False),
        sa.Column("key", sa.Text, nullable=False, comment="what joins the sides, as JSON"),
        sa.Column("digest", sa.String(32), nullable=False, comment="of the key, in hex"),
        sa.Column("kind", sa.String(16), nullable=False, comment="missing duplicate differs"),
        sa.Column("side", sa.String(200), nullable=False, comment="where the record is missing or double; empty for differs"),
        sa.Column("class", sa.String(200), nullable=False, comment="missing_<side> duplicate mismatch stale wrong_owner in_flight"),
        sa.Column("cause", sa.String(200), nullable=False, comment="what it comes from, in a word: a field, an exception's code …"),
        sa.Column("state", sa.String(16), nullable=False, comment="open accepted closed"),
        sa.Column("canonical_id", sa.String(64)),
        sa.Column("label", sa.Text, comment="what people know the record by"),
        sa.Column("natives", sa.LargeBinary, nullable=False, comment="side → native ids"),
        sa.Column("fields", sa.LargeBinary, nullable=False, comment="fields that differ, with the value of each side"),
        sa.Column("why", sa.Text, comment="what explains it, or what to know"),
        sa.Column("amount", sa.String(64), comment="at stake, exact"),
        sa.Column("currency", sa.String(8)),
        sa.Column("mark", sa.LargeBinary(16), nullable=False, comment="digest of what differs: an acceptance holds for it alone"),
        sa.Column("queue", sa.String(200)),
        sa.Column("owner", sa.String(200), comment="the person that it is assigned to"),
        sa.Column("first_seen", sa.String(32), nullable=False),
        sa.Column("last_seen", sa.String(32), nullable=False),
        sa.Column("first_run", sa.String(64), nullable=False),
        sa.Column("last_run", sa.String(64), nullable=False),
        sa.Column("runs", sa.Integer, nullable=False, comment="runs that found it"),
        sa.Column("accepted_by", sa.String(200)),
        sa.Column("accepted_because", sa.Text),
        sa.Column("accepted_until", sa.String(32)),
        sa.Column("closed_at", sa.String(32)),
        sa.Column("closed_how", sa.String(200), comment="gone, or healed: and by what"),
        comment="differences between systems, from the run that first found them to the one that no longer does",
    )  # fmt: skip
    op.create_index(
        "breaks_live",
        "breaks",
        ["flow", "digest", "kind", "side"],
        unique=True,
        sqlite_where=LIVE,
        postgresql_where=LIVE,
    )
    op.create_index("breaks_by_state", "breaks", ["flow", "state"])
    op.create_index("breaks_by_record", "breaks", ["canonical_id"])


def _break_history() -> None:
    op.create_table(
        "break_history",
        sa.Column("break", sa.String(64), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("run", sa.String(64)),
        sa.Column("person", sa.String(200), nullable=False, comment="who did it; crosswalk itself"),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("class", sa.String(200), nullable=False),
        comment="what became of each break",
        sqlite_with_rowid=False,
    )  # fmt: skip


def downgrade() -> None:
    """Drop them."""
    for name in ("break_history", "breaks", "reconcile_parts", "reconcile_totals", "reconciliations"):
        op.drop_table(name)
