"""Requests of a manifest: how records are listed, found, written one by one or many at once, and told as deleted."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import jmespath
from jmespath.exceptions import JMESPathError
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from engine.sdk.config import Config


def _expression(text: str) -> str:
    try:
        jmespath.compile(text)
    except JMESPathError as error:
        raise ValueError(f"cannot read the expression: {str(error).splitlines()[0]}") from None
    return text


Expression = Annotated[str, AfterValidator(_expression)]


class PageSize(Config):
    """The parameter for the page size."""

    param: str
    max: int = 200


class Page(Config):
    """How a list goes on."""

    kind: Literal["none", "page", "offset", "cursor", "next_url", "link_header", "keyset"] = "none"
    next: Expression | None = None
    """`cursor`: where the next cursor stands; `next_url`: where the next address stands."""
    end: str | None = None
    """A value of `next` that means there is no more, where that is not null."""
    param: str | None = None
    """The parameter that takes the page, offset, cursor or last key."""
    place: Literal["params", "body"] = "params"
    """Whether the page's parameters go into the address or into the body."""
    start: int = 1
    """Number of the first page."""
    size: PageSize | None = None
    more: Expression | None = None
    """True while there are more pages."""
    full: bool = False
    """Whether a page that is not full is the last one."""
    total: Expression | None = None
    """How many there are in all; giving fewer is an error."""
    cap: int | None = None
    """Greatest offset; beyond it, reading goes on by key."""
    after: str | None = None
    """`cap`: the parameter that takes the last key."""


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
    children: dict[str, list[str]] = {}
    """SOQL: lists below a record and the columns of their rows; read where a mapping names the list."""
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
    merge: bool = False
    """The row of the list stays, and what the detail gives is laid over it."""


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


def marker_text(value: object) -> object:
    return {"field": value} if isinstance(value, str) else value
