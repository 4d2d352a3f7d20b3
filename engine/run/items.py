"""An Item is one record's story so far: raw, canonical, what each target is to get, or the trouble it is in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.compile.rules import Fault
from engine.compile.sync import TargetPlan
from engine.sdk.connector import Outcome
from engine.sdk.errors import ExceptionClass, Problem
from engine.sdk.record import Fields, Record
from engine.state.canonical import Stored
from engine.state.images import UNKNOWN, Image
from engine.state.ledger import Delivered
from engine.state.swings import Swing

Stage = Literal["read", "map", "merge", "validate", "check", "map_out", "diff", "deliver", "commit"]
COUNTS = ("created", "updated", "unchanged", "deleted")
EVERY = "*"
"""Provenance of all fields that have none of their own."""
RECORDS = ("read", "quarantined", "waiting", "skipped")


@dataclass(slots=True)
class Trouble:
    """Why a record left the line. state: open (a person must act), waiting (it goes on by itself) or parked (nothing is
    wrong with the record, its target takes nothing at all: no exception, and the cursor does not pass it).

    reads: (entity, canonical id or `connection:native id`) whose change tries the record again.
    """

    stage: Stage
    problem: Problem
    exception_class: ExceptionClass
    state: str = "open"
    queue: str | None = None
    until: str | None = None
    reads: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Delivery:
    """What one target is to get of a record. kind is None where nothing is to be sent."""

    target: TargetPlan
    part: str = ""
    kind: str | None = None
    payload: Fields = field(default_factory=dict)
    once: Fields = field(default_factory=dict)
    changes: Fields = field(default_factory=dict)
    before: Fields = field(default_factory=dict)
    hash: bytes = b""
    encoded: bytes = b""
    """The payload as JSON, from which the hash was made."""
    native: str | None = None
    known: Delivered | None = None
    adopted: bool = False
    left_out: frozenset[str] = frozenset()
    """Fields that the target changed meanwhile, and that are not sent."""
    kept: Fields = field(default_factory=dict)
    """Of fields that were not sent: what the ledger goes on to say."""
    shown: Fields = field(default_factory=dict)
    """Canonical fields as the target shows them, which has them already."""
    later: tuple[tuple[str, str], ...] = ()
    """Records that it goes out without, and goes out again for once they are known."""
    version: str | None = None
    """The target's own version of what was read or written last, for conditional writes."""
    op_key: str = ""
    idempotency_key: str = ""
    send_by: str = ""
    doubted: bool = False
    """An attempt had no answer: its bytes may still arrive late."""
    again: bool = False
    """What it was compared with has changed: it goes through again in this run."""
    counted: str | None = None
    outcome: Outcome | None = None
    trouble: Trouble | None = None

    @property
    def record(self) -> Fields:
        """The whole payload of a create."""
        return merge_fields(self.payload, self.once)


@dataclass(slots=True)
class Item:
    """One record on the line. ended: skipped, unchanged or superseded; such items are only counted."""

    record: Record
    key: str
    raw_hash: bytes = b""
    value: Fields = field(default_factory=dict)
    deleted: bool = False
    canonical_id: str | None = None
    part: str = ""
    mapped: Fields = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    merged: Fields = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    stored: Stored | None = None
    before: Fields | None = None
    image: Image = UNKNOWN
    """The fields that the source was known to have."""
    changed: bool = True
    fresh_link: bool = False
    later: tuple[tuple[str, str], ...] = ()
    left: bool = False
    from_exception: bool = False
    read_at: str | None = None
    """Database time before it was read, where that was after the run began."""
    behind: str = ""
    """`part` of the exception in which it waits, or waited, for earlier versions of its record."""
    lost: bool = False
    """Somebody else changed the record meanwhile: it goes through again."""
    overwrites: dict[str, str] = field(default_factory=dict)
    """Field → the other connection whose value it replaces."""
    correlates: str | None = None
    """What a new record belongs together with others under; None: nothing but itself."""
    swings: list[Swing] = field(default_factory=list)
    agreed: list[Swing] = field(default_factory=list)
    """Held fields over which there is no quarrel any more."""
    sent: dict[tuple[str, str], str] = field(default_factory=dict)
    """(target, part) → what it was counted as, before it was lost."""
    warnings: list[Problem] = field(default_factory=list)
    ended: str | None = None
    trouble: Trouble | None = None
    deliveries: list[Delivery] = field(default_factory=list)

    @property
    def going(self) -> bool:
        """True while the record is still on the line."""
        return self.trouble is None and self.ended is None

    @property
    def correlation(self) -> str | None:
        """The id that the record belongs together with others under: its own, where it has no other."""
        return self.correlates or (self.stored.correlation if self.stored else None) or self.canonical_id

    @property
    def goes_again(self) -> bool:
        """True where what a delivery was compared with has changed: the record goes through again, once in this run."""
        again = self.trouble is None and any(one.again for one in self.deliveries)
        return self.lost or (again and not self.from_exception)

    def stop(self, stage: Stage, problem: Problem, exception_class: ExceptionClass, **more: Any) -> None:
        """Take the record off the line."""
        self.trouble = Trouble(stage, problem, exception_class, **more)


def going(items: Iterable[Item]) -> list[Item]:
    """The items still on the line."""
    return [item for item in items if item.trouble is None and item.ended is None]


def merge_fields(below: Fields, above: Fields) -> Fields:
    """Two payloads as one, objects merged field by field."""
    if not above:
        return below
    merged = dict(below)
    for name, value in above.items():
        standing = merged.get(name)
        both = isinstance(standing, dict) and isinstance(value, dict)
        merged[name] = merge_fields(standing, value) if both and standing is not None else value
    return merged


@dataclass(slots=True)
class Counts:
    """What a run did: records by their end, deliveries by target."""

    records: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RECORDS, 0))
    targets: dict[str, dict[str, int]] = field(default_factory=dict)
    breaks: Fields | None = None
    """Of a reconciliation: what it found."""

    @classmethod
    def of(cls, targets: Iterable[str]) -> Counts:
        names = (*COUNTS, "quarantined", "waiting", "skipped")
        return cls(targets={target: dict.fromkeys(names, 0) for target in targets})

    def add(self, item: Item) -> None:
        """Count one item at its end."""
        records = self.records
        troubles = [one.trouble for one in item.deliveries if one.trouble] + ([item.trouble] if item.trouble else [])
        if any(trouble.state == "open" for trouble in troubles):
            records["quarantined"] += 1
        elif any(trouble.state == "waiting" for trouble in troubles):
            records["waiting"] += 1
        elif item.ended in ("skipped", "superseded"):
            records["skipped"] += 1
        if item.ended == "unchanged":
            for counts in self.targets.values():
                counts["unchanged"] += 1
        for delivery in item.deliveries:
            counts = self.targets[delivery.target.name]
            if delivery.trouble is not None:
                if delivery.trouble.state != "parked":
                    counts["waiting" if delivery.trouble.state == "waiting" else "quarantined"] += 1
            elif delivery.counted is not None:
                counts[item.sent.get((delivery.target.name, delivery.part), delivery.counted)] += 1

    def pass_by(self, unchanged: int, skipped: int) -> None:
        """Count records that were read before, byte for byte, with the same logic."""
        self.records["skipped"] += skipped
        for counts in self.targets.values():
            counts["unchanged"] += unchanged

    @property
    def left_to_people(self) -> int:
        """Quarantined records, and breaks that remain."""
        return self.records["quarantined"] + (self.breaks["remaining"] if self.breaks is not None else 0)

    def as_json(self) -> dict[str, Any]:
        """The counts of the JSON contract: sums over targets, then records, then each target."""
        sums = {name: sum(target[name] for target in self.targets.values()) for name in COUNTS}
        found = {} if self.breaks is None else {"breaks": self.breaks}
        return {**self.records, **sums, "targets": self.targets, **found}
