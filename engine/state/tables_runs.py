"""Tables of runs: what each did and with which documents, cursors, units of work, leases, budgets, and what is known of all."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, LargeBinary, String, Text, text

from engine.state.columns import Id, Instant, Name, Native, table

runs = table(
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
logic = table(
    "logic",
    Column("digest", LargeBinary(16), primary_key=True),
    Column("documents", LargeBinary, nullable=False),
    Column("first_seen", Instant, nullable=False),
    comment="resolved documents that runs are pinned to",
)
cursors = table(
    "cursors",
    Column("flow", Name, primary_key=True),
    Column("partition", Name, primary_key=True, server_default=""),
    Column("position", LargeBinary, nullable=False),
    Column("version", Integer, nullable=False),
    Column("updated_at", Instant, nullable=False),
    comment="how far each flow has read",
)
units = table(
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
leases = table(
    "leases",
    Column("name", Name, primary_key=True),
    Column("owner", Name, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("expires_at", Instant, nullable=False),
    comment="who may work on what; judged in database time",
)
budgets = table(
    "budgets",
    Column("account", Name, primary_key=True, comment="host and port"),
    Column(
        "figures", LargeBinary, nullable=False, comment="pauses, pace, turns taken, places held; see engine.sdk.account"
    ),
    Column("version", Integer, nullable=False, comment="counts changes; compare-and-set"),
    comment="what all processes together may call",
)
audit = table(
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
indicator_values = table(
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
facts = table(
    "facts",
    Column("name", Name, primary_key=True),
    Column("value", LargeBinary, nullable=False),
    comment="small facts of the installation: refresh positions, schema locks",
)
