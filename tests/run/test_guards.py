"""Guards hold a run with the figures; `runs resume RUN --approve` lifts the limit up to them, and no further."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from engine.cli.main import main
from engine.state.store import Store
from tests.conftest import Make
from tests.run.test_sync import FILES, World, person

MORE = "2026-02-01T00:00:00Z"


class Guarded(World):
    """A world of 20 delivered people."""

    def guard(self, text: str) -> None:
        self.edit("flows/people.yaml", "guard: { errors: 90% }", f"guard: {{ {text} }}")

    def load(self, count: int = 20, **changed: Any) -> None:
        self.put("people", [person(str(n), f"P{n}") for n in range(count)])
        self.run()

    def change(self, count: int) -> None:
        """So many of the 20 get another name."""
        rows = [person(str(n), f"Q{n}" if n < count else f"P{n}", at=MORE if n < count else "2026-01-01T00:00:00Z")
                for n in range(20)]  # fmt: skip
        self.put("people", rows)

    def command(self, *words: str) -> tuple[int, dict[str, Any]]:
        done = CliRunner().invoke(main, [*words, "--json", "--workspace", str(self.folder)], standalone_mode=False)
        return done.return_value, json.loads(done.stdout)["runs"][0]

    def names(self) -> int:
        return int(self.sql("select count(*) from people where name like 'Q%'")[0][0])

    def audited(self) -> list[Any]:
        store = Store.open("sqlite:///.crosswalk/state.db", self.folder)
        with store.read() as tx:
            rows = tx.rows("SELECT subject, detail FROM audit WHERE action = 'runs resume --approve' ORDER BY seq")
        store.close()
        return [(subject, json.loads(bytes(detail))) for subject, detail in rows]


@pytest.fixture
def world(make: Make) -> Guarded:
    return Guarded(make(FILES))


def test_an_approval_goes_as_far_as_the_figures_shown(world: Guarded) -> None:
    world.guard("changes: 10%")
    world.load()
    world.change(5)
    code, held = world.command("run", "people")
    assert (code, held["state"]) == (4, "held")
    assert held["held_because"] == "guard `changes: 10%`: 5 of 20 known records (25%)"
    assert world.names() == 0, "nothing was written"
    world.change(6)  # one more than was looked at
    code, again = world.command("runs", "resume", held["run"], "--approve")
    assert (code, again["held_because"]) == (4, "guard `changes: 10%`: 6 of 20 known records (30%)")
    assert world.names() == 0
    code, done = world.command("runs", "resume", again["run"], "--approve")
    assert (code, done["state"], done["updated"], world.names()) == (0, "succeeded", 6, 6)
    first, second = world.audited()
    assert (first[0], first[1]["part"], first[1]["whole"]) == (held["run"], 5, 20)
    assert (second[0], second[1]["guard"], second[1]["part"]) == (again["run"], "changes", 6)


def test_approvals_of_several_guards_add_up(world: Guarded) -> None:
    world.guard("changes: 10%, deletes: 5%")
    world.edit("flows/people.yaml", "lag: 10m", "incremental: none, deletes: sweep")
    world.edit("flows/people.yaml", "mapping: dw/people }", "mapping: dw/people, on_delete: delete }")
    world.load()
    world.change(5)
    rows = (world.folder / "data/people.ndjson").read_text().splitlines()
    (world.folder / "data/people.ndjson").write_text("\n".join(rows[:16]) + "\n")
    code, held = world.command("run", "people")
    assert (code, held["held_because"][:15]) == (4, "guard `changes:")
    code, again = world.command("runs", "resume", held["run"], "--approve")
    assert (code, again["held_because"]) == (4, "guard `deletes: 5%`: 4 of 20 known records (20%)")
    world.put("people", [json.loads(row) | {"name": "Q", "at": "2026-03-01T00:00:00Z"} for row in rows[:5]]
              + [json.loads(row) for row in rows[5:16]])  # fmt: skip
    code, done = world.command("runs", "resume", again["run"], "--approve")
    assert (code, done["deleted"]) == (0, 4), done["held_because"]
    assert world.sql("select count(*) from people") == [(16,)]


def test_an_empty_source_and_errors_are_told_and_approved(world: Guarded) -> None:
    world.guard("errors: 20%")
    world.load()
    world.put("people", [person(str(n), f"P{n}", pay="x" if n < 5 else 1, at=MORE) for n in range(20)])
    code, held = world.command("run", "people")
    assert (code, held["held_because"]) == (4, "guard `errors: 20%`: 5 of 20 records are quarantined (25%)")
    assert world.command("runs", "resume", held["run"], "--approve")[0] == 3
    world.put("people", [])
    code, held = world.command("run", "people", "--full")
    assert (code, held["held_because"]) == (4, "guard `empty_source: hold`: src gave no record at all")
    assert world.command("runs", "resume", held["run"], "--approve")[1]["state"] == "succeeded"
    assert world.command("run", "people", "--full")[0] == 4, "an approval is for that run alone"


def test_a_share_below_one_percent_is_shown(world: Guarded) -> None:
    world.guard("changes: 0.5%")
    world.load()
    world.change(1)
    assert world.command("run", "people")[1]["held_because"] == "guard `changes: 0.50%`: 1 of 20 known records (5%)"
