"""An indicator bound for one computation: its expressions compiled against the rows that it is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from engine.compile.expression import Expression, compile_expression
from engine.compile.registry import Registry
from engine.compile.shape import Shape
from engine.sdk.errors import Position, Problem, Problems, SpecError
from engine.spec.indicator import SPANS, Between, Indicator, Moment, Without
from engine.spec.load import Document

BESIDE = ("exceptions", "instances", "held_in")
"""What a record's expressions see beside its fields: its live exceptions and process instances, and the connections
that have it."""
_TEXT, _NUMBER = {"type": ["string", "null"]}, {"type": ["number", "null"]}
_ANY: dict[str, Any] = {}
ROWS: dict[str, dict[str, dict[str, Any]]] = {
    "exceptions": {
        **dict.fromkeys(("id flow entity key canonical_id target stage class code message queue owner state opened_at "
                         "closed_at closed_how fingerprint").split(), _TEXT),
        "attempts": _NUMBER, "hours": _NUMBER, "record": _ANY,
    },
    "runs": {
        **dict.fromkeys("id flow kind state trigger started_at finished_at held_because".split(), _TEXT),
        **dict.fromkeys("seconds read created updated unchanged deleted quarantined waiting skipped".split(), _NUMBER),
    },
    "links": dict.fromkeys("entity connection object native_id canonical_id part state".split(), _TEXT),
    "processes": {
        **dict.fromkeys("id flow entity key canonical_id state step waiting queue started_at finished_at".split(), _TEXT),
        "hours": _NUMBER, "record": _ANY,
    },
    "deliveries": {
        **dict.fromkeys("flow target connection object kind state class canonical_id native_id created_at updated_at".split(), _TEXT),
        "attempts": _NUMBER, "seconds": _NUMBER,
    },
    "breaks": {
        **dict.fromkeys(("id flow entity key class cause side state canonical_id label queue owner first_seen last_seen "
                         "closed_at closed_how").split(), _TEXT),
        "runs": _NUMBER, "hours": _NUMBER, "money": {"type": ["object", "null"]}, "record": _ANY,
    },
    "units": {**dict.fromkeys("kind key lane state due".split(), _TEXT), "attempts": _NUMBER},
    "audit": dict.fromkeys("actor action subject at".split(), _TEXT),
}  # fmt: skip
"""What rows that are no records hold. hours, seconds: from begin to end, or until now."""


@dataclass(frozen=True, slots=True)
class MomentPlan:
    """A moment of a record. at: expression of an instant; else the first time that `field` of `entity` (of the record
    that `of` names) became `state`."""

    at: Expression | None = None
    state: str | None = None
    field: str = "status"
    entity: str | None = None
    of: Expression | None = None


@dataclass(frozen=True, slots=True)
class OtherPlan:
    """Ids that records of another entity name."""

    entity: str
    by: Expression
    where: Expression | None


@dataclass(frozen=True, slots=True)
class IndicatorPlan:
    """Everything that a computation needs. unit: number, share, hours or money, as far as it is known beforehand."""

    name: str
    document: Document
    indicator: Indicator
    where: Expression | None
    of: Expression | None
    value: Expression | None
    amount: Expression | None
    by: tuple[Expression, ...]
    causes: tuple[tuple[str, Expression], ...]
    since: Expression | None
    with_: OtherPlan | None
    without: OtherPlan | None
    per: OtherPlan | None
    age: MomentPlan | None
    begin: MomentPlan | None
    end: MomentPlan | None
    limit: Decimal | None
    """In the indicator's unit; times in hours."""

    @property
    def unit(self) -> str:
        one = self.indicator
        timed = one.measure in SPANS or (self.value is None and (self.begin is not None or self.age is not None))
        if timed and one.measure not in ("count", "sum", "share"):
            return "hours"
        return "share" if one.measure == "share" else "number"


def compile_indicator(document: Document, registry: Registry) -> IndicatorPlan:
    """Compile an indicator. Raises SpecError with every fault."""
    model: Indicator = document.model
    problems = Problems()
    shape = _shape(model, document, registry)

    def expression(text: str | None, *place: Any, inside: Shape = shape) -> Expression | None:
        if text is None:
            return None
        found = problems.tried(lambda: compile_expression(text, document.at(*place), shape=inside))
        return found if isinstance(found, Expression) else None

    def other(given: Without | None, place: str) -> OtherPlan | None:
        if given is None:
            return None
        inside = problems.tried(lambda: registry.shape(given.entity, document.at(place, "entity")))
        if inside is None:
            return None
        by = expression(given.by, place, "by", inside=inside)
        return OtherPlan(given.entity, by, expression(given.where, place, "where", inside=inside)) if by else None

    def moment(given: str | Moment | None, *place: Any, field: str | None = None) -> MomentPlan | None:
        return _moment(given, document, place, field, model.entity, expression)

    between = model.between or Between.model_validate({"from": ""})
    plan = IndicatorPlan(
        document.name, document, model,
        expression(model.where, "where"), expression(model.of, "of"), expression(model.value, "value"),
        expression(model.amount, "amount"),
        tuple(one for number, text in enumerate(model.by) if (one := expression(text, "by", number))),
        tuple((cause.name, one) for number, cause in enumerate(model.causes)
              if (one := expression(cause.when, "causes", number, "when"))),
        expression(model.window.field, "window", "field") if model.window else None,
        other(model.with_, "with"), other(model.without, "without"), other(model.per, "per"),
        moment(model.age, "age"),
        moment(between.from_ if model.between else None, "between", "from", field=between.field),
        moment(between.to, "between", "to", field=between.field),
        None,
    )  # fmt: skip
    problems.raise_any()
    return replace(plan, limit=_limit(plan, document.at("limit")))


def _shape(model: Indicator, document: Document, registry: Registry) -> Shape:
    """The rows that the indicator is over, as expressions see them."""
    if model.over == "records":
        assert model.entity is not None
        return registry.shape(model.entity, document.at("entity")).extended(BESIDE)
    schema = {"type": "object", "additionalProperties": False, "properties": ROWS[model.over]}
    return Shape(schema, {}, lambda entity: registry.schema(entity).bundle, f"a row of {model.over}")


def _moment(
    given: str | Moment | None, document: Document, place: tuple[Any, ...], field: str | None, entity: str | None,
    expression: Callable[..., Expression | None],
) -> MomentPlan | None:  # fmt: skip
    """A bare text is a state in `between` (field is given), and a path under `age`."""
    if given is None:
        return None
    if isinstance(given, str):
        if field is None:
            return MomentPlan(at=expression(given, *place))
        return MomentPlan(state=given, field=field, entity=entity)
    if given.at is not None:
        return MomentPlan(at=expression(given.at, *place, "at"))
    of = expression(given.of, *place, "of")
    return MomentPlan(state=given.enters, field=given.field, entity=given.entity or entity, of=of)


def _limit(plan: IndicatorPlan, at: Position) -> Decimal | None:
    """The limit in the indicator's unit. Raises SpecError where it is of another one."""
    limit, unit = plan.indicator.limit, plan.unit
    if limit is None:
        return None
    if isinstance(limit, timedelta):
        if unit == "hours":
            return Decimal(limit // timedelta(seconds=1)) / 3600
        raise SpecError(Problem("E380", f"the limit is a time, and the indicator a {unit}", at, "write a number"))
    text = str(plan.document.data.get("limit", ""))
    if unit == "hours":
        raise SpecError(
            Problem("E380", "the limit is a number, and the indicator a time", at, "write a time such as 3d or 4h")
        )
    if text.endswith("%") and unit != "share":
        raise SpecError(Problem("E380", "the limit is a percentage, and the indicator is no share", at,
                                "write a number, or `measure: share`"))  # fmt: skip
    return Decimal(limit)
