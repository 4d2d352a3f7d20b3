"""What a difference between systems is: missing, double, another value; and whether something known explains it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

from engine.compile.casts import EXACT
from engine.compile.comparison import SILENT, differences, folded, told
from engine.compile.functions import FunctionFault
from engine.compile.reconcile import ReconcilePlan, SidePlan
from engine.run.extract import Extract
from engine.run.measures import total
from engine.run.rows import DELETED, IN, OPTIONAL, OUTSIDE, UNWANTED, Row
from engine.run.session import Session
from engine.sdk.instants import zoned_moment
from engine.sdk.record import JSON, Fields, canonical_json, decode_json
from engine.state import canonical, grounds, images
from engine.state.breaks import Found
from engine.state.canonical import Stored
from engine.state.images import Image
from engine.state.store import Tx


@dataclass(slots=True)
class Met:
    """The rows of one key by side: those that are compared, and those that only tell why a side has none."""

    key: str
    rows: dict[str, list[Row]]
    shadows: dict[str, list[Row]]

    @classmethod
    def of(cls, key: bytes, sides: Sequence[SidePlan], lines: Sequence[Sequence[bytes]]) -> Met:
        rows: dict[str, list[Row]] = {}
        shadows: dict[str, list[Row]] = {}
        for side, mine in zip(sides, lines, strict=True):
            for line in mine:
                row = Row.of(line)
                there = rows if row.standing in (IN, OUTSIDE, OPTIONAL) else shadows
                there.setdefault(side.name, []).append(row)
        return cls(key.decode(), rows, shadows)

    @property
    def inside(self) -> bool:
        """Whether a side has it in the window."""
        return any(row.standing == IN for rows in self.rows.values() for row in rows)

    @property
    def expected(self) -> bool:
        """Whether a side has it and the others must, in the window or not."""
        return any(row.standing != OPTIONAL for rows in self.rows.values() for row in rows)

    @property
    def id(self) -> str | None:
        """The canonical record that it is about, where that is one."""
        ids = {row.id for rows in (*self.rows.values(), *self.shadows.values()) for row in rows if row.id is not None}
        return ids.pop() if len(ids) == 1 else None

    def first(self) -> Row:
        return next(rows[0] for rows in self.rows.values() if rows)


@dataclass(slots=True)
class Known:
    """What the state knows of the records of a batch."""

    stored: dict[str, Stored] = field(default_factory=dict)
    images: dict[tuple[str, str], dict[images.Key, Image]] = field(default_factory=dict)
    delivered: set[tuple[str, str]] = field(default_factory=set)
    links: dict[tuple[str, str], list[tuple[str, str, str]]] = field(default_factory=dict)
    unresolved: dict[str, list[tuple[str, str, str, str]]] = field(default_factory=dict)
    by_id: dict[str, list[grounds.Trouble]] = field(default_factory=dict)
    by_key: dict[str, list[grounds.Trouble]] = field(default_factory=dict)

    @classmethod
    def of(cls, tx: Tx, plan: ReconcilePlan, batch: Iterable[Met]) -> Known:
        batch = list(batch)
        ids = [met.id for met in batch if met.id is not None]
        natives = [one for met in batch for rows in met.rows.values() for row in rows for one in row.natives]
        entity = plan.schema.entity
        known = cls(canonical.get(tx, entity, ids))
        for side in plan.sides:
            if side.object:
                place = (side.connection, side.object)
                known.images[place] = images.get(tx, *place, ids)
        known.delivered = grounds.delivered(tx, ids)
        known.links = grounds.standing(tx, entity, ids)
        known.unresolved = grounds.unresolved(tx, ids)
        for trouble in grounds.troubles(tx, entity, ids, natives):
            if trouble.canonical_id is not None:
                known.by_id.setdefault(trouble.canonical_id, []).append(trouble)
            known.by_key.setdefault(trouble.key, []).append(trouble)
        return known

    def record(self, id: str | None) -> Fields | None:
        """The canonical record, where there is one."""
        stored = self.stored.get(id or "")
        found: Fields | None = decode_json(stored.data) if stored is not None else None
        return found


class Judge:
    """Tells what the difference at a key is. extracts: what was read, by side."""

    def __init__(self, session: Session, plan: ReconcilePlan, extracts: Mapping[str, Extract]) -> None:
        self.session, self.plan = session, plan
        self.sides = {side.name: side for side in plan.sides}
        self.ahead = {name: timedelta(seconds=one.ahead) for name, one in extracts.items()}
        begun = [one.began for one in extracts.values()]
        self.cutoff = min(begun) - plan.flow.grace
        self.known = Known()

    def judge(self, batch: Sequence[Met]) -> Iterator[tuple[Met, list[Found]]]:
        """The differences at each key of a batch."""
        with self.session.reading() as tx:
            self.known = Known.of(tx, self.plan, batch)
            for met in batch:
                yield met, self._one(met)

    def _one(self, met: Met) -> list[Found]:
        found = []
        double = {name: rows for name, rows in met.rows.items() if _twice(rows)}
        for name, rows in double.items():
            found.append(self._duplicate(met, name, rows))
        for name in self.sides:
            if name not in met.rows:
                found.append(self._missing(met, name))
        fields = list(self._fields(met, {name: rows for name, rows in met.rows.items() if name not in double}))
        if fields:
            found.append(self._differs(met, fields))
        return found

    # ------------------------------------------------------------------ missing and double
    def _duplicate(self, met: Met, side: str, rows: list[Row]) -> Found:
        natives = [one for row in rows for one in row.natives]
        extra = _added([row.amount for row in rows[1:]])
        why = f"{side} has {len(rows)} records for it: {', '.join(natives[:5])}{' …' if len(natives) > 5 else ''}"
        return self._found(met, "duplicate", side, "duplicate", "duplicate", [], why, extra)

    def _missing(self, met: Met, side: str) -> Found:
        cause, why = self._absence(met, side)
        explained = self._explained(met)
        name = f"missing_{side}"
        if explained is not None:
            name, (cause, why) = "in_flight", explained
        return self._found(met, "missing", side, name, cause, [], why, met.first().amount)

    def _absence(self, met: Met, side: str) -> tuple[str, str | None]:
        """Why a side has no record, as far as anybody can tell."""
        first = met.first()
        if first.key.__class__ is list and first.key[:1] == ["?"]:
            return "no key", first.why
        told = f"; {first.why}" if first.why and not self.plan.sides[0].group else ""  # it cannot be read, for instance
        for row in met.shadows.get(side, ()):
            how = {UNWANTED: "left out by `where`", DELETED: "ended there"}[row.standing]
            return how, f"{side} has it as {row.natives[0]}: {how}"
        for object, native, state in self.known.links.get((met.id or "", self.sides[side].connection), ()):
            if object == self.sides[side].object:
                ended = " (it was deleted)" if state == "deleted" else ""
                return "gone", f"{side} no longer has {native}, which it is linked to{ended}"
        unlinked = not self.plan.key and any(row.id is None for rows in met.rows.values() for row in rows)
        if unlinked:
            return "not linked", f"nobody has linked it, and no record of {side} matches it{told}"
        by = "with its key" if self.plan.key else "linked to it"
        return "not there", f"{side} has no record {by}{told}"

    # ------------------------------------------------------------------ values
    def _fields(self, met: Met, sides: Mapping[str, list[Row]]) -> Iterator[Fields]:
        """Fields that differ, each with the value of every side that gives it."""
        record = self.known.record(met.id)
        parts = sorted({row.part for rows in sides.values() for row in rows}) or [""]
        if len(parts) > 1 and parts[0] == "":
            parts = parts[1:]
        for part in parts:
            rows = {name: found for name, one in sides.items() if (found := _of_part(one, part)) is not None}
            for place, given in enumerate(self.plan.fields):
                names = [name for name in rows if place in self.sides[name].leaves]
                if len(names) < 2:
                    continue
                owner = self._owner(given.top, record, names)
                first = owner or names[0]
                entries: dict[str, Fields] = {}
                for name in names:
                    if name == first:
                        continue
                    for one in differences(given.leaf, rows[first].values[place], rows[name].values[place]):
                        path = f"{one.path} ({part})" if part else one.path
                        entry = entries.setdefault(path, {"path": path, "field": given.leaf.path, "values": {first: told(one.left)},
                                                       "owner": owner, "class": None, "why": one.why, "sides": []})  # fmt: skip
                        entry["values"][name] = told(one.right)
                        entry["sides"].append(name)
                        kind = self._kind(met.id, given.leaf, place, first if owner else None, name, rows, record)
                        entry["class"] = _worse(entry["class"], kind)
                yield from entries.values()

    def _owner(self, top: str, record: Fields | None, names: Sequence[str]) -> str | None:
        """The side that owns a field, if one of these does."""
        owner = self.plan.schema.ownership.owners.get(top)
        if owner is None:
            return None
        try:
            role = owner.of(record or {}, self.session.env)
        except FunctionFault:
            return None
        return next((name for name in names if self.sides[name].role == role), None)

    def _kind(
        self, id: str | None, leaf: Any, place: int, owner: str | None, other: str, rows: Mapping[str, Row], record: Fields | None
    ) -> str:  # fmt: skip
        """stale: the other side still has what the owner had. wrong_owner: the other side was changed, which does not own the
        field. mismatch: neither can be shown."""
        if owner is None or id is None or record is None:
            return "mismatch"
        stored = leaf.pick(record)
        if stored == SILENT:
            return "mismatch"

        def alike(one: JSON, two: JSON) -> bool:
            return one != SILENT and not any(differences(leaf, one, two))

        mine, theirs = rows[owner].values[place], rows[other].values[place]
        side = self.sides[other]
        if alike(theirs, stored) and not alike(mine, stored):
            return "stale"
        if not alike(mine, stored):
            return "mismatch"
        image = self.known.images.get((side.connection, side.object), {}).get((id, rows[other].part))
        if image is not None and alike(theirs, leaf.pick(image.fields)):
            return "stale"
        return "wrong_owner" if (id, side.connection) in self.known.delivered else "mismatch"

    def _differs(self, met: Met, fields: list[Fields]) -> Found:
        kinds = {one["class"] for one in fields}
        name = next(kind for kind in ("mismatch", "wrong_owner", "stale") if kind in kinds)
        cause = ", ".join(dict.fromkeys(one["field"] for one in fields[:3])) + (" …" if len(fields) > 3 else "")
        why = "; ".join(dict.fromkeys(one["why"] for one in fields if one["why"])) or None
        explained = self._explained(met)
        if explained is not None:
            name, (cause, why) = "in_flight", explained
        return self._found(met, "differs", "", name, cause, fields, why, self._between(met))

    def _between(self, met: Met) -> JSON:
        """The largest difference of the amounts at stake, where the sides have one currency."""
        given = [rows[0].amount for rows in met.rows.values() if rows and rows[0].amount is not None]
        if len({one[1] for one in given}) != 1:
            return given[0] if given else None
        amounts = [Decimal(one[0]) for one in given]
        spread = EXACT.subtract(max(amounts), min(amounts))
        return [spread, given[0][1]] if spread else None

    # ------------------------------------------------------------------ explanations
    def _explained(self, met: Met) -> tuple[str, str] | None:
        """(cause, why) where something known to be under way explains a difference."""
        natives = {
            (self.sides[name].connection, self.sides[name].object, one)
            for name, rows in met.rows.items() for row in rows for one in row.natives
        }  # fmt: skip
        troubles = [
            *self.known.by_id.get(met.id or "", ()),
            *(t for _, _, native in natives for t in self.known.by_key.get(native, ())),
        ]
        for one in troubles:
            if (met.id is not None and one.canonical_id == met.id) or self._of_flow(one.flow, natives, one.key):
                return one.code, f"exception {one.id} of {one.flow}: {one.message}"
        for connection, kind, state, since in self.known.unresolved.get(met.id or "", ()):
            return "unresolved write", f"a {kind} at {connection} has no known outcome ({state} since {since[:19]}Z)"
        for name, rows in met.rows.items():
            for row in rows:
                moment = zoned_moment(row.modified)
                if moment is not None and moment - self.ahead[name] > self.cutoff:
                    return (
                        "newer change",
                        f"{name} changed it at {row.modified}, after the reading began or shortly before",
                    )
        return None

    def _of_flow(self, flow: str, natives: set[tuple[str, str, str]], key: str) -> bool:
        """Whether a flow reads the object in which one of the records has that key: others number theirs alike."""
        workspace = self.session.workspace
        try:
            source = workspace.document("flow", flow).model.source
            object = workspace.document("mapping", source.mapping).model.object or ""
        except Exception:  # noqa: BLE001 - the flow is gone or wrong: its exceptions explain nothing
            return False
        return (source.connection, object, key) in natives

    # ------------------------------------------------------------------ what is kept
    def _found(
        self, met: Met, kind: str, side: str, name: str, cause: str, fields: list[Fields], why: str | None, amount: JSON
    ) -> Found:
        natives = {each: [one for row in rows for one in row.natives] for each, rows in met.rows.items()}
        mend = side or self._to_mend(fields)
        queue = self.plan.flow.queues.get(mend, self.plan.flow.owner) if mend else self.plan.flow.owner
        shown = [{key: one[key] for key in ("path", "values", "owner", "class", "why")} for one in fields]
        sum_of, currency = (str(amount[0]), amount[1]) if amount is not None else (None, None)
        return Found(
            met.key, kind, side, name, cause, met.id, met.first().label, natives, shown, why, sum_of, currency, queue
        )

    def _to_mend(self, fields: list[Fields]) -> str:
        """The side that has to change, where that is one."""
        sides = {name for one in fields for name in one["sides"]} if all(one["owner"] for one in fields) else set()
        return sides.pop() if len(sides) == 1 else ""


def near(key: str) -> bytes:
    """Equal for keys that differ by case and blanks only."""
    return canonical_json(folded(decode_json(key)))


def _twice(rows: Sequence[Row]) -> bool:
    parts = [row.part for row in rows]
    return len(parts) != len(set(parts))


def _of_part(rows: Sequence[Row], part: str) -> Row | None:
    """The row of a part; one without parts stands for all of them."""
    return next((row for row in rows if row.part == part), next((row for row in rows if row.part == ""), None))


def _worse(one: str | None, other: str) -> str:
    order = ("mismatch", "wrong_owner", "stale")
    return other if one is None else min(one, other, key=order.index)


def _added(amounts: Sequence[JSON]) -> JSON:
    given = [one for one in amounts if one is not None]
    if not given or len({one[1] for one in given}) != 1:
        return None
    return [total([Decimal(one[0]) for one in given]), given[0][1]]
