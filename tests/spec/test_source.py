"""The loader's rules (LANGUAGE section 1), each one."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.sdk.errors import SpecError
from engine.spec.source import read_yaml


def read(text: str) -> object:
    return read_yaml(text.encode(), "f.yaml")[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"), ("on", "on"), ("yes", "yes"), ("true", True), ("false", False), ("True", "True"),
        ("2026-01-31", "2026-01-31"), ("12:30", "12:30"), ("012", "012"), ("1_000", "1_000"), ("0x1f", "0x1f"),
        ("1.10", Decimal("1.10")), ("90071992547409.93", Decimal("90071992547409.93")), ("1e3", "1e3"), ("42", 42), ("-7", -7),
        ("~", None), ("null", None), ("", None), ("'5'", "5"), ('"true"', "true"),
    ],
)  # fmt: skip
def test_plain_scalars_are_what_they_look_like_and_nothing_more(text: str, value: object) -> None:
    found = read(f"a: {text}")
    assert found == {"a": value}
    assert type(found["a"]) is type(value)  # type: ignore[index]


def test_anchors_and_merges_work_and_positions_are_kept() -> None:
    value, positions = read_yaml(b"x: &x {k: 1, l: two}\ny: {<<: *x, k: 3}\nz:\n  - q\n", "f.yaml")
    assert value == {"x": {"k": 1, "l": "two"}, "y": {"l": "two", "k": 3}, "z": ["q"]}
    assert str(positions.at("z", 0)) == "f.yaml:4:5"
    assert str(positions.key_at("y")) == "f.yaml:2:1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "E103 f.yaml:3:1 the key 'a' stands here and on line 1 — keep one of them"),
        ("mode: dry\nmode: live", "E103 f.yaml:2:1"),
        ("a: !!python/object/apply:os.system [ls]", "E105 f.yaml:1:4 the tag"),
        ("a: !!python/name:os.system", "E105 f.yaml:1:4 the tag"),
        ("a: .nan", "E105 f.yaml:1:4"), ("a: .inf", "E105 f.yaml:1:4"),
        ("\ta: 1", "E100 f.yaml:1:1"), ("a: b: c", "E100 f.yaml:1:5"), ("", "E100 f.yaml:1:1 the document is empty"),
        ("a: *nobody", "E100 f.yaml:1:4"), ("--- 1\n--- 2", "E100 f.yaml:2:1"), ("a: [1, 2", "E100"),
        ("[" * 150, "E100 f.yaml:1:101"), ("? [a, b]\n: c", "E100 f.yaml:1:3 a key must be a single value"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(text)
    assert str(caught.value).startswith(message)


def test_alias_bombs_and_merge_chains_are_refused_before_anything_is_built() -> None:
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
    )
    chain = "m0: &m0 {k: 1}\n" + "".join(
        f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 30)}]}}\n" for n in range(1, 20)
    )
    for text in (bomb, chain):
        with pytest.raises(SpecError, match="E104"):
            read(text)


def test_large_and_badly_encoded_files_are_refused() -> None:
    with pytest.raises(SpecError, match="E104"):
        read_yaml(b"a: " + b"x" * 2**20, "f.yaml")
    with pytest.raises(SpecError, match="E100 f.yaml:2:1 the file is not UTF-8"):
        read_yaml(b"a: 1\nb: \xff", "f.yaml")


@given(st.text(max_size=200) | st.text("{}[]:&*!<-?#'\"\n ab1.", max_size=80))
def test_any_text_is_read_or_refused_never_a_surprise(text: str) -> None:
    try:
        read_yaml(text.encode("utf-8", "surrogatepass"), "f.yaml")
    except SpecError as error:
        assert all(problem.at and problem.hint for problem in error.problems)
