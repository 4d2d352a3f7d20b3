"""`indicators/*.yaml`: business measures over the canonical store, its history, processes and exceptions."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

from pydantic import Field, model_validator

from engine.sdk.config import Config, Duration, Percent
from engine.spec.about import About


class Between(Config):
    """Time between two states of the lifecycle, from the history."""

    from_: str = Field(alias="from")
    to: str | None = None
    field: str = "status"


class Indicator(Config):
    """One indicator."""

    indicator: str
    about: About | None = None
    extends: str | None = None
    remove: list[str] | None = None
    title: str | None = None
    entity: str | None = None
    over: Literal["records", "exceptions", "runs", "links", "processes", "breaks"] = "records"
    where: str | None = None
    measure: Literal["count", "sum", "average", "share", "age", "time", "median", "p95"] = "count"
    value: str | None = None
    of: str | None = None
    """With `share`: the condition of the whole."""
    age: str | None = None
    """Field that the age is counted from."""
    between: Between | None = None
    amount: str | None = None
    """Expression for the amount at risk."""
    by: list[str] = []
    """Cause breakdown."""
    limit: Percent | Duration | Decimal | int | None = Field(None, union_mode="left_to_right")
    direction: Literal["above", "below"] = "above"
    owner: str | None = None
    labels: dict[str, Any] = {}

    @model_validator(mode="after")
    def _whole(self) -> Indicator:
        if self.measure in ("sum", "average", "median", "p95") and self.value is None and self.between is None:
            raise ValueError(f"`measure: {self.measure}` needs `value` or `between`")
        if self.measure == "age" and self.age is None:
            raise ValueError("`measure: age` needs `age`, the field that it counts from")
        if self.measure == "time" and self.between is None:
            raise ValueError("`measure: time` needs `between`")
        if self.measure == "share" and self.of is None:
            raise ValueError("`measure: share` needs `of`, the condition of the whole")
        if self.over == "records" and self.entity is None:
            raise ValueError("needs `entity`")
        return self
