"""Every table of the state, once. SQLAlchemy Core describes them; hot statements are built from these names.

Instants are ISO 8601 text in UTC with microseconds, so that they sort; record contents are JSON bytes, exact.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text, text

metadata = MetaData()
Id, Name, Instant = String(64), String(200), String(32)
Native = String(500)
Serial = BigInteger().with_variant(Integer, "sqlite")


def _table(name: str, *columns: Column[object] | Index, comment: str, in_key: bool = False) -> Table:
    """in_key: SQLite keeps the rows in the primary key itself, which halves what writing a short row touches."""
    return Table(name, metadata, *columns, comment=comment, sqlite_with_rowid=not in_key)


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
exceptions = _table(
    "exceptions",
    Column("id", Id, primary_key=True),
    Column("flow", Name, nullable=False),
    Column("run", Id, nullable=False),
    Column("entity", Name, nullable=False),
    Column("key", Native, nullable=False, comment="the record's native id at its source"),
    Column("canonical_id", Id),
    Column("target", Name, nullable=False, server_default="", comment="empty: no target in particular"),
    Column("part", Name, nullable=False, server_default=""),
    Column("stage", String(16), nullable=False),
    Column("class", String(32), nullable=False),
    Column("code", String(8), nullable=False),
    Column("message", Text, nullable=False),
    Column("hint", Text, nullable=False, server_default=""),
    Column("at", Text, comment="file:line:column of the rule"),
    Column("queue", Name),
    Column("state", String(16), nullable=False, comment="open waiting due closed discarded superseded"),
    Column("fingerprint", String(32), nullable=False),
    Column("attempts", Integer, nullable=False, server_default="1"),
    Column("opened_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("until", Instant, comment="waiting: when it stops waiting"),
    Column("closed_at", Instant),
    Column("closed_how", Name),
    Column("modified", Name),
    Column("logic", LargeBinary(16)),
    Column("raw", LargeBinary),
    Column("canonical", LargeBinary),
    Column("payload", LargeBinary),
    Column("revision", Integer, comment="deliveries that the target had got of the record; null: none in particular"),
    Column("owner", Name, comment="the person who has taken it"),
    Column("routed", Name, comment="the queue that a person moved it to; else `queue`"),
    Index("exceptions_live", "flow", "key", "target", "part", unique=True,
          sqlite_where=text("state in ('open', 'waiting', 'due')"),
          postgresql_where=text("state in ('open', 'waiting', 'due')")),
    Index("exceptions_by_state", "state", "flow"),
    comment="records that left the line, with everything needed to try again",
)  # fmt: skip
exception_tags = _table(
    "exception_tags",
    Column("exception", Id, primary_key=True),
    Column("tag", Name, primary_key=True),
    comment="words that people put on exceptions",
)
corrections = _table(
    "corrections",
    Column("exception", Id, primary_key=True),
    Column("number", Integer, primary_key=True, comment="counts the corrections of an exception"),
    Column("flow", Name, nullable=False),
    Column("key", Native, nullable=False),
    Column("stage", String(16), nullable=False, comment="raw, canonical"),
    Column("original", LargeBinary(16), nullable=False, comment="digest of the raw record that it is for"),
    Column("value", LargeBinary, nullable=False, comment="raw: the whole record; canonical: the corrected fields"),
    Column("before", LargeBinary, nullable=False, comment="what `value` takes the place of"),
    Column("person", Name, nullable=False),
    Column("at", Instant, nullable=False),
    Column("because", Text, nullable=False),
    Column(
        "past", Integer, nullable=False, server_default="0", comment="1: the source has given another version since"
    ),
    Index("corrections_by_flow", "flow", "past"),
    comment="what people corrected: holds for that version of the record, whenever it is read again",
)
exception_reads = _table(
    "exception_reads",
    Column("exception", Id, primary_key=True),
    Column("entity", Name, primary_key=True),
    Column("key", Native, primary_key=True, comment="canonical id, or connection:native id"),
    Index("exception_reads_by_key", "entity", "key"),
    comment="what an exception waits for: a change there tries it again",
)
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
runs = _table(
    "runs",
    Column("id", Id, primary_key=True),
    Column("flow", Name, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False, comment="running succeeded partial failed held skipped cancelled"),
    Column("trigger", Name, nullable=False),
    Column("options", LargeBinary, nullable=False),
    Column("counts", LargeBinary, nullable=False),
    Column("held_because", Text),
    Column("error", LargeBinary),
    Column("logic", LargeBinary(16)),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Index("runs_by_flow", "flow", "started_at"),
    comment="one row a run",
)
logic = _table(
    "logic",
    Column("digest", LargeBinary(16), primary_key=True),
    Column("documents", LargeBinary, nullable=False),
    Column("first_seen", Instant, nullable=False),
    comment="resolved documents that runs are pinned to",
)
cursors = _table(
    "cursors",
    Column("flow", Name, primary_key=True),
    Column("partition", Name, primary_key=True, server_default=""),
    Column("position", LargeBinary, nullable=False),
    Column("version", Integer, nullable=False),
    Column("updated_at", Instant, nullable=False),
    comment="how far each flow has read",
)
units = _table(
    "units",
    Column("id", Id, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("key", Native, nullable=False, comment="what it is about; a run's id, a flow's name, an instance"),
    Column("run", Id),
    Column("lane", String(16), nullable=False),
    Column("state", String(16), nullable=False, comment="ready leased done failed"),
    Column("due", Instant, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("payload", LargeBinary, nullable=False),
    Column("owner", Name),
    Column("expires_at", Instant, comment="leased: until when its worker has it; null: its run has a lease of its own"),
    Column("fence", Integer, nullable=False, server_default="0"),
    Column("again", Integer, nullable=False, server_default="0", comment="1: asked for while somebody works on it"),
    Column("error", Text),
    Index("units_ready", "state", "due"),
    Index("units_by_run", "run"),
    Index("units_open", "kind", "key", unique=True,
          sqlite_where=text("state in ('ready', 'leased')"), postgresql_where=text("state in ('ready', 'leased')")),
    comment="work that an executor is woken for",
)  # fmt: skip
leases = _table(
    "leases",
    Column("name", Name, primary_key=True),
    Column("owner", Name, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("expires_at", Instant, nullable=False),
    comment="who may work on what; judged in database time",
)
budgets = _table(
    "budgets",
    Column("account", Name, primary_key=True, comment="host and port"),
    Column(
        "figures", LargeBinary, nullable=False, comment="pauses, pace, turns taken, places held; see engine.sdk.account"
    ),
    Column("version", Integer, nullable=False, comment="counts changes; compare-and-set"),
    comment="what all processes together may call",
)
audit = _table(
    "audit",
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("at", Instant, nullable=False),
    Column("actor", Name, nullable=False),
    Column("action", Name, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", LargeBinary, nullable=False),
    Column("chain", LargeBinary(32), nullable=False, comment="SHA-256 over the row and the chain before it"),
    comment="append-only",
)
indicator_values = _table(
    "indicator_values",
    Column("indicator", Name, primary_key=True),
    Column("at", Instant, primary_key=True),
    Column("value", Id, comment="in the indicator's unit, exact"),
    Column("count", Integer, nullable=False),
    Column("amount", LargeBinary, nullable=False, comment="currency → amount at risk"),
    Column("over", Integer, nullable=False, comment="1: on the wrong side of its limit"),
    comment="what the business indicators were",
    in_key=True,
)
facts = _table(
    "facts",
    Column("name", Name, primary_key=True),
    Column("value", LargeBinary, nullable=False),
    comment="small facts of the installation: refresh positions, schema locks",
)
