"""`flows/*.yaml` with `kind: reconcile`: compare two or more systems by typed canonical values."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from engine.sdk.config import Config, Duration, duration
from engine.spec.about import About
from engine.spec.sync import Policy
from engine.spec.trigger import Trigger


class Side(Config):
    """One side: a connection read through a mapping, or the canonical store."""

    connection: str
    mapping: str | None = None
    where: str | None = None
    query: dict[str, Any] = {}
    group: list[str] | None = None
    sum: list[str] | None = None


class Window(Config):
    """Which records are compared: those whose field lies in the last so many days."""

    field: str
    last: Duration


def _tolerance(value: object) -> object:
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return Decimal(value)
    return duration(value)


class Comparison(Config):
    """How one field is compared."""

    tolerance: Annotated[Any, BeforeValidator(_tolerance)] = None
    """Number, or days such as `1d`."""
    text: Literal["exact", "casefold", "blanks", "letters"] | None = None
    key: str | list[str] | None = None


class Total(Config):
    """A control total."""

    sum: str | None = None
    count: bool = False
    by: list[str] = []

    @model_validator(mode="after")
    def _one(self) -> Total:
        if (self.sum is None) == (not self.count):
            raise ValueError("write either `sum` with a field, or `count: true`")
        return self


class HealFlow(Config):
    """Mend by running a flow for the record."""

    flow: str


class Heal(Config):
    """What is mended by itself."""

    missing_right: HealFlow | Literal["report", "owner"] = "report"
    missing_left: HealFlow | Literal["report", "owner"] = "report"
    mismatch: HealFlow | Literal["report", "owner"] = "report"
    limit: int = Field(100, ge=0)


def _amount(value: object) -> object:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s+([A-Z]{3})", str(value))
    if not match:
        raise ValueError("write an amount and its currency, such as 1000 EUR")
    return (Decimal(match[1]), match[2])


class ReconcileExpect(Config):
    """Limits that raise an alert."""

    breaks_below: int | None = None
    amount_below: Annotated[Any, BeforeValidator(_amount)] = None


class ReconcileFlow(Config):
    """A reconciliation."""

    flow: str
    kind: Literal["reconcile"]
    about: About | None = None
    extends: str | None = None
    remove: list[str] | None = None
    entity: str
    owner: str | None = None
    trigger: list[Trigger] = []
    left: Side | None = None
    right: Side | None = None
    sides: dict[str, Side] | None = None
    key: Literal["links"] | list[str] = "links"
    window: Window | None = None
    compare: dict[str, Comparison] = {}
    ignore: list[str] = []
    totals: list[Total] = []
    heal: Heal = Heal()
    expect: ReconcileExpect | None = None
    report: list[Literal["html", "xlsx", "csv", "json"]] = []
    policy: Policy = Policy()
    overlap: Literal["skip", "queue"] = "skip"
    catch_up: Literal["skip", "one", "all"] = "one"
    mode: Literal["live", "shadow", "off"] = "live"

    @model_validator(mode="after")
    def _sides(self) -> ReconcileFlow:
        if self.sides is None and (self.left is None or self.right is None):
            raise ValueError("write `left` and `right`, or `sides`")
        if self.sides is not None and (self.left or self.right):
            raise ValueError("write either `left` and `right`, or `sides`")
        if self.sides is not None and len(self.sides) < 2:
            raise ValueError("`sides` needs at least two sides")
        return self

    def all_sides(self) -> dict[str, Side]:
        """Every side by name."""
        if self.sides is not None:
            return self.sides
        return {name: side for name, side in (("left", self.left), ("right", self.right)) if side is not None}
