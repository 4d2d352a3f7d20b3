"""Rows of a reconciliation: what one record, or one group of them, gives to the comparison, as a line that can be sorted.

A row is one line: key, digest of what must be equal, and everything else as JSON. Two sides whose lines agree in the first
two parts are equal there; the rest is looked at only where they are not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from engine.run.control import Contribution
from engine.run.join import ASIDE
from engine.sdk.record import JSON, canonical_json, decode_json, digest, encode_json

IN, OUTSIDE, OPTIONAL, UNWANTED, DELETED = "in", "window", "optional", "where", "deleted"
"""What a row is there for: compared, or only to tell why its record is not."""


Former = Callable[[JSON], JSON]


@dataclass(slots=True)
class Row:
    """One record of a side, or one group of them. standing: one of those above. values: one for each
    compared field of the plan. why: what is to be said of the record beside its values."""

    key: JSON
    natives: list[str]
    id: str | None = None
    part: str = ""
    modified: str | None = None
    standing: str = IN
    values: list[JSON] = field(default_factory=list)
    amount: JSON = None
    parts: list[Contribution | None] = field(default_factory=list)
    label: str | None = None
    why: str | None = None

    def line(self, formers: Sequence[Former | None], apart: str | None) -> bytes:
        """formers: what makes the form of each value; None: it is its own. apart: what makes it unlike other sides' rows."""
        forms = [value if form is None else form(value) for value, form in zip(self.values, formers, strict=True)]
        equal = [forms, self.parts, self.standing, apart]
        told = [self.natives, self.id, self.part, self.modified, self.standing, self.values, self.amount, self.parts,
                self.label, self.why]  # fmt: skip
        print = digest(equal).hex().encode()
        if self.standing != IN:
            print = ASIDE + print[1:]
        return b"\t".join((canonical_json(self.key), print, encode_json(told))) + b"\n"

    @classmethod
    def of(cls, line: bytes) -> Row:
        key, _, told = line.split(b"\t", 2)
        return cls(decode_json(key), *decode_json(told))
