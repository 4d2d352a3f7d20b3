"""What the policy makes of each break: errands from the side that has or owns it to the others, or why nothing is done."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from engine.compile.functions import FunctionFault
from engine.compile.heal import ends, writable
from engine.compile.reconcile import ReconcilePlan, SidePlan
from engine.run.errand import Errand, How, Wanted
from engine.run.session import Session
from engine.sdk.errors import SpecError
from engine.sdk.record import JSON, Fields, decode_json
from engine.spec.reconcile import HealFlow, Mending
from engine.spec.sync import SyncFlow
from engine.state import canonical, runs
from engine.state.breaks import Break

FORBIDDEN = {
    "in_flight": "it is explained by what is under way: that comes first",
    "duplicate": "which of them is right is for a person to say",
}
THERE = {
    "left out by `where`": "it is there, and only left out of the comparison by `where`",
    "key differs": "it is there, under a key that differs by case or blanks",
}
"""Causes of a missing record that say it is not missing."""


@dataclass
class Remedies:
    """Errands, and breaks that none is run for, with the reason."""

    errands: list[Errand] = field(default_factory=list)
    forbidden: dict[str, str] = field(default_factory=dict)
    left: dict[str, list[str]] = field(default_factory=dict)
    """Break → fields of it that nothing may be done about, with the reason."""

    def records(self) -> set[str]:
        """Breaks that something is done about."""
        return {id for errand in self.errands for one in errand.wanted.values() for id in one.breaks}


def remedies(session: Session, plan: ReconcilePlan, found: Iterable[Break]) -> Remedies:
    """What is to be done about breaks."""
    found = list(found)
    with session.reading() as tx:
        ids = [one.canonical_id for one in found if one.canonical_id]
        stored = canonical.get(tx, plan.schema.entity, ids)
        chooser = _Chooser(session, plan, stored)
        for one in found:
            why = chooser.choose(one)
            if why is not None:
                chooser.told.forbidden[one.id] = why
    return chooser.told


class _Chooser:
    """Chooses for one break after the other."""

    def __init__(self, session: Session, plan: ReconcilePlan, stored: dict[str, canonical.Stored]) -> None:
        self.session, self.plan, self.stored = session, plan, stored
        self.sides = {side.name: side for side in plan.sides}
        self.specs = plan.flow.all_sides()
        self.told = Remedies()
        self.errands: dict[tuple[How, str, str, str | None], Errand] = {}
        self._known: dict[tuple[str, str], list[str]] = {}
        self._writes = {name: writable(session.registry, side) for name, side in self.specs.items()}

    def choose(self, one: Break) -> str | None:
        """Errands for a break; None, or why there is none."""
        if one.state != "open":
            return f"it is {one.state}"
        if one.name in FORBIDDEN:
            return FORBIDDEN[one.name]
        mending = self.plan.flow.heal.of(one.name)
        if mending == "report":
            return f"`heal` reports a {one.name} and does no more"
        if any(side.group for side in self.plan.sides):
            return "groups are compared, and no records"
        if any(side.intake is not None and side.intake.source.mapping.each is not None for side in self.plan.sides):
            return "a mapping makes several records of one (`each`), and one of them alone cannot be read again"
        if one.kind == "missing":
            return self._missing(one, mending)
        return self._differs(one, mending)

    def _errand(self, how: How, source: str, target: str, flow: str | None = None) -> Errand:
        key = (how, source, target, flow)
        if key not in self.errands:
            side = self.sides[target]
            self.errands[key] = Errand(how, source, target, flow, (side.connection, side.object))
            self.told.errands.append(self.errands[key])
        return self.errands[key]

    # ------------------------------------------------------------------ a side lacks it
    def _missing(self, one: Break, mending: Mending) -> str | None:
        having = [name for name in self.sides if one.natives.get(name)]
        if one.cause in THERE:
            return THERE[one.cause]
        row = self.stored.get(one.canonical_id or "")
        if mending == "deactivate":
            return self._end(one, having)
        if one.cause == "ended there":
            return f"{one.side} has ended it: it is not brought back"
        if row is not None and row.deleted:
            return "it was deleted: it is not brought back"
        whole = Wanted((one.id,), one.canonical_id, lacking=one.side)
        if isinstance(mending, HealFlow):
            return self._by_flow(one, mending.flow, one.side, whole)
        leading = [name for name in having if self._leads(self.sides[name])]
        if not leading:
            return f"{' and '.join(having)} {'owns' if len(having) == 1 else 'own'} nothing that tells the record apart: name a flow"
        return self._send(one, leading[0], one.side, whole)

    def _leads(self, side: SidePlan) -> bool:
        """Whether a side is, or stands for, the owner of a record: it owns what tells it apart, or nobody does."""
        if side.intake is None:
            return True
        schema = self.plan.schema
        names = {leaf.path.split(".")[0] for leaf in self.plan.key}
        names = names or {path.split(".")[0] for rule in schema.match[:1] for path in rule}
        names = names or ({schema.label.split(".")[0]} if schema.label else set())
        owners = [schema.ownership.owners[name] for name in names if name in schema.ownership.owners]
        roles = {role for owner in owners or schema.ownership.owners.values() for role, _ in owner.roles}
        return not roles or bool(roles & {side.role, "shared"})

    def _end(self, one: Break, having: list[str]) -> str | None:
        able = [name for name in having if ends(self.session.registry, self.specs[name])]
        if not able:
            return f"no mapping of {' and '.join(having)} says how a record is ended (`deleted: {{ set: … }}`)"
        for name in able:
            for native in one.natives[name]:
                wanted = Wanted((one.id,), one.canonical_id, natives=frozenset([native]), lacking=one.side)
                self._errand("end", name, name).add(native, wanted)
        return None

    # ------------------------------------------------------------------ they have it, and differ
    def _differs(self, one: Break, mending: Mending) -> str | None:
        if isinstance(mending, HealFlow):
            return self._by_flow(one, mending.flow, None, Wanted((one.id,), one.canonical_id))
        row = self.stored.get(one.canonical_id or "")
        record: Fields = decode_json(row.data) if row is not None else {}
        ways: dict[tuple[str, str], set[str]] = {}
        left: list[str] = []
        tops = {_top(entry["path"]) for entry in one.fields}
        for entry in one.fields:
            top, values = _top(entry["path"]), entry["values"]
            owner = entry["owner"] or self._stands_for(top, record, values)
            why = self._unfit(top, owner, values)
            if why is not None:
                left.append(why)
                continue
            assert owner is not None
            for name in values:
                if name == owner:
                    continue
                if self._writes[name]:
                    ways.setdefault((owner, name), set()).add(top)
                else:
                    left.append(f"{top} cannot be written to {name}")
        barred = {_top(entry["path"]) for entry in one.fields if entry["owner"] is None and not self._stands_for(
            _top(entry["path"]), record, entry["values"])}  # fmt: skip
        problems = []
        for (owner, name), fields in ways.items():
            wanted = Wanted((one.id,), one.canonical_id, frozenset(fields - barred), frozenset(tops - fields) | barred,
                            frozenset(one.natives.get(name, ())))  # fmt: skip
            problems.append(self._send(one, owner, name, wanted))
        told = [why for why in problems if why is not None]
        if left or told:
            self.told.left[one.id] = list(dict.fromkeys([*left, *told]))
        done = len(told) < len(problems)
        return None if done else "; ".join(dict.fromkeys([*left, *told]))

    def _stands_for(self, top: str, record: Fields, values: Fields) -> str | None:
        """The canonical side, for an owner that is no side."""
        stands = next((name for name in values if self.sides[name].intake is None), None)
        owner = self.plan.schema.ownership.owners.get(top)
        if stands is None or owner is None:
            return None
        try:
            role = owner.of(record, self.session.env)
        except FunctionFault:
            return None
        return stands if role not in (None, "shared") else None

    def _unfit(self, top: str, owner: str | None, values: Fields) -> str | None:
        """Why a field goes nowhere."""
        if owner is None:
            shared = self.plan.schema.ownership.owners.get(top)
            whose = (
                "is shared"
                if shared is not None and any(role == "shared" for role, _ in shared.roles)
                else "has no owner"
            )
            return f"{top} {whose}" if shared is None or whose == "is shared" else f"no side here owns {top}"
        if _mark(values[owner]) is not None:
            what = "says nothing of" if _mark(values[owner]) == "$missing" else "has what cannot be read in"
            return (
                f"{owner} owns {top}, and {what} it" if "nothing" in what else f"{owner}, which owns {top}, {what} it"
            )
        return None

    # ------------------------------------------------------------------ ways
    def _send(self, one: Break, source: str, target: str, wanted: Wanted) -> str | None:
        """From side to side: by the flow that goes there, where there is one, with its checks; else by the mappings."""
        here, there = self.sides[source], self.sides[target]
        if not self._writes[target]:
            return f"{target} cannot be written by its mapping"
        if there.intake is None:
            return self._put(self._errand("take", source, target), one, here, wanted)
        flow = None
        if here.intake is not None:
            names = self._flows(here, there)
            if len(names) > 1:
                return f"several flows go from {source} to {target} ({', '.join(names)}): name one with `flow`"
            flow = names[0] if names else None
            if flow is not None and self.session.workspace.document("flow", flow).model.mode != "live":
                return f"{flow} goes from {source} to {target}, and its mode is not live"
        return self._put(self._errand("send", source, target, flow), one, here, wanted)

    def _put(self, errand: Errand, one: Break, side: SidePlan, wanted: Wanted) -> str | None:
        keys = one.natives.get(side.name) or []
        if side.intake is None and one.canonical_id:
            keys = [one.canonical_id]
        if not keys:
            return f"{side.name} has no record of it"
        for key in keys:
            errand.add(key, wanted)
        return None

    def _flows(self, source: SidePlan, target: SidePlan) -> list[str]:
        """The sync flows from one side's object to the other's."""
        known = self._known.get((source.name, target.name))
        if known is not None:
            return known
        found = self._known[source.name, target.name] = []
        workspace = self.session.workspace
        for name in dict.fromkeys([*workspace.names("flow", own=True), *runs.flows(self.session.tx)]):
            try:
                model = workspace.document("flow", name).model
            except SpecError:
                continue  # a flow that cannot run sends nothing
            if not isinstance(model, SyncFlow) or model.entity != self.plan.schema.entity:
                continue
            ways = [(model.source.connection, self._object(model.source.mapping))]
            places = [(one.connection, self._object(one.mapping)) for one in model.targets]
            if (source.connection, source.object) in ways and (target.connection, target.object) in places:
                found.append(name)
        return found

    def _object(self, mapping: str) -> str:
        return self.session.workspace.document("mapping", mapping).model.object or ""

    def _by_flow(self, one: Break, name: str, target: str | None, wanted: Wanted) -> str | None:
        """The flow that was named, for the record as its source knows it."""
        model = self.session.workspace.document("flow", name).model
        if model.mode != "live":
            return f"the mode of {name} is {model.mode}"
        source = next((side.name for side in self.plan.sides if side.connection == model.source.connection
                       and one.natives.get(side.name)), None)  # fmt: skip
        if source is None:
            return f"{name} reads {model.source.connection}, which has no record of it here"
        places = [(each.connection, self._object(each.mapping)) for each in model.targets]
        others = [
            each.name
            for each in self.sides.values()
            if (each.connection, each.object) in places and each.name != source
        ]
        if not others or (target is not None and target not in others):
            return f"{name} does not write to {target or 'the other side'}"
        errand = self._errand("flow", source, target or others[0], name)
        if one.kind == "differs":
            wanted = replace(wanted, natives=frozenset(one.natives.get(errand.target, ())))
        return self._put(errand, one, self.sides[source], wanted)


def _top(path: str) -> str:
    return re.split(r"[.\[ ]", path, maxsplit=1)[0]


def _mark(value: JSON) -> str | None:
    """`$missing` or `$unreadable`, where a value is none."""
    return next((name for name in ("$missing", "$unreadable") if isinstance(value, dict) and name in value), None)
