"""`connectors/<name>.yaml`: a system's HTTP API as data. Named kinds only; what a system needs is never code here.

Expressions are JMESPath over `{status, headers, body, record}`; `{name}` in text is a setting, in paths also a field.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from engine.sdk.config import Config, Duration, RateText, WriteClass, duration
from engine.sdk.connector import FieldType
from engine.sdk.manifest_auth import Auth
from engine.sdk.manifest_jobs import JobSpec
from engine.sdk.manifest_requests import (
    BatchSpec,
    Deletes,
    Describe,
    Detail,
    Expression,
    FindSpec,
    Marker,
    Page,
    ReadSpec,
    Request,
    SliceSpec,
    WriteSpec,
    marker_text,
    slice_text,
)
from engine.sdk.manifest_webhooks import Webhooks

Do = Literal[
    "success",
    "retry",
    "rate_limited",
    "refresh_then_retry",
    "matched",
    "missing",
    "refused",
    "fatal",
    "in_doubt",
    "ignore",
    "empty",
]
"""What an answer is taken for. `empty`: a list without records. `ignore`: a write that is done."""


def _list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class Setting(Config):
    """A setting that connections of this system give."""

    required: bool = False
    default: Any = None
    """Its value where a connection gives none; `{name}` is another setting."""
    form: Literal["text", "host", "upper", "lower"] = "text"
    """How the value is spelled: `host` in lower case with hyphens for underscores."""
    doc: str = ""


class FieldSpec(Config):
    """A field as the manifest describes it, where the system does not."""

    type: FieldType = "any"
    required: bool = False
    writable: bool = True
    on_create: bool = False
    """Taken on create only."""
    max_length: int | None = None
    scale: int | None = None
    """Decimal places that the system keeps."""
    values: list[str] | None = None
    references: list[str] = []
    """Objects that the field holds the id of."""
    form: Literal["h:mm", "ms_date", "ms_instant", "epoch", "epoch_ms", "day", "noon"] | None = None
    """How the system writes the value, where that is not how records hold it."""
    label: str = ""


def _field(value: object) -> object:
    return {"type": value} if isinstance(value, str) else value


class ManifestLimits(Config):
    """The system's own limits; a connection's `limits` may be stricter."""

    requests: RateText | None = None
    concurrency: int | None = None
    remaining: str | None = None
    """Header that says how many requests are left; at 0 nobody sends until `reset`."""
    reset: str | None = None
    """Header that says when there are more."""
    reset_in: Literal["seconds", "ms", "epoch", "epoch_ms", "instant"] = "seconds"
    """How `reset` says it: seconds or milliseconds from now, a moment since 1970, or an RFC 3339 instant."""


class ErrorRule(Config):
    """What an answer means; the first rule that holds decides."""

    when: Expression
    do: Do
    wait: Expression | None = None
    """After which time to try again; where it is left out or gives nothing, the header Retry-After."""
    wait_in: Literal["seconds", "ms", "epoch", "epoch_ms", "instant"] = "seconds"
    """How `wait` is written; `seconds` may be an HTTP date, too."""
    id: Expression | None = None
    """`matched`: where the id of the record stands that is there already."""


class Modified(Config):
    """The field that grows with every change."""

    field: str
    type: Literal["instant", "date", "number", "text"] = "instant"
    timezone: str | None = None


class Idempotency(Config):
    """A header that makes a repeated request harmless."""

    header: str
    life: Duration


class ObjectSpec(Config):
    """One object of the system."""

    key: Annotated[list[str], BeforeValidator(_list)] = ["id"]
    modified: Modified | None = None
    fields: dict[str, Annotated[FieldSpec, BeforeValidator(_field)]] = {}
    """What the system's own description does not say: a type, or a field with its facts."""
    drop: list[str] = []
    """Fields of answers that are no part of the record."""
    ordered: bool = False
    read: ReadSpec | None = None
    detail: Detail | None = None
    find: FindSpec | None = None
    create: WriteSpec | None = None
    update: WriteSpec | None = None
    upsert: WriteSpec | None = None
    delete: WriteSpec | None = None
    batch: dict[Literal["create", "update", "upsert", "delete"], BatchSpec] = {}
    jobs: dict[Literal["create", "update", "upsert", "delete"], JobSpec] = {}
    """Jobs for many writes at once; `batch` and single writes stay for fewer."""
    deletes: Deletes = Deletes()
    slices: dict[str, Annotated[SliceSpec, BeforeValidator(slice_text)]] = {}
    """Fields by which reads of everything can be cut into slices (`partition` of a flow)."""
    describe: Describe | None = None
    marker: Annotated[Marker | None, BeforeValidator(marker_text)] = None
    class_: WriteClass = Field("D", alias="class")
    late: Duration = duration("2m")
    index: Duration = duration("2m")
    idempotency: Idempotency | None = None
    partial: bool = True


class Manifest(Config):
    """A system."""

    connector: str
    about: Any = None
    extends: str | None = None
    remove: list[str] | None = None
    settings: dict[str, Setting] = {}
    base: str
    auth: Auth = Auth()
    headers: dict[str, str] = {}
    limits: ManifestLimits = ManifestLimits()
    errors: list[ErrorRule] = []
    message: Expression | None = None
    page: Page = Page()
    check: Request | None = None
    """A cheap request that proves the connection."""
    describe: Describe | None = None
    """The system's own description of any object that has none of its own."""
    objects: dict[str, ObjectSpec]
    webhooks: Webhooks | None = None

    @model_validator(mode="after")
    def _known_settings(self) -> Manifest:
        verify = self.webhooks.verify if self.webhooks is not None else None
        named = [*verify.secret, *filter(None, (verify.user, verify.url))] if verify is not None else []
        strange = next((one for one in named if one not in self.settings), None)
        if strange is not None:
            raise ValueError(f"verifies webhooks by {strange!r}, which is none of its `settings`: add it there")
        return self
