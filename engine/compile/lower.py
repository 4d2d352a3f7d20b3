"""The tree of an expression as one Python expression: null-safe, typed where a schema is known.

Temporaries are walrus targets with unique names; what iterates becomes a helper call with a lambda, because a
walrus may not stand in a comprehension's iterable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from engine.compile.functions import FunctionSet
from engine.compile.operators import flatten, index_of, order, project, project_values, select, slice_of, true
from engine.compile.shape import Shape, comparison_fault
from engine.sdk.errors import Position, Problem, SpecError, nearest
from engine.sdk.record import same

Node = dict[str, Any]
Typed = tuple[str, Shape | None]

_HELPERS: dict[str, Any] = {
    "_true": true,
    "_same": same,
    "_order": order,
    "_project": project,
    "_project_values": project_values,
    "_select": select,
    "_flatten": flatten,
    "_slice": slice_of,
    "_index": index_of,
}


@dataclass
class Unit:
    """What the expressions of one generated function share. certain: variables that always hold an object."""

    functions: FunctionSet | None = None
    namespace: dict[str, Any] = field(default_factory=lambda: dict(_HELPERS))
    reads: set[tuple[str, ...]] = field(default_factory=set)
    called: set[str] = field(default_factory=set)
    certain: frozenset[str] = frozenset()
    follows: bool = False
    counter: int = 0

    def name(self, stem: str = "t") -> str:
        self.counter += 1
        return f"_{stem}{self.counter}"

    def constant(self, value: Any) -> str:
        """Source of a literal, or a name for it."""
        if value is None or value is True or value is False or value.__class__ in (int, str):
            return repr(value)
        name = f"_k{len(self.namespace)}"
        self.namespace[name] = value
        return name


class Lowering:
    """Translates one tree. `at` is where the expression stands."""

    def __init__(self, unit: Unit, at: Position, shape: Shape | None) -> None:
        self.unit, self.at, self.shape = unit, at, shape
        self.functions = unit.functions or FunctionSet()

    def source(self, node: Node, cur: str) -> str:
        return self.lower(node, cur, self.shape)[0]

    def lower(self, node: Node, cur: str, shape: Shape | None) -> Typed:
        handler: Callable[[Node, str, Shape | None], Typed] = getattr(self, f"_{node['type']}")
        return handler(node, cur, shape)

    def bound(self, source: str) -> tuple[str, str]:
        """A name for a value, and the expression that gives it the value."""
        if source.isidentifier():
            return source, source
        name = self.unit.name()
        return name, f"({name} := {source})"

    def fault(self, code: str, message: str, hint: str) -> SpecError:
        return SpecError(Problem(code, message, self.at, hint))

    # ------------------------------------------------------------------ paths
    def _field(self, node: Node, cur: str, shape: Shape | None) -> Typed:
        name = node["value"]
        inner = None
        if shape is not None:
            inner = shape.child(name)
            if inner is None:
                raise self.fault("E210", f"{shape.title} has no field {name!r}", nearest(name, shape.names()))
        if cur in self.unit.certain:
            return f"{cur}.get({name!r})", inner
        bound, give = self.bound(cur)
        return f"({bound}.get({name!r}) if {give}.__class__ is dict else None)", inner

    def _subexpression(self, node: Node, cur: str, shape: Shape | None) -> Typed:
        first, *rest = node["children"]
        if shape is not None and first["type"] == "not_expression":
            raise self.fault("E213", "`!` takes only the name right behind it, so what follows its dot is always null",
                             "put the path in brackets: !(project.contract)")  # fmt: skip
        source, inner = self.lower(first, cur, shape)
        for child in rest:
            source, inner = self.followed(source, inner)
            source, inner = self.chained(child, source, inner)
        return source, inner

    def followed(self, source: str, shape: Shape | None) -> Typed:
        """Past a reference field: the record that it names."""
        if shape is None or not shape.ref:
            return source, shape
        self.unit.follows = True
        return f"env.follow({tuple(shape.ref)!r}, {source})", shape.referenced()

    def chained(self, child: Node, source: str, shape: Shape | None) -> Typed:
        """A child evaluated on a value."""
        if child["type"] == "field":
            return self._field(child, source, shape)
        name, give = self.bound(source)
        inner, result = self.lower(child, name, shape)
        return (inner if give == name else f"({give}, {inner})[1]"), result

    def _pipe(self, node: Node, cur: str, shape: Shape | None) -> Typed:
        source, inner = self.lower(node["children"][0], cur, shape)
        return self.chained(node["children"][1], source, inner)

    def _index_expression(self, node: Node, cur: str, shape: Shape | None) -> Typed:
        source, inner = self.lower(node["children"][0], cur, shape)
        for child in node["children"][1:]:
            source, inner = self.chained(child, source, inner)
        return source, inner

    def _index(self, node: Node, cur: str, shape: Shape | None) -> Typed:
        return f"_index({cur}, {node['value']})", shape.element() if shape else None

    def _slice(self, node: Node, cur: str, shape: Shape | None) -> Typed:
        start, stop, step = node["children"]
        if step == 0:
            raise self.fault("E202", "a slice cannot step by 0", "write a step other than 0")
        return f"_slice({cur}, {start}, {stop}, {step})", shape

    def _current(self, node: Node, cur: str, shape: Shape | None) -> Typed:
        return cur, shape

    _identity = _current

    def _projection(self, node: Node, cur: str, shape: Shape | None) -> Typed:
        return self.over("_project", node, cur, shape, lambda one: one.element())

    def _value_projection(self, node: Node, cur: str, shape: Shape | None) -> Typed:
        return self.over("_project_values", node, cur, None, lambda one: None)

    def over(self, helper: str, node: Node, cur: str, shape: Shape | None, inside: Any) -> Typed:
        source, inner = self.lower(node["children"][0], cur, shape)
        name = self.unit.name("e")
        element = inside(inner) if inner else None
        body, result = self.lower(node["children"][1], name, element)
        listed = result.as_list() if result else None
        return f"{helper}({source}, {'None' if body == name else f'lambda {name}: {body}'})", listed

    def _filter_projection(self, node: Node, cur: str, shape: Shape | None) -> Typed:
        source, inner = self.lower(node["children"][0], cur, shape)
        name = self.unit.name("e")
        element = inner.element() if inner else None
        body, result = self.lower(node["children"][1], name, element)
        test, _ = self.lower(node["children"][2], name, element)
        listed = result.as_list() if result else None
        return f"_select({source}, lambda {name}: {test}, lambda {name}: {body})", listed

    def _flatten(self, node: Node, cur: str, shape: Shape | None) -> Typed:
        source, inner = self.lower(node["children"][0], cur, shape)
        return f"_flatten({source})", inner.flattened() if inner else None

    # ------------------------------------------------------------------ logic
    def _or_expression(self, node: Node, cur: str, shape: Shape | None) -> Typed:
        left, kind = self.lower(node["children"][0], cur, shape)
        right, _ = self.lower(node["children"][1], cur, shape)
        name, give = self.bound(left)
        return f"({name} if _true({give}) else {right})", kind

    def _and_expression(self, node: Node, cur: str, shape: Shape | None) -> Typed:
        left, _ = self.lower(node["children"][0], cur, shape)
        right, _ = self.lower(node["children"][1], cur, shape)
        name, give = self.bound(left)
        return f"({right} if _true({give}) else {name})", None

    def _not_expression(self, node: Node, cur: str, shape: Shape | None) -> Typed:
        return f"(not _true({self.lower(node['children'][0], cur, shape)[0]}))", None

    def _comparator(self, node: Node, cur: str, shape: Shape | None) -> Typed:
        first, second = node["children"]
        left, left_shape = self.lower(first, cur, shape)
        right, right_shape = self.lower(second, cur, shape)
        for one, other in ((left_shape, second), (right_shape, first)):
            literal = other["value"] if other["type"] == "literal" else ...
            fault = comparison_fault(one, literal, node["value"])
            if fault:
                raise self.fault(*fault)
        if node["value"] not in ("eq", "ne"):
            return f"_order({left}, {right}, {node['value']!r})", None
        for literal, source in ((first, right), (second, left)):
            if literal["type"] == "literal" and (literal["value"] is None or literal["value"].__class__ in (bool, str)):
                value = literal["value"]
                if value.__class__ is str:
                    return f"({source} {'==' if node['value'] == 'eq' else '!='} {value!r})", None
                return f"({source} {'is' if node['value'] == 'eq' else 'is not'} {value!r})", None
        return f"{'' if node['value'] == 'eq' else 'not '}_same({left}, {right})".join(("(", ")")), None

    # ------------------------------------------------------------------ values
    def _literal(self, node: Node, cur: str, shape: Shape | None) -> Typed:
        return self.unit.constant(node["value"]), None

    def _multi_select_list(self, node: Node, cur: str, shape: Shape | None) -> Typed:
        name, give = self.bound(cur)
        items = ", ".join(self.lower(child, name, shape)[0] for child in node["children"])
        return f"([{items}] if {give} is not None else None)", None

    def _multi_select_dict(self, node: Node, cur: str, shape: Shape | None) -> Typed:
        name, give = self.bound(cur)
        items = ", ".join(
            f"{child['value']!r}: {self.lower(child['children'][0], name, shape)[0]}" for child in node["children"]
        )
        return f"({{{items}}} if {give} is not None else None)", None

    def _expref(self, node: Node, cur: str, shape: Shape | None) -> Typed:
        name = self.unit.name("e")
        return f"(lambda {name}: {self.lower(node['children'][0], name, None)[0]})", None

    def _function_expression(self, node: Node, cur: str, shape: Shape | None) -> Typed:
        name, children = node["value"], node["children"]
        function = self.functions.get(name)
        if function is None:
            raise self.fault("E271", f"there is no function {name!r}", nearest(name, self.functions.names()))
        fault = function.arity_fault(len(children))
        if fault:
            raise self.fault("E272", fault, f"write {function.signature}")
        self.unit.called.add(name)
        arguments = [self.lower(child, cur, shape) for child in children]
        for number, child in enumerate(children):
            if (child["type"] == "expref") != function.takes_expression(number):
                wanted = "an expression such as &name" if function.takes_expression(number) else "a value"
                raise self.fault("E272", f"{name}() takes {wanted} here", f"write {function.signature}")
        sources = [source for source, _ in arguments]
        if function.env:
            sources.insert(0, "env")
        result = arguments[0][1] if function.keeps_shape and arguments else None
        if name == "if_else":  # a reference, or nothing, is still a reference
            result = next((kind for _, kind in arguments[1:] if kind is not None and kind.ref), None)
        return f"{self.unit.constant(function.call)}({', '.join(sources)})", result


__all__ = ["Decimal", "Lowering", "Unit"]
