"""Laws of healing: whatever people change, each field ends as its owner has it, and nothing else moves."""

from __future__ import annotations

import textwrap
from copy import deepcopy
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine.sdk.record import same
from engine.state.store import Store
from tests.run.heal_world import World, files

NAMES = {"total": ("total", "amount"), "due": ("due", "duedate"), "status": ("status", "state"), "note": ("note", "memo"),
         "tags": ("tags", "labels")}  # fmt: skip
"""Canonical field → its name in the PSA and in the ERP."""
OWNER = {"total": "psa", "due": "psa", "status": "erp"}
VALUES: dict[str, list[Any]] = {
    "total": [Decimal(1), Decimal("100.25"), Decimal("100.50")], "due": ["2026-02-01", "2026-03-01"], "status": ["paid", "void"],
    "note": ["by hand", "", None], "tags": [["a"], []],
}  # fmt: skip
Edit = tuple[str, int, str, Any]
"""(system, bill, canonical field, what people write there)."""
EDITS = st.lists(
    st.sampled_from(sorted(NAMES)).flatmap(
        lambda name: st.tuples(
            st.sampled_from(["psa", "erp"]), st.integers(1, 3), st.just(name), st.sampled_from(VALUES[name])
        )
    ),
    max_size=8,
)
HEAL = "heal: { missing_right: owner, mismatch: owner }\n"


def shown(world: World) -> dict[tuple[str, int, str], Any]:
    """Every field of every bill, by system."""
    return {
        (system, number, name): deepcopy((world.invoice(number) if system == "psa" else world.bill(number)).get(names[place]))
        for number in (1, 2, 3)
        for name, names in NAMES.items()
        for place, system in enumerate(("psa", "erp"))
    }  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    edits=EDITS,
    way=st.sampled_from(["flow", "sides"]),
    kind=st.sampled_from(["A", "C"]),
    runs=st.booleans(),
    partial=st.booleans(),
)
@example(
    edits=[("psa", 1, "note", "by hand"), ("erp", 1, "total", Decimal(1))],
    way="flow",
    kind="C",
    runs=True,
    partial=False,
)  # ours and nobody's
@example(
    edits=[("erp", 2, "status", "paid"), ("erp", 2, "total", Decimal(1))],
    way="sides",
    kind="A",
    runs=False,
    partial=False,
)  # both ways
def test_each_field_ends_as_its_owner_has_it_and_no_other_moves(
    edits: list[Edit], way: str, kind: str, runs: bool, partial: bool
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        for path, text in files(HEAL).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(textwrap.dedent(text).lstrip("\n"), "utf-8")
        store = Store.open(f"sqlite:///{folder}/state.db", folder)
        world = World(folder, store, kind, way, count=3, partial=partial)
        for system, number, field, value in edits:
            row = world.invoice(number) if system == "psa" else world.bill(number)
            row[NAMES[field][system == "erp"]] = value
        before = shown(world)
        told = world.run("nightly")
        after = shown(world)
        for (system, number, field), value in after.items():
            source = OWNER.get(field, system)
            assert same(value, before[source, number, field]), (system, number, field, told)
        left = {
            (number, field) for number in (1, 2, 3) for field in ("note", "tags")
            if not same(after["psa", number, field], after["erp", number, field])
        }  # fmt: skip
        found = {(int(str(one.label)[4:]), each["path"]) for one in world.breaks() for each in one.fields}
        assert found == left
        sent = (len(world.psa.sent), len(world.erp.sent))
        world.run("nightly") if runs else world.heal()
        assert (len(world.psa.sent), len(world.erp.sent)) == sent
        store.close()
