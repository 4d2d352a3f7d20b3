"""`flows/*.yaml` with `kind: sync`: read one object, keep it canonical, deliver it to targets."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from engine.sdk.config import Config, Duration, Percent, Size, TimeZone, duration
from engine.spec.about import About
from engine.spec.trigger import Trigger

_STEP = re.compile(r"(?:([1-9]\d{0,3}) )?(day|week|month|quarter|year)s?")


def _every(value: object) -> object:
    """`1 month`, `2 weeks`, `quarter` as (count, unit)."""
    match = _STEP.fullmatch(str(value).strip())
    if not match:
        raise ValueError("write how wide a slice is, such as 1 month, 2 weeks or 1 year")
    return int(match[1] or 1), match[2]


def _first_day(value: object) -> object:
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise ValueError("write a day as YYYY-MM-DD") from None


class Partition(Config):
    """Reads of everything go slice by slice of a date or instant; one that is stopped goes on with the next slice."""

    by: str
    """Field of the source's object."""
    every: Annotated[Any, BeforeValidator(_every)]
    """Width of a slice, such as 1 month."""
    from_: Annotated[Any, BeforeValidator(_first_day)] = Field(None, alias="from")
    """First day of the first slice; what is older is one slice. Default: January 1 of five years ago."""


class SyncSource(Config):
    """Where records come from."""

    connection: str
    mapping: str
    where: str | None = None
    """Which canonical records this flow is for."""
    query: dict[str, Any] = {}
    """Connector-native parameters."""
    incremental: bool | str = True
    """By the object's modified field, or a field's name; `none` reads everything."""
    lag: Duration = duration("10m")
    """Overlap that is read again; unchanged records cost nothing."""
    deletes: Literal["ignore", "tombstones", "sweep"] = "ignore"
    partition: Partition | None = None


class Collect(Config):
    """A total over the canonical store."""

    entity: str
    by: str
    where: str | None = None
    sum: str | None = None
    count: bool = False

    @model_validator(mode="after")
    def _one(self) -> Collect:
        if (self.sum is None) == (not self.count):
            raise ValueError("write either `sum` with a field, or `count: true`")
        return self


class Check(Config):
    """A business rule that every record must pass."""

    name: str
    that: str
    otherwise: str | None = None
    queue: str | None = None
    severity: Literal["quarantine", "warn", "skip"] = "quarantine"


class Target(Config):
    """Where records go."""

    connection: str
    mapping: str
    name: str | None = None
    operation: Literal["upsert", "create", "update", "append"] = "upsert"
    match: list[list[str]] | None = None
    on_delete: Literal["ignore", "delete", "deactivate"] = "ignore"
    when: str | None = None
    on_leave: Literal["keep", "delete", "deactivate"] = "keep"
    emit: str | None = None


class Guard(Config):
    """Limits; over one of them the run is held."""

    empty_source: Literal["hold", "ignore"] = "hold"
    deletes: Percent | None = Decimal("0.05")
    changes: Percent | None = None
    errors: Percent | None = Decimal("0.20")


class Policy(Config):
    """How fast and through which lane."""

    batch: int = Field(500, ge=1, le=10_000)
    concurrency: int = Field(4, ge=1, le=200)
    lane: Literal["interactive", "webhook", "bulk", "reconcile"] = "bulk"
    max_record: Size = 10 * 2**20
    """Records and payloads over this size are quarantined, each alone."""


def _percentile(value: object) -> object:
    parts = str(value).split()
    if len(parts) != 2 or parts[1] not in ("p50", "p90", "p95", "p99", "max"):
        raise ValueError("write a time and a percentile, such as 15m p95")
    return (duration(parts[0]), parts[1])


class Expect(Config):
    """What the flow should keep; missing it raises an alert event."""

    fresh_within: Duration | None = None
    errors_below: Percent | None = None
    delivered_within: Annotated[Any, BeforeValidator(_percentile)] = None


class SyncFlow(Config):
    """A sync flow."""

    flow: str
    kind: Literal["sync"]
    about: About | None = None
    extends: str | None = None
    remove: list[str] | None = None
    entity: str
    owner: str | None = None
    """Queue that exceptions go to unless a check names another."""
    trigger: list[Trigger] = []
    source: SyncSource
    collect: dict[str, Collect] = {}
    checks: list[Check] = []
    targets: list[Target]
    refresh: list[str] = []
    guard: Guard = Guard()
    policy: Policy = Policy()
    conflict: Literal["owner", "latest", "quarantine"] = "owner"
    expect: Expect | None = None
    overlap: Literal["skip", "queue"] = "skip"
    catch_up: Literal["skip", "one", "all"] = "one"
    mode: Literal["live", "shadow", "off"] = "live"
    store: Literal["canonical", "none"] = "canonical"
    keep_inputs: Duration | None = None
    timezone: TimeZone | None = None

    @model_validator(mode="after")
    def _names(self) -> SyncFlow:
        names = [target.name or target.connection for target in self.targets]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise ValueError(f"two targets are called {twice!r}: give each a `name`")
        checks = [check.name for check in self.checks]
        twice = next((name for name in checks if checks.count(name) > 1), None)
        if twice:
            raise ValueError(f"two checks are called {twice!r}: names tell them apart in exceptions")
        return self
