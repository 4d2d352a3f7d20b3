"""`crosswalk.yaml`: what a workspace is called, what it is connected to, and how long it keeps things."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from engine.sdk.config import Config, Duration, RateText, duration, rate
from engine.spec.about import About


class Queue(Config):
    """Where exceptions wait for a person."""

    notify: list[str] = []
    sla: Duration | None = None
    roles: list[str] = []


def _years(value: object) -> object:
    """A duration, or years such as `7y` (of 366 days, so that nothing goes too early)."""
    text = str(value).strip()
    whole = text.removesuffix("y")
    return timedelta(days=366 * int(whole)) if text.endswith("y") and whole.isdecimal() else duration(text)


class Retention(Config):
    """How long things are kept."""

    exceptions: Duration | None = None
    inputs: Duration | None = None
    inbox: Duration | None = None
    events: Duration | None = None
    """Of events that all who wanted them have."""
    operations: Duration | None = None
    reconciliations: Annotated[timedelta | None, BeforeValidator(_years)] = None
    """Of their results and of closed breaks; such as `2y`. 400 days where it is left out."""
    history: Annotated[timedelta | None, BeforeValidator(_years)] = None
    """Of `x-history` fields; such as `7y`. Kept for ever where it is left out."""


class Serve(Config):
    """What `crosswalk serve` takes, and with how many hands."""

    webhooks: RateText = rate("30000 per 1m")
    """Calls that each connection may make to us; over it they are answered with 429."""
    workers: dict[Literal["interactive", "webhook", "bulk", "reconcile"], Annotated[int, Field(ge=1, le=64)]] = {}
    """Lane → units of work at once; others keep 1, 2, 3 and 1."""


class EventRoute(Config):
    """Events that a connection is sent."""

    to: str
    """Connection."""
    types: list[str] = Field(min_length=1)
    """CloudEvents types, without their version if you like; `*` stands for any rest, as in `project.*`."""
    topic: str | None = None
    """Where on the connection; the connector's own words, such as a subject or a routing key."""
    clearance: list[Literal["personal", "compensation", "financial", "tax"]] = []
    """Sensitive fields that it may see; all others are masked."""


class SecretProviders(Config):
    """Where secrets come from, beside the environment."""

    files: str | None = None
    """Folder with one file a secret."""
    keyring: str | None = None
    """Service name in the system's keyring."""
    vault: dict[str, str] | None = None
    """`url` and `mount` of a Vault KV version 2 store."""


class Settings(Config):
    """`crosswalk.yaml`."""

    crosswalk: int = Field(ge=1, le=1)
    name: str
    about: About | None = None
    state: str = "sqlite:///.crosswalk/state.db"
    connections: dict[str, dict[str, Any]] = {}
    environments: dict[str, dict[str, Any]] = {}
    queues: dict[str, Queue] = {}
    events: list[EventRoute] = []
    """Who is told of what happens, beside flows and processes of this workspace."""
    retention: Retention = Retention()
    serve: Serve = Serve()
    secrets: SecretProviders = SecretProviders()
    functions: str | None = None
    """Python file with functions of the workspace's own."""
