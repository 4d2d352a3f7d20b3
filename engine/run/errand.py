"""An errand: records that one side has, and what of them may be written to another one to mend breaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

How = Literal["flow", "send", "take", "end"]
"""flow: a flow that was named. send: from the side that owns to the other. take: into the canonical store. end: deactivate."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What may be written of one record. breaks: ids. fields: canonical ones; None: all of them, for the record is missing.

    others: fields that differ too, and that do not go this way. natives: the target's records that may be changed.
    """

    breaks: tuple[str, ...]
    canonical_id: str | None = None
    fields: frozenset[str] | None = None
    others: frozenset[str] = frozenset()
    natives: frozenset[str] = frozenset()
    lacking: str = ""
    """The side that has no such record, where one has to make sure of that."""


@dataclass(slots=True)
class Errand:
    """One way from side to side, for several records. wanted: by their key at the source. place: (connection, object) that
    is written. left: key → why something of it was not written."""

    how: How
    source: str
    target: str
    flow: str | None
    place: tuple[str, str]
    wanted: dict[str, Wanted] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)

    @property
    def spoken(self) -> str:
        """What it is, in a few words."""
        if self.flow is not None:
            return f"flow {self.flow}"
        return f"ending it in {self.target}" if self.how == "end" else f"{self.source} → {self.target}"

    def add(self, key: str, one: Wanted) -> None:
        """Take a record in; two breaks of one record are one errand."""
        known = self.wanted.get(key)
        if known is not None:
            whole = known.fields is None or one.fields is None
            fields = None if whole else (known.fields or frozenset()) | (one.fields or frozenset())
            one = Wanted(tuple(dict.fromkeys([*known.breaks, *one.breaks])), one.canonical_id or known.canonical_id, fields,
                         (known.others | one.others) - (fields or frozenset()), known.natives | one.natives, one.lacking)  # fmt: skip
        self.wanted[key] = one

    def drop(self, key: str, why: str) -> None:
        """Leave a record alone."""
        self.wanted.pop(key, None)
        self.left[key] = why


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person wants to be healed. breaks: ids; none: all that the flow's `heal` covers. names: only these classes.

    limit: records at most. approved: also more than the flow's limit.
    """

    breaks: Sequence[str] = ()
    names: Sequence[str] = ()
    limit: int | None = None
    approved: bool = False


@dataclass(slots=True)
class Healed:
    """What became of one break. outcome: planned, healed, left or forbidden. writes: as plans tell them."""

    id: str
    outcome: str
    how: str | None = None
    why: str | None = None
    writes: list[Mapping[str, object]] = field(default_factory=list)
