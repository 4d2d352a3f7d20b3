"""Which fields a reconciliation compares, and how: by the schema, and by what the flow says of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from engine.compile.comparison import Leaf
from engine.compile.shape import Shape
from engine.sdk.errors import Problems, nearest
from engine.spec.load import Document
from engine.spec.reconcile import Comparison, ReconcileFlow


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """A compared field. top: the field of the record that it lies in."""

    leaf: Leaf
    top: str


class Compared:
    """Binds the compared fields of one reconciliation; every fault goes to `problems`."""

    def __init__(self, document: Document, shape: Shape, problems: Problems) -> None:
        self.document, self.shape, self.problems = document, shape, problems
        self.flow: ReconcileFlow = document.model

    def fields(self, given: dict[str, set[str]], joined: Sequence[str]) -> list[FieldPlan]:
        """Every field that two sides give at least, and that nobody leaves out; keys are equal anyway."""
        flow, document = self.flow, self.document
        counted = [path for paths in given.values() for path in _expanded(paths, self.shape)]
        both = [path for path in dict.fromkeys(counted) if sum(gives(paths, path) for paths in given.values()) > 1]
        keys = set(joined)
        left_out = [*flow.ignore, *keys]
        for key in ("ignore", "only"):
            for number, path in enumerate(getattr(flow, key) or ()):
                self._known(path, both, keys, (key, number))
        for path in flow.compare:
            self._known(path, both, keys, ("compare", path))
        paths = [path for path in both if not any(_within(path, one) for one in left_out)]
        if flow.only is not None:
            paths = [path for path in paths if any(_within(path, one) for one in flow.only)]
        if not paths and not keys:
            self.problems.add("E390", "the sides have no field in common that could be compared", document.at("entity"),
                              "see which fields both mappings give: crosswalk mapping coverage")  # fmt: skip
        found = [self.leaf(path, ("compare", path)) for path in paths]
        return [FieldPlan(leaf, leaf.path.split(".")[0]) for leaf in found if leaf is not None]

    def _known(self, path: str, both: list[str], keys: set[str], place: tuple[Any, ...]) -> None:
        """A path that is named is one that is compared, or lies within one, or holds some."""
        if any(_within(path, one) or _within(one, path) for one in [*both, *keys]):
            return
        names = sorted({*both, *keys})
        hint = nearest(path, names) or f"compared are {', '.join(names)}"
        self.problems.add("E391", f"{path!r} is not given by two sides", self.document.key_at(*place), hint)

    def leaf(self, path: str, place: tuple[Any, ...]) -> Leaf | None:
        """How one field is compared, by the schema and by `compare`."""
        shape = self.shape.at(path)
        if shape is None:
            hint = nearest(path, self.shape.names())
            self.problems.add("E391", f"{self.shape.title} has no field {path!r}", self.document.at(*place), hint)
            return None
        return self._bound(path, path, shape)

    def _bound(self, path: str, here: str, shape: Shape) -> Leaf:
        """path: as `compare` names it. here: within the record or element."""
        rule = self.flow.compare.get(path, Comparison())
        kind = shape.comparison
        if kind == "elements":
            return self._elements(path, here, shape, rule)
        if kind in ("list", "set") and rule.unordered is not None:
            kind = "set" if rule.unordered else "list"
        self._fits(path, kind, rule)
        return Leaf(here, kind, rule)

    def _elements(self, path: str, here: str, shape: Shape, rule: Comparison) -> Leaf:
        """A list of objects: its keys, and what is compared of each element."""
        element = shape.element()
        names = [rule.key] if isinstance(rule.key, str) else rule.key or []
        self._fits(path, "elements", rule)
        keys = []
        for name in names:
            child = element.at(name)
            if child is None:
                at = self.document.at("compare", path, "key")
                self.problems.add(
                    "E391", f"an element of {path!r} has no field {name!r}", at, nearest(name, element.names())
                )
                continue
            keys.append(self._bound(f"{path}.{name}", name, child))
        inner = [
            self._bound(f"{path}.{name}", name, child)
            for name in element.names()
            if name not in names and f"{path}.{name}" not in self.flow.ignore
            and (child := element.child(name)) is not None
        ]  # fmt: skip
        return Leaf(here, "elements", rule, tuple(inner), tuple(keys))

    def _fits(self, path: str, kind: str, rule: Comparison) -> None:
        """Tolerances and text rules are for values that can have them."""
        days = rule.tolerance is not None and not hasattr(rule.tolerance, "quantize")
        faults = {
            "tolerance": rule.tolerance is not None and kind not in (("date", "instant") if days else ("number", "money", "plain")),
            "text": rule.text is not None and kind not in ("text", "list", "set", "plain"),
            "alike": bool(rule.alike) and kind not in ("text", "list", "set"),
            "key": rule.key is not None and kind != "elements",
            "unordered": rule.unordered is not None and kind not in ("list", "set"),
        }  # fmt: skip
        hints = {
            "tolerance": "numbers and amounts take a number, dates and instants a time such as 1d",
            "text": "text and lists of text take it", "alike": "text and lists of text take it",
            "key": "lists of objects take it", "unordered": "lists of values take it",
        }  # fmt: skip
        for name, wrong in faults.items():
            if wrong:
                at = self.document.at("compare", path, name)
                self.problems.add("E392", f"{path!r} is {SPOKEN[kind]}, and takes no such `{name}`", at, hints[name])


SPOKEN = {
    "text": "text", "number": "a number", "money": "an amount", "date": "a date", "instant": "an instant", "list": "a list",
    "set": "a list", "elements": "a list of objects", "object": "an object", "boolean": "true or false", "plain": "of any type",
}  # fmt: skip


def paths_of(name: str, rule: Any) -> Iterator[str]:
    """The canonical paths that a rule gives: those of its nested rules, else its own."""
    if rule.fields and rule.each is None:
        for inner, one in rule.fields.items():
            yield from paths_of(f"{name}.{inner}", one)
    else:
        yield name


def _expanded(paths: set[str], shape: Shape) -> list[str]:
    """Paths as leaves: an object with named fields is compared field by field."""
    found: list[str] = []
    for path in sorted(paths):
        inner = shape.at(path)
        if inner is not None and inner.comparison == "object" and inner.names():
            found += _expanded({f"{path}.{name}" for name in inner.names()}, shape)
        else:
            found.append(path)
    return found


def _within(path: str, other: str) -> bool:
    """Whether a path is the other one or lies below it."""
    return path == other or path.startswith(f"{other}.")


def gives(given: set[str], path: str) -> bool:
    return any(_within(path, one) or _within(one, path) for one in given)
