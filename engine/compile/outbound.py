"""Canonical → system: the rules of a mapping backwards, as the source of one Python function.

The function is `outbound(rec, env, links, faults, part) -> (payload, once)`. `once` holds what is sent on
create only: rules with `on: create` and fields that the target's own role owns. Null stays in the payload;
whether it is sent depends on what was delivered before (LANGUAGE, three states), so the diff decides.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from engine.compile.body import Body, Place, plain_names
from engine.compile.casting import inward_cast, outward_cast
from engine.compile.casts import CastFault, minor_units, scaled
from engine.compile.expression import assign, plain_path
from engine.compile.functions import FunctionFault
from engine.compile.ownership import Ownership
from engine.compile.rules import MISSING, Generated, both, build, key_text, same_values, with_part
from engine.sdk.connector import ObjectInfo
from engine.sdk.errors import Problem
from engine.sdk.record import decode_json, same
from engine.spec.mapping import FieldRule


class Outbound(Body):
    """Writes the outbound function of one mapping for one target."""

    def __init__(self, *args: Any, info: ObjectInfo | None, ownership: Ownership, role: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.info, self.ownership, self.role = info, ownership, role
        self.clears: set[str] = set()
        self.tops: dict[str, frozenset[str]] = {}
        self.alike: dict[str, dict[tuple[type, Any], Any]] = {}
        self.lists = 0
        self.written: set[tuple[str, str]] = set()

    def generate(self) -> Generated:
        put = self.writer.put
        if self.uses_root:
            put("env.root = rec")
        put("out = {}; once = {}")
        for name, rule in self.model.fields.items():
            if rule.from_ is not None or rule.to or rule.fields or rule.each:
                known, self.paths = self.paths, set()
                self.told(lambda rule=rule, name=name: self.field(rule, name, ("fields", name), "rec"))  # type: ignore[misc]
                self.tops[name] = frozenset(path.split(".")[0] for path in self.paths)
                self.paths |= known
        for name, rule in (self.model.outbound or {}).items():
            self.told(lambda rule=rule, name=name: self.outbound_only(rule, name))  # type: ignore[misc]
        for name, rule in (self.model.per or {}).items():
            self.part(rule, name, ("per", name))
        self.problems.raise_any()
        self.namespace.update(
            M=MISSING, CastFault=CastFault, Fault=(CastFault, FunctionFault), key_text=key_text,
            same=same, both=both, scaled=scaled, minor_units=minor_units, assign=assign, decode_json=decode_json,
        )  # fmt: skip
        return build("outbound", "rec, env, links, faults, part", self.writer, "out, once", self.namespace)

    def field(self, rule: FieldRule, name: str, place: Place, cur: str, out: str | None = None) -> None:
        """One field of `fields`, backwards: nothing where the rule cannot run backwards."""
        index = self.begin(".".join(map(str, place[1::2])), rule, place)
        if rule.fields is not None and rule.each is None:
            self.nested(rule, name, place, cur, out)
            return
        path = rule.to or (rule.each if rule.each is not None else rule.from_)
        if not self.runs_back(rule, path, place):
            return
        value, put = self.writer.name("v"), self.writer.put
        if out is None or out in ("out", "once") or out.startswith("(once"):  # not within an element of a list
            self.paths |= {path} if isinstance(path, str) else set(path or ())
            self.paths |= {rule.currency} if rule.currency and plain_names(rule.currency) else set()
        put(f"{value} = {cur}.get({name!r}, M)")
        target = out or self.destination(rule, name, cur)
        put(f"if {value} is not M:")
        self.writer.indent()
        if rule.each is not None:
            self.each(rule, index, place, value, target, str(path))
        else:
            self.send(rule, index, place, cur, value, target, path)
        self.writer.dedent()

    def runs_back(self, rule: FieldRule, path: str | list[str] | None, place: Place) -> bool:
        """Whether a rule has a way back (LANGUAGE section 4, last column of the table)."""
        if path is None or rule.template is not None or rule.when is not None or rule.by:
            return False
        if rule.lookup is not None and not self.unique(rule, place):
            return False
        paths = path if isinstance(path, list) else [path]
        if any(plain_path(one) is None for one in paths):
            return False
        if isinstance(rule.scale, Fraction) and not exact_pair(rule.scale, rule.round):
            self.problems.extend([lossy(rule, self.document.at(*place, "scale"))])
            return False
        return True

    def unique(self, rule: FieldRule, place: Place) -> bool:
        table = self.tables(rule.lookup or "", self.document.at(*place, "lookup"))
        return table.reversible(rule.column, rule.give)

    def destination(self, rule: FieldRule, field: str, cur: str) -> str:
        """`once` for what is sent on create only, else `out`; owners that depend on the record are asked."""
        owned = self.ownership.owned(field, self.role) if cur == "rec" and rule.on != "always" else False
        if rule.on == "create" or owned is True:
            return "once"
        if owned is False:
            return "out"
        test = self.constant(owned, "owned")
        return f"(once if {test}(rec, env) else out)"

    def nested(self, rule: FieldRule, name: str, place: Place, cur: str, out: str | None) -> None:
        inner, put = self.writer.name("o"), self.writer.put
        put(f"{inner} = {cur}.get({name!r}, M)")
        target = out or self.destination(rule, name, cur)
        put(f"if {inner} is None: {inner} = dict.fromkeys({tuple(rule.fields or ())!r})")
        put(f"if {inner}.__class__ is dict:")
        self.writer.indent()
        put("pass")
        for child_name, child in (rule.fields or {}).items():
            self.field(child, child_name, (*place, "fields", child_name), inner, target)
        self.writer.dedent()

    def each(self, rule: FieldRule, index: int, place: Place, value: str, target: str, path: str) -> None:
        """A list goes whole; its elements' rules run backwards into new elements."""
        items, element, inner = (self.writer.name(stem) for stem in ("l", "e", "o"))
        put = self.writer.put
        put(f"if {value}.__class__ is list:")
        self.writer.indent()
        put(f"{items} = []")
        put(f"for {element} in {value}:")
        self.writer.indent()
        put(f"{inner} = {{}}")
        self.lists += 1
        for name, child in (rule.fields or {}).items():
            self.field(child, name, (*place, "fields", name), element, inner)
        self.lists -= 1
        put(f"{items}.append({inner})")
        self.writer.dedent()
        self.writer.rule = index
        put(self.store(target, path, items))
        self.writer.dedent()

    def send(self, rule: FieldRule, index: int, place: Place, cur: str, value: str, target: str, path: Any) -> None:
        """Null by its policy; a value back through link, table, value map, scale, cast; then stored."""
        put = self.writer.put
        put(f"if {value} is None:")
        put("    " + self.null(rule, index, target, path))
        put("else:")
        self.writer.indent()
        put("try:")
        self.writer.indent()
        for step in self.steps(rule, index, place, cur, value):
            put(step)
        put(f"if {value} is not M: {self.store_value(rule, target, path, value)}")
        self.writer.dedent()
        put("except Fault as e:")
        put(f"    faults.append(({index}, 'cast', {value}, str(e)))")
        self.writer.dedent()

    def null(self, rule: FieldRule, index: int, target: str, path: Any) -> str:
        if rule.on_null == "omit":
            return "pass"
        if rule.on_null == "error":
            return f"faults.append(({index}, 'null', None, ''))"
        paths = path if isinstance(path, list) else [path]
        if rule.on_null is None and any(in_list(one) for one in paths):
            return "pass"  # the list goes whole: an element that leaves it out says the same, and no system refuses it
        if rule.on_null == "clear":
            self.clears.update(paths)
        return "; ".join(self.store(target, one, "None") for one in paths)

    def store_value(self, rule: FieldRule, target: str, path: Any, value: str) -> str:
        """The assignment; composite keys take their JSON array apart, money writes its currency too."""
        if isinstance(path, list):
            parts = f"decode_json({value})"
            return "; ".join(self.store(target, one, f"{parts}[{n}]") for n, one in enumerate(path))
        if rule.as_ == "money":
            minor = rule.scale == "minor"
            amount = f"minor_units({value})" if minor else f"{value}['amount']"
            lines = [self.store(target, path, amount)]
            if rule.currency and plain_names(rule.currency):
                lines.append(self.store(target, rule.currency, f"{value}['currency']"))
            return "; ".join(lines)
        return self.store(target, path, value)

    def store(self, target: str, path: str, value: str) -> str:
        """An assignment at a path of the payload."""
        names = plain_names(path)
        if names is None:
            return f"assign({self.constant(plain_path(path), 'path')}, {target}, {value})"
        inner = target
        for name in names[:-1]:
            inner = f"{inner}.setdefault({name!r}, {{}})"
        line = f"{inner}[{names[-1]!r}] = {value}"
        if (target, path) not in self.written:
            self.written.add((target, path))
            return line
        # a second rule writes this path, such as the currency of two amounts: they must agree; null leaves it
        if value == "None":
            return f"{inner}.setdefault({names[-1]!r}, None)"
        held = f"{inner}.get({names[-1]!r})"
        clash = f"{held} is not None and not same({held}, {value})"
        fault = f"({self.index}, 'conflict', {value}, both({held}, {value}))"
        return f"{clash} and faults.append({fault}); {line}"

    def steps(self, rule: FieldRule, index: int, place: Place, cur: str, value: str) -> list[str]:
        steps: list[str] = []
        if rule.ref is not None:
            steps += self.to_link(rule, index, place, cur, value)
        if rule.lookup is not None:
            table, found = self.table(rule, place), self.writer.name("m")
            steps.append(f"{found}, why = {table}.back({value}, M)")
            steps += self.on_missing(rule, index, "rec.get('id')", found, "lookup", "why", value, back=True)
        if rule.values is not None:
            steps += self.to_values(rule, index, value)
        if isinstance(rule.scale, Fraction):
            digits = rule.round[1] if rule.round else None
            steps.append(f"if {value} is not M: {value} = scaled({value}, {self.constant(1 / rule.scale)}, {digits})")
        path = rule.to or rule.from_
        described = self.info.field(path) if self.info and isinstance(path, str) else None
        cast = outward_cast(rule, self.zone, described)
        if cast is not None:
            steps.append(f"if {value} is not M: {value} = {self.constant(cast, 'cast')}({value})")
        steps += [
            f"if {value} is not M: {value} = {call}({value})" for call in self.transforms(rule, place, cleaning=True)
        ]
        return steps

    def to_link(self, rule: FieldRule, index: int, place: Place, cur: str, value: str) -> list[str]:
        slot, found = self.slot(rule, cur), self.writer.name("c")
        entities = " or ".join(rule.ref.entities) if rule.ref else ""
        kind = {"wait": "wait", "later": "later"}.get(str(rule.on_missing), "reference")
        asked = value
        if rule.ref is not None and rule.ref.part:
            self.namespace["with_part"] = with_part
            part = self.inline(rule.ref.part, (*place, "ref", "part"), "rec")
            asked = f"with_part({value}, {part})"
        lines = [f"{found} = links[{slot}][{asked}]"]
        if rule.on_missing == "clear":
            path = rule.to or rule.from_
            empty = "M" if isinstance(path, str) and in_list(path) else "None"
            return [*lines, f"{value} = {empty} if {found} is None else {found}"]
        return [
            *lines,
            f"if {found} is None: faults.append(({index}, {kind!r}, {value}, {entities!r})); {value} = M",
            f"else: {value} = {found}",
        ]

    def to_values(self, rule: FieldRule, index: int, value: str) -> list[str]:
        """Several system values to one canonical: the first listed goes back."""
        back = same_values((canonical, system) for system, canonical in (rule.values or {}).items())
        path = rule.to or rule.from_
        several = len({(one.__class__, one) for one in back.values()}) < len(rule.values or {})
        if several and isinstance(path, str) and plain_names(path) and not self.lists:
            self.alike[path] = same_values((rule.values or {}).items())
        table, found = self.constant(back, "values"), self.writer.name("m")
        lines = [f"{found} = {table}.get(({value}.__class__, {value}), M)"]
        if rule.on_missing == "keep":
            return [*lines, f"if {found} is not M: {value} = {found}"]
        return [
            *lines,
            f"if {found} is M: faults.append(({index}, 'values', {value}, ''))",
            f"{value} = {found}",
        ]

    def outbound_only(self, rule: FieldRule, name: str) -> None:
        """A rule of `outbound`; where `fields` writes the same path, the two must agree."""
        paths = [one.to or one.from_ for one in self.model.fields.values()]
        kept, out = self.writer.name("k"), "once" if rule.on == "create" else "out"
        if name in paths:
            self.writer.put(f"{kept} = {out}.pop({name!r}, M)")
        self.given(rule, name, ("outbound", name))
        if name in paths:
            self.agree(out, name, kept)

    def given(self, rule: FieldRule, name: str, place: Place) -> None:
        """A rule of `outbound`: written in the direction of sending, so nothing runs backwards."""
        index = self.begin(name, rule, place)
        self.paths.add(name)
        put, value = self.writer.put, self.writer.name("v")
        depth = self.writer.depth
        if rule.when is not None:
            put(f"if {self.condition(rule.when, (*place, 'when'), 'rec')}:")
            self.writer.indent()
        if rule.template is not None:
            self.template(rule.template, (*place, "template"), "rec", value, index)
        elif rule.from_ is not None:
            self.fetch(str(rule.from_), (*place, "from"), "rec", value, fault=index)
        else:
            put(f"{value} = {'True' if rule.by else self.constant(rule.value)}")  # `by` alone: its columns say all
        target = "once" if rule.on == "create" else "out"
        if rule.default is not None:
            put(f"if {value} is None or {value} is M: {value} = {self.constant(rule.default)}")
        put(f"if {value} is None:")
        put("    " + self.null(rule, index, target, name))
        put(f"elif {value} is not M:")
        self.writer.indent()
        put("try:")
        self.writer.indent()
        for step in self.forward(rule, index, place, value):
            put(step)
        put(f"if {value} is not M: {self.store(target, name, value)}")
        self.writer.dedent()
        put("except Fault as e:")
        put(f"    faults.append(({index}, 'cast', {value}, str(e)))")
        self.writer.dedent(self.writer.depth - depth)

    def forward(self, rule: FieldRule, index: int, place: Place, value: str) -> list[str]:
        steps = [f"{value} = {call}({value})" for call in self.transforms(rule, place)]
        if rule.ref is not None:
            steps += self.to_link(rule, index, place, "rec", value)
        if rule.values is not None:
            table, found = self.constant(same_values(rule.values.items()), "values"), self.writer.name("m")
            steps.append(f"{found} = {table}.get(({value}.__class__, {value}), M)")
            steps += self.on_missing(rule, index, value, found, "values", "''", value)
        if rule.lookup is not None:
            steps += self.from_table(rule, index, place, "rec", value)
        if isinstance(rule.scale, Fraction):
            digits = rule.round[0] if rule.round else None
            steps.append(f"if {value} is not M: {value} = scaled({value}, {self.constant(rule.scale)}, {digits})")
        cast = inward_cast(rule, self.zone) if not rule.format else outward_cast(rule, self.zone, None)
        if cast is not None:
            steps.append(f"if {value} is not M: {value} = {self.constant(cast, 'cast')}({value})")
        return steps

    def part(self, rule: FieldRule, name: str, place: Place) -> None:
        """`per`: the element that this target record is for, at its own path."""
        index = self.begin(name, rule, place)
        value = self.writer.name("v")
        self.writer.put(f"{value} = part or None")
        self.writer.put(f"if {value} is not None:")
        self.writer.indent()
        self.send(rule, index, place, "rec", value, "out", rule.to or rule.from_)
        self.writer.dedent()


def in_list(path: str) -> bool:
    """Whether a path leads through an element of a list by its number, such as items[0].task.id."""
    return any(isinstance(step, int) for step in plain_path(path) or ())


def exact_pair(factor: Fraction, digits: tuple[int, int] | None) -> bool:
    """True where in(out(in(x))) = in(x): the inbound rounding is finer than one step of the system's value."""
    if digits is None:
        return True
    inward, outward = digits
    return Fraction(10) ** (outward - inward) < factor


def lossy(rule: FieldRule, at: Any) -> Problem:
    return Problem(
        "E350",
        f"scale {rule.scale} with round {list(rule.round or ())} does not give the same value back",
        at,
        "keep more decimals inbound, or put the rule under `inbound:` and another under `outbound:`",
    )


Cast = Callable[[Any], Any]
