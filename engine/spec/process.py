"""`flows/*.yaml` with `kind: process`: durable steps for one record, with approvals and compensation."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from engine.sdk.config import Config, Duration
from engine.spec.about import About
from engine.spec.sync import Policy
from engine.spec.trigger import Trigger

KINDS = ("check", "approve", "find", "write", "derive", "wait", "call", "publish")


class StepTarget(Config):
    """Where a `write` step writes."""

    connection: str
    mapping: str
    name: str | None = None
    operation: Literal["upsert", "create", "update", "append"] = "upsert"
    match: list[list[str]] | None = None


class Undo(Config):
    """How a finished step is taken back."""

    update: dict[str, Any] | None = None
    delete: bool = False
    kind: Literal["reversible", "semantic", "none"] = "semantic"


class Step(Config):
    """One step: `<kind>: <name>` and what that kind takes."""

    check: str | None = None
    approve: str | None = None
    find: str | None = None
    write: str | None = None
    derive: str | None = None
    wait: str | None = None
    call: str | None = None
    publish: str | None = None
    when: str | None = None
    that: str | None = None
    otherwise: str | None = None
    queue: str | None = None
    expires: Duration | None = None
    on_expiry: Literal["reject", "approve", "escalate"] = "reject"
    connection: str | None = None
    mapping: str | None = None
    by: dict[str, str] | None = None
    record: str | None = None
    role: str | None = None
    targets: list[StepTarget] | None = None
    undo: Undo | None = None
    event: str | None = None
    for_: str | None = Field(None, alias="for")
    timeout: Duration | None = None
    data: dict[str, str] | None = None
    optional: bool = False

    @property
    def kind(self) -> str:
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def name(self) -> str:
        return str(getattr(self, self.kind))

    @model_validator(mode="after")
    def _whole(self) -> Step:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"has a step of no kind: write one of {', '.join(KINDS)}")
        needs = {
            "check": ("that",), "approve": ("queue",), "find": ("connection", "mapping", "by"),
            "write": ("record", "targets"), "derive": ("mapping",), "wait": ("event",),
            "call": ("record",), "publish": ("connection",),
        }  # fmt: skip
        for name in needs[given[0]]:
            if getattr(self, name) is None:
                raise ValueError(f"has a `{given[0]}` step without `{name}`: add it")
        allowed = {
            "check": {"that", "otherwise", "queue"}, "approve": {"queue", "expires", "on_expiry", "otherwise"},
            "find": {"connection", "mapping", "by"}, "write": {"record", "targets", "undo"},
            "derive": {"mapping", "record", "role"}, "wait": {"event", "for_", "timeout"},
            "call": {"record", "timeout"}, "publish": {"connection", "data", "optional"},
        }[given[0]] | {"when", given[0]}  # fmt: skip
        strange = sorted(self.model_fields_set - allowed)
        if strange:
            raise ValueError(
                f"has a `{given[0]}` step with `{strange[0].strip('_')}`, which it does not take: remove it"
            )
        return self


class ProcessSource(Config):
    """The records that start an instance."""

    connection: str
    mapping: str
    where: str | None = None
    query: dict[str, Any] = {}


class ProcessFlow(Config):
    """A process flow."""

    flow: str
    kind: Literal["process"]
    about: About | None = None
    extends: str | None = None
    remove: list[str] | None = None
    entity: str
    owner: str | None = None
    trigger: list[Trigger] = []
    source: ProcessSource
    key: str | list[str] | None = None
    steps: list[Step] = Field(min_length=1)
    on_failure: Literal["compensate", "wait"] = "compensate"
    done_within: Duration | None = None
    policy: Policy = Policy()
    overlap: Literal["skip", "queue"] = "skip"
    catch_up: Literal["skip", "one", "all"] = "one"
    mode: Literal["live", "shadow", "off"] = "live"

    @model_validator(mode="after")
    def _names(self) -> ProcessFlow:
        names = [step.name for step in self.steps if step.kind != "publish"]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise ValueError(f"two steps are called {twice!r}: a step's result stands under its name")
        return self
