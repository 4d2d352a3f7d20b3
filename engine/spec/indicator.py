"""`indicators/*.yaml`: business measures over the canonical store, its history, processes and exceptions."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

from pydantic import Field, model_validator

from engine.sdk.config import Config, Duration, Percent
from engine.spec.about import About

Over = Literal["records", "exceptions", "runs", "links", "processes", "deliveries", "units", "audit", "breaks"]
Measure = Literal["count", "sum", "average", "share", "age", "freshness", "time", "median", "p95"]
SPANS = ("age", "freshness", "time")
"""Measures that are times."""


class Moment(Config):
    """A point in the life of a record: when a field entered a state, or the instant or date that a field holds."""

    enters: str | None = None
    """State, from the history of `field`; the first time counts. `*`: any, so when the record was first known."""
    field: str = "status"
    of: str | None = None
    """Path of a reference: the moment of that record instead."""
    entity: str | None = None
    """With `of`: what the reference names."""
    at: str | None = None
    """Path of an instant or date."""

    @model_validator(mode="after")
    def _one(self) -> Moment:
        if (self.enters is None) == (self.at is None):
            raise ValueError("write either `enters` with a state, or `at` with a field")
        if (self.of is None) != (self.entity is None) or (self.of is not None and self.enters is None):
            raise ValueError("`of` names a reference and `entity` what it refers to; both go with `enters`")
        return self


class Between(Config):
    """Time between two moments. A bare text is a state of `field`; without `to`, until now."""

    from_: str | Moment = Field(alias="from")
    to: str | Moment | None = None
    field: str = "status"


class Without(Config):
    """Records that other records name (`with`), or that none names (`without`)."""

    entity: str
    by: str
    """Path in those records that gives the id."""
    where: str | None = None


class Cause(Config):
    """One reason, told apart from the others: the first that holds."""

    name: str
    when: str


class Within(Config):
    """Only what lies in the last so many days."""

    field: str
    last: Duration


class Indicator(Config):
    """One indicator."""

    indicator: str
    about: About | None = None
    extends: str | None = None
    remove: list[str] | None = None
    title: str | None = None
    entity: str | None = None
    over: Over = "records"
    where: str | None = None
    with_: Without | None = Field(None, alias="with")
    without: Without | None = None
    window: Within | None = None
    measure: Measure = "count"
    value: str | None = None
    of: str | None = None
    """With `share`: the condition of the whole. `where` is then the part."""
    per: Without | None = None
    """Divide by the number of those records: `by` and `where` choose them."""
    age: str | Moment | None = None
    """What the age is counted from: a field, or a moment."""
    between: Between | None = None
    amount: str | None = None
    """Expression for the amount at risk."""
    by: list[str] = []
    """Groups."""
    causes: list[Cause] = []
    """Why: the first whose `when` holds."""
    limit: Percent | Duration | Decimal | int | None = Field(None, union_mode="left_to_right")
    direction: Literal["above", "below"] = "above"
    """On which side of the limit something is wrong."""
    owner: str | None = None
    """Queue that answers for it."""
    dashboards: list[str] = []
    labels: dict[str, Any] = {}

    @model_validator(mode="after")
    def _whole(self) -> Indicator:
        if self.measure in ("average", "median", "p95") and not (self.value or self.between or self.age):
            raise ValueError(f"`measure: {self.measure}` needs `value`, `between` or `age`")
        if self.measure == "sum" and self.value is None:
            raise ValueError("`measure: sum` needs `value`")
        if self.measure in ("age", "freshness") and self.age is None:
            raise ValueError(f"`measure: {self.measure}` needs `age`, the field that it counts from")
        if self.measure == "time" and self.between is None:
            raise ValueError("`measure: time` needs `between`")
        if self.measure == "share" and self.of is None:
            raise ValueError("`measure: share` needs `of`, the condition of the whole")
        if self.of is not None and self.measure != "share":
            raise ValueError("`of` belongs to `measure: share`")
        if self.over == "records" and self.entity is None:
            raise ValueError("needs `entity`")
        records_only = [name for name in ("with_", "without") if getattr(self, name) is not None]
        if self.over != "records" and records_only:
            raise ValueError(f"`{records_only[0].strip('_')}` is for records, and this is over {self.over}")
        for moment in [self.age, *([self.between.from_, self.between.to] if self.between else [])]:
            told = moment.at is not None if isinstance(moment, Moment) else moment is None or moment is self.age
            if self.over != "records" and not told:
                raise ValueError(f"tells states, and rows of {self.over} have no history: write {{ at: FIELD }}")
        if len([one for one in (self.value, self.between) if one is not None]) > 1:
            raise ValueError("has `value` and `between`: write one of them")
        names = [cause.name for cause in self.causes]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise ValueError(f"two causes are called {twice!r}")
        return self
