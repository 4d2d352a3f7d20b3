"""System → canonical: the rules of a mapping as the source of one Python function.

The function is `inbound(rec, env, links, faults) -> dict`. A plain path keeps the three states; every other
expression gives null for missing. A rule that cannot give its value appends a fault and writes nothing.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from engine.compile.body import Body
from engine.compile.casting import inward_cast
from engine.compile.casts import CastFault, money_of, rounded, scaler
from engine.compile.functions import FunctionFault
from engine.compile.rules import MISSING, Generated, build, key_text, same_values
from engine.spec.mapping import FieldRule

AMBIGUOUS: Any = type("Ambiguous", (), {"__repr__": lambda self: "ambiguous"})()
"""What a link slot answers where several records could be meant."""


class Inbound(Body):
    """Writes the inbound function of one mapping."""

    def generate(self) -> Generated:
        if self.uses_root and self.model.each is None:  # with `each` the record is an element, and the root is known
            self.writer.put("env.root = rec")
        self.writer.put("out = {}")
        for name, rule in self.model.fields.items():
            self.told(lambda rule=rule, name=name: self.rule(rule, name, ("fields", name), "rec", "out"))  # type: ignore[misc]
        for name, rule in (self.model.inbound or {}).items():
            self.told(lambda rule=rule, name=name: self.inbound_only(rule, name))  # type: ignore[misc]
        self.problems.raise_any()
        if self.model.per:
            for name, rule in self.model.per.items():
                self.per(rule, name, ("per", name))
        self.namespace.update(
            AMBIGUOUS=AMBIGUOUS, M=MISSING, CastFault=CastFault, FunctionFault=FunctionFault, key_text=key_text
        )
        self.namespace.update(rounded=rounded, money_of=money_of, Fault=(CastFault, FunctionFault))
        return build("inbound", "rec, env, links, faults", self.writer, "out", self.namespace)

    def inbound_only(self, rule: FieldRule, name: str) -> None:
        """A rule of `inbound`; where `fields` writes the same field, the two must agree."""
        twice = name in self.model.fields
        kept = self.writer.name("k")
        if twice:
            self.writer.put(f"{kept} = out.pop({name!r}, M)")
        self.rule(rule, name, ("inbound", name), "rec", "out")
        if twice:
            self.agree("out", name, kept)

    def rule(self, rule: FieldRule, name: str, place: tuple[Any, ...], cur: str, out: str) -> None:
        """One field: nested objects and lists recurse, everything else is a value."""
        index = self.begin(".".join(map(str, place[1::2])), rule, place)
        target = self.target(out, name)
        guards = self.writer.depth
        if rule.when is not None:
            self.writer.put(f"if {self.condition(rule.when, (*place, 'when'), cur)}:")
            self.writer.indent()
        if rule.each is not None:
            self.each(rule, place, cur, target)
        elif rule.fields is not None:
            self.nested(rule, place, cur, target)
        else:
            self.value(rule, index, place, cur, target)
        self.writer.dedent(self.writer.depth - guards)

    def nested(self, rule: FieldRule, place: tuple[Any, ...], cur: str, target: str) -> None:
        inner = self.writer.name("o")
        self.writer.put(f"{inner} = {{}}")
        for name, child in (rule.fields or {}).items():
            self.rule(child, name, (*place, "fields", name), cur, inner)
        self.writer.put(f"if {inner}: {target} = {inner}")

    def each(self, rule: FieldRule, place: tuple[Any, ...], cur: str, target: str) -> None:
        source, items, element, inner = (self.writer.name(stem) for stem in ("s", "l", "e", "o"))
        self.fetch(rule.each or "", (*place, "each"), cur, source, fault=self.index)
        put, index = self.writer.put, self.index
        put(f"if {source}.__class__ is list:")
        put(f"    {items} = []")
        put(f"    for {element} in {source}:")
        self.writer.indent()
        self.writer.indent()
        put(f"{inner} = {{}}")
        for name, child in (rule.fields or {}).items():
            self.rule(child, name, (*place, "fields", name), element, inner)
        put(f"{items}.append({inner})")
        self.writer.dedent(2)
        self.writer.rule = index
        put(f"    {target} = {items}")
        put(f"elif {source} is None: {target} = None")
        put(f"elif {source} is not M: faults.append(({index}, 'cast', {source}, 'expected a list'))")

    def value(self, rule: FieldRule, index: int, place: tuple[Any, ...], cur: str, target: str) -> None:
        """Read, clean, cast, map and resolve one value."""
        put, value = self.writer.put, self.writer.name("v")
        if rule.from_ is None and rule.by is None:
            self.given(rule, index, place, cur, target)
            return
        if rule.from_ is None:
            put(f"{value} = True")  # the key columns say everything
        else:
            self.read(rule, index, place, cur, value)
        steps = self.steps(rule, index, place, cur, value)
        if rule.blank is not None:
            put(f"if {value}.__class__ is str and not {value}.strip(): "
                f"{value} = {'M' if rule.blank == 'missing' else 'None'}")  # fmt: skip
        if rule.default is not None:
            put(f"if {value} is None or {value} is M: {target} = {self.constant(rule.default)}")
        else:
            put(f"if {value} is None: {target} = None")
        if not steps:
            put(f"elif {value} is not M: {target} = {value}")
            return
        put(f"elif {value} is not M:")
        self.writer.indent()
        put("try:")
        self.writer.indent()
        for step in steps:
            put(step)
        put(f"if {value} is not M: {target} = {value}")
        self.writer.dedent()
        put("except Fault as e:")
        put(f"    faults.append(({index}, 'cast', {value}, str(e)))")
        self.writer.dedent()

    def read(self, rule: FieldRule, index: int, place: tuple[Any, ...], cur: str, value: str) -> None:
        """The rule's `from` into a variable; a composite key becomes a list."""
        if isinstance(rule.from_, list):
            parts = [self.writer.name("k") for _ in rule.from_]
            for number, (text, part) in enumerate(zip(rule.from_, parts, strict=True)):
                self.fetch(text, (*place, "from", number), cur, part)
            missing = " and ".join(f"{part} is M" for part in parts)
            empty = " or ".join(f"{part} is None or {part} is M" for part in parts)
            self.writer.put(f"{value} = M if {missing} else None if {empty} else [{', '.join(parts)}]")
            return
        self.fetch(rule.from_ or "", (*place, "from"), cur, value, fault=index)

    def given(self, rule: FieldRule, index: int, place: tuple[Any, ...], cur: str, target: str) -> None:
        """A constant or a template."""
        put = self.writer.put
        if rule.template is not None:
            text = self.writer.name("t")
            self.template(rule.template, (*place, "template"), cur, text, index)
            put(f"if {text} is not M: {target} = {text}")
        else:
            put(f"{target} = {self.constant(rule.value)}")

    def steps(self, rule: FieldRule, index: int, place: tuple[Any, ...], cur: str, value: str) -> list[str]:
        """Statements that turn a present value into the canonical one."""
        steps = [f"{value} = {call}({value})" for call in self.transforms(rule, place)]
        if rule.as_ == "money":
            currency = self.inline(rule.currency or "null", (*place, "currency"), cur)
            steps.append(f"{value} = money_of({value}, {currency}, {rule.scale == 'minor'})")
        elif rule.scale is not None:
            assert isinstance(rule.scale, Fraction)
            factor = scaler(rule.scale, rule.round[0] if rule.round else None)
            steps.append(f"{value} = {self.constant(factor, 'scale')}({value})")
        else:
            cast = inward_cast(rule, self.zone)
            if cast is not None:
                steps.append(f"{value} = {self.constant(cast, 'cast')}({value})")
            if rule.round:
                steps.append(f"{value} = rounded({value}, {rule.round[0]})")
        if rule.values is not None:
            steps += self.from_values(rule, index, value)
        if rule.lookup is not None:
            steps += self.from_table(rule, index, place, cur, value)
        if rule.ref is not None:
            steps += self.from_link(rule, index, place, cur, value)
        return steps

    def from_values(self, rule: FieldRule, index: int, value: str) -> list[str]:
        pairs = rule.values or {}
        found = self.writer.name("m")
        if all(key.__class__ is str for key in pairs):
            table = self.constant(dict(pairs), "values")
            get = f"{found} = {table}.get({value}, M) if {value}.__class__ is str else M"
        else:
            table = self.constant(same_values(pairs.items()), "values")
            get = f"{found} = {table}.get(({value}.__class__, {value}), M)"
        return [get, *self.on_missing(rule, index, value, found, "values", "''", value)]

    def from_link(self, rule: FieldRule, index: int, place: tuple[Any, ...], cur: str, value: str) -> list[str]:
        found, text = self.writer.name("c"), self.writer.name("n")
        slot = self.slot(rule, cur)
        entities = " or ".join(rule.ref.entities) if rule.ref else ""
        lines = [
            f"{text} = {value} if {value}.__class__ is str else key_text({value})",
            f"{found} = links[{slot}][{text}] if {text} else None",
            f"if {found} is None: {found} = M",
        ]
        if rule.ref and len(rule.ref.entities) != 1:
            lines.append(f"elif {found} is AMBIGUOUS: faults.append(({index}, 'ambiguous', {text}, {entities!r}))")
        return [*lines, *self.on_missing(rule, index, text, found, "reference", repr(entities), value)]

    def per(self, rule: FieldRule, name: str, place: tuple[Any, ...]) -> None:
        """One target record for each element: reading one of them gives the list with that element."""
        inner = self.writer.name("p")
        self.writer.put(f"{inner} = {{}}")
        self.rule(rule, name, place, "rec", inner)
        self.writer.put(f"if {inner}.get({name!r}) is not None: {self.target('out', name)} = [{inner}[{name!r}]]")
