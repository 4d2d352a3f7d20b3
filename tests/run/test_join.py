"""The join of sorted rows: what it gives is what a dictionary of all rows would give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from unittest.mock import patch

from hypothesis import example, given
from hypothesis import strategies as st

from engine.run import join as joining
from engine.run.join import Join
from engine.sdk.record import canonical_json, digest

Rows = list[tuple[str, int]]


def line(key: str, content: int, place: int = 0) -> bytes:
    return b"%s\t%s\t[%d]\n" % (canonical_json(key), digest(content).hex().encode(), place)


def pieces(lines: Sequence[bytes], size: int) -> Iterator[list[bytes]]:
    for start in range(0, len(lines), size):
        yield list(lines[start : start + size])


def oracle(sides: list[list[bytes]]) -> tuple[int, dict[bytes, list[list[bytes]]]]:
    """How many keys there are, and the lines of each on which the sides do not agree."""
    keys = sorted({one.split(b"\t")[0] for lines in sides for one in lines})
    found = {}
    for key in keys:
        mine = [[one for one in lines if one.split(b"\t")[0] == key] for lines in sides]
        if not all(len(one) == 1 for one in mine) or len({one[0].split(b"\t")[1] for one in mine}) > 1:
            found[key] = mine
    return len(keys), found


# Keys that are the beginning of one another, that hold what JSON escapes, and few of them, so that they collide.
keys = st.sampled_from(["1", "12", "", "a", "ab", "a\tb", "a\nb", 'a"', "é", "\0"]) | st.integers(0, 30).map(str)
rows = st.lists(st.tuples(keys, st.integers(0, 1)), max_size=40)


@given(sides=st.lists(rows, min_size=2, max_size=4), size=st.integers(1, 9))
@example(sides=[[("a", 0), ("a", 1)], [("a", 0), ("a", 1)]], size=1)  # twice on both sides, alike
@example(sides=[[("a", 0), ("a", 0)], [("a", 0), ("a", 0)]], size=9)
@example(sides=[[("1", 0), ("12", 0)], [("12", 0)]], size=1)
@example(sides=[[], [("a", 0)], []], size=1)
def test_the_join_gives_what_a_dictionary_would(sides: list[Rows], size: int) -> None:
    lines = [sorted(line(key, content, place) for place, (key, content) in enumerate(one)) for one in sides]
    join = Join([pieces(one, size) for one in lines])
    with patch.object(joining, "SMALL", 2):  # so that windows of a few rows are halved too
        found = list(join)
    count, expected = oracle(lines)
    assert [key for key, _ in found] == sorted(expected), "in the order of keys, each once"
    assert dict(found) == expected
    assert (join.keys, join.equal) == (count, count - len(expected))


@given(base=rows, size=st.integers(1, 9), drop=st.integers(0, 40))
def test_a_single_change_among_equal_rows_is_found(base: Rows, size: int, drop: int) -> None:
    left = sorted(line(key, content) for key, content in dict(base).items())
    right = [one for place, one in enumerate(left) if place != drop]
    join = Join([pieces(left, size), pieces(right, size)])
    assert [key for key, _ in join] == [one.split(b"\t")[0] for one in left[drop : drop + 1]]
