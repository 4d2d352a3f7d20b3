"""Fields that two systems share: three-way merges, conflicts by policy, and mirrors that stay quiet."""

from __future__ import annotations

import json
import random
import textwrap
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine.run.shared import MISSING, three_way
from engine.sdk.record import same
from tests.conftest import Make
from tests.run.test_between import Two
from tests.run.test_sync import SCHEMA
from tests.run.test_two_way import FILES as PAIR

leaves = st.sampled_from([None, "", "a", "b", 1, True])
values = leaves | st.dictionaries(st.sampled_from("xy"), leaves)


@given(base=values | st.just(MISSING), stored=values, incoming=values)
@example(base={"x": 1}, stored={"x": 2}, incoming={"x": 1, "y": "a"})
def test_a_merge_takes_what_one_side_changed_and_asks_where_both_did(base: Any, stored: Any, incoming: Any) -> None:
    merged, clash = three_way(base, stored, incoming, "stored")
    mirrored, same_clash = three_way(base, incoming, stored, "incoming")
    assert clash == same_clash and same(merged, mirrored), "whichever side is looked at first"
    assert three_way(base, stored, stored, "stored") == (stored, False)
    if base is not MISSING:
        assert three_way(base, stored, base, "stored") == (stored, False)
        assert three_way(base, base, incoming, "stored") == (incoming, False)
    again, _ = three_way(incoming, merged, incoming, "stored")
    assert same(again, merged), "what was merged stays"


def test_lists_merge_element_by_element() -> None:
    base = [{"id": 1, "q": 1}, {"id": 2, "q": 2}, {"id": 3, "q": 3}]
    ours = [{"id": 1, "q": 10}, {"id": 2, "q": 2}, {"id": 3, "q": 3}]
    theirs = [{"id": 1, "q": 1}, {"id": 3, "q": 30}, {"id": 4, "q": 4}]
    merged, clash = three_way(base, ours, theirs, "stored", "id")
    assert not clash and merged == [{"id": 1, "q": 10}, {"id": 3, "q": 30}, {"id": 4, "q": 4}]
    changed_and_removed = three_way(base, ours, theirs[1:], "stored", "id")
    assert changed_and_removed == ([{"id": 1, "q": 10}, {"id": 3, "q": 30}, {"id": 4, "q": 4}], True)


FILES = {
    "crosswalk.yaml": PAIR["crosswalk.yaml"],
    "schemas/firm.yaml": SCHEMA + """
required: [name]
x-match: [[tax]]
properties:
  name: { type: string, x-owner: shared }
  phone: { type: string, x-owner: shared }
  tax: { type: string }
""",
    "mappings/any/firm.yaml": "mapping: any/firm\nobject: firms\nentity: firm\nfields: { name: name, phone: phone, tax: tax }\noutbound: { id: { from: id, on: create } }\n",
    "flows/out.yaml": "flow: out\nkind: sync\nentity: firm\nsource: { connection: crm, mapping: any/firm, incremental: none }\ntargets: [{ connection: erp, mapping: any/firm }]\n",
    "flows/back.yaml": "flow: back\nkind: sync\nentity: firm\nsource: { connection: erp, mapping: any/firm, incremental: none }\ntargets: [{ connection: crm, mapping: any/firm }]\n",
}  # fmt: skip


class Mirror(Two):
    """Two systems that keep the same firms, and a flow each way."""

    clock = 0

    def rows(self, system: str) -> dict[str, dict[str, Any]]:
        lines = (self.folder / system / "firms.ndjson").read_text().splitlines()
        return {row["id"]: row for row in map(json.loads, lines)}

    def set(self, system: str, id: str, **fields: Any) -> None:
        self.clock += 1
        rows = self.rows(system)
        rows[id] |= {**fields, "at": f"2026-01-01T00:{self.clock // 60:02}:{self.clock % 60:02}Z"}
        self.give(system, "firms", *rows.values())

    def both(self) -> int:
        """One round of both flows; how many writes it took."""
        runs = [self.run("out"), self.run("back")]
        return sum(run["created"] + run["updated"] for run in runs)

    def facts(self, system: str) -> list[tuple[Any, ...]]:
        return sorted((row["tax"], row["name"], row.get("phone")) for row in self.rows(system).values())


@pytest.fixture
def mirror(make: Make) -> Mirror:
    mirror = Mirror(make(FILES))
    firm = {"id": "c1", "name": "Acme", "phone": "1", "tax": "T1", "at": "2026-01-01T00:00:00Z"}
    mirror.give("crm", "firms", firm)
    mirror.give("erp", "firms")
    assert mirror.both() == 1
    return mirror


def policy(mirror: Mirror, name: str) -> None:
    for flow in ("out", "back"):
        mirror.edit(f"flows/{flow}.yaml", "kind: sync\n", f"kind: sync\nconflict: {name}\n")


def erp_id(mirror: Mirror) -> str:
    return next(iter(mirror.rows("erp")))


def test_changes_of_different_fields_on_both_sides_both_arrive(mirror: Mirror) -> None:
    mirror.set("crm", "c1", name="Acme Ltd")
    mirror.set("erp", erp_id(mirror), phone="2")
    for _ in range(2):
        mirror.both()
    assert mirror.facts("crm") == mirror.facts("erp") == [("T1", "Acme Ltd", "2")]
    assert mirror.both() == 0


@pytest.mark.parametrize(("name", "wins"), [("owner", "from the CRM"), ("latest", "from the ERP")])
def test_one_field_changed_on_both_sides_goes_by_the_policy(mirror: Mirror, name: str, wins: str) -> None:
    policy(mirror, name)
    mirror.set("crm", "c1", phone="from the CRM")
    mirror.set("erp", erp_id(mirror), phone="from the ERP")
    for _ in range(3):
        mirror.both()
    assert mirror.facts("crm") == mirror.facts("erp") == [("T1", "Acme", wins)]
    assert mirror.both() == 0


def test_a_conflict_can_wait_for_a_person(mirror: Mirror) -> None:
    policy(mirror, "quarantine")
    mirror.set("crm", "c1", phone="3")
    mirror.set("erp", erp_id(mirror), phone="4")
    mirror.both()
    assert mirror.facts("crm")[0][2] == "3" and mirror.facts("erp")[0][2] == "4", "nothing is overwritten"
    assert {one.code for one in mirror.exceptions()} == {"E414"}
    mirror.set("erp", erp_id(mirror), phone="3")
    for _ in range(2):
        mirror.both()
    assert mirror.facts("crm") == mirror.facts("erp") == [("T1", "Acme", "3")]
    assert mirror.exceptions() == []


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(seed=306)
@given(seed=st.integers(0, 10_000))
def test_mirrors_converge_after_any_edits_and_stay_quiet(make_new: Any, seed: int) -> None:
    mirror = make_new()
    chance = random.Random(seed)
    for _ in range(6):
        for system in ("crm", "erp"):
            for id in mirror.rows(system):
                if chance.random() < 0.6:
                    mirror.set(system, id, **{chance.choice(["name", "phone"]): f"v{chance.randrange(4)}"})
        if chance.random() < 0.7:
            mirror.run(chance.choice(["out", "back"]))
    rounds = [mirror.both() for _ in range(6)]
    assert mirror.facts("crm") == mirror.facts("erp"), seed
    assert rounds[-3:] == [0, 0, 0], (seed, rounds)


@pytest.fixture
def make_new(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Fresh mirrors, one for each example; the firm is known to both sides already."""

    def new() -> Mirror:
        folder = tmp_path_factory.mktemp("mirror")
        for name, content in FILES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(textwrap.dedent(content).lstrip("\n"))
        mirror, at = Mirror(folder), "2026-01-01T00:00:00Z"
        mirror.give("crm", "firms", {"id": "c1", "name": "Acme", "phone": "1", "tax": "T1", "at": at})
        mirror.give("erp", "firms", {"id": "e9", "name": "Acme", "phone": "9", "tax": "T1", "at": at})
        return mirror

    return new
