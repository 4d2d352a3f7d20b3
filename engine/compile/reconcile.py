"""A reconciliation bound for one run: its sides with their mappings, the fields that are compared, totals, window, key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from engine.compile.compared import SPOKEN, Compared, FieldPlan, gives, paths_of
from engine.compile.comparison import Leaf
from engine.compile.expression import Expression, compile_expression
from engine.compile.heal import heal_faults, mendings
from engine.compile.registry import Registry
from engine.compile.schema import CompiledSchema
from engine.compile.shape import Shape
from engine.compile.sync import Describe, SyncPlan, compile_sync, printable
from engine.sdk.errors import Problems, nearest
from engine.sdk.record import digest
from engine.spec.load import Document
from engine.spec.reconcile import HealFlow, ReconcileFlow, Side
from engine.spec.sync import SyncFlow


@dataclass(frozen=True, slots=True)
class SidePlan:
    """One side. intake: how its records are read and mapped; None: canonical records as they are kept.

    leaves: the compared fields that it gives, as positions in the plan's. group: name → expression of a group's key.
    expected: which records the other sides must have.
    """

    name: str
    connection: str
    role: str
    intake: SyncPlan | None
    where: Expression | None
    leaves: frozenset[int]
    group: Mapping[str, Expression] = field(default_factory=dict)
    sums: tuple[str, ...] = ()
    expected: Expression | None = None

    @property
    def object(self) -> str:
        """The system's object that it reads; empty for the canonical store."""
        return (self.intake.source.mapping.model.object or "") if self.intake is not None else ""


@dataclass(frozen=True, slots=True)
class TotalPlan:
    """A control total. value: what is added up; None: records are counted. money: it comes with its currency."""

    name: str
    value: Expression | None
    by: tuple[Expression, ...]
    money: bool = False


@dataclass(slots=True)
class ReconcilePlan:
    """Everything that a run of one reconciliation needs, fixed at its start. logic: digest of the resolved documents.

    key: leaves that records are joined by; empty: by their links.
    """

    name: str
    document: Document
    flow: ReconcileFlow
    schema: CompiledSchema
    sides: tuple[SidePlan, ...]
    fields: tuple[FieldPlan, ...]
    key: tuple[Leaf, ...]
    window: Expression | None
    amount: Expression | None
    totals: tuple[TotalPlan, ...]
    logic: bytes = b""
    documents: Mapping[str, Any] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether every side gives every compared field."""
        return all(len(side.leaves) == len(self.fields) for side in self.sides)


def compile_reconcile(document: Document, registry: Registry, describe: Describe | None) -> ReconcilePlan:
    """Compile a reconciliation. Raises SpecError with every fault found in it and in what it names."""
    flow: ReconcileFlow = document.model
    problems = Problems()
    shape = problems.tried(lambda: registry.shape(flow.entity, document.at("entity")))
    problems.raise_any()
    schema = registry.schema(flow.entity)
    binder = _Binder(document, registry, describe, shape, problems)
    intakes = {
        name: problems.tried(lambda n=name, s=side: binder.intake(n, s)) for name, side in flow.all_sides().items()
    }
    problems.raise_any()
    given = {name: binder.given(side, intakes[name]) for name, side in flow.all_sides().items()}
    fields = binder.compared.fields(given, binder.keys())
    key = binder.key()
    binder.heals()
    window = binder.expression(flow.window.field, "window", "field") if flow.window is not None else None
    if window is not None:
        binder.dated(window)
        binder.everywhere(window, given, ("window", "field"))
    totals = tuple(binder.total(number) for number in range(len(flow.totals)))
    for number, total in enumerate(totals):
        for place, one in ((("sum",), total.value), *((("by", nth), by) for nth, by in enumerate(total.by))):
            if one is not None:
                binder.everywhere(one, given, ("totals", number, *place))
    amount = binder.amount(totals, fields)
    sides = [problems.tried(lambda n=name, s=side: binder.side(n, s, intakes[n], given[n], fields))
             for name, side in flow.all_sides().items()]  # fmt: skip
    problems.raise_any()
    plan = ReconcilePlan(
        document.name, document, flow, schema, tuple(sides), tuple(fields), key, window, amount, totals
    )
    plan.documents = printable(_documents(plan, registry))
    plan.logic = digest(plan.documents)
    for side in plan.sides:
        if side.intake is not None:
            side.intake.logic = plan.logic
    return plan


def _documents(plan: ReconcilePlan, registry: Registry) -> dict[str, Any]:
    """The resolved documents that decide what the flow does, by `kind/name`."""
    found = {f"flow/{plan.name}": plan.document.data, f"schema/{plan.schema.entity}": plan.schema.bundle}
    for (kind, name), document in registry.asked.items():
        if kind in ("schema", "mapping"):
            found.setdefault(f"{kind}/{name}", document.data)
    for name, table in registry.used_tables().items():
        found[f"table/{name}"] = [list(table.columns), [dict(row) for row in table.rows]]
    return found


class _Binder:
    """Binds the parts of one reconciliation; every fault goes to `problems`."""

    def __init__(
        self, document: Document, registry: Registry, describe: Describe | None, shape: Shape, problems: Problems
    ) -> None:
        self.document, self.registry, self.describe = document, registry, describe
        self.shape, self.problems = shape, problems
        self.flow: ReconcileFlow = document.model
        self.compared = Compared(document, shape, problems)

    def expression(self, text: str, *place: Any) -> Expression | None:
        at = self.document.at(*place)
        found: Expression | None = self.problems.tried(lambda: compile_expression(text, at, shape=self.shape))
        return found

    # ------------------------------------------------------------------ sides
    def intake(self, name: str, side: Side) -> SyncPlan | None:
        """The side's source as a sync flow without targets: the same reading and mapping."""
        if side.mapping is None:
            return None
        place = self.flow.place(name)
        data = {
            "flow": self.document.name, "kind": "sync", "entity": self.flow.entity, "targets": [],
            "source": {"connection": side.connection, "mapping": side.mapping, "query": side.query, "incremental": False},
            "policy": self.document.data.get("policy", {}), "store": "none",
        }  # fmt: skip
        inner = replace(
            self.document, model=SyncFlow.model_validate(data), positions=self.document.positions.below("source", place)
        )
        return compile_sync(inner, self.registry, self.describe)

    def given(self, side: Side, intake: SyncPlan | None) -> set[str]:
        """Dotted canonical paths that a side gives; a path that ends at an object gives all of it."""
        if side.group is not None:
            return {*side.groups(), *(side.sum or ())}
        if intake is None:
            return set(self.shape.names()) - {"id"}
        model = intake.source.mapping.model
        found: set[str] = set()
        for rules in (model.fields, model.inbound or {}):
            for name, rule in rules.items():
                found |= set(paths_of(name, rule))
        return found - {"id"}

    def side(
        self, name: str, side: Side, intake: SyncPlan | None, given: set[str], fields: list[FieldPlan]
    ) -> SidePlan:
        place = self.flow.place(name)
        where = self.expression(side.where, *place, "where") if side.where else None
        expected = self.expression(side.expected, *place, "expected") if side.expected else None
        group = {}
        for number, (part, text) in enumerate(side.groups().items()):
            at = (*place, "group", part) if isinstance(side.group, dict) else (*place, "group", number)
            group[part] = self.expression(text, *at)
        for number, path in enumerate(side.sum or ()):
            self.compared.leaf(path, (*place, "sum", number))
        role = "canonical"
        if side.connection != "canonical":
            role = self.registry.workspace.connection(side.connection, self.document.at(*place, "connection")).role
        leaves = frozenset(number for number, one in enumerate(fields) if gives(given, one.leaf.path))
        return SidePlan(name, side.connection, role, intake, where, leaves, group, tuple(side.sum or ()), expected)  # type: ignore[arg-type]

    # ------------------------------------------------------------------ key, window, totals
    def keys(self) -> list[str]:
        """The paths that records are joined by; none: their links. Groups are joined by what they are grouped by."""
        grouped = [tuple(side.groups()) for side in self.flow.all_sides().values() if side.group is not None]
        if self.flow.key != "links":
            return list(self.flow.key)
        return list(grouped[0]) if grouped else []

    def key(self) -> tuple[Leaf, ...]:
        """The key as leaves; text rules of `compare` hold for it too."""
        paths = self.keys()
        for name, side in self.flow.all_sides().items():
            if side.group is not None and list(side.groups()) != paths:
                at = self.document.at(*self.flow.place(name), "group")
                self.problems.add("E393", f"groups by {', '.join(side.groups())}, and the sides are joined by {', '.join(paths)}",
                                  at, "group by what `key` names, in its order")  # fmt: skip
        named = {
            part for side in self.flow.all_sides().values() for part in side.groups() if isinstance(side.group, dict)
        }
        found = []
        for number, path in enumerate(paths):
            leaf = (
                Leaf(path, "plain")
                if path in named and self.shape.at(path) is None
                else self.compared.leaf(path, ("key", number))
            )
            if leaf is not None:
                found.append(leaf)
        return tuple(found)

    def dated(self, window: Expression) -> None:
        """A window is of days or instants."""
        kind = window.gives.comparison if window.gives is not None else "date"
        if kind not in ("date", "instant", "plain"):
            self.problems.add("E394", f"{window.text!r} is {SPOKEN[kind]}, and a window is of days", window.at,
                              "name a date or an instant of the entity")  # fmt: skip

    def everywhere(self, one: Expression, given: dict[str, set[str]], place: tuple[Any, ...]) -> None:
        """A total or a window that reads what a side never gives would find a difference in every record."""
        for name, paths in given.items():
            tops = {path.split(".")[0] for path in paths} | {"id"}
            lacking = next((path[0] for path in sorted(one.reads) if path and path[0] not in tops), None)
            if lacking is not None:
                self.problems.add("E391", f"{lacking!r} is not given by {name}", self.document.at(*place),
                                  "name a field that every side's mapping gives, or give it there")  # fmt: skip

    def total(self, number: int) -> TotalPlan:
        """One control total. An amount is added up by its currency, named or not."""
        given, place = self.flow.totals[number], ("totals", number)
        text = given.sum
        money = False
        if text is not None:
            parent = self.shape.at(text.rpartition(".")[0]) if text.endswith(".amount") else None
            whole = self.shape.at(text)
            if parent is not None and parent.comparison == "money":
                text, money = text.rpartition(".")[0], True
            elif whole is not None and whole.comparison == "money":
                money = True
            elif whole is not None and whole.comparison not in ("number", "plain"):
                self.problems.add("E395", f"{given.sum!r} is {SPOKEN[whole.comparison]}, and cannot be added up",
                                  self.document.at(*place, "sum"), "name a number or an amount")  # fmt: skip
        value = self.expression(text, *place, "sum") if text is not None else None
        dims = [one for one in given.by if not (money and one == f"{text}.currency")]
        by = [self.expression(one, *place, "by", given.by.index(one)) for one in dims]
        name = f"sum of {given.sum}" if given.sum else "records"
        name = f"{name} by {', '.join(given.by)}" if given.by else name
        return TotalPlan(name, value, tuple(one for one in by if one is not None), money)

    def amount(self, totals: tuple[TotalPlan, ...], fields: list[FieldPlan]) -> Expression | None:
        """What money is at stake in a record."""
        if self.flow.amount is not None:
            shape = self.shape.at(self.flow.amount)
            if shape is not None and shape.comparison not in ("money", "plain"):
                self.problems.add("E395", f"{self.flow.amount!r} is {SPOKEN[shape.comparison]}, and no amount",
                                  self.document.at("amount"), "name a field with an amount and a currency")  # fmt: skip
            return self.expression(self.flow.amount, "amount")
        for one in totals:
            if one.money:
                return one.value
        named = next((one.leaf.path for one in fields if one.leaf.kind == "money"), None)
        return self.expression(named, "compare", named) if named is not None else None

    # ------------------------------------------------------------------ heal
    def heals(self) -> None:
        """Actions are ones that the sides can do; flows that mend are sync flows of the entity; named sides are sides."""
        heal, document = self.flow.heal, self.document
        for name in heal.missing:
            if name not in self.flow.all_sides():
                self.problems.add("E101", f"there is no side {name!r}", document.key_at("heal", "missing", name),
                                  nearest(name, self.flow.all_sides()))  # fmt: skip
        for place, mending in mendings(heal):
            if isinstance(mending, HealFlow):
                self._heal_flow(mending.flow, ("heal", *place, "flow"))
        heal_faults(document, self.registry, self.problems)

    def _heal_flow(self, name: str, place: tuple[Any, ...]) -> None:
        at = self.document.at(*place)
        found = self.problems.tried(lambda: self.registry.document("flow", name, at))
        if found is None:
            return
        if not isinstance(found.model, SyncFlow):
            self.problems.add("E396", f"{name!r} is no sync flow", at, "name one that sends the records in question")
        elif found.model.entity != self.flow.entity:
            self.problems.add("E396", f"{name!r} is for {found.model.entity!r}, the reconciliation for {self.flow.entity!r}",
                              at, f"name a sync flow of {self.flow.entity!r}")  # fmt: skip
