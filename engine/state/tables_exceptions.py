"""Tables of exceptions: records that left the line, their tags, what they wait for, and corrections."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, LargeBinary, String, Text, text

from engine.state.columns import Id, Instant, Name, Native, table

exceptions = table(
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
exception_tags = table(
    "exception_tags",
    Column("exception", Id, primary_key=True),
    Column("tag", Name, primary_key=True),
    comment="words that people put on exceptions",
)
corrections = table(
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
exception_reads = table(
    "exception_reads",
    Column("exception", Id, primary_key=True),
    Column("entity", Name, primary_key=True),
    Column("key", Native, primary_key=True, comment="canonical id, or connection:native id"),
    Index("exception_reads_by_key", "entity", "key"),
    comment="what an exception waits for: a change there tries it again",
)
