"""Tables of reconciliations: what a run compared, control totals with the records behind them, breaks and their life."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, LargeBinary, String, Text, text

from engine.state.columns import Id, Instant, Name, table

_LIVE = text("state in ('open', 'accepted')")
reconciliations = table(
    "reconciliations",
    Column("run", Id, primary_key=True),
    Column("flow", Name, nullable=False),
    Column("entity", Name, nullable=False),
    Column("at", Instant, nullable=False, comment="when its first read began"),
    Column("told", LargeBinary, nullable=False, comment="sides, window, counts, amounts, ages, causes"),
    Index("reconciliations_by_flow", "flow", "at"),
    comment="what each run of a reconciliation compared and found",
)
reconcile_totals = table(
    "reconcile_totals",
    Column("run", Id, primary_key=True),
    Column("total", Integer, primary_key=True, comment="number of the control total in the flow"),
    Column("cell", Integer, primary_key=True),
    Column("name", Name, nullable=False),
    Column("by", LargeBinary, nullable=False, comment="dimension → value"),
    Column("sums", LargeBinary, nullable=False, comment="side → exact sum, or number of records"),
    Column("records", LargeBinary, nullable=False, comment="side → number of records"),
    Column("differs", Integer, nullable=False, comment="1: the sides do not agree"),
    Column("parts", Integer, nullable=False, comment="records that make it differ, kept or not"),
    comment="control totals of a reconciliation",
    in_key=True,
)
reconcile_parts = table(
    "reconcile_parts",
    Column("run", Id, primary_key=True),
    Column("total", Integer, primary_key=True),
    Column("cell", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("key", Text, nullable=False),
    Column("sums", LargeBinary, nullable=False, comment="side → what the record adds to the cell"),
    Column("natives", LargeBinary, nullable=False, comment="side → native ids"),
    comment="records that make a control total differ",
    in_key=True,
)
breaks = table(
    "breaks",
    Column("id", Id, primary_key=True),
    Column("flow", Name, nullable=False),
    Column("entity", Name, nullable=False),
    Column("key", Text, nullable=False, comment="what joins the sides, as JSON"),
    Column("digest", String(32), nullable=False, comment="of the key, in hex"),
    Column("kind", String(16), nullable=False, comment="missing duplicate differs"),
    Column("side", Name, nullable=False, comment="where the record is missing or double; empty for differs"),
    Column("class", Name, nullable=False, comment="missing_<side> duplicate mismatch stale wrong_owner in_flight"),
    Column("cause", Name, nullable=False, comment="what it comes from, in a word: a field, an exception's code …"),
    Column("state", String(16), nullable=False, comment="open accepted closed"),
    Column("canonical_id", Id),
    Column("label", Text, comment="what people know the record by"),
    Column("natives", LargeBinary, nullable=False, comment="side → native ids"),
    Column("fields", LargeBinary, nullable=False, comment="fields that differ, with the value of each side"),
    Column("why", Text, comment="what explains it, or what to know"),
    Column("amount", String(64), comment="at stake, exact"),
    Column("currency", String(8)),
    Column("mark", LargeBinary(16), nullable=False, comment="digest of what differs: an acceptance holds for it alone"),
    Column("queue", Name),
    Column("owner", Name, comment="the person that it is assigned to"),
    Column("first_seen", Instant, nullable=False),
    Column("last_seen", Instant, nullable=False),
    Column("first_run", Id, nullable=False),
    Column("last_run", Id, nullable=False),
    Column("runs", Integer, nullable=False, comment="runs that found it"),
    Column("accepted_by", Name),
    Column("accepted_because", Text),
    Column("accepted_until", Instant),
    Column("closed_at", Instant),
    Column("closed_how", Name, comment="gone, or healed: and by what"),
    Index("breaks_live", "flow", "digest", "kind", "side", unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE),
    Index("breaks_by_state", "flow", "state"),
    Index("breaks_by_record", "canonical_id"),
    comment="differences between systems, from the run that first found them to the one that no longer does",
)
break_history = table(
    "break_history",
    Column("break", Id, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("run", Id),
    Column("person", Name, nullable=False, comment="who did it; crosswalk itself"),
    Column("what", Text, nullable=False),
    Column("class", Name, nullable=False),
    comment="what became of each break",
    in_key=True,
)
