"""Echoes by content: what a system shows again of what was written to it is nothing new (DELIVERY.md section 4).

An image is what each system is known to have of a record, in canonical fields: as read, or, after a write, as the
target's mapping reads the payload back. A field that equals its image was not changed there. The first read after a
write may also show the target's own spelling of it (case, blanks, fewer decimals, another order, more members); from
then on what was read is the image, so that every later edit counts, back to an older value too.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from decimal import Decimal

from engine.compile.mapping import CompiledMapping, Direction, compile_inbound
from engine.compile.rules import LinkSlot
from engine.compile.sync import SyncPlan, TargetPlan
from engine.run.items import Delivery, Item
from engine.run.session import Session
from engine.run.shared import EMPTY
from engine.sdk.errors import SpecError
from engine.sdk.record import JSON, Fields, Record, same
from engine.spec.process import ProcessFlow, ProcessSource, StepTarget
from engine.spec.sync import SyncFlow, SyncSource, Target
from engine.state import images, runs
from engine.state.images import Image, Seen
from engine.state.store import Tx

Source = SyncSource | ProcessSource
End = Target | StepTarget
HALF_A_CENT = Decimal("0.005")
Place = tuple[str, str]
"""(connection, object)"""


def mirrored_places(session: Session, plan: SyncPlan) -> frozenset[Place]:
    """The objects that one flow of the entity reads and another one writes: there a write comes back as a change."""
    if plan.flow.store == "none":
        return frozenset()
    workspace = session.workspace
    read, written = set[Place](), set[Place]()
    for name in dict.fromkeys([*workspace.names("flow", own=True), *runs.flows(session.tx), plan.name]):
        try:
            flow = workspace.document("flow", name).model
            sources, targets = ends_of(flow)
            for ends, places in ((sources, read), (targets, written)):
                for one in ends:
                    mapping = workspace.document("mapping", one.mapping).model
                    if mapping.entity == plan.schema.entity:
                        places.add((one.connection, mapping.object or ""))
        except SpecError:
            continue  # a flow that cannot run writes nothing back
    return frozenset(read & written)


def ends_of(flow: object) -> tuple[list[Source], list[End]]:
    """What a flow reads and what it writes: (sources, targets); a process writes in its steps."""
    if isinstance(flow, SyncFlow):
        return [flow.source], list(flow.targets)
    if isinstance(flow, ProcessFlow):
        return [flow.source], [target for step in flow.steps for target in step.targets or ()]
    return [], []


def place_of(connection: str, mapping: CompiledMapping) -> Place:
    """Where a mapping's records live."""
    return connection, mapping.model.object or ""


def followed(session: Session, plan: SyncPlan, place: Place, names: Iterable[str]) -> frozenset[str]:
    """The fields whose images are kept: all of them where writes come back, else those that are shared."""
    if place in session.mirrored:
        return frozenset(names)
    return plan.schema.ownership.shared.intersection(names)


def outdated(session: Session, plan: SyncPlan, item: Item) -> bool:
    """Whether a record may have been read before another flow wrote to it: then it must be read again, for what it
    shows of old values would look like edits."""
    written = item.image.delivered_at
    if written is None or item.deleted or written < (item.read_at or session.began):
        return False
    names = followed(session, plan, place_of(plan.source.connection, plan.source.mapping), item.mapped)
    return any(name in item.image.fields and not same(item.image.fields[name], item.mapped[name]) for name in names)


# ---------------------------------------------------------------------- what is nothing new
def as_meant(image: Image, name: str, shown: JSON) -> JSON:
    """What a system shows in a field, with its own spelling of what we know taken back; edits stay as they are."""
    if name not in image.fields:
        return shown
    return _meant(image.fields[name], image.meaning(name), shown, awaited=image.awaited)


def _meant(before: JSON, meaning: JSON, shown: JSON, *, awaited: bool) -> JSON:
    """before: what the system showed, or is expected to show. awaited: it was not read since the write."""
    if same(before, shown) or (awaited and alike(before, shown)):
        return meaning
    if before.__class__ is dict and shown.__class__ is dict and meaning.__class__ is dict:
        return {name: _meant(before[name], meaning[name], value, awaited=awaited) if name in before and name in meaning else value
                for name, value in shown.items()}  # fmt: skip
    return shown


def alike(written: JSON, shown: JSON) -> bool:
    """Whether a target may have made the one of the other: what it shows says the same in its own spelling."""
    if same(written, shown) or (written in EMPTY and shown in EMPTY):
        return True
    if written.__class__ is str and shown.__class__ is str:
        return _folded(written) == _folded(shown)
    numbers = (int, Decimal)
    if written.__class__ in numbers and shown.__class__ in numbers:
        return _rounded(Decimal(written), Decimal(shown))
    if written.__class__ is dict and shown.__class__ is dict:
        return all(alike(value, shown.get(name)) for name, value in written.items())
    if written.__class__ is list and shown.__class__ is list:
        return _reordered(written, shown)
    return False


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split()).casefold()


def _rounded(written: Decimal, shown: Decimal) -> bool:
    """The same number in fewer decimals, two or more: what is rounded further is no spelling any more."""
    if not (written.is_finite() and shown.is_finite()):
        return False
    fewer = int(shown.normalize().as_tuple().exponent) > int(written.normalize().as_tuple().exponent)
    return fewer and abs(written - shown) <= HALF_A_CENT


def _reordered(written: list[JSON], shown: list[JSON]) -> bool:
    if len(written) != len(shown):
        return False
    left = list(shown)
    for one in written:
        found = next((number for number, other in enumerate(left) if alike(one, other)), None)
        if found is None:
            return False
        del left[found]
    return True


# ---------------------------------------------------------------------- what is known to be there
class Readback:
    """The way back from a target: its mapping's inbound direction, for images of what was written."""

    def __init__(self, session: Session, target: TargetPlan) -> None:
        document = target.mapping.document
        zone = session.workspace.connection(target.connection).timezone
        self.mapping = compile_inbound(document, session.registry, zone=zone)
        self.slots: list[LinkSlot] = session.link_slots(self.direction.slots, target.connection, inward=True)

    @property
    def direction(self) -> Direction:
        assert self.mapping.inbound is not None
        return self.mapping.inbound

    def fields(self, session: Session, native: Fields) -> Fields:
        """Canonical fields of a native record or payload; those that cannot be told are left out."""
        for slot in self.slots:
            slot.clear()
        found, faults = self.direction.inward(native, session.env, self.slots)
        broken = {self.direction.rules[fault[0]].path.split(".")[0] for fault in faults}
        return {name: value for name, value in found.items() if name not in broken}


def readback(session: Session, target: TargetPlan) -> Readback:
    """The target's way back, compiled when first asked for."""
    if target.name not in session.readbacks:
        session.readbacks[target.name] = Readback(session, target)
    found: Readback = session.readbacks[target.name]
    return found


def shown_by(session: Session, target: TargetPlan, record: Record) -> Fields:
    """What a target's record says, in canonical fields."""
    return readback(session, target).fields(session, record.value)


Rows = dict[Place, list[tuple[Item, images.Written]]]


def written_images(session: Session, plan: SyncPlan, items: list[Item]) -> Rows:
    """What reading back should give of everything that was written, by place."""
    rows: Rows = {}
    for item in items:
        for delivery in item.deliveries:
            target = delivery.target
            outbound, place = target.mapping.outbound, place_of(target.connection, target.mapping)
            if delivery.trouble is not None or delivery.kind in ("delete", "append") or outbound is None:
                continue
            done = delivery.outcome is not None or delivery.adopted or delivery.known is None
            names = followed(session, plan, place, outbound.tops) - delivery.left_out
            fields = {**delivery.shown, **(_held(session, item, delivery, names, outbound) if done else {})}
            if fields:
                means = {
                    name: known for name, value in fields.items() if not same(value, known := item.merged.get(name))
                }
                rows.setdefault(place, []).append(
                    (
                        item,
                        images.Written(
                            str(item.canonical_id), delivery.part, fields, means, delivery.outcome is not None
                        ),
                    )
                )
    return rows


def _held(session: Session, item: Item, delivery: Delivery, names: frozenset[str], outbound: Direction) -> Fields:
    """The named fields as the target has them now; a field that the payload does not hold was not written."""
    if not names:
        return {}
    native = delivery.record if delivery.kind in ("create", "upsert") else delivery.payload
    back = readback(session, delivery.target).fields(session, native)
    sent = {name for name in names if outbound.tops[name] & native.keys()}
    return {name: back.get(name, item.merged.get(name)) for name in sent if name in item.merged or name in back}


def keep_images(tx: Tx, session: Session, plan: SyncPlan, items: list[Item], written: Rows) -> None:
    """What each side is now known to have: the source what it gave, a target what was delivered to it."""
    place = place_of(plan.source.connection, plan.source.mapping)
    found = []
    for item in items:
        names = followed(session, plan, place, item.mapped)
        if names and not item.deleted:
            given = {**item.image.fields, **{name: item.mapped[name] for name in names}}
            means = {name: value for name in given
                     if not same(given[name], value := as_meant(item.image, name, given[name]))}  # fmt: skip
            if item.image.awaited or not same(given, item.image.fields):
                found.append(Seen(str(item.canonical_id), item.part, given, means, item.image.revision))
    if found:
        images.seen(tx, *place, found)
    for place, rows in written.items():
        images.delivered(tx, *place, [one._replace(canonical_id=str(item.canonical_id)) for item, one in rows])


def unlike_images(
    session: Session, plan: SyncPlan, target: TargetPlan, deliveries: list[tuple[Item, Delivery]]
) -> None:
    """The ledger knows what was sent last; where the target was changed since, what it is known to show counts."""
    outbound, place = target.mapping.outbound, place_of(target.connection, target.mapping)
    asked = [pair for pair in deliveries if pair[1].known is not None and pair[1].known.state == "delivered"]
    if outbound is None or place not in session.mirrored or target.operation in ("create", "append") or not asked:
        return
    known = images.get(session.tx, *place, [str(item.canonical_id) for item, _ in asked])
    for item, delivery in asked:
        image = known.get((str(item.canonical_id), delivery.part), images.UNKNOWN)
        for name in image.fields.keys() & outbound.tops.keys() & item.merged.keys():
            if same(image.meaning(name), item.merged[name]):
                continue
            for top in outbound.tops[name] & delivery.payload.keys() - delivery.changes.keys():
                delivery.changes = {**delivery.changes, top: delivery.payload[top]}
                delivery.kind, delivery.counted = "update", None
                delivery.native = delivery.native or (delivery.known.native_id if delivery.known else None)
