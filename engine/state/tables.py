"""Every table of the state, once, here or in `tables_*`. SQLAlchemy Core describes them; hot statements are built from these names.

Instants are ISO 8601 text in UTC with microseconds, so that they sort; record contents are JSON bytes, exact.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, LargeBinary, String, Text, text

from engine.state import tables_exceptions, tables_inbox, tables_process, tables_reconcile, tables_runs
from engine.state.columns import Id, Instant, Name, Native, Serial, metadata
from engine.state.columns import table as _table

__all__ = ["metadata", "tables_exceptions", "tables_inbox", "tables_process", "tables_reconcile", "tables_runs"]

links = _table(
    "links",
    Column("native_id", Native, primary_key=True, comment="as text; composite ones a JSON array"),
    Column("connection", Name, primary_key=True),
    Column("entity", Name, primary_key=True),
    Column("object", Name, primary_key=True),
    Column("canonical_id", Id, nullable=False),
    Column("part", Name, nullable=False, server_default=""),
    Column("state", String(16), nullable=False, comment="live, deleted"),
    Column("run", Id, nullable=False),
    Index("links_by_canonical", "canonical_id", "connection", "entity", "object", "part",
          text("(CASE state WHEN 'live' THEN '' ELSE native_id END)"), unique=True),
    comment="native id ↔ canonical id; unique both ways among live ones",
    in_key=True,
)  # fmt: skip
canonical = _table(
    "canonical",
    Column("entity", Name, primary_key=True),
    Column("id", Id, primary_key=True),
    Column("version", Integer, nullable=False, comment="counts changes; compare-and-set"),
    Column("data", LargeBinary, nullable=False),
    Column("provenance", LargeBinary, nullable=False, comment="field → [role, connection, source version]"),
    Column("deleted", Integer, nullable=False, server_default="0"),
    Column("changed_at", Instant, nullable=False),
    Column("run", Id, nullable=False),
    Column("correlation", Name, comment="what it belongs together with others under; null: its own id"),
    Index("canonical_changed", "entity", "changed_at"),
    Index("canonical_by_correlation", "correlation",
          sqlite_where=text("correlation IS NOT NULL"), postgresql_where=text("correlation IS NOT NULL")),
    comment="latest canonical version of each record",
)  # fmt: skip
matches = _table(
    "matches",
    Column("entity", Name, primary_key=True),
    Column("rule", Integer, primary_key=True),
    Column("digest", LargeBinary(16), primary_key=True),
    Column("id", Id, primary_key=True),
    Index("matches_by_record", "entity", "id"),
    comment="values of x-match rules",
    in_key=True,
)
ledger = _table(
    "ledger",
    Column("canonical_id", Id, primary_key=True),
    Column("connection", Name, primary_key=True),
    Column("object", Name, primary_key=True),
    Column("mapping", Name, primary_key=True),
    Column("part", Name, primary_key=True, server_default=""),
    Column("hash", LargeBinary(16), nullable=False),
    Column("fields", LargeBinary, nullable=False, comment="payload last delivered"),
    Column("native_id", Native),
    Column("version", Name, comment="the target's own version, for conditional writes"),
    Column("revision", Integer, nullable=False, comment="counts deliveries"),
    Column("generation", Integer, nullable=False, comment="counts deliberate re-creates"),
    Column("state", String(16), nullable=False, comment="delivered, deleted, deactivated"),
    comment="what each target last got",
    in_key=True,
)
inputs = _table(
    "inputs",
    Column("flow", Name, primary_key=True),
    Column("key", Native, primary_key=True),
    Column("hash", LargeBinary(16), nullable=False, comment="of the raw record"),
    Column("logic", LargeBinary(16), nullable=False, comment="digest of the documents that handled it"),
    Column("canonical_id", Id, comment="null: the flow's `where` left it out"),
    Column("modified", Name),
    Column("run", Id, nullable=False),
    comment="what each flow last read of a record",
    in_key=True,
)
kept_inputs = _table(
    "kept_inputs",
    Column("flow", Name, primary_key=True),
    Column("key", Native, primary_key=True),
    Column("at", Instant, primary_key=True),
    Column("raw", LargeBinary, nullable=False),
    comment="raw inputs kept for replay",
)
operations = _table(
    "operations",
    Column("op_key", Id, primary_key=True),
    Column("run", Id, nullable=False),
    Column("flow", Name, nullable=False),
    Column("target", Name, nullable=False),
    Column("connection", Name, nullable=False),
    Column("object", Name, nullable=False),
    Column("canonical_id", Id, nullable=False),
    Column("part", Name, nullable=False, server_default=""),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False, comment="planned sent in_doubt confirmed refused dropped"),
    Column("class", String(1), nullable=False),
    Column("idempotency_key", Name),
    Column("body", LargeBinary, nullable=False),
    Column("fence", Integer, nullable=False, server_default="0"),
    Column("send_by", Instant),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("native_id", Native),
    Column("response", LargeBinary),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Index("operations_open", "connection", "object", "canonical_id", "part", unique=True,
          sqlite_where=text("state in ('planned', 'sent', 'in_doubt')"),
          postgresql_where=text("state in ('planned', 'sent', 'in_doubt')")),
    Index("operations_by_state", "state", "updated_at"),
    comment="intent journal: one row a write, before it leaves",
)  # fmt: skip
refs = _table(
    "refs",
    Column("entity", Name, primary_key=True),
    Column("id", Id, primary_key=True),
    Column("field", Name, primary_key=True),
    Column("to_id", Id, primary_key=True),
    Index("refs_to", "to_id", "entity"),
    comment="canonical references, for `refresh`",
    in_key=True,
)
images = _table(
    "images",
    Column("canonical_id", Id, primary_key=True),
    Column("connection", Name, primary_key=True),
    Column("object", Name, primary_key=True),
    Column("part", Name, primary_key=True, server_default=""),
    Column(
        "fields", LargeBinary, nullable=False, comment="canonical fields as reading the record back should give them"
    ),
    Column("means", LargeBinary, nullable=False, comment="of those, what the system spells otherwise than we know it"),
    Column("revision", Integer, nullable=False, comment="counts changes; compare-and-set"),
    Column("delivered_at", Instant, comment="database time of a write that was not read back yet"),
    comment="what each system is known to have: what equals it is nothing new",
    in_key=True,
)
swings = _table(
    "swings",
    Column("canonical_id", Id, primary_key=True),
    Column("field", Name, primary_key=True),
    Column("connection", Name, nullable=False, comment="who wrote last"),
    Column("was", LargeBinary(16), nullable=False, comment="digest of the value that the last write replaced"),
    Column("times", LargeBinary, nullable=False, comment="when opposite writes came"),
    Column("held", Integer, nullable=False, server_default="0", comment="1: the record is held"),
    comment="fields that two systems overwrite in turn",
    in_key=True,
)
alerts = _table(
    "alerts",
    Column("id", Id, primary_key=True),
    Column("flow", Name, nullable=False),
    Column("expectation", String(32), nullable=False, comment="fresh_within, errors_below, delivered_within"),
    Column("bound", Name, nullable=False, comment="the limit as the flow says it"),
    Column("reached", Name, nullable=False),
    Column("state", String(16), nullable=False, comment="open closed"),
    Column("run", Id, comment="the run that was judged last"),
    Column("since", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("closed_at", Instant),
    Index("alerts_open", "flow", "expectation", unique=True,
          sqlite_where=text("state = 'open'"), postgresql_where=text("state = 'open'")),
    comment="expectations that flows have missed",
)  # fmt: skip
events = _table(
    "events",
    Column("seq", Serial, primary_key=True, autoincrement=True, comment="order in which they happened, per key"),
    Column("id", Id, nullable=False, unique=True, comment="the CloudEvents id; the same however often it is sent"),
    Column("type", Name, nullable=False, comment="such as project.created.v1"),
    Column("entity", Name, nullable=False),
    Column("subject", Native, nullable=False, comment="what it is about; a canonical id"),
    Column("key", Native, nullable=False, comment="events of one key are sent in order"),
    Column("data", LargeBinary, nullable=False),
    Column("correlation", Name),
    Column("source", Name, nullable=False, comment="CloudEvents source"),
    Column("at", Instant, nullable=False),
    Index("events_by_time", "at"),
    comment="what happened and somebody wants to know of",
)
event_deliveries = _table(
    "event_deliveries",
    Column("destination", Name, primary_key=True, comment="connection:NAME, flow:NAME or process:NAME"),
    Column("seq", Serial, primary_key=True, autoincrement=False),
    Column("key", Native, nullable=False),
    Column("topic", Name, nullable=False, server_default=""),
    Column("state", String(16), nullable=False, comment="ready delivered refused dropped"),
    Column("due", Instant, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("error", Text),
    Column("updated_at", Instant, nullable=False),
    Index("event_deliveries_ready", "destination", "seq",
          sqlite_where=text("state = 'ready'"), postgresql_where=text("state = 'ready'")),
    Index("event_deliveries_open", "destination", "key", "seq",
          sqlite_where=text("state in ('ready', 'refused')"), postgresql_where=text("state in ('ready', 'refused')")),
    Index("event_deliveries_by_event", "seq"),
    comment="whom each event goes to, and how far it got",
)  # fmt: skip
history = _table(
    "history",
    Column("entity", Name, primary_key=True),
    Column("id", Id, primary_key=True),
    Column("field", Name, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("old", LargeBinary),
    Column("new", LargeBinary),
    Column("at", Instant, nullable=False),
    Column("source", Name, nullable=False),
    Column("run", Id, nullable=False),
    comment="every change of an `x-history` field",
)
