"""Settings that people write in YAML: one pydantic class gives validation, the manual and the editor's schema."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
SIZES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}


class Config(BaseModel):
    """Base of everything people write in YAML: unknown keys are errors, values never change."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        populate_by_name=True,
        hide_input_in_errors=True,
        arbitrary_types_allowed=True,
    )


def duration(value: object) -> timedelta:
    """`15m`, `3d`, `250ms`, `1h30m` as a timedelta. Raises ValueError that says how to write it."""
    if isinstance(value, timedelta):
        return value
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|[smhdw])", value) if isinstance(value, str) else []
    if not parts or "".join(number + unit for number, unit in parts) != value:
        raise ValueError("write a duration with its unit, such as 250ms, 30s, 15m, 4h or 3d")
    return timedelta(seconds=sum(float(number) * UNITS[unit] for number, unit in parts))


def size(value: object) -> int:
    """`10 MiB` as bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]i?B|B)", value) if isinstance(value, str) else None
    if not match:
        raise ValueError("write a size with its unit, such as 512 KiB, 10 MiB or 1 GB")
    return int(Decimal(match[1]) * SIZES[match[2]])


def percent(value: object) -> Decimal:
    """`5%` as 0.05."""
    if isinstance(value, Decimal):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value) if isinstance(value, str) else None
    if not match:
        raise ValueError("write a percentage with its sign, such as 5%")
    return Decimal(match[1]) / 100


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so long: `100 per 20s`."""

    count: int
    per: timedelta

    def __str__(self) -> str:
        return f"{self.count} per {self.per.total_seconds():g}s"


def rate(value: object) -> Rate:
    """`100 per 20s` as a Rate."""
    if isinstance(value, Rate):
        return value
    match = re.fullmatch(r"(\d+)\s+per\s+(\S+)", value) if isinstance(value, str) else None
    if not match:
        raise ValueError("write a rate as a count and a time, such as 100 per 20s")
    return Rate(int(match[1]), duration(match[2]))


@dataclass(frozen=True, slots=True)
class Span:
    """From a shortest to a longest wait: `1s..5m`."""

    shortest: timedelta
    longest: timedelta


def span(value: object) -> Span:
    """`1s..5m` as a Span."""
    if isinstance(value, Span):
        return value
    first, dots, last = value.partition("..") if isinstance(value, str) else ("", "", "")
    if not dots:
        raise ValueError("write the shortest and the longest wait, such as 1s..5m")
    return Span(duration(first), duration(last))


def timezone(value: object) -> str:
    """An IANA time zone's name."""
    if not isinstance(value, str) or value not in available_timezones():
        raise ValueError("write an IANA time zone, such as Europe/London or UTC")
    return value


Duration = Annotated[timedelta, BeforeValidator(duration)]
Size = Annotated[int, BeforeValidator(size)]
Percent = Annotated[Decimal, BeforeValidator(percent)]
RateText = Annotated[Rate, BeforeValidator(rate)]
SpanText = Annotated[Span, BeforeValidator(span)]
TimeZone = Annotated[str, BeforeValidator(timezone)]


class Secret:
    """A value that never prints: settings that came from `${secret:…}`. Equal by value, empty repr."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself; only the code that sends it may call this."""
        return self._value

    def __str__(self) -> str:
        return "••••"

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def secret(value: object) -> Secret:
    """Text from any provider as a Secret."""
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        raise ValueError("write a reference to a secret, such as ${secret:name}")
    return Secret(value)


SecretText = Annotated[Secret, BeforeValidator(secret)]


class Limits(Config):
    """One budget for the whole account, shared by all flows."""

    requests: RateText | None = None
    """Requests in a time, such as `100 per 20s`."""
    concurrency: int = Field(4, ge=1, le=200)
    """Requests at the same time."""


class Breaker(Config):
    """Stops calling a system that fails, and tries again later."""

    failures: Percent = Decimal("0.5")
    """Share of failed calls that opens it."""
    of: int = Field(20, ge=1)
    """Calls that are judged."""
    reset: Duration = timedelta(minutes=1)
    """Wait before one call is tried again."""


class ObjectSettings(Config):
    """What a connection sets or overrides for one object."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True, hide_input_in_errors=True)

    key: str | list[str] | None = None
    """Field or fields that identify a record."""
    modified: str | None = None
    """Field that grows with every change; makes incremental reads possible."""


class ConnectionConfig(Config):
    """What every connection may say, whatever its connector."""

    connector: str
    """Name of the connector: built in, or a manifest `connectors/<name>.yaml`."""
    role: str | None = None
    """Role that field ownership refers to; the connection's name where it is left out."""
    timezone: TimeZone = "UTC"
    """Time zone of the account: what a date and an instant without offset mean there."""
    limits: Limits = Limits()
    """The account's budget."""
    retries: int = Field(5, ge=0, le=50)
    """How often a transient failure is tried again."""
    backoff: SpanText = Span(timedelta(seconds=1), timedelta(minutes=5))
    """Shortest and longest wait between tries, doubled each time with full jitter."""
    timeout: Duration = timedelta(seconds=30)
    """Longest time for one call, reading the answer included."""
    breaker: Breaker = Breaker()
    """When to stop calling a failing system."""
    objects: dict[str, ObjectSettings] = {}
    """Settings of single objects."""


JobNote = Callable[[str, str, list[str], bool], None]


@dataclass(frozen=True, slots=True)
class ConnectionContext:
    """What the engine gives a connector beside its settings.

    name: the connection's name. workspace: folder that relative paths start from; None in tests without one.
    secret_values: texts to redact wherever they would appear. sleep: replaced in tests. crashpoint: named
    places where a test may kill the process. permits: budgets that all processes share; None where there is no state.
    opened: to be told of a job (object, its id, ids of its operations, whether its rows are there already) before rows
    are uploaded, and again once they are; when it returns, the job is noted durably.
    """

    name: str
    workspace: Path | None = None
    sleep: Callable[[float], None] | None = None
    crashpoint: Callable[[str], None] = lambda name: None
    permits: Any = None
    opened: JobNote = lambda object, job, ids, uploaded: None

    def path(self, text: str) -> Path:
        """A relative path as the workspace sees it."""
        return (self.workspace or Path.cwd()) / text

    def zone(self, name: str) -> ZoneInfo:
        return ZoneInfo(name)


WriteClass = Literal["A", "B", "C", "D"]
AnyConfig = Any
