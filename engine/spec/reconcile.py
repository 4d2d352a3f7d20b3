"""`flows/*.yaml` with `kind: reconcile`: compare two or more systems by typed canonical values."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from engine.sdk.config import Config, Duration, TimeZone, duration
from engine.spec.about import About
from engine.spec.sync import Policy
from engine.spec.trigger import Trigger


class Side(Config):
    """One side: a connection read through a mapping, or the canonical store."""

    connection: str
    mapping: str | None = None
    """Left out with `connection: canonical`: its records as they are kept."""
    where: str | None = None
    """Which canonical records of this side are compared."""
    expected: str | None = None
    """Which of them the other sides must have, too; the others are compared only where another side has them."""
    query: dict[str, Any] = {}
    """Connector-native parameters."""
    group: list[str] | dict[str, str] | None = None
    """Compare groups instead of records: fields, or names with expressions."""
    sum: list[str] | None = None
    """Of a group: fields that are added up."""

    @model_validator(mode="after")
    def _mapped(self) -> Side:
        if self.mapping is None and self.connection != "canonical":
            raise ValueError("write the `mapping` that the connection is read through")
        if (self.group is None) != (self.sum is None):
            raise ValueError("write `group` and `sum` together, or neither")
        if self.group is not None and self.expected is not None:
            raise ValueError("`expected` is of records: write `where` for what is grouped")
        return self

    def groups(self) -> dict[str, str]:
        """Name of each part of a group's key → its expression."""
        return dict(self.group) if isinstance(self.group, dict) else {text: text for text in self.group or ()}


class Window(Config):
    """Which records are compared: those whose field lies in the last so many days, on either side, or holds nothing."""

    field: str
    last: Duration
    timezone: TimeZone = "UTC"
    """In which today is today."""
    read: Literal["all", "window"] = "all"
    """all: every side is read in full. window: a side that can be cut by the native field behind `field` gives only what is
    in the window and what has no day; what another side has there is looked up by its link, and the side is read in full
    where that does not find all of it. A second record of a key that lies outside of the window is then not seen."""


def _tolerance(value: object) -> object:
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return Decimal(value)
    return duration(value)


class Comparison(Config):
    """How one field is compared."""

    tolerance: Annotated[Any, BeforeValidator(_tolerance)] = None
    """Number, or days such as `1d`."""
    text: Literal["exact", "casefold", "blanks", "letters"] | None = None
    """exact: as it is. casefold: whatever the case. blanks: blanks at the ends and doubled ones do not count.
    letters: only letters and digits count, whatever their case."""
    key: str | list[str] | None = None
    """Of a list of objects: the fields that tell its elements apart."""
    unordered: bool | None = None
    """Of a list of values: whether its order says nothing; default: the schema's `uniqueItems`."""
    alike: list[list[str]] = []
    """Texts that mean the same between these systems, in groups: `[[issued, partly_paid]]` where one of them knows no part."""
    empty: Literal["apart", "same"] = "apart"
    """apart: null is not blank, and a field about which a side says nothing is not compared. same: all of them and the
    empty list are one."""


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


Mending = HealFlow | Literal["report", "owner", "deactivate"]
"""report: nothing is written. owner: the side that owns the field, or has the record, is sent to the other one.
deactivate: a record that only this side has is ended there, as its mapping says."""


class Heal(Config):
    """What is mended by itself, by the class of break."""

    missing_right: Mending = "report"
    missing_left: Mending = "report"
    missing: dict[str, Mending] = {}
    """With `sides`: side → what is done about records that it lacks."""
    mismatch: Mending = "report"
    stale: Mending | None = None
    """Default: as `mismatch`."""
    wrong_owner: Mending | None = None
    """Default: as `mismatch`."""
    limit: int = Field(100, ge=0)
    """Records that one run mends at most; over it, none is mended before a person says so."""

    def of(self, name: str) -> Mending:
        """What is done about a class of break."""
        if name.startswith("missing_"):
            side = name.removeprefix("missing_")
            given = {"left": self.missing_left, "right": self.missing_right}
            return self.missing[side] if side in self.missing else given.get(side, "report")
        if name in ("stale", "wrong_owner"):
            own: Mending | None = getattr(self, name)
            return own if own is not None else self.mismatch
        return self.mismatch if name == "mismatch" else "report"


def _amount(value: object) -> object:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s+([A-Z]{3})", str(value))
    if not match:
        raise ValueError("write an amount and its currency, such as 1000 EUR")
    return (Decimal(match[1]), match[2])


class ReconcileExpect(Config):
    """Limits that raise an alert."""

    fresh_within: Duration | None = None
    breaks_below: int | None = None
    """Open breaks, without those that are in flight or accepted."""
    amount_below: Annotated[Any, BeforeValidator(_amount)] = None
    """Their amounts in that currency."""


class ReconcileGuard(Config):
    """Limits; over one of them the run is held."""

    empty_source: Literal["hold", "ignore"] = "hold"
    """A side that gives nothing while another one has records is more likely broken than empty."""


class ReconcileFlow(Config):
    """A reconciliation."""

    flow: str
    kind: Literal["reconcile"]
    about: About | None = None
    extends: str | None = None
    remove: list[str] | None = None
    entity: str
    owner: str | None = None
    """Queue of its breaks."""
    queues: dict[str, str] = {}
    """Side → queue of the breaks that are to be mended there; the others go to `owner`."""
    trigger: list[Trigger] = []
    left: Side | None = None
    right: Side | None = None
    sides: dict[str, Side] | None = None
    key: Literal["links"] | list[str] = "links"
    window: Window | None = None
    grace: Duration = duration("0s")
    """What was changed so shortly before the first read, or after it, is in flight and no fault yet."""
    compare: dict[str, Comparison] = {}
    """How fields are compared, by their path; fields that are not named are compared exactly."""
    only: list[str] | None = None
    """Compare these fields and no others."""
    ignore: list[str] = []
    amount: str | None = None
    """The money at stake in a break; default: what the first total adds up, else the first amount that is compared."""
    totals: list[Total] = []
    heal: Heal = Heal()
    guard: ReconcileGuard = ReconcileGuard()
    expect: ReconcileExpect | None = None
    report: list[Literal["html", "xlsx", "csv", "json"]] = []
    pushdown: Literal["auto", "never"] = "auto"
    """Two tables whose mappings take the compared columns alike are compared by the databases, in checksums, where that can
    be done; only what is not alike is read. never: both sides are read."""
    keep_breaks: int = Field(10_000, ge=1, le=1_000_000)
    """New breaks of one run that are kept one by one; all of them are counted."""
    policy: Policy = Policy(lane="reconcile")
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
        if self.only is not None and self.ignore:
            raise ValueError("write either `only` or `ignore`")
        return self

    def all_sides(self) -> dict[str, Side]:
        """Every side by name."""
        if self.sides is not None:
            return self.sides
        return {name: side for name, side in (("left", self.left), ("right", self.right)) if side is not None}

    def place(self, side: str) -> tuple[str, ...]:
        """Where a side stands in the document."""
        return ("sides", side) if self.sides is not None else (side,)
