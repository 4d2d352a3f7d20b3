"""What breaks and control totals show without clearance: values of fields that the schema calls sensitive are masked.

What cannot be told, because a document has changed since, is not shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from engine.run.disclosure import MASK, sensitive_paths
from engine.sdk.errors import CrosswalkError
from engine.sdk.record import JSON, Fields, decode_json
from engine.spec.reconcile import ReconcileFlow
from engine.spec.workspace import Workspace
from engine.state.breaks import Break
from engine.state.reconciliations import Cell, Part

MISSING = {"$missing": True}
NAMES = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


@dataclass(frozen=True)
class Cover:
    """What is hidden of one flow's breaks. fields: dotted paths. key: which parts of a key; None: all of them. totals: control totals of a hidden
    field, by their number."""

    fields: frozenset[str] = frozenset()
    all: bool = False
    key: tuple[int, ...] | None = ()
    label: bool = False
    amount: bool = False
    totals: frozenset[int] = frozenset()

    @classmethod
    def of(cls, workspace: Workspace, flow: str, entity: str) -> Cover:
        try:
            schema = workspace.document("schema", entity).data
            hidden = sensitive_paths(workspace, entity)
        except CrosswalkError:  # the schema is gone or wrong
            return cls(all=True, key=None, label=True, amount=True)
        if not hidden:
            return cls()
        label = _within(str(schema.get("x-label")), hidden)
        try:
            model = workspace.document("flow", flow).model
        except CrosswalkError:
            model = None
        if not isinstance(model, ReconcileFlow):
            return cls(hidden, True, None, label, True)
        key = _key(model, hidden)
        grouped = any(side.group is not None for side in model.all_sides().values())
        return cls(
            hidden, False, key, label or (grouped and key != ()), _amount(model, hidden),
            frozenset(number for number, one in enumerate(model.totals) if one.sum is not None and _reads(one.sum, hidden)),
        )  # fmt: skip

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to hide."""
        return not self.fields and not self.all

    def hides(self, path: str) -> bool:
        """Whether a compared field is hidden, or holds something that is, by its path: `lines[1].amount (part)`."""
        return self.all or _within(re.sub(r"\[.*?\](?=\.|\[| |$)", "", path).partition(" ")[0], self.fields)

    def key_of(self, key: str) -> JSON:
        """What joins the sides, decoded."""
        values = decode_json(key)
        if self.key == () or self.nothing:
            return values
        if self.key is None:
            return [MASK for _ in values] if isinstance(values, list) else MASK
        if not isinstance(values, list):
            return MASK
        return [MASK if place in self.key else one for place, one in enumerate(values)]

    def over(self, one: Break) -> Break:
        """The break as it may be shown."""
        if self.nothing:
            return one
        return one._replace(
            label=MASK if self.label and one.label is not None else one.label,
            fields=[self._field(each) for each in one.fields],
            why=self.text(one, one.why),
            amount=None if self.amount else one.amount,
            currency=None if self.amount else one.currency,
        )

    def _field(self, one: Fields) -> Fields:
        if not self.hides(one["path"]):
            return one
        values = {side: value if value in (MISSING, None) else MASK for side, value in one["values"].items()}
        path = one["path"].partition("[")[0]  # the key of an element is a value
        return {**one, "path": path, "values": values, "why": MASK if one["why"] else None}

    def text(self, one: Break, said: Any) -> Any:
        """What is said of a break, without the hidden values that it names."""
        if not said or self.nothing:
            return said
        if one.cause == "key differs" and self.key != ():
            return MASK
        for each in one.fields:
            if each["why"] and self.hides(each["path"]):
                said = said.replace(each["why"], MASK)
        return said

    def cell(self, one: Cell) -> Cell:
        """A line of a control total; a sum of a single record is that record's value."""
        if self.nothing:
            return one
        single = self.all or (one.total in self.totals and max(one.records.values(), default=0) <= 1)
        return one._replace(
            by={name: MASK if self.all or _reads(name, self.fields) else value for name, value in one.by.items()},
            sums={side: MASK if single else value for side, value in one.sums.items()},
        )

    def part(self, one: Part) -> Part:
        """A record behind a total."""
        if self.all or one.total in self.totals:
            return one._replace(sums=dict.fromkeys(one.sums, MASK))
        return one


def _within(path: str, hidden: frozenset[str]) -> bool:
    return any(path == one or path.startswith(f"{one}.") or one.startswith(f"{path}.") for one in hidden)


def _reads(text: str, hidden: frozenset[str]) -> bool:
    """Whether an expression could show something hidden; of one that is no plain path, every name that it has counts."""
    if PATH.fullmatch(text):
        return _within(text, hidden)
    return bool(set(NAMES.findall(text)) & {name for path in hidden for name in path.split(".")})


def _key(flow: ReconcileFlow, hidden: frozenset[str]) -> tuple[int, ...]:
    """Which parts of a key are hidden fields; a link is none."""
    groups = [one.groups() for one in flow.all_sides().values() if one.group is not None]
    paths = list(groups[0].values()) if groups else flow.key if flow.key != "links" else []
    return tuple(place for place, path in enumerate(paths) if _reads(path, hidden))


def _amount(flow: ReconcileFlow, hidden: frozenset[str]) -> bool:
    """Whether the amount at stake is a hidden one: by what the flow names; else it could be any."""
    named = flow.amount or next((one.sum for one in flow.totals if one.sum is not None), None)
    return named is None or _reads(named, hidden)
