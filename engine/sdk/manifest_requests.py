"""Requests of a manifest: how records are listed, found, written one by one or many at once, and told as deleted."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import jmespath
from jmespath.exceptions import JMESPathError
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from engine.sdk.config import Config, Duration
from engine.sdk.connector import FieldType


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

    def names(self) -> list[str]:
        """The parameters that differ from page to page."""
        default = {"page": "page", "offset": "offset", "cursor": "cursor", "keyset": "after"}.get(self.kind)
        return [name for name in (self.param or default, self.size.param if self.size else None) if name is not None]


class SinceParam(Config):
    """How a bound of a window is sent."""

    param: str | None = None
    """The parameter that takes it; none where the body says `@since` or `@until`."""
    format: Literal["rfc3339", "seconds", "date", "epoch", "epoch_ms", "text"] = "rfc3339"
    """`seconds`: RFC 3339 without fractions."""


class Keyed(Config):
    """Records in a map, in the order of a list of `{key, id}`."""

    order: Expression
    map: Expression


class Query(Config):
    """A query language instead of parameters."""

    kind: Literal["soql", "suiteql", "odata4", "odata2"]
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
    """How records are listed. In a body, `@since` and `@until` are the window; what holds an absent one is left out."""

    media: Literal["json", "csv", "xml"] = "json"
    """What the answer is made of; XML becomes nested objects, CSV a list of rows of text."""

    records: Expression | Keyed
    since: SinceParam | None = None
    until: SinceParam | None = None
    keys: dict[str, str] | None = None
    """`{param, join}`: how records are asked for by native id in one request."""
    fields: dict[str, str] | None = None
    """`{param, join}`: how fields are asked for."""
    query: Query | None = None
    page: Page | None = None


class SliceSpec(Config):
    """How an object is read in slices of a date or instant that every record has. Queries need the type only."""

    type: Literal["date", "datetime"] = "date"
    range: str | None = None
    """Parameter that takes both days, the last one included, as `low:high`."""
    from_: str | None = Field(None, alias="from")
    """Parameter that takes the beginning."""
    to: str | None = None
    """Parameter that takes the end."""
    days: list[str] = ["0001-01-01", "9999-12-31"]
    """First and last day that a `range` may name."""


def slice_text(value: object) -> object:
    return {"type": value} if isinstance(value, str) else value


class Detail(Request):
    """The whole record, where lists are thin."""

    record: Expression | Keyed
    """Where the record stands; with `batch`, the list of records."""
    batch: int | None = Field(None, ge=2, le=1000)
    """How many are asked for at once: `{ids}` in the address, or `@ids` in the body, are their keys."""
    merge: bool = False
    """The row of the list stays, and what the detail gives is laid over it."""


class FindParam(Config):
    """The parameter that searches a field."""

    param: str
    params: dict[str, str] = {}
    many: int | None = Field(None, ge=2, le=1000)
    """How many values one request may hold, joined by commas; the records are told apart by their own value."""


class FindSpec(Request):
    """How records are found by the values of fields."""

    records: Expression | Keyed
    by: dict[str, FindParam] = {}
    query: Query | None = None


class Id(Config):
    """Where a new id stands."""

    from_: Expression = Field(alias="from")
    take: Literal["whole", "last_segment"] = "whole"


def id_text(value: object) -> object:
    return {"from": value} if isinstance(value, str) else value


class WriteSpec(Request):
    """One write."""

    id: Annotated[Id | None, BeforeValidator(id_text)] = None
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
    """What is added to each record; or the whole item, where it says `@record` (or `@changes`) itself."""
    results: Expression
    """The list of results."""
    by: str = "position"
    """`position`, or the field that tells which record a result is of."""
    match: Expression | None = None
    """Where a result holds what `by` holds in the item, where that is elsewhere."""
    errors: Expression | None = None
    """A second list with what failed, where that is apart."""
    match_error: Expression | None = None
    """`match` for that list, where it differs."""
    ok: Expression
    id: Annotated[Id | None, BeforeValidator(id_text)] = None
    error: Expression | None = None
    status: Expression | None = None
    """Where a result holds a status of its own, which `errors` of the manifest judge."""
    answer: Expression | None = None
    """Where a result holds a body of its own, which they judge as `body`."""
    created: Expression | None = None


class Deletes(Config):
    """How deleted records are told."""

    kind: Literal["feed", "flag", "none"] = "none"
    get: str | None = None
    post: str | None = None
    params: dict[str, Any] = {}
    headers: dict[str, str] = {}
    body: Any = None
    query: Query | None = None
    page: Page | None = None
    records: Expression = "body"
    key: Expression | None = None
    """Where a row of the feed holds the native id."""
    since: SinceParam | None = None
    until: SinceParam | None = None
    step: Duration | None = None
    """Shortest window that the feed takes."""
    reach: Duration | None = None
    """How far back the feed reaches; an older point demands a full read."""
    earliest: Expression | None = None
    """Where an answer says how far back the feed reaches."""
    covered: Expression | None = None
    """Where an answer says up to when deletes have been told; the next window starts there."""
    flag: str | None = None
    """`flag`: field that is true for a deleted record."""

    @property
    def request(self) -> Request:
        return Request(get=self.get, post=self.post, params=self.params, headers=self.headers, body=self.body)


class Describe(Request):
    """The system's own description of an object; `{object}` in its path is the object's name.

    `list`: `fields` finds a list, the other expressions are read from each of its elements. `json_schema`: it finds a
    JSON Schema's `properties`.
    """

    kind: Literal["list", "json_schema"] = "list"
    fields: Expression
    name: Expression = "name"
    type: Expression | None = None
    types: dict[str, FieldType] = {}
    """The system's type → ours; others are `any`."""
    required: Expression | None = None
    writable: Expression | None = None
    max_length: Expression | None = None
    scale: Expression | None = None
    values: Expression | None = None
    references: Expression | None = None
    label: Expression | None = None


class Marker(Config):
    """Where Crosswalk's mark goes: a field, or an object made of it."""

    field: str
    write: Any = None
    find: dict[str, str] = {}


def marker_text(value: object) -> object:
    return {"field": value} if isinstance(value, str) else value
