"""Sorted rows of several sides, met key by key. Where all sides have one row that says the same, it is only counted.

Rows are met a window at a time: the keys of which every side has given all its rows. A window in which the sides are equal is
passed in a few operations on whole lists; where one is not, only the rows that differ are taken apart.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from operator import eq

PRINT = -33
"""A tab and the digest of 32 letters: what follows the key."""
ASIDE = b"-"
"""Begins the digest of a row that is there only to explain: two of them that are equal compare nothing."""

SMALL = 64
"""Rows that are taken apart together."""

Met = tuple[bytes, list[list[bytes]]]
"""(key, lines of each side)."""
Taken = tuple[list[bytes], list[bytes]]
"""(key and digest of each row of a side, its lines)."""


class Join:
    """Iterates over the keys on which sides do not agree. keys: all that were met; equal: those on which all sides agree;
    aside: keys whose rows are all there only to explain, and alike.

    sides: for each side its lines `key TAB digest TAB rest`, in the order of their bytes, in lists of any length. A key holds
    no byte below a blank, a digest is 32 letters. Memory: a list of each side, and all rows of one key.
    """

    def __init__(self, sides: Sequence[Iterable[list[bytes]]]) -> None:
        self.sides = [_Side(iter(side)) for side in sides]
        self.keys = self.equal = self.aside = 0

    def __iter__(self) -> Iterator[Met]:
        sides = self.sides
        for side in sides:
            side.more()
        while any(side.prints for side in sides):
            bound = min((side.prints[-1][:PRINT] for side in sides if not side.over), default=None)
            if bound is None:
                yield from self._window([side.take(len(side.prints)) for side in sides])
                continue
            cuts = [bisect_left(side.prints, bound + b"\t") for side in sides]
            if any(cuts):
                yield from self._window([side.take(cut) for side, cut in zip(sides, cuts, strict=True)])
            for side in sides:  # the rows of the last key may go on in the next list
                if not side.over and side.prints[-1][:PRINT] == bound:
                    side.more()

    def _window(self, taken: list[Taken]) -> Iterator[Met]:
        """A window where the sides are not equal is halved, so that few rows are taken apart for a difference."""
        first = taken[0][0]
        if all(prints == first for prints, _ in taken):
            keys = [one[:PRINT] for one in first]
            if not _double(keys):
                self._alike(first)
                return
        if len(first) <= SMALL:
            yield from self._apart(taken)
            return
        middle = first[len(first) // 2][:PRINT] + b"\t"
        cuts = [bisect_left(prints, middle) for prints, _ in taken]
        if cuts[0]:
            yield from self._window(
                [(prints[:cut], lines[:cut]) for cut, (prints, lines) in zip(cuts, taken, strict=True)]
            )
            taken = [(prints[cut:], lines[cut:]) for cut, (prints, lines) in zip(cuts, taken, strict=True)]
            yield from self._window(taken)
        else:  # the first half is one key
            yield from self._apart(taken)

    def _apart(self, taken: list[Taken]) -> Iterator[Met]:
        """The keys of a window on which the sides do not agree, and those that a side has twice."""
        sets = [set(prints) for prints, _ in taken]
        everywhere = sets[0].intersection(*sets[1:])
        unlike = {one[:PRINT] for prints in sets for one in prints - everywhere}
        for prints, _ in taken:
            keys = [one[:PRINT] for one in prints]
            if _double(keys):
                unlike.update(one for one, next in pairwise(keys) if one == next)
        self._alike([one for one in everywhere if one[:PRINT] not in unlike])
        self.keys += len(unlike)
        for key in sorted(unlike):
            yield key, [_of_key(prints, lines, key) for prints, lines in taken]

    def _alike(self, prints: list[bytes]) -> None:
        aside = b"".join(prints).count(b"\t" + ASIDE)  # a key holds no tab
        self.keys += len(prints)
        self.aside += aside
        self.equal += len(prints) - aside


def _double(keys: list[bytes]) -> bool:
    """Whether one of sorted keys is there twice."""
    return True in map(eq, keys, islice(keys, 1, None))


def _of_key(prints: list[bytes], lines: list[bytes], key: bytes) -> list[bytes]:
    start = bisect_left(prints, key + b"\t")
    return lines[start : bisect_left(prints, key + b"\n", start)]


class _Side:
    """What is at hand of a side. prints: key and digest of each line. over: there is no more to come."""

    __slots__ = ("lines", "over", "prints", "source")

    def __init__(self, source: Iterator[list[bytes]]) -> None:
        self.source, self.over = source, False
        self.lines: list[bytes] = []
        self.prints: list[bytes] = []

    def more(self) -> None:
        """Add the next list; sets `over` where there is none."""
        for lines in self.source:
            if lines:
                self.lines += lines
                self.prints += [line.rpartition(b"\t")[0] for line in lines]
                return
        self.over = True

    def take(self, count: int) -> Taken:
        """(prints, lines) of the first rows; they are no longer at hand."""
        prints, lines = self.prints[:count], self.lines[:count]
        del self.prints[:count], self.lines[:count]
        return prints, lines
