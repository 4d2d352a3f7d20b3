"""Business indicators: computed in one pass over the rows that they are about, judged against their limits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from engine.compile.functions import FunctionFault
from engine.compile.indicator import IndicatorPlan, MomentPlan, OtherPlan, compile_indicator
from engine.compile.operators import true
from engine.run.connectors import Connectors
from engine.run.events import Routes
from engine.run.expectations import Verdict, settle
from engine.run.measures import Tally, figure, rounded, shown
from engine.run.runner import Runner
from engine.run.session import Options, Session
from engine.sdk.errors import Problem, SpecError
from engine.sdk.record import JSON, Fields, decode_json
from engine.spec.workspace import Workspace
from engine.state import canonical, indicators, runs
from engine.state.store import Store, Tx, moment_of

OTHER = "other"
"""The cause of what none of the causes explains."""
GROUPS = 20
"""Groups that are told, the largest first."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row that counts, for people who ask which. hours: its age or time; None where it has none."""

    id: str
    hours: Decimal | None
    cause: str | None
    amount: JSON
    record: Fields


@dataclass(slots=True)
class Value:
    """An indicator as it is now. value: in its unit; None where there is nothing to measure. groups: (values, tally)."""

    plan: IndicatorPlan
    value: Decimal | None
    unit: str
    tally: Tally
    over: bool
    causes: dict[str, Tally]
    groups: list[tuple[list[JSON], Tally]]
    rows: list[Row]
    error: Problem | None = None
    """Why there is no value, where it cannot be computed."""

    def told(self) -> Fields:
        """As commands print it."""
        one, plan = self.plan.indicator, self.plan
        limit = None if plan.limit is None else str(plan.document.data["limit"])
        groups = [
            {
                "by": dict(zip(one.by, values, strict=True)),
                "count": tally.count,
                "amount": tally.amounts,
                "value": None if one.measure == "share" else figure(one.measure, tally, None, valued=True),
            }
            for values, tally in self.groups
        ]
        causes = [{"cause": name, "count": tally.count, "amount": tally.amounts} for name, tally in self.causes.items()]
        return {
            "indicator": plan.name, "title": one.title or plan.name, "value": self.value, "unit": self.unit,
            "count": self.tally.count, "amount": self.tally.amounts, "limit": limit, "over": self.over,
            "owner": one.owner, "dashboards": one.dashboards, "causes": causes, "groups": groups,
            "error": self.error and {"code": self.error.code, "message": str(self.error), "at": str(self.error.at)},
        }  # fmt: skip


def compute(session: Session, plan: IndicatorPlan, *, keep: int = 0) -> Value:
    """One indicator, in a reading transaction of the session. keep: rows to hold on to, the oldest first.

    Raises SpecError E381 where an expression cannot be evaluated for a row: a figure that leaves rows out would lie.
    """
    return _Computation(session, plan).value(keep)


class _Computation:
    """What a pass over the rows needs."""

    def __init__(self, session: Session, plan: IndicatorPlan) -> None:
        self.session, self.plan, self.tx = session, plan, session.tx
        self.now = moment_of(self.tx.now()) if session.options.now is None else session.options.now
        self.named_by = _named(session, plan.with_) if plan.with_ else None
        self.named_not = _named(session, plan.without) if plan.without else None
        self._entered: dict[tuple[str, str, str], dict[str, str]] = {}

    def value(self, keep: int) -> Value:
        plan, one = self.plan, self.plan.indicator
        whole, part = Tally(), Tally()
        causes: dict[str, Tally] = {name: Tally() for name, _ in plan.causes}
        groups: dict[str, tuple[list[JSON], Tally]] = {}
        rows: list[Row] = []
        for row in self._rows():
            measured = self._measure(row)
            if one.measure == "share":
                if not self._holds(plan.of, row):
                    continue
                whole.add(None, measured)
            if not self._holds(plan.where, row) or (measured is None and plan.unit == "hours"):
                continue
            amount = self._ask(plan.amount, row)
            part.add(amount, measured)
            cause = self._cause(row)
            if cause is not None:
                causes.setdefault(cause, Tally()).add(amount, None)
            if plan.by:
                values = [self._ask(expression, row) for expression in plan.by]
                groups.setdefault(repr(values), (values, Tally()))[1].add(amount, measured)
            if keep:
                hours = measured if plan.unit == "hours" else self._hours(plan.age, None, row)
                rows.append(Row(str(row.get("id", "")), hours, cause, amount, row))
        value, unit = self._figure(part, whole)
        told = sorted(groups.values(), key=lambda group: -group[1].count)[:GROUPS]
        rows = sorted(rows, key=lambda row: -(row.hours or 0))[:keep]
        causes = {name: tally for name, tally in causes.items() if tally.count}
        return Value(plan, value, unit, part, self._over(value), causes, told, rows)

    def _rows(self) -> Iterator[Fields]:
        """The rows within the window, records with what is known beside them."""
        plan, one = self.plan, self.plan.indicator
        for row in self._records(str(one.entity)) if one.over == "records" else self._others(one.over):
            if plan.since is not None and one.window is not None:
                moment = self._instant(self._ask(plan.since, row))
                if moment is None or moment < self.now - one.window.last:
                    continue
            id = row.get("id")
            if self.named_by is not None and id not in self.named_by:
                continue
            if self.named_not is not None and id in self.named_not:
                continue
            yield row

    def _records(self, entity: str) -> Iterator[Fields]:
        read = {path[0] for path in self._reads() if path}
        beside: dict[str, Any] = {
            "exceptions": indicators.troubles(self.tx, entity) if "exceptions" in read else {},
            "instances": indicators.instances(self.tx, entity) if "instances" in read else {},
            "held_in": indicators.holders(self.tx, entity) if "held_in" in read else {},
        }
        for stored in canonical.scan(self.tx, entity):
            if not stored.deleted:
                row: Fields = decode_json(stored.data)
                row["id"] = stored.id
                for name, known in beside.items():
                    row[name] = known.get(stored.id, [])
                yield row

    def _reads(self) -> Iterator[tuple[str, ...]]:
        plan = self.plan
        named = (plan.where, plan.of, plan.value, plan.amount, plan.since, *plan.by, *(one for _, one in plan.causes))
        for expression in named:
            yield from expression.reads if expression is not None else ()

    def _others(self, over: str) -> Iterator[Fields]:
        for row in indicators.rows(self.tx, over):
            if over in ("exceptions", "processes"):
                entity, id = row.get("entity"), row.get("canonical_id")
                row["record"] = self.session.env.record(entity, id) if entity and id else None
            yield row

    def _measure(self, row: Fields) -> JSON:
        plan = self.plan
        if plan.value is not None:
            return self._ask(plan.value, row)
        if plan.indicator.between is not None:
            return self._hours(plan.begin, plan.end, row)
        if plan.age is not None and plan.unit == "hours":
            return self._hours(plan.age, None, row)
        return 1 if plan.indicator.measure in ("count", "share") else None

    def _hours(self, begin: MomentPlan | None, end: MomentPlan | None, row: Fields) -> Decimal | None:
        """From one moment to another, or until now; None where one of them has not come, or they came the other way."""
        if begin is None:
            return None
        first, last = self._moment(begin, row), self.now if end is None else self._moment(end, row)
        if first is None or last is None or last < first:
            return None
        return Decimal((last - first) // timedelta(microseconds=1)) / 3_600_000_000

    def _moment(self, plan: MomentPlan, row: Fields) -> datetime | None:
        if plan.at is not None:
            return self._instant(self._ask(plan.at, row))
        place = (str(plan.entity), plan.field, str(plan.state))
        if place not in self._entered:
            self._entered[place] = indicators.entered(self.tx, *place)
        id = self._ask(plan.of, row) if plan.of is not None else row.get("id")
        return self._instant(self._entered[place].get(str(id)))

    def _instant(self, text: JSON) -> datetime | None:
        if not isinstance(text, str):
            return None
        try:
            moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        except ValueError:
            return None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def _cause(self, row: Fields) -> str | None:
        if not self.plan.causes:
            return None
        return next((name for name, when in self.plan.causes if self._holds(when, row)), OTHER)

    def _holds(self, expression: Any, row: Fields) -> bool:
        return expression is None or true(self._ask(expression, row))

    def _ask(self, expression: Any, row: Fields) -> JSON:
        if expression is None:
            return None
        self.session.env.root = row
        try:
            return expression.evaluate(row, self.session.env)
        except FunctionFault as fault:
            raise SpecError(Problem("E381", f"{self.plan.name} cannot be computed for {row.get('id', 'a row')}: {fault}",
                                    expression.at, "leave such rows out with `where`")) from None  # fmt: skip

    def _figure(self, part: Tally, whole: Tally) -> tuple[Decimal | None, str]:
        """The value and its unit; a currency where the values are money of one."""
        plan, measure = self.plan, self.plan.indicator.measure
        currencies = part.currencies | whole.currencies
        if len(currencies) > 1:
            raise SpecError(Problem("E381", f"{plan.name} cannot be computed: it adds {' and '.join(sorted(currencies))}",
                                    plan.document.at("value"), "convert them first: money_convert(amount, 'EUR')"))  # fmt: skip
        unit = plan.unit if plan.unit != "number" or not currencies else next(iter(currencies))
        told = figure(measure, part, whole, valued=plan.value is not None)
        if plan.per is not None and told is not None:
            others = len(_named(self.session, plan.per))
            told = rounded(told / others) if others else None
        return told, unit

    def _over(self, value: Decimal | None) -> bool:
        limit = self.plan.limit
        if limit is None or value is None:
            return False
        return value > limit if self.plan.indicator.direction == "above" else value < limit


def _named(session: Session, plan: OtherPlan) -> set[str]:
    """Ids that records of an entity name."""
    found: set[str] = set()
    for stored in canonical.scan(session.tx, plan.entity):
        if stored.deleted:
            continue
        row: Fields = decode_json(stored.data)
        row["id"] = stored.id
        session.env.root = row
        if plan.where is None or true(plan.where.evaluate(row, session.env)):
            value = plan.by.evaluate(row, session.env)
            found |= {str(one) for one in (value if isinstance(value, list) else [value]) if one is not None}
    return found


# ---------------------------------------------------------------------- all of them
def relevant(tx: Tx, workspace: Workspace) -> list[str]:
    """The workspace's own indicators, and those of the library about what its flows bring: its own, and those that ran."""
    own, known = set(workspace.names("indicator", own=True)), set(workspace.names("flow"))
    flows = {*workspace.names("flow", own=True), *(known & set(runs.flows(tx)))}
    filled = {workspace.document("flow", name).model.entity for name in flows}
    models = {name: workspace.document("indicator", name).model for name in workspace.names("indicator")}
    return [name for name, one in models.items() if name in own or (filled and one.entity in (None, *filled))]


def judge(
    store: Store, workspace: Workspace, names: list[str], *, now: datetime | None = None, keep: int = 0
) -> list[Value]:
    """Compute indicators in one consistent view, note their values, and open or close the alerts of their limits."""
    registry = Runner(workspace, store).registry()
    session = Session(workspace, store, registry, Connectors(workspace), "", Options(now=now))
    values = []
    with session.reading():
        for name in names:
            plan = compile_indicator(workspace.document("indicator", name), registry)
            try:
                values.append(compute(session, plan, keep=keep))
            except SpecError as error:
                values.append(Value(plan, None, plan.unit, Tally(), False, {}, [], [], error.problems[0]))
    with store.begin("indicators") as tx:
        for value in values:
            if value.error is None:
                _note(tx, session.routes, value)
    return values


def _note(tx: Tx, routes: Routes, value: Value) -> None:
    plan = value.plan
    indicators.keep(tx, plan.name, value.value, value.tally.count, value.tally.amounts, value.over)
    subject = f"indicator/{plan.name}"
    verdict = Verdict("limit", not value.over, shown(value.value, value.unit))
    settle(tx, routes, subject, verdict, plan.document.data.get("limit"))
