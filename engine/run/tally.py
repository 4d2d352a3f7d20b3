"""What a run of a process flow did with instances, in the words of the JSON contract."""

from __future__ import annotations

from typing import Any

from engine.run.hand import Hand
from engine.run.items import Counts
from engine.sdk.record import Fields
from engine.state.processes import ENDED, Instance


class Tally:
    """What a run did with instances."""

    def __init__(self) -> None:
        self.started: set[str] = set()
        self.ends: dict[str, Instance] = {}
        self.went_on: set[str] = set()
        self.targets: list[dict[str, dict[str, int]]] = []
        self.foreseen: list[Fields] | None = None
        """In the shadow: what the first instances would do; it stays with the run."""

    def note(self, hand: Hand | None) -> None:
        """How far an instance came; None where somebody else has it in hand."""
        if hand is None:
            return
        self.ends[hand.one.id] = hand.one
        if hand.acted:
            self.went_on.add(hand.one.id)
        self.targets.append(hand.counts.targets)

    def onto_targets(self, counts: Counts) -> None:
        """Add what the instances wrote to the counts of the targets."""
        for targets in self.targets:
            for target, told in targets.items():
                for name, count in told.items():
                    counts.targets[target][name] += count

    def onto(self, counts: Counts) -> Fields:
        """The counts of the JSON contract: `created` are instances that began, `updated` earlier ones that went on,
        `deleted` those that were taken back; `quarantined` wait for a repair, `waiting` for anything else."""
        told = counts.as_json()
        ends = list(self.ends.values())
        repair = [one for one in ends if one.state == "needs_person" or one.waiting == "repair"]
        waiting = [one for one in ends if one.state in ("waiting", "compensating", "running") and one not in repair]
        states: dict[str, int] = {}
        for one in ends:
            states[one.state] = states.get(one.state, 0) + 1
        told |= {
            "created": len(self.started),
            "updated": len(self.went_on - self.started),
            "unchanged": 0,
            "deleted": sum(one.state in ENDED and one.state != "done" for one in ends),
            "quarantined": told["quarantined"] + len(repair),
            "waiting": told["waiting"] + len(waiting),
            "processes": states,
        }
        if self.foreseen is not None:
            told["instances"] = self.foreseen
        return told


class ProcessCounts(Counts):
    """Counts of a run of a process flow: what its source gave, and what became of instances."""

    tally: Tally

    @classmethod
    def with_tally(cls, counts: Counts, tally: Tally) -> ProcessCounts:
        made = cls(counts.records, counts.targets)
        made.tally = tally
        return made

    @property
    def left_to_people(self) -> int:
        """Quarantined records, and instances that wait for a repair."""
        return int(self.as_json()["quarantined"])

    def as_json(self) -> dict[str, Any]:
        """See `Tally.onto`."""
        return self.tally.onto(Counts(self.records, self.targets))
