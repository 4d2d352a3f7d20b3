"""Echoes by content: what a system only shows again is unchanged, in its own spelling too; what somebody edits is not."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.run.echo import alike, as_meant
from engine.sdk.record import same
from engine.state import exceptions
from engine.state.images import Image
from tests.run.test_two_way import ALL, Pair, quick

__all__ = ["quick"]

SPELLINGS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "upper case": lambda row: {"phone": row["phone"].upper(), "city": row["city"].upper(), "memo": row["memo"].upper()},
    "trims": lambda row: {"city": row["city"].strip(), "memo": row["memo"].strip()},
    "rounds": lambda row: {"rate": round(row["rate"], 2)},
    "reorders": lambda row: {"tags": sorted(row["tags"], reverse=True)},
    "adds its own": lambda row: {"status": "active", "number": 7},
    "nothing for blank": lambda row: {"memo": row["memo"] or None},
}


class Spelled(Pair):
    """A pair whose ERP writes everything in its own way, whenever it is written to."""

    spelling: Callable[[dict[str, Any]], dict[str, Any]] | None = None

    def run(self, flow: str, **options: Any) -> dict[str, Any]:
        before = self.rows("erp") if (self.folder / "erp/firms.ndjson").exists() else {}
        told = super().run(flow, **options)
        if flow == "out" and self.spelling:
            rows = self.rows("erp")
            for tax, row in rows.items():
                if row != before.get(tax):
                    row |= {**self.spelling(row), "at": self.now()}
            self.give("erp", *rows.values())
        return told

    def kept(self) -> tuple[Any, ...]:
        """Everything that an echo must not touch: records with their versions, and history."""
        with self.store.read() as tx:
            return (
                self.records(),
                tx.rows("SELECT entity, id, field, version, at FROM history ORDER BY field, version"),
            )

    def open(self) -> list[exceptions.Row]:
        with self.store.read() as tx:
            return exceptions.listed(tx)


@pytest.fixture
def pair(tmp_path: Path) -> Any:
    made = Spelled(tmp_path)
    made.known()
    yield made
    made.store.close()


EDIT = {"phone": "abc 1", "city": " Basel ", "rate": 10.123, "tags": ["x", "y", "z"], "memo": " second "}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_what_a_target_spells_its_own_way_comes_back_as_unchanged(pair: Spelled, spelling: str) -> None:
    pair.spelling = SPELLINGS[spelling]
    pair.set("crm", **EDIT)
    assert pair.run("out")["updated"] == 1
    before, crm = pair.kept(), pair.rows("crm")
    told = pair.run("back")
    assert (told["updated"], told["unchanged"]) == (0, 1)
    assert pair.kept() == before and pair.rows("crm") == crm, "no version, no history, no write"
    assert [pair.both() for _ in range(3)] == [0, 0, 0]
    pair.set("crm", name="Other")  # what the target spells its own way is not sent again with it
    assert pair.run("out")["updated"] == 1
    assert [pair.both() for _ in range(3)] == [0, 0, 0]
    assert pair.facts("crm") == {**ALL, **EDIT, "name": "Other"}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_genuine_edit_of_the_same_moment_passes(pair: Spelled, spelling: str) -> None:
    pair.spelling = SPELLINGS[spelling]
    pair.set("crm", **EDIT)
    pair.run("out")
    pair.set("erp", phone="from the ERP", city="Genf")
    assert pair.run("back")["updated"] == 1
    assert pair.facts("crm") == {**ALL, **EDIT, "phone": "from the ERP", "city": "Genf"}
    pair.settle()


def test_going_back_to_an_older_value_is_an_edit(pair: Spelled) -> None:
    pair.set("crm", phone="2", city="Basel")
    pair.both()
    pair.set("erp", phone="1", city="Bern")  # what both had before
    assert pair.run("back")["updated"] == 1
    assert pair.facts("crm") == ALL
    pair.settle()
    pair.set("crm", phone="2", city="Basel")
    pair.run("out")
    pair.set("erp", phone="1", city="Bern")  # the same, before the write was ever read back
    pair.run("back")
    assert pair.facts("crm") == ALL
    pair.settle()


def test_after_the_first_read_every_spelling_is_an_edit(pair: Spelled) -> None:
    pair.spelling = SPELLINGS["upper case"]
    pair.set("crm", city="basel")
    pair.both()
    pair.set("erp", city="Basel")
    assert pair.run("back")["updated"] == 1
    assert pair.facts("crm")["city"] == "Basel"


def test_an_old_value_shown_again_does_not_undo_a_newer_one(pair: Spelled) -> None:
    """The ERP edits one field while it still has the old value of another: only its edit counts."""
    pair.set("crm", phone="2", city="Basel", memo="new")
    pair.set("erp", terms="n60")
    pair.run("back")  # canonical: the terms; the ERP still has the old phone, city and memo
    pair.run("out")
    pair.set("crm", city="Chur")
    (pair.folder / "flows/fill.yaml").write_text(
        "flow: fill\nkind: sync\nentity: firm\nsource: { connection: crm, mapping: any/firm, incremental: none }\ntargets: []\n"
    )
    pair.run("fill")  # read, and not delivered yet
    pair.set("erp", terms="n90")
    pair.run("back")
    wanted = {**ALL, "phone": "2", "city": "Chur", "memo": "new", "terms": "n90"}
    assert {name: pair.records()[0][0][name] for name in ALL} == wanted
    pair.settle()
    assert pair.facts("crm") == pair.facts("erp") == wanted


def test_a_lossy_mapping_does_not_take_precision_away(pair: Spelled) -> None:
    """The ERP counts minutes: reading back gives four decimals of hours, and more than that is no change."""
    (pair.folder / "mappings/any/coarse.yaml").write_text(
        "mapping: any/coarse\nobject: firms\nentity: firm\nfields:\n  name: name\n"
        "  rate: { from: rate, as: decimal, scale: 1/60, round: [4, 0] }\n  terms: terms\n  phone: phone\n  tax: tax\n"
    )
    pair.give("erp", pair.firm("erp", rate=630))
    for flow in ("out", "back"):
        path = pair.folder / f"flows/{flow}.yaml"
        path.write_text(path.read_text().replace("erp, mapping: any/firm", "erp, mapping: any/coarse"))
    pair.set("crm", rate=1.33337)
    pair.run("out")
    assert pair.rows("erp")["T1"]["rate"] == 80
    pair.set("erp", phone="9")
    pair.settle()
    assert (pair.facts("crm")["rate"], pair.facts("crm")["phone"]) == (1.33337, "9")
    pair.set("erp", rate=90)
    pair.settle()
    assert pair.facts("crm")["rate"] == 1.5


# ---------------------------------------------------------------------- loops
def fight(pair: Spelled, turns: int = 12) -> int:
    """Something on each side sets the field at every change; how many writes that made."""
    writes = 0
    for turn in range(turns):
        system, flow = (("erp", "back"), ("crm", "out"))[turn % 2]
        pair.set(system, phone=("zero", "one")[turn % 2])
        writes += pair.told(flow)["updated"]
    return writes


@pytest.fixture
def held(tmp_path: Path) -> Any:
    made = Spelled(tmp_path)
    made.known("T1", "T2")
    assert fight(made) == 7, "two that began it, and five that undo the one before"
    yield made
    made.store.close()


def test_two_systems_that_overwrite_each_other_are_held_and_others_go_on(held: Spelled) -> None:
    assert {(one.code, one.exception_class) for one in held.open()} == {("E416", "conflict")}
    message = held.open()[-1].message
    assert "phone goes back and forth between" in message and "'one'" in message and "'zero'" in message
    held.set("crm", "T2", phone="5")
    assert held.told("out")["updated"] == 1 and held.facts("erp", "T2")["phone"] == "5"
    assert fight(held, 4) == 0, "it stays held"


def test_a_held_record_goes_on_by_itself_once_both_sides_agree(held: Spelled) -> None:
    stored = held.facts("crm")["phone"] if len(held.open()) == 0 else held.records()[0][0]["phone"]
    for system in ("crm", "erp"):
        held.set(system, phone=stored)
    for _ in range(3):
        held.told("out"), held.told("back")
    assert held.open() == []
    assert held.facts("crm")["phone"] == held.facts("erp")["phone"] == stored
    held.settle()
    held.set("erp", phone="new")
    held.settle()
    assert held.facts("crm")["phone"] == "new"


def test_a_held_record_goes_on_when_a_person_replays_it(held: Spelled) -> None:
    waiting = held.open()
    with held.store.begin() as tx:
        exceptions.set_state(tx, [one.id for one in waiting], "due")
    for flow in dict.fromkeys(one.flow for one in waiting):
        held.told(flow, replay=True)
    held.settle()
    assert held.open() == [] and held.facts("crm") == held.facts("erp")


def test_swings_of_long_ago_do_not_count(pair: Spelled) -> None:
    for _ in range(5):
        assert fight(pair, 2) == 2
        with pair.store.begin() as tx:
            tx.run("UPDATE swings SET times = ?", (b'["2020-01-01T00:00:00.000000Z"]',))
    assert pair.open() == []


# ---------------------------------------------------------------------- by content alone
leaves = st.sampled_from([None, "", "a", "A", " a ", "b", 1, Decimal("1.25"), Decimal("1.2"), True, 0])
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xy"), inner), max_leaves=4)  # fmt: skip


@given(written=values, shown=values)
@example(written={"x": "a", "y": 1}, shown={"x": "A", "y": 2})
@example(written=["a", "b"], shown=["b", "A"])
@example(written=Decimal("1.25"), shown=True)
def test_what_was_read_once_is_compared_exactly_and_spelling_never_hides_an_edit(written: Any, shown: Any) -> None:
    read, awaited = Image({"f": written}, {}, 1, None), Image({"f": written}, {}, 1, "2026-01-01")
    assert same(as_meant(read, "f", shown), shown), "what was read once is compared exactly"
    meant = as_meant(awaited, "f", shown)
    if alike(written, shown):
        assert same(meant, written)
    elif not (isinstance(written, dict) and isinstance(shown, dict)):
        assert same(meant, shown), "an edit passes as it is"
    else:
        for name, value in shown.items():
            inner = Image({"f": written.get(name)}, {}, 1, "2026-01-01")
            assert same(meant[name], as_meant(inner, "f", value) if name in written else value)


@pytest.mark.parametrize(
    ("written", "shown", "echo"),
    [("Acme ", "ACME", True), ("Acme", "Acme 2", False), (Decimal("10.125"), Decimal("10.13"), True), (Decimal("10.1"), Decimal("10.13"), False),
     (Decimal("10.125"), Decimal("10.23"), False), (Decimal("10.5"), 11, False), (Decimal("10.001"), 10, True), (10, Decimal("10.0"), True), (10, 11, False), (None, "", True), (None, "x", False), (True, 1, False),
     ({"a": 1}, {"a": 1, "own": 2}, True), ({"a": 1, "b": 2}, {"a": 1}, False), ([1, 2], [2, 1], True), ([1, 2], [1, 2, 3], False), ("①", "1", True)],
)  # fmt: skip
def test_spellings(written: Any, shown: Any, echo: bool) -> None:
    assert alike(written, shown) is echo
