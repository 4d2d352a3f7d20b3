"""Sorted rows of several sides, met key by key. Where all sides have one row that says the same, it is only counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


class Join:
    """Iterates over the keys on which sides do not agree. keys: all that were met; equal: those on which all sides agree."""

    def __init__(self, sides: Sequence[Iterable[bytes]]) -> None:
        self.sides = [iter(side) for side in sides]
        self.keys = self.equal = 0

    def __iter__(self) -> Iterator[tuple[bytes, list[list[bytes]]]]:
        """(key, lines of each side)."""
        heads: list[tuple[bytes, bytes, bytes] | None] = [_next(side) for side in self.sides]
        while True:
            live = [head[0] for head in heads if head is not None]
            if not live:
                return
            key = min(live)
            lines: list[list[bytes]] = []
            digests = set()
            single = True
            for number, side in enumerate(self.sides):
                mine: list[bytes] = []
                head = heads[number]
                while head is not None and head[0] == key:
                    mine.append(head[2])
                    digests.add(head[1])
                    head = _next(side)
                heads[number] = head
                single = single and len(mine) == 1
                lines.append(mine)
            self.keys += 1
            if single and len(digests) == 1:
                self.equal += 1
            else:
                yield key, lines


def _next(side: Iterator[bytes]) -> tuple[bytes, bytes, bytes] | None:
    """(key, digest, line) of the next row."""
    line = next(side, None)
    if line is None:
        return None
    key, digest, _ = line.split(b"\t", 2)
    return key, digest, line
