"""`connectors/<name>.yaml`: a system's HTTP API as data. Named kinds only; what a system needs is never code here.

Expressions are JMESPath over `{status, headers, body, record}`; `{name}` in text is a setting, in paths also a field.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import jmespath
from jmespath.exceptions import JMESPathError
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from engine.sdk.config import Config, Duration, RateText, WriteClass, duration

Method = Literal["get", "post", "put", "patch", "delete"]
AuthKind = Literal[
    "none",
    "bearer",
    "basic",
    "api_key",
    "oauth2_client_credentials",
    "oauth2_jwt_bearer",
    "oauth2_refresh_token",
    "oauth1_tba",
]
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
]


def _expression(text: str) -> str:
    try:
        jmespath.compile(text)
    except JMESPathError as error:
        raise ValueError(f"cannot read the expression: {str(error).splitlines()[0]}") from None
    return text


def _list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Expression = Annotated[str, AfterValidator(_expression)]


class Setting(Config):
    """A setting that connections of this system give."""

    required: bool = False
    default: Any = None
    doc: str = ""


class Auth(Config):
    """How requests prove who they are."""

    kinds: list[AuthKind] = ["none"]
    """Kinds that a connection may choose; the first is the default."""
    token_url: str | None = None
    scope: str | None = None
    audience: str | None = None
    algorithm: Literal["RS256", "PS256", "ES256"] = "RS256"
    assertion: Literal["grant", "client"] = "grant"
    """`grant`: the signed token is the grant; `client`: it proves the client."""
    header: str = "Authorization"
    prefix: str = "Bearer "
    realm: str | None = None
    instance: Expression | None = None
    """Where the token reply names the address to use from then on."""
    life: Duration = duration("1h")
    """How long a token is used where the reply does not say."""


class ManifestLimits(Config):
    """The system's own limits."""

    requests: RateText | None = None
    concurrency: int | None = None
    remaining: str | None = None
    reset: str | None = None


class ErrorRule(Config):
    """What an answer means; the first rule that holds decides."""

    when: Expression
    do: Do
    wait: Expression | None = None
    id: Expression | None = None


class PageSize(Config):
    """The parameter for the page size."""

    param: str
    max: int = 200


class Page(Config):
    """How a list goes on."""

    kind: Literal["none", "page", "offset", "cursor", "next_url", "link_header", "keyset"] = "none"
    next: Expression | None = None
    param: str | None = None
    start: int = 1
    size: PageSize | None = None
    more: Expression | None = None
    """True while there are more pages."""
    total: Expression | None = None
    """How many there are in all; giving fewer is an error."""
    cap: int | None = None
    """Greatest offset; beyond it, reading goes on by key."""


class Modified(Config):
    """The field that grows with every change."""

    field: str
    type: Literal["instant", "date", "number", "text"] = "instant"
    timezone: str | None = None


class SinceParam(Config):
    """How the lower bound of a window is sent."""

    param: str
    format: Literal["rfc3339", "date", "epoch", "epoch_ms", "text"] = "rfc3339"


class Keyed(Config):
    """Records in a map, in the order of a list of `{key, id}`."""

    order: Expression
    map: Expression


class Query(Config):
    """A query language instead of parameters."""

    kind: Literal["soql", "suiteql"]
    from_: str = Field(alias="from")
    param: str = "q"
    modified: str | None = None
    """Column of the modified field, where it has another name."""
    columns: dict[str, str] = {}
    """Field → column, where they differ."""
    select: list[str] = []
    """Columns to ask for, instead of the fields that mappings read."""
    where: str | None = None


class Request(Config):
    """One request: method and path, parameters, body."""

    get: str | None = None
    post: str | None = None
    put: str | None = None
    patch: str | None = None
    delete: str | None = None
    params: dict[str, Any] = {}
    headers: dict[str, str] = {}
    body: Any = None

    @property
    def method(self) -> str:
        return next(name for name in ("get", "post", "put", "patch", "delete") if getattr(self, name) is not None)

    @property
    def path(self) -> str:
        return str(getattr(self, self.method))

    @model_validator(mode="after")
    def _one(self) -> Request:
        given = [name for name in ("get", "post", "put", "patch", "delete") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("write one method with its path, such as `get: /projects`")
        return self


class ReadSpec(Request):
    """How records are listed."""

    records: Expression | Keyed
    since: SinceParam | None = None
    until: SinceParam | None = None
    keys: dict[str, str] | None = None
    """`{param, join}`: how records are asked for by native id in one request."""
    fields: dict[str, str] | None = None
    """`{param, join}`: how fields are asked for."""
    query: Query | None = None
    page: Page | None = None


class Detail(Request):
    """The whole record, where lists are thin."""

    record: Expression | Keyed


class FindParam(Config):
    """The parameter that searches a field."""

    param: str
    params: dict[str, str] = {}


class FindSpec(Request):
    """How records are found by the values of fields."""

    records: Expression | Keyed
    by: dict[str, FindParam] = {}
    query: Query | None = None


class Id(Config):
    """Where a new id stands."""

    from_: Expression = Field(alias="from")
    take: Literal["whole", "last_segment"] = "whole"


def _id(value: object) -> object:
    return {"from": value} if isinstance(value, str) else value


class WriteSpec(Request):
    """One write."""

    id: Annotated[Id | None, BeforeValidator(_id)] = None
    version: Expression | None = None
    if_match: str | None = None
    """Field or header that holds the version for conditional writes."""
    omit: list[str] = []
    """Fields that stand in the path and not in the body."""
    created: Expression | None = None
    """True where an upsert made the record."""


class BatchSpec(Request):
    """Many writes in one request, with an outcome for each."""

    size: int = Field(100, ge=1)
    item: dict[str, Any] = {}
    """What is added to each record."""
    results: Expression
    by: str = "position"
    ok: Expression
    id: Expression | None = None
    error: Expression | None = None
    created: Expression | None = None


class Deletes(Config):
    """How deleted records are told."""

    kind: Literal["feed", "flag", "none"] = "none"
    get: str | None = None
    records: Expression | None = None
    key: Expression | None = None
    since: SinceParam | None = None
    until: SinceParam | None = None
    flag: str | None = None
    """Field that is true for a deleted record."""


class Marker(Config):
    """Where Crosswalk's mark goes: a field, or an object made of it."""

    field: str
    write: Any = None
    find: dict[str, str] = {}


def _marker(value: object) -> object:
    return {"field": value} if isinstance(value, str) else value


class Idempotency(Config):
    """A header that makes a repeated request harmless."""

    header: str
    life: Duration


class ObjectSpec(Config):
    """One object of the system."""

    key: Annotated[list[str], BeforeValidator(_list)] = ["id"]
    modified: Modified | None = None
    fields: dict[str, str | dict[str, Any]] = {}
    """What the system's own description does not say: type, or {type, required, max_length, values, on_create}."""
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
    deletes: Deletes = Deletes()
    marker: Annotated[Marker | None, BeforeValidator(_marker)] = None
    class_: WriteClass = Field("D", alias="class")
    late: Duration = duration("2m")
    index: Duration = duration("2m")
    idempotency: Idempotency | None = None
    partial: bool = True


class Webhooks(Config):
    """How calls of the system are verified."""

    verify: dict[str, Any] = {}
    event_id: str | None = None
    key: str | None = None
    object: str | None = None


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
    objects: dict[str, ObjectSpec]
    webhooks: Webhooks | None = None
