"""Tables of process flows: instances, steps, timeline, events that were heard, approvals."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
LIVE = sa.text("state in ('running', 'waiting', 'compensating', 'needs_person', 'paused')")


def upgrade() -> None:
    """Make the tables."""
    _processes()
    _process_history()
    _process_steps()
    _process_events()
    _approvals()


def _processes() -> None:
    op.create_table(
        "processes",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("flow", sa.String(200), nullable=False),
        sa.Column("key", sa.String(500), nullable=False, comment="what makes it one: the flow's `key`, by default the record's id"),
        sa.Column("entity", sa.String(200), nullable=False),
        sa.Column("canonical_id", sa.String(64), nullable=False, comment="the record that it is about"),
        sa.Column("state", sa.String(16), nullable=False,
               comment="running waiting compensating needs_person paused done compensated cancelled expired"),
        sa.Column("step", sa.Integer, nullable=False, comment="number of the open step; in a compensation, of the one to undo next"),
        sa.Column("version", sa.Integer, nullable=False, comment="counts transitions; compare-and-set"),
        sa.Column("logic", sa.LargeBinary(16), nullable=False, comment="digest of the documents that it began with"),
        sa.Column("context", sa.LargeBinary, nullable=False, comment="each step's result under its name"),
        sa.Column("correlation", sa.String(200)),
        sa.Column("waiting", sa.String(16), comment="approval event timer repair"),
        sa.Column("detail", sa.LargeBinary, comment="what it waits for, or why it is where it is"),
        sa.Column("until", sa.String(32), comment="when it goes on by itself, at the latest"),
        sa.Column("queue", sa.String(200)),
        sa.Column("exception", sa.String(64), comment="the open exception that tells people of it"),
        sa.Column("ending", sa.String(16), comment="compensating: what it is afterwards"),
        sa.Column("nudged", sa.Integer, nullable=False, server_default="0", comment="1: something happened that it waits for"),
        sa.Column("advance", sa.String(64), comment="the run that has it in hand: its writes are noted under this name"),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0", comment="begun since the last transition"),
        sa.Column("started_by", sa.String(200), nullable=False),
        sa.Column("started_at", sa.String(32), nullable=False),
        sa.Column("updated_at", sa.String(32), nullable=False),
        sa.Column("finished_at", sa.String(32)),
        sa.Column("deadline", sa.String(32), comment="by `done_within`"),
        sa.Index("processes_live", "flow", "key", unique=True, sqlite_where=LIVE, postgresql_where=LIVE),
        sa.Index("processes_by_state", "flow", "state"),
        sa.Index("processes_by_key", "flow", "key"),
        sa.Index("processes_by_record", "canonical_id"),
        sa.Index("processes_by_exception", "exception"),
        comment="instances of process flows",
    )  # fmt: skip


def _process_history() -> None:
    op.create_table(
        "process_history",
        sa.Column("instance", sa.String(64), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, comment="the instance's after it"),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("person", sa.String(200), nullable=False, comment="who did it; crosswalk itself"),
        sa.Column("state", sa.String(16), nullable=False, comment="what the instance was from then on"),
        sa.Column("waiting", sa.String(16)),
        sa.Column("step", sa.String(200), comment="the step that it is about"),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("detail", sa.LargeBinary),
        comment="a process instance's transitions",
        sqlite_with_rowid=False,
    )  # fmt: skip


def _process_steps() -> None:
    op.create_table(
        "process_steps",
        sa.Column("instance", sa.String(64), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("step", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False, comment="begun done skipped failed undone left"),
        sa.Column("result", sa.LargeBinary, nullable=False),
        sa.Column("undo", sa.LargeBinary, comment="how it is taken back; written before anything of it leaves"),
        sa.Column("run", sa.String(64), nullable=False),
        sa.Column("began_at", sa.String(32), nullable=False),
        sa.Column("ended_at", sa.String(32)),
        comment="what became of each step of an instance",
        sqlite_with_rowid=False,
    )  # fmt: skip


def _process_events() -> None:
    op.create_table(
        "process_events",
        sa.Column("flow", sa.String(200), primary_key=True),
        sa.Column("type", sa.String(200), primary_key=True, comment="with its major version, where it has one"),
        sa.Column("subject", sa.String(500), primary_key=True, comment="canonical id of the record that it is about"),
        sa.Column("event", sa.String(200), primary_key=True),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Index("process_events_at", "at"),
        comment="events that a flow's `wait` steps ask for; one may come before its instance waits",
        sqlite_with_rowid=False,
    )  # fmt: skip


def _approvals() -> None:
    op.create_table(
        "approvals",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("instance", sa.String(64), nullable=False),
        sa.Column("flow", sa.String(200), nullable=False),
        sa.Column("step", sa.String(200), nullable=False),
        sa.Column("queue", sa.String(200), nullable=False),
        sa.Column("digest", sa.LargeBinary(16), nullable=False, comment="of what is to be approved"),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("requested_by", sa.String(200), nullable=False),
        sa.Column("requested_at", sa.String(32), nullable=False),
        sa.Column("expires", sa.String(32)),
        sa.Column("state", sa.String(16), nullable=False, comment="open approved rejected expired void"),
        sa.Column("escalated", sa.Integer, nullable=False, server_default="0"),
        sa.Column("decided_by", sa.String(200)),
        sa.Column("decided_at", sa.String(32)),
        sa.Column("because", sa.Text),
        sa.Index("approvals_open", "instance", "step", unique=True,
              sqlite_where=sa.text("state = 'open'"), postgresql_where=sa.text("state = 'open'")),
        sa.Index("approvals_by_state", "state", "queue"),
        comment="decisions that process instances ask people for",
    )  # fmt: skip


def downgrade() -> None:
    """Drop the tables: instances that go on are forgotten."""
    for name in ("approvals", "process_events", "process_steps", "process_history", "processes"):
        op.drop_table(name)
