"""Tables of what starts flows: the inbox, ticks of schedules, pauses."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, LargeBinary, String, Text, text

from engine.state.columns import Id, Instant, Name, Native, Serial, table

inbox = table(
    "inbox",
    Column("seq", Serial, primary_key=True, autoincrement=True, comment="order of arrival"),
    Column("connection", Name, nullable=False),
    Column("event_id", Name, nullable=False, comment="the system's own, or a digest"),
    Column("path", Name, nullable=False, comment="where it came: a webhook's path; empty: as an event"),
    Column("object", Name),
    Column("key", Native, comment="native id of the record that it is about; null: the call does not say"),
    Column("type", Name, comment="CloudEvents type"),
    Column("deleted", Integer, nullable=False, server_default="0"),
    Column("at", Name, comment="when it happened, as the system says"),
    Column("record", LargeBinary, comment="the record itself, where events are complete and versioned"),
    Column("body", LargeBinary, comment="the call's raw body; of several events of a call the first has it"),
    Column("unit", Native, nullable=False, comment="key of the unit that drains it"),
    Column("state", String(16), nullable=False, comment="new held done"),
    Column("flows", Text, comment="JSON: flows that it is still for; null: all that its path starts"),
    Column("received_at", Instant, nullable=False),
    Column("done_at", Instant),
    Index("inbox_events", "connection", "event_id", unique=True),
    Index("inbox_waiting", "unit", "seq",
          sqlite_where=text("state <> 'done'"), postgresql_where=text("state <> 'done'")),
    Index("inbox_done", "done_at"),
    comment="what systems told us, before anything is done about it",
)  # fmt: skip
ticks = table(
    "ticks",
    Column("flow", Name, primary_key=True),
    Column("scheduled_for", Instant, primary_key=True, comment="UTC; a tick starts one run, whoever saw it"),
    Column("state", String(16), nullable=False, comment="due started over skipped dropped"),
    Column("why", Text, comment="of skipped and dropped ones"),
    Column("run", Id),
    Column("at", Instant, nullable=False, comment="when it was noted"),
    Index("ticks_open", "flow",
          sqlite_where=text("state in ('due', 'started')"), postgresql_where=text("state in ('due', 'started')")),
    Index("ticks_at", "at"),
    comment="schedules that came due",
    in_key=True,
)  # fmt: skip
schedules = table(
    "schedules",
    Column("flow", Name, primary_key=True),
    Column("schedule", Name, primary_key=True, comment="cron expression and zone"),
    Column("upto", Instant, nullable=False, comment="every tick up to then is noted"),
    comment="how far each schedule has been looked at",
    in_key=True,
)
pauses = table(
    "pauses",
    Column("flow", Name, primary_key=True),
    Column("since", Instant, nullable=False),
    Column("person", Name, nullable=False),
    Column("because", Text, nullable=False),
    comment="flows that nothing starts but a person",
)
